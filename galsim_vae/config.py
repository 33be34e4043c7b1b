"""Types for GalSim's config files: what ``modules: [galsim_vae]`` adds.

Inputs
    ``vae_generator``: {weights, device, exact, extrapolate}, all optional, and the input itself
    is optional too. ``vae_catalog``: {file_name | nobjects, weights, device, exact, extrapolate,
    seed}: decodes all its galaxies once, before the worker processes start.
Object
    ``VAEGalaxy``: {magnitude, half_light_radius, ellipticity, redshift, band, zeropoint}, or
    {index, band, zeropoint} with a ``vae_catalog``; every key is optional.
Value
    ``VAEValue``: {key, index}, a column of the ``vae_catalog``.

With ``bandpass`` in the image field the object is chromatic.

What GalSim does with processes decides the form of this module. Inputs are loaded and images are
set up in the parent, which then forks. The settings of ``vae_generator`` hold nothing; the network
is loaded by each process at its first galaxy, so that the parent has no CUDA context and no torch
threads to lose in the fork. The catalog is decoded in the parent when the image is set up, and
workers read it in the memory that they inherit.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import galsim
import galsim.config
from astropy.table import QTable
from galsim.config.value import SetDefaultIndex
from galsim.errors import (
    GalSimConfigError,
    GalSimConfigValueError,
    GalSimDeprecationWarning,
    GalSimRangeError,
)

from .bands import REFERENCE
from .conditions import one_row, read_conditions
from .deviates import checked_seed
from .filters.bandpass import check_reach
from .stamps import Stamps, in_counts

__all__ = ["CatalogInput", "CatalogLoader", "GeneratorInput"]

_SETTINGS = {"weights": str, "device": str, "exact": bool, "extrapolate": bool}
_CONDITIONS = {
    "magnitude": float,
    "half_light_radius": float,
    "ellipticity": galsim.Shear,
    "redshift": float,
}
_BAND = {"band": str, "zeropoint": float}


class GeneratorInput:
    """The input ``vae_generator``: which network makes the galaxies.

    Parameters
    ----------
    weights : str
        Name of the weights shipped with the package, or a path.
    device : str
        "auto", "cpu", "cuda", ...
    exact : bool
        Correct flux, size and shape to exactly what was asked for.
    extrapolate : bool
        Warn instead of raising where a condition is out of the trained range.
    """

    _opt_params = _SETTINGS

    def __init__(
        self,
        weights: str = "candels",
        device: str = "auto",
        exact: bool = True,
        extrapolate: bool = False,
    ):
        self.weights, self.device = weights, device
        self.exact, self.extrapolate = exact, extrapolate

    def sample(self, table: QTable | dict[str, Any], rng: galsim.BaseDeviate) -> Stamps:
        """Decode a table of conditions, or one row as a dict: see `GalaxyGenerator.sample`."""
        with _threads(alone=isinstance(table, dict)):
            generator = _generator(self.weights, self.device)
            return generator.sample(table, rng, exact=self.exact, extrapolate=self.extrapolate)

    def sample_conditions(self, n: int, rng: galsim.BaseDeviate) -> QTable:
        """Draw conditions from the population, see `GalaxyGenerator.sample_conditions`."""
        with _threads(alone=False):
            return _generator(self.weights, self.device).sample_conditions(n, rng)


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

    _opt_params = {**_SETTINGS, "seed": int}
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
        """Number of galaxies."""
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


class CatalogLoader(galsim.config.InputLoader):
    """Loads a ``vae_catalog``; seeds it from GalSim's rng where it has no seed of its own."""

    def __init__(self) -> None:
        super().__init__(CatalogInput, has_nobj=True, use_proxy=False)

    def getKwargs(  # noqa: N802
        self, config: dict, base: dict, logger: Any
    ) -> tuple[dict[str, Any], bool]:
        """Parse the field. A catalog is reused for the next file if it has a seed of its own."""
        kwargs, safe = galsim.config.GetAllParams(
            config, base, opt=CatalogInput._opt_params, single=CatalogInput._single_params
        )
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


@functools.lru_cache(maxsize=4)
def _generator(weights: str, device: str) -> Any:
    """The generator, loaded once a process. torch is first imported here."""
    from .generator import GalaxyGenerator

    return GalaxyGenerator(weights, device=device)


@contextlib.contextmanager
def _threads(alone: bool) -> Iterator[None]:
    """One torch thread for a single galaxy, and always in a worker process.

    More would not be faster; workers share the cores; and a forked process does not have the
    threads that its parent's pool knows of: it would wait for them for ever, in the first torch
    operation that is large enough to be shared, be it in making the network or in running it.
    """
    torch = sys.modules.get("torch")
    if torch is None or (not alone and multiprocessing.parent_process() is None):
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _build_galaxy(
    config: dict, base: dict, ignore: list[str], gsparams: dict, logger: Any
) -> tuple[galsim.GSObject | galsim.ChromaticObject, bool]:
    """Build a VAEGalaxy from its field; GalSim transforms it afterwards."""
    uses_catalog = _uses_catalog(config, base)
    ignored = not uses_catalog and _has_input(base, "vae_catalog")
    if ignored and not base.get("_vae_reported_catalog"):
        base["_vae_reported_catalog"] = True
        logger.warning(
            "VAEGalaxy: a magnitude, half_light_radius or ellipticity makes a new galaxy; the "
            "vae_catalog is not used, and VAEValue does not describe what is drawn"
        )
    build = _from_catalog if uses_catalog else _from_generator
    # BuildGSObject applies flux, but leaves it to the builders to allow the key.
    stamps, i, kwargs, safe = build(config, base, [*ignore, "num", "flux"], logger)
    params = galsim.GSParams(**gsparams) if gsparams else None
    bandpass = base.get("bandpass")
    if bandpass is None or "sed" in config:
        band = kwargs.get("band", REFERENCE)
        return stamps.galaxy(i, band, kwargs.get("zeropoint"), params), safe

    if "band" in kwargs and not base.get("_vae_reported_band"):
        base["_vae_reported_band"] = True
        logger.warning("VAEGalaxy: band = %s has no effect with image.bandpass", kwargs["band"])
    check_reach(bandpass)
    one = bandpass if _drawn_through_one_bandpass(config, base) else None
    galaxy = stamps.chromatic(i, params, one)
    if "zeropoint" in kwargs:
        galaxy = in_counts(galaxy, bandpass, kwargs["zeropoint"])
    if "flux" in config:
        galaxy = _WithBandpass(galaxy, bandpass)
    if "redshift" in config:
        # GalSim advises to put the redshift into the sed field, which there is none of here.
        # What it does with it, atRedshift, is right: the galaxy is already at this redshift.
        warnings.filterwarnings("ignore", r"gal\.redshift has been", GalSimDeprecationWarning)
    return galaxy, False


def _drawn_through_one_bandpass(config: dict, base: dict) -> bool:
    """Whether nothing but the galaxy and the image's bandpass depends on the wavelength.

    Then the galaxy's bands can be added up before it is drawn. GalSim's own stamps have their PSF
    before they ask for the galaxy. Whatever is not known to be achromatic counts as chromatic.
    """
    stamp, psf = base.get("stamp", {}), base.get("psf")
    return (
        config is base.get("gal")
        and (psf is None or isinstance(psf.get("current", [None])[0], galsim.GSObject))
        and stamp.get("type", "Basic") in ("Basic", "Ring")
        and stamp.get("draw_method", "auto") in ("auto", "fft", "no_pixel")
        and "photon_ops" not in stamp
        and base.get("sensor") is None
    )


class _WithBandpass(galsim.ChromaticSum):
    """A chromatic galaxy that knows its image's bandpass.

    GalSim's config code calls ``withFlux(flux)`` for the key ``flux`` where there is no ``sed``,
    but a chromatic object needs a bandpass to have a flux in.
    """

    def __init__(self, galaxy: galsim.ChromaticSum, bandpass: galsim.Bandpass):
        super().__init__(galaxy.obj_list)
        self._bandpass = bandpass

    def withFlux(  # noqa: N802
        self, target_flux: float, bandpass: galsim.Bandpass | None = None
    ) -> galsim.ChromaticObject:
        return super().withFlux(target_flux, self._bandpass if bandpass is None else bandpass)


def _has_input(base: dict, name: str) -> bool:
    return name in base.get("input", {}) or name in base.get("_input_objs", {})


def _uses_catalog(config: dict, base: dict) -> bool:
    """Whether the galaxy is a row of a catalog: asked for by index, or not described at all."""
    described = any(key in config for key in _CONDITIONS if key != "redshift")
    return not described and ("index" in config or _has_input(base, "vae_catalog"))


def _from_generator(
    config: dict, base: dict, ignore: list[str], logger: Any
) -> tuple[Stamps, int, dict[str, Any], bool]:
    """Decode a new galaxy from the conditions in the field."""
    kwargs, _ = galsim.config.GetAllParams(
        config, base, opt={**_CONDITIONS, **_BAND}, ignore=ignore
    )
    rng = galsim.config.GetRNG(config, base, logger, "VAEGalaxy")
    if rng is None:
        rng = galsim.BaseDeviate()
    if _has_input(base, "vae_generator"):
        settings = galsim.config.GetInputObj("vae_generator", config, base, "VAEGalaxy")
    else:
        settings = GeneratorInput()
    logger.debug("obj %d: VAEGalaxy kwargs = %s", base.get("obj_num", 0), kwargs)
    table = one_row(**{name: kwargs.get(name) for name in _CONDITIONS})
    return settings.sample(table, rng), 0, kwargs, False


def _from_catalog(
    config: dict, base: dict, ignore: list[str], logger: Any
) -> tuple[Stamps, int, dict[str, Any], bool]:
    """Take a galaxy that is already decoded."""
    catalog = galsim.config.GetInputObj("vae_catalog", config, base, "VAEGalaxy")
    SetDefaultIndex(config, catalog.getNObjects())
    opt = {"index": int, "redshift": float, **_BAND}
    kwargs, safe = galsim.config.GetAllParams(config, base, opt=opt, ignore=ignore)
    index = _checked_index(kwargs["index"], catalog)
    redshift = catalog.table["redshift"][index]
    if kwargs.get("redshift", redshift) != redshift:
        raise GalSimConfigValueError(
            f"Galaxy {index} of the vae_catalog has another redshift, {redshift}. Leave out "
            "gal.redshift, or take it from the catalog with VAEValue; it cannot be",
            kwargs["redshift"],
        )
    logger.debug("obj %d: VAEGalaxy index = %d", base.get("obj_num", 0), index)
    return catalog.decode(), index, kwargs, safe


def _checked_index(index: int, catalog: CatalogInput) -> int:
    if not 0 <= index < catalog.getNObjects():
        raise GalSimConfigError(
            f"index={index} has gone past the {catalog.getNObjects()} galaxies of the vae_catalog"
        )
    return index


def _catalog_value(config: dict, base: dict, value_type: type | None) -> tuple[Any, bool]:
    """A column of the catalog, by default of the current galaxy."""
    catalog = galsim.config.GetInputObj("vae_catalog", config, base, "VAEValue")
    SetDefaultIndex(config, catalog.getNObjects())
    kwargs, safe = galsim.config.GetAllParams(
        config, base, req={"key": str, "index": int}, opt={"num": int}
    )
    index = _checked_index(kwargs["index"], catalog)
    table = catalog.table
    if kwargs["key"] not in table.colnames:
        raise GalSimConfigValueError("Unknown VAEValue.key", kwargs["key"], table.colnames)
    value = table[kwargs["key"]][index]
    value = getattr(value, "value", value).item()  # arcsec where it has a unit
    # An item of a truth catalog is asked for without a type.
    return value if value_type is None else value_type(value), safe


galsim.config.RegisterInputType(
    "vae_generator", galsim.config.InputLoader(GeneratorInput, use_proxy=False)
)
galsim.config.RegisterInputType("vae_catalog", CatalogLoader())
galsim.config.RegisterObjectType(
    "VAEGalaxy", _build_galaxy, input_type=["vae_generator", "vae_catalog"]
)
galsim.config.RegisterValueType("VAEValue", _catalog_value, [float, int], input_type="vae_catalog")
