"""The galaxy population of synthetic training galaxies: magnitude, size, ellipticity, redshift.

A deep, magnitude-limited field. The forms are published ones where there are any, the
coefficients come from fits to public HST and spectroscopic catalogues, named at each relation with
the number of galaxies. Nothing is read at run time. `galsim_vae.train.check.population`
draws the population beside the catalogues; docs/realism.md shows and discusses the figures.
"""

import math

import torch
from torch import Tensor

from galsim_vae.conditions import DEFAULT_RANGES as RANGES

__all__ = ["ellipticities", "half_light_radii", "magnitudes", "redshifts", "sample"]


def sample(n: int, generator: torch.Generator) -> Tensor:
    """Draw conditions of n galaxies.

    Parameters
    ----------
    n : int
    generator : torch.Generator

    Returns
    -------
    Tensor, (n, 4), float32
        in the order of `galsim_vae.conditions.NAMES`, half-light radius in arcsec; within
        `galsim_vae.conditions.DEFAULT_RANGES`.
    """
    magnitude = magnitudes(n, generator)
    g = ellipticities(magnitude, generator)
    redshift = redshifts(magnitude, generator)
    size = half_light_radii(magnitude, redshift, generator)
    return torch.stack((magnitude, size, g, redshift), 1)


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device)


def _tabulated(density: Tensor, grid: Tensor, row: Tensor, generator: torch.Generator) -> Tensor:
    """Draw from one of k densities (k, m), given on a grid (m,), for each entry of row (n,)."""
    cdf = torch.cumsum(0.5 * (density[:, 1:] + density[:, :-1]) * torch.diff(grid), 1)
    cdf = torch.cat((cdf.new_zeros(len(cdf), 1), cdf / cdf[:, -1:]), 1).to(generator.device)
    grid = grid.to(generator.device)
    # Rows one above the other make a single rising table.
    table = (cdf + torch.arange(len(cdf), device=cdf.device)[:, None]).flatten()
    u = _uniform(len(row), generator).to(table.dtype) + row
    first = row * len(grid)
    i = torch.searchsorted(table, u).maximum(first + 1).minimum(first + len(grid) - 1)
    t = ((u - table[i - 1]) / (table[i] - table[i - 1]).clamp_min(1e-12)).clamp(0, 1)
    i = i - first
    return (grid[i - 1] + t * (grid[i] - grid[i - 1])).float()


# log10 N = slope (m - 22) + bend (m - 22)^2
_COUNT_SLOPE, _COUNT_BEND = 0.33, -0.0125


def magnitudes(n: int, generator: torch.Generator) -> Tensor:
    """F814W magnitudes whose counts rise by 0.38 dex per mag at 20, 0.33 at 22 and 0.26 at 25.

    Between 20 and 24 mag published slopes are 0.33 (Metcalfe et al. 2001, MNRAS 323, 795; McCracken
    et al. 2001, A&A 376, 756). The bend follows 54,252 galaxies of COSMOS (GREAT3 sample, 18 to
    23.4 mag: slopes 0.40 falling to 0.30) and 416 of the HDF-N (21 to 26 mag: 0.25).

    Returns
    -------
    Tensor, (n,)
    """
    grid = torch.linspace(*RANGES["magnitude"], 1001, dtype=torch.float64)
    faint = grid - 22
    density = 10 ** (_COUNT_SLOPE * faint + _COUNT_BEND * faint**2)
    row = torch.zeros(n, dtype=torch.long, device=generator.device)
    return _tabulated(density[None], grid, row, generator)


_BULGE_SHARE = 0.1  # of bulge-dominated galaxies: Miller et al. 2013, section 3.4
# ln a and ln e0 of the disc's density at 22 mag, and their change per mag
_DISC_A, _DISC_E0 = (-0.448, -1.019), (-2.63, 0.34)
_SHAPE_MAGNITUDES = (18.0, 23.5)


def ellipticities(magnitude: Tensor, generator: torch.Generator) -> Tensor:
    """|g| given magnitude.

    The densities of Miller et al. (2013, MNRAS 429, 2858, appendix B2) for discs,
    p ~ e (1 - exp((e - 0.804) / a)) / ((1 + e) sqrt(e^2 + e0^2)), and for a tenth of
    bulge-dominated galaxies, p ~ e exp(-2.368 e - 6.691 e^2). There a = 0.2539 and e0 = 0.0256 at
    any magnitude; here both vary with it, by maximum likelihood on the model-fit shapes of 54,132
    COSMOS galaxies (GREAT3 sample, 18 to 23.5 mag), which are flatter the fainter they are: median
    |g| 0.24 at 20.5 mag, 0.33 at 23.25 mag. Held constant beyond.

    Returns
    -------
    Tensor, (n,)
    """
    low, high = _SHAPE_MAGNITUDES
    step = 0.25
    node = torch.arange(low, high + step / 2, step, dtype=torch.float64)[:, None] - 22
    e = torch.linspace(*RANGES["g"], 801, dtype=torch.float64)
    a, e0 = (torch.exp(at22 + slope * node) for at22, slope in (_DISC_A, _DISC_E0))
    disc = e * (1 - torch.exp((e - 0.804) / a)) / ((1 + e) * torch.sqrt(e * e + e0 * e0))
    bulge = (e * torch.exp(-2.368 * e - 6.691 * e * e)).expand_as(disc)
    disc, bulge = (p / p.sum(1, keepdim=True) for p in (disc, bulge))
    density = _BULGE_SHARE * bulge + (1 - _BULGE_SHARE) * disc
    # A random choice between the neighbouring nodes interpolates their densities linearly.
    place = (magnitude.clamp(low, high) - low) / step
    row = (place + _uniform(len(magnitude), generator)).long().clamp_max(len(node) - 1)
    return _tabulated(density, e, row, generator)


# Half-light radius at 23 mag [ln arcsec], its change per mag, its scatter, power of 1 + z.
_LN_SIZE, _SIZE_SLOPE, _SIZE_SCATTER, _SIZE_EVOLUTION = math.log(0.28), -0.33, 0.45, -0.2


def half_light_radii(magnitude: Tensor, redshift: Tensor, generator: torch.Generator) -> Tensor:
    """Half-light radii, sqrt(ab), given magnitude and redshift: log-normal within the range.

    Median 0.28" exp(-0.33 (m - 23)), from 225 galaxies between 20 and 25.2 mag (145 of CANDELS
    GOODS-S, 80 of COSMOS), measured with their PSFs as `frame.canonical` does. Least absolute
    deviations give 0.302" and -0.32; put through the same PSFs and measured alike, synthetic
    galaxies come out too large by 3 % at 0.6" and 12 % at 0.18". There is no dependence on axis
    ratio at fixed magnitude (power -0.11 +- 0.07), so there is none here. That on redshift is
    gentle, as what is further off is brighter: (1 + z)^-0.2 about the median redshift of that
    magnitude; 75 COSMOS galaxies with photometric redshifts have -0.15 +- 0.13. The scatter lies
    between theirs (0.38) and that at fixed luminosity (0.5 to 0.6; van der Wel et al. 2014, ApJ
    788, 28, table 5).

    Returns
    -------
    Tensor, (n,)
        arcsec.
    """
    far = torch.log((1 + redshift) / (1 + _median_redshift(magnitude)))
    median = _LN_SIZE + _SIZE_SLOPE * (magnitude - 23) + _SIZE_EVOLUTION * far
    # A truncated normal by its inverse: nothing piles up at the limits.
    low, high = (
        torch.special.ndtr(((math.log(limit) - median) / _SIZE_SCATTER).double())
        for limit in RANGES["half_light_radius"]
    )
    u = low + (high - low) * _uniform(len(magnitude), generator)
    return torch.exp(median + _SIZE_SCATTER * torch.special.ndtri(u).float()).clamp(
        *RANGES["half_light_radius"]
    )


def _median_redshift(magnitude: Tensor) -> Tensor:
    """Median of `redshifts`, within 5 %."""
    return 0.36 + torch.where(magnitude < 20, 0.08, 0.145) * (magnitude - 20)


# Benitez (2000), table 1, as used by BPZ: exponent, z0, slope of z0, share at 20 mag, its decline.
_TYPES = (
    (2.465, 0.431, 0.0913, 0.35, 0.450),  # E, S0
    (1.806, 0.390, 0.0636, 0.50, 0.147),  # Sbc, Scd
    (0.906, 0.0626, 0.123, math.nan, math.nan),  # Im: the rest
)
# Magnitudes, and the factor by which zm is stretched there.
_STRETCH = ((18.0, 0.78), (20.0, 0.91), (21.5, 1.11), (25.0, 1.03))


def redshifts(magnitude: Tensor, generator: torch.Generator) -> Tensor:
    """Redshifts given F814W magnitude.

    The Smail form p(z) ~ z^a exp(-(z / zm)^a), zm = z0 + k (m - 20), summed over three spectral
    types, as fitted in F814W by Benitez (2000, ApJ 536, 571, eqs. 22 to 24, table 1), with the
    coefficients of its author's code BPZ. That prior was fitted to a few hundred galaxies of the
    HDF-N and CFRS; zm is stretched by a factor between 0.78 and 1.11 that follows the median
    redshifts of 15,427 galaxies of zCOSMOS-bright (18 to 22.5 mag) and of COSMOS at 22.25 and
    24.75 mag (0.66 and 1.06: Ilbert et al. 2009, ApJ 690, 1236). Brighter than 20 mag the shares
    of types are those at 20 mag and zm keeps falling.

    Returns
    -------
    Tensor, (n,)
    """
    low, high = RANGES["redshift"]
    n = len(magnitude)
    faint = (magnitude - 20).clamp_min(0)
    share = [f * torch.exp(-k * faint) for _, _, _, f, k in _TYPES[:2]]
    u = _uniform(n, generator)
    kind = (u > share[0]).long() + (u > share[0] + share[1]).long()
    z0, slope = magnitude.new_tensor([t[1:3] for t in _TYPES])[kind].unbind(1)
    zm = (z0 + slope * (magnitude - 20)).clamp_min(0.05) * _stretch(magnitude)
    power = torch.tensor([t[0] for t in _TYPES], dtype=torch.float64)[:, None]
    x = torch.linspace(0.0, 20.0, 4001, dtype=torch.float64)
    density = x**power * torch.exp(-(x**power))
    z = magnitude.new_full((n,), math.inf)
    for _ in range(8):  # draw again what falls outside the range, a few per cent at most
        again = zm * _tabulated(density, x, kind, generator)
        z = torch.where((z < low) | (z > high), again, z)
    return z.clamp(low, high)


def _stretch(magnitude: Tensor) -> Tensor:
    """Interpolate `_STRETCH` linearly."""
    (m, value), *rest = _STRETCH
    result = torch.full_like(magnitude, value)
    for m_next, value_next in rest:
        result += (value_next - value) * ((magnitude - m) / (m_next - m)).clamp(0, 1)
        m, value = m_next, value_next
    return result
