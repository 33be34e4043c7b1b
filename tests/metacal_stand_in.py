"""Stand-ins for ngmix and metadetect: metacalibration by GalSim behind the interface of both.

They keep ngmix's conventions: images are sheared about their middle, the PSF is taken to be in the
middle of its image, and moments are measured about the origin of the jacobian. Nothing is done
about noise.
"""

import importlib.machinery
import types
from dataclasses import dataclass

import galsim
import numpy as np
from scipy.ndimage import maximum_filter

SHEARS = {"noshear": (0, 0), "1p": (1, 0), "1m": (-1, 0), "2p": (0, 1), "2m": (0, -1)}


@dataclass
class Jacobian:
    """ngmix.DiagonalJacobian."""

    row: float
    col: float
    scale: float


class Observation:
    """ngmix.Observation."""

    def __init__(
        self, image, weight=None, bmask=None, ormask=None, noise=None, jacobian=None, psf=None
    ):
        self.image, self.weight, self.noise = image, weight, noise
        self.jacobian, self.psf = jacobian, psf
        for other in (weight, bmask, ormask, noise):
            assert other is None or other.shape == image.shape


@dataclass
class GaussMom:
    """ngmix.gaussmom.GaussMom."""

    fwhm: float


@dataclass
class Runner:
    """ngmix.runners.Runner."""

    fitter: GaussMom


class Bootstrapper:
    """ngmix.metacal.MetacalBootstrapper."""

    def __init__(self, runner, psf_runner, rng, **settings):
        self.runner, self.settings = runner, settings

    def go(self, observation):
        images = metacal(observation, **self.settings)
        centre = (observation.jacobian.row, observation.jacobian.col)
        scale = observation.jacobian.scale
        found = {
            name: {"flags": 0, "e": moments(image, centre, self.runner.fitter.fwhm / scale)[0]}
            for name, image in images.items()
        }
        return found, images


def metacal(observation, psf, types, step, use_noise_image):
    """Return images by type, reconvolved with a round Gaussian."""
    assert psf == "fitgauss" and use_noise_image
    scale = observation.jacobian.scale
    seen, point = (
        galsim.InterpolatedImage(galsim.Image(array, scale=scale), x_interpolant="lanczos15")
        for array in (observation.image, observation.psf.image)
    )
    moments_of_psf = galsim.Image(observation.psf.image, scale=scale).FindAdaptiveMom()
    target = galsim.Gaussian(sigma=moments_of_psf.moments_sigma * scale * (1 + 2 * step))
    deconvolved = galsim.Convolve(seen, galsim.Deconvolve(point))
    ny, nx = observation.image.shape
    images = {}
    for name in types:
        g1, g2 = step * np.array(SHEARS[name])
        made = galsim.Convolve(deconvolved.shear(g1=g1, g2=g2), target)
        images[name] = made.drawImage(nx=nx, ny=ny, scale=scale, method="no_pixel").array
    return images


def moments(image, centre, fwhm):
    """Return e (2,), T and the centroid's offset (2,) under a Gaussian weight, in pixels."""
    y, x = (axis - middle for axis, middle in zip(np.indices(image.shape), centre, strict=True))
    weight = image * np.exp(-(x**2 + y**2) * 4 * np.log(2) / fwhm**2)
    xx, yy, xy = (np.sum(weight * product) / weight.sum() for product in (x * x, y * y, x * y))
    offset = 2 * np.array([np.sum(weight * y), np.sum(weight * x)]) / weight.sum()
    return np.array([xx - yy, 2 * xy]) / (xx + yy), xx + yy, offset


def do_metadetect(config, mbobs, rng):
    """Do what metadetect.do_metadetect does: find peaks in each image and measure about them."""
    assert config["model"] == "wmom"
    [[observation]] = mbobs
    scale, noise = observation.jacobian.scale, observation.weight[0, 0] ** -0.5
    fwhm = config["weight"]["fwhm"] / scale
    middle = (np.array(observation.psf.image.shape) - 1) / 2
    t_of_psf = moments(observation.psf.image, middle, fwhm)[1]
    images = metacal(observation, **config["metacal"])
    return {name: catalogue(image, noise, fwhm, t_of_psf) for name, image in images.items()}


def catalogue(image, noise, fwhm, t_of_psf):
    rows = []
    peaks = np.argwhere((image == maximum_filter(image, 9)) & (image > 20 * noise))
    for centre in peaks.astype(float):
        for _ in range(20):
            e, t, offset = moments(image, centre, fwhm)
            centre += offset
        rows.append((0, image.max() / noise, t / t_of_psf, e))
    names = ("wmom_flags", "wmom_s2n", "wmom_T_ratio", "wmom_g")
    return np.array(rows, list(zip(names, ("i4", "f8", "f8", "(2,)f8"), strict=True)))


def make_modules():
    """Return modules by name, to be put into ``sys.modules``."""
    modules = {name: types.ModuleType(name) for name in ("ngmix", "metadetect", "sxdes")}
    ngmix, metadetect = modules["ngmix"], modules["metadetect"]
    ngmix.DiagonalJacobian, ngmix.Observation = Jacobian, Observation
    ngmix.ObsList = ngmix.MultiBandObsList = list
    ngmix.gaussmom = types.SimpleNamespace(GaussMom=GaussMom)
    ngmix.runners = types.SimpleNamespace(Runner=Runner)
    ngmix.metacal = types.SimpleNamespace(MetacalBootstrapper=Bootstrapper)
    metadetect.do_metadetect = do_metadetect
    for name, module in modules.items():
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__version__ = "stand-in"
    return modules
