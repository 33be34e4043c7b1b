"""How far an image is from a regular galaxy: of elliptical isophotes, with one peak."""

import math

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import reconstruction

__all__ = ["departure", "second_peak"]


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


def second_peak(image: NDArray) -> float:
    """Largest height of any other peak over its saddle towards the highest, relative to that.

    What is left above the reconstruction by dilation from the highest peak alone (Vincent 1993,
    IEEE Trans. Image Processing 2, 176); 0 to 1 of an image that is nowhere negative.
    """
    top = np.argmax(image)
    if not image.flat[top] > 0:  # no band was observed
        return 0.0
    seed = np.full_like(image, image.min())
    seed.flat[top] = image.flat[top]
    return float((image - reconstruction(seed, image)).max() / image.flat[top])
