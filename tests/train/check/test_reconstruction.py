"""Misfit of a reconstruction in the native pixels of its survey."""

import galsim
import pytest
from made_observation import BAND, galaxy, observe, stamp_of

from galsim_vae.bands import BANDS
from galsim_vae.frame import canonical as frame
from galsim_vae.train.apertures import aperture_noise
from galsim_vae.train.check import reconstruction
from galsim_vae.train.readers import Source


def test_residuals_of_the_true_stamp_are_noise_and_of_a_wrong_one_are_not():
    profile = galaxy()
    clean = observe(profile, bands=("F606W", BAND))
    geometry = frame.measure(clean)
    noisy = reconstruction.add_noise(clean, geometry, 50.0, galsim.BaseDeviate(9))
    assert aperture_noise(noisy, geometry) * 50 == pytest.approx(geometry.flux[BAND])
    stamp = stamp_of(profile, geometry)
    stamp[BANDS.index("F606W")] = stamp[BANDS.index(BAND)]
    good = reconstruction.native_residuals(7 * stamp, geometry, noisy)
    assert set(good) == {"F606W", BAND}
    assert all(0.8 < r.chi_square < 1.2 and abs(r.net) < 0.1 for r in good.values())
    # The amplitude is one number: a wrong colour shows.
    stamp[BANDS.index("F606W")] *= 2
    bad = reconstruction.native_residuals(stamp, geometry, noisy)
    assert bad["F606W"].net < -0.2 and bad[BAND].net > 0.05
    with pytest.raises(galsim.GalSimValueError, match="add_noise"):
        reconstruction.native_residuals(stamp, geometry, clean)


def test_galaxies_that_fail_are_counted(monkeypatch, caplog):
    def fails(source, *arguments):
        if source.index == 4:
            raise ZeroDivisionError
        return (None, "too noisy") if source.index == 9 else (source, "")

    sources = [Source("made", 4 + 5 * k, None) for k in range(4)]
    monkeypatch.setattr(reconstruction, "held_out", lambda readers: iter(sources))
    monkeypatch.setattr(reconstruction, "reconstruct_one", fails)
    assert reconstruction.reconstruct_all([], None, 1, None) == sources[2:]
    assert "1 galaxies left out: failed (ZeroDivisionError)" in caplog.text
    assert "1 galaxies left out: too noisy" in caplog.text
