"""Centre, shape and size of one observed galaxy on its native pixels (numpy, float64).

Pixel coordinates are 0-based (x, y). An ellipse is a centre and a 2x2 moment matrix, of which only
the shape counts; its radius is the geometric mean of its axes.
"""

import functools
import math
from typing import NamedTuple

import galsim
import numpy as np
from numpy.typing import NDArray

from galsim_vae.geometry import elliptical_radius

__all__ = [
    "Ellipse",
    "adaptive_moments",
    "aperture_flux",
    "half_light",
    "psf_size",
    "shear_of",
    "subtract_psf",
    "total_radius",
]

# Petrosian (1976) radius as SDSS defines it (Blanton et al. 2001, AJ 121, 2358): where the surface
# brightness is 0.2 of its mean inside; the total is the flux inside twice that radius.
PETROSIAN_RATIO = 0.2
PETROSIAN_TOTAL = 2.0
# Widths [pixel] from which the adaptive moments start, in turn until one converges. From too
# narrow a start they collapse on an edge-on galaxy's ridge or stay on one clump.
START_SIGMAS = (12.0, 8.0, 5.0, 3.0, 20.0)
# A PSF takes at most this share of either principal moment, so that the shape stays an ellipse.
PSF_SHARE = 0.9
# PSFs are sampled this much finer than the native pixel when measured.
PSF_OVERSAMPLING = 3


class Ellipse(NamedTuple):
    """Centre (x, y) [pixel] and moments (2, 2) [pixel^2] of an elliptical aperture."""

    centre: tuple[float, float]
    moments: NDArray

    def radius(self, shape: tuple[int, ...]) -> NDArray:
        """Geometric-mean radius of every pixel of an image of `shape` [pixel]."""
        y, x = np.indices(shape, dtype=float)
        (xx, xy), (_, yy) = self.moments
        return elliptical_radius(x - self.centre[0], y - self.centre[1], xx, xy, yy)


def adaptive_moments(image: NDArray, guess: tuple[float, float]):
    """Return x, y [pixel] and the 2x2 moment matrix [pixel^2] of the best elliptical Gaussian.

    Raises
    ------
    galsim.GalSimHSMError
        No convergence from any of the starts in `START_SIGMAS`.
    """
    hsm_image = galsim.ImageD(np.ascontiguousarray(image, dtype=float))
    centre = galsim.PositionD(guess[0] + 1, guess[1] + 1)
    for sigma in START_SIGMAS:
        result = galsim.hsm.FindAdaptiveMom(
            hsm_image,
            guess_sig=sigma,
            guess_centroid=centre,
            strict=False,
            hsmparams=galsim.hsm.HSMParams(max_mom2_iter=2000),
        )
        if not result.error_message:
            break
    else:
        raise galsim.GalSimHSMError(result.error_message)
    e1, e2 = result.observed_shape.e1, result.observed_shape.e2
    # hsm's sigma is det(M)^(1/4).
    half_trace = result.moments_sigma**2 / math.sqrt(1 - e1**2 - e2**2)
    moments = half_trace * np.array([[1 + e1, e2], [e2, 1 - e1]])
    return result.moments_centroid.x - 1, result.moments_centroid.y - 1, moments


def shear_of(moments: NDArray) -> tuple[float, float]:
    """Return |g| and the position angle [radian] from +x of a 2x2 moment matrix."""
    trace = moments[0, 0] + moments[1, 1]
    e1, e2 = (moments[0, 0] - moments[1, 1]) / trace, 2 * moments[0, 1] / trace
    shape = galsim.Shear(e1=e1, e2=e2)
    return float(shape.g), float(shape.beta.rad)


def subtract_psf(moments: NDArray, psf: NDArray) -> NDArray:
    """Moments less the PSF's, both (2, 2); never less than 1 - `PSF_SHARE` along any axis."""
    root = np.linalg.cholesky(moments)
    inverse = np.linalg.inv(root)
    share, axes = np.linalg.eigh(inverse @ psf @ inverse.T)
    left = np.diag(1 - np.minimum(share, PSF_SHARE))
    return root @ axes @ left @ axes.T @ root.T


def aperture_flux(image: NDArray, ellipse: Ellipse, radius: float) -> float:
    """Flux inside `radius`; a pixel that the edge cuts counts by a linear ramp of one pixel."""
    return float(np.sum(image * np.clip(radius - ellipse.radius(image.shape) + 0.5, 0, 1)))


def _growth(image: NDArray, ellipse: Ellipse) -> tuple[NDArray, NDArray]:
    """Radii from 0.5 px to the edge of the image by 0.25 px, and the flux inside each."""
    radius = ellipse.radius(image.shape)
    edges = np.arange(0.5, radius.max(), 0.25)
    # The ramp is 4 steps wide: a cumulative histogram in fine steps, smoothed by a box of 1 px.
    fine = np.bincount((radius * 16).astype(int).ravel(), weights=image.ravel())
    cumulative = np.concatenate([np.zeros(9), np.cumsum(fine), np.full(16, fine.sum())])
    box = np.convolve(cumulative, np.full(16, 1 / 16), mode="same")
    at = np.arange(box.size) / 16 - 8 / 16
    return edges, np.interp(edges, at, box)


def total_radius(image: NDArray, ellipse: Ellipse) -> float:
    """Radius [pixel] of the aperture that holds the total flux: two Petrosian radii.

    Raises
    ------
    galsim.GalSimValueError
        No flux at the centre.
    """
    radius, flux = _growth(image, ellipse)
    inner, outer = 0.8 * radius, 1.25 * radius
    annulus = np.interp(outer, radius, flux) - np.interp(inner, radius, flux, left=0.0)
    local = annulus / (outer**2 - inner**2)
    mean = flux / radius**2
    below = np.flatnonzero((local < PETROSIAN_RATIO * mean) & (radius > 1.5))
    if flux[radius <= 2].max(initial=-1.0) <= 0:
        raise galsim.GalSimValueError("No positive flux at the centroid", flux[:4])
    petrosian = radius[below[0]] if below.size else radius[-1]
    return float(min(PETROSIAN_TOTAL * petrosian, radius[-1]))


def half_light(image: NDArray, ellipse: Ellipse, total: float) -> float:
    """Radius [pixel] that holds half of the flux inside radius `total` [pixel]."""
    radius, flux = _growth(image, ellipse)
    half = 0.5 * np.interp(total, radius, flux)
    above = int(np.argmax(flux >= half))
    if above == 0:
        return float(radius[0])
    return float(np.interp(half, flux[above - 1 : above + 1], radius[above - 1 : above + 1]))


@functools.lru_cache(maxsize=64)
def psf_size(psf: galsim.GSObject, pixel_scale: float) -> tuple[NDArray, float]:
    """Adaptive moments (2, 2) [arcsec^2] and half-light radius [arcsec] of an effective PSF."""
    scale = pixel_scale / PSF_OVERSAMPLING
    image = psf.drawImage(nx=129, ny=129, scale=scale, method="no_pixel", dtype=float).array
    x, y, moments = adaptive_moments(image, (64.0, 64.0))
    circle = Ellipse((x, y), np.eye(2))
    return moments * scale**2, half_light(image, circle, 64.0) * scale
