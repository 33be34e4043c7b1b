"""The frame in which galaxies are compared: one sixth of the asked half-light radius a pixel.

Held-out and generated galaxies of the same conditions share it, and with it their pixel scale, PSF
and noise. The major axis lies along +x and the ellipticity is in the stamp, whatever frame the
networks see.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from galsim_vae import shapes
from galsim_vae.bands import (
    BANDS,
    CANDELS_NOISE,
    CANDELS_PIXEL_SCALE,
    HALF_LIGHT_PIXELS,
    REFERENCE,
    ZEROPOINTS,
)
from galsim_vae.geometry import shear_matrix, sheared_shape
from galsim_vae.model import likelihood

__all__ = ["PADDED", "Truth", "candels_noise", "canonical", "on_sky", "put_back",
           "resample", "see", "truth"]  # fmt: skip

PADDED = 96  # side of the transforms: the PSF's wings must not come back on the other side


class Truth(NamedTuple):
    """What PSF-free stamps are, each (n,): centroid [pixel], g1, g2, radius [pixel], good."""

    x: Tensor
    y: Tensor
    g1: Tensor
    g2: Tensor
    radius: Tensor
    good: Tensor


def truth(stamps: Tensor) -> Truth:
    """Measure PSF-free stamps (n, bands, 64, 64) by the estimators that define the conditions."""
    image = stamps[:, BANDS.index(REFERENCE)]
    moments, radius, good = shapes.measure(image)
    return Truth(*moments[:4], radius, good)


def canonical(
    stamps: Tensor, measured: Truth, taken: Tensor, taken_after: Tensor | None = None
) -> Tensor:
    """Recentre, turn and resize stamps so that they are canonical exactly; F814W sums to 1.

    Parameters
    ----------
    stamps : tensor (n, bands, 64, 64)
        In a frame that takes out shears along +x.
    measured : Truth
        Of the stamps.
    taken : tensor (n,)
        These shears.
    taken_after : tensor (n,), optional
        Those that are to be taken out of the result; none if absent.

    Returns
    -------
    tensor (n, bands, 64, 64)
    """
    angle = 0.5 * on_sky(measured, taken).angle()
    c, s = angle.cos(), angle.sin()
    turn = torch.stack((c, -s, s, c), 1).view(-1, 2, 2)
    after = torch.zeros_like(taken) if taken_after is None else taken_after
    matrix = _stretch(-taken) @ turn @ _stretch(after)
    matrix = matrix * (measured.radius / HALF_LIGHT_PIXELS)[:, None, None]
    stamps = resample(stamps, matrix, torch.stack((measured.x, measured.y), 1))
    return stamps / stamps[:, BANDS.index(REFERENCE)].sum((1, 2))[:, None, None, None]


def on_sky(measured: Truth, taken: Tensor) -> Tensor:
    """Return g1 + i g2 of galaxies whose stamps were sheared by ``-taken`` along +x, (n,)."""
    return sheared_shape(torch.complex(measured.g1, measured.g2), taken)


def put_back(stamps: Tensor, taken: Tensor, centre: float = 0.0) -> Tensor:
    """Bring stamps (n, bands, 64, 64) out of a frame that has taken shears (n,) out.

    The point whose x and y are both ``centre``, from the middle of a stamp [pixel], stays.
    """
    matrix = _stretch(-taken)
    return resample(stamps, matrix, centre * (1 - matrix.sum(2)))


def _stretch(g: Tensor) -> Tensor:
    """Matrices (n, 2, 2) of shears along x."""
    return torch.from_numpy(shear_matrix(g.double().numpy(), 0.0)).to(g)


def resample(stamps: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Look at stamps through a linear map: out(u) = det(matrix) in(matrix u + offset).

    Band-limited interpolation: what the map turns is turned by quarters and three shears (Paeth
    1986, Proc. Graphics Interface, p. 77), and the rest is done along x, then along y (Catmull &
    Smith 1980, SIGGRAPH 14, 279), each by a sum over the waves of the stamp. Waves too short for
    the new pixels are left out. Zero outside the stamp; of one that is turned, corners beyond the
    circle in it are lost too.

    Parameters
    ----------
    stamps : tensor (n, bands, size, size)
    matrix : tensor (n, 2, 2)
        Any that does not mirror; it may stretch by a factor of a few.
    offset : tensor (n, 2)
        X and y [pixel].

    Returns
    -------
    tensor (n, bands, size, size)
    """
    first, _, last = torch.linalg.svd(matrix)
    turn = first @ last
    turned = _turned(stamps, torch.atan2(turn[:, 1, 0], turn[:, 0, 0]))
    rest, place = turn.mT @ matrix, (turn.mT @ offset[..., None])[..., 0]
    return _stretched(turned, rest, place)


def _turned(stamps: Tensor, angle: Tensor) -> Tensor:
    """Stamps (n, bands, size, size) by out(u) = in(R u), R the rotation by angles (n,)."""
    quarters = (angle / (np.pi / 2)).round()
    angle = angle - quarters * (np.pi / 2)
    stamps = stamps.clone()
    for k in (1, 2, 3):
        some = quarters.remainder(4) == k
        stamps[some] = stamps[some].rot90(k, (2, 3))
    margin = stamps.shape[-1] // 4
    padded = torch.nn.functional.pad(stamps, (margin,) * 4)
    axis = (torch.arange(padded.shape[-1]) - (padded.shape[-1] - 1) / 2).to(stamps)
    along_x, along_y = -(0.5 * angle).tan()[:, None] * axis, angle.sin()[:, None] * axis
    one = torch.ones_like(angle)
    once = _along_rows(padded, one, along_x)
    twice = _along_rows(once.mT, one, along_y).mT
    return _along_rows(twice, one, along_x)[..., margin:-margin, margin:-margin]


def _stretched(stamps: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """As `resample`, of a map that does not turn."""
    size = stamps.shape[-1]
    (a, b), (c, d) = matrix[:, 0].T, matrix[:, 1].T
    x0, y0 = offset.T
    axis = (torch.arange(size) - (size - 1) / 2).to(stamps)
    ratio = b / d
    # Columns u of the first pass already stand where the second one needs them.
    start = x0[:, None] + ratio[:, None] * (axis - y0[:, None])
    rows = _along_rows(stamps, a - ratio * c, start)
    columns = _along_rows(rows.mT, d, y0[:, None] + c[:, None] * axis)
    u, v = axis[None, None, :], axis[None, :, None]
    matrix = matrix[..., None, None]
    x = matrix[:, 0, 0] * u + matrix[:, 0, 1] * v + x0[:, None, None]
    y = matrix[:, 1, 0] * u + matrix[:, 1, 1] * v + y0[:, None, None]
    inside = torch.maximum(x.abs(), y.abs()) <= size / 2
    area = torch.linalg.det(matrix[..., 0, 0])[:, None, None, None]
    return columns.mT * inside[:, None] * area


def _along_rows(images: Tensor, scale: Tensor, start: Tensor) -> Tensor:
    """Values at scale * u + start in each row; images (n, bands, rows, size), start (n, rows)."""
    size = images.shape[-1]
    axis = (torch.arange(size) - (size - 1) / 2).to(images)
    k = 2 * np.pi * torch.fft.rfftfreq(size).to(images)
    weight = torch.full_like(k, 2 / size)
    weight[0] = weight[-1] = 1 / size
    spectrum = torch.fft.rfft(images)
    angle = k * (start[..., None] + (size - 1) / 2)
    spectrum = spectrum * torch.complex(weight * angle.cos(), weight * angle.sin())[:, None]
    kept = k * scale.abs()[:, None] <= 1.1 * np.pi  # those of small dilations are
    spectrum = spectrum * kept[:, None, None]
    angle = k[None, :, None] * scale[:, None, None] * axis
    waves = torch.cat((angle.cos(), -angle.sin()), 1)
    parts = torch.cat((spectrum.real, spectrum.imag), -1)
    return (parts.flatten(1, 2) @ waves).view_as(images)


def see(stamps: Tensor, otf: Tensor) -> Tensor:
    """Convolve stamps (n, k, 64, 64) with PSFs (n, k, `PADDED`, `PADDED` // 2 + 1)."""
    margin = (PADDED - stamps.shape[-1]) // 2
    padded = torch.nn.functional.pad(stamps, (margin,) * 4)
    return likelihood.convolve(padded, otf)[..., margin:-margin, margin:-margin]


def candels_noise(magnitude: Tensor, pixel_scale: Tensor) -> Tensor:
    """Rms of CANDELS noise in canonical pixels, for F814W flux 1: (n, bands)."""
    columns = []
    for band in BANDS:
        flux = 10 ** (-0.4 * (magnitude - ZEROPOINTS[band]))
        columns.append(CANDELS_NOISE[band] * pixel_scale / CANDELS_PIXEL_SCALE / flux)
    return torch.stack(columns, 1).float()
