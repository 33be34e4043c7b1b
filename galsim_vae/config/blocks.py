"""Rows of a ``vae_catalog`` decoded in blocks, when they are needed, and kept for a while."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable

from galsim_vae.stamps import Stamps

from .cache import StampCache

__all__ = ["BLOCK", "Blocks"]

#: Galaxies that are decoded together.
BLOCK = 1024


class Blocks:
    """Decoded galaxies by the numbers of their rows.

    Parameters
    ----------
    decode : callable
        Takes a list of rows, returns their `Stamps`.
    size : float
        Bytes that may be kept.
    """

    def __init__(self, decode: Callable[[list[int]], Stamps], size: float):
        self._decode = decode
        self._cache = StampCache(size)
        self._expected: dict[int, int] = {}
        self._seer: int | None = None  # the process that can know which objects come

    def begin(self, foresee: bool) -> None:
        """Begin with the objects of an image, which this process draws all if they are foreseen."""
        self._expected = {}
        self._seer = os.getpid() if foresee else None

    def get(
        self, row: int, number: int, coming: Callable[[], Iterable[tuple[int, int]]]
    ) -> tuple[Stamps, int]:
        """Decode a galaxy, with others that will soon be needed.

        Parameters
        ----------
        row : int
        number : int
            Of the object that it is for.
        coming : callable
            Gives the numbers of objects from this one on and their rows, as far as they are known.

        Returns
        -------
        stamps : Stamps
        i : int
            Where in ``stamps`` the galaxy is.
        """
        if row not in self._cache:
            if self._expected.get(number, row) != row:
                self._seer = None  # what was foreseen has not come true
            self._add([row] if self._seer != os.getpid() else self._block(row, coming()))
        return self._cache.get(row)

    def prepare(self, rows: Iterable[int]) -> None:
        """Decode the first of some rows, as many as may be kept."""
        missing = [row for row in dict.fromkeys(rows) if row not in self._cache]
        missing = missing[: self._cache.room]
        for start in range(0, len(missing), BLOCK):
            self._add(missing[start : start + BLOCK])

    def keep_all(self, rows: Iterable[int]) -> None:
        """Decode rows and keep them, whatever may be kept."""
        self._cache.size = math.inf
        self.prepare(rows)

    def _add(self, rows: list[int]) -> None:
        self._cache.add(rows, self._decode(rows))

    def _block(self, row: int, coming: Iterable[tuple[int, int]]) -> list[int]:
        rows = {row: None}
        for number, other in coming:
            self._expected[number] = other
            if other not in self._cache:
                rows[other] = None
            if len(rows) >= min(BLOCK, self._cache.room):
                break
        return list(rows)
