"""Fixtures shared by the tests."""

import importlib.util

import galsim
import numpy as np
import pytest
from stub_generator import TABLE, StubGenerator

import galsim_vae.config.generator

# BlendingToolKit is an extra, and not for every version of Python.
collect_ignore = [] if importlib.util.find_spec("btk") else ["blending"]


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
