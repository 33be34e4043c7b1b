"""Sky of an image: which pixels are data, which show the sky, its level, noise and correlation."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

__all__ = ["MIN_PIXELS", "correlation", "exposed", "level", "noise", "pixels", "usable"]

# Farthest lag at which noise of drizzled and PSF-matched mosaics is taken to be correlated [pixel].
REACH = 6
# Objects are what stands out by this many sigma after smoothing with a Gaussian of so many pixels,
# and what lies within so many pixels of it.
OBJECT_SIGMA = 2.5
SMOOTHING = 2.0
GROWTH = 4
# Fewer sky pixels than this say nothing.
MIN_PIXELS = 400
# Where an image has one value over a square of so many pixels a side it is no data: 0 or less (a
# fill), or anything over the larger one (what is saturated is smaller).
FILL, LARGE_FILL = 5, 31
# An rms that many times larger or smaller than usual marks pixels without data.
FAR = 100.0
# The sky scatters by the rms times a number not smaller than this: drizzling correlates it.
LEAST_SCATTER = 0.1
# 1.4826 * MAD is the standard deviation of a normal distribution.
_MAD = 1.4826


def exposed(image: NDArray) -> NDArray:
    """Tell which pixels are data: finite, and not of an area that is filled with one value.

    Survey maps hold 0, a large negative number or NaN where there is no exposure. A lone 0 is a
    value like any other in quantised data.

    Returns
    -------
    bool array with the shape of the image.
    """
    finite = np.isfinite(image)
    values = np.where(finite, image, 0.0)
    filled = np.zeros(image.shape, dtype=bool)
    for side, candidates in ((FILL, values <= 0), (LARGE_FILL, values > 0)):
        flat = ndimage.maximum_filter(values, side) == ndimage.minimum_filter(values, side)
        flat &= candidates
        if flat.any():
            filled |= ndimage.maximum_filter(flat, side)  # the squares about these centres
    return finite & ~filled


def usable(image: NDArray, rms: NDArray) -> NDArray:
    """Tell which pixels of an image are data, as the image or its rms map says.

    An rms that is not finite and positive, or far from what is usual (the median, or what the
    image's own scatter allows), marks a pixel without data, as 1e10 or a weight of 1e-20 does.

    Parameters
    ----------
    image, rms : ndarray (ny, nx)
        In one unit.

    Returns
    -------
    bool array (ny, nx)
    """
    with np.errstate(invalid="ignore"):
        good = exposed(image) & np.isfinite(rms) & (rms > 0)
    if not good.any():
        return good
    usual = float(np.median(rms[good]))
    scatter = noise(image, good)
    if scatter > 0:
        usual = min(usual, scatter / LEAST_SCATTER)
    return good & (rms < FAR * usual) & (rms > usual / FAR)


def level(image: NDArray, sky: NDArray) -> float:
    """Median of the sky pixels."""
    return float(np.median(image[sky]))


def noise(image: NDArray, sky: NDArray) -> float:
    """Robust standard deviation of the sky pixels about their median."""
    values = image[sky]
    return _MAD * float(np.median(np.abs(values - np.median(values))))


def pixels(image: NDArray, good: NDArray) -> NDArray:
    """Find the usable pixels without a detected object in them or near them.

    Returns
    -------
    bool array with the shape of the image; all False if fewer than `MIN_PIXELS` are left.
    """
    sky = good
    weight = ndimage.gaussian_filter(good.astype(float), SMOOTHING)
    for _ in range(4):
        if sky.sum() < MIN_PIXELS:
            return np.zeros_like(good)
        centred = np.where(good, image - level(image, sky), 0.0)
        smooth = ndimage.gaussian_filter(centred, SMOOTHING) / np.maximum(weight, 0.1)
        objects = good & (smooth > level(smooth, sky) + OBJECT_SIGMA * noise(smooth, sky))
        # A lone pixel above the limit is noise.
        objects = ndimage.binary_opening(objects)
        sky = good & ~ndimage.binary_dilation(objects, iterations=GROWTH)
    return sky if sky.sum() >= MIN_PIXELS else np.zeros_like(good)


def correlation(images: Iterable[tuple[NDArray, NDArray]]) -> NDArray:
    """Measure the correlation function of sky noise.

    Pairs of sky pixels are averaged in each image, and the images by their number of sky pixels.
    What is left at the lags of `REACH` (gradients, undetected objects) is taken off all lags, and
    lags that are not significant (three sigma) count as zero.

    Parameters
    ----------
    images : iterable of (ndarray, ndarray)
        Pairs of an image and its sky pixels.

    Returns
    -------
    ndarray (2 * REACH + 1, 2 * REACH + 1)
        Array, 1 at its centre; without any sky pixel, white noise.
    """
    size = 2 * REACH + 1
    products, pairs = np.zeros((size, size)), np.zeros((size, size))
    for image, sky in images:
        rms = noise(image, sky) if sky.any() else 0.0
        if rms == 0:
            continue
        # Clipped, so that one undetected source does not decide.
        values = np.where(sky, np.clip((image - level(image, sky)) / rms, -4, 4), 0.0)
        products += _autocorrelation(values)
        pairs += _autocorrelation(sky.astype(float))
    white = np.zeros((size, size))
    white[REACH, REACH] = 1.0
    if not pairs[REACH, REACH] > 0:
        return white
    measured = products / np.maximum(pairs, 1)
    y, x = np.indices(measured.shape) - REACH
    far = np.maximum(np.abs(y), np.abs(x)) == REACH
    measured = np.where(far, 0.0, measured - measured[far].mean())
    measured = 0.5 * (measured + measured[::-1, ::-1])
    measured[np.abs(measured) < 3 / np.sqrt(pairs[REACH, REACH])] = 0.0
    return measured / measured[REACH, REACH] if measured[REACH, REACH] > 0 else white


def _autocorrelation(values: NDArray) -> NDArray:
    """Sums of products at lags up to `REACH` along both axes."""
    full = signal.fftconvolve(values, values[::-1, ::-1])
    y, x = values.shape[0] - 1, values.shape[1] - 1
    return full[y - REACH : y + REACH + 1, x - REACH : x + REACH + 1]
