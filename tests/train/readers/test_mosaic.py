"""Mosaics: what is found in a made survey, what is refused, and how much memory it takes."""

import subprocess
import sys

import galsim
import made_survey
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from made_survey import EDGE, FAINT, PAIR, RMS, SCALE, STAR
from places import ROOT

from galsim_vae.train.ingest.run import galaxy_row, measured
from galsim_vae.train.readers.mosaic import MosaicReader

ZEROPOINT = made_survey.ZEROPOINTS["F814W"]


def sources(reader):
    reader.check()
    return [source for chunk in range(len(reader)) for source in reader.read(chunk)]


def reasons(found):
    return {source.index: source.reason or measured(source)[2] for source in found}


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return made_survey.mosaics(tmp_path_factory.mktemp("survey"))


@pytest.fixture(scope="module")
def catalogued(survey):
    catalogue = {"file_name": str(survey.catalogue)}
    return sources(MosaicReader("made", survey.bands, catalogue))


def test_detection_finds_what_is_there_and_says_what_is_wrong(survey):
    reader = MosaicReader("made", survey.bands)
    found = sources(reader)
    ny, nx = reader.shape
    at = {(source.index % nx, source.index // nx): source for source in found}

    def near(x, y):
        return [s for (i, j), s in at.items() if np.hypot(i - x, j - y) < 6]

    for row in survey.truth:
        (source,) = near(row["x"], row["y"])
        result, reason = galaxy_row(source, 1)
        assert reason == "" and result["filters"] == ["", "", "F814W", "", "F160W"]
        true = ZEROPOINT - 2.5 * np.log10(row["flux"])
        assert result["magnitude"] == pytest.approx(true, abs=0.06)
        assert result["half_light_radius"] == pytest.approx(row["radius"], rel=0.08)
        assert result["g"] == pytest.approx(row["g"], abs=0.04)
    assert [measured(s)[2] for s in near(*STAR)] == ["saturated"]
    assert [s.reason for s in near(*EDGE)] == ["cut by the edge"]
    assert all((s.reason or measured(s)[2]) == "too noisy" for s in near(*FAINT))
    assert all(galaxy_row(s, 1)[1] in ("two nuclei", "blended", "too little usable area",
                                       "off centre") for s in near(*PAIR))  # fmt: skip


def test_saturation_is_a_reason_where_its_level_is_known(survey):
    bands = {name: {**band, "saturation": 800.0} for name, band in survey.bands.items()}
    found = sources(MosaicReader("made", bands))
    assert [s.reason for s in found].count("saturated") == 1


def test_catalogue_gives_redshift_flags_and_its_own_rows(catalogued, survey):
    n = len(survey.truth)
    by_row = {source.index: source for source in catalogued}
    assert sorted(by_row) == list(range(n + 4))
    why = reasons(catalogued)
    assert [why[i] for i in (0, 1, 3)] == ["", "", ""]
    assert why[2] == "flagged in the catalogue" and why[n] == "star in the catalogue"
    assert why[n + 1] == "cut by the edge" and why[n + 3] == "not detected"
    assert by_row[0].redshift == 0.5 and np.isnan(by_row[1].redshift)
    assert by_row[3].identifier == "104" and by_row[3].catalogue["ra"] == pytest.approx(
        53.1, abs=0.01
    )
    offset = measured(by_row[0])[1].centroid
    assert np.hypot(*offset) < SCALE


def test_local_sky_and_noise_of_a_mosaic_are_measured(catalogued):
    observation = catalogued[0].observation
    assert observation.noise["F814W"] == pytest.approx(RMS["F814W"], rel=0.08)
    blurred = RMS["F160W"] / (2 * np.pi**0.5 * made_survey.BLUR)
    assert observation.noise["F160W"] == pytest.approx(blurred, rel=0.08)
    area = 4 * np.pi * made_survey.BLUR**2
    assert observation.noise_area("F160W") == pytest.approx(area, rel=0.2)
    assert observation.noise_area("F814W") == pytest.approx(1, abs=0.3)
    # The mosaic's pedestal of 0.2 sigma is gone.
    corner = observation.image["F814W"][:12, :12]
    assert abs(corner.mean()) < 0.1 * RMS["F814W"] * 3


def change(survey, tmp_path, band="F160W", **edits):
    """The survey with one file rewritten: edits of its HDUs, or other parameters."""
    bands = {name: dict(b) for name, b in survey.bands.items()}
    path = tmp_path / f"{band}.fits"
    with fits.open(survey.bands[band]["image"].removesuffix("[SCI]")) as hdus:
        for hdu, function in edits.pop("hdus", {}).items():
            function(hdus[hdu])
        hdus.writeto(path)
    bands[band] |= {"image": f"{path}[SCI]", "rms": f"{path}[RMS]"} | edits
    return bands


def assign(name, value):
    def edit(hdu):
        if name == "data":
            hdu.data = value(hdu.data)
        elif value is None:
            del hdu.header[name]
        else:
            hdu.header[name] = value

    return edit


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"image": "/nowhere/f160w.fits[SCI]"}, "/nowhere/f160w.fits: no such file"),
        ({"rms": None}, "F160W: give rms or weight"),
        ({"psf": "/nowhere/psf.fits"}, "/nowhere/psf.fits"),
        ({"hdus": {"SCI": assign("data", lambda a: a[:-3])}}, "same shape"),
        ({"hdus": {"SCI": assign("data", lambda a: a * np.nan)}}, "band F160W.*nothing but NaN"),
        ({"hdus": {"RMS": assign("data", lambda a: a * 0)}}, "band F160W.*nothing but NaN"),
        ({"hdus": {"RMS": assign("BUNIT", "nJy")}}, "another unit"),
        ({"hdus": {"RMS": assign("data", lambda a: a**-2)}}, "does not look like an rms map"),
        ({"hdus": {"SCI": assign("ZPT_AB", None)}}, "no AB zero-point.*bands.F160W.zeropoint"),
        ({"zeropoint": 2.5}, "zero-point of made F160W"),
        ({"hdus": {"SCI": assign("data", lambda a: a[None])}}, "must be a 2D image"),
    ],
)
def test_bad_mosaics_are_named_before_work_starts(survey, tmp_path, edits, message):
    bands = change(survey, tmp_path, **edits)
    with pytest.raises((OSError, galsim.GalSimError), match=f"(?s){message}"):
        MosaicReader("made", bands).check()


def test_bad_catalogues_are_named_before_work_starts(survey, tmp_path):
    def check(table, message, **catalogue):
        path = tmp_path / "table.ecsv"
        table.write(path, overwrite=True)
        reader = MosaicReader("made", survey.bands, {"file_name": str(path), **catalogue})
        with pytest.raises((OSError, galsim.GalSimError), match=message):
            reader.check()

    good = Table.read(survey.catalogue)
    check(good["id", "ra"], "neither x, y nor ra, dec")
    check(good, "no column zspec", columns={"redshift": "zspec"})
    check(good, "no column mass", keep=["mass"])
    radians = good.copy()
    radians["ra"], radians["dec"] = np.radians(good["ra"]), np.radians(good["dec"])
    check(radians, "no position is on the mosaic")
    wrong = good.copy()
    wrong["z_best"] = 3.0e3
    check(wrong, "that is no redshift")
    with pytest.raises(OSError, match="nothere"):
        MosaicReader("made", survey.bands, {"file_name": "/nothere.cat"}).check()


def test_a_large_mosaic_is_not_loaded(tmp_path):
    """20,000 x 20,000 pixels, 1526 MiB a file, four files: a fraction of one is ever in memory."""
    script = ROOT / "tests" / "large_mosaic.py"
    command = [sys.executable, str(script), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    taken, grown = result.stdout.split()
    assert int(taken) == 6 and float(grown) < 300
