"""The arithmetic of the batched renderer: stamps, a PSF and pixels, in Fourier space.

A stamp of samples a_j, interpolated by GalSim's quintic kernel K and laid on the sky by the matrix
J, has the transform (Bernstein & Gruen 2014, PASP 126, 287) ::

    F(k) = K~(p) K~(q) sum_j a_j exp(-i (p j_p + q j_q)),    (p, q) = J^T k,

here at the wave vectors k of one period of the sky, where PSF and pixel have power. Let p be the
stamp's axis that k_y moves most. Then ::

    p = alpha k_y + beta k_x,    q = slope p + eta k_x,    |slope| <= 1,

so for p on a grid and the k_x wanted, F is two matrix products with a phase between them; both are
exact. Only p is interpolated, along lines: with a grid whose step is alpha dk / n, all k_y of one
k_x lie at the same fraction of a step, so six weights serve a whole line. The kernel is that of
Kaiser and Bessel, six wide on a grid twice as fine as the stamp needs (Beatty, Nishimura & Pauly
2005, IEEE Trans. Med. Imaging 24, 799): 1e-6. The way back to the pixels is two more matrix
products, which fold what lies beyond the pixels' Nyquist frequency where it belongs.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.bands import STAMP_SIZE

__all__ = ["Factors", "draw", "factorise", "grid_reach", "grid_refinement"]

_OVERSAMPLING = 2
# Points of the interpolating kernel. Slopes are less exact than values: to 3e-4 with six, and to
# 3e-6 with eight.
_TAPS, _TAPS_OF_GRADIENTS = 6, 8
_QUINTIC_REACH = 3
_PER_RADIAN, _LAST_RADIAN = 1024, 64
_FLAT = 0.01


class Factors(NamedTuple):
    """The factors of J^T that the module's docstring explains, each (n,); lengths in arcsec.

    ``swap`` is True where p is the stamp's y, and False where it is x.
    """

    swap: Tensor
    alpha: Tensor
    beta: Tensor
    slope: Tensor
    eta: Tensor

    def rows(self, index: Tensor, device: torch.device) -> Factors:
        """Some of them, on a device."""
        return Factors(*(value[index].to(device) for value in self))

    def detach(self) -> Factors:
        """Without gradients."""
        return Factors(*(value.detach() for value in self))


def factorise(matrix: Tensor) -> Factors:
    """Factorise the maps (n, 2, 2) from stamp pixels to arcsec, float64."""
    swap = matrix[:, 1, 1].abs() > matrix[:, 1, 0].abs()
    columns = torch.where(swap[:, None, None], matrix.flip(-1), matrix)
    (beta, across), (alpha, gamma) = columns[:, 0].T, columns[:, 1].T
    slope = gamma / alpha
    return Factors(swap, alpha, beta, slope, across - slope * beta)


def grid_refinement(factors: Factors, period: NDArray) -> NDArray:
    """Steps of the grid of p in one step of k_y, (n,) int, for periods (n,) in arcsec."""
    width = (STAMP_SIZE - 1) * (1 + factors.slope.abs()) + 2 * _QUINTIC_REACH
    steps = _OVERSAMPLING * (width * factors.alpha.abs()).numpy() / period
    return np.ceil(steps).astype(np.int64)


def grid_reach(factors: Factors) -> NDArray:
    """How far p goes, (n,), in units of the size of alpha times the largest k_y: mostly to 1.5."""
    return torch.hypot(torch.ones_like(factors.beta), factors.beta / factors.alpha).numpy()


def draw(
    stamps: Tensor,
    factors: Factors,
    shift: Tensor,
    transform: Tensor,
    step: float,
    refinement: int,
    reach: float,
    shape: tuple[int, int],
    scale: float,
    differentiable: bool = False,
) -> Tensor:
    """Draw galaxies that share a grid.

    Parameters
    ----------
    stamps : tensor (n, 64, 64) float32 or float64
        The images have this type too.
    factors : Factors
        Of the maps to the sky.
    shift : tensor (n, 2) float64
        Position of the stamps' centres from that of the image [arcsec].
    transform : tuple of (Tensor, float)
        ([n,] m + 1, 2 m + 1) complex, and its step: see `.psf_table.PSFTransform`.
    refinement, reach : int
        At least what `grid_refinement` and `grid_reach` ask for.
    shape : tuple of (int, int)
        (ny, nx) of the images.
    scale : float
        Of a pixel [arcsec].
    differentiable : bool
        Take more time, so that gradients are as exact as the images.

    Returns
    -------
    tensor (n, ny, nx)
        Counts a pixel, for stamps whose sum is the flux.
    """
    m = transform.shape[-2] - 1
    k = step * torch.arange(-m, m + 1, dtype=torch.float64, device=stamps.device)
    phase_x, phase_y = _wave(shift[:, :1] * k[m:]), _wave(shift[:, 1:] * k)
    largest = math.ceil(reach * refinement * m)
    sky = _transform(stamps, factors, step, m, refinement, largest, phase_x, differentiable)
    sky.mul_(transform).mul_(phase_y.to(sky.dtype)[:, None])
    x, y = (_centred(size, stamps.device) * scale for size in shape[::-1])
    along_y = _each_times(sky, _wave(-k[:, None] * y).to(sky.dtype))
    # The image is real: the half plane k_x > 0 counts twice.
    turn = _wave(k[m:, None] * x) * 2
    turn[0] /= 2
    turn = torch.view_as_real(turn).transpose(1, 2).flatten(0, 1).to(stamps.dtype)
    parts = torch.view_as_real(along_y).permute(0, 2, 1, 3).flatten(2)
    return _each_times(parts, turn)


def _each_times(matrices: Tensor, matrix: Tensor) -> Tensor:
    """Products of (n, a, b) with one (b, c), of shapes that do not depend on n.

    ``@`` makes one product of (n a, b), whose rounding may depend on n.
    """
    return torch.bmm(matrices, matrix.expand(len(matrices), -1, -1))


def _transform(
    stamps: Tensor,
    factors: Factors,
    step: float,
    m: int,
    refinement: int,
    largest: int,
    phase: Tensor,
    differentiable: bool,
) -> Tensor:
    """F at k_x = 0 ... m and k_y = -m ... m times the step, (n, m + 1, 2 m + 1) complex.

    Times a phase (n, m + 1) for each k_x.
    """
    swap, alpha, beta, slope, eta = factors
    n, device, complex_type = len(stamps), stamps.device, stamps.dtype.to_complex()
    taps, kernel = (_TAPS_OF_GRADIENTS, _smooth) if differentiable else (_TAPS, _quintic)
    largest += taps // 2
    p = (alpha * step / refinement)[:, None] * _count(largest + 1, device)
    kx = step * _count(m + 1, device)

    samples = torch.where(swap[:, None, None], stamps.transpose(1, 2), stamps)
    samples = samples * _deconvolution(slope, p[:, 1], taps, stamps.dtype)
    waves = torch.view_as_real(_waves(p, complex_type)).flatten(2)
    lines = torch.view_as_complex(torch.bmm(samples, waves).view(n, STAMP_SIZE, -1, 2))
    lines *= _waves(slope[:, None] * p, complex_type, kernel(p))
    # The stamp is real: the lines at -p are the complex conjugates.
    lines = torch.cat([lines[..., 1:].flip(-1).conj_physical_(), lines], dim=-1)
    across = _waves(eta[:, None] * kx, complex_type, phase)
    grid = torch.bmm(across.transpose(1, 2), lines)
    start = (beta / alpha * refinement)[:, None] * _count(m + 1, device)
    sky = _interpolate(grid, start, refinement, m, taps)
    gamma = slope * alpha
    ky = step * (_count(2 * m + 1, device) - m)
    q = ((eta + slope * beta)[:, None] * kx).to(stamps.dtype)[:, :, None]
    return sky.mul_(kernel(q + (gamma[:, None] * ky).to(stamps.dtype)[:, None]))


def _interpolate(grid: Tensor, start: Tensor, refinement: int, m: int, taps: int) -> Tensor:
    """Values at ``start`` (n, lines) + refinement (-m ... m) of a grid (n, lines, odd).

    Places are counted from the middle of the grid.
    """
    middle = grid.shape[-1] // 2
    first = torch.floor(start) - (taps // 2 - 1)
    weights = _kernel((start - first)[..., None] - _count(taps, grid.device), taps)
    weights = weights.to(grid.real.dtype)
    # One row for each place in a step of k_y, so that what a tap needs is contiguous.
    size = 2 * m + 1
    columns = torch.arange(size + (taps - 1) // refinement, device=grid.device) * refinement
    rows = torch.arange(refinement, device=grid.device)[:, None] + (middle - refinement * m)
    index = first.long()[..., None, None] + (rows + columns)
    # What lies outside the grid is beyond the largest |k|, where the PSF's transform is zero.
    index = index.flatten(2).clamp_(0, grid.shape[-1] - 1)
    values = torch.view_as_real(grid.gather(-1, index)).unflatten(2, (refinement, -1))
    out = values[:, :, 0, :size].flatten(2) * weights[..., :1]
    for tap in range(1, taps):
        row, column = tap % refinement, tap // refinement
        out.addcmul_(values[:, :, row, column : column + size].flatten(2), weights[..., tap, None])
    return torch.view_as_complex(out.unflatten(2, (size, 2)))


def _kernel(x: Tensor, taps: int) -> Tensor:
    """The Kaiser-Bessel kernel at |x| <= taps / 2 steps of the grid."""
    # Not 0, where a square root has no gradient.
    root = (1 - (2 * x / taps) ** 2).clamp_(min=1e-30).sqrt_()
    return torch.special.i0(_kernel_shape(taps) * root)


def _kernel_shape(taps: int) -> float:
    """The parameter that Beatty et al. give: their equation 5."""
    return math.pi * math.sqrt((taps / _OVERSAMPLING * (_OVERSAMPLING - 0.5)) ** 2 - 0.8)


def _deconvolution(slope: Tensor, step: Tensor, taps: int, dtype: torch.dtype) -> Tensor:
    """One over the kernel's transform at the stamp's samples, (n, q, p)."""
    j = _centred(STAMP_SIZE, slope.device)
    unit = (step * taps / 2)[:, None]
    along, across = (unit * j).to(dtype), (unit * slope[:, None] * j).to(dtype)
    root = (_kernel_shape(taps) ** 2 - (along[:, None] + across[:, :, None]) ** 2).sqrt_()
    return root / (taps * root.sinh())


def _quintic(k: Tensor) -> Tensor:
    """Transform of the quintic kernel, k in radians a sample: linear in a fine table, to 1e-7."""
    place = k.abs().mul_(_PER_RADIAN).clamp_(max=_PER_RADIAN * _LAST_RADIAN - 1)
    index = place.to(torch.int32)
    low, steps = _quintic_table(k.device, k.dtype)
    part = place.sub_(index).flatten()
    index = index.flatten()
    values = low.index_select(0, index).addcmul_(steps.index_select(0, index), part)
    return values.view(k.shape)


@functools.lru_cache(maxsize=16)
def _quintic_table(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Values and their steps to the next: in float32 the formula loses two digits at small k."""
    value = _quintic_formula(_count(_PER_RADIAN * _LAST_RADIAN + 1, device) / (2 * _PER_RADIAN))
    return value[:-1].to(dtype), value.diff().to(dtype)


def _smooth(k: Tensor) -> Tensor:
    """The same by its formula: the gradient of a table is that of a broken line."""
    # Near 0 it is flat, to 1e-14, and sin(x) / x has no second derivative in torch.
    return _quintic_formula(k.double().abs().clamp(min=_FLAT) / 2).to(k.dtype)


def _quintic_formula(half: Tensor) -> Tensor:
    """Bernstein & Gruen 2014, equation 30, at k / 2 in float64."""
    sinc, square = torch.sinc(half / math.pi), half**2
    return sinc**5 * (sinc * (55 - 19 * square) + 2 * half.cos() * (square - 27))


def _waves(k: Tensor, dtype: torch.dtype, amplitude: Tensor | None = None) -> Tensor:
    """exp(-i k j) at the samples j of a stamp's axis, (n, 64, waves), for k (n, waves) float64.

    A product of 8 by 8 exponentials: an eighth of the cost, and angles of full precision. Times
    an amplitude like ``k``.
    """
    fine = _centred(8, k.device)[:, None]
    coarse, fine = (_wave(k[:, None] * j).to(dtype) for j in (8 * fine, fine))
    if amplitude is not None:
        coarse *= amplitude.to(dtype)[:, None]
    return (coarse[:, :, None] * fine[:, None]).flatten(1, 2)


def _wave(angle: Tensor) -> Tensor:
    """exp(-i angle)."""
    return torch.complex(angle.cos(), -angle.sin())


def _count(size: int, device: torch.device) -> Tensor:
    return torch.arange(size, dtype=torch.float64, device=device)


def _centred(size: int, device: torch.device) -> Tensor:
    """Positions of samples from the middle of them all."""
    return _count(size, device) - (size - 1) / 2
