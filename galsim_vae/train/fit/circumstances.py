"""With what code and on what machine something was computed."""

import functools
import hashlib
import os
import platform
from pathlib import Path

import torch

import galsim_vae

__all__ = ["circumstances", "code_digest"]


@functools.cache
def code_digest() -> str:
    """Return a digest of the package's source: names and texts of its modules."""
    root = Path(galsim_vae.__file__).parent
    found = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root).as_posix()}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def circumstances() -> dict[str, str | int]:
    """Return the digest of the code, the version of torch, the processor or GPU, and threads."""
    if torch.cuda.is_available():
        machine = torch.cuda.get_device_name()
    else:
        machine = _processor() or platform.processor() or platform.machine()
    return {
        "code": code_digest(),
        "torch": str(torch.__version__),
        "machine": machine,
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    """Return the processor's name as Linux tells it; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "")
