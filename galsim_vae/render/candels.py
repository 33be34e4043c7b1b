"""Galaxies as CANDELS would have seen them."""

from __future__ import annotations

import math
from typing import Protocol

import galsim
import numpy as np
from galsim.errors import GalSimRangeError, GalSimValueError
from tqdm import tqdm

from galsim_vae.bands import CANDELS_NOISE, CANDELS_PIXEL_SCALE, STAMP_SIZE, hst_psf

from .batch import render
from .scene import Drawable

__all__ = ["RENDERERS", "DrawableOneByOne", "draw"]

#: What can draw: GalSim, one galaxy after the other, or `galsim_vae.render`, all of them at once.
RENDERERS = ("galsim", "batch")

# Room around a stamp for the PSF, 0.06" pixels on each side.
_MARGIN = 16
# Bytes of all images together.
_MOST_MEMORY = 8 * 2**30


class DrawableOneByOne(Drawable, Protocol):
    """What GalSim needs besides: the names of the bands, and each galaxy as an object."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands of ``array``."""
        ...

    def galaxy(self, i: int, band: str) -> galsim.GSObject:
        """Return galaxy i in one band, its flux in counts."""
        ...


def draw(
    stamps: DrawableOneByOne,
    rng: galsim.BaseDeviate,
    renderer: str = "galsim",
    progress: bool = False,
) -> np.ndarray:
    """Draw galaxies through model HST PSFs, with noise: see `galsim_vae.Stamps.as_candels`."""
    if renderer not in RENDERERS:
        raise GalSimValueError("Unknown renderer", renderer, RENDERERS)
    size = _size(stamps)
    shape = (*stamps.array.shape[:2], size, size)
    needed = 4 * math.prod(shape)
    if needed > _MOST_MEMORY:
        fit = _MOST_MEMORY * len(stamps.array) // needed
        raise GalSimRangeError(
            f"Images of {size} x {size} pixels, the largest galaxy's size, need so many bytes: "
            f"draw fewer galaxies at a time ({fit} fit), the large ones apart",
            needed, 0, _MOST_MEMORY,
        )  # fmt: skip
    out = np.zeros(shape, dtype=np.float32)
    (_draw_with_galsim if renderer == "galsim" else _draw_batch)(stamps, out, progress)
    # The same deviates for both renderers, galaxy by galaxy.
    for images in out:
        for band, array in zip(stamps.bands, images, strict=True):
            galsim.Image(array, copy=False).addNoise(
                galsim.GaussianNoise(rng, sigma=CANDELS_NOISE[band])
            )
    return out


def _draw_with_galsim(stamps: DrawableOneByOne, out: np.ndarray, progress: bool) -> None:
    galaxies = range(len(stamps.array))
    for i in tqdm(galaxies, desc="drawing", unit="galaxy", disable=not progress):
        for k, band in enumerate(stamps.bands):
            if stamps.array[i, k].any():
                observed = galsim.Convolve(stamps.galaxy(i, band), hst_psf(band))
                image = galsim.Image(out[i, k], scale=CANDELS_PIXEL_SCALE, copy=False)
                observed.drawImage(image, method="no_pixel")


def _draw_batch(stamps: DrawableOneByOne, out: np.ndarray, progress: bool) -> None:
    ny, nx = out.shape[2:]
    bar = tqdm(stamps.bands, desc="drawing", unit="band", disable=not progress)
    for k, band in enumerate(bar):
        images = render(
            stamps, hst_psf(band), nx, ny, CANDELS_PIXEL_SCALE, bands=band, method="no_pixel"
        )
        out[:, k] = images[:, 0].cpu().numpy()


def _size(stamps: Drawable) -> int:
    """Even width, 0.06" pixels, that holds what every stamp shows on the sky, and its PSF."""
    # A square on the sky is as wide as its sides' projections together; an ellipse is narrower.
    order = 2 if _end_in_circles(stamps.array) else 1
    widths = np.linalg.norm(stamps.jacobian, ord=order, axis=2)
    reach = widths.max(initial=0.0) * STAMP_SIZE / 2
    return 2 * (int(np.ceil(reach / CANDELS_PIXEL_SCALE)) + _MARGIN)


def _end_in_circles(array: np.ndarray) -> bool:
    """Whether no stamp has light outside the largest circle that it holds."""
    axis = np.arange(STAMP_SIZE) - (STAMP_SIZE - 1) / 2
    corners = np.hypot(axis, axis[:, None]) > STAMP_SIZE / 2
    return not any(array[:, band][:, corners].any() for band in range(array.shape[1]))
