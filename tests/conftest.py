"""Fixtures shared by the tests."""

import importlib.util

import galsim
import numpy as np
import pytest
from stub_generator import StubGenerator

import galsim_vae.config.generator

# BlendingToolKit is an extra, and not for every version of Python.
collect_ignore = [] if importlib.util.find_spec("btk") else ["blending"]

TABLE = {
    "magnitude": [22.0, 23.5, 25.0, 24.0],
    "half_light_radius": [0.8, 0.4, 0.25, 0.5],
    "g1": [0.2, 0.0, -0.3, 0.1],
    "g2": [0.1, 0.0, 0.2, -0.4],
    "redshift": [0.4, 0.9, 2.1, 0.7],
}


@pytest.fixture
def generator(monkeypatch):
    """A generator of analytic galaxies, also behind the config types."""
    stub = StubGenerator()
    monkeypatch.setattr(galsim_vae.config.generator, "load_generator", lambda *_: stub)
    return stub


@pytest.fixture(scope="session")
def stamps():
    """Four galaxies of known conditions."""
    return StubGenerator().sample(
        {name: np.array(column) for name, column in TABLE.items()}, galsim.BaseDeviate(31)
    )
