"""Sersic profiles: batches of them drawn as stamps, and fitted to images of galaxies.

A Sersic profile of half-light radius 1 has a Fourier transform F(k; n) that depends on two
numbers only. It is tabulated once (a Hankel transform), so that any sheared, shifted and
smoothed Sersic galaxy is a table look-up at the elliptical wavenumber, times the smoothing
kernel, and an inverse transform onto the stamp. Profiles are not truncated.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from scipy.special import gammaincinv
from torch import Tensor

from galsim_vae.bands import HALF_LIGHT_PIXELS, STAMP_SIZE

__all__ = ["N_RANGE", "PARAMETERS", "SMOOTHING", "fit", "pixels", "render", "stamps"]

#: Sersic indices in the table; GalSim's own range is 0.3 to 6.2.
N_RANGE = (0.3, 6.5)
#: Sigma of the Gaussian that limits a stamp's band [canonical px].
SMOOTHING = 0.65
# Quadrature in k, each axis: a spacing of 2 pi / 128 near k = 0 (images fold at 128 px, twice
# the stamp), growing like cosh towards _K_MAX. The cut is well above the stamp's Nyquist
# frequency, pi, because what the smoothing leaves there is aliased into any sampled image.
_NODES = 48
_K_MAX = 5.4
_K_FIRST = 2 * math.pi / 128
_N_STEP = 0.05
_K_STEP = 0.012  # in ln k; linear interpolation is then good to 2e-5
_LN_K = (math.log(2e-3), math.log(400.0))  # k in units of 1 / half-light radius


def pixels(device: torch.device, step: int = 1) -> Tensor:
    """Pixel positions along an axis, px from the stamp's centre: (64 / step,)."""
    return (
        torch.arange(0, STAMP_SIZE, step, device=device, dtype=torch.float32)
        - (STAMP_SIZE - step) / 2
    )


@lru_cache(maxsize=1)
def _fourier_table() -> Tensor:
    """Fourier transform of unit-flux Sersic profiles with half-light radius 1.

    The Hankel integral is a correlation in ln r, so that one evaluation of J0 on a fine
    logarithmic grid serves all wavenumbers. Beyond ``k r`` of about 100 the integrand is faded
    out by a Gaussian, which equals smoothing F by 1 % of k: F is a smooth power law there and
    changes by less than 1e-3 of itself, while the quadrature needs not resolve the oscillation.

    Returns
    -------
    Tensor
        float32, (indices, wavenumbers); the axes are ``N_RANGE`` and ln k, evenly spaced.
    """
    step = _K_STEP / 4
    ln_r = torch.arange(math.log(1e-7), math.log(2e4), step, dtype=torch.float64)
    n = torch.arange(N_RANGE[0], N_RANGE[1] + 1e-9, _N_STEP, dtype=torch.float64)[:, None]
    # b such that radius 1 holds half the flux (Ciotti & Bertin 1999, A&A 352, 447, eq. 5).
    b = torch.from_numpy(gammaincinv(2 * n.numpy(), 0.5))
    density = torch.exp(2 * ln_r - b * torch.exp(ln_r / n))
    norm = n * torch.exp(torch.lgamma(2 * n) - 2 * n * torch.log(b))
    n_k = int((_LN_K[1] - _LN_K[0]) / _K_STEP) + 1
    ln_kr = ln_r[0] + _LN_K[0] + step * torch.arange(len(ln_r) + 4 * n_k, dtype=torch.float64)
    kernel = torch.special.bessel_j0(torch.exp(ln_kr)) * torch.exp(-0.5e-4 * torch.exp(2 * ln_kr))
    rows = kernel.unfold(0, len(ln_r), 4)[:n_k]
    return (step * density @ rows.T / norm).float()


@lru_cache(maxsize=4)
def _table_on(device: torch.device) -> Tensor:
    return _fourier_table().to(device)


@lru_cache(maxsize=8)
def _waves(device: torch.device, step: int) -> tuple[Tensor, ...]:
    """Wavenumbers, their quadrature weights, and cos and sin of k x, (nodes, 64 / step)."""
    # k = alpha sinh(beta u) on u = 0, 1, 2 ...: odd and smooth, so that the trapezium rule
    # keeps its exponential accuracy. Newton's method for beta.
    ratio = _K_MAX / (_K_FIRST * (_NODES - 1))
    y = 2.0
    for _ in range(30):
        y -= (math.sinh(y) - ratio * y) / (math.cosh(y) - ratio)
    beta = y / (_NODES - 1)
    u = beta * torch.arange(_NODES, device=device, dtype=torch.float64)
    k = torch.sinh(u) * (_K_FIRST / beta)
    spacing = torch.cosh(u) * _K_FIRST
    weight = spacing / math.pi
    weight[0] *= 0.5
    x = pixels(device, step).double()
    phase = k[:, None] * x
    # Coarsely sampled waves repeat the galaxy's core 2 pi / spacing away: end them before that.
    turns = (spacing[:, None] * x.abs() / (2 * math.pi)).clamp(max=1.0)
    window = 0.5 + 0.5 * torch.cos(math.pi * ((turns - 0.55) / 0.3).clamp(0, 1))
    waves = (k, weight, torch.cos(phase) * window, torch.sin(phase) * window)
    return tuple(w.float() for w in waves)


def _transform(index: Tensor, quad: Tensor) -> Tensor:
    """F times the smoothing kernel at (kx >= 0, +-ky): (n, 2 signs, ky, kx)."""
    k = _waves(index.device, 1)[0]
    table = _table_on(index.device)
    row = ((index.clamp(*N_RANGE) - N_RANGE[0]) / _N_STEP).clamp(0, len(table) - 1.001)
    lower = row.long()
    weight = (row - lower)[:, None]
    curve = table[lower] * (1 - weight) + table[lower + 1] * weight
    k2 = k * k
    even = quad[:, 0, 0, None, None] * k2 + quad[:, 1, 1, None, None] * k2[:, None]
    cross = 2 * quad[:, 0, 1, None, None] * (k[:, None] * k)
    both = torch.stack((even + cross, even - cross), 1)
    # ln |k| of the ellipse = half the logarithm of the quadratic form
    place = both.clamp_min_(1e-12).log_().mul_(0.5 / _K_STEP).sub_(_LN_K[0] / _K_STEP)
    place = place.clamp_(0, curve.shape[1] - 1.001).flatten(1)
    cell = place.to(torch.int64)
    slope = torch.diff(curve, append=curve[:, -1:])
    value = torch.addcmul(curve.gather(1, cell), place.sub_(cell), slope.gather(1, cell))
    blur = torch.exp(-0.5 * SMOOTHING**2 * k2)
    return value.view(-1, 2, len(k), len(k)).mul_(blur[:, None] * blur)


def render(
    index: Tensor,
    matrix: Tensor,
    centre: Tensor,
    step: int = 1,
) -> Tensor:
    """Draw unit-flux Sersic profiles, convolved with a round Gaussian of `SMOOTHING`.

    Parameters
    ----------
    index : Tensor, (n,)
        Sersic index, clipped to ``N_RANGE``.
    matrix : Tensor, (n, 2, 2)
        Takes the circle of radius 1 to the half-light ellipse, in px.
    centre : Tensor, (n, 2)
        x, y in px from the stamp's centre (index 31.5).
    step : int
        Draw every ``step``-th pixel only.

    Returns
    -------
    Tensor, (n, 64 / step, 64 / step)
        Samples at pixel centres: surface brightness per px of a galaxy of flux 1. What lies
        outside the stamp is missing from the sum; what folds back lies 96 px or more away.
    """
    k, weight, cos, sin = _waves(index.device, step)
    f = _transform(index, matrix @ matrix.mT)
    f_even = (f[:, 0] + f[:, 1]) * 0.5
    f_odd = (f[:, 1] - f[:, 0]) * 0.5  # minus the odd part: cos(a + b) = cos cos - sin sin

    def basis(shift: Tensor) -> tuple[Tensor, Tensor]:
        c = (torch.cos(k * shift[:, None]) * weight)[..., None]
        s = (torch.sin(k * shift[:, None]) * weight)[..., None]
        return cos * c + sin * s, sin * c - cos * s

    cos_x, sin_x = basis(centre[:, 0])
    cos_y, sin_y = basis(centre[:, 1])
    return torch.baddbmm(cos_y.mT @ (f_even @ cos_x), sin_y.mT, f_odd @ sin_x)


class _Parameter(NamedTuple):
    """Limits of a fit, and the step of its finite differences."""

    low: float
    high: float
    step: float


#: Parameters of `stamps` and `fit`: lengths in pixels, the radius is sqrt(ab) of the half-light
#: ellipse.
PARAMETERS = ("ln index", "ln radius", "g1", "g2", "x", "y")
_LIMITS = (
    _Parameter(math.log(N_RANGE[0]), math.log(6.2), 0.02),
    _Parameter(math.log(0.8), math.log(25.0), 0.01),
    _Parameter(-0.84, 0.84, 0.01),
    _Parameter(-0.84, 0.84, 0.01),
    _Parameter(-6.0, 6.0, 0.05),
    _Parameter(-6.0, 6.0, 0.05),
)
_START = (math.log(1.5), math.log(HALF_LIGHT_PIXELS), 0.05, 0.0, 0.0, 0.0)
_MAX_G = 0.85


def stamps(parameters: Tensor) -> Tensor:
    """Return stamps of unit-flux Sersic profiles without PSF.

    Parameters
    ----------
    parameters : tensor (n, 6)
        `PARAMETERS`; the centre from the middle of the stamp, |g| at most 0.85.

    Returns
    -------
    tensor (n, 64, 64)
    """
    index, radius, g1, g2, x, y = parameters.unbind(1)
    g1, g2 = (g * (_MAX_G / torch.hypot(g1, g2).clamp_min(_MAX_G)) for g in (g1, g2))
    shear = torch.stack((1 + g1, g2, g2, 1 - g1), 1).view(-1, 2, 2)
    size = radius.exp() / (1 - g1 * g1 - g2 * g2).sqrt()
    return render(index.exp(), shear * size[:, None, None], torch.stack((x, y), 1))


def fit(
    data: Tensor,
    see: Callable[[Tensor], Tensor] | None = None,
    start: Tensor | None = None,
    free: tuple[str, ...] = PARAMETERS,
    iterations: int = 8,
) -> Tensor:
    """Fit a Sersic profile to each image by damped least squares (Marquardt 1963, J. SIAM 11, 431).

    The flux is solved for.

    Parameters
    ----------
    data : tensor (n, 64, 64)
        Images, 0 where not usable.
    see : callable, optional
        From stamps (n, 64, 64) without PSF to what the images show of them; if absent, the stamps
        themselves.
    start : tensor (n, 6), optional
        `PARAMETERS` to begin with; if absent, those of a common galaxy.
    free : tuple of str
        Of `PARAMETERS`, those that are fitted. The others stay as they are in ``start``.
    iterations : int
        Steps; an index alone takes half as many as all six parameters.

    Returns
    -------
    tensor (n, 6)
        `PARAMETERS`.
    """
    columns = [PARAMETERS.index(name) for name in free]
    limits = [_LIMITS[k] for k in columns]
    low, high, steps = (data.new_tensor(v) for v in zip(*limits, strict=True))
    best = (data.new_tensor(_START).repeat(len(data), 1) if start is None else start).clone()

    def model(parameters: Tensor) -> Tensor:
        drawn = stamps(parameters)
        return drawn if see is None else see(drawn)

    shape, cost, flux = _residual(model(best), data)
    damping = data.new_full((len(data),), 1e-2)
    for _ in range(iterations):
        slopes = [shape]
        for k, step in zip(columns, steps, strict=True):
            moved = best.clone()
            moved[:, k] += step
            slopes.append(flux[:, None, None] * (model(moved) - shape) / step)
        change = _step(torch.stack(slopes, 1), data - flux[:, None, None] * shape, damping)
        trial = best.clone()
        moved = best[:, columns] + change[:, 1:].to(best)
        trial[:, columns] = torch.minimum(torch.maximum(moved, low), high)
        new_shape, new_cost, new_flux = _residual(model(trial), data)
        better = new_cost < cost
        best = torch.where(better[:, None], trial, best)
        shape = torch.where(better[:, None, None], new_shape, shape)
        cost, flux = torch.where(better, new_cost, cost), torch.where(better, new_flux, flux)
        damping = (damping * torch.where(better, 0.2, 5.0)).clamp(1e-6, 1e4)
    return best


def _step(slopes: Tensor, error: Tensor, damping: Tensor) -> Tensor:
    """Change of flux and parameters (n, k) that the damped normal equations give."""
    jacobian = slopes.flatten(2).double()
    normal = jacobian @ jacobian.mT
    diagonal = normal.diagonal(dim1=1, dim2=2)
    ridge = damping[:, None] * diagonal + 1e-9 * diagonal.amax(1, keepdim=True)
    right = (jacobian @ error.flatten(1).double()[..., None])[..., 0]
    return torch.linalg.solve(normal + torch.diag_embed(ridge), right)


def _residual(shape: Tensor, data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The model, the sum of squared residuals and the best flux."""
    flux = (shape * data).sum((1, 2)) / shape.square().sum((1, 2)).clamp_min(1e-20)
    return shape, (data - flux[:, None, None] * shape).square().sum((1, 2)), flux
