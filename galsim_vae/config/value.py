"""The value ``VAEValue``: {key, index}, what is true of a galaxy.

Without ``index`` it is the galaxy of the current object, once that is built, whether it is from a
``vae_catalog`` or a new one; else a row of the ``vae_catalog``.
"""

from __future__ import annotations

from typing import Any

import galsim
import galsim.config
from galsim.config.value import SetDefaultIndex
from galsim.errors import GalSimConfigError, GalSimConfigValueError

from galsim_vae.filters import find_band

from .current import Current, current

__all__ = ["build_value", "has_input"]

_KEYS = ("magnitude", "half_light_radius", "ellipticity", "g1", "g2", "redshift", "id")


def build_value(config: dict, base: dict, value_type: type | None) -> tuple[Any, bool]:
    """Return a truth of a galaxy, by default of the current one.

    ``key`` is magnitude, half_light_radius (arcsec), ellipticity, g1, g2, redshift, id, or
    ``mag_<filter>``, the AB magnitude in any filter (`galsim_vae.filters.names`).

    Raises
    ------
    galsim.GalSimConfigError
        An unknown key or index; no galaxy to describe.
    galsim.GalSimRangeError, galsim.GalSimValueError
        A filter out of reach or unknown.
    """
    if "index" in config or (current(base) is None and has_input(base, "vae_catalog")):
        found, safe = _row(config, base)
    else:
        galsim.config.CheckAllParams(config, req={"key": str}, opt={"num": int})
        found, safe = current(base), False
        if found is None:
            raise GalSimConfigError(
                "VAEValue describes the VAEGalaxy of the current object, and none has been built "
                "yet. Use it in keys of gal other than the conditions, in output.truth, or with a "
                "vae_catalog and an index"
            )
    value = _value(found, galsim.config.ParseValue(config, "key", base, str)[0])
    # A column of a truth catalog is asked for without a type.
    if value_type is None or isinstance(value, galsim.Shear):
        return value, safe
    return value_type(value), safe


def has_input(base: dict, name: str) -> bool:
    """Return whether the config has an input of this name."""
    return name in base.get("input", {}) or name in base.get("_input_objs", {})


def _row(config: dict, base: dict) -> tuple[Current, bool]:
    catalog = galsim.config.GetInputObj("vae_catalog", config, base, "VAEValue")
    SetDefaultIndex(config, catalog.getNObjects())
    kwargs, safe = galsim.config.GetAllParams(
        config, base, req={"key": str, "index": int}, opt={"num": int}
    )
    truth = catalog.decode().truth(catalog.checked_index(kwargs["index"]))
    return Current(truth, catalog), safe


def _value(found: Current, key: str) -> Any:
    truth = found.truth
    if key.startswith("mag_"):
        band = find_band(key.removeprefix("mag_"))
        with found.source.warnings_logged():
            return truth.magnitude_in(band, found.source.extrapolate)
    if key not in _KEYS:
        raise GalSimConfigValueError("Unknown VAEValue.key", key, (*_KEYS, "mag_<filter>"))
    return getattr(truth.ellipticity if key in ("g1", "g2") else truth, key)


# None: a column of a truth catalog may be a VAEValue, without a word about its type.
galsim.config.RegisterValueType(
    "VAEValue", build_value, [float, int, galsim.Shear, None], input_type="vae_catalog"
)
