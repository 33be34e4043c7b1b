"""Decoded galaxies that are kept for a while, up to a number of bytes."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from typing import Any

from astropy import units
from galsim.errors import GalSimConfigValueError

from galsim_vae.bands import BANDS, STAMP_SIZE
from galsim_vae.stamps import Stamps

__all__ = ["BYTES_A_GALAXY", "StampCache", "parse_size"]

#: Of a float32 stamp in all bands.
BYTES_A_GALAXY = len(BANDS) * STAMP_SIZE**2 * 4
_LEAST = 1e6


class StampCache:
    """Blocks of galaxies by the numbers of their rows; the block not used for longest goes first.

    Parameters
    ----------
    size : float
        Bytes that may be kept. One block is kept in any case.

    Attributes
    ----------
    size : float
        As above.
    """

    def __init__(self, size: float):
        self.size = size
        self._blocks: OrderedDict[int, tuple[list[int], Stamps]] = OrderedDict()
        self._where: dict[int, tuple[int, int]] = {}
        self._next = 0

    def __contains__(self, row: int) -> bool:
        return row in self._where

    def __len__(self) -> int:
        """Number of galaxies."""
        return len(self._where)

    @property
    def room(self) -> int:
        """Number of galaxies that may be kept."""
        return max(int(min(self.size, sys.maxsize) // BYTES_A_GALAXY), 1)

    def add(self, rows: list[int], stamps: Stamps) -> None:
        """Keep some galaxies, and let go of the oldest ones where there is no room."""
        while self._blocks and len(self) + len(rows) > self.room:
            old, _ = self._blocks.popitem(last=False)[1]
            for row in old:
                del self._where[row]
        self._blocks[self._next] = (rows, stamps)
        self._where.update({row: (self._next, i) for i, row in enumerate(rows)})
        self._next += 1

    def get(self, row: int) -> tuple[Stamps, int]:
        """Return the stamps that a row is among, and its place there.

        Raises
        ------
        KeyError
            It is not kept.
        """
        block, i = self._where[row]
        self._blocks.move_to_end(block)
        return self._blocks[block][1], i


def parse_size(size: Any) -> float:
    """Return the bytes of a size such as 512 (MB), "512 MB" or "2 GiB".

    Raises
    ------
    galsim.GalSimConfigValueError
        It is nothing of the kind, or less than 1 MB.
    """
    wanted = 'a number of MB, or a text such as "512 MB" or "2 GB", of at least 1 MB'
    try:
        if isinstance(size, bool):
            raise TypeError
        number = float(size) * 1e6 if _is_number(size) else units.Quantity(size).to_value("byte")
    except (TypeError, ValueError):
        raise GalSimConfigValueError(f"vae_catalog.cache must be {wanted}", size) from None
    if not math.isfinite(number) or number < _LEAST:
        raise GalSimConfigValueError(f"vae_catalog.cache must be {wanted}", size)
    return float(number)


def _is_number(size: Any) -> bool:
    try:
        float(size)
    except (TypeError, ValueError):
        return False
    return True
