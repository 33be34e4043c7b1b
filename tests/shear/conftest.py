"""Fixtures of the tests of shear calibration."""

import pytest
from stub_generator import StubGenerator

from galsim_vae.shear import chunk as shear_chunk


@pytest.fixture
def stub(monkeypatch):
    """Analytic galaxies in the place of decoded ones."""
    made = StubGenerator()
    made.sha256 = "stub"
    monkeypatch.setattr(shear_chunk, "load_generator", lambda weights, device: made)
    return made
