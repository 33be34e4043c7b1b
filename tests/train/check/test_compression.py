"""Latents as an archive: sizes are those of a code, and fidelity that of known errors."""

import numpy as np
import pytest
import torch
from made_weights import TINY

from galsim_vae.frame.frames import DEFAULT
from galsim_vae.model.vae import VAE
from galsim_vae.train.check import compression


def test_bits_are_the_entropy_of_a_rounded_normal():
    numbers = np.random.default_rng(1).normal(3.0, 2.0, (20_000, 2))
    step = 0.25
    rounded = np.round(numbers / step) * step
    found = compression.bits(rounded, np.full(2, 3.0), np.full(2, 2.0), step)
    one = 0.5 * np.log2(2 * np.pi * np.e * 2.0**2) - np.log2(step)  # Cover & Thomas, theorem 8.3.1
    assert found == pytest.approx(2 * one, rel=0.01)


def test_fidelity_of_known_errors():
    batch, clean = compression.galaxies(4, 2, DEFAULT)
    psnr, chi = compression.fidelity(clean.numpy(), batch, clean.numpy())
    assert (psnr > 200).all()
    np.testing.assert_allclose(chi, 1, atol=0.05)  # of 20,480 pixels
    peak = clean.amax((2, 3), keepdim=True).numpy()
    psnr, _ = compression.fidelity(clean.numpy() + 0.01 * peak, batch, clean.numpy())
    np.testing.assert_allclose(psnr, 40, atol=1e-3)


def test_smaller_is_worse(monkeypatch, tmp_path):
    monkeypatch.setattr(compression, "STEPS", (1.0, 8.0))
    monkeypatch.setattr(compression, "RATES", (10, 40))
    monkeypatch.setattr(compression, "QUANTA", (1.0, 16.0))
    torch.manual_seed(1)
    table = compression.compare(VAE(TINY), n=6, seed=3)
    assert table["bits"][0] == 32 * 5 * 64 * 64 and table["chi2"][0] == 0
    for name in ("latents", "components", "JPEG", "FITS"):
        one, other = (row for row in table if row["way"].startswith(name))
        assert one["bits"] > other["bits"] > 0
    rice = [row for row in table if row["way"].startswith("FITS")]
    assert rice[0]["chi2"] == pytest.approx(1 / 12, rel=0.3)  # rounding to the noise
    compression.draw(table, tmp_path / "compression.png")
    assert (tmp_path / "compression.png").stat().st_size > 0
