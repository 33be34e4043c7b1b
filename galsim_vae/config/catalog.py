"""The input ``vae_catalog``: {file_name | nobjects, seed}, and the keys of ``vae_generator``.

Its galaxies are decoded in one go, in the parent, when the image is set up; workers read them in
the memory that they inherit.
"""

from __future__ import annotations

import functools
from typing import Any

import galsim
import galsim.config
import numpy as np
from astropy.table import QTable
from galsim.errors import GalSimConfigError, GalSimRangeError

from galsim_vae.conditions import read_conditions
from galsim_vae.deviates import checked_seed
from galsim_vae.stamps import Stamps

from .generator import GeneratorInput

__all__ = ["CatalogInput", "CatalogLoader"]


class CatalogInput(GeneratorInput):
    """The input ``vae_catalog``: many galaxies, decoded in one go.

    Parameters
    ----------
    file_name : str, optional
        Table of conditions (FITS, ECSV or what else astropy reads), columns as in
        `galsim_vae.conditions`. Either this or ``nobjects``.
    nobjects : int, optional
        Number of galaxies to draw from the population.
    seed : int, optional
        Seed of the catalog, 1 to 2^32 - 1; None leaves it to be set before the galaxies are
        decoded.
    decode : bool
        Decode now and not when the galaxies are first needed.
    **settings
        As in `GeneratorInput`.

    Raises
    ------
    OSError
        The file does not exist or cannot be read as a table.
    galsim.GalSimRangeError
        ``nobjects`` is not positive; a seed outside its range.
    """

    _opt_params = {**GeneratorInput._opt_params, "seed": int}
    _single_params = [{"file_name": str, "nobjects": int}]

    def __init__(
        self,
        file_name: str | None = None,
        nobjects: int | None = None,
        seed: int | None = None,
        decode: bool = False,
        **settings: Any,
    ):
        super().__init__(**settings)
        if nobjects is not None and nobjects <= 0:
            raise GalSimRangeError("vae_catalog.nobjects must be positive", nobjects, 1)
        self.seed = None if seed is None else checked_seed(seed)
        self._conditions = None if file_name is None else read_conditions(file_name)
        self._nobjects = nobjects if self._conditions is None else len(self._conditions)
        self._stamps: Stamps | None = None
        if decode:
            self.decode()

    def getNObjects(self) -> int:  # noqa: N802 (GalSim's name)
        """Return the number of galaxies."""
        return int(self._nobjects)  # type: ignore[arg-type]

    def decode(self) -> Stamps:
        """Decode all galaxies, the first time that this is called."""
        if self._stamps is None:
            rng = galsim.BaseDeviate(self.seed)
            table = self._conditions
            if table is None:
                table = self.sample_conditions(self.getNObjects(), rng)
            self._stamps = self.sample(table, rng)
        return self._stamps

    @functools.cached_property
    def table(self) -> QTable:
        """The galaxies' conditions, those that were drawn included."""
        return self.decode().table

    def has_drawn_ellipticity(self, index: int) -> bool:
        """Return whether a galaxy's ellipticity is from the population and not from the file."""
        table = self._conditions
        if table is None or "g1" not in table.colnames:
            return True
        return hasattr(table["g1"], "mask") and bool(np.ma.getmaskarray(table["g1"])[index])

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
            # Then it is the same for all files: the processes of output.nproc inherit it.
            kwargs["decode"] = True
            return kwargs, safe
        rng = galsim.config.GetRNG(config, base)
        kwargs["seed"] = None if rng is None else _seed_of(rng)
        return kwargs, False

    def setupImage(  # noqa: N802
        self, input_obj: CatalogInput, config: dict, base: dict, logger: Any
    ) -> None:
        """Decode before the image's workers start."""
        if input_obj.seed is None:
            # BuildImage, called without BuildFile, loads inputs before it has an rng.
            rng = galsim.config.GetRNG(config, base, logger, "vae_catalog")
            input_obj.seed = None if rng is None else _seed_of(rng)
        input_obj.decode()


def _seed_of(rng: galsim.BaseDeviate) -> int:
    """A seed drawn from GalSim's rng; never 0, which would be none."""
    return int(rng.raw()) or 1


galsim.config.RegisterInputType("vae_catalog", CatalogLoader())
