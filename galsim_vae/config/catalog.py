"""The input ``vae_catalog``: {file_name | nobjects | area, ...}, and the keys of ``vae_generator``.

Its galaxies are decoded in blocks when they are drawn, by the process that draws them, and kept for
a while. Where GalSim's workers share an image, what they will need is decoded before they start, as
far as the cache holds it; with a GPU, which one process may use, all galaxies are.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import galsim
import galsim.config
import numpy as np
from galsim.errors import GalSimConfigError, GalSimConfigValueError, GalSimRangeError, GalSimWarning

from galsim_vae.conditions import Conditions, surface_density
from galsim_vae.deviates import checked_seed
from galsim_vae.filters import read_asked
from galsim_vae.stamps import Stamps

from .ahead import Span, coming_rows, first_galaxy, span_of
from .blocks import Blocks
from .cache import parse_size
from .contents import Contents, contents_of_file
from .generator import GeneratorInput
from .population import CUTS, Population, check_cuts

__all__ = ["CatalogInput", "CatalogLoader"]


class CatalogInput(GeneratorInput):
    """The input ``vae_catalog``: many galaxies, decoded in blocks as they are drawn.

    Parameters
    ----------
    file_name : str, optional
        Table of conditions, columns as in `galsim_vae.conditions`, and any others, in a format of
        `galsim_vae.tables`. Either this, ``nobjects`` or ``area``.
    nobjects : int, optional
        Number of galaxies to draw from the population.
    area : float, optional
        Of a square field on which galaxies of the population are laid, square arcmin.
    seed : int, optional
        Seed of the catalog, 1 to 2^32 - 1; None leaves it to be set before it is used.
    cache : float or str
        Memory for decoded galaxies in each process: a number of MB, or a text with a unit.
    dir, hdu, columns : str, str, dict, optional
        Of a file, see `galsim_vae.config.contents.contents_of_file`.
    density, center : float, galsim.CelestialCoord, optional
        Of a field, see `galsim_vae.config.population.Population`.
    **settings
        Cuts of the population (`galsim_vae.config.population.CUTS`), and as in `GeneratorInput`.

    Attributes
    ----------
    blocks : Blocks
        Decoded galaxies.

    Raises
    ------
    OSError
        The file does not exist or cannot be read as a table.
    galsim.GalSimRangeError
        ``nobjects``, ``area`` or ``density`` is not positive; a seed outside its range.
    galsim.GalSimConfigError
        A key that has no effect beside the others; a column that is not there.
    """

    _opt_params = {
        **GeneratorInput._opt_params, "seed": int, "cache": None, "dir": str, "hdu": str,
        "columns": dict, "density": float, "center": galsim.CelestialCoord,
        **dict.fromkeys(CUTS, float),
    }  # fmt: skip
    _single_params = [{"file_name": str, "nobjects": int, "area": float}]

    def __init__(
        self,
        file_name: str | None = None,
        nobjects: int | None = None,
        area: float | None = None,
        seed: int | None = None,
        cache: float | str = "512 MB",
        dir: str | None = None,
        hdu: str | None = None,
        columns: dict[str, str] | None = None,
        density: float | None = None,
        center: galsim.CelestialCoord | None = None,
        **settings: Any,
    ):
        cuts = {key: settings.pop(key) for key in CUTS if key in settings}
        super().__init__(**settings)
        for name, value in (("nobjects", nobjects), ("area", area), ("density", density)):
            if value is not None and not 0 < value < math.inf:
                raise GalSimRangeError(f"vae_catalog.{name} must be positive", value, 0)
        is_file = file_name is not None
        _refuse({"dir": dir, "hdu": hdu, "columns": columns}, not is_file, "is for a file")
        _refuse(
            {"density": density, "center": center}, area is None,
            "is for galaxies on an area: give area",
        )  # fmt: skip
        _refuse(cuts, is_file, "is for galaxies of the population: select the rows of the file")
        check_cuts(cuts)
        self.seed = None if seed is None else checked_seed(seed)
        self.blocks = Blocks(self._decode, parse_size(cache))
        self._field = {"nobjects": nobjects, "area": area, "density": density, "center": center}
        self._cuts = cuts
        self._file = contents_of_file(file_name, dir, hdu, columns) if is_file else None
        self._span: Span | None = None
        self._tell(self._file)

    def _tell(self, contents: Contents | None) -> None:
        if contents is None or not self._logger:
            return
        self._logger.info("vae_catalog: %s", contents.describe())
        for doubt in contents.doubts():
            self._logger.warning("vae_catalog: column %s. columns: renames it", doubt)

    def getNObjects(self) -> int:  # noqa: N802 (GalSim's name)
        """Return the number of galaxies.

        Raises
        ------
        galsim.GalSimConfigError
            It is random, and there is no seed yet.
        """
        if self._file is not None:
            return self._file.rows
        if self._field["nobjects"] is not None:
            return int(self._field["nobjects"])
        if self.seed is None:
            raise GalSimConfigError(
                "The number of galaxies on an area is random: give the vae_catalog a seed, or the "
                "image a nobjects"
            )
        return self.contents.rows

    def getApproxNObjects(self) -> int:  # noqa: N802
        """Return how many galaxies there are; without a seed, about how many before the cuts."""
        area, density = self._field["area"], self._field["density"]
        if area is None or self.seed is not None:
            return self.getNObjects()
        everything = surface_density(self.ranges["magnitude"][1])
        return math.ceil(area * (everything if density is None else density))

    @property
    def surface_density(self) -> float:
        """Galaxies of the population that pass the cuts, per square arcmin.

        Raises
        ------
        galsim.GalSimConfigError
            The catalog is of a file.
        """
        if self._file is not None:
            raise GalSimConfigError(
                "surface_density is known of a vae_catalog of the population, and not of a file"
            )
        return self._population.density

    @functools.cached_property
    def contents(self) -> Contents:
        """The conditions of the galaxies and all other columns: checked, and drawn if need be.

        Raises
        ------
        galsim.GalSimRangeError, galsim.GalSimValueError, galsim.GalSimIncompatibleValuesError
            As `galsim_vae.from_table`, of any row.
        """
        if self._file is None:
            return self._population.contents
        with self.warnings_logged():
            self._conditions(self._file.chosen(np.arange(self._file.rows)))
        return self._file

    def stamps(self) -> Stamps:
        """Decode all galaxies, in the order of the rows; nothing is kept."""
        return self._decode(list(range(self.getNObjects())))

    def stamp(
        self, row: int, config: dict, base: dict, state: list[galsim.BaseDeviate]
    ) -> tuple[Stamps, int]:
        """Decode a galaxy for an object, together with those that its image will need.

        Parameters
        ----------
        row : int
        config : dict
            The field, whose ``index`` says which row an object takes.
        base : dict
            The config, at the object.
        state : list of galsim.BaseDeviate
            Its `galsim_vae.config.ahead.rng_state` before the index was evaluated.

        Returns
        -------
        stamps : Stamps
        i : int
            Where in ``stamps`` the galaxy is.
        """
        def coming() -> Iterator[tuple[int, int]]:
            return coming_rows(config, base, self, self._span, state) if self._span else iter(())

        return self.blocks.get(row, base.get("obj_num", 0), coming)

    def given(self, row: int) -> Conditions | None:
        """Return the conditions of a row if none of them has to be drawn, else None."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GalSimWarning)  # said of all rows
            found = self._conditions(self.contents.chosen([row]))
        return found if np.isfinite(found.values).all() else None

    def has_drawn_ellipticity(self, row: int) -> bool:
        """Return whether a galaxy's ellipticity is from the population and not from the file."""
        if self._file is None or "g1" not in self._file:
            return True
        column = self._file["g1"][row : row + 1]
        return hasattr(column, "mask") and bool(np.ma.getmaskarray(column)[0])

    def checked_index(self, index: int) -> int:
        """Return the index of a galaxy of this catalog.

        Raises
        ------
        galsim.GalSimConfigError
            There is no such galaxy.
        """
        if not 0 <= index < self.getNObjects():
            raise GalSimConfigError(
                f"index={index} has gone past the {self.getNObjects()} galaxies of the vae_catalog"
            )
        return index

    def begin_image(self, base: dict, logger: Any) -> None:
        """Get ready for the objects of an image, and for those processes that share them."""
        _ = self.contents, self._noise  # before the processes part
        self._span = span = span_of(base, logger)
        shared = _nproc(base, "image") != 1
        self.blocks.begin(not shared or ("current_nproc" in base and not span.one_an_image))
        if not shared or "current_nproc" in base:
            return
        if self.on_gpu():
            self.decode_all()
        elif not span.one_an_image:
            first = first_galaxy(base, span)
            if first is not None:
                rows = coming_rows(first.config, first.base, self, span, first.state)
                self.blocks.prepare(row for _, row in rows)

    def decode_all(self) -> None:
        """Decode all galaxies and keep them, whatever the cache is."""
        self.blocks.keep_all(range(self.getNObjects()))

    @functools.cached_property
    def _population(self) -> Population:
        rng = galsim.BaseDeviate(self.seed)
        drawn = Population(
            self.sample_conditions, rng, self.ranges["magnitude"][1], cuts=self._cuts, **self._field
        )
        if self._logger:
            self._logger.info("vae_catalog: %s", drawn.describe())
            if drawn.contents.rows == 0:
                self._logger.warning(
                    "vae_catalog: the area has no galaxies with this seed, so that images without "
                    "nobjects are empty. MultiFits and DataCube then need nimages"
                )
        return drawn

    @functools.cached_property
    def _noise(self) -> galsim.BaseDeviate:
        """What the stamps are drawn with: each block begins with a copy."""
        return galsim.BaseDeviate(self.seed) if self._file is not None else self._population.rng

    def _conditions(self, table: dict[str, Any]) -> Conditions:
        return read_asked(table, self.ranges, extrapolate=self.extrapolate)

    def _decode(self, rows: list[int]) -> Stamps:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GalSimWarning)  # said of all rows
            return self.sample(self.contents.chosen(rows), self._noise.duplicate())


def _refuse(keys: dict[str, Any], wrong: bool, why: str) -> None:
    for name, value in keys.items():
        if wrong and value is not None:
            raise GalSimConfigValueError(f"vae_catalog.{name} {why}", value)


def _nproc(base: dict, field: str) -> int:
    """The processes that a field asks for; -1 is as many as there are cores."""
    found = base.get(field)
    if not isinstance(found, dict) or "nproc" not in found:
        return 1
    return galsim.config.ParseValue(found, "nproc", base, int)[0]


class CatalogLoader(galsim.config.InputLoader):
    """Loads a ``vae_catalog``; seeds it from GalSim's rng where it has no seed of its own."""

    def __init__(self) -> None:
        super().__init__(CatalogInput, has_nobj=True, takes_logger=True, use_proxy=False)

    def getKwargs(  # noqa: N802
        self, config: dict, base: dict, logger: Any
    ) -> tuple[dict[str, Any], bool]:
        """Parse the field. A catalog is reused for the next file if it has a seed of its own."""
        kwargs, safe = galsim.config.GetAllParams(
            config, base, opt=CatalogInput._opt_params, single=CatalogInput._single_params
        )
        kwargs["logger"] = logger
        if "seed" in kwargs:
            return kwargs, safe
        rng = galsim.config.GetRNG(config, base)
        kwargs["seed"] = None if rng is None else _seed_of(rng)
        return kwargs, False

    def initialize(  # noqa: N802
        self, input_objs: list[CatalogInput], num: int, base: dict, logger: Any
    ) -> None:
        """Draw and check what the processes of output.nproc have in common; with a GPU, decode."""
        catalog = input_objs[num]
        if catalog.seed is None:
            return
        _ = catalog.contents
        if "current_nproc" not in base and _nproc(base, "output") != 1 and catalog.on_gpu():
            catalog.decode_all()

    def setupImage(  # noqa: N802
        self, input_obj: CatalogInput, config: dict, base: dict, logger: Any
    ) -> None:
        """Decode before the image's workers start."""
        if input_obj.seed is None:
            # BuildImage, called without BuildFile, loads inputs before it has an rng.
            rng = galsim.config.GetRNG(config, base, logger, "vae_catalog")
            input_obj.seed = None if rng is None else _seed_of(rng)
        input_obj.begin_image(base, logger)


def _seed_of(rng: galsim.BaseDeviate) -> int:
    """A seed drawn from GalSim's rng; never 0, which would be none."""
    return int(rng.raw()) or 1


galsim.config.RegisterInputType("vae_catalog", CatalogLoader())
