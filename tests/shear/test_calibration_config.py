"""Configurations."""

import sys

import galsim
import pytest
from shear_setup import config

from galsim_vae import shear
from galsim_vae.shear import calibration


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"galaxies": None}, galsim.GalSimConfigValueError, "galaxies must be a whole number"),
        ({"galaxies": 0}, galsim.GalSimRangeError, "galaxies is out of range"),
        ({"galaxys": 3}, galsim.GalSimConfigValueError, "Unknown key"),
        ({"estimators": ["lensfit"]}, galsim.GalSimConfigValueError, "Unknown estimator"),
        ({"estimators": []}, galsim.GalSimConfigValueError, "estimators must name"),
        ({"estimators": ["ngmix"]}, galsim.GalSimConfigError, "not on PyPI"),
        ({"estimators": ["metadetect"]}, galsim.GalSimConfigError, "esheldon/metadetect"),
        ({"psf_fwhm": 5.0}, galsim.GalSimRangeError, "The PSF is too wide for stamps of 64 pixels"),
        ({"shear": [0.3, 0.0]}, galsim.GalSimRangeError, "|shear| is out of range"),
        ({"shear": 0.02}, galsim.GalSimConfigValueError, "shear must be a list of 2"),
        ({"shear": ["a", 0]}, galsim.GalSimConfigValueError, "shear.0 must be a number"),
        ({"psf_shear": [0.9, 0.0]}, galsim.GalSimRangeError, "|psf_shear|"),
        ({"weights": "nothere"}, OSError, "nothere"),
        ({"survey": "KiDS"}, galsim.GalSimConfigValueError, "Unknown survey"),
        ({"band": "IE"}, galsim.GalSimConfigValueError, "LSST has no filter"),
        ({"band": "u"}, galsim.GalSimValueError, "do not reach"),
        ({"layout": "grid"}, galsim.GalSimConfigValueError, "Unknown layout"),
        ({"renderer": "gpu"}, galsim.GalSimConfigValueError, "Unknown renderer"),
        ({"redshift": [2, 1]}, galsim.GalSimValueError, "0 <= low < high"),
        ({"ring": "yes"}, galsim.GalSimConfigValueError, "ring must be true or false"),
        ({"max_magnitude": 40}, galsim.GalSimRangeError, "trained range"),
        ({"depth": float("nan")}, galsim.GalSimRangeError, "depth is out of range"),
        ({"layout": "blended", "scene_size": 80}, galsim.GalSimRangeError, "two stamps"),
        ({"survey": "Roman_WFI", "band": "F158"}, galsim.GalSimValueError, "measure this PSF"),
    ],
)
def test_bad_configurations_stop_before_any_work(changes, error, message, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "run_missing", lambda *args: pytest.fail("work was begun"))
    for name in ("ngmix", "metadetect"):
        monkeypatch.setitem(sys.modules, name, None)
    values = {"output": str(tmp_path / "out"), "galaxies": 4} | changes
    with pytest.raises(error) as caught:
        shear.calibrate(values)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_keys_and_the_fingerprint():
    with pytest.raises(galsim.GalSimConfigError, match="galaxies is missing"):
        shear.CalibrationConfig.from_dict({"output": "x"})
    same = config(output="elsewhere", bins=7, target_error=1e-2)
    assert same.fingerprint() == config().fingerprint()
    for changes in ({"seed": 5}, {"depth": 0.5}, {"galaxies": 13}, {"renderer": "galsim"}):
        assert config(**changes).fingerprint() != config().fingerprint()
    assert config(depth="1e2").depth == 100  # YAML takes 1e2 for a string.
