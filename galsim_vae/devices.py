"""torch as this package needs it: devices, threads, processes and memory, whatever the host set."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from galsim.errors import GalSimValueError, galsim_warn

__all__ = [
    "computes_in_bfloat16", "find_device", "half_precision", "in_halves", "in_single_threads",
    "one_thread", "pinned_torch", "process_pool",
]  # fmt: skip

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

# A forked process lacks the threads that its parent's pool knows of, and would wait for them for
# ever in the first torch operation that is large enough to be shared.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def find_device(name: str | torch.device) -> torch.device:
    """Return the torch device of a name.

    Parameters
    ----------
    name : str or torch.device
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" ...

    Raises
    ------
    galsim.GalSimValueError
        There is no such device here, or it is of another kind.
    """
    try:
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("only cpu and cuda devices are supported")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        have = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise GalSimValueError(
            f"cannot use this device ({str(error).splitlines()[0]}). Use 'auto'", name, have
        ) from error
    return device


def half_precision(device: torch.device) -> torch.autocast:
    """Return a context in which networks compute in bfloat16, if the device does so by itself.

    On a processor that does not, torch imitates it, and a step of training takes many times as long
    as in float32.

    Parameters
    ----------
    device : torch.device
        Of the networks.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bfloat16(device))


def computes_in_bfloat16(device: torch.device) -> bool:
    """Return whether a device has instructions for bfloat16; no where an older torch cannot tell.

    Parameters
    ----------
    device : torch.device
        A processor or a GPU.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(abilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def in_halves(run: Callable[[int, int, int], _Result], n: int, size: int) -> list[_Result]:
    """Run a batch, or, where a GPU's memory runs out, its halves, their halves, and so on.

    Parameters
    ----------
    run : callable
        Takes the first row, the row after the last, and the size of the batch to fill up to.
    n : int
        Number of rows, at most ``size``.
    size : int
        Of the batch.

    Returns
    -------
    list
        What ``run`` returns, in the order of the rows.

    Raises
    ------
    torch.OutOfMemoryError
        There is no memory for one row.
    """
    return _in_halves(run, 0, n, size)


def _in_halves(
    run: Callable[[int, int, int], _Result], start: int, stop: int, size: int
) -> list[_Result]:
    try:
        return [run(start, stop, size)]
    except torch.OutOfMemoryError:
        if size == 1:
            raise
    # Not above: the error holds on to what had been allocated.
    torch.cuda.empty_cache()
    half = -(-size // 2)
    parts = (_in_halves(run, k, min(k + half, stop), half) for k in range(start, stop, half))
    return [result for part in parts for result in part]


def in_single_threads(
    run: Callable[[_Job], _Result], jobs: Sequence[_Job], at_once: int = 1
) -> list[_Result]:
    """Run jobs side by side, as many as torch has threads, each with one thread of torch.

    One also where there is only one job: a sum depends on how torch's threads share it out.
    Nothing keeps gradients.

    Parameters
    ----------
    run : callable
        Takes a job.
    jobs : sequence
    at_once : int
        Run at least so many side by side, such as one for each GPU.

    Returns
    -------
    list
        What ``run`` returns, in the order of the jobs.
    """
    at_once = max(torch.get_num_threads(), at_once)
    work = torch.inference_mode()(run)
    if at_once == 1 or len(jobs) == 1:
        with one_thread():
            return [work(job) for job in jobs]
    one: dict[str, Any] = {"initializer": torch.set_num_threads, "initargs": (1,)}
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(at_once, **one) as pool:
            return list(pool.map(work, jobs))
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Give torch one thread, and then as many as it had."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def process_pool(
    workers: int, initializer: Callable[..., Any] | None = None, initargs: tuple = ()
) -> ProcessPoolExecutor:
    """Return a pool of processes in which torch has one thread.

    They end with this process, also where that is killed: left to themselves they would wait for
    work for ever, and keep their memory.

    Parameters
    ----------
    workers : int
        How many processes.
    initializer : callable, optional
        Called with `initargs` once in each; as these, it is sent there by pickle.
    initargs : tuple
    """
    # Not by fork: torch's threads do not survive it.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, spawn, _begin, (initializer, initargs))


def _begin(initializer: Callable[..., Any] | None, initargs: tuple) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    if initializer is not None:
        initializer(*initargs)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def pinned_torch() -> Iterator[None]:
    """Put torch's settings to those that galaxies are defined with, and then back.

    They are no part of a galaxy, yet the host program's could change its pixels: the precision of
    float32 products, autocast, the default type and device, deterministic algorithms, inference
    mode, flushed denormals; NumPy's could end in an error. What is set for the process is put back
    when the last thread that needs it is done.

    Warns
    -----
    galsim.GalSimWarning
        Once, of environment variables that change results and cannot be undone.
    """
    if getattr(_here, "pinned", False):
        yield
        return
    _warn_of_environment()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_process_settings())
        _pin_thread(stack)
        _here.pinned = True
        stack.callback(setattr, _here, "pinned", False)
        yield


def _pin_thread(stack: contextlib.ExitStack) -> None:
    """Pin what each thread has of its own. New threads have torch's defaults of these."""
    # Weights and images are ordinary tensors, also for those who do not share the mode.
    if torch.is_inference_mode_enabled():
        stack.enter_context(torch.inference_mode(False))
    for kind in ("cpu", "cuda"):
        if torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
    if torch.get_default_device().type != "cpu":
        stack.enter_context(torch.device("cpu"))
    if _SMALLEST / 2 == 0:  # torch does not tell
        torch.set_flush_denormal(False)
        stack.callback(torch.set_flush_denormal, True)
    stack.enter_context(np.errstate(all="ignore"))


# Settings of the process: how to read and to write each, and what it is to be. Those of precision
# come from the most general to the most special: one that is not set has that of the one above.
_Setting = tuple[Callable[[], Any], Callable[[Any], Any], Any]


def _attribute(owner: Any, name: str, value: Any) -> _Setting:
    return functools.partial(getattr, owner, name), functools.partial(setattr, owner, name), value


_backends: Any = torch.backends  # what pyright knows of it is not all
_SETTINGS: list[_Setting] = [
    (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 0),
    _attribute(_backends.mkldnn, "enabled", True),
    _attribute(_backends.mkldnn, "deterministic", False),
    _attribute(_backends.cudnn, "enabled", True),
    _attribute(_backends.cudnn, "benchmark", False),
    _attribute(_backends.cudnn, "deterministic", True),
    # No TF32 and no bfloat16: they would cost 1e-3.
    *(
        _attribute(owner, "fp32_precision", "ieee")
        for owner in (
            _backends, _backends.cudnn,
            _backends.cuda.matmul, _backends.cudnn.conv, _backends.cudnn.rnn,
            _backends.mkldnn.matmul, _backends.mkldnn.conv, _backends.mkldnn.rnn,
        )
    ),
]  # fmt: skip
_SMALLEST = sys.float_info.min
_here = threading.local()
_lock = threading.Lock()
_users = 0
_found = contextlib.ExitStack()


@contextlib.contextmanager
def _process_settings() -> Iterator[None]:
    """Pin the settings of the process. The first thread that needs it does, the last undoes it."""
    global _users, _found
    with _lock:
        if _users == 0:
            _found = _pin_process()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _found.close()


def _pin_process() -> contextlib.ExitStack:
    """Pin the settings of the process; closing what is returned puts them back."""
    with contextlib.ExitStack() as stack:
        for read, write, value in _SETTINGS:
            before = read()
            if before != value:
                stack.callback(write, before)
                write(value)
        return stack.pop_all()


# Environment variables that change results, and what they may be without doing so. oneDNN and MKL
# read them once, and PyTorch has no switch for them.
_ENVIRONMENT = {
    **dict.fromkeys(("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"), ("", "strict")),
    **dict.fromkeys(("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"), ("", "default", "all")),
    "MKL_ENABLE_INSTRUCTIONS": ("",),
    "MKL_CBWR": ("", "off", "auto"),
    "ATEN_CPU_CAPABILITY": ("",),
    "NVIDIA_TF32_OVERRIDE": ("", "0"),
}


@functools.cache
def _warn_of_environment() -> None:
    """Warn, the first time that it is called, of variables that change results."""
    found = [
        f"{name}={os.environ[name]}"
        for name, harmless in _ENVIRONMENT.items()
        if os.environ.get(name, "").lower() not in harmless
    ]
    if found:
        galsim_warn(
            f"{', '.join(found)}: the galaxies of a seed may not be those of other programs. Unset "
            "it before Python starts"
        )
