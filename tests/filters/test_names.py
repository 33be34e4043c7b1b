"""Every filter by the names that people use."""

import galsim
import galsim.roman
import pytest

from galsim_vae.bands import BANDS, hst_bandpass
from galsim_vae.filters import find_band, find_bandpass, find_filter, survey_filters
from galsim_vae.filters.names import band_names, canonical_filter, canonical_name

FILTERS = survey_filters()


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (("LSST_i", "lsst_I", "LSST i", "lsst-i", "LSST_i.dat", "Rubin_i"), ("LSST", "i")),
        (("HSC_y", "hsc_Y"), ("HSC", "y")),
        (("DES_Y", "des_y"), ("DES", "Y")),
        (("CFHT_u", "CFHTLS_u"), ("CFHTLS", "u")),
        (("PanSTARRS_w", "Pan-STARRS w", "PS1_w"), ("PanSTARRS", "w")),
        (
            ("Roman_H158", "H158", "h158", "F158", "Roman_F158", "Roman_WFI_F158"),
            ("Roman_WFI", "F158"),
        ),
        (("K213", "F213", "Roman_K213", "Roman_WFI_Deep_F213"), ("Roman_WFI_Deep", "F213")),
        (("Euclid_VIS", "VIS", "vis", "IE", "I_E", "Euclid_IE", "Euclid_VIS_IE"),
         ("Euclid_VIS", "IE")),
        (("Euclid_Y", "NISP_Y", "Y_E", "YE", "Euclid_NISP_YE"), ("Euclid_NISP", "YE")),
        (("F814W", "f814w", "COSMOS_f814w", "HST_F814W"), ("COSMOS", "f814w")),
    ],
)  # fmt: skip
def test_names(names, pair):
    for name in names:
        assert find_band(name) is FILTERS[pair] or find_band(name) == FILTERS[pair] == "F814W"
    assert len({canonical_name(name) for name in names}) == 1
    assert canonical_name(FILTERS[pair]) == canonical_name(names[0])


def test_a_canonical_name_is_that_of_the_survey():
    assert canonical_name("lsst-r") == "LSST_r" and canonical_name("f158") == "Roman_H158"
    assert canonical_name("f814w") == "F814W"
    table = galsim.Bandpass(galsim.LookupTable([500, 600], [1, 1]), "nm")
    assert canonical_name(table) == str(table)
    # The throughput of LSST's filter, and another mirror before it.
    darker = find_bandpass("LSST_r") * galsim.Bandpass("0.9", "nm", blue_limit=300, red_limit=1100)
    assert canonical_name(darker) != "LSST_r"
    with pytest.raises(galsim.GalSimValueError, match="nonsense"):
        canonical_name("nonsense")


def test_every_filter_of_every_survey_by_survey_and_name():
    for (survey, name), band in FILTERS.items():
        for spelling in (f"{survey}_{name}", f"{survey}_{name}".lower()):
            assert find_band(spelling) is band or find_band(spelling) == band
        assert find_band(name, survey=survey) == band == find_filter(survey, name)
        assert FILTERS[canonical_filter(survey.upper(), name.lower())] == band
    for name in band_names():
        assert isinstance(find_bandpass(name), galsim.Bandpass)


@pytest.mark.parametrize(
    ("survey", "name", "pair"),
    [
        ("lsst", "I", ("LSST", "i")),
        ("LSST", "LSST_i", ("LSST", "i")),
        ("Euclid", "VIS", ("Euclid_VIS", "IE")),
        ("Euclid_VIS", "VIS", ("Euclid_VIS", "IE")),
        ("euclid", "h", ("Euclid_NISP", "HE")),
        ("Roman", "H158", ("Roman_WFI", "F158")),
        ("Roman", "F213", ("Roman_WFI_Deep", "F213")),
        ("CFHT", "i", ("CFHTLS", "i")),
    ],
)
def test_filters_of_a_survey(survey, name, pair):
    assert canonical_filter(survey, name) == pair
    assert find_band(name, survey) is FILTERS[pair]


def test_what_is_a_bandpass_stays_one():
    bandpass = galsim.Bandpass("1", "nm", blue_limit=500, red_limit=600)
    assert find_bandpass(bandpass) is bandpass is find_band(bandpass)
    assert find_bandpass("F606W") == hst_bandpass("F606W")
    assert find_band("ACS_wfc_F606W") != "F606W"
    assert [find_band(band.lower()) for band in BANDS] == list(BANDS)
    assert find_band("Roman_R062") == galsim.roman.getBandpasses()["R062"]
    assert find_bandpass("F105W") == find_bandpass("WFC3_ir_F105W.dat")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("F999W", "F999W.*F435W"),
        ("Rommn_H158", "near names.*Roman_H158"),
        ("LSST_ii", "near names.*LSST_i"),
        ("i", "Several surveys.*LSST_i.*HSC_i"),
        (3, "name of a filter"),
        (None, "name of a filter"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(galsim.GalSimValueError, match=message):
        find_band(name)


@pytest.mark.parametrize(
    ("survey", "name", "message"),
    [
        ("HSC", "u", "HSC has no filter.*HSC_g"),
        ("LSST", "F814W", "LSST has no filter"),
        ("KiDS", "r", "Unknown survey.*LSST"),
    ],
)
def test_unknown_filters_of_surveys(survey, name, message):
    for find in (lambda: find_band(name, survey), lambda: canonical_filter(survey, name)):
        with pytest.raises(galsim.GalSimValueError, match=message):
            find()


def test_a_known_survey_never_gets_the_filter_of_another():
    with pytest.raises(galsim.GalSimValueError, match="HSC has no filter"):
        find_filter("HSC", "u")
    # A survey of the user's own has the filter of this name.
    assert find_filter("LSST_Y1", "r") is find_filter("LSST", "r")
    with pytest.raises(galsim.GalSimValueError, match=r"JWST.*F999"):
        find_filter("JWST", "F999")
