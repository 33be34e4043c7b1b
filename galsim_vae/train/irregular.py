"""How far an image is from a regular galaxy: of elliptical isophotes, symmetric about its peak."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

# Asymmetry: radius within which it is measured, and largest distance of its centre from the peak in
# x and in y [pixel].
_WITHIN, _FROM_PEAK = 20.0, 2.0


def departure(image: NDArray) -> float:
    """Rms departure from elliptical isophotes, relative to the rms of the image.

    All isophotes have the centroid and the second moments of the whole.
    """
    y, x = np.indices(image.shape, dtype=float)
    flux = image.sum()
    if not flux > 0:  # no band was observed
        return 0.0
    d = np.stack([x - (image * x).sum() / flux, y - (image * y).sum() / flux])
    moments = np.einsum("iyx,jyx,yx->ij", d, d, image) / flux
    inverse = np.linalg.inv(moments) * math.sqrt(np.linalg.det(moments))
    radius = np.sqrt(np.einsum("iyx,ij,jyx->yx", d, inverse, d))
    ring = radius.astype(int)
    count = np.maximum(np.bincount(ring.ravel()), 1)
    profile = np.bincount(ring.ravel(), weights=image.ravel()) / count
    smooth = np.interp(radius, np.arange(len(profile)) + 0.5, profile)
    return math.sqrt(((image - smooth) ** 2).sum() / (image**2).sum())


def asymmetry(image: NDArray) -> float:
    """Asymmetry of a square image under a turn by 180 degrees, 0 to 2.

    Conselice 2003 (ApJS 147, 1), equation 10, without its term for the sky. The centre is the one
    of least asymmetry, to half a pixel, near the brightest pixel.
    """
    side = len(image)
    peak = np.array(np.unravel_index(np.argmax(image), image.shape))
    turned = image[::-1, ::-1]
    steps = np.arange(-_FROM_PEAK, _FROM_PEAK + 0.5, 0.5)
    y, x = np.indices(image.shape)
    least = np.inf
    for step in itertools.product(steps, steps):
        centre = peak + step
        # A turn about the middle of the stamp, and a shift, are a turn about `centre`.
        shift = tuple((2 * centre - (side - 1)).astype(int))
        within = np.hypot(y - centre[0], x - centre[1]) < _WITHIN
        total = max(float(np.abs(image)[within].sum()), 1e-12)
        least = min(
            least, float(np.abs(image - np.roll(turned, shift, (0, 1)))[within].sum()) / total
        )
    return least
