"""BlendingToolKit: `VAECatalog` and `VAEGenerator` with BTK's own samplers, surveys and metrics."""

import hashlib
import logging
import runpy
import subprocess
import sys

import btk
import galsim
import numpy as np
import pytest
import surveycodex
from astropy import units
from astropy.table import Table
from btk import sampling_functions as samplers
from btk.survey import get_surveys, make_wcs
from galsim.errors import GalSimError, GalSimRangeError, GalSimValueError
from places import ROOT
from stub_generator import StubGenerator
from surveycodex.utilities import mag2counts, mean_sky_level

import galsim_vae
from galsim_vae import bands
from galsim_vae import filters as survey_filters
from galsim_vae.blending import VAECatalog, VAEGenerator
from galsim_vae.blending import catalog as blend_catalog
from galsim_vae.blending.camera import Camera
from galsim_vae.filters import spectrum

SURVEYS = ["LSST", "Euclid_VIS", "HSC", "DES", "CFHTLS", "Roman_WFI", "COSMOS"]
STAMP = 12.0


class Stub(StubGenerator):
    """Analytic galaxies under the name of some weights."""

    path, sha256 = "stub", "5" * 64


def conditions(n=40, **columns):
    """Galaxies of all magnitudes, small enough to be well inside a stamp."""
    rng = np.random.default_rng(8)
    g, angle = rng.uniform(0, 0.5, n), rng.uniform(0, 2 * np.pi, n)
    table = Table(
        {
            "magnitude": rng.uniform(20, 25, n),
            "half_light_radius": rng.uniform(0.1, 0.5, n),
            "g1": g * np.cos(angle),
            "g2": g * np.sin(angle),
            "redshift": rng.uniform(0.1, 2, n),
        }
    )
    for name, column in columns.items():
        table[name] = column
    return table


@pytest.fixture(scope="module")
def catalog():
    return VAECatalog(conditions(), Stub(), seed=5)


def generate(catalog, surveys="LSST", sampler=None, **kwargs):
    """A generator of small stamps."""
    sampler = sampler or samplers.DefaultSampling(STAMP, max_number=3, min_number=2, seed=1)
    if isinstance(surveys, str) or (isinstance(surveys, list) and isinstance(surveys[0], str)):
        surveys = get_surveys(surveys)
    return VAEGenerator(catalog, sampler, surveys, **{"batch_size": 4, **kwargs})


def draw(catalog, surveys="LSST", sampler=None, **kwargs):
    return next(generate(catalog, surveys, sampler, **kwargs))


class Chosen(samplers.SamplingFunction):
    """The galaxies of some rows, at some places."""

    def __init__(self, rows, x, y, stamp_size=STAMP, **columns):
        super().__init__(stamp_size, len(rows), 0)
        self.rows, self.x, self.y, self.columns = rows, x, y, columns

    def __call__(self, table):
        blend = table[self.rows]
        blend["ra"], blend["dec"] = self.x, self.y
        for name, column in self.columns.items():
            blend[name] = column
        return blend


# Filters -----------------------------------------------------------------------------------------


def test_effective_wavelengths_are_those_of_surveycodex():
    for (survey, name), band in survey_filters.survey_filters().items():
        bandpass = survey_filters.find_bandpass(band)
        wave = np.linspace(bandpass.blue_limit, bandpass.red_limit, 4001)
        photons = wave * bandpass(wave)
        wanted = surveycodex.get_survey(survey).get_filter(name).effective_wavelength
        assert (wave * photons).sum() / photons.sum() == pytest.approx(
            wanted.to_value("nm"), rel=0.01
        )


def test_all_filters_of_surveycodex_are_known_and_those_out_of_reach_are_few():
    known = survey_filters.survey_filters()
    assert {survey for survey, _ in known} == set(surveycodex.available_surveys)
    assert len(known) == sum(
        len(surveycodex.get_survey(s).available_filters) for s in surveycodex.available_surveys
    )

    def out(extrapolate):
        return {
            pair
            for pair, band in known.items()
            if not survey_filters.within_reach(band, extrapolate)
        }

    red = {("Euclid_NISP", "HE")}
    red |= {("Roman_WFI_Deep", name) for name in ("F146", "F184", "F213")}
    assert out(True) == red
    assert out(False) - red == {("LSST", "u"), ("CFHTLS", "u"), ("SDSS", "u")}


def test_unknown_filter():
    with pytest.raises(GalSimValueError, match="JWST.*F999"):
        survey_filters.find_filter("JWST", "F999")
    assert survey_filters.find_filter("LSST_Y1", "r") is survey_filters.find_filter("LSST", "r")


@pytest.mark.parametrize("slope", [-1.0, 0.0, 2.0])
def test_u_continues_the_slope_of_a_power_law(slope):
    sed = galsim.SED(lambda wave: (wave / 800) ** slope, "nm", "fnu")
    u = survey_filters.find_bandpass("LSST_u")

    def magnitude(bandpass):
        return sed.calculateMagnitude(bandpass.withZeropoint("AB"))

    fluxes = 10 ** (-0.4 * np.array([magnitude(bands.hst_bandpass(b)) for b in bands.BANDS]))
    weights = spectrum.band_weights(u, spectrum.node_values([fluxes]), extrapolate=True)[0]
    # The nodes are those of a constant spectrum beyond the first: a few hundredths are left.
    tolerance = 0.05 if slope else 1e-4
    assert -2.5 * np.log10(weights.sum()) == pytest.approx(magnitude(u), abs=tolerance)
    assert (weights[1:] == 0).all()  # F435W structure
    with pytest.raises(GalSimRangeError, match="LSST_u"):
        spectrum.band_weights(u, np.zeros(5))
    with pytest.raises(GalSimRangeError, match="F275W"):
        far = survey_filters.find_bandpass("WFC3_uvis_F275W")
        spectrum.band_weights(far, np.zeros(5), extrapolate=True)
    g = survey_filters.find_bandpass("LSST_g")
    nodes = np.arange(5.0)
    np.testing.assert_array_equal(
        spectrum.band_weights(g, nodes), spectrum.band_weights(g, nodes, extrapolate=True)
    )


# Drawing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("survey", "name"),
    [("LSST", "u"), ("LSST", "y"), ("HSC", "i"), ("DES", "i"), ("Euclid_VIS", "IE"),
     ("Roman_WFI", "F106"), ("COSMOS", "f814w")],
)  # fmt: skip
def test_drawing_agrees_with_galsim(stamps, survey, name):
    """To 1e-4 of the peak (5e-5 or better): sheared, rotated, and at the edge."""
    survey = get_surveys(survey)
    psf, scale = survey.get_filter(name).psf, survey.pixel_scale.to_value("arcsec")
    n = int(STAMP / scale)
    camera = Camera(psf, scale, n)
    wide = n + 2 * (n // 2)  # GalSim's own image wraps round less
    for i, (x, y) in enumerate([(0.0, 0.0), (1.03, -2.2), (-5.9, 4.0)]):
        turn = np.radians(25 * i)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        shear = galsim.Shear(g1=0.05 * i, g2=-0.03).getMatrix()
        jacobian, offset = shear @ rotation @ stamps.jacobian[i], stamps.offset[i]
        image = stamps.image(i)
        got = camera.draw(image, jacobian, offset, x, y)
        # With its own maxk GalSim leaves out up to 3e-4 of the peak through Roman's sharp PSF.
        galaxy = galsim.InterpolatedImage(
            galsim.Image(image.astype(float)), scale=1, offset=offset, _force_maxk=12
        ).transform(*jacobian.ravel()) / abs(np.linalg.det(jacobian))
        seen = galsim.Convolve(galaxy, psf).shift(x, y)
        truth = seen.drawImage(nx=wide, ny=wide, scale=scale, dtype=float).array
        truth = truth[(wide - n) // 2 :, (wide - n) // 2 :][:n, :n]
        assert np.abs(got - truth).max() < 1e-4 * truth.max()


# The catalogue -----------------------------------------------------------------------------------


def test_catalog_from_generator(caplog):
    with caplog.at_level(logging.WARNING):
        catalog = VAECatalog.from_generator(Stub(), 30, seed=7, density=100)
    (record,) = caplog.records
    assert "LSST u" in record.getMessage() and "CFHTLS u" in record.getMessage()
    table = catalog.table
    assert len(table) == 30 and len(set(table["id"])) == 30
    width = 60 * np.sqrt(30 / 100)  # arcsec
    for name in ("ra", "dec"):
        assert table[name].unit == units.arcsec
        assert 0 < table[name].min() < 0.3 * width < 0.7 * width < table[name].max() < width
    stamps = catalog.stamps(table["id"])
    for (survey, name), band in survey_filters.survey_filters().items():
        if survey_filters.within_reach(band, True):
            magnitude = stamps.magnitude(band, extrapolate=True)
            np.testing.assert_allclose(table[f"{survey}_{name}"], magnitude, atol=1e-6)
    np.testing.assert_array_equal(table["r_ab"], table["LSST_r"])
    np.testing.assert_array_equal(table["Y_ab"], table["DES_Y"])
    np.testing.assert_allclose(table["f814w_ab"], table["magnitude"], atol=1e-6)
    radius = np.sqrt(table["a_d"] * table["b_d"])
    np.testing.assert_allclose(radius, table["half_light_radius"])


@pytest.mark.filterwarnings("error::galsim.GalSimWarning")
def test_one_warning_of_u(caplog):
    """The catalogue's own: not another for each galaxy and blend."""
    with caplog.at_level(logging.WARNING):
        draw(VAECatalog(conditions(8), Stub(), 1), ["LSST", "CFHTLS"])
    assert len(caplog.records) == 1


def test_catalog_without_extrapolation(caplog):
    with caplog.at_level(logging.WARNING):
        catalog = VAECatalog(conditions(), Stub(), 1, extrapolate=False)
    assert not caplog.records
    assert not {"u_ab", "LSST_u", "CFHTLS_u", "SDSS_u"} & set(catalog.table.colnames)
    with pytest.raises(GalSimValueError, match=r"LSST.*extrapolate=True.*\['u'\]"):
        generate(catalog)
    survey = get_surveys("LSST")
    survey.available_filters = ["g", "r"]
    assert draw(catalog, survey, samplers.PairSampling(STAMP, bright_cut=23)).blend_images.any()


@pytest.mark.parametrize("suffix", ["fits", "ecsv"])
def test_saved_catalog_makes_the_same_blends(tmp_path, catalog, suffix):
    path = tmp_path / f"galaxies.{suffix}"
    catalog.table.write(path)
    again = VAECatalog.from_file(path, Stub())
    assert again.seed == catalog.seed and again.table.colnames == catalog.table.colnames
    for name in catalog.table.colnames:
        np.testing.assert_array_equal(again.table[name], catalog.table[name])
    np.testing.assert_array_equal(draw(again).blend_images, draw(catalog).blend_images)
    some = catalog.table[[7, 3]]
    some.write(path, overwrite=True)
    part = VAECatalog.from_file(path, Stub())
    np.testing.assert_array_equal(part.stamps([3]).array, catalog.stamps([3]).array)


def test_file_of_conditions(tmp_path, monkeypatch):
    """Any columns, in any number of batches; the rest comes from the population."""
    path = tmp_path / "conditions.ecsv"
    table = conditions(7)["magnitude", "redshift"]
    table["half_light_radius"] = [0.3] * 7 * units.arcsec
    table["mag_F606W"] = table["magnitude"] + 1.5
    table["ra"], table["dec"] = np.arange(7) / 60 * units.arcmin, np.arange(7.0)
    table.write(path)
    catalog = VAECatalog.from_file(path, Stub(), seed=3)
    np.testing.assert_allclose(catalog.table["ra"], np.arange(7))
    np.testing.assert_array_equal(catalog.table["magnitude"], table["magnitude"])
    np.testing.assert_allclose(
        catalog.stamps(range(7)).magnitude("F606W"), table["mag_F606W"], atol=1e-5
    )
    monkeypatch.setattr(blend_catalog, "DECODED_AT_ONCE", 2)
    other = VAECatalog.from_file(path, Stub(), seed=3)
    np.testing.assert_array_equal(other.table["intrinsic_g1"], catalog.table["intrinsic_g1"])
    np.testing.assert_allclose(other.table["r_ab"], catalog.table["r_ab"], rtol=1e-12)


def test_bad_catalogs(tmp_path, catalog):
    with pytest.raises(GalSimValueError, match="galtileid"):
        VAECatalog(conditions(3, galtileid=1), Stub(), 1)
    with pytest.raises(GalSimValueError, match="id of its own.*4"):
        VAECatalog(conditions(3, id=[4, 5, 4]), Stub(), 1)
    with pytest.raises(GalSimValueError, match="i_ab.*mag_<BAND>"):
        VAECatalog(conditions(3, i_ab=20.0), Stub(), 1)
    with pytest.raises(GalSimValueError, match="dec of row 1 must be finite"):
        VAECatalog(conditions(3, ra=0.0, dec=[0.0, np.nan, 1.0]), Stub(), 1)
    with pytest.raises(GalSimError, match="Give both ra and dec"):
        VAECatalog(conditions(3, ra=0.0), Stub(), 1)
    with pytest.raises(GalSimError, match="ellipticity once"):
        VAECatalog(conditions(3, intrinsic_g1=0.1), Stub(), 1)
    for seed, error in ((0, GalSimRangeError), (2**32, GalSimRangeError), ("a", GalSimValueError)):
        with pytest.raises(error, match="seed"):
            VAECatalog(conditions(3), Stub(), seed)
        with pytest.raises(error, match="seed"):
            VAECatalog.from_generator(Stub(), 3, seed)
    with pytest.raises(OSError, match="give a FITS"):
        VAECatalog.from_file(__file__, Stub())
    with pytest.raises(GalSimRangeError, match="needs galaxies"):
        VAECatalog(conditions(3)[:0], Stub(), 1)
    with pytest.raises(GalSimRangeError, match="density"):
        VAECatalog.from_generator(Stub(), 3, 1, density=0)
    with pytest.raises(GalSimRangeError, match="magnitude of row 0"):
        VAECatalog(conditions(3, magnitude=40.0), Stub(), 1)
    with pytest.raises(GalSimValueError, match="no galaxy of this id.*99"):
        catalog.stamps([99])
    path = tmp_path / "other.fits"
    catalog.table.write(path)
    other = Stub()
    other.sha256 = "6" * 64
    with pytest.raises(GalSimValueError, match="SHA256"):
        VAECatalog.from_file(path, other)
    with pytest.raises(OSError):
        VAECatalog.from_file(tmp_path / "nothing.fits", other)


# Blends ------------------------------------------------------------------------------------------


def test_flux_of_each_isolated_image(catalog):
    """It is mag2counts of the filter's magnitude to 1 %, in all filters of seven surveys."""
    inside = samplers.DefaultSampling(24.0, max_number=2, min_number=2, max_shift=1.0)
    batch = draw(catalog, SURVEYS, inside, batch_size=2, add_noise="none")
    for survey in get_surveys(SURVEYS):
        result = batch[survey.name]
        for k, name in enumerate(survey.available_filters):
            for i, table in enumerate(result.catalog_list):
                want = mag2counts(np.array(table[f"{name}_ab"]), survey, name).value
                got = result.isolated_images[i, :, k].sum(axis=(1, 2))
                np.testing.assert_allclose(got, want, rtol=0.01)
                assert not table[f"not_drawn_{name}"].any()
        np.testing.assert_allclose(
            result.blend_images, result.isolated_images.sum(axis=1), rtol=1e-12
        )
    lsst, hsc = (batch[s].catalog_list[0] for s in ("LSST", "HSC"))
    assert (np.abs(lsst["i_ab"] - hsc["i_ab"]) > 1e-4).all()  # each survey has its own i


def wide_and_sharp():
    """COSMOS, and a survey of the same filter with the PSF and pixels of LSST i."""
    sharp, wide = get_surveys("COSMOS"), get_surveys("COSMOS")
    lsst = get_surveys("LSST")
    wide.name, wide.pixel_scale = "Wide", lsst.pixel_scale
    wide.get_filter("f814w").psf = lsst.get_filter("i").psf
    return wide, sharp


def degrade(image, sharp, wide, name, n):
    """An image of one survey as another would have seen it."""
    scales = [s.pixel_scale.to_value("arcsec") for s in (sharp, wide)]
    psfs = [
        galsim.Convolve(s.get_filter(b).psf, galsim.Pixel(scale))
        for s, b, scale in zip((sharp, wide), ("f814w", name), scales, strict=True)
    ]
    profile = galsim.InterpolatedImage(galsim.Image(image, scale=scales[0]))
    seen = galsim.Convolve(profile, galsim.Deconvolve(psfs[0]), psfs[1])
    return seen.drawImage(nx=n, ny=n, scale=scales[1], method="no_pixel").array


def test_the_same_galaxies_in_two_surveys(catalog):
    wide, sharp = wide_and_sharp()
    batch = draw(catalog, [wide, sharp], batch_size=2, add_noise="none", augment_data=True)
    for i in range(2):
        for j in range(len(batch["Wide"].catalog_list[i])):
            got, seen = (
                batch["Wide"].isolated_images[i, j, 0],
                batch["COSMOS"].isolated_images[i, j, 0],
            )
            again = degrade(seen, sharp, wide, "f814w", len(got))
            assert np.abs(again - got).max() < 2e-4 * got.max()


def test_lsst_and_hst_show_the_same_galaxies():
    """With the shipped weights: F814W, degraded to the PSF and pixels of LSST i, is nearly i."""
    generator = galsim_vae.GalaxyGenerator("candels", device="cpu")
    catalog = VAECatalog(conditions(12), generator, 2)
    lsst, sharp = get_surveys(["LSST", "COSMOS"])
    batch = draw(catalog, [lsst, sharp], batch_size=4, add_noise="none")
    correlations = []
    for i in range(4):
        for j in range(len(batch["LSST"].catalog_list[i])):
            got = batch["LSST"].isolated_images[i, j]
            seen = batch["COSMOS"].isolated_images[i, j, 0]
            again = degrade(seen, sharp, lsst, "i", got.shape[-1])
            correlations.append(np.corrcoef(again.ravel(), got[3].ravel())[0, 1])
    assert min(correlations) > 0.9995


def test_pixels_do_not_depend_on_njobs_or_batch_size(catalog):
    kwargs = {"augment_data": True, "seed": 3, "batch_size": 4}
    one = draw(catalog, ["LSST", "Euclid_VIS"], njobs=1, **kwargs)
    for njobs in (2, 4):
        other = draw(catalog, ["LSST", "Euclid_VIS"], njobs=njobs, **kwargs)
        for name in ("LSST", "Euclid_VIS"):
            np.testing.assert_array_equal(one[name].blend_images, other[name].blend_images)
            np.testing.assert_array_equal(one[name].isolated_images, other[name].isolated_images)
    twos = generate(catalog, **kwargs | {"batch_size": 2})  # and without the other survey
    images = np.concatenate([next(twos).blend_images, next(twos).blend_images])
    np.testing.assert_array_equal(images, one["LSST"].blend_images)


SCRIPT = """
import sys; sys.path[:0] = ["tests", "tests/blending"]
from test_blending import *
print(*fingerprints(VAECatalog(conditions(), Stub(), seed=5)))
"""


def fingerprints(catalog):
    """Of a sampler with a generator of its own, and of one that uses NumPy's global state."""
    chosen = [
        samplers.DefaultSampling(STAMP, seed=2),
        samplers.PairSampling(STAMP, seed=2, bright_cut=23),
    ]
    batches = [draw(catalog, sampler=s, augment_data=True, seed=11) for s in chosen]
    return [hashlib.sha256(batch.blend_images.tobytes()).hexdigest() for batch in batches]


def test_a_new_process_draws_the_same(catalog):
    command = [sys.executable, "-c", SCRIPT]
    new = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert fingerprints(catalog) == new.stdout.split()


def test_numpys_global_state_is_left_alone(catalog):
    np.random.seed(4)  # noqa: NPY002
    expected = np.random.uniform(size=3)  # noqa: NPY002
    np.random.seed(4)  # noqa: NPY002
    first = draw(catalog, sampler=samplers.PairSampling(STAMP, bright_cut=23))
    np.testing.assert_array_equal(np.random.uniform(size=3), expected)  # noqa: NPY002
    second = draw(catalog, sampler=samplers.PairSampling(STAMP, bright_cut=23))
    np.testing.assert_array_equal(first.blend_images, second.blend_images)
    other = draw(catalog, sampler=samplers.PairSampling(STAMP, bright_cut=23, seed=1))
    ids = [[list(table["id"]) for table in b.catalog_list] for b in (first, other)]
    assert ids[0] != ids[1]


def test_each_galaxy_has_an_angle_of_its_own(catalog):
    batch = draw(catalog, ["LSST", "COSMOS"], batch_size=6, augment_data=True)
    angles = [list(np.concatenate([t["btk_rotation"] for t in b.catalog_list])) for b in batch[:]]
    assert angles[0] == angles[1]
    assert len(set(angles[0])) == len(angles[0])
    assert 0 < min(angles[0]) < 120 < 240 < max(angles[0]) < 360


def test_rotation_and_shear_are_galsims(catalog):
    """The flux, rotation, shear and place of a galaxy, against GalSim's own drawing."""
    chosen = Chosen([3, 3], [0.0, 1.1], [0.0, -2.3], g1=[0.0, 0.1], g2=[0.0, -0.2])
    batch = draw(
        catalog, sampler=chosen, apply_shear=True, augment_data=True, add_noise="none", batch_size=1
    )
    survey = get_surveys("LSST")
    stamps = catalog.stamps([3])
    for j, row in enumerate(batch.catalog_list[0]):
        counts = mag2counts(float(row["r_ab"]), survey, "r").value
        galaxy = stamps.galaxy(0, "LSST_r", 30.0).withFlux(counts)
        galaxy = galaxy.rotate(row["btk_rotation"] * galsim.degrees).shear(
            g1=row["g1"], g2=row["g2"]
        )
        seen = galsim.Convolve(galaxy, survey.get_filter("r").psf).shift(row["ra"], row["dec"])
        truth = seen.drawImage(nx=120, ny=120, scale=0.2).array[30:90, 30:90]
        got = batch.isolated_images[0, j, 2]
        assert np.abs(got - truth).max() < 2e-4 * truth.max()
        peak = np.unravel_index(got.argmax(), got.shape)
        assert abs(peak[1] - row["x_peak"]) < 3 and abs(peak[0] - row["y_peak"]) < 3


def test_render_single_is_what_the_batch_has(catalog):
    generator = generate(catalog, add_noise="none", augment_data=True)
    batch, survey = next(generator), get_surveys("LSST")
    filt = survey.get_filter("i")
    image = generator.render_single(batch.catalog_list[1][0], filt, filt.psf, survey)
    np.testing.assert_allclose(image.array, batch.isolated_images[1, 0, 3], rtol=1e-6)
    assert image.scale == 0.2


def test_noise(catalog):
    """Galaxy and sky noise add up, have the right variance and know nothing of each other."""
    chosen = Chosen([int(np.argmin(catalog.table["r_ab"]))], [0.0], [0.0], stamp_size=6.0)
    images = {
        kind: draw(catalog, sampler=chosen, add_noise=kind, batch_size=30).blend_images[:, 2]
        for kind in ("all", "galaxy", "background", "none")
    }
    galaxy, sky = (images[kind] - images["none"] for kind in ("galaxy", "background"))
    np.testing.assert_allclose(images["all"], images["none"] + galaxy + sky, atol=1e-6)
    survey = get_surveys("LSST")
    level = mean_sky_level(survey, survey.get_filter("r")).to_value("electron")
    assert sky.var() == pytest.approx(level, rel=0.03)
    bright = images["none"] > 100
    pulls = galaxy[bright] / np.sqrt(images["none"][bright])
    assert pulls.std() == pytest.approx(1, abs=4 / np.sqrt(2 * len(pulls)))
    correlation = np.corrcoef(pulls, sky[bright])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(len(pulls))
    blends = sky.reshape(30, -1)
    assert np.abs(np.corrcoef(blends) - np.eye(30)).max() < 6 / np.sqrt(blends.shape[1])


SAMPLERS = {
    "DefaultSampling": {},
    "DefaultSamplingShear": {"shear": (0.02, -0.01)},
    "BasicSampling": {},
    "DensitySampling": {"density": 150},
    "PairSampling": {"bright_cut": 23},
    "RandomSquareSampling": {"max_number": 20},
    "FriendsOfFriendsSampling": {"max_number": 20, "link_distance": 4.0},
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(catalog, name):
    sampler = getattr(samplers, name)(STAMP, **SAMPLERS[name])
    batch = draw(catalog, sampler=sampler, apply_shear="Shear" in name)
    assert isinstance(batch, btk.blend_batch.BlendBatch) and batch.blend_images.all()
    table = catalog.table
    for blend, images in zip(batch.catalog_list, batch.isolated_images, strict=True):
        assert (np.abs(blend["ra"]) <= STAMP / 2).all()
        assert (images.sum(axis=(1, 2, 3)) > 0).sum() == len(blend)
        if name in ("RandomSquareSampling", "FriendsOfFriendsSampling") and len(blend) > 1:
            # The galaxies are apart as they are in the catalogue.
            rows = catalog.rows(np.asarray(blend["id"]))
            for axis in ("ra", "dec"):
                want = np.diff(np.asarray(table[axis])[rows])
                np.testing.assert_allclose(np.diff(blend[axis]), want, atol=1e-6)


def test_friends_of_friends_do_not_depend_on_pandas(catalog, monkeypatch):
    """It orders groups of one size in a way of its own."""

    def refuse(table):
        raise AssertionError("pandas")

    monkeypatch.setattr(Table, "to_pandas", refuse)
    chosen = samplers.FriendsOfFriendsSampling(STAMP, max_number=20, link_distance=4.0)
    assert draw(catalog, sampler=chosen).blend_images.any()


def sky(batch):
    """The noise of a batch that was drawn with that of the sky alone."""
    return batch.blend_images - batch.isolated_images.sum(axis=1)


def test_another_try_is_another_blend(catalog):
    """Else a sampler that uses NumPy's global state would fail for ever."""
    states = []

    class FailsOnce(samplers.DefaultSampling):
        def __call__(self, table):
            states.append(np.random.uniform())  # noqa: NPY002
            if len(states) == 2:
                raise ValueError("does not fit")
            return super().__call__(table)

    generator = generate(catalog, sampler=FailsOnce(STAMP), add_noise="background")
    with pytest.raises(ValueError, match="does not fit"):
        next(generator)
    again = sky(next(generator))
    assert len(set(states)) == len(states) == 6
    # The noise has the numbers of the blends, 2 to 5.
    first = sky(draw(catalog, add_noise="background", batch_size=6))
    np.testing.assert_allclose(again, first[2:], atol=1e-6)


def test_sky_noise_of_each_filter_and_survey_is_its_own(catalog):
    batch = draw(catalog, ["LSST", "HSC"], add_noise="background", batch_size=2)
    images = [sky(batch[name])[:, :, :60, :60].reshape(-1, 3600) for name in ("LSST", "HSC")]
    correlations = np.corrcoef(np.concatenate(images))
    assert np.abs(correlations - np.eye(22)).max() < 6 / np.sqrt(3600)


def test_empty_blends(catalog):
    """Where the sampler allows them they are images of the sky."""
    sampler = samplers.DensitySampling(STAMP, density=1e-6)
    batch = draw(catalog, sampler=sampler, njobs=2)
    assert not batch.isolated_images.any() and batch.blend_images.std() > 0
    assert [len(table) for table in batch.catalog_list] == [0] * 4


def test_batches_are_saved_and_loaded(tmp_path, catalog):
    batch = draw(catalog)
    batch.save(str(tmp_path))
    again = btk.blend_batch.BlendBatch.load(str(tmp_path))
    np.testing.assert_array_equal(again.blend_images, batch.blend_images)
    assert again.catalog_list[0].colnames == batch.catalog_list[0].colnames


def test_deblenders_and_metrics(catalog):
    """BTK's own run on our batches as they are."""
    generator = generate(catalog, ["LSST"])
    sky = mean_sky_level("LSST", "i").to_value("electron")
    batch, results = next(
        btk.deblend.DeblendGenerator(
            [
                btk.deblend.SepSingleBand(max_n_sources=20, use_band=3),
                btk.deblend.SepMultiBand(max_n_sources=20),
                btk.deblend.PeakLocalMax(max_n_sources=20, sky_level=sky, use_band=3),
            ],
            generator,
        )
    )
    matcher = btk.match.PixelHungarianMatcher(pixel_max_sep=5.0)
    found = results["SepSingleBand"]
    match = matcher(batch.catalog_list, found.catalog_list)
    counts = match.tp, match.t, match.p
    for metric in (btk.metrics.detection.Precision, btk.metrics.detection.Recall):
        assert 0 < metric(4)(*counts) <= 1
    assert btk.metrics.detection.Efficiency(4)(*counts).sum() == 4

    truth, seen = (
        match.match_true_arrays(batch.isolated_images[:, :, 3]),
        match.match_pred_arrays(found.deblended_images[:, :, 0]),
    )
    for metric in ("MSE", "PSNR", "StructSim"):
        assert np.isfinite(getattr(btk.metrics.reconstruction, metric)(4)(truth, seen))
    masks = btk.metrics.utils.get_segmentation(batch.isolated_images[:, :, 3], sky)
    masks = match.match_true_arrays(masks).astype(bool)
    pred = match.match_pred_arrays(found.segmentation).astype(bool)
    assert 0 < btk.metrics.segmentation.IoU(4)(masks, pred) <= 1
    assert len(results) == 3

    centres = np.zeros((4, 3, 2))
    for i, table in enumerate(batch.catalog_list):
        centres[i, : len(table)] = np.transpose([table["x_peak"] + 1, table["y_peak"] + 1])
    isolated = batch.isolated_images[:, :, 3]
    shapes = btk.measure.get_ksb_ellipticity(isolated, centres, batch.psf[3], 0.2)
    assert np.isfinite(shapes[:, :2]).all()
    blended = btk.measure.get_blendedness(batch.isolated_images[:, :, 3])
    assert ((blended >= 0) & (blended <= 1)).all()


def test_positions_in_pixels(catalog):
    batch = draw(catalog, "DES", Chosen([1], [1.0], [-2.0]), batch_size=1)
    wcs = make_wcs(0.2637, (45, 45))
    x, y = wcs.world_to_pixel_values(1 / 3600, -2 / 3600)
    assert (batch.catalog_list[0]["x_peak"][0], batch.catalog_list[0]["y_peak"][0]) == (x, y)
    centroid = galsim.hsm.FindAdaptiveMom(
        galsim.Image(batch.isolated_images[0, 0, 2])
    ).moments_centroid
    assert abs(centroid.x - 1 - x) < 0.1 and abs(centroid.y - 1 - y) < 0.1


def test_samplers_may_change_magnitudes(catalog):
    """As with CatSim: what the blend's table says is drawn, in every survey."""
    plain = Chosen([4], [0.0], [0.0])
    bright = Chosen([4], [0.0], [0.0], r_ab=catalog.table["r_ab"][4] - 1)
    kwargs = {"surveys": ["LSST", "HSC"], "batch_size": 1, "add_noise": "none"}
    one, other = (draw(catalog, sampler=sampler, **kwargs) for sampler in (plain, bright))
    for survey, k in (("LSST", 2), ("HSC", 1)):
        ratio = other[survey].blend_images.sum(axis=(2, 3)) / one[survey].blend_images.sum(
            axis=(2, 3)
        )
        assert ratio[0, k] == pytest.approx(10**0.4, rel=1e-3)
        assert ratio[0, 0] == pytest.approx(1)


def test_bad_input(catalog):
    with pytest.raises(GalSimValueError, match="Roman_WFI_Deep.*F146.*F184.*F213"):
        generate(catalog, "Roman_WFI_Deep")
    with pytest.raises(GalSimValueError, match="HE"):
        generate(catalog, "Euclid_NISP")
    with pytest.raises(GalSimValueError, match="same name"):
        generate(catalog, [get_surveys("LSST"), get_surveys("LSST")])
    with pytest.raises(GalSimValueError, match="class"):
        generate(btk.catalog.CatsimCatalog(catalog.table))
    with pytest.raises(GalSimRangeError, match="njobs"):
        generate(catalog, njobs=0)
    with pytest.raises(ValueError, match="add_noise"):
        generate(catalog, add_noise="some")
    with pytest.raises(GalSimRangeError, match="RandomSquareSampling.*max_number"):
        draw(catalog, sampler=samplers.RandomSquareSampling(24.0, max_number=2))
    none = samplers.DefaultSampling(STAMP, max_mag=10)
    with pytest.raises(GalSimError, match="DefaultSampling found no galaxy.*magnitude cuts"):
        draw(catalog, sampler=none)
    none = samplers.RandomSquareSampling(STAMP, max_mag=10)
    with pytest.raises(GalSimError, match="RandomSquareSampling found no galaxy"):
        draw(catalog, sampler=none)
    few = Chosen([], [], [])
    few.min_number = 1
    with pytest.raises(GalSimRangeError, match="Chosen has too many or too few"):
        draw(catalog, sampler=few)
    with pytest.raises(GalSimError, match="g1 and g2"):
        draw(catalog, apply_shear=True)
    large = VAECatalog(conditions(3, half_light_radius=2.5), Stub(), 1)
    with pytest.raises(GalSimRangeError, match="larger than the image"):
        draw(large, sampler=Chosen([0], [0.0], [0.0], stamp_size=5.0))
    with pytest.raises(GalSimValueError, match=r"lacks columns.*id"):
        draw(catalog, sampler=Narrow(STAMP, 2))


@pytest.mark.parametrize(
    "name, value", [("r_ab", np.nan), ("r_ab", -np.inf), ("ra", np.nan), ("g2", np.inf)]
)
def test_what_is_no_number_is_named(catalog, name, value):
    """The column, the galaxy and the value, where a sampler has lost one."""
    columns = {"g1": [0.0, 0.0], "g2": [0.0, 0.0], name: [20.0 if name == "r_ab" else 0.0, value]}
    chosen = Chosen([3, 7], [0.0, 1.0], [0.0, 1.0], **columns)
    with pytest.raises(GalSimValueError, match=f"Column {name}.*galaxy id 7.*{value}"):
        draw(catalog, sampler=chosen, apply_shear=True)


def test_a_masked_magnitude_is_named(catalog):
    class Masked(Chosen):
        def __call__(self, table):
            blend = Table(super().__call__(table), masked=True)
            blend["i_ab"].mask = [False, True]
            return blend

    with pytest.raises(GalSimValueError, match="Column i_ab.*galaxy id 5"):
        draw(catalog, sampler=Masked([2, 5], [0.0, 1.0], [0.0, 1.0]))


def test_light_without_end_is_refused_and_no_light_is_not_drawn(catalog):
    with pytest.raises(GalSimRangeError, match="Galaxy id 2.*LSST r.*-90"):
        draw(catalog, sampler=Chosen([2], [0.0], [0.0], r_ab=-90.0))
    dark = Chosen([2], [0.0], [0.0], r_ab=np.inf)
    batch = draw(catalog, ["LSST", "HSC"], dark, batch_size=1, add_noise="none")
    for survey, k in (("LSST", 2), ("HSC", 1)):
        assert not batch[survey].isolated_images[0, 0, k].any()
        assert batch[survey].isolated_images[0, 0, 0].any()
        assert batch[survey].catalog_list[0]["not_drawn_r"][0] == 1
        assert np.isfinite(batch[survey].blend_images).all()


def test_a_galaxy_that_is_dark_in_a_band(monkeypatch):
    """Its magnitude is inf in every survey, and its image empty, not NaN."""
    stub = Stub()
    sample = stub.sample

    def without_blue_light(*args, **kwargs):
        stamps = sample(*args, **kwargs)
        stamps.array[:, stamps.bands.index("F435W")] = 0
        return stamps

    monkeypatch.setattr(stub, "sample", without_blue_light)
    catalog = VAECatalog(conditions(3), stub, seed=1)
    batch = draw(catalog, ["LSST", "CFHTLS"], Chosen([0], [0.0], [0.0]), batch_size=1)
    for survey in ("LSST", "CFHTLS"):
        table = batch[survey].catalog_list[0]
        assert not np.isnan([table[name][0] for name in ("u_ab", "g_ab", "r_ab")]).any()
        assert np.isfinite(batch[survey].blend_images).all()


def test_the_demo_runs(tmp_path, monkeypatch, caplog):
    """Short: the picture, the table and a line of metrics."""
    path = ROOT / "examples" / "demo_btk.py"
    demo = runpy.run_path(str(path))
    small = {"NOBJECTS": 100, "NBATCHES": 2, "BATCH_SIZE": 2}
    demo["main"].__globals__.update(small)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["demo_btk.py"])
    with caplog.at_level(logging.INFO):
        demo["main"]()
    assert (tmp_path / demo["OUTPUT"]).stat().st_size > 50_000
    assert "VAE, SepSingleBand: precision" in caplog.text
    again = VAECatalog.from_file(demo["GALAXIES"])
    assert len(again.table) == 100 and again.table.meta["WEIGHTS"] == "candels"


class Narrow(samplers.DefaultSampling):
    def __call__(self, table):
        return super().__call__(table)["ra", "dec", "i_ab"]
