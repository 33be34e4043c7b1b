"""Draw one galaxy after another through the PSF and pixels of one filter.

`galsim.InterpolatedImage` evaluates a galaxy's transform at each wave vector of the final image; on
stamps of 24" most of that is wasted, because a galaxy is small. Here the galaxy is transformed on
the coarse grid of wave vectors that its own size asks for, with a narrow Gaussian instead of the
PSF, and laid on the pixels; then that is convolved with the PSF over the Gaussian. The image agrees
with GalSim's to 5e-5 of the peak: the PSF's far wings wrap round, as in GalSim's own images.

`galsim_vae.render` draws blends to the same accuracy, and is faster where dozens of galaxies share
a PSF and a small image. On the large images of blends its matrix products cost more than the
transforms here, and a call for few galaxies has its overhead: on BlendingToolKit's 24" stamps it
takes 1.1 to 2.7 times as long for the galaxies of one blend, and for those of four blends 1.3 to
2.5 times in five of seven surveys and 0.8 times in HSC and DES (``benchmarks/blend_drawing.py``).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import galsim
import numpy as np
from scipy import fft, ndimage

__all__ = ["BlendScene", "Camera", "draw_blends", "draw_isolated", "find_camera"]

# Padding and order of the B-spline with which a stamp's transform is interpolated: the error is
# (t / (1 - t))^6 of the light at the edge of a stamp of 64 pixels, t = 64 / (2 * 192): 6e-5, and
# less inside it (Beylkin 1995, Appl. Comput. Harmon. Anal. 2, 363).
_PADDED, _ORDER = 192, 5
# Width of the narrow Gaussian, fine pixels: 1e-3 at the Nyquist frequency; and where it ends.
_SIGMA = np.sqrt(2 * np.log(1e3)) / np.pi
_TAIL = 7
# GalSim's quintic kernel reaches three pixels of the stamp.
_KERNEL = galsim.Quintic()
_KERNEL_REACH = 3
# Fine pixels a pixel: enough for the PSF's highest frequency, but no more than this.
_MAX_OVERSAMPLING = 6


class Camera:
    """The PSF and the pixels of one filter.

    Parameters
    ----------
    psf : galsim.GSObject
        Without the pixel.
    pixel_scale : float
        Arcsec.
    size : int
        Width and height of the images, pixels.
    """

    def __init__(self, psf: galsim.GSObject, pixel_scale: float, size: int):
        self.pixel_scale, self.size = float(pixel_scale), size
        # GalSim's maxk is where the transform falls below 1e-3: a tenth of a pixel more is nothing.
        needed = int(np.ceil(psf.maxk * self.pixel_scale / np.pi - 0.1))
        self._fine = int(np.clip(needed, 1, _MAX_OVERSAMPLING))
        self._scale = self.pixel_scale / self._fine
        # Light that leaves on one side must not come back on the other.
        good = min(psf.getGoodImageSize(self.pixel_scale), size // 2)
        self._width = _even(self._fine * (size + good))
        self._margin = (self._width - self._fine * size) // 2
        effective = galsim.Convolve(psf, galsim.Pixel(self.pixel_scale))
        transfer = self._transform(effective) / _taper(self._width)
        self._transfer = (self._fine**2 * transfer).astype(np.complex64)

    def draw(self, image, jacobian, offset, x: float, y: float) -> np.ndarray:
        """Draw a galaxy.

        Parameters
        ----------
        image : ndarray (64, 64)
            Samples of the profile in the canonical frame; their sum is the flux.
        jacobian : ndarray (2, 2)
            Maps canonical pixels to arcsec.
        offset : ndarray (2,)
            (x, y) of the centroid from the centre of the stamp, canonical pixels.
        x, y : float
            Position of the centroid from the centre of the image, arcsec.

        Returns
        -------
        ndarray (size, size) float64
            Light falling off the image is lost.
        """
        centre = self._fine * (np.array([x, y]) / self.pixel_scale + (self.size - 1) / 2)
        whole = np.rint(centre).astype(int)
        reach = np.abs(jacobian) @ (len(image) / 2 + _KERNEL_REACH + np.abs(offset))
        width = _even(2 * int(np.ceil(reach.max() / self._scale + _TAIL)))
        k = 2 * np.pi * fft.fftfreq(width, self._scale)[:, None]
        kx, ky = np.abs(k[: width // 2 + 1].T), k
        transform = _stamp_transform(image, jacobian, offset, kx, ky)
        dx, dy = (centre - whole) * self._scale
        transform *= _taper(width) * np.exp(-1j * dx * kx) * np.exp(-1j * dy * ky)
        compact = fft.fftshift(fft.irfft2(transform, (width, width)))
        return self._observe(compact, whole - width // 2)

    def _observe(self, compact: np.ndarray, corner: np.ndarray) -> np.ndarray:
        """Lay an image on the fine pixels, its first pixel at ``corner`` (x, y), and convolve."""
        index = corner[:, None] + np.arange(len(compact))
        stop = self._fine * self.size
        near = (index >= -self._margin) & (index < stop + self._margin)
        scene = np.zeros((self._width, self._width), np.float32)
        columns, rows = (line[keep] % self._width for line, keep in zip(index, near, strict=True))
        scene[np.ix_(rows, columns)] = compact[np.ix_(near[1], near[0])]
        seen = fft.irfft2(fft.rfft2(scene) * self._transfer, scene.shape)
        return seen[: stop : self._fine, : stop : self._fine]

    def _transform(self, profile: galsim.GSObject) -> np.ndarray:
        """The Fourier transform of a profile in the layout of `scipy.fft.rfft2`."""
        half = self._width // 2
        bounds = galsim.BoundsI(0, half, -half, half - 1)
        image = galsim.ImageCD(bounds, scale=2 * np.pi / (self._width * self._scale))
        profile.drawKImage(image, recenter=False)
        return fft.ifftshift(image.array, axes=0)


@functools.lru_cache(maxsize=64)
def find_camera(psf: galsim.GSObject, pixel_scale: float, size: int) -> Camera:
    """Return a `Camera`, made once for the same arguments."""
    return Camera(psf, pixel_scale, size)


@dataclass
class BlendScene:
    """One blend in one survey: n galaxies, f filters.

    Attributes
    ----------
    images : ndarray (n, f, 64, 64) float32
        Canonical stamps; the sum is the flux, electrons.
    jacobian : ndarray (n, 2, 2)
        Canonical pixels to arcsec.
    offset : ndarray (n, 2)
        Centroid from the centre of the stamp, canonical pixels.
    position : ndarray (n, 2)
        (x, y) of the centroid from the centre of the image, arcsec.
    sky : ndarray (f,)
        Electrons a pixel.
    noise : (bool, bool)
        Whether the galaxies have noise, and the sky.
    seeds : list of (int, int)
        Of the noise of galaxies and of the sky; one pair a filter.
    """

    images: np.ndarray
    jacobian: np.ndarray
    offset: np.ndarray
    position: np.ndarray
    sky: np.ndarray
    noise: tuple[bool, bool]
    seeds: list[tuple[int, int]]


def draw_blends(
    scenes: list[BlendScene], cameras: list[Camera]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw some blends.

    Parameters
    ----------
    scenes : list of BlendScene
    cameras : list of Camera
        One a filter.

    Returns
    -------
    list of (blend, isolated)
        The image (f, size, size), with noise, and each galaxy alone (n, f, size, size), without.
    """
    out = []
    for scene in scenes:
        isolated = draw_isolated(scene, cameras)
        blend = isolated.sum(axis=0)
        for image, sky, seeds in zip(blend, scene.sky, scene.seeds, strict=True):
            _add_noise(image, sky, scene.noise, seeds)
        out.append((blend, isolated))
    return out


def draw_isolated(scene: BlendScene, cameras: list[Camera]) -> np.ndarray:
    """Draw each galaxy of a blend alone.

    Parameters
    ----------
    scene : BlendScene
    cameras : list of Camera
        One a filter.

    Returns
    -------
    ndarray (n, f, size, size) float64
        Electrons, without noise, not negative.
    """
    size = cameras[0].size
    isolated = np.zeros((*scene.images.shape[:2], size, size))
    for i, images in enumerate(scene.images):
        geometry = scene.jacobian[i], scene.offset[i], *scene.position[i]
        for k, (image, camera) in enumerate(zip(images, cameras, strict=True)):
            if image.any():
                isolated[i, k] = np.maximum(camera.draw(image, *geometry), 0)
    return isolated


def _add_noise(array: np.ndarray, sky: float, wanted, seeds) -> None:
    """Photon noise, in place; the sky itself is subtracted."""
    image = galsim.Image(array, copy=False)
    galaxies, background = (galsim.BaseDeviate(seed) for seed in seeds)
    if wanted[0]:
        image.addNoise(galsim.PoissonNoise(galaxies, sky_level=0.0))
    if wanted[1]:
        noise = galsim.Image(np.zeros_like(array))
        noise.addNoise(galsim.PoissonNoise(background, sky_level=sky))
        image += noise


def _stamp_transform(image, jacobian, offset, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
    """The transform of a galaxy at wave vectors on the sky: kx (1, m) and ky (n, 1), 1/arcsec."""
    u = jacobian[0, 0] * kx + jacobian[1, 0] * ky
    v = jacobian[0, 1] * kx + jacobian[1, 1] * ky
    half = len(image) // 2
    shape = np.sinc(np.arange(-half, half) / _PADDED) ** -(_ORDER + 1.0)
    padded = np.zeros((_PADDED, _PADDED), np.float32)
    padded[: 2 * half, : 2 * half] = image * shape * shape[:, None]
    # The pixel in the middle of the stamp goes to the origin, where the spline is best.
    samples = fft.fft2(np.roll(padded, (-half, -half), axis=(0, 1)))
    cycles = np.array([v, u]) * (_PADDED / (2 * np.pi))
    out = ndimage.map_coordinates(samples, cycles, order=_ORDER, prefilter=False, mode="grid-wrap")
    out *= np.exp(-1j * (u * (0.5 - offset[0]) + v * (0.5 - offset[1])))
    return out * _KERNEL.kval(u.ravel()).reshape(u.shape) * _KERNEL.kval(v.ravel()).reshape(u.shape)


def _taper(width: int) -> np.ndarray:
    """Transform of the narrow Gaussian, (width, width // 2 + 1)."""
    k = 2 * np.pi * fft.fftfreq(width)
    line = np.exp(-0.5 * (_SIGMA * k) ** 2)
    return line[:, None] * line[: width // 2 + 1]


def _even(width: int) -> int:
    """The next even width of a fast transform."""
    return 2 * fft.next_fast_len((width + 1) // 2, real=True)
