"""Shear estimators behind one small interface: images in, shapes and their shear response out.

An estimator gives each object a shape ``e`` (2,) and a response ``r`` (2,), such that the shear of
a set of objects is ``sum(e) / sum(r)``. Where an estimator has weights, they are in ``e``, and
their own response is in ``r``.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import galsim
import numpy as np
from numpy.typing import NDArray

from .survey import ZEROPOINT, Observation

__all__ = ["Detections", "Estimator", "Shapes", "detect", "make_estimator"]

#: anacal's shapelets have this size over the PSF's FWHM, as in its examples for LSST (0.52"), but
#: at least so many pixels, that the k that it needs are below the Nyquist frequency.
_KERNEL, _LEAST_PIXELS = 0.66, 2.5
#: anacal's weighting flux C over the noise of its flux: C = 30 nJy, its default, in LSST i.
_WEIGHT = 2.3
#: The detector: S/N of a peak, and widths of its smooth steps, over the smoothed image's noise.
_PEAK, _FLUX_STEP, _PEAK_STEP = 10.0, 4.0, 0.2
#: REGAUSS divides by the resolution: least resolution and largest distortion, as in HSC (Mandelbaum
#: et al. 2018, PASJ 70, S25).
_RESOLVED, _MAX_E = 0.3, 2.0


class Shapes(NamedTuple):
    """``e`` and ``r`` (n, 2), and ``ok`` (n,): whether the measurement came to an end."""

    e: NDArray
    r: NDArray
    ok: NDArray

    @classmethod
    def of(cls, e: NDArray, r: NDArray, ok: NDArray) -> Shapes:
        """Set what failed to zero, so that it adds nothing to sums."""
        ok = ok & np.isfinite(e).all(axis=1) & np.isfinite(r).all(axis=1)
        return cls(np.where(ok[:, None], e, 0.0), np.where(ok[:, None], r, 0.0), ok)


class Detections(NamedTuple):
    """Peaks of an image: pixels ``x`` and ``y`` (n,); anacal's weight and its response (n, 2)."""

    x: NDArray
    y: NDArray
    weight: NDArray
    response: NDArray


class Estimator(ABC):
    """Measures shapes under given conditions.

    Parameters
    ----------
    seen : Observation
    size : int
        Width of a stamp, pixels.
    """

    def __init__(self, seen: Observation, size: int):
        self.seen, self.size = seen, size

    @abstractmethod
    def stamps(self, images: NDArray, renoise: NDArray) -> Shapes:
        """Measure galaxies in the middle of stamps.

        Parameters
        ----------
        images : (n, size, size) float32
            Galaxies at the pixel ``[size // 2, size // 2]``, nJy.
        renoise : (n, size, size) float32
            Pure noise of the same kind, for estimators that add some.
        """

    def scene(self, image: NDArray, renoise: NDArray, found: Detections) -> Shapes:
        """Measure detected galaxies in an image; the response of detection is anacal's alone.

        Parameters
        ----------
        image, renoise : (ny, nx) float32
        found : Detections
        """
        cut = functools.partial(cut_out, x=found.x, y=found.y, size=self.size)
        return self.stamps(cut(image), cut(renoise))


class Anacal(Estimator):
    """FPFS moments with analytic responses: Li, Li & Mandelbaum 2025 (MNRAS 536, 3663)."""

    def __init__(self, seen: Observation, size: int):
        super().__init__(seen, size)
        from anacal import fpfs

        sigma = max(_KERNEL * seen.fwhm, _LEAST_PIXELS * seen.scale)
        self._psf = psf_image(seen, size)
        config = fpfs.FpfsConfig(npix=size, sigma_shapelets1=sigma)
        task = fpfs.FpfsTask(
            npix=size, pixel_scale=seen.scale, sigma_shapelets=sigma, psf_array=self._psf,
            kmax_thres=config.kmax_thres,
        )  # fmt: skip
        task.prepare_covariance(variance=seen.noise**2)
        config.c0 = _WEIGHT * float(task.std_m00)
        self._config = config

    def stamps(self, images: NDArray, renoise: NDArray) -> Shapes:
        """See `Estimator.stamps`."""
        n, size, _ = images.shape
        table = self._measure(
            images.reshape(n * size, size), renoise.reshape(n * size, size),
            np.full(n, size // 2), size * np.arange(n) + size // 2,
        )  # fmt: skip
        e = np.stack([table["fpfs1_e1"], table["fpfs1_e2"]], axis=1)
        r = np.stack([table["fpfs1_de1_dg1"], table["fpfs1_de2_dg2"]], axis=1)
        return Shapes.of(e, r, np.ones(n, bool))

    def scene(self, image: NDArray, renoise: NDArray, found: Detections) -> Shapes:
        """See `Estimator.scene`: the weight of the detection is in e, and its response in r."""
        table = self._measure(image, renoise, found.x, found.y)
        e = np.stack([table["fpfs1_e1"], table["fpfs1_e2"]], axis=1)
        r = np.stack([table["fpfs1_de1_dg1"], table["fpfs1_de2_dg2"]], axis=1)
        weight = found.weight[:, None]
        return Shapes.of(weight * e, weight * r + found.response * e, np.ones(len(e), bool))

    def _measure(self, image: NDArray, renoise: NDArray, x: NDArray, y: NDArray) -> Any:
        from anacal import fpfs

        places = np.empty(len(x), dtype=[("y", np.int32), ("x", np.int32)])
        places["x"], places["y"] = x, y
        return fpfs.process_image(
            fpfs_config=self._config, pixel_scale=self.seen.scale, mag_zero=ZEROPOINT,
            noise_variance=self.seen.noise**2, gal_array=np.ascontiguousarray(image, np.float32),
            noise_array=np.ascontiguousarray(renoise, np.float32), psf_array=self._psf,
            detection=places,
        )  # fmt: skip


class Regauss(Estimator):
    """Re-Gaussianization (Hirata & Seljak 2003, MNRAS 343, 459) by `galsim.hsm`.

    Galaxies of a resolution below 0.3 or a distortion above 2 are left out, as in HSC.
    The response is that of an unweighted distortion, 2 (1 - e1^2) (Bernstein & Jarvis 2002, AJ 123,
    583, equation 5-33): it knows nothing of noise, so m has noise bias.

    Raises
    ------
    galsim.GalSimValueError
        HSM cannot measure the PSF: Roman's, in its own pixels.
    """

    def __init__(self, seen: Observation, size: int):
        super().__init__(seen, size)
        self._psf = galsim.Image(psf_image(seen, size), scale=seen.scale)
        failure = galsim.hsm.FindAdaptiveMom(self._psf, strict=False).error_message
        if failure:
            raise galsim.GalSimValueError(
                f"REGAUSS cannot measure this PSF ({failure.strip()}). Leave regauss out of the "
                "estimators, or give a wider psf_fwhm; its FWHM in pixels is",
                round(seen.fwhm / seen.scale, 2),
            )

    def stamps(self, images: NDArray, renoise: NDArray) -> Shapes:
        """See `Estimator.stamps`."""
        e, ok = np.zeros((len(images), 2)), np.zeros(len(images), bool)
        for i, array in enumerate(images):
            image = galsim.Image(array, scale=self.seen.scale, copy=False)
            found = galsim.hsm.EstimateShear(
                image, self._psf, sky_var=self.seen.noise**2, shear_est="REGAUSS", strict=False
            )
            e[i] = found.corrected_e1, found.corrected_e2
            resolved = found.resolution_factor >= _RESOLVED
            ok[i] = not found.error_message and resolved and np.hypot(*e[i]) < _MAX_E
        return Shapes.of(e, 2 * (1 - e**2), ok)


class Ngmix(Estimator):
    """Metacalibration of Gaussian-weighted moments by ngmix: Sheldon & Huff 2017 (ApJ 841, 24)."""

    #: FWHM of the weight, arcsec, and ngmix's own step of shear.
    WEIGHT, STEP = 1.2, 0.01

    def stamps(self, images: NDArray, renoise: NDArray) -> Shapes:
        """See `Estimator.stamps`; `renoise` is what metacalibration adds."""
        import ngmix  # type: ignore[reportMissingImports]

        centre = self.size // 2
        jacobian = ngmix.DiagonalJacobian(row=centre, col=centre, scale=self.seen.scale)
        weight = np.full((self.size, self.size), self.seen.noise**-2.0)
        psf = ngmix.Observation(psf_image(self.seen, self.size), jacobian=jacobian)
        fitter = ngmix.gaussmom.GaussMom(fwhm=max(self.WEIGHT, 1.5 * self.seen.fwhm))
        runner = ngmix.runners.Runner(fitter=fitter)
        e, r = np.zeros((len(images), 2)), np.zeros((len(images), 2))
        ok = np.zeros(len(images), bool)
        types = ["noshear", "1p", "1m", "2p", "2m"]
        for i, (image, noise) in enumerate(zip(images, renoise, strict=True)):
            seen = ngmix.Observation(
                image.astype(float), weight=weight, jacobian=jacobian, psf=psf,
                noise=noise.astype(float),
            )  # fmt: skip
            boot = ngmix.metacal.MetacalBootstrapper(
                runner=runner, psf_runner=runner, types=types, psf="fitgauss", step=self.STEP,
                use_noise_image=True, rng=np.random.RandomState(0),  # noqa: NPY002
            )  # fmt: skip
            found, _ = boot.go(seen)
            ok[i] = all(found[name]["flags"] == 0 for name in types)
            if ok[i]:
                e[i] = found["noshear"]["e"]
                for k in (0, 1):
                    plus, minus = (found[f"{k + 1}{sign}"]["e"][k] for sign in "pm")
                    r[i, k] = (plus - minus) / (2 * self.STEP)
        return Shapes.of(e, r, ok)


_CLASSES = {"anacal": Anacal, "regauss": Regauss, "ngmix": Ngmix}


def make_estimator(name: str, seen: Observation, size: int) -> Estimator:
    """Make an estimator by its name in `galsim_vae.shear.ESTIMATORS`."""
    return _CLASSES[name](seen, size)


def psf_image(seen: Observation, size: int) -> NDArray:
    """The PSF with its centre at the pixel ``[size // 2, size // 2]``, (size, size) float64."""
    move = centre_shift(size) * seen.scale
    image = galsim.Image(size, size, dtype=np.float64, scale=seen.scale)
    return seen.psf.shift(move, move).drawImage(image).array


def centre_shift(size: int) -> float:
    """From the true centre of a stamp to the centre of the pixel ``[size // 2]``, pixels."""
    return size // 2 - (size - 1) / 2


def detect(image: NDArray, renoise: NDArray, seen: Observation, size: int) -> Detections:
    """Find galaxies with anacal's detector, the weights of which have a known response to shear.

    Parameters
    ----------
    image, renoise : (ny, nx) float32
    seen : Observation
    size : int
        Width of a stamp, pixels; peaks nearer to the border than half of it are left out.
    """
    import anacal

    sigma = max(_KERNEL * seen.fwhm, _LEAST_PIXELS * seen.scale) / np.sqrt(2)
    psf, variance = psf_image(seen, size), seen.noise**2
    smoothed = np.sqrt(2 * anacal.detector.coadd_smoothed_variance(
        seen.scale, sigma * np.sqrt(2), psf[None], [variance], [1.0]
    ))  # fmt: skip
    task = anacal.task.Task(
        scale=seen.scale, sigma_arcsec=sigma, snr_peak_min=_PEAK, stamp_size=size,
        image_bound=size // 2, omega_f=_FLUX_STEP * smoothed, omega_v=_PEAK_STEP * smoothed,
    )  # fmt: skip
    ny, nx = image.shape
    # One cell, and round it twice the reach of the detector's background, 3.2".
    overlap = max(size, int(np.ceil(6.5 / seen.scale)))
    cells = anacal.geometry.get_cell_list(
        img_nx=nx, img_ny=ny, cell_nx=nx, cell_ny=ny, cell_overlap=overlap, scale=seen.scale
    )
    found = task.process_image(
        np.ascontiguousarray(image, np.float32), psf, variance=variance, cell_list=cells,
        noise_array=np.ascontiguousarray(renoise, np.float32), do_measure=False, do_fpfs=False,
    )  # fmt: skip
    x, y = (np.rint(found[name] / seen.scale).astype(int) for name in ("x1_det", "x2_det"))
    response = np.stack([found["dwsel_dg1"], found["dwsel_dg2"]], axis=1)
    return Detections(x, y, np.asarray(found["wsel"]), response)


def cut_out(image: NDArray, x: NDArray, y: NDArray, size: int) -> NDArray:
    """Stamps about pixels that are half a stamp from the border, (n, size, size)."""
    steps = np.arange(size) - size // 2
    return image[(y[:, None] + steps)[:, :, None], (x[:, None] + steps)[:, None, :]]
