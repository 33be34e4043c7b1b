"""Misfit of a reconstruction in the native pixels of its survey."""

import galsim
import pytest
from made_observation import BAND, galaxy, observe, stamp_of

from galsim_vae.bands import BANDS
from galsim_vae.frame import canonical as frame
from galsim_vae.train.apertures import aperture_noise
from galsim_vae.train.check import reconstruction


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
