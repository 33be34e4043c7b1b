"""`VAECatalog`: our galaxies as a catalogue of BlendingToolKit."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import galsim
import numpy as np
from astropy import units
from astropy.table import QTable, Table, vstack
from btk.catalog import Catalog
from galsim.errors import (
    GalSimIncompatibleValuesError,
    GalSimRangeError,
    GalSimValueError,
)

from galsim_vae.conditions import surface_density
from galsim_vae.deviates import checked_seed
from galsim_vae.filters import survey_filters, within_reach
from galsim_vae.filters.bandpass import warned_already
from galsim_vae.stamps import Stamps
from galsim_vae.tables import read_table

__all__ = ["DECODED_AT_ONCE", "DENSITY", "VAECatalog"]

logger = logging.getLogger(__name__)

#: Galaxies per square arcmin to F814W = 26.5, the faint end of the population that the weights
#: learnt, see `galsim_vae.conditions.surface_density`.
DENSITY = float(round(surface_density(26.5)))
#: Galaxies decoded at once for their magnitudes: 80 kB each.
DECODED_AT_ONCE = 1024
# The ellipticity must not be called g1 and g2 in a blend: there these are the shear.
_INTRINSIC = {"g1": "intrinsic_g1", "g2": "intrinsic_g2"}
_SHORT = {long: short for short, long in _INTRINSIC.items()}
_GEOMETRY = ("a_d", "b_d", "a_b", "b_b")
# How far a saved magnitude may be from the decoded one: rounding on another machine.
_TOLERANCE = 1e-3


class VAECatalog(Catalog):
    """Galaxies of a `galsim_vae.GalaxyGenerator` for BlendingToolKit.

    Normally made by `from_generator` or `from_file`. ``table`` is an `astropy.table.Table` with

    ===================== ======================================================================
    id                    integer; with the seed it names the galaxy: its pixels depend on both
    ra, dec               position, arcsec
    redshift              true redshift
    magnitude             AB, F814W
    half_light_radius     sqrt(ab) of the half-light ellipse in F814W, arcsec
    intrinsic_g1, _g2     ellipticity in F814W as a `galsim.Shear`, before lensing
    mag_<BAND>            AB magnitudes in other HST bands, where they were asked for
    a_d, b_d              semi-axes of the half-light ellipse, arcsec (`BasicSampling` wants a_d)
    a_b, b_b              zero: there is no separate bulge
    <survey>_<filter>     AB magnitude through each filter of surveycodex that the bands reach
    <filter>_ab           the same by the name of the filter alone: LSST's, where it has the name
    ===================== ======================================================================

    Its ``meta`` holds SEED, WEIGHTS and SHA256, so that ``catalog.table.write("catalogue.fits")``
    keeps all that `from_file` needs to make the same galaxies again.

    Parameters
    ----------
    raw_catalog : astropy Table
        Conditions as in `galsim_vae.conditions`, or some or all of the columns above. Conditions
        that are absent are drawn from the population; without ra and dec the galaxies are laid at
        random on a square of `DENSITY`.
    generator : galsim_vae.GalaxyGenerator
        It draws the galaxies.
    seed : int
        1 to 2^32 - 1: GalSim takes 0 for a seed of its own choice.
    extrapolate : bool
        Reach u filters, most of which lies blueward of F435W, by the galaxy's F435W - F606W slope
        and its F435W structure (`galsim_vae.filters.band_weights`). A catalogue asks for them
        unless told otherwise, since BTK's surveys have them; one warning is logged.

    Raises
    ------
    galsim.GalSimValueError
        An unknown column; an id that is there twice; a magnitude that is not the galaxy's; a
        position that is not finite; a seed that is not a whole number.
    galsim.GalSimRangeError
        A condition outside the trained range; a seed outside its range; no galaxies.
    """

    def __init__(self, raw_catalog: Table, generator, seed: int, extrapolate: bool = True):
        if len(raw_catalog) == 0:
            raise GalSimRangeError("A catalogue needs galaxies; their number is", 0, 1)
        self.generator, self.seed = generator, checked_seed(seed)
        self.extrapolate = bool(extrapolate)
        self._filters = {
            pair: band
            for pair, band in survey_filters().items()
            if within_reach(band, self.extrapolate)
        }
        self._warn()
        super().__init__(raw_catalog)

    @classmethod
    def from_generator(
        cls, gen, n: int, seed: int, density: float = DENSITY, extrapolate: bool = True
    ) -> VAECatalog:
        """Draw galaxies from the population, and lay them at random on a square.

        Parameters
        ----------
        gen : galsim_vae.GalaxyGenerator
            It draws conditions and galaxies.
        n : int
            Number of galaxies.
        seed : int
            Of everything: conditions, galaxies and positions; 1 to 2^32 - 1.
        density : float
            Galaxies per square arcmin, for the samplers that use positions.
        extrapolate : bool
            See `VAECatalog`.

        Returns
        -------
        VAECatalog
            With n galaxies, ids 0 to n - 1.
        """
        if not density > 0:
            raise GalSimRangeError("The density must be positive", density, 0)
        conditions = gen.sample_conditions(n, galsim.BaseDeviate(checked_seed(seed)))
        conditions["ra"], conditions["dec"] = _random_positions(n, seed, density)
        return cls(conditions, gen, seed, extrapolate)

    @classmethod
    def from_file(
        cls,
        catalog_files: str | os.PathLike,
        generator=None,
        seed: int | None = None,
        extrapolate: bool = True,
    ) -> VAECatalog:
        """Read a table (FITS, ECSV or what else astropy reads).

        Parameters
        ----------
        catalog_files : path
            A saved ``catalog.table``, or any table of conditions.
        generator : galsim_vae.GalaxyGenerator, optional
            By default the one of the file's WEIGHTS, or of the weights ``candels``.
        seed : int, optional
            By default the file's SEED, or 1.
        extrapolate : bool
            See `VAECatalog`.

        Raises
        ------
        OSError
            There is no such file, or it is no table.
        galsim.GalSimValueError
            The weights are not those that the file was made with; else as in `VAECatalog`.
        """
        table = read_table(catalog_files, Table)
        meta = {key.upper(): value for key, value in table.meta.items()}
        if generator is None:
            from galsim_vae.generator import GalaxyGenerator  # imports torch

            generator = GalaxyGenerator(meta.get("WEIGHTS", "candels"))
        digest = meta.get("SHA256", generator.sha256)
        if digest != generator.sha256:
            raise GalSimValueError(
                f"{catalog_files} was made with the weights {meta.get('WEIGHTS')} of another "
                "SHA256. Give a generator of these, or delete SHA256 from the table's meta to make "
                "other galaxies of the same conditions",
                generator.sha256,
                (digest,),
            )
        return cls(table, generator, meta.get("SEED", 1) if seed is None else seed, extrapolate)

    def stamps(self, ids: np.ndarray) -> Stamps:
        """Decode some of the galaxies in one call.

        Parameters
        ----------
        ids : ndarray (n,) int
            From the column id.

        Returns
        -------
        galsim_vae.Stamps
            In the order of ``ids``.
        """
        return self._decode(self._conditions[self.rows(ids)])

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Return the rows of the table that have some ids.

        Parameters
        ----------
        ids : ndarray (n,) int
            From the column id.

        Returns
        -------
        ndarray (n,) int
            Numbers of the rows.

        Raises
        ------
        galsim.GalSimValueError
            An id that the catalogue does not have.
        """
        known = np.asarray(self.table["id"])
        order = np.argsort(known)
        rows = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
        if len(rows) and (known[rows] != ids).any():
            unknown = np.asarray(ids)[known[rows] != ids][0]
            raise GalSimValueError("The catalogue has no galaxy of this id", int(unknown))
        return rows

    def _prepare_table(self, raw_catalog: Table) -> Table:
        raw = {_SHORT.get(name, name): raw_catalog[name] for name in raw_catalog.colnames}
        if len(raw) < len(raw_catalog.colnames):
            raise GalSimIncompatibleValuesError(
                "Give the ellipticity once, as g1 and g2 or as intrinsic_g1 and intrinsic_g2",
                names=raw_catalog.colnames,
            )
        derived = {f"{survey}_{name}" for survey, name in survey_filters()}
        derived |= {f"{name}_ab" for _, name in survey_filters()} | set(_GEOMETRY)
        given = {k: v for k, v in raw.items() if k not in derived | {"ra", "dec"}}
        given.setdefault("id", np.arange(len(raw_catalog)))
        self._conditions = self._complete(QTable(given))

        table = self._describe(*_positions(raw, len(raw_catalog), self.seed))
        for name in derived.intersection(raw, table.colnames):
            _check_same(name, np.asarray(raw[name], dtype=float), np.asarray(table[name]))
        return table

    def _complete(self, given: QTable) -> QTable:
        """Draw what is missing from the population; a complete table stays as it is, to the bit."""
        ids, count = np.unique(np.asarray(given["id"]), return_counts=True)
        if (count > 1).any():
            raise GalSimValueError("Each galaxy needs an id of its own", int(ids[count > 1][0]))
        wanted = ["magnitude", "half_light_radius", "g1", "g2", "redshift"]
        present = [name for name in wanted if name in given.colnames]
        masked = any(np.any(getattr(given[name], "mask", False)) for name in present)
        if masked or present != wanted:
            drawn = vstack([stamps.table for stamps in self._batches(given)])
            for name in wanted:
                given[name] = drawn[name]
        return given

    def _batches(self, conditions: QTable) -> Iterator[Stamps]:
        for start in range(0, len(conditions), DECODED_AT_ONCE):
            yield self._decode(conditions[start : start + DECODED_AT_ONCE])

    def _decode(self, conditions: QTable) -> Stamps:
        return self.generator.sample(conditions, galsim.BaseDeviate(self.seed))

    def _describe(self, ra: np.ndarray, dec: np.ndarray) -> Table:
        """The table, see the class."""
        given = self._conditions
        table = Table({"id": np.asarray(given["id"]), "ra": ra, "dec": dec})
        for name in ("redshift", "magnitude"):
            table[name] = np.asarray(given[name])
        radius = units.Quantity(given["half_light_radius"], units.arcsec).value
        table["half_light_radius"] = radius
        g = np.hypot(given["g1"], given["g2"])
        for name, long in _INTRINSIC.items():
            table[long] = np.asarray(given[name])
        for name in given.colnames:
            if name.startswith("mag_"):
                table[name] = given[name]
        stretch = np.sqrt((1 + g) / (1 - g))
        for name, value in zip(_GEOMETRY, (radius * stretch, radius / stretch, 0, 0), strict=True):
            table[name] = value
        for name in ("ra", "dec", "half_light_radius", *_GEOMETRY):
            table[name].unit = units.arcsec
        self._add_magnitudes(table)
        table.meta = {
            "SEED": self.seed,
            "WEIGHTS": _weights_name(self.generator.path),
            "SHA256": self.generator.sha256,
        }
        return table

    def _add_magnitudes(self, table: Table) -> None:
        with warned_already():
            batches = [
                [stamps.magnitude(band, self.extrapolate) for band in self._filters.values()]
                for stamps in self._batches(self._conditions)
            ]
        magnitudes = dict(zip(self._filters, np.concatenate(batches, axis=1), strict=True))
        for (_, name), magnitude in magnitudes.items():
            if f"{name}_ab" not in table.colnames:
                table[f"{name}_ab"] = magnitude
        for (survey, name), magnitude in magnitudes.items():
            table[f"{survey}_{name}"] = magnitude

    def _warn(self) -> None:
        far = [
            f"{s} {n}" for (s, n), band in self._filters.items() if not within_reach(band, False)
        ]
        if far:
            logger.warning(
                "Most of the filters %s lies blueward of F435W: there galaxies are extrapolated "
                "with their F435W - F606W slope and their F435W structure.",
                ", ".join(far),
            )


def _positions(raw: dict, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Give ra and dec, arcsec: from the columns, or random on a square of `DENSITY`."""
    if ("ra" in raw) != ("dec" in raw):
        raise GalSimIncompatibleValuesError("Give both ra and dec, or neither", names=list(raw))
    if "ra" not in raw:
        return _random_positions(n, seed, DENSITY)
    return _arcsec("ra", raw["ra"]), _arcsec("dec", raw["dec"])


def _arcsec(name: str, column) -> np.ndarray:
    """A column of angles; numbers without a unit are arcsec."""
    values = np.ma.filled(np.ma.asarray(column.value).astype(float), np.nan)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise GalSimValueError(
            f"{name} of row {bad[0]} must be finite. Leave out ra and dec to have galaxies laid at "
            "random",
            float(values[bad[0]]),
        )
    return units.Quantity(values, column.unit or "arcsec").to_value("arcsec")


def _random_positions(n: int, seed: int, density: float) -> tuple[np.ndarray, np.ndarray]:
    ra, dec = np.random.default_rng(seed).uniform(size=(n, 2)).T
    width = 60 * np.sqrt(n / density)
    return width * ra, width * dec


def _check_same(name: str, saved: np.ndarray, found: np.ndarray) -> None:
    wrong = ~(np.abs(saved - found) <= _TOLERANCE)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise GalSimValueError(
            f"Column {name} follows from the galaxies, and row {row} has another value than the "
            f"galaxy's {found[row]:.4f}. Leave the column out; to fix colours give mag_<BAND> such "
            "as mag_F606W. The value is",
            float(saved[row]),
        )


def _weights_name(path: str | os.PathLike) -> str:
    """The name of shipped weights, the path of others."""
    from galsim_vae.model import file as modelfile  # imports torch

    name = os.path.splitext(os.path.basename(path))[0]
    with contextlib.suppress(OSError):
        if os.path.samefile(modelfile.find(name), path):
            return name
    return os.fspath(path)
