"""Which rows of a ``vae_catalog`` the coming objects of an image will take.

GalSim evaluates keys one object at a time. With a fixed ``random_seed`` the index of a later object
is known before: it is evaluated here as GalSim will do it, with copies of the config and of its
random number generators. What is foreseen decides what is decoded together, and never what is
drawn, so that a wrong guess costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import galsim
import galsim.config

from .copies import copy_config
from .current import place
from .rehearsal import rehearse, set_object
from .rows import parse_row

if TYPE_CHECKING:
    from .catalog import CatalogInput

__all__ = ["Reached", "Span", "coming_rows", "first_galaxy", "rng_state", "span_of"]

# An object's rng may have been used so many times before its index is asked for.
_MOST_DRAWS = 64
# Objects of an image that are tried to find a galaxy of the catalog.
_MOST_TRIALS = 8
_PROBE = "_vae_probe"


class Span(NamedTuple):
    """The objects of an image, or of a file whose images have one each."""

    stop: int
    one_an_image: bool


class Reached(Exception):
    """A rehearsal has come to the galaxy: its field, the config, and the state of the rngs."""

    def __init__(self, config: dict, base: dict):
        super().__init__()
        self.config, self.base, self.state = config, base, rng_state(base)

    @staticmethod
    def check(config: dict, base: dict) -> None:
        """Stop here if this is a rehearsal."""
        if base.get(_PROBE):
            raise Reached(config, base)


def span_of(base: dict, logger: Any) -> Span:
    """Return the objects that follow in the image that is set up now."""
    ours = copy_config(base)
    image = ours.get("image", {})
    start, number = base.get("obj_num", 0), base.get("image_num", 0)
    count = galsim.config.GetNObjForImage(ours, number, logger=logger)
    one = image.get("type", "Single") == "Single"
    if one and "output" in ours:
        images = galsim.config.GetNImagesForFile(ours, base.get("file_num", 0), logger=logger)
        first = base.get("start_obj_num", start)
        count = max(count, images - (start - first))
    return Span(start + count, one)


def rng_state(base: dict) -> list[galsim.BaseDeviate]:
    """Return copies of the object's random number generators as they are."""
    return [rng.duplicate() for rng in _rngs(base)]


def coming_rows(
    config: dict, base: dict, catalog: CatalogInput, span: Span, state: list[galsim.BaseDeviate]
) -> Iterator[tuple[int, int]]:
    """Yield objects from this one on and the row that each will take, as far as can be known.

    Parameters
    ----------
    config : dict
        Field of the galaxy; its ``index`` is evaluated.
    base : dict
        The config, at this object.
    catalog : CatalogInput
    span : Span
        Where to end.
    state : list of galsim.BaseDeviate
        From `rng_state` before this object's index was evaluated.
    """
    ours = copy_config(base)
    field = galsim.config.CopyConfig({"gal": config})["gal"]
    first, image_num = base.get("obj_num", 0), base.get("image_num", 0)
    try:
        draws = _draws_before(ours, first, state)
        for number in range(first, span.stop):
            if span.one_an_image and number != first:
                galsim.config.SetupConfigImageNum(ours, image_num + number - first, number)
            set_object(ours, number)
            if place(ours)[1] != number:
                continue  # it shows a galaxy that has been built
            for rng, count in zip(_rngs(ours), draws or (), strict=False):
                rng.discard(count)
            before = rng_state(ours) if number == first else []
            row, _ = parse_row(field, ours, catalog)
            if draws is None and before != _rngs(ours)[: len(before)]:
                return  # it is random, and not by a seed
            yield number, row
    except Exception:
        return  # GalSim will say what is wrong with that object, when it comes to it


def first_galaxy(base: dict, span: Span) -> Reached | None:
    """Rehearse the first objects of an image up to where one takes its row of a catalog."""
    start = base.get("obj_num", 0)
    for number in range(start, min(start + _MOST_TRIALS, span.stop)):
        try:
            ours = copy_config(base) | {_PROBE: True}
            _place_scattered(ours)
            rehearse(ours, number)
        except Reached as reached:
            return reached
        except Exception:  # as above
            return None
    return None


def _place_scattered(base: dict) -> None:
    """Where nothing else is said GalSim scatters objects at random, later than here."""
    fields = [base.get("image", {}), base.get("stamp", {})]
    if fields[0].get("type") != "Scattered":
        return
    if not any(key in field for field in fields for key in ("image_pos", "world_pos")):
        anywhere = {"type": "Random", "min": 0, "max": 1}
        fields[0]["image_pos"] = {"type": "XY", "x": anywhere, "y": dict(anywhere)}


def _rngs(base: dict) -> list[galsim.BaseDeviate]:
    several = base.get("obj_num_rngs")
    found = several if several else [base.get("obj_num_rng") or base.get("rng")]
    return [rng for rng in found if rng is not None]


def _draws_before(
    base: dict, number: int, state: list[galsim.BaseDeviate]
) -> list[int] | None:
    """How often each rng of an object was used up to a state; None if it does not come to it."""
    set_object(base, number)
    counts = []
    for rng, wanted in zip(_rngs(base), state, strict=True):
        ours = rng.duplicate()
        for count in range(_MOST_DRAWS):
            if ours == wanted:
                counts.append(count)
                break
            ours.discard(1)
        else:
            return None
    return counts
