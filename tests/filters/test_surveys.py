"""Throughputs of surveys: they need no surveycodex, and agree with it where it is installed."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from galsim_vae.filters import find_bandpass, survey_filters
from galsim_vae.filters.surveys import EFFECTIVE_WAVELENGTH

WITHOUT = """
import sys
sys.modules["surveycodex"] = None  # importing it fails
from galsim_vae.filters import find_bandpass, survey_filters
from galsim_vae.filters.surveys import EDGES, EFFECTIVE_WAVELENGTH
assert len(survey_filters()) == sum(map(len, EFFECTIVE_WAVELENGTH.values()))
assert all(set(EDGES[survey]) == set(EFFECTIVE_WAVELENGTH[survey]) for survey in EDGES)
print(find_bandpass("Euclid_VIS").effective_wavelength)
"""


def effective_wavelength(bandpass):
    """int lambda^2 T dlambda / int lambda T dlambda, nm, which is surveycodex's."""
    wave = np.linspace(bandpass.blue_limit, bandpass.red_limit, 4001)
    photons = wave * bandpass(wave)
    return (wave * photons).sum() / photons.sum()


def test_names_and_throughputs_without_surveycodex():
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    here = find_bandpass("Euclid_VIS").effective_wavelength
    assert float(run.stdout) == pytest.approx(here, rel=1e-12)


@pytest.mark.parametrize("pair", survey_filters(), ids="_".join)
def test_throughputs_have_the_effective_wavelength_of_the_table(pair):
    survey, name = pair
    found = effective_wavelength(find_bandpass(survey_filters()[pair]))
    assert found == pytest.approx(EFFECTIVE_WAVELENGTH[survey][name], rel=0.01)


if importlib.util.find_spec("surveycodex"):

    def test_the_table_is_that_of_surveycodex():
        import surveycodex

        known = {
            name: surveycodex.get_survey(name).available_filters
            for name in surveycodex.available_surveys
        }
        assert {name: set(filters) for name, filters in known.items()} == {
            name: set(filters) for name, filters in EFFECTIVE_WAVELENGTH.items()
        }
        for survey, name in survey_filters():
            filt = surveycodex.get_survey(survey).get_filter(name)
            wanted = filt.effective_wavelength.to_value("nm")
            assert EFFECTIVE_WAVELENGTH[survey][name] == pytest.approx(wanted, rel=1e-6)
