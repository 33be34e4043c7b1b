"""Which filter of a survey stands for which band of the model."""

from collections.abc import Mapping

import galsim

from galsim_vae.bands import FILTER_PIVOT, band_map

__all__ = ["map_filters"]


def map_filters(filters, pivots: Mapping[str, float] | None, structure_only: bool):
    """`bands.band_map` of filters by name; `pivots` [nm] adds to those that are known.

    Raises
    ------
    galsim.GalSimConfigValueError
        A filter of unknown pivot wavelength.
    galsim.GalSimConfigError
        No filter is near any of our bands.
    """
    known = FILTER_PIVOT | dict(pivots or {})
    for name in filters:
        if name not in known:
            raise galsim.GalSimConfigValueError(
                f"Filter {name} is unknown: give its wavelength in nm with pivot.{name}=... Known",
                name,
                list(known),
            )
    chosen = band_map({name: known[name] for name in filters}, structure_only)
    if not chosen:
        raise galsim.GalSimConfigError(
            f"None of the filters {list(filters)} is near a band of the model; "
            "with structure_only=true the nearest is used"
        )
    return chosen
