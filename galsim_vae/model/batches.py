"""Networks applied to many galaxies: always to batches of one size, so that neighbours do not tell.

The rounding of a matrix product depends on its shape. A galaxy's pixels are to be the same bits
whatever galaxies are drawn with it, so every batch is filled up to the same size, which is a
constant of the kind of device.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

__all__ = ["BATCH_SIZES", "BatchSizes", "in_batches", "in_single_threads"]

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


class BatchSizes(NamedTuple):
    """Galaxies a batch, of each of the generator's steps."""

    flow: int
    network: int
    measure: int


#: One galaxy costs as much as a batch, and a simulation may ask for them one by one: on a CPU the
#: sizes are small, at the cost of about a tenth for large sets. A GPU wants to be kept busy.
BATCH_SIZES = {"cpu": BatchSizes(32, 16, 16), "cuda": BatchSizes(1024, 256, 256)}


def in_batches(
    function: Callable[..., Sequence[Tensor]], size: int, device: torch.device, *tensors: Tensor
) -> tuple[Tensor, ...]:
    """Apply a function of tensors to batches of one size and join the results.

    On the CPU each of torch's threads works on a batch of its own: a small convolution does not
    share well. A GPU holds one batch at a time. Where even that does not fit in its memory the
    batch is halved, which may change the last bit.

    Parameters
    ----------
    function : takes tensors (size, ...) on the device, and returns others.
    size : galaxies a batch.
    device : where to compute.
    *tensors : (n, ...) each, on the CPU.

    Returns
    -------
    tuple of tensors (n, ...), on the CPU
    """
    n = len(tensors[0])
    whole: list[Tensor] = []
    lock = threading.Lock()

    def run(start: int) -> None:
        with torch.inference_mode():
            rows = [t[start : start + size].to(device) for t in tensors]
            values = _apply(function, size, rows)
            with lock:
                if not whole:
                    with torch.inference_mode(False):  # ordinary tensors, for whoever asked
                        whole.extend(torch.empty((n, *v.shape[1:]), dtype=v.dtype) for v in values)
            for together, value in zip(whole, values, strict=True):
                together[start : start + size] = value  # while it is in the processor's cache

    starts = range(0, max(n, 1), size)
    if device.type == "cpu":
        in_single_threads(run, starts)
    else:
        with _full_precision():
            for start in starts:
                run(start)
    return tuple(whole)


def _apply(
    function: Callable[..., Sequence[Tensor]], size: int, rows: list[Tensor]
) -> list[Tensor]:
    """Apply the function to rows (at most ``size``, ...) filled up to ``size``."""
    n = len(rows[0])
    try:
        return [value[:n] for value in function(*(_filled(r, size) for r in rows))]
    except torch.OutOfMemoryError:
        if size == 1:
            raise
        torch.cuda.empty_cache()
        half = -(-size // 2)
        parts = [_apply(function, half, [r[k : k + half] for r in rows]) for k in range(0, n, half)]
        return [torch.cat(values) for values in zip(*parts, strict=True)]


def _filled(rows: Tensor, size: int) -> Tensor:
    """With the last galaxy again and again: a blank would hold up iterations that wait for all."""
    last = rows[-1:] if len(rows) else rows.new_ones(1, *rows.shape[1:])
    return torch.cat([rows, last.expand(size - len(rows), *rows.shape[1:])])


def in_single_threads(
    run: Callable[[_Job], _Result], jobs: Sequence[_Job], at_once: int = 1
) -> list[_Result]:
    """Run jobs side by side, as many as torch has threads, each with one thread of torch.

    One also where there is only one job: a sum depends on how torch's threads share it out.

    Parameters
    ----------
    run : takes a job.
    jobs : sequence.
    at_once : run at least so many side by side, such as one for each GPU.
    """
    threads = torch.get_num_threads()
    at_once = max(threads, at_once)
    try:
        if at_once == 1 or len(jobs) == 1:
            torch.set_num_threads(1)
            return [run(job) for job in jobs]
        one = {"initializer": torch.set_num_threads, "initargs": (1,)}
        with ThreadPoolExecutor(at_once, **one) as pool:
            return list(pool.map(run, jobs))
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32, which cuDNN's convolutions use unless told not to: it would cost 1e-3."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
