"""Misfit of a reconstruction in the native pixels of its survey."""

import galsim
import numpy as np
import pytest
from made_observation import BAND, galaxy, observe, stamp_of
from made_training_file import training_file

from galsim_vae.bands import BANDS
from galsim_vae.frame import canonical as frame
from galsim_vae.train import training_file as dataset
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
    monkeypatch.setattr(reconstruction, "reconstruct_one", fails)
    assert reconstruction.reconstruct_all(sources, None, 1, None) == sources[2:]
    assert "1 galaxies left out: failed (ZeroDivisionError)" in caplog.text
    assert "1 galaxies left out: too noisy" in caplog.text


class Rows:
    """A reader of eleven galaxies in two chunks; the last one is unusable."""

    def __len__(self):
        return 2

    def read(self, chunk):
        for k in range(chunk * 6, min(chunk * 6 + 6, 11)):
            yield Source("made", k, None, reason="unusable" if k == 10 else "")


def test_the_training_file_says_what_is_held_out(tmp_path):
    galaxies = training_file(tmp_path / "made.h5", n=11)
    galaxies.source = np.array(["made"] * 11)
    galaxies.valid = np.isin(np.arange(11), [0, 4, 7, 10])  # 0 and 7 are other stamps of held-out
    dataset.write(tmp_path / "real.h5", galaxies, band_maps={}, provenance="made up")
    known = dataset.read_held_out(tmp_path / "real.h5")
    assert known == {("made", k) for k in (0, 4, 7, 10)}
    assert [s.index for s in reconstruction.held_out([Rows()], known)] == [0, 4, 7]
    assert [s.index for s in reconstruction.held_out([Rows()])] == [4, 9]
    with pytest.raises(OSError, match="not a training file"):
        dataset.read_held_out(__file__)
