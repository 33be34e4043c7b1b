"""Which row of a ``vae_catalog`` an object takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import galsim
import galsim.config
from galsim.config.value import SetDefaultIndex
from galsim.errors import GalSimConfigError

if TYPE_CHECKING:
    from .catalog import CatalogInput

__all__ = ["CONDITIONS", "catalog_of", "galaxy_field", "has_input", "parse_row", "uses_catalog"]

#: What may be asked of a new galaxy, and its type.
CONDITIONS = {
    "magnitude": float,
    "half_light_radius": float,
    "ellipticity": galsim.Shear,
    "redshift": float,
}


def has_input(base: dict, name: str) -> bool:
    """Return whether the config has an input of this name."""
    return name in base.get("input", {}) or name in base.get("_input_objs", {})


def uses_catalog(config: dict, base: dict) -> bool:
    """Whether a VAEGalaxy is a row of a catalog: asked for by index, or not described at all."""
    described = any(key in config for key in CONDITIONS if key != "redshift")
    return not described and ("index" in config or has_input(base, "vae_catalog"))


def catalog_of(config: dict, base: dict, name: str) -> CatalogInput:
    """Return the ``vae_catalog`` that a field takes its row from, by its ``num`` if there is one.

    Raises
    ------
    galsim.GalSimConfigError
        There is none.
    """
    return galsim.config.GetInputObj("vae_catalog", config, base, name)


def parse_row(config: dict, base: dict, catalog: CatalogInput) -> tuple[int, bool]:
    """Return the row that a field asks for, and whether it is the same for every object.

    Raises
    ------
    galsim.GalSimConfigError
        There is no such row, or none at all.
    """
    if catalog.getNObjects() == 0:
        raise GalSimConfigError(
            "The vae_catalog has no galaxies: the number on its area is random, and is 0 with this "
            "seed. Give a larger area, wider cuts or another seed, or the image no more objects "
            "than there are galaxies (VAEValue nobjects)"
        )
    SetDefaultIndex(config, catalog.getNObjects())
    index, safe = galsim.config.ParseValue(config, "index", base, int)
    return catalog.checked_index(index), safe


def galaxy_field(base: dict, catalog: CatalogInput) -> dict[str, Any] | None:
    """Return ``gal`` if it is one VAEGalaxy of this catalog, else None."""
    gal = base.get("gal")
    if not isinstance(gal, dict) or gal.get("type") != "VAEGalaxy" or not uses_catalog(gal, base):
        return None
    return gal if catalog_of(gal, base, "VAEGalaxy") is catalog else None
