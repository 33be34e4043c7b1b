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

from .survey import ZEROPOINT, SurveyView

__all__ = [
    "ESTIMATORS", "METACAL_STEP", "METACAL_TYPES", "Detections", "Estimator", "SceneSums", "Shapes",
    "centre_shift", "cut_out", "detect", "make_estimator", "psf_image",
]  # fmt: skip

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
#: Images that metacalibration makes, and its step of shear: ngmix's own.
METACAL_TYPES, METACAL_STEP = ("noshear", "1p", "1m", "2p", "2m"), 0.01
#: Least FWHM of its weight, arcsec, as in ngmix's examples.
_METACAL_WEIGHT = 1.2
#: Cuts of metadetection (Sheldon et al. 2020): S/N, and size over that of the PSF.
_LEAST_S2N, _LEAST_T_RATIO = 10.0, 1.2
#: metadetect's flag of a stamp that reaches over the border of the image.
_EDGE_FLAG = 2**30


class Shapes(NamedTuple):
    """Shapes of n galaxies.

    Attributes
    ----------
    e, r : ndarray (n, 2) float64
        Shapes and their responses, both components.
    ok : ndarray (n,) bool
        Whether the measurement came to an end; e and r are zero where it did not.
    """

    e: NDArray
    r: NDArray
    ok: NDArray

    @classmethod
    def of(cls, e: NDArray, r: NDArray, ok: NDArray) -> Shapes:
        """Return shapes in which what failed, or is not finite, adds nothing to sums.

        Parameters
        ----------
        e, r : ndarray (n, 2)
            Shapes and responses.
        ok : ndarray (n,) bool
            Whether each was measured.

        Returns
        -------
        Shapes
            Zero where not ``ok``.
        """
        ok = ok & np.isfinite(e).all(axis=1) & np.isfinite(r).all(axis=1)
        return cls(np.where(ok[:, None], e, 0.0), np.where(ok[:, None], r, 0.0), ok)


class SceneSums(NamedTuple):
    """The shapes of all galaxies found in one image, added up.

    Attributes
    ----------
    e, r : ndarray (2,) float64
        Sums of shapes and responses, both components.
    count : int
        Number of galaxies.
    """

    e: NDArray
    r: NDArray
    count: int

    @classmethod
    def of(cls, shapes: Shapes) -> SceneSums:
        """Return the sums of shapes."""
        return cls(shapes.e.sum(axis=0), shapes.r.sum(axis=0), int(shapes.ok.sum()))


class Detections(NamedTuple):
    """Peaks of an image that `detect` found.

    Attributes
    ----------
    x, y : ndarray (n,) int
        Pixels.
    weight : ndarray (n,) float64
        anacal's weight of the detection, 0 to 1.
    response : ndarray (n, 2) float64
        Its response to the two components of the shear.
    """

    x: NDArray
    y: NDArray
    weight: NDArray
    response: NDArray


class Estimator(ABC):
    """Measures shapes and their responses in images of one survey and filter.

    Parameters
    ----------
    view : SurveyView
        PSF, pixels and noise of the images.
    size : int
        Width of a stamp, pixels.

    Attributes
    ----------
    packages : tuple of str
        Modules that it needs, the one that gives it its version first.
    layouts : tuple of str
        Layouts of images that it can measure.
    detects : bool
        Whether it finds the galaxies of a scene itself, and takes no `Detections`.
    """

    packages: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ("isolated", "blended")
    detects: bool = False

    def __init__(self, view: SurveyView, size: int):
        self.view, self.size = view, size

    @abstractmethod
    def stamps(self, images: NDArray, renoise: NDArray) -> Shapes:
        """Return the shapes of galaxies in the middle of stamps.

        Parameters
        ----------
        images : ndarray (n, size, size) float32
            Galaxies at the pixel ``[size // 2, size // 2]``, nJy.
        renoise : ndarray (n, size, size) float32
            Pure noise of the same kind, nJy, for estimators that add some.

        Returns
        -------
        Shapes
            One a stamp, in their order.
        """

    def scene(self, image: NDArray, renoise: NDArray, found: Detections | None) -> SceneSums:
        """Return the summed shapes of the galaxies in an image, which `stamps` measures one by one.

        Parameters
        ----------
        image, renoise : ndarray (ny, nx) float32
            Of the scene and of pure noise, nJy.
        found : Detections or None
            None for an estimator that has `detects`. The response of detection is left out here.

        Returns
        -------
        SceneSums
            Over the galaxies that were measured.
        """
        assert found is not None
        cut = functools.partial(cut_out, x=found.x, y=found.y, size=self.size)
        return SceneSums.of(self.stamps(cut(image), cut(renoise)))


class Anacal(Estimator):
    """FPFS moments with analytic responses: Li, Li & Mandelbaum 2025 (MNRAS 536, 3663)."""

    packages = ("anacal",)

    def __init__(self, view: SurveyView, size: int):
        super().__init__(view, size)
        from anacal import fpfs

        sigma = max(_KERNEL * view.fwhm, _LEAST_PIXELS * view.scale)
        self._psf = psf_image(view, size)
        config = fpfs.FpfsConfig(npix=size, sigma_shapelets1=sigma)
        task = fpfs.FpfsTask(
            npix=size, pixel_scale=view.scale, sigma_shapelets=sigma, psf_array=self._psf,
            kmax_thres=config.kmax_thres,
        )  # fmt: skip
        task.prepare_covariance(variance=view.noise**2)
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

    def scene(self, image: NDArray, renoise: NDArray, found: Detections | None) -> SceneSums:
        """See `Estimator.scene`: the weight of the detection is in e, and its response in r."""
        assert found is not None
        table = self._measure(image, renoise, found.x, found.y)
        e = np.stack([table["fpfs1_e1"], table["fpfs1_e2"]], axis=1)
        r = np.stack([table["fpfs1_de1_dg1"], table["fpfs1_de2_dg2"]], axis=1)
        weight = found.weight[:, None]
        shapes = Shapes.of(weight * e, weight * r + found.response * e, np.ones(len(e), bool))
        return SceneSums.of(shapes)

    def _measure(self, image: NDArray, renoise: NDArray, x: NDArray, y: NDArray) -> Any:
        from anacal import fpfs

        places = np.empty(len(x), dtype=[("y", np.int32), ("x", np.int32)])
        places["x"], places["y"] = x, y
        return fpfs.process_image(
            fpfs_config=self._config, pixel_scale=self.view.scale, mag_zero=ZEROPOINT,
            noise_variance=self.view.noise**2, gal_array=np.ascontiguousarray(image, np.float32),
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

    packages = ("galsim",)

    def __init__(self, view: SurveyView, size: int):
        super().__init__(view, size)
        self._psf = galsim.Image(psf_image(view, size), scale=view.scale)
        failure = galsim.hsm.FindAdaptiveMom(self._psf, strict=False).error_message
        if failure:
            raise galsim.GalSimValueError(
                f"REGAUSS cannot measure this PSF ({failure.strip()}). Leave regauss out of the "
                "estimators, or give a wider psf_fwhm; its FWHM in pixels is",
                round(view.fwhm / view.scale, 2),
            )

    def stamps(self, images: NDArray, renoise: NDArray) -> Shapes:
        """See `Estimator.stamps`."""
        e, ok = np.zeros((len(images), 2)), np.zeros(len(images), bool)
        for i, array in enumerate(images):
            image = galsim.Image(array, scale=self.view.scale, copy=False)
            found = galsim.hsm.EstimateShear(
                image, self._psf, sky_var=self.view.noise**2, shear_est="REGAUSS", strict=False
            )
            e[i] = found.corrected_e1, found.corrected_e2
            resolved = found.resolution_factor >= _RESOLVED
            ok[i] = not found.error_message and resolved and np.hypot(*e[i]) < _MAX_E
        return Shapes.of(e, 2 * (1 - e**2), ok)


class _Metacalibration(Estimator):
    """What ngmix and metadetect have in common: observations and settings as ngmix wants them.

    ngmix shears about the middle of an image, and takes the PSF to be in the middle of its own:
    that has an odd width, so that the middle is the centre of a pixel.
    """

    def __init__(self, view: SurveyView, size: int):
        super().__init__(view, size)
        self._psf = psf_image(view, size - 1 + size % 2)
        self._weight = max(_METACAL_WEIGHT, 1.5 * view.fwhm)

    def _observation(self, image: NDArray, noise: NDArray) -> Any:
        """Return an image and noise of the same kind as an ngmix.Observation."""
        import ngmix  # type: ignore[reportMissingImports]

        def jacobian(array: NDArray) -> Any:
            row, column = (np.array(array.shape) - 1) / 2
            return ngmix.DiagonalJacobian(row=row, col=column, scale=self.view.scale)

        return ngmix.Observation(
            image.astype(float), weight=np.full(image.shape, self.view.noise**-2.0),
            bmask=np.zeros(image.shape, np.int32), ormask=np.zeros(image.shape, np.int32),
            noise=noise.astype(float), jacobian=jacobian(image),
            psf=ngmix.Observation(self._psf.copy(), jacobian=jacobian(self._psf)),
        )  # fmt: skip

    def _settings(self) -> dict[str, Any]:
        return {
            "psf": "fitgauss", "types": list(METACAL_TYPES), "step": METACAL_STEP,
            "use_noise_image": True,
        }  # fmt: skip

    def _random(self) -> np.random.RandomState:
        """Return what fits the PSF: the same for all images, so that pairs stay pairs."""
        return np.random.RandomState(0)  # noqa: NPY002


class Ngmix(_Metacalibration):
    """Metacalibration of Gaussian-weighted moments by ngmix: Sheldon & Huff 2017 (ApJ 841, 24)."""

    packages = ("ngmix",)
    layouts = ("isolated",)

    def stamps(self, images: NDArray, renoise: NDArray) -> Shapes:
        """See `Estimator.stamps`; `renoise` is what metacalibration adds."""
        e, r = np.zeros((len(images), 2)), np.zeros((len(images), 2))
        ok = np.zeros(len(images), bool)
        # In a stamp of an odd width the galaxy's pixel is the middle.
        first = 1 - self.size % 2
        for i, (image, noise) in enumerate(zip(images, renoise, strict=True)):
            found = self._measure(image[first:, first:], noise[first:, first:])
            ok[i] = all(found[name]["flags"] == 0 for name in METACAL_TYPES)
            if ok[i]:
                e[i] = found["noshear"]["e"]
                r[i] = _response({name: found[name]["e"] for name in METACAL_TYPES})
        return Shapes.of(e, r, ok)

    def _measure(self, image: NDArray, noise: NDArray) -> dict[str, Any]:
        """Return ngmix's results of one stamp by the type of image, of `METACAL_TYPES`."""
        import ngmix  # type: ignore[reportMissingImports]

        fitter = ngmix.gaussmom.GaussMom(fwhm=self._weight)
        runner = ngmix.runners.Runner(fitter=fitter)
        boot = ngmix.metacal.MetacalBootstrapper(
            runner=runner, psf_runner=runner, rng=self._random(), **self._settings()
        )
        return boot.go(self._observation(image, noise))[0]


class Metadetect(_Metacalibration):
    """Metadetection: detection and shapes on sheared images (Sheldon et al. 2020, ApJ 902, 138).

    The response is that of the sum of all shapes, (sum e(+s) - sum e(-s)) / 2 s for a step s, so
    that it has the response of detection and of the cuts in S/N and size in it.
    """

    packages = ("metadetect", "ngmix", "sxdes")
    detects = True

    def stamps(self, images: NDArray, renoise: NDArray) -> Shapes:
        """See `Estimator.stamps`: each stamp is a scene; where nothing is found, e is zero."""
        sums = [self.scene(*pair, None) for pair in zip(images, renoise, strict=True)]
        e, r = (np.array([getattr(one, name) for one in sums]).reshape(-1, 2) for name in "er")
        return Shapes.of(e, r, np.ones(len(images), bool))

    def scene(self, image: NDArray, renoise: NDArray, found: Detections | None) -> SceneSums:
        """See `Estimator.scene`; `found` has no part in it."""
        import metadetect  # type: ignore[reportMissingImports]
        import ngmix  # type: ignore[reportMissingImports]

        bands, epochs = ngmix.MultiBandObsList(), ngmix.ObsList()
        epochs.append(self._observation(image, renoise))
        bands.append(epochs)
        # Boxes as in metadetect's own tests of the shear, but that none is cut off by the border of
        # a stamp: that would be a cut in brightness.
        largest = self.size - 4
        boxes = {
            "min_box_size": min(32, largest), "max_box_size": largest, "box_type": "iso_radius",
            "rad_min": 4, "rad_fac": 2, "box_padding": 2,
        }  # fmt: skip
        settings = {
            "model": "wmom", "weight": {"fwhm": self._weight}, "metacal": self._settings(),
            "meds": boxes, "bmask_flags": _EDGE_FLAG,
        }  # fmt: skip
        tables = metadetect.do_metadetect(settings, bands, self._random()) or {}
        sums = {name: _sum_of_usable(tables.get(name)) for name in METACAL_TYPES}
        e, count = sums["noshear"]
        return SceneSums(e, _response({name: one[0] for name, one in sums.items()}), count)


def _response(e: dict[str, NDArray]) -> NDArray:
    """Return the diagonal of the response to the shears of `METACAL_TYPES`, (2,)."""
    pairs = [(e[f"{k + 1}p"][k], e[f"{k + 1}m"][k]) for k in (0, 1)]
    return np.array([(plus - minus) / (2 * METACAL_STEP) for plus, minus in pairs])


def _sum_of_usable(table: NDArray | None) -> tuple[NDArray, int]:
    """Return the sum of the shapes in one of metadetect's tables, (2,), and their number."""
    if table is None:
        return np.zeros(2), 0
    use = (table["wmom_flags"] == 0) & (table["wmom_s2n"] > _LEAST_S2N)
    use &= table["wmom_T_ratio"] > _LEAST_T_RATIO
    return table["wmom_g"][use].sum(axis=0), int(use.sum())


#: The estimators by their names in configurations.
ESTIMATORS: dict[str, type[Estimator]] = {
    "anacal": Anacal, "regauss": Regauss, "ngmix": Ngmix, "metadetect": Metadetect
}  # fmt: skip


def make_estimator(name: str, view: SurveyView, size: int) -> Estimator:
    """Return an estimator by its name in `ESTIMATORS`.

    Parameters
    ----------
    name : str
    view : SurveyView
    size : int
        Width of a stamp, pixels.

    Returns
    -------
    Estimator

    Raises
    ------
    galsim.GalSimValueError
        REGAUSS cannot measure the PSF.
    """
    return ESTIMATORS[name](view, size)


def psf_image(view: SurveyView, size: int) -> NDArray:
    """Return the PSF with its centre at the pixel ``[size // 2, size // 2]``.

    Parameters
    ----------
    view : SurveyView
    size : int
        Width of the image, pixels. In one of an odd width the PSF is in the middle.

    Returns
    -------
    ndarray (size, size) float64
        Of sum 1 but for what lies outside.
    """
    move = centre_shift(size) * view.scale
    image = galsim.Image(size, size, dtype=np.float64, scale=view.scale)
    return view.psf.shift(move, move).drawImage(image).array


def centre_shift(size: int) -> float:
    """Return the way from the middle of a stamp to the pixel ``[size // 2]``, pixels: 0 or 1/2."""
    return size // 2 - (size - 1) / 2


def detect(image: NDArray, renoise: NDArray, view: SurveyView, size: int) -> Detections:
    """Return the galaxies that anacal's detector finds; its weights have a known response to shear.

    Parameters
    ----------
    image, renoise : ndarray (ny, nx) float32
        nJy.
    view : SurveyView
    size : int
        Width of a stamp, pixels; peaks nearer to the border than half of it are left out.

    Returns
    -------
    Detections
    """
    import anacal

    sigma = max(_KERNEL * view.fwhm, _LEAST_PIXELS * view.scale) / np.sqrt(2)
    psf, variance = psf_image(view, size), view.noise**2
    smoothed = np.sqrt(2 * anacal.detector.coadd_smoothed_variance(
        view.scale, sigma * np.sqrt(2), psf[None], [variance], [1.0]
    ))  # fmt: skip
    task = anacal.task.Task(
        scale=view.scale, sigma_arcsec=sigma, snr_peak_min=_PEAK, stamp_size=size,
        image_bound=size // 2, omega_f=_FLUX_STEP * smoothed, omega_v=_PEAK_STEP * smoothed,
    )  # fmt: skip
    ny, nx = image.shape
    # One cell, and round it twice the reach of the detector's background, 3.2".
    overlap = max(size, int(np.ceil(6.5 / view.scale)))
    cells = anacal.geometry.get_cell_list(
        img_nx=nx, img_ny=ny, cell_nx=nx, cell_ny=ny, cell_overlap=overlap, scale=view.scale
    )
    found = task.process_image(
        np.ascontiguousarray(image, np.float32), psf, variance=variance, cell_list=cells,
        noise_array=np.ascontiguousarray(renoise, np.float32), do_measure=False, do_fpfs=False,
    )  # fmt: skip
    x, y = (np.rint(found[name] / view.scale).astype(int) for name in ("x1_det", "x2_det"))
    response = np.stack([found["dwsel_dg1"], found["dwsel_dg2"]], axis=1)
    return Detections(x, y, np.asarray(found["wsel"]), response)


def cut_out(image: NDArray, x: NDArray, y: NDArray, size: int) -> NDArray:
    """Return stamps about pixels that are half a stamp from the border.

    Parameters
    ----------
    image : ndarray (ny, nx)
    x, y : ndarray (n,) int
        Pixels.
    size : int
        Width of a stamp, pixels.

    Returns
    -------
    ndarray (n, size, size)
    """
    steps = np.arange(size) - size // 2
    return image[(y[:, None] + steps)[:, :, None], (x[:, None] + steps)[:, None, :]]
