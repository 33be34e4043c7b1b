"""Numbers that describe a picture and do not change when it is turned or mirrored.

Learners are given them beside the latents, which say what a galaxy looks like as it lies in its
picture. The light is sampled on rings, round ones and ones with the galaxy's own shape, and each
ring is developed in Fourier series: amplitudes say bar, arms, disc or lopsidedness, and phases from
ring to ring whether these are straight or wound. Added are Conselice's (2003, ApJS 147, 1)
concentration, asymmetry and smoothness, and Lotz et al.'s (2004, AJ 128, 163) Gini and M20.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

__all__ = ["moments"]

_RINGS, _ANGLES = 12, 64
_ORDERS = 7  # of the Fourier series, with the mean
_OUTER = 0.94  # radius of the last ring over half a side
_CHUNK = 256
_LEAST = 1e-3


def moments(pictures: NDArray, progress: bool = False) -> NDArray:
    """Measure the moments of pictures.

    Parameters
    ----------
    pictures : ndarray (n, bands, size, size)
        Sky at 0, the bright end at about 1.
    progress : bool
        Show a bar.

    Returns
    -------
    ndarray (n, count) float32
        The same count for the same number of bands.
    """
    starts = tqdm(
        range(0, len(pictures), _CHUNK), "moments", unit="batch", disable=not progress
    )
    parts = [_moments(np.asarray(pictures[k : k + _CHUNK], np.float32)) for k in starts]
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _moments(pictures: NDArray) -> NDArray:
    grey = pictures.mean(1)
    centre, shape = _ellipse(grey)
    half = pictures.shape[-1] / 2
    radii = _OUTER * half * (np.arange(1, _RINGS + 1) / _RINGS) ** 1.2
    columns = [np.abs(shape)[:, None]]
    for g in (np.zeros_like(shape), shape):
        rings = _sample(grey, centre, g, radii)
        columns += _of_rings(rings)
    columns += _colours(pictures, centre, shape, radii)
    columns += [_light(grey, centre, shape, radii)]
    found = np.concatenate(columns, 1)
    return np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)


def _ellipse(grey: NDArray) -> tuple[NDArray, NDArray]:
    """Centre (n, 2) [pixel] and shape g1 + i g2 (n,) by moments in a Gaussian window."""
    size = grey.shape[-1]
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    n = len(grey)
    centre, shape = np.zeros((n, 2)), np.zeros(n, complex)
    light = np.clip(grey, 0, 1)
    for step in range(4):
        dx, dy = (axis[None] - centre[:, k, None, None] for k, axis in enumerate((x, y)))
        width = size / 8 if step < 2 else size / 5
        weight = light * np.exp(-0.5 * (dx**2 + dy**2) / width**2) + 1e-9
        total = weight.sum((1, 2))
        shift = np.stack([(weight * dx).sum((1, 2)), (weight * dy).sum((1, 2))], 1) / total[:, None]
        centre = np.clip(centre + shift, -size / 10, size / 10)
        pairs = ((dx, dx), (dy, dy), (dx, dy))
        xx, yy, xy = ((weight * a * b).sum((1, 2)) / total for a, b in pairs)
        root = 2 * np.sqrt(np.maximum(xx * yy - xy**2, 1e-6))
        shape = (xx - yy + 2j * xy) / (xx + yy + root)
    return centre, 1.5 * shape / np.maximum(1, np.abs(1.5 * shape) / 0.8)


def _sample(images: NDArray, centre: NDArray, g: NDArray, radii: NDArray) -> NDArray:
    """Light (n, rings, angles) on ellipses of shape g about the centres; radii are sqrt(ab)."""
    n, size, _ = images.shape
    angle = 2 * np.pi * np.arange(_ANGLES) / _ANGLES
    circle: NDArray = radii[:, None] * np.exp(1j * angle)
    # On an ellipse that is flat the major axis would leave the picture: its length is kept.
    absolute = np.abs(g)[:, None, None]
    direction = np.where(absolute > 0, g[:, None, None] / np.maximum(absolute, 1e-9), 1)
    turn = np.sqrt(direction)
    ratio = (1 - absolute) / (1 + absolute)
    place = (np.real(circle) + 1j * np.imag(circle) * ratio) * turn
    px = np.real(place) + (centre[:, 0] + (size - 1) / 2)[:, None, None]
    py = np.imag(place) + (centre[:, 1] + (size - 1) / 2)[:, None, None]
    which = np.broadcast_to(np.arange(n)[:, None, None], px.shape)
    return _interpolated(images, which, py, px)


def _interpolated(images: NDArray, which: NDArray, y: NDArray, x: NDArray) -> NDArray:
    """Values of images (n, ny, nx) at places of the images `which`, bilinear."""
    return ndimage.map_coordinates(images, [which, y, x], order=1, mode="nearest", prefilter=False)


def _of_rings(rings: NDArray) -> list[NDArray]:
    """Amplitudes, and how phases go on from ring to ring."""
    series = np.fft.rfft(rings, axis=2)[:, :, :_ORDERS] / _ANGLES
    mean = series[:, :, 0].real
    scale = np.maximum(mean, 0.02)
    relative = series[:, :, 1:] / scale[:, :, None]
    columns = [np.arcsinh(20 * mean), np.abs(relative).reshape(len(rings), -1)]
    columns += [rings.std(2) / scale, np.abs(np.diff(rings, axis=2)).mean(2) / scale]
    for order in (1, 2, 3):
        c = series[:, :, order]
        product = c[:, 1:] * c[:, :-1].conj()
        size = np.abs(product) + _LEAST**2
        columns += [product.real / size, np.abs(product.imag) / size]
        both = c[:, 2:] * c[:, :-2].conj()
        columns += [np.abs(both.imag) / (np.abs(both) + _LEAST**2)]
        inner, outer = c[:, : _RINGS // 2].sum(1), c[:, _RINGS // 2 :].sum(1)
        amount = np.abs(c)
        columns += [
            np.stack([
                np.abs(inner) / (amount[:, : _RINGS // 2].sum(1) + _LEAST),
                np.abs(outer) / (amount[:, _RINGS // 2 :].sum(1) + _LEAST),
                np.abs(c.sum(1)) / (amount.sum(1) + _LEAST),
            ], 1),
        ]  # fmt: skip
        # Turning sense, the same for a picture and its mirror image.
        columns += [np.abs(product.imag.sum(1, keepdims=True)) / size.sum(1, keepdims=True)]
    return columns


def _colours(
    pictures: NDArray, centre: NDArray, shape: NDArray, radii: NDArray
) -> list[NDArray]:
    """Profile of each band over that of the mean of all."""
    if pictures.shape[1] == 1:
        return []
    profiles = [
        _sample(pictures[:, band], centre, shape, radii[::2]).mean(2)
        for band in range(pictures.shape[1])
    ]
    mean = np.maximum(np.mean(profiles, 0), 0.02)
    return [profile / mean for profile in profiles]


def _light(grey: NDArray, centre: NDArray, shape: NDArray, radii: NDArray) -> NDArray:
    """Concentration, asymmetry (180 and 90 degrees), smoothness, Gini, M20, extent, peaks."""
    n, size, _ = grey.shape
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    dx, dy = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
    r = np.hypot(dx, dy)
    inside = r < 0.9 * size / 2
    light = np.where(inside, np.maximum(grey, 0), 0)
    total = np.maximum(light.sum((1, 2)), _LEAST)
    order = np.argsort(r.reshape(n, -1), 1)
    grown = np.cumsum(np.take_along_axis(light.reshape(n, -1), order, 1), 1) / total[:, None]
    sorted_r = np.take_along_axis(r.reshape(n, -1), order, 1)
    radius = [
        np.take_along_axis(sorted_r, (grown < share).sum(1)[:, None].clip(0, size**2 - 1), 1)[:, 0]
        for share in (0.2, 0.5, 0.8, 0.9)
    ]
    columns = [*(value / size for value in radius), radius[2] / np.maximum(radius[0], 0.5)]
    place = [(np.arange(n)[:, None, None] + 0 * dx), dy, dx]
    middle = (size - 1) / 2
    for ux, uy in ((-place[2], -place[1]), (-place[1], place[2])):
        px = ux + centre[:, 0, None, None] + middle
        py = uy + centre[:, 1, None, None] + middle
        turned = _interpolated(grey, place[0], py, px)
        for part in (inside, r < size / 5):
            lacks = (np.abs(grey - turned) * part).sum((1, 2))
            columns.append(lacks / np.maximum((np.abs(grey) * part).sum((1, 2)), _LEAST))
    for width in (1.0, 2.5):
        smooth = ndimage.gaussian_filter(grey, (0, width, width))
        columns.append((np.abs(grey - smooth) * inside).sum((1, 2)) / total)
    values = np.sort(light.reshape(n, -1), 1)
    rank = 2 * np.arange(1, size**2 + 1) - size**2 - 1
    columns.append((values * rank).sum(1) / (total * size**2))
    brightest = light.reshape(n, -1) >= np.percentile(light.reshape(n, -1), 97, axis=1)[:, None]
    second = (light * r**2).reshape(n, -1)
    share = (second * brightest).sum(1) / np.maximum(second.sum(1), _LEAST)
    columns.append(np.log10(share + _LEAST))
    smooth = ndimage.gaussian_filter(grey, (0, 1.0, 1.0))
    peaks = (smooth == ndimage.maximum_filter(smooth, (1, 5, 5))) & inside
    for level in (0.15, 0.3, 0.6):
        columns.append((peaks & (smooth > level)).sum((1, 2)))
        columns.append((light > level).mean((1, 2)))
    columns.append(np.hypot(*centre.T))
    edge = np.concatenate([grey[:, :2].reshape(n, -1), grey[:, -2:].reshape(n, -1)], 1)
    columns += [edge.mean(1), edge.max(1)]
    return np.stack(columns, 1)
