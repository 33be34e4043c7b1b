"""What ``import galsim_vae`` costs on top of ``import galsim``, which it needs anyway."""

import subprocess
import sys

import pytest


def run(code: str) -> None:
    """Run ``code`` in a fresh Python."""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.benchmark(group="import")
@pytest.mark.parametrize("code", ["import galsim", "import galsim, galsim_vae"])
def test_import(benchmark, code):
    run(code)  # so that the bytecode is written and the files are in memory
    benchmark.pedantic(run, args=(code,), rounds=15)
