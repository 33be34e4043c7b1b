"""The value ``VAEValue``: {key, index}, what is true of a galaxy or stands in its table.

Without ``index`` it is the galaxy of the current object, whether it is from a ``vae_catalog`` or a
new one; else a row of the ``vae_catalog``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import galsim
import galsim.config
from galsim.errors import GalSimConfigError, GalSimConfigValueError

from galsim_vae.filters import Truth, find_band

from .ahead import rng_state
from .catalog import CatalogInput
from .contents import TRUTHS, entry
from .current import Current, current
from .generator import GeneratorInput
from .rows import catalog_of, galaxy_field, has_input, parse_row

__all__ = ["build_value"]

# What is said of a catalog as a whole, and the way to it.
_OF_ALL: dict[str, Callable[[CatalogInput], float]] = {
    "surface_density": lambda catalog: catalog.surface_density,
    "nobjects": lambda catalog: catalog.getNObjects(),
}


def build_value(config: dict, base: dict, value_type: type | None) -> tuple[Any, bool]:
    """Return a truth of a galaxy, or an entry of its table; by default of the current one.

    ``key`` is magnitude, half_light_radius (arcsec), ellipticity, g1, g2, redshift, id,
    ``mag_<filter>``, the AB magnitude in any filter (`galsim_vae.filters.names`), a further column
    of the ``vae_catalog``, surface_density, that of its galaxies in the population per square
    arcmin, or nobjects, the number of its galaxies.

    Raises
    ------
    galsim.GalSimConfigError
        An unknown key or index; no galaxy to describe; an entry that is missing, or of another
        type.
    galsim.GalSimRangeError, galsim.GalSimValueError
        A filter out of reach or unknown.
    """
    galsim.config.CheckAllParams(config, req={"key": str}, opt={"index": int, "num": int})
    key = galsim.config.ParseValue(config, "key", base, str)[0]
    found = None if "index" in config else current(base)
    if found is not None:
        value, safe = _of_current(found, key, value_type), False
    elif has_input(base, "vae_catalog"):
        value, safe = _of_row(config, base, key, value_type)
    else:
        raise GalSimConfigError(
            "VAEValue describes the VAEGalaxy of the current object, and none has been built "
            "yet. Use it in keys of gal other than the conditions, in output.truth, or with a "
            "vae_catalog and an index"
        )
    # A column of a truth catalog is asked for without a type.
    if value_type is None or isinstance(value, galsim.Shear | galsim.Angle):
        return value, safe
    try:
        return value_type(value), safe
    except (TypeError, ValueError):
        raise GalSimConfigValueError(
            f"VAEValue.key = {key} is no {value_type.__name__}; it is", value
        ) from None


def _of_current(found: Current, key: str, value_type: type | None) -> Any:
    """A value of the galaxy that has been built."""
    catalog = found.source
    if isinstance(catalog, CatalogInput) and found.row is not None:
        if key in _OF_ALL and key not in catalog.contents:
            return _OF_ALL[key](catalog)
        if key in catalog.contents.further:
            return entry(catalog.contents[key], found.row, value_type)
    return _truth(found, key, _columns_of(catalog))


def _of_row(config: dict, base: dict, key: str, value_type: type | None) -> tuple[Any, bool]:
    """A value of a row of the catalog: the one asked for, or that of the object's galaxy."""
    catalog = catalog_of(config, base, "VAEValue")
    if key in _OF_ALL and key not in catalog.contents:
        return _OF_ALL[key](catalog), True
    field, state = config, rng_state(base)
    if "index" not in config:
        field = galaxy_field(base, catalog) or config
    row, safe = parse_row(field, base, catalog)
    if key in catalog.contents.further:
        return entry(catalog.contents[key], row, value_type), safe
    given = catalog.given(row)
    if given is not None and key in TRUTHS:
        truth = Truth.of(given, 0, ())
    else:
        _check(key, _columns_of(catalog))
        stamps, i = catalog.stamp(row, field, base, state)
        truth = stamps.truth(i)
    return _truth(Current(truth, catalog, row), key, _columns_of(catalog)), safe


def _truth(found: Current, key: str, columns: list[str]) -> Any:
    _check(key, columns)
    truth = found.truth
    if key.startswith("mag_"):
        with found.source.warnings_logged():
            return truth.magnitude_in(
                find_band(key.removeprefix("mag_")), found.source.extrapolate
            )
    return getattr(truth.ellipticity if key in ("g1", "g2") else truth, key)


def _check(key: str, columns: list[str]) -> None:
    if key.startswith("mag_"):
        find_band(key.removeprefix("mag_"))
    elif key not in TRUTHS:
        raise GalSimConfigValueError(
            "Unknown VAEValue.key", key, (*TRUTHS, "mag_<filter>", *columns)
        )


def _columns_of(source: GeneratorInput) -> list[str]:
    """The further columns that there are."""
    return source.contents.further if isinstance(source, CatalogInput) else []


# None: a column of a truth catalog may be a VAEValue, without a word about its type.
galsim.config.RegisterValueType(
    "VAEValue", build_value, [float, int, bool, str, galsim.Angle, galsim.Shear, None],
    input_type="vae_catalog",
)  # fmt: skip
