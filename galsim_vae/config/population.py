"""The galaxies of a ``vae_catalog`` without a file: drawn from the population, cut, laid out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import galsim
import numpy as np
from astropy import units
from astropy.table import QTable, vstack
from galsim.errors import GalSimConfigError, GalSimConfigValueError, GalSimRangeError

from galsim_vae.conditions import surface_density
from galsim_vae.deviates import draw_seed, galaxy_uniforms

from .contents import Contents

__all__ = ["CUTS", "Population", "check_cuts"]

#: Keys of the cuts, the condition that each is about and the sign of what it keeps.
CUTS = {
    f"{end}_{name}": (name, sign)
    for name in ("magnitude", "half_light_radius", "ellipticity", "redshift")
    for end, sign in (("min", 1), ("max", -1))
}
# Galaxies drawn at least to tell how many pass the cuts; after so many without one, none is.
_LEAST, _HOPELESS = 4096, 32768


def check_cuts(cuts: Mapping[str, float]) -> None:
    """Check that some galaxy can pass the cuts.

    Raises
    ------
    galsim.GalSimConfigValueError
        A cut that is no finite number.
    galsim.GalSimRangeError
        A minimum that is not below its maximum.
    """
    for key, value in cuts.items():
        if not np.isfinite(value):
            raise GalSimConfigValueError(f"vae_catalog.{key} must be a finite number", value)
        low = cuts.get(key.replace("max_", "min_"), -np.inf)
        if key.startswith("max_") and not low < value:
            raise GalSimRangeError(
                f"vae_catalog.{key} must be above {key.replace('max_', 'min_')}.", value, low
            )


class Population:
    """Galaxies drawn from the population.

    A galaxy is the one that it is without cuts, and its id says which.

    Parameters
    ----------
    sample : callable
        `galsim_vae.GalaxyGenerator.sample_conditions`.
    rng : galsim.BaseDeviate
        Two of its draws are used; the next two are those of the stamps.
    faint : float
        The magnitude that the population goes to.
    nobjects : int, optional
        Number of galaxies that pass the cuts.
    area : float, optional
        Of a square field, square arcmin, in the place of ``nobjects``. The number of galaxies is
        a Poisson deviate, which may be zero; they are laid at random on the field.
    density : float, optional
        Galaxies that pass the cuts, per square arcmin of the field; by default that of the
        population, `galsim_vae.conditions.surface_density`, of which the cuts take their share.
    center : galsim.CelestialCoord, optional
        Of the field.
    cuts : mapping of str to float, optional
        Keys of `CUTS`.

    Attributes
    ----------
    contents : Contents
        Conditions and id of those that pass the cuts and, of a field, x and y, arcsec from its
        centre, or with ``center`` ra and dec, degrees.
    density, error : float
        Galaxies of the population that pass the cuts, per square arcmin, and the error of this
        number from the sample of galaxies.
    rng : galsim.BaseDeviate
        As given.

    Raises
    ------
    galsim.GalSimConfigError
        No galaxy of a large sample passes the cuts.
    """

    def __init__(
        self,
        sample: Callable[..., QTable],
        rng: galsim.BaseDeviate,
        faint: float,
        *,
        nobjects: int | None = None,
        area: float | None = None,
        density: float | None = None,
        center: galsim.CelestialCoord | None = None,
        cuts: Mapping[str, float] | None = None,
    ):
        self.rng = rng
        other = rng.duplicate()
        other.discard(4)  # those of the conditions and of the stamps
        seed, everything = draw_seed(other), surface_density(faint)
        total = None
        if area is not None:
            mean = area * (everything if density is None else density)
            number = int(galsim.PoissonDeviate(other, mean=mean)())
            total, nobjects = (number, None) if density is None else (None, number)
        table, tried, passed = _draw(sample, rng, nobjects, total, cuts or {})
        columns = {name: table[name] for name in table.colnames}
        if area is not None:
            columns |= _positions(np.asarray(table["id"]), seed, area, center)
        self.contents = Contents(columns, {name: name for name in columns}, len(table))
        self.density = everything * passed / tried
        # That of the beta distribution, which is not zero where all of few pass.
        mean = (passed + 1) / (tried + 2)
        self.error = everything * math.sqrt(mean * (1 - mean) / (tried + 3)) if cuts else 0.0

    def describe(self) -> str:
        """Say how many galaxies there are."""
        spread = f" +- {self.error:.2g}" if self.error else ""
        return (
            f"{self.contents.rows} galaxies of the population, which has {self.density:.4g}"
            f"{spread} of them per square arcmin"
        )


def _draw(
    sample: Callable[..., QTable],
    rng: galsim.BaseDeviate,
    wanted: int | None,
    total: int | None,
    cuts: Mapping[str, float],
) -> tuple[QTable, int, int]:
    """Draw ``total`` galaxies, or until ``wanted`` pass; the table, and how many of how many do.

    At least one passes, of those that were drawn if not of the table.
    """
    parts, tried, passed = [], 0, 0
    again = rng.duplicate()
    chunk = max((wanted if total is None else total) or 1, _LEAST if cuts else 1)
    while True:
        table = sample(chunk, again.duplicate() if tried else rng, first=tried)
        keep = _passes(table, cuts)
        parts.append(table[keep])
        tried, passed = tried + chunk, passed + int(keep.sum())
        if passed and (total is not None or (wanted is not None and passed >= wanted)):
            break
        if tried >= _HOPELESS and passed == 0:
            raise GalSimConfigError(
                f"vae_catalog: none of {tried} galaxies of the population passes the cuts "
                f"{dict(cuts)}. Widen them"
            )
        missing = (wanted or 0) - passed
        chunk = int(np.clip(1.1 * missing * tried / max(passed, 1), _LEAST, 1 << 18))
    table = parts[0] if len(parts) == 1 else vstack(parts)
    if total is not None:
        return table[np.asarray(table["id"]) < total], tried, passed
    return table[:wanted], tried, passed


def _passes(table: QTable, cuts: Mapping[str, float]) -> np.ndarray:
    keep = np.ones(len(table), bool)
    for key, limit in cuts.items():
        name, sign = CUTS[key]
        if name == "ellipticity":
            values = np.hypot(np.asarray(table["g1"]), np.asarray(table["g2"]))
        else:
            values = np.asarray(getattr(table[name], "value", table[name]))
        keep &= sign * values >= sign * limit
    return keep


def _positions(
    ids: np.ndarray, seed: int, area: float, center: galsim.CelestialCoord | None
) -> dict[str, Any]:
    """Places on a square field, a function of the seed and each galaxy's id."""
    side = 60 * np.sqrt(area)
    x, y = side * (galaxy_uniforms(seed, ids, 2).T - 0.5)
    if center is None:
        return {"x": x * units.arcsec, "y": y * units.arcsec}
    arcsec = galsim.arcsec / galsim.radians
    ra, dec = center.deproject_rad(x * arcsec, y * arcsec)
    return {"ra": np.degrees(ra) % 360 * units.deg, "dec": np.degrees(dec) * units.deg}
