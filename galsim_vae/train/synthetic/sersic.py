"""Batches of smoothed, untruncated Sersic profiles, made in k space as GalSim makes them.

A Sersic profile of half-light radius 1 has a Fourier transform F(k; n) that depends on two
numbers only. It is tabulated once (a Hankel transform), so that any sheared, shifted and
smoothed Sersic galaxy is a table look-up at the elliptical wavenumber, times the smoothing
kernel, and an inverse transform onto the stamp.
"""

import math
from functools import lru_cache

import torch

__all__ = ["N_RANGE", "fourier_table", "pixels", "render"]

SIZE = 64  # stamp side, canonical px
N_RANGE = (0.5, 6.5)  # Sersic indices in the table
# Quadrature in k, each axis: a spacing of 2 pi / 128 near k = 0 (images fold at 128 px, twice
# the stamp), growing like cosh towards _K_MAX. The cut is well above the stamp's Nyquist
# frequency, pi, because what the smoothing leaves there is aliased into any sampled image.
_NODES = 48
_K_MAX = 5.4
_K_FIRST = 2 * math.pi / 128
_N_STEP = 0.05
_K_STEP = 0.012  # in ln k; linear interpolation is then good to 2e-5
_LN_K = (math.log(2e-3), math.log(400.0))  # k in units of 1 / half-light radius


def pixels(device: torch.device, step: int = 1) -> torch.Tensor:
    """Pixel positions along an axis, px from the stamp's centre: (64 / step,)."""
    return torch.arange(0, SIZE, step, device=device, dtype=torch.float32) - (SIZE - step) / 2


def sersic_b(n: torch.Tensor) -> torch.Tensor:
    """Ciotti & Bertin (1999, A&A 352, 447), eq. 18: b such that radius 1 holds half the flux.

    Parameters
    ----------
    n : Tensor
        Sersic index, any shape.
    """
    return (
        2 * n
        - 1 / 3
        + 4 / (405 * n)
        + 46 / (25515 * n**2)
        + 131 / (1148175 * n**3)
        - 2194697 / (30690717750 * n**4)
    )


@lru_cache(maxsize=1)
def fourier_table() -> torch.Tensor:
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
    density = torch.exp(2 * ln_r - sersic_b(n) * torch.exp(ln_r / n))
    # The closed form keeps the series for b out of the normalisation.
    norm = n * torch.exp(torch.lgamma(2 * n) - 2 * n * torch.log(sersic_b(n)))
    n_k = int((_LN_K[1] - _LN_K[0]) / _K_STEP) + 1
    ln_kr = ln_r[0] + _LN_K[0] + step * torch.arange(len(ln_r) + 4 * n_k, dtype=torch.float64)
    kernel = torch.special.bessel_j0(torch.exp(ln_kr)) * torch.exp(-0.5e-4 * torch.exp(2 * ln_kr))
    rows = kernel.unfold(0, len(ln_r), 4)[:n_k]
    return (step * density @ rows.T / norm).float()


@lru_cache(maxsize=4)
def _table_on(device: torch.device) -> torch.Tensor:
    return fourier_table().to(device)


@lru_cache(maxsize=8)
def _waves(device: torch.device, step: int) -> tuple[torch.Tensor, ...]:
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


def _transform(index: torch.Tensor, quad: torch.Tensor, smoothing: float) -> torch.Tensor:
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
    blur = torch.exp(-0.5 * smoothing**2 * k2)
    return value.view(-1, 2, len(k), len(k)).mul_(blur[:, None] * blur)


def render(
    index: torch.Tensor,
    matrix: torch.Tensor,
    centre: torch.Tensor,
    smoothing: float,
    step: int = 1,
) -> torch.Tensor:
    """Draw unit-flux Sersic profiles, convolved with a round Gaussian.

    Parameters
    ----------
    index : Tensor, (n,)
        Sersic index, clipped to ``N_RANGE``.
    matrix : Tensor, (n, 2, 2)
        Takes the circle of radius 1 to the half-light ellipse, in px.
    centre : Tensor, (n, 2)
        x, y in px from the stamp's centre (index 31.5).
    smoothing : float
        Sigma of the Gaussian, in px; at least 0.6, or the quadrature ends too early.
    step : int
        Draw every ``step``-th pixel only.

    Returns
    -------
    Tensor, (n, 64 / step, 64 / step)
        Samples at pixel centres: surface brightness per px of a galaxy of flux 1. What lies
        outside the stamp is missing from the sum; what folds back lies 96 px or more away.
    """
    k, weight, cos, sin = _waves(index.device, step)
    f = _transform(index, matrix @ matrix.mT, smoothing)
    f_even = (f[:, 0] + f[:, 1]) * 0.5
    f_odd = (f[:, 1] - f[:, 0]) * 0.5  # minus the odd part: cos(a + b) = cos cos - sin sin

    def basis(shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        c = (torch.cos(k * shift[:, None]) * weight)[..., None]
        s = (torch.sin(k * shift[:, None]) * weight)[..., None]
        return cos * c + sin * s, sin * c - cos * s

    cos_x, sin_x = basis(centre[:, 0])
    cos_y, sin_y = basis(centre[:, 1])
    return torch.baddbmm(cos_y.mT @ (f_even @ cos_x), sin_y.mT, f_odd @ sin_x)
