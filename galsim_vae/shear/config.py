"""What a shear-calibration run is to do: read from YAML, checked in full before any work."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from galsim.errors import (
    GalSimConfigError,
    GalSimConfigValueError,
    GalSimRangeError,
    GalSimValueError,
)

from galsim_vae.model import file as modelfile
from galsim_vae.settings import build, how_to_install

from .estimators import ESTIMATORS, make_estimator
from .survey import SurveyView, survey_view

__all__ = ["CalibrationConfig"]

RENDERERS = ("batch", "galsim")
LAYOUTS = ("isolated", "blended")

#: The largest shear: beyond, the terms of order g^2 are not small.
MAX_SHEAR = 0.2
#: A stamp must hold this many FWHM of the PSF on each side.
LEAST_STAMP = 4.0
#: Changes where the same configuration gives other results, so that old chunks are not reused.
_RESULT_VERSION = 3


@dataclass(frozen=True)
class CalibrationConfig:
    """A shear-calibration run.

    Attributes
    ----------
    output : Path
        Folder for chunks, table and figures.
    galaxies : int
        Galaxies (``isolated``) or scenes (``blended``). Each is drawn with +g and with -g, and
        with ``ring`` once more after a turn by 90 degrees.
    survey, band : str
        A survey and a filter of surveycodex: ``LSST`` and ``i``, ``Euclid_VIS`` and ``IE``,
        ``Roman_WFI`` and ``F158``.
    depth : float
        Exposure time over that of the whole survey.
    psf_fwhm : float or None
        Arcsec; None for the survey's.
    psf_shear : (2,)
        (g1, g2) of the PSF.
    shear : (2,)
        (g1, g2) of the +g images; 0 leaves m out.
    redshift : (2,) or None
        Only galaxies whose true redshift is in this half-open range are sheared; None for all.
    max_magnitude : float or None
        Faintest galaxies, AB in F814W; None for the whole population.
    layout : str
        ``isolated``: each galaxy in the middle of a stamp. ``blended``: galaxies at random in
        scenes, found by a detector.
    stamp_size : int
        Width of a galaxy's stamp, pixels.
    scene_size : int
        Width of a blended scene, pixels. Galaxies lie in a disc that leaves half a stamp free.
    density : float or None
        Galaxies per square arcmin of a blended scene; None for the counts to ``max_magnitude`` of
        the LSST Science Book (arXiv:0912.0201, equation 3.7).
    estimators : tuple of str
        ``anacal``, ``regauss``, ``ngmix`` (isolated galaxies only), ``metadetect``.
    ring, twins : bool
        Whether to draw partners turned by 90 degrees, and Sersic twins.
    renderer : str
        ``batch`` (`galsim_vae.Stamps.render`) or ``galsim``, which draws one at a time.
    chunk : int
        Galaxies, or scenes, that are done and stored together.
    bins : int
        Bins, of equal numbers of galaxies, in each property.
    seed : int
    weights : str
        As in `galsim_vae.GalaxyGenerator`.
    device : str
        As in `galsim_vae.GalaxyGenerator`; tables are the same only on devices of one kind.
    target_error : float
        Wanted error of m; only the time that it takes is reported.
    """

    output: Path
    galaxies: int
    survey: str = "LSST"
    band: str = "i"
    depth: float = 1.0
    psf_fwhm: float | None = None
    psf_shear: tuple[float, float] = (0.0, 0.0)
    shear: tuple[float, float] = (0.02, 0.0)
    redshift: tuple[float, float] | None = None
    max_magnitude: float | None = None
    layout: str = "isolated"
    stamp_size: int = 64
    scene_size: int = 300
    density: float | None = None
    estimators: tuple[str, ...] = ("anacal", "regauss")
    ring: bool = True
    twins: bool = True
    renderer: str = "batch"
    chunk: int = 500
    bins: int = 4
    seed: int = 1234
    weights: str = "candels"
    device: str = "cpu"
    target_error: float = 1e-3

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CalibrationConfig:
        """Read and check a configuration.

        Parameters
        ----------
        values : mapping
            Attributes of this class; ``output`` and ``galaxies`` are needed.

        Raises
        ------
        galsim.GalSimConfigError
            A missing key; an estimator that is not installed.
        galsim.GalSimConfigValueError
            An unknown key, survey, filter, estimator, renderer or layout; a value of another type.
        galsim.GalSimRangeError
            A number out of its range.
        galsim.GalSimValueError
            A filter that the HST bands do not reach.
        OSError
            No such weights.
        """
        config = build(cls, values)
        config = replace(config, estimators=tuple(dict.fromkeys(config.estimators)))
        _check(config)
        return config

    @property
    def nchunks(self) -> int:
        """Return the number of chunks; the last may be smaller."""
        return -(-self.galaxies // self.chunk)

    @property
    def angles(self) -> tuple[float, ...]:
        """Return the angles by which each galaxy is turned before the shear, radians."""
        return (0.0, np.pi / 2) if self.ring else (0.0,)

    @property
    def populations(self) -> tuple[str, ...]:
        """Return the names of the kinds of galaxies."""
        return ("vae", "sersic") if self.twins else ("vae",)

    def view(self) -> SurveyView:
        """Return the PSF, pixels and noise.

        Returns
        -------
        SurveyView
            Of the survey, band and depth.
        """
        return survey_view(self.survey, self.band, self.depth, self.psf_fwhm, self.psf_shear)

    @functools.cached_property
    def weights_sha256(self) -> str:
        """Return the digest of the weights file, which is read once."""
        return modelfile.read(modelfile.find(self.weights)).sha256

    def identity(self) -> dict[str, Any]:
        """Return all that results depend on: configuration, weights, versions of the code.

        Returns
        -------
        dict
            Names and values, as JSON holds them.
        """
        values = dataclasses.asdict(self)
        for name in ("output", "bins", "target_error", "weights"):
            del values[name]
        used = {package for name in self.estimators for package in ESTIMATORS[name].packages}
        versions = {name: _version(name) for name in sorted(used | {"galsim"})}
        return values | {
            "weights_sha256": self.weights_sha256, "versions": versions,
            "result_version": _RESULT_VERSION,
        }  # fmt: skip

    def fingerprint(self) -> str:
        """Return a short digest of `identity`; chunks of another one are never mixed in.

        Returns
        -------
        str
            Twelve hexadecimal digits.
        """
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _check(config: CalibrationConfig) -> None:
    """Check all values; raises before anything is drawn."""
    for name, allowed in (("renderer", RENDERERS), ("layout", LAYOUTS)):
        if getattr(config, name) not in allowed:
            raise GalSimConfigValueError(f"Unknown {name}", getattr(config, name), allowed)
    _check_estimators(config)
    _check_numbers(config)
    view = config.view()
    width = config.stamp_size * view.scale
    if LEAST_STAMP * view.fwhm > width:
        raise GalSimRangeError(
            f"The PSF is too wide for stamps of {config.stamp_size} pixels of {view.scale} arcsec: "
            f"give a larger stamp_size. PSF FWHM, arcsec",
            view.fwhm,
            0,
            width / LEAST_STAMP,
        )
    for name in config.estimators:
        make_estimator(name, view, config.stamp_size)
    if config.layout == "blended" and config.scene_size < 2 * config.stamp_size:
        raise GalSimRangeError(
            "scene_size must be two stamps or more", config.scene_size, 2 * config.stamp_size
        )
    modelfile.find(config.weights)


def _check_estimators(config: CalibrationConfig) -> None:
    if not config.estimators:
        raise GalSimConfigValueError("estimators must name one or more.", [], list(ESTIMATORS))
    for name in config.estimators:
        if name not in ESTIMATORS:
            raise GalSimConfigValueError("Unknown estimator", name, list(ESTIMATORS))
        for package in ESTIMATORS[name].packages:
            _need(package, f"The estimator {name}")
        allowed = ESTIMATORS[name].layouts
        if config.layout not in allowed:
            raise GalSimConfigValueError(
                f"{name} cannot measure this layout", config.layout, allowed
            )
    if config.layout == "blended" and not all(ESTIMATORS[n].detects for n in config.estimators):
        _need("anacal", "The detection of blended galaxies")


def _need(package: str, what: str) -> None:
    """Import a package, or say how to install it."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        # What is missing may be what the package itself imports.
        how = how_to_install(error.name or package)
        raise GalSimConfigError(f"{what} cannot be used: {how}") from error


def _version(package: str) -> str:
    """Return the version of a package, also of one that runs from a checkout."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(package), "__version__", "unknown"))


def _check_numbers(config: CalibrationConfig) -> None:
    limits = {
        "galaxies": (1, None), "chunk": (1, None), "bins": (1, None), "stamp_size": (8, 1024),
        "depth": (1e-4, 1e4), "seed": (0, 2**63 - 1), "target_error": (1e-9, 1),
    }  # fmt: skip
    if config.density is not None:
        limits["density"] = (1e-3, 1e4)
    if config.psf_fwhm is not None:
        limits["psf_fwhm"] = (1e-3, None)
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if not (np.isfinite(value) and low <= value and (high is None or value <= high)):
            raise GalSimRangeError(f"{name} is out of range", value, low, high)
    for name, most in (("shear", MAX_SHEAR), ("psf_shear", 0.5)):
        size = float(np.hypot(*getattr(config, name)))
        if not size <= most:
            raise GalSimRangeError(f"|{name}| is out of range", size, 0, most)
    if config.redshift is not None and not 0 <= config.redshift[0] < config.redshift[1]:
        raise GalSimValueError("redshift must be [low, high], 0 <= low < high", config.redshift)
    magnitude = config.max_magnitude
    if magnitude is not None:
        low, high = modelfile.read(modelfile.find(config.weights)).ranges["magnitude"]
        if not low < magnitude <= high:
            raise GalSimRangeError(
                "max_magnitude is out of the trained range", magnitude, low, high
            )
