"""Galaxies of a training file in pixels like those of their survey, and back.

The file holds galaxies in the canonical frame only. Whatever happens in a camera, such as a cosmic
ray, has to be put in native pixels before the galaxy is measured and resampled.
"""

import math
from dataclasses import dataclass, replace

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE
from galsim_vae.frame import canonical as frame
from galsim_vae.train.apertures import MIN_COVER, cover
from galsim_vae.train.failures import failure
from galsim_vae.train.training_file import Dataset

__all__ = [
    "NativeGalaxy",
    "depth",
    "flux_of",
    "half_width",
    "measure_again",
    "native",
    "places",
    "sampled",
]


@dataclass(frozen=True)
class NativeGalaxy:
    """One galaxy of a training file in native pixels.

    Attributes
    ----------
    observation : Observation
        Native stamps.
    geometry : Geometry
        Where the galaxy is in them.
    row : int
        Index of the galaxy in `data`.
    data : Dataset
        The file; blends take their second galaxy from it.
    """

    observation: frame.Observation
    geometry: frame.Geometry
    row: int
    data: Dataset

    @property
    def pixel(self) -> float:
        """Side of a native pixel [arcsec]."""
        return math.sqrt(next(iter(self.observation.wcs.values())).pixelArea())


def native(
    data: Dataset, row: int, random: np.random.Generator, noisy: bool = True
) -> NativeGalaxy:
    """Take one galaxy back to native pixels, turned by a random angle.

    The native pixel is half the FWHM of the sharpest PSF, but at least a canonical pixel, which is
    as much as the file has kept. The noise per native pixel is that of the same depth; it is drawn
    here if the images are not `noisy` yet.
    """
    seen = [i for i in range(len(BANDS)) if data.mask[row, i].any()]
    names = [BANDS[i] for i in seen]
    scale = float(data.pixel_scale[row])
    pixel = max(1.0, min(half_width(data.psf[row, i]) for i in seen)) * scale
    radius = scale * HALF_LIGHT_PIXELS
    geometry = frame.Geometry(
        (0.0, 0.0), float(data.frame_g[row]), random.uniform(0, math.pi), radius, radius, {},
        REFERENCE, data.frame,
    )  # fmt: skip
    corners = geometry.matrix @ np.array([[1, 1], [1, -1]]) * STAMP_SIZE
    side = math.ceil(np.hypot(*corners).max() / pixel)
    at = places(geometry, pixel, side)
    observation = frame.Observation(
        image=dict(zip(names, sampled(data.image[row, seen], at, pixel / scale), strict=True)),
        wcs=dict.fromkeys(names, pixel),
        psf={BANDS[i]: _psf(data, row, i, geometry) for i in seen},
        noise={band: depth(data, row, band) * pixel for band in names},
        mask={
            BANDS[i]: ndimage.map_coordinates(data.mask[row, i].astype(np.uint8), at, order=0) > 0
            for i in seen
        },
    )
    if not noisy:
        for band, rms in observation.noise.items():
            image = observation.image[band]
            observation.image[band] = image + rms * random.standard_normal(image.shape)
        data = replace(data, noise=np.zeros_like(data.noise))  # of the second galaxy of a blend
    return NativeGalaxy(observation, geometry, row, data)


def places(geometry: frame.Geometry, pixel: float, side: int) -> NDArray:
    """Where the pixels of a square native stamp lie in a canonical one, (2, side, side) (y, x)."""
    v, u = (np.indices((side, side)) - (side - 1) / 2) * pixel
    u, v = u - geometry.centroid[0], v - geometry.centroid[1]
    (xu, xv), (yu, yv) = np.linalg.inv(geometry.matrix)
    return np.stack([yu * u + yv * v, xu * u + xv * v]) + (STAMP_SIZE - 1) / 2


def sampled(images: NDArray, at: NDArray, step: float) -> list[NDArray]:
    """Sample canonical images (n, 64, 64) on native pixels `step` canonical pixels wide.

    The canonical pixel is taken off, as the PSF that counts is that of the survey. Native
    pixels are not the finer ones, so that a spline through the canonical ones is enough.
    """
    k = np.fft.fftfreq(STAMP_SIZE)
    sharp = np.fft.ifft2(np.fft.fft2(images) / np.outer(np.sinc(k), np.sinc(k))).real
    return [step**2 * ndimage.map_coordinates(image, at, order=5) for image in sharp]


def _psf(data: Dataset, row: int, band: int, geometry: frame.Geometry) -> galsim.GSObject:
    """PSF of a band on the sky, without the canonical pixel."""
    image = galsim.ImageD(np.asarray(data.psf[row, band], dtype=float))
    # The PSF's centre is half a pixel beyond that of its even-sided stamp.
    profile = galsim.InterpolatedImage(image, scale=1.0, offset=(0.5, 0.5), flux=1.0)
    profile = galsim.Convolve(profile, galsim.Deconvolve(galsim.Pixel(1.0)))
    return frame.canonical_wcs(geometry).profileToWorld(profile)


def half_width(psf: NDArray) -> float:
    """Half the FWHM of the Gaussian with the noise-equivalent area of a PSF stamp [pixel]."""
    return 0.5 * 2.355 / math.sqrt(4 * math.pi * float(np.sum(np.square(psf))))


def flux_of(data: Dataset, row: int) -> float:
    """Flux in the brightest band, in the unit of the file's image."""
    return float((data.image[row] * data.mask[row]).sum((1, 2)).max())


def depth(data: Dataset, row: int, band: str) -> float:
    """Rms of the noise of a square arcsec."""
    i = BANDS.index(band)
    return float(data.noise[row, i] * math.sqrt(data.noise_area[row, i]) / data.pixel_scale[row])


def measure_again(galaxy: NativeGalaxy, keep_frame: bool = False) -> dict:
    """Bring a galaxy to the canonical frame as ingest does, with the geometry that it now has.

    What cannot be measured, or leaves its stamp, stays in the frame of the galaxy that was there;
    so does everything if `keep_frame`.
    """
    geometry, canonical = galaxy.geometry, None
    if not keep_frame:
        try:
            geometry = frame.measure(galaxy.observation, frame=galaxy.data.frame)
            canonical = frame.to_canonical(galaxy.observation, geometry)
        except Exception as error:
            failure(error)
    if canonical is None or cover(canonical.mask) < MIN_COVER:
        geometry = galaxy.geometry
        canonical = frame.to_canonical(galaxy.observation, geometry)
    return {
        "image": canonical.image,
        "psf": canonical.psf,
        "mask": canonical.mask,
        "noise": canonical.noise,
        "noise_area": canonical.noise_area,
        "pixel_scale": np.float32(canonical.pixel_scale),
        "frame_g": np.float32(canonical.frame_g),
        "angle": np.float32(canonical.angle),
        "half_light_radius": np.float32(geometry.half_light_radius),
        "g": np.float32(geometry.g),
    }
