"""The galaxy population from published relations: magnitude, size, ellipticity, redshift.

A deep, magnitude-limited field. Each relation is a published fit; none was tuned to data here.
"""

import math

import torch
from torch import Tensor

__all__ = ["RANGES", "sample"]

# magnitude (AB F814W), half_light_radius [arcsec], |g|, redshift
RANGES = {
    "magnitude": (18.0, 26.5),
    "half_light_radius": (0.05, 3.0),
    "g": (0.0, 0.8),
    "redshift": (0.02, 5.0),
}
_BULGE_SHARE = 0.1  # of bulge-dominated galaxies: Miller et al. 2013, section 3.4
# Exponential disc: half-light radius over scalelength.
_DISC_HALF_LIGHT = 1.678


def sample(n: int, generator: torch.Generator) -> Tensor:
    """Draw conditions of n galaxies.

    Parameters
    ----------
    n : int
    generator : torch.Generator

    Returns
    -------
    Tensor, (n, 4), float32
        magnitude, ln half_light_radius [ln arcsec], |g|, redshift; within `RANGES`.
    """
    mag = magnitudes(n, generator)
    bulge = _uniform(n, generator) < _BULGE_SHARE
    g = torch.where(bulge, _bulge_g(n, generator), _disc_g(n, generator))
    size = half_light_radii(mag, g, bulge, generator)
    z = redshifts(mag, generator)
    return torch.stack((mag, torch.log(size), g, z), 1)


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device)


def magnitudes(n: int, generator: torch.Generator, slope: float = 0.3) -> Tensor:
    """F814W magnitudes with counts rising as 10^(0.3 m).

    The slope of I-band counts between 20 and 26 mag: 0.31 in the LSST Science Book (2009,
    arXiv:0912.0201, eq. 3.7, N = 46 x 10^(0.31 (i - 25)) per square arcmin), 0.33 flattening to
    0.25 beyond 24 mag in deep Hubble counts (Metcalfe et al. 2001, MNRAS 323, 795).

    Returns
    -------
    Tensor, (n,)
    """
    low, high = RANGES["magnitude"]
    rise = 10 ** (slope * (low - high))
    return high + torch.log10(rise + (1 - rise) * _uniform(n, generator)) / slope


def _tabulated(density: Tensor, grid: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw from a density given on an even grid, by inverting its cumulative sum."""
    cdf = torch.cat((density.new_zeros(1), torch.cumsum(0.5 * (density[1:] + density[:-1]), 0)))
    cdf = (cdf / cdf[-1]).to(generator.device)
    grid = grid.to(generator.device)
    u = _uniform(n, generator).to(cdf.dtype)
    i = torch.searchsorted(cdf, u).clamp(1, len(cdf) - 1)
    t = (u - cdf[i - 1]) / (cdf[i] - cdf[i - 1]).clamp_min(1e-12)
    return (grid[i - 1] + t * (grid[i] - grid[i - 1])).float()


def _disc_g(n: int, generator: torch.Generator) -> Tensor:
    """|g| of discs: Miller et al. 2013 (MNRAS 429, 2858), eq. B1 and its parameters."""
    e = torch.linspace(0.0, RANGES["g"][1], 2001, dtype=torch.float64)
    density = e * (1 - torch.exp((e - 0.804) / 0.2539))
    density = density / ((1 + e) * torch.sqrt(e * e + 0.0256**2))
    return _tabulated(density, e, n, generator)


def _bulge_g(n: int, generator: torch.Generator) -> Tensor:
    """|g| of bulge-dominated galaxies: Miller et al. 2013 (MNRAS 429, 2858), eq. B2."""
    e = torch.linspace(0.0, RANGES["g"][1], 2001, dtype=torch.float64)
    return _tabulated(e * torch.exp(-2.368 * e - 6.691 * e * e), e, n, generator)


def half_light_radii(
    magnitude: Tensor, g: Tensor, bulge: Tensor, generator: torch.Generator
) -> Tensor:
    """Half-light radii, sqrt(ab), given magnitude, |g| and type.

    Disc scalelengths along the major axis follow p(r) ~ r exp(-(r / a)^(4/3)) with the median
    ln(r / arcsec) = -1.145 - 0.269 (i - 23); bulge-dominated galaxies have half-light radii like
    the scalelengths (Miller et al. 2013, MNRAS 429, 2858, appendix B1, after Simard et al. 2002,
    ApJS 142, 1). No dependence on redshift at a given magnitude.

    Returns
    -------
    Tensor, (n,)
        arcsec.
    """
    low, high = RANGES["half_light_radius"]
    median = torch.exp(-1.145 - 0.269 * (magnitude - 23))
    x = torch.linspace(0.0, 12.0, 2001, dtype=torch.float64)
    spread = _tabulated(x * torch.exp(-(x ** (4 / 3))), x, len(magnitude), generator)
    spread = spread / 1.134  # the median of that density
    axis_ratio = (1 - g) / (1 + g)
    major = median * spread * torch.where(bulge, 1.0, _DISC_HALF_LIGHT)
    return (major * axis_ratio.sqrt()).clamp(low, high)


# Benitez (2000), table 1: exponent, z0, slope of z0, share at 20 mag, decline of the share.
_TYPES = (
    (2.46, 0.431, 0.091, 0.35, 0.147),  # E, S0
    (1.81, 0.390, 0.0636, 0.50, 0.450),  # Sbc, Scd
    (0.91, 0.063, 0.123, math.nan, math.nan),  # Im: the rest
)


def redshifts(magnitude: Tensor, generator: torch.Generator) -> Tensor:
    """Redshifts given F814W magnitude.

    The Smail form p(z) ~ z^a exp(-(z / zm)^a), zm = z0 + k (m - 20), summed over three spectral
    types, as fitted in F814W by Benitez (2000, ApJ 536, 571), eqs. 22 to 24 and table 1.
    Brighter than 20 mag the shares are those at 20 and zm keeps falling.

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
    zm = (z0 + slope * (magnitude - 20)).clamp_min(0.05)
    x = torch.linspace(0.0, 20.0, 4001, dtype=torch.float64)
    z = magnitude.new_full((n,), math.inf)
    for _ in range(8):  # draw again what falls outside the range, a few per cent at most
        shapes = [_tabulated(x**a * torch.exp(-(x**a)), x, n, generator) for a, *_ in _TYPES]
        again = zm * torch.stack(shapes, 1).gather(1, kind[:, None])[:, 0]
        z = torch.where((z < low) | (z > high), again, z)
    return z.clamp(low, high)
