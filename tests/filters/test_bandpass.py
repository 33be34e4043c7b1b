"""Which throughputs the HST bands reach."""

import galsim
import galsim.roman
import pytest

from galsim_vae.filters import check_reach, find_bandpass
from galsim_vae.filters.bandpass import warn_if_extrapolated


@pytest.mark.parametrize("name", ["LSST_u", "WFC3_uvis_F275W", "WFC3_uvis_F336W"])
def test_filter_out_of_reach_names_filter_and_range(name):
    with pytest.raises(galsim.GalSimRangeError, match=rf"{name} .*\[345.0, 1800.0\]"):
        check_reach(find_bandpass(name))


def test_roman_and_euclid_filters():
    roman = galsim.roman.getBandpasses()
    for name in ("Y106", "J129", "H158"):
        check_reach(roman[name])
    vis = galsim.Bandpass("0.7", "nm", blue_limit=550, red_limit=900)
    check_reach(vis)
    nisp_h = galsim.Bandpass("0.7", "nm", blue_limit=1522, red_limit=2021)
    with pytest.raises(galsim.GalSimRangeError, match="wavelength 17.. nm"):
        check_reach(nisp_h)


@pytest.mark.parametrize("name", ["LSST_u", "CFHT_u", "SDSS_u"])
def test_u_is_refused_with_the_words_to_use_and_extrapolated_with_a_warning(name):
    u = find_bandpass(name)
    with pytest.raises(galsim.GalSimRangeError, match="extrapolate=True"):
        check_reach(u)
    check_reach(u, extrapolate=True)
    with pytest.warns(galsim.GalSimWarning, match="blueward of F435W"):
        warn_if_extrapolated(u)


def test_what_no_extrapolation_reaches_is_not_offered_one(recwarn):
    with pytest.raises(galsim.GalSimRangeError) as error:
        check_reach(find_bandpass("F275W"))
    assert "extrapolate" not in str(error.value)
    warn_if_extrapolated(find_bandpass("LSST_g"))
    assert not recwarn
