"""Parametric twins: the Sersic profile that is most like a galaxy.

A twin has its galaxy's flux, half-light radius, ellipticity and centroid, by the same estimators,
and the Sersic index that fits the stamp best. It is a stamp too, so that the two go through the
same interpolation, are cut at the same edge, and have the resolution of a stamp in common: what is
left between them is morphology.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaincinv
from torch import Tensor

from galsim_vae import shapes
from galsim_vae.bands import REFERENCE
from galsim_vae.conditions import NAMES, Conditions
from galsim_vae.generator import residual_shear
from galsim_vae.stamps import Stamps

__all__ = ["Twins", "in_one_band", "sersic_image", "sersic_twins"]

#: Sersic indices that are tried: GalSim's own range ends at 0.3 and 6.2.
LEAST, MOST = 0.3, 6.0
_COARSE = 12
# Samples a pixel in each direction, and in the cusp, the middle pixels: to draw, and to fit.
_CUSP = 8
_DRAWN, _FITTED = (2, 10), (1, 4)
_BATCH = 32


class Twins(NamedTuple):
    """Twins of n galaxies.

    ``stamps`` of one band; ``index`` (n,) Sersic indices; ``residual`` (n,) the part of the light
    that is elsewhere in the twin, half the sum of absolute differences; ``good`` (n,) whether both
    could be measured.
    """

    stamps: Stamps
    index: NDArray
    residual: NDArray
    good: NDArray


def in_one_band(stamps: Stamps, band) -> Stamps:
    """Galaxies through one filter, as stamps of that filter alone.

    Parameters
    ----------
    stamps : Stamps
    band : str or galsim.Bandpass
        As in `galsim_vae.Stamps.galaxy`.

    Returns
    -------
    Stamps
        ``array`` (n, 1, 64, 64), each of sum 1; the magnitude is that through ``band``. It goes by
        the name of the reference band, the only one whose flux is the magnitude's.
    """
    weights = stamps.weights(band, 0.0)
    images = np.einsum("nb,nbyx->nyx", weights, stamps.array.astype(np.float64))
    flux = images.sum(axis=(1, 2))
    values = stamps.conditions.values.copy()
    values[:, NAMES.index("magnitude")] = -2.5 * np.log10(flux)
    conditions = Conditions(values, stamps.conditions.angle, stamps.conditions.id)
    array = (images / flux[:, None, None]).astype(np.float32)[:, None]
    return Stamps(array, conditions, stamps.jacobian, stamps.offset, (REFERENCE,))


def sersic_twins(stamps: Stamps) -> Twins:
    """Fit a Sersic index to each galaxy and make its twin.

    Parameters
    ----------
    stamps : Stamps
        Of one band, as `in_one_band` gives them.

    Returns
    -------
    Twins
    """
    parts = [_fit(stamps[i : i + _BATCH]) for i in range(0, len(stamps), _BATCH)]
    array, jacobian, offset, index, residual, good = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    twins = Stamps(array[:, None], stamps.conditions, jacobian, offset, stamps.bands)
    return Twins(twins, index, residual, good)


def sersic_image(
    index: Tensor, radius: Tensor, g1: Tensor, g2: Tensor, x: Tensor, y: Tensor, size: int = 64
) -> Tensor:
    """Sersic profiles averaged over pixels.

    Parameters
    ----------
    index : tensor (n,)
    radius : tensor (n,)
        Half-light radius, sqrt(a b), of the whole profile [pixel].
    g1, g2, x, y : tensor (n,)
        Ellipticity, and centre from the middle of the stamp [pixel].
    size : int

    Returns
    -------
    tensor (n, size, size)
        Of sum 1: light beyond the stamp is left out.
    """
    return _drawn(index, _radii((radius, g1, g2, x, y), size, *_DRAWN))


class _Radii(NamedTuple):
    """Logarithms of (elliptical radius / half-light radius)^2 at the samples, whole and cusp."""

    whole: Tensor
    cusp: Tensor
    finer: tuple[int, int]


def _radii(ellipse: tuple[Tensor, ...], size: int, finer: int, finest: int) -> _Radii:
    cusp = _log_square(ellipse, _CUSP, finest)
    return _Radii(_log_square(ellipse, size, finer), cusp, (finer, finest))


def _log_square(ellipse: tuple[Tensor, ...], size: int, finer: int) -> Tensor:
    """Of the middle pixels of a stamp: (n, size * finer, size * finer)."""
    radius, g1, g2, x, y = (v[:, None, None] for v in ellipse)
    axis = (torch.arange(size * finer, dtype=radius.dtype) + 0.5) / finer - size / 2
    dx, dy = axis - x, axis[:, None] - y
    # The inverse of GalSim's shear matrix, applied to a position.
    u = (1 - g1) * dx - g2 * dy
    v = (1 + g1) * dy - g2 * dx
    square = (u * u + v * v) / (radius**2 * (1 - g1**2 - g2**2))
    return square.clamp_(min=1e-12).log_()


def _drawn(index: Tensor, radii: _Radii) -> Tensor:
    """Profiles of Sersic index (n,) averaged over pixels, of sum 1."""
    half = torch.from_numpy(gammaincinv(2 * index.double().numpy(), 0.5)).to(index.dtype)
    half, power = half[:, None, None], (0.5 / index)[:, None, None]

    def averaged(logs: Tensor, finer: int) -> Tensor:
        bright = (logs * power).exp_().mul_(-half).exp_()
        return torch.nn.functional.avg_pool2d(bright[:, None], finer)[:, 0]

    image = averaged(radii.whole, radii.finer[0])
    start = (image.shape[-1] - _CUSP) // 2
    middle = slice(start, start + _CUSP)
    image[:, middle, middle] = averaged(radii.cusp, radii.finer[1])
    return image / image.sum(dim=(1, 2), keepdim=True)


def _fit(stamps: Stamps) -> tuple[NDArray, ...]:
    """One batch: twin stamps (n, 64, 64), jacobians, offsets, indices, residuals, good."""
    images = torch.from_numpy(stamps.array[:, 0])
    moments, radius, good = _measure(images)
    # A galaxy that cannot be measured keeps a round twin, and is not used.
    x, y, g1, g2 = (torch.where(good, v, torch.zeros_like(v)) for v in moments[:4])
    radius = torch.where(good, radius, torch.full_like(radius, 6.0))

    ellipse = (radius, g1, g2, x, y)
    size = images.shape[-1]
    index = _best_index(images, _radii(ellipse, size, *_FITTED))
    twins = _drawn(index, _radii(ellipse, size, *_DRAWN))
    seen, twin_radius, twin_good = _measure(twins)
    good = (good & twin_good).numpy()
    shear = residual_shear(_complex(seen.g1, seen.g2), _complex(g1, g2))
    s1, s2 = np.real(shear), np.imag(shear)
    stretch = np.array([[1 + s1, s2], [s2, 1 - s1]])
    stretch *= (radius / twin_radius).double().numpy() / np.sqrt(1 - np.abs(shear) ** 2)
    stretch = np.where(good, stretch, np.eye(2)[:, :, None])
    jacobian = np.einsum("nij,jkn->nik", stamps.jacobian, stretch)
    # The twin's centroid goes where the galaxy's is on the sky.
    centre = np.stack([x.numpy(), y.numpy()], axis=1).astype(np.float64)
    place = np.einsum("nij,nj->ni", stamps.jacobian, centre - stamps.offset)
    twin_centre = np.stack([seen.x.numpy(), seen.y.numpy()], axis=1).astype(np.float64)
    twin_centre = np.where(good[:, None], twin_centre, centre)
    offset = twin_centre - np.linalg.solve(jacobian, place[:, :, None])[:, :, 0]
    residual = 0.5 * (images - twins).abs().sum(dim=(1, 2)).numpy()
    return twins.numpy(), jacobian, offset, index.double().numpy(), residual, good


def _measure(images: Tensor) -> tuple[shapes.Moments, Tensor, Tensor]:
    moments = shapes.adaptive_moments(images)
    radius = shapes.half_light_radius(images, moments)
    return moments, radius, moments.converged & torch.isfinite(radius)


def _complex(g1: Tensor, g2: Tensor) -> NDArray:
    return g1.double().numpy() + 1j * g2.double().numpy()


def _best_index(images: Tensor, radii: _Radii) -> Tensor:
    """Least squares over the pixels: a coarse grid in log n, a fine one, and a parabola."""

    def misfit(grid: Tensor) -> Tensor:
        return torch.stack([((images - _drawn(n.exp(), radii)) ** 2).sum((1, 2)) for n in grid])

    low, high = float(np.log(LEAST)), float(np.log(MOST))
    step = (high - low) / (_COARSE - 1)
    steps = torch.linspace(low, high, _COARSE)[:, None].expand(-1, len(images))
    best = steps[misfit(steps).argmin(dim=0), torch.arange(len(images))]
    step /= 3
    near = best + step * torch.arange(-2, 3)[:, None]
    cost = misfit(near.clamp(low, high))
    lowest = cost[1:-1].argmin(dim=0) + 1
    rows = torch.arange(len(images))
    before, at, after = (cost[lowest + k, rows] for k in (-1, 0, 1))
    curve = (before - 2 * at + after).clamp(min=1e-30)
    moved = (0.5 * (before - after) / curve).clamp(-1, 1)
    return (near[lowest, rows] + step * moved).clamp(low, high).exp()
