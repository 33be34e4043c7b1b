"""What lies between two galaxies, and one galaxy at other redshifts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import galsim
import numpy as np
from astropy.table import QTable, Row
from galsim.errors import GalSimRangeError, GalSimValueError
from numpy.typing import ArrayLike, NDArray

from galsim_vae.conditions import POSE
from galsim_vae.deviates import checked_seed
from galsim_vae.stamps import Stamps

if TYPE_CHECKING:
    from galsim_vae.generator import GalaxyGenerator

__all__ = ["Drawn", "Known", "interpolate", "sequence"]

_COLUMNS = ("magnitude", "half_light_radius", "g1", "g2", "redshift")


@dataclass(frozen=True)
class Drawn:
    """A galaxy as ``sample(table, galsim.BaseDeviate(seed))`` draws it.

    Attributes
    ----------
    seed : int
        From 1 on.
    id : int
        Of the galaxy.
    row : Row or dict
        Any of its conditions; the others are drawn from the population.
    """

    seed: int
    id: int = 0
    row: Any = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """A galaxy of a known latent, such as one from `GalaxyGenerator.encode`.

    Attributes
    ----------
    latent : array_like (latent,)
        Its latent.
    row : Row or dict
        All of magnitude, half_light_radius, g1, g2 and redshift.
    """

    latent: ArrayLike
    row: Any


def interpolate(
    generator: GalaxyGenerator, a: Drawn | Known, b: Drawn | Known, n: int, through: str = "noise"
) -> Stamps:
    """Draw what lies between two galaxies.

    Magnitude, logarithm of the radius, ellipticity and ln(1 + z) go from one to the other in equal
    steps. Through the noise, the flow's noise goes along a great circle, whose points are as far
    from the middle as normal deviates are: each step is a galaxy that the flow may draw. Where the
    ends are of different hands, it is mirrored half-way. The straight line between latents leaves
    the flow's galaxies. A position angle that the population drew may come out half a turn away,
    which is the same ellipticity.

    Parameters
    ----------
    generator : GalaxyGenerator
        What draws.
    a, b : Drawn or Known
        The ends.
    n : int
        Number of galaxies, with both ends.
    through : {"noise", "latent"}
        The way.

    Returns
    -------
    Stamps
        Of n galaxies, of id 0 to n - 1.

    Raises
    ------
    galsim.GalSimRangeError
        Fewer than 2 galaxies, or a condition outside the trained range.
    galsim.GalSimValueError
        An unknown way; an end that is neither; a condition that is missing or unknown.
    """
    if through not in ("noise", "latent"):
        raise GalSimValueError("Unknown way between galaxies", through, ("noise", "latent"))
    if n < 2:
        raise GalSimRangeError("The ends are among the n galaxies: n must be at least 2", n, 2)
    (first, here), (last, there) = (_end(generator, end) for end in (a, b))
    share = np.linspace(0, 1, n)
    table = _between(here, there, share)
    if through == "latent":
        latent = (1 - share[:, None]) * first + share[:, None] * last
    else:
        begins = generator.to_noise(first[None], _table(here))[0]
        ends = generator.to_noise(last[None], _table(there))[0]
        noise = _great_circle(begins, ends, share)
        latent = generator.from_noise(noise, table)
        latent[0], latent[-1] = first, last  # to the bit
    if np.isnan(table["turn"]).any():  # one of them lies as its stamp does: all are laid so
        ends = np.nan_to_num([here["turn"], there["turn"]])
        table["turn"] = (1 - share) * ends[0] + share * ends[1]
    return generator.from_latents(latent, table)


def sequence(
    generator: GalaxyGenerator, galaxy: Drawn | Known, redshifts: ArrayLike,
    follow: str = "fixed",
) -> Stamps:  # fmt: skip
    """Draw one galaxy at other redshifts: the same noise, another condition.

    Parameters
    ----------
    generator : GalaxyGenerator
        What draws.
    galaxy : Drawn or Known
        Which.
    redshifts : array_like (n,)
        Where.
    follow : {"fixed", "population"}
        Magnitude, size and ellipticity stay, or keep their place among the population of each
        redshift.

    Returns
    -------
    Stamps
        Of n galaxies, of id 0 to n - 1.

    Raises
    ------
    galsim.GalSimRangeError
        A redshift outside the trained range.
    galsim.GalSimValueError
        No redshift; an unknown ``follow``; see `interpolate`.
    """
    if follow not in ("fixed", "population"):
        raise GalSimValueError("Unknown sequence", follow, ("fixed", "population"))
    z = np.atleast_1d(np.asarray(redshifts, float))
    if z.ndim != 1 or not len(z):
        raise GalSimValueError("Give at least one redshift", redshifts)
    latent, row = _end(generator, galaxy)
    noise = generator.to_noise(latent[None], _table(row))
    table = QTable({name: np.full(len(z), row[name]) for name in _COLUMNS})
    if follow == "population":
        table = generator.follow_population(table, z)
    for name in POSE:
        table[name] = row[name]
    table["redshift"], table["id"] = z, np.arange(len(z))
    latents = generator.from_noise(np.repeat(noise, len(z), axis=0), table)
    return generator.from_latents(latents, table)


def _end(generator: GalaxyGenerator, end: Drawn | Known) -> tuple[NDArray, dict[str, float]]:
    """Latent (latent,) and conditions of one end."""
    if isinstance(end, Drawn):
        table = {**_numbers(end.row), "id": [end.id]}
        latent, filled = generator.latents(table, galsim.BaseDeviate(checked_seed(end.seed)))
        return latent[0], _first(filled)
    if isinstance(end, Known):
        row = _numbers(end.row)
        missing = [name for name in _COLUMNS if name not in row]
        if missing:
            raise GalSimValueError("A known latent needs all conditions; it lacks", missing)
        row = {name: [missing] for name, missing in POSE.items()} | row
        return np.asarray(end.latent, np.float32), _first(row)
    raise GalSimValueError("An end must be a galsim_vae.latents.Drawn or Known", end)


def _numbers(row: Any) -> dict[str, Any]:
    """A row as columns of one number, quantities in arcsec."""
    names = row.colnames if isinstance(row, Row) else list(row.keys())
    found = {}
    for name in names:
        value = row[name]
        if isinstance(row, Row) and name not in (*_COLUMNS, *POSE, "id"):
            continue  # a table of latents has more
        if hasattr(value, "unit") and value.unit is not None and name == "half_light_radius":
            value = value.to_value("arcsec")
        found[name] = [value]
    found.pop("id", None)
    return found


def _first(table: QTable | Mapping[str, Any]) -> dict[str, float]:
    names = (*_COLUMNS, *POSE)
    row = {name: np.asarray(getattr(table[name], "value", table[name]))[0] for name in names}
    return {name: float(value) for name, value in row.items()}


def _table(row: Mapping[str, float]) -> dict[str, Any]:
    return {name: [row[name]] for name in (*_COLUMNS, *POSE)}


def _between(here: dict[str, float], there: dict[str, float], share: NDArray) -> QTable:
    """Conditions on the way, in equal steps of magnitude, ln r, g, ln(1 + z) and the turn.

    The turn goes the shorter way; the hand is that of the nearer end.
    """

    def line(name, forth=lambda v: v, back=lambda v: v):
        return back((1 - share) * forth(here[name]) + share * forth(there[name]))

    return QTable({
        "magnitude": line("magnitude"),
        "half_light_radius": line("half_light_radius", np.log, np.exp),
        "g1": line("g1"),
        "g2": line("g2"),
        "redshift": line("redshift", np.log1p, np.expm1),
        "turn": here["turn"] + share * np.angle(np.exp(1j * (there["turn"] - here["turn"]))),
        "hand": np.where(share < 0.5, here["hand"], there["hand"]),
        "id": np.arange(len(share)),
    })  # fmt: skip


def _great_circle(first: NDArray, last: NDArray, share: NDArray) -> NDArray:
    """Points (n, dimensions) between two vectors, turned and stretched evenly (Shoemake 1985)."""
    lengths = [np.linalg.norm(v) for v in (first, last)]
    cosine = np.clip(first @ last / np.prod(lengths), -1, 1)
    angle = np.arccos(cosine)
    t = share[:, None]
    if np.sin(angle) < 1e-6:
        return (1 - t) * first + t * last
    one, other = (np.sin((1 - t) * angle), np.sin(t * angle))
    direction = (one * first / lengths[0] + other * last / lengths[1]) / np.sin(angle)
    return ((1 - t) * lengths[0] + t * lengths[1]) * direction
