"""Configurations and galaxies for the tests of shear calibration."""

import galsim
import numpy as np
from stub_generator import StubGenerator

from galsim_vae import shear


def config(**changes):
    values = {"output": "out", "galaxies": 12, "chunk": 12, "max_magnitude": 24.0}
    return shear.CalibrationConfig.from_dict(values | changes)


def galaxies(n, low=0.25, high=0.6, seed=3):
    rng = np.random.default_rng(seed)
    g, angle = rng.uniform(0.1, 0.4, n), rng.uniform(0, 2 * np.pi, n)
    table = {
        "magnitude": np.full(n, 22.0), "half_light_radius": rng.uniform(low, high, n),
        "g1": g * np.cos(angle), "g2": g * np.sin(angle), "redshift": rng.uniform(0.2, 2, n),
    }  # fmt: skip
    return StubGenerator().sample(table, galsim.BaseDeviate(seed))
