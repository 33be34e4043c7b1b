"""Networks applied to many galaxies in batches, so that neighbours do not tell.

The rounding of a matrix product may depend on its shape. A galaxy's pixels are to be the same bits
whatever galaxies are drawn with it, so every batch is filled up to one size, which is a constant of
the kind of device, or to a smaller one that has been seen to give the same bits on this machine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from galsim_vae.devices import in_halves, in_single_threads, one_thread

__all__ = ["BATCH_SIZES", "BatchSizes", "Batches", "in_batches"]


class BatchSizes(NamedTuple):
    """Galaxies a batch, of each of the generator's steps."""

    flow: int
    network: int
    measure: int


#: On a CPU the decoder's batch has to fit into the processor's cache, and small operations are many
#: in the flow and the measurement: they want more rows. A GPU wants to be kept busy.
BATCH_SIZES = {"cpu": BatchSizes(128, 16, 64), "cuda": BatchSizes(1024, 256, 256)}


class _Whole(NamedTuple):
    """A whole batch of few galaxies, and whether each has the same bits at all of its places."""

    rows: list[Tensor]
    values: Sequence[Tensor]
    even: bool


class Batches:
    """A function of batches, whose last few galaxies take a small batch where no bit shows it.

    The first few that are asked for, on a CPU, are computed in a batch of the usual size, each of
    its places filled with them in turn, and, for each smaller size that is asked for, in one of
    that size. If all values agree to the bit, they do for all later galaxies: nothing but the shape
    decides in which order a processor adds.

    Parameters
    ----------
    function : callable
        Takes tensors (size, ...) on the device, and returns others.
    size : int
        Galaxies a batch.
    device : torch.device
        Where to compute.
    fewest : int, optional
        The smallest batch to try; powers of two of it come next. Below, torch evaluates some
        function elementwise: the last elements of a tensor, which do not fill a register of the
        processor, have rounding of their own.
    """

    def __init__(
        self, function: Callable[..., Sequence[Tensor]], size: int, device: torch.device,
        fewest: int = 1,
    ):  # fmt: skip
        self.function, self.size, self.device = function, size, device
        self._fewest = fewest
        self._same: dict[int, bool] = {}
        self._whole: _Whole | None = None

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Apply the function to tensors (n, ...) on the CPU, see `in_batches`."""
        few = len(tensors[0]) % self.size
        last = self._smallest([t[-few:] for t in tensors]) if few else self.size
        return _in_batches(self.function, self.size, last, self.device, tensors)

    def _smallest(self, few: Sequence[Tensor]) -> int:
        """Size of the batch that these rows take, fewer than a whole one."""
        small = self._fewest
        while small < len(few[0]):
            small *= 2
        if small >= self.size or self.device.type != "cpu":
            return self.size
        if small not in self._same:
            self._same[small] = self._agrees(small, few)
        return small if self._same[small] else self.size

    @torch.inference_mode()
    def _agrees(self, small: int, tensors: Sequence[Tensor]) -> bool:
        """Whether a small batch has the same bits as a whole one, and this at all of its places."""
        with one_thread():
            whole = self._whole = self._whole or self._filled_with(tensors)
            few = self.function(*(r[:small] for r in whole.rows))
        return whole.even and all(
            _same(f, w[:small]) for f, w in zip(few, whole.values, strict=True)
        )

    def _filled_with(self, tensors: Sequence[Tensor]) -> _Whole:
        place = torch.arange(self.size) % len(tensors[0])
        rows = [t[place] for t in tensors]
        values = self.function(*rows)
        return _Whole(rows, values, all(_same(v, v[place]) for v in values))


def in_batches(
    function: Callable[..., Sequence[Tensor]], size: int, device: torch.device, *tensors: Tensor
) -> tuple[Tensor, ...]:
    """Apply a function of tensors to batches of one size and join the results.

    On the CPU each of torch's threads works on a batch of its own: a small convolution does not
    share well. A GPU holds one batch at a time. Where even that does not fit in its memory the
    batch is halved, which may change the last bit.

    Parameters
    ----------
    function : callable
        Takes tensors (size, ...) on the device, and returns others.
    size : int
        Galaxies a batch.
    device : torch.device
        Where to compute.
    *tensors : tensor (n, ...)
        On the CPU.

    Returns
    -------
    tuple of tensor (n, ...)
        On the CPU.

    Raises
    ------
    torch.OutOfMemoryError
        There is no memory for one galaxy.
    """
    return _in_batches(function, size, size, device, tensors)


def _in_batches(
    function: Callable[..., Sequence[Tensor]], size: int, last: int, device: torch.device,
    tensors: Sequence[Tensor],
) -> tuple[Tensor, ...]:  # fmt: skip
    """As `in_batches`, with a size of its own for the last batch, if it is not full."""
    n = len(tensors[0])
    whole: list[Tensor] = []
    lock = threading.Lock()

    def run(start: int) -> None:
        rows = [t[start : start + size].to(device) for t in tensors]
        values = _apply(function, size if start + size <= n else last, rows)
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
        with torch.inference_mode():
            for start in starts:
                run(start)
    return tuple(whole)


def _same(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def _apply(
    function: Callable[..., Sequence[Tensor]], size: int, rows: list[Tensor]
) -> list[Tensor]:
    """Apply the function to rows (at most ``size``, ...) filled up to ``size``."""

    def run(start: int, stop: int, size: int) -> list[Tensor]:
        filled = (_filled(r[start:stop], size) for r in rows)
        return [value[: stop - start] for value in function(*filled)]

    parts = in_halves(run, len(rows[0]), size)
    return parts[0] if len(parts) == 1 else [torch.cat(v) for v in zip(*parts, strict=True)]


def _filled(rows: Tensor, size: int) -> Tensor:
    """With the last galaxy again and again: a blank would hold up iterations that wait for all."""
    last = rows[-1:] if len(rows) else rows.new_ones(1, *rows.shape[1:])
    return torch.cat([rows, last.expand(size - len(rows), *rows.shape[1:])])
