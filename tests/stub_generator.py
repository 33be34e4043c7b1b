"""A stand-in for `galsim_vae.GalaxyGenerator`: analytic galaxies, no network and no torch."""

import numpy as np

from galsim_vae import Stamps
from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE
from galsim_vae.conditions import DEFAULT_RANGES, NAMES, Conditions, to_table
from galsim_vae.filters import read_asked

# An exponential disc of unit flux has its half-light radius at 1.678 scale lengths.
SCALE = HALF_LIGHT_PIXELS / 1.678

#: Conditions of four galaxies.
TABLE = {
    "magnitude": [22.0, 23.5, 25.0, 24.0],
    "half_light_radius": [0.8, 0.4, 0.25, 0.5],
    "g1": [0.2, 0.0, -0.3, 0.1],
    "g2": [0.1, 0.0, 0.2, -0.4],
    "redshift": [0.4, 0.9, 2.1, 0.7],
}


class StubGenerator:
    """Exponential discs with an off-centre clump; noise is a function of (seed, id) alone."""

    bands = BANDS
    ranges = DEFAULT_RANGES

    def __init__(self, exact=True, extrapolate=False):
        self.exact, self.extrapolate = exact, extrapolate
        self.calls = 0
        self.sizes = []  # of the tables that were sampled

    def sample_conditions(self, n, rng, first=0):
        ids = first + np.arange(n)
        missing = Conditions(np.full((n, len(NAMES)), np.nan), np.full(n, np.nan), ids)
        return to_table(complete(missing, [int(rng.raw())] * n))

    def sample(self, table, rng, exact=None, extrapolate=None):
        self.calls += 1
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        asked = read_asked(table, self.ranges, extrapolate=extrapolate)
        return self._sample(asked, [int(rng.raw())] * len(asked))

    def sample_each(self, table, seeds, exact=None, extrapolate=None):
        self.calls += 1
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        asked = read_asked(table, self.ranges, extrapolate=extrapolate)
        return self._sample(asked, [seed >> 32 for seed in seeds])  # a deviate's first draw

    def _sample(self, asked, seeds):
        self.sizes.append(len(asked))
        conditions = complete(asked, seeds)
        rows = zip(conditions.values[:, 2], seeds, conditions.id, strict=True)
        array, offset = zip(*(decode(*row) for row in rows), strict=True)
        array = np.stack(array)
        for band, magnitude in conditions.band_magnitudes.items():
            flux = 10 ** (-0.4 * (magnitude - conditions.values[:, 0]))
            k = BANDS.index(band)
            array[:, k] *= (flux / array[:, k].sum(axis=(1, 2)))[:, None, None]
        scale = conditions.values[:, 1] / HALF_LIGHT_PIXELS
        cos, sin = np.cos(conditions.angle), np.sin(conditions.angle)
        jacobian = scale[:, None, None] * np.moveaxis(np.array([[cos, -sin], [sin, cos]]), 2, 0)
        return Stamps(array, conditions, jacobian, np.array(offset), BANDS)

    def galaxy(self, *, rng, magnitude=None, half_light_radius=None, ellipticity=None,
               redshift=None, band=REFERENCE, zeropoint=None, gsparams=None):  # fmt: skip
        table = {"id": [0], "magnitude": magnitude, "half_light_radius": half_light_radius,
                 "redshift": redshift}  # fmt: skip
        if ellipticity is not None:
            table |= {"g1": ellipticity.g1, "g2": ellipticity.g2}
        table = {name: np.atleast_1d(v) for name, v in table.items() if v is not None}
        return self.sample(table, rng).galaxy(0, band, zeropoint, gsparams)


def complete(asked, seeds):
    """Fill in what is missing with uniform draws in the ranges."""
    values, angle = asked.values.copy(), asked.angle.copy()
    low, high = np.array([DEFAULT_RANGES[name] for name in NAMES]).T
    for i, (seed, name) in enumerate(zip(seeds, asked.id, strict=True)):
        rng = np.random.default_rng([seed, int(name), 0])
        drawn = low + (high - low) * rng.uniform(size=len(NAMES))
        missing = np.isnan(values[i])
        values[i, missing] = drawn[missing]
        turn = np.pi * rng.uniform()
        if np.isnan(angle[i]):
            angle[i] = turn
    return Conditions(values, angle, asked.id, asked.band_magnitudes)


def decode(g, seed, name):
    """Stamps (5, 64, 64) float32 and their centroid in F814W, shape (2,)."""
    rng = np.random.default_rng([seed, int(name), 1])
    y, x = np.mgrid[:STAMP_SIZE, :STAMP_SIZE] - (STAMP_SIZE - 1) / 2
    ratio = np.sqrt((1 - g) / (1 + g))
    disc = np.exp(-np.hypot(x * ratio, y / ratio) / SCALE)
    cx, cy = rng.uniform(-4, 4, size=2)
    clump = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8) * disc.sum() / (8 * np.pi)
    share = rng.uniform(0.05, 0.15)
    colour = np.cumsum(rng.uniform(0.1, 0.5, size=len(BANDS)))
    array = np.stack(
        [(disc + share * (1 - 0.2 * k) * clump) * colour[k] for k in range(len(BANDS))]
    )
    array = (array / array[BANDS.index(REFERENCE)].sum()).astype(np.float32)
    reference = array[BANDS.index(REFERENCE)].astype(np.float64)
    offset = np.array([(reference * x).sum(), (reference * y).sum()]) / reference.sum()
    return array, offset
