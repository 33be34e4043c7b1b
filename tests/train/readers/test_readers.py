"""Readers of survey data: what they find in a made survey, and what they refuse to start on."""

import galsim
import made_survey
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from made_survey import PSF_CONFIGS, PSFS, SCALE
from scipy import ndimage

from galsim_vae.bands import FILTER_PIVOT, PIVOT, band_map
from galsim_vae.frame import canonical as frame
from galsim_vae.train.ingest.run import galaxy_row, measured
from galsim_vae.train.readers import SegmentReader, StampReader, sky
from galsim_vae.train.readers.cosmos import CosmosReader
from galsim_vae.train.readers.psf import block_psf, build_psf


def sources(reader):
    reader.check()
    return [source for chunk in range(len(reader)) for source in reader.read(chunk)]


# The rule of the bands


def test_filters_stand_for_the_nearest_band_and_no_band_gets_two():
    xdf = {name: FILTER_PIVOT[name] for name in ("F775W", "F814W", "F850LP", "F105W", "F140W")}
    assert band_map(xdf) == {"F814W": "F814W", "F140W": "F160W"}
    jwst = {name: FILTER_PIVOT[name] for name in ("F115W", "F150W", "F200W", "F444W")}
    assert band_map(jwst) == {"F150W": "F160W", "F115W": "F125W"}
    assert band_map({name: PIVOT[name] for name in PIVOT}) == {name: name for name in PIVOT}


def test_far_filters_stand_for_a_band_only_alone_and_for_structure():
    assert band_map({"F444W": 4402.7}) == {}
    assert band_map({"F444W": 4402.7}, structure_only=True) == {"F444W": "F160W"}
    assert band_map({"F444W": 4402.7, "r": 617.6}, structure_only=True) == {"r": "F606W"}


# Sky


def test_noise_level_and_correlation_are_measured_beside_objects():
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.normal(size=(300, 300)), 1.0)
    rms = noise.std()
    y, x = np.indices(noise.shape)
    image = noise + 30 * rms * np.exp(-0.5 * ((x - 150) ** 2 + (y - 140) ** 2) / 12**2) + 5.0
    show = sky.pixels(image, np.ones(image.shape, bool))
    assert not show[140, 150] and show.mean() > 0.5
    assert sky.noise(image, show) == pytest.approx(rms, rel=0.03)
    assert sky.level(image, show) == pytest.approx(5.0, abs=0.1 * rms)
    measured = sky.correlation([(image, show)])
    k = sky.REACH
    for lag in (1, 2):
        assert measured[k, k + lag] == pytest.approx(np.exp(-(lag**2) / 4), abs=0.05)
    assert measured.sum() == pytest.approx(4 * np.pi, rel=0.15)
    white = rng.normal(size=(200, 200))
    assert sky.correlation([(white, np.ones(white.shape, bool))]).sum() == pytest.approx(1, abs=0.1)


def test_correlated_noise_after_resampling_is_as_stated():
    rng = np.random.default_rng(2)
    blur = 1.2
    lag = np.arange(-6, 7)
    correlation = np.exp(-(lag[:, None] ** 2 + lag**2) / (4 * blur**2))
    wcs = galsim.JacobianWCS(0.05, 0.01, -0.012, 0.055)
    observation = frame.Observation(
        {"F814W": np.zeros((200, 200))}, {"F814W": wcs}, {"F814W": PSFS["F814W"]},
        {"F814W": 1.0}, correlation={"F814W": correlation},
    )  # fmt: skip
    geometry = frame.Geometry((0, 0), 0.2, 0.7, 0.3, 0.3, {}, "F814W")
    rms, area = frame.resampled_noise("F814W", geometry, observation)
    squares = []
    for _ in range(8):
        noise = ndimage.gaussian_filter(rng.normal(size=(200, 200)), blur) * blur * 2 * np.pi**0.5
        squares.append(np.mean(frame.resample(noise, "F814W", geometry, observation) ** 2))
    assert rms == pytest.approx(np.sqrt(np.mean(squares)), rel=0.06)
    # Noise power per solid angle stays.
    ratio = geometry.pixel_scale**2 / wcs.pixelArea()
    assert rms**2 * area == pytest.approx(correlation.sum() * ratio)


# PSFs


@pytest.mark.parametrize("rebin", [1, 2, 3])
def test_psfs_come_centred_and_block_sums_are_those_of_shifted_copies(rebin):
    psf = PSFS["F160W"]
    off = psf.shift(0.02, -0.03).drawImage(nx=61, ny=61, scale=SCALE, method="no_pixel").array
    for spec in (PSF_CONFIGS["F160W"], off):
        made = block_psf(build_psf(spec, "F160W", SCALE), SCALE, rebin)
        steps = (np.arange(rebin) - (rebin - 1) / 2) * SCALE
        truth = galsim.Sum([psf.shift(dx, dy) for dx in steps for dy in steps]) / rebin**2
        a, b = (
            p.drawImage(nx=40, ny=40, scale=0.05, method="no_pixel").array for p in (made, truth)
        )
        assert np.abs(a - b).max() < 0.01 * b.max()


# Stamps


def test_nearby_stamps_enter_as_structure_in_the_filter_that_is_near(tmp_path):
    path = made_survey.stamps(tmp_path)
    reader = StampReader("near", str(path), PSF_CONFIGS["F160W"], structure_only=True, rows="qso*")
    found = sources(reader)
    assert reader.filters == {"r": "F606W"} and [s.index for s in found] == [0, 1, 2]
    row, reason = galaxy_row(found[0], 1)
    assert reason == "" and row["filters"] == ["", "r", "", "", ""]
    assert np.isnan([row["redshift"], row["magnitude"], row["half_light_radius"]]).all()
    distant = sources(StampReader("far", str(path), PSF_CONFIGS["F160W"]))
    assert distant[0].redshift == 0.03 and np.isfinite(
        galaxy_row(distant[0], 1)[0]["half_light_radius"]
    )


def test_magnitudes_of_other_filters_tell_that_in_f814w(tmp_path):
    mag = np.array([[20.0, 19.5], [np.nan, 21.0], [np.nan, np.nan], [22.0, 21.0], [23.0, 22.0]])
    path = made_survey.stamps(tmp_path, mag=mag)
    names = [str(name) for name in np.load(path)["bands"]]
    colour = {names[0]: -0.4, names[1]: 0.1}
    reader = StampReader("s", str(path), PSF_CONFIGS["F160W"], colour=colour)
    found = [source.magnitude for source in sources(reader)]
    np.testing.assert_allclose(found, [19.6, 21.1, np.nan, 21.6, 22.6])
    # Distant galaxies in a filter far from our bands: they have their size, too.
    far = StampReader("s", str(path), PSF_CONFIGS["F160W"], structure_only=True, colour=colour)
    source = sources(far)[0]
    assert source.magnitude == pytest.approx(19.6) and source.sized and source.redshift == 0.03
    with pytest.raises(galsim.GalSimConfigValueError, match="s.colour") as error:
        StampReader("s", str(path), PSF_CONFIGS["F160W"], colour={"Q": 0.1}).check()
    assert "'Q'" in str(error.value)
    for wrong in (float("nan"), 22.5):
        with pytest.raises(galsim.GalSimRangeError, match=rf"s.colour.{names[0]} .*{wrong}"):
            StampReader(
                "s", str(path), PSF_CONFIGS["F160W"], colour={names[0]: wrong}
            ).check()  # fmt: skip
    path = made_survey.stamps(tmp_path, mag=None)
    with pytest.raises(galsim.GalSimConfigValueError, match="array mag"):
        StampReader("s", str(path), PSF_CONFIGS["F160W"], colour=colour).check()


def test_without_zero_points_there_are_no_colours(tmp_path):
    names = {"bands": np.array(["r", "i"])}
    for zp, used in (([22.5, 22.5], 2), ([np.nan, np.nan], 1)):
        path = made_survey.stamps(tmp_path, zp=np.array(zp), **names)
        assert len(StampReader("s", str(path), PSF_CONFIGS["F160W"]).filters) == used


def test_neighbours_of_a_stamp_are_masked_not_painted(tmp_path):
    path = made_survey.stamps(tmp_path)
    with np.load(path) as file:
        arrays = dict(file)
    y, x = np.indices((100, 100))
    arrays["img"][0] += 2 * np.exp(-0.5 * ((x - 75) ** 2 + (y - 70) ** 2) / 2**2)
    np.savez(path, **arrays)
    source = sources(StampReader("s", str(path), PSF_CONFIGS["F160W"], True))[0]
    observation, geometry, reason = measured(source)
    assert reason == "" and not observation.mask["F606W"][70, 75]
    assert observation.image["F606W"][70, 75] > 1
    assert observation.mask["F606W"][49, 49] and observation.mask["F606W"].mean() > 0.9


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"x": None}, "no array x"),
        ({"y": np.zeros(3)}, "y must have shape"),
        ({"img": np.zeros((5, 2, 8), np.float32)}, "img must be floats of shape"),
        ({"img": np.full((5, 2, 100, 100), np.nan, np.float32)}, "band r is empty or NaN"),
        ({"stamp_scale": np.full(5, 500.0)}, "arcsec per pixel"),
        ({"bands": np.array(["r", "F999X"])}, "F999X is unknown"),
        ({"bands": np.array(["F277W", "F444W"])}, "structure_only"),
    ],
)
def test_bad_stamps_are_named_before_work_starts(tmp_path, edits, message):
    path = made_survey.stamps(tmp_path, **edits)
    with pytest.raises((OSError, galsim.GalSimError), match=message):
        StampReader("s", str(path), PSF_CONFIGS["F160W"]).check()


def test_stamps_need_a_psf_and_a_file(tmp_path):
    with pytest.raises(galsim.GalSimError, match="give s.psf"):
        StampReader("s", str(made_survey.stamps(tmp_path))).check()
    with pytest.raises(OSError, match="nothere"):
        StampReader("s", "/nothere.npz", PSF_CONFIGS["F160W"]).check()


def psf_image(fwhm, scale=SCALE, size=41):
    """Image of a Gaussian PSF."""
    return galsim.Gaussian(fwhm=fwhm).drawImage(
        nx=size, ny=size, scale=scale, method="no_pixel"
    ).array  # fmt: skip


def psf_fwhm(source, band):
    return source.observation.psf[band].calculateFWHM()


def test_psfs_of_the_file_are_those_of_the_galaxy_and_the_filter(tmp_path):
    """One a galaxy; one a galaxy and filter; one a filter, at pixels of its own."""
    widths = np.array([0.2, 0.25, 0.3, 0.35, 0.4])
    one = np.array([psf_image(w) for w in widths])
    both = np.array([[psf_image(w), psf_image(w + 0.2)] for w in widths])
    fine = np.array([psf_image(0.3, 0.03, 81), psf_image(0.5, 0.03, 81)])
    names = {"bands": np.array(["r", "i"])}
    path = str(made_survey.stamps(tmp_path, psf=one, **names))
    third = sources(StampReader("s", path))[2]
    assert psf_fwhm(third, "F606W") == pytest.approx(0.3, rel=0.02)
    assert psf_fwhm(third, "F814W") == pytest.approx(0.3, rel=0.02)
    mixed = {"r": {"array": "psf"}, "i": {"type": "Gaussian", "fwhm": 0.5}}
    third = sources(StampReader("s", path, mixed))[2]
    assert psf_fwhm(third, "F606W") == pytest.approx(0.3, rel=0.02)
    assert psf_fwhm(third, "F814W") == pytest.approx(0.5, rel=0.02)
    path = str(made_survey.stamps(tmp_path, psf=both, **names))
    third = sources(StampReader("s", path))[2]
    assert psf_fwhm(third, "F814W") == pytest.approx(0.5, rel=0.02)
    path = str(made_survey.stamps(tmp_path, psf=None, fine=fine, **names))
    spec = {n: {"array": "fine", "index": k, "scale": 0.03} for k, n in enumerate("ri")}
    third = sources(StampReader("s", path, spec))[2]
    assert psf_fwhm(third, "F606W") == pytest.approx(0.3, rel=0.02)
    assert psf_fwhm(third, "F814W") == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    ("psf", "message"),
    [
        ({"array": "psfs"}, "no array psfs"),
        ({"array": "psf"}, "must have shape"),
        ({"array": "psf", "index": 2}, "no PSF image 2"),
        ({"array": "psf", "index": 0, "pixel": 0.03}, "Unknown key s.psf.pixel"),
    ],
)
def test_bad_psfs_of_the_file_are_named(tmp_path, psf, message):
    path = made_survey.stamps(tmp_path, psf=np.array([psf_image(0.2), psf_image(0.3)]))
    with pytest.raises(galsim.GalSimError, match=message):
        StampReader("s", str(path), psf).check()


def test_zero_points_may_differ_between_galaxies(tmp_path):
    zero = np.array([[22.5, 22.5 + 0.1 * k] for k in range(5)])
    path = str(made_survey.stamps(tmp_path, zp=zero, bands=np.array(["r", "i"])))
    observations = [s.observation for s in sources(StampReader("s", path, PSF_CONFIGS["F160W"]))]
    raw = np.load(path)["img"]
    for k, observation in enumerate(observations):
        ratio = observation.image["F814W"][50, 50] / raw[k, 1, 50, 50]
        assert ratio == pytest.approx(10 ** (-0.04 * k))
    path = made_survey.stamps(tmp_path, zp=zero[:4])
    with pytest.raises(galsim.GalSimError, match="zp must have shape"):
        StampReader("s", str(path), PSF_CONFIGS["F160W"]).check()


def test_stamps_of_segments_take_their_noise_from_the_file(tmp_path):
    path = made_survey.stamps(tmp_path, sig_native=np.full((5, 2), 0.004))
    with np.load(path) as file:
        arrays = dict(file)
    y, x = np.indices((100, 100))
    arrays["img"] *= np.hypot(x - 49.5, y - 49.5) < 22
    np.savez(path, **arrays)
    reader = StampReader("s", str(path), PSF_CONFIGS["F160W"], segment_only=True)
    source = sources(reader)[0]
    assert source.segment_only and source.observation.noise["F606W"] == pytest.approx(0.004)
    assert not source.observation.mask["F606W"][5, 5]
    row, reason = galaxy_row(source, 1)
    assert reason == "" and np.isfinite(row["half_light_radius"])
    path = made_survey.stamps(tmp_path)
    with pytest.raises(galsim.GalSimError, match="no array sig_native"):
        StampReader("s", str(path), PSF_CONFIGS["F160W"], segment_only=True).check()


def test_segments_are_used_and_clipped_ones_rejected(tmp_path):
    truth = made_survey.galaxies(3)
    cube = np.zeros((3, 90, 90), np.float32)
    for k, row in enumerate(truth):
        drawn = galsim.Convolve(made_survey.profile(row), PSFS["F814W"]).drawImage(
            nx=90, ny=90, scale=SCALE, method="no_pixel"
        )
        cube[k] = np.where(drawn.array > 0.01, drawn.array, 0)
    cube[2] = np.pad(cube[2], ((0, 0), (40, 0)))[:, :90]
    made = made_survey.header("F814W", False)
    table = fits.BinTableHDU(Table({"mag814": [22.0, 23.0, 24.0]}), name="CATALOG")
    path = tmp_path / "segments.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(cube, made, "F814W"), table]).writeto(path)
    reader = SegmentReader("c", str(path), {"F814W": 0.004}, magnitude="mag814")
    found = sources(reader)
    assert [galaxy_row(s, 1)[1] for s in found] == ["", "", "cut by the stamp's edge"]
    assert [s.magnitude for s in found] == [22.0, 23.0, 24.0]
    with pytest.raises(galsim.GalSimError, match="no HDU F606W"):
        SegmentReader("c", str(path), {"F606W": 0.004}).check()
    with pytest.raises(galsim.GalSimError, match="no column mag606"):
        SegmentReader("c", str(path), {"F814W": 0.004}, magnitude="mag606").check()


# RealGalaxyCatalog


@pytest.fixture
def real_catalogue(tmp_path):
    """A RealGalaxyCatalog of four galaxies as GalSim's COSMOS files are."""
    truth, rng, scale, n = made_survey.galaxies(4), np.random.default_rng(8), 0.03, 4
    psf = galsim.Convolve(galsim.Gaussian(fwhm=0.09), galsim.Pixel(scale))
    images = [
        galsim.Convolve(made_survey.profile(row), psf)
        .drawImage(nx=110, ny=112, scale=scale, method="no_pixel")
        .array
        + 0.002 * rng.normal(size=(112, 110))
        for row in truth
    ]
    point = psf.drawImage(nx=51, ny=65, scale=scale, method="no_pixel").array
    hdus = [fits.ImageHDU(i.astype(np.float32)) for i in images]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "images.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(point)]).writeto(tmp_path / "psfs.fits")
    lag = np.arange(-20, 21)
    fits.writeto(tmp_path / "cf.fits", 1e-6 * np.exp(-(lag[:, None] ** 2 + lag**2) / 2.0))
    Table({
        "IDENT": [7, 3, 9, 4], "RA": [1.0] * n, "DEC": [2.0] * n, "MAG": [23.0] * n,
        "BAND": ["F814W"] * n, "WEIGHT": [1.0] * n, "GAL_FILENAME": ["images.fits"] * n,
        "PSF_FILENAME": ["psfs.fits"] * n, "GAL_HDU": [1, 2, 3, 4], "PSF_HDU": [1] * n,
        "PIXEL_SCALE": [scale] * n, "NOISE_MEAN": [0.0] * n, "NOISE_VARIANCE": [4e-6] * n,
        "NOISE_FILENAME": ["cf.fits"] * n, "stamp_flux": [1.0] * n,
    }).write(tmp_path / "catalog.fits")  # fmt: skip
    extra = Table({"IDENT": [3, 4, 7, 9], "ZPHOT": [0.3, -1.0, 0.7, 0.9]})
    extra.write(tmp_path / "catalog_fits.fits")
    return tmp_path


def test_real_galaxy_catalogue_gives_psf_noise_and_redshift(real_catalogue):
    found = sources(CosmosReader("cosmos", "catalog.fits", str(real_catalogue)))
    assert [s.identifier for s in found] == ["7", "3", "9", "4"]
    assert np.allclose([s.redshift for s in found], [0.7, 0.3, 0.9, np.nan], equal_nan=True)
    assert [s.magnitude for s in found] == [23.0] * 4
    assert found[0].observation.noise_area("F814W") == pytest.approx(2 * np.pi, rel=0.01)
    for source, row in zip(found, made_survey.galaxies(4), strict=True):
        result, reason = galaxy_row(source, 1)
        assert reason == "" and result["half_light_radius"] == pytest.approx(
            row["radius"], rel=0.08
        )
        assert result["psf"][2].argmax() == 32 * 64 + 32


def test_bad_real_galaxy_catalogues_are_named(real_catalogue):
    folder = str(real_catalogue)
    with pytest.raises(galsim.GalSimError, match="no column z_spec"):
        CosmosReader("cosmos", "catalog.fits", folder, redshift="z_spec").check()
    with pytest.raises(OSError, match="nothere"):
        CosmosReader("cosmos", "nothere.fits", folder).check()
    table = Table.read(real_catalogue / "catalog.fits")
    table["BAND"] = "F606W"
    table.write(real_catalogue / "catalog.fits", overwrite=True)
    with pytest.raises(galsim.GalSimError, match="F606W"):
        CosmosReader("cosmos", "catalog.fits", folder).check()
