"""The object ``VAEGalaxy``: {magnitude, half_light_radius, ellipticity, redshift, band, zeropoint}.

With a ``vae_catalog`` {index, band, zeropoint}. Every key is optional. With ``bandpass`` in the
image field the object is chromatic.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import galsim
import galsim.config
from galsim.errors import GalSimConfigError, GalSimConfigValueError, GalSimDeprecationWarning

from galsim_vae.bands import REFERENCE
from galsim_vae.conditions import NAMES
from galsim_vae.deviates import draw_seed
from galsim_vae.filters import check_reach, in_reach
from galsim_vae.filters.bandpass import warn_if_extrapolated
from galsim_vae.galaxy import ChromaticVAEGalaxy
from galsim_vae.stamps import Stamps, in_counts

from .ahead import Reached, rng_state
from .current import Current, remember
from .foresee import Asked, only_foreseen
from .generator import GeneratorInput
from .rows import CONDITIONS, catalog_of, has_input, parse_row, uses_catalog
from .single import made

__all__ = ["build_galaxy"]

_BAND = {"band": str, "zeropoint": float}


class _Made(NamedTuple):
    """Row ``i`` of some stamps, and how it is asked for."""

    stamps: Stamps
    i: int
    keys: dict[str, Any]
    safe: bool
    source: GeneratorInput
    drew_ellipticity: bool
    row: int | None = None  # of a catalog


def build_galaxy(
    config: dict, base: dict, ignore: list[str], gsparams: dict, logger: Any
) -> tuple[galsim.GSObject | galsim.ChromaticObject, bool]:
    """Build a VAEGalaxy from its field; GalSim transforms it afterwards.

    Raises
    ------
    galsim.GalSimConfigError
        ``ellip`` beside an ellipticity that was drawn; a row that the catalog has not; another
        redshift than the catalog's.
    """
    in_catalog = uses_catalog(config, base)
    if not in_catalog and has_input(base, "vae_catalog"):
        _report_once(
            base, "catalog", logger,
            "VAEGalaxy: a magnitude, half_light_radius or ellipticity makes a new galaxy; the "
            "vae_catalog is not used",
        )  # fmt: skip
    if in_catalog:
        only_foreseen(base, None)
    build = _from_catalog if in_catalog else _from_generator
    # BuildGSObject applies flux, but leaves it to the builders to allow the key.
    made = build(config, base, [*ignore, "num", "flux"], logger)
    if made.drew_ellipticity:
        _refuse_ellip(config, base, in_catalog)
    remember(base, Current(made.stamps.truth(made.i), made.source, made.row))
    if "redshift" not in config and "sed" not in config:
        # What GalSim looks for, for an NFW halo or gal.redshift in a truth catalog.
        config["redshift"] = {"type": "VAEValue", "key": "redshift"}
    with made.source.warnings_logged():
        galaxy = _drawable(made, config, base, gsparams, logger)
    if isinstance(galaxy, galsim.GSObject):
        return galaxy, made.safe
    # GalSim advises to put the redshift into the sed field, which there is none of here.
    # What it does with it, atRedshift, is right: the galaxy is already at this redshift.
    warnings.filterwarnings("ignore", r"gal\.redshift has been", GalSimDeprecationWarning)
    return galaxy, False


def _drawable(
    made: _Made, config: dict, base: dict, gsparams: dict, logger: Any
) -> galsim.GSObject | galsim.ChromaticObject:
    """The galaxy in its band or, with an image bandpass, in all bands."""
    params = galsim.GSParams(**gsparams) if gsparams else None
    extrapolate = made.source.extrapolate
    zeropoint = made.keys.get("zeropoint")
    bandpass = base.get("bandpass")
    if bandpass is None or "sed" in config:
        band = made.keys.get("band", REFERENCE)
        return made.stamps.galaxy(made.i, band, zeropoint, params, extrapolate)

    if "band" in made.keys:
        message = f"VAEGalaxy: band = {made.keys['band']} has no effect with image.bandpass"
        _report_once(base, "band", logger, message)
    galaxy = _chromatic(made, params, bandpass, _drawn_through_one_bandpass(config, base))
    if zeropoint is not None:
        galaxy = in_counts(galaxy, bandpass, zeropoint)
    if "flux" in config:
        galaxy = _WithBandpass(galaxy, bandpass)
    return galaxy


def _chromatic(
    made: _Made, params: galsim.GSParams | None, bandpass: galsim.Bandpass, alone: bool
) -> galsim.ChromaticSum:
    extrapolate = made.source.extrapolate
    if alone:
        return made.stamps.chromatic(made.i, params, bandpass, extrapolate)
    check_reach(bandpass, extrapolate)
    warn_if_extrapolated(bandpass)
    return made.stamps.chromatic(made.i, params, None, not in_reach(bandpass))


def _report_once(base: dict, what: str, logger: Any, message: str) -> None:
    key = f"_vae_reported_{what}"
    if not base.get(key):
        base[key] = True
        logger.warning("%s", message)


def _keys(
    config: dict, base: dict, allowed: dict[str, type], ignore: list[str]
) -> tuple[dict[str, Any], bool]:
    """The keys of the field. The galaxy's own redshift is known when it is built, and not asked."""
    redshift = config.get("redshift")
    if (
        isinstance(redshift, dict)
        and str(redshift.get("type")).startswith("VAEValue")
        and redshift.get("key") == "redshift"
        and "index" not in redshift
    ):
        allowed = {name: kind for name, kind in allowed.items() if name != "redshift"}
        ignore = [*ignore, "redshift"]
    return galsim.config.GetAllParams(config, base, opt=allowed, ignore=ignore)


def _refuse_ellip(config: dict, base: dict, in_catalog: bool) -> None:
    """GalSim would shear the galaxy by ``ellip``, on top of the ellipticity that it has."""
    outer = base.get("gal")
    around = isinstance(outer, dict) and "ellip" in outer and _holds(outer, config)
    if "ellip" in config or around:
        instead = (
            "give the vae_catalog the columns g1 and g2" if in_catalog
            else "write `ellipticity:` in the place of `ellip:`, in the VAEGalaxy itself"
        )  # fmt: skip
        raise GalSimConfigError(
            "`ellip` would be added to the ellipticity that VAEGalaxy draws from the population. "
            f"To set the galaxy's ellipticity {instead}; to distort a galaxy of drawn ellipticity "
            "write `shear:`"
        )


def _holds(outer: dict, config: dict) -> bool:
    """Whether a Sum or List has this galaxy among its items, at any depth."""
    items = outer.get("items", ())
    return any(
        item is config or (isinstance(item, dict) and _holds(item, config))
        for item in (items if isinstance(items, list) else ())
    )


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


class _WithBandpass(ChromaticVAEGalaxy):
    """A chromatic galaxy that knows its image's bandpass.

    GalSim's config code calls ``withFlux(flux)`` for the key ``flux`` where there is no ``sed``,
    but a chromatic object needs a bandpass to have a flux in.
    """

    def __init__(self, galaxy: galsim.ChromaticSum, bandpass: galsim.Bandpass):
        super().__init__(galaxy.obj_list, getattr(galaxy, "truth", None))
        self._bandpass = bandpass

    def withFlux(  # noqa: N802
        self, target_flux: float, bandpass: galsim.Bandpass | None = None
    ) -> galsim.ChromaticObject:
        return super().withFlux(target_flux, self._bandpass if bandpass is None else bandpass)


def _from_generator(config: dict, base: dict, ignore: list[str], logger: Any) -> _Made:
    """Decode a new galaxy from the conditions in the field."""
    keys = _keys(config, base, {**CONDITIONS, **_BAND}, ignore)[0]
    rng = galsim.config.GetRNG(config, base, logger, "VAEGalaxy")
    if rng is None:
        rng = galsim.BaseDeviate()
    if has_input(base, "vae_generator"):
        source = galsim.config.GetInputObj("vae_generator", config, base, "VAEGalaxy")
    else:
        source = GeneratorInput()
    logger.debug("obj %d: VAEGalaxy kwargs = %s", base.get("obj_num", 0), keys)
    conditions = {name: keys[name] for name in CONDITIONS if name in keys}
    asked = Asked(conditions, draw_seed(rng.duplicate()), source)
    only_foreseen(base, asked)
    stamps, i = made(base, asked)
    rng.discard(2)  # not before: an object that cannot be made may be tried again
    return _Made(stamps, i, keys, False, source, "ellipticity" not in keys)


def _from_catalog(config: dict, base: dict, ignore: list[str], logger: Any) -> _Made:
    """Take a galaxy of the catalog, decoded together with those that will be needed."""
    Reached.check(config, base)
    catalog = catalog_of(config, base, "VAEGalaxy")
    state = rng_state(base)
    row, safe = parse_row(config, base, catalog)
    keys, others_safe = _keys(config, base, {"redshift": float, **_BAND}, [*ignore, "index"])
    stamps, i = catalog.stamp(row, config, base, state)
    redshift = stamps.conditions.values[i, NAMES.index("redshift")]
    if keys.get("redshift", redshift) != redshift:
        raise GalSimConfigValueError(
            f"Galaxy {row} of the vae_catalog has another redshift, {redshift}. Leave out "
            "gal.redshift, or take it from the catalog with VAEValue; it cannot be",
            keys["redshift"],
        )
    logger.debug("obj %d: VAEGalaxy index = %d", base.get("obj_num", 0), row)
    drew = catalog.has_drawn_ellipticity(row)
    return _Made(stamps, i, keys, safe and others_safe, catalog, drew, row)


galsim.config.RegisterObjectType(
    "VAEGalaxy", build_galaxy, input_type=["vae_generator", "vae_catalog"]
)
