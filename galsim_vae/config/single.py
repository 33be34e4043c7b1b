"""Galaxies that GalSim asks for one by one, decoded by the block.

A galaxy is a function of its conditions and of a seed, which is two draws of its object's deviate.
Those that the next objects will ask for (`galsim_vae.config.foresee`) are decoded with the present
one and kept under these. What was foreseen wrongly is never asked for, and costs time alone.
"""

from __future__ import annotations

import warnings

import galsim
import galsim.config

from galsim_vae.conditions import one_row
from galsim_vae.stamps import Stamps

from .ahead import Span, span_of
from .foresee import Asked, can_foresee, following

__all__ = ["made"]

_KEY = "_vae_single"
# Galaxies of the largest block: more are hardly faster, and a stamp is 80 kB.
_LARGEST = 32
# Share of a block that has to be asked for, or else one by one is as fast.
_USEFUL = 0.4


def made(base: dict, asked: Asked) -> tuple[Stamps, int]:
    """Return some stamps, and which of them is the galaxy that is asked for.

    Parameters
    ----------
    base : dict
        The config, whose present object has this galaxy.
    asked : Asked
    """
    ahead = base.get(_KEY)
    if ahead is None or not ahead.serves(base):
        ahead = base[_KEY] = _Ahead(base)
    return ahead.take(base, asked)


class _Ahead:
    """The galaxies of a span that are decoded already, and how well the last were foreseen."""

    def __init__(self, base: dict):
        self._place = _place(base)
        self._span = _span(base)
        self._size = 2 if self._span.stop > base.get("obj_num", 0) + 1 else 1
        self._kept: dict[tuple, tuple[Stamps, int]] = {}
        self._block = self._taken = 0

    def serves(self, base: dict) -> bool:
        """Whether the config's present object is of the same image, or of the same span."""
        file, image = _place(base)
        return file == self._place[0] and (
            image == self._place[1]
            or (self._span.one_an_image and base.get("obj_num", 0) < self._span.stop)
        )

    def take(self, base: dict, asked: Asked) -> tuple[Stamps, int]:
        found = self._kept.pop(asked.key, None)
        if found is not None:
            self._taken += 1
            return found
        if self._block and self._size > 1:
            useful = self._taken >= _USEFUL * self._block
            self._size = min(2 * self._size, _LARGEST) if useful else 1
        block = [asked, *self._foreseen(base, asked)]
        stamps = _decoded(block) if len(block) > 1 else None
        if stamps is None:
            if len(block) > 1:
                self._size //= 2
            self._block, self._kept = 0, {}
            return _decoded_alone(asked), 0
        self._block, self._taken = len(block), 1
        self._kept = {a.key: (stamps, i) for i, a in enumerate(block) if i}
        return stamps, 0

    def _foreseen(self, base: dict, asked: Asked) -> list[Asked]:
        """Of the next objects, those that are asked for alike."""
        wanted = self._size - 1
        found = following(base, self._span, wanted)
        if len(found) < wanted:  # no more objects, or none that can be foreseen
            self._size = 1
        same, names = asked.source.settings, list(asked.conditions)
        return [
            other for other in found
            if other and other.source.settings == same and list(other.conditions) == names
        ]  # fmt: skip


def _span(base: dict) -> Span:
    """The objects that can be foreseen, after the present one."""
    if can_foresee(base):
        try:
            return span_of(base, galsim.config.LoggerWrapper(None))
        except Exception:  # GalSim will say what is wrong
            pass
    return Span(0, one_an_image=False)


def _place(base: dict) -> tuple[int, int]:
    return base.get("file_num", 0), base.get("image_num", 0)


def _decoded(block: list[Asked]) -> Stamps | None:
    """The galaxies of a block; None if one of them is not to be had, or is to be warned of."""
    rows = [one_row(**asked.conditions) for asked in block]
    table = {name: [row[name][0] for row in rows] for name in rows[0]}
    block[0].source.load()  # it may have warnings of its own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", galsim.GalSimWarning)
            return block[0].source.sample_each(table, [asked.seed for asked in block])
    except (galsim.GalSimError, galsim.GalSimWarning):
        return None


def _decoded_alone(asked: Asked) -> Stamps:
    with asked.source.warnings_logged():
        return asked.source.sample_each(one_row(**asked.conditions), [asked.seed])
