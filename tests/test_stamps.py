"""Stamps: magnitudes, achromatic and chromatic galaxies, CANDELS images."""

import dataclasses
import pickle

import galsim
import numpy as np
import pytest
from astropy import units as u
from stub_generator import TABLE

from galsim_vae import Stamps, VAEGalaxy
from galsim_vae.bands import (
    BANDS,
    CANDELS_NOISE,
    ZEROPOINTS,
    hst_bandpass,
    hst_psf,
)
from galsim_vae.filters import find_band, find_bandpass
from galsim_vae.stamps import in_counts

VIS = galsim.Bandpass("0.7", "nm", blue_limit=550, red_limit=900)


def ratio(stamps, band):
    """f_nu over that of F814W of each galaxy."""
    return stamps.array[:, BANDS.index(band)].sum(axis=(1, 2), dtype=float)


def test_shapes_and_scale(stamps):
    assert len(stamps) == 4
    assert stamps.array.shape == (4, 5, 64, 64)
    np.testing.assert_allclose(stamps.pixel_scale, np.array(TABLE["half_light_radius"]) / 6)


def test_table_is_what_was_asked_for(stamps):
    table = stamps.table
    assert table["half_light_radius"].unit == u.arcsec
    for name, column in TABLE.items():
        np.testing.assert_allclose(getattr(table[name], "value", table[name]), column, atol=1e-12)


def test_slices(stamps):
    part = stamps[1:3]
    assert len(part) == 2
    assert part.galaxy(0) == stamps.galaxy(1)
    assert stamps[np.array([3])].galaxy(0) == stamps.galaxy(-1)
    assert pickle.loads(pickle.dumps(part)).galaxy(1) == stamps.galaxy(2)


@pytest.mark.parametrize(
    "use",
    [list, enumerate, np.asarray, np.array, iter, reversed, lambda s: s[0], lambda s: s[-1],
     lambda s: np.mean(s), lambda s: [*s], lambda s: s[np.int64(1)]],
)  # fmt: skip
def test_stamps_are_no_sequence_and_say_what_to_write(stamps, use):
    with pytest.raises(TypeError, match=r"stamps\.galaxy\(i, band, zeropoint\).*stamps\.array"):
        list(use(stamps))


@pytest.mark.parametrize("band", BANDS)
def test_flux_in_a_band(stamps, band):
    for i, magnitude in enumerate(TABLE["magnitude"]):
        for zeropoint in (None, 30.0):
            galaxy = stamps.galaxy(i, band, zeropoint)
            counts = 10 ** (-0.4 * (magnitude - (zeropoint or ZEROPOINTS[band])))
            assert galaxy.flux == pytest.approx(counts * ratio(stamps, band)[i], rel=1e-6)
            assert galaxy.redshift == TABLE["redshift"][i]
            assert isinstance(galaxy, VAEGalaxy)
    np.testing.assert_allclose(
        stamps.magnitude(band), TABLE["magnitude"] - 2.5 * np.log10(ratio(stamps, band)), rtol=1e-9
    )


@pytest.mark.parametrize("zeropoint", [np.nan, np.inf])
def test_zeropoint_must_be_finite(stamps, zeropoint):
    with pytest.raises(galsim.GalSimValueError, match="zeropoint must be a finite"):
        stamps.galaxy(0, zeropoint=zeropoint)
    with pytest.raises(galsim.GalSimValueError, match="zeropoint must be a finite"):
        in_counts(stamps.chromatic(0), VIS, zeropoint)


def test_row_must_be_a_whole_number(stamps):
    with pytest.raises(TypeError, match="integer"):
        stamps.galaxy(0.5)


@pytest.mark.parametrize("band", ["LSST_g", "LSST_r.dat", "LSST_y", VIS])
def test_flux_in_another_filter(stamps, band):
    """Between those of the bands about it, and the same as the chromatic object's."""
    magnitude = stamps.magnitude(band)
    bandpass = find_bandpass(band).withZeropoint("AB")
    for i in range(len(stamps)):
        galaxy = stamps.galaxy(i, band, zeropoint=27.0)
        assert galaxy.flux == pytest.approx(10 ** (-0.4 * (magnitude[i] - 27)), rel=1e-6)
        chromatic = stamps.chromatic(i)
        assert chromatic.calculateMagnitude(bandpass) == pytest.approx(magnitude[i], abs=1e-3)


@pytest.mark.parametrize("band", ["LSST_g", "LSST_y", VIS])
def test_image_through_another_filter_is_the_chromatic_one(stamps, band):
    bandpass = find_bandpass(band).withZeropoint("AB")
    psf = galsim.Gaussian(fwhm=0.2)
    chromatic = galsim.Convolve(stamps.chromatic(2), psf)
    achromatic = galsim.Convolve(stamps.galaxy(2, band, zeropoint=bandpass.zeropoint), psf)
    a = chromatic.drawImage(bandpass, nx=64, ny=64, scale=0.1).array
    b = achromatic.drawImage(nx=64, ny=64, scale=0.1).array
    np.testing.assert_allclose(a, b, atol=1e-3 * b.max())


@pytest.mark.parametrize("ratios", [(1e-3, 0.03, 1, 17, 44), (0, 1, 1, 0, 1), (9, 0, 1, 8, 0)])
def test_extreme_colours_and_dark_bands(stamps, ratios):
    """An elliptical at z = 2, and bands with no flux at all: nothing is negative."""
    scale = np.array(ratios) / stamps.array.sum(axis=(2, 3), dtype=float)
    array = (stamps.array * scale[:, :, None, None]).astype(np.float32)
    extreme = Stamps(array, stamps.conditions, stamps.jacobian, stamps.offset)
    for band in ("LSST_g", "LSST_r", "LSST_i", "LSST_z", "LSST_y", VIS):
        magnitude = extreme.magnitude(band)
        assert np.isfinite(magnitude).all()
        galaxy = extreme.galaxy(0, band, zeropoint=27.0)
        assert galaxy.flux == pytest.approx(10 ** (-0.4 * (magnitude[0] - 27)), rel=1e-6)
        assert galaxy.image.array.min() >= 0
        bandpass = find_bandpass(band)
        assert all(part.sed.calculateFlux(bandpass) >= 0 for part in extreme.chromatic(0).obj_list)
        for galaxy in (extreme.chromatic(0), extreme.chromatic(0, bandpass=bandpass)):
            chromatic = galaxy.calculateMagnitude(bandpass.withZeropoint("AB"))
            assert chromatic == pytest.approx(magnitude[0], abs=1e-3)
    for band, flux in zip(BANDS, ratios, strict=True):
        with np.errstate(divide="ignore"):
            magnitude = TABLE["magnitude"][1] - 2.5 * np.log10(flux)
        assert extreme.magnitude(band)[1] == pytest.approx(magnitude)


def test_filter_without_a_zeropoint(stamps):
    with pytest.raises(galsim.GalSimIncompatibleValuesError, match="LSST_r"):
        stamps.galaxy(0, "LSST_r")


def test_bad_band_and_row(stamps):
    with pytest.raises(galsim.GalSimValueError, match="F999W"):
        stamps.galaxy(0, "F999W")
    with pytest.raises(galsim.GalSimRangeError, match="LSST_u"):
        stamps.galaxy(0, "LSST_u", zeropoint=27.0)
    for call in (stamps.galaxy, stamps.chromatic):
        with pytest.raises(galsim.GalSimIndexError, match="4 stamps"):
            call(4)


def test_gsparams_are_passed_on(stamps):
    params = galsim.GSParams(folding_threshold=1e-3)
    assert stamps.galaxy(0, gsparams=params).gsparams == params
    assert stamps.chromatic(0, gsparams=params).gsparams == params


@pytest.mark.parametrize("band", BANDS)
def test_chromatic_magnitude_is_the_bands(stamps, band):
    bandpass = hst_bandpass(band)
    for i in range(len(stamps)):
        magnitude = stamps.chromatic(i).calculateMagnitude(bandpass)
        assert magnitude == pytest.approx(stamps.magnitude(band)[i], abs=1e-3)


@pytest.mark.parametrize("band", BANDS)
def test_chromatic_draws_the_band(stamps, band):
    """Drawn through an HST band: that band's flux to 1e-3, and nearly its image.

    The ends of the band look partly like the next bands, here by 0.4 % of the peak.
    """
    bandpass = hst_bandpass(band)
    psf = galsim.Gaussian(fwhm=0.2)
    chromatic = galsim.Convolve(stamps.chromatic(2), psf)
    unit = 10 ** (0.4 * (bandpass.zeropoint - ZEROPOINTS[band]))
    achromatic = galsim.Convolve(stamps.galaxy(2, band) * unit, psf)
    a = chromatic.drawImage(bandpass, nx=96, ny=96, scale=0.1).array
    b = achromatic.drawImage(nx=96, ny=96, scale=0.1).array
    assert a.sum() == pytest.approx(b.sum(), rel=1e-3)
    np.testing.assert_allclose(a, b, atol=4e-3 * b.max())


def test_chromatic_redshift_is_applied_once(stamps):
    bandpass = hst_bandpass("F606W")
    for i, redshift in enumerate(TABLE["redshift"]):
        galaxy = stamps.chromatic(i)
        assert galaxy.redshift == redshift
        again = galaxy._atRedshift(redshift)
        assert again.redshift == redshift
        assert again.calculateFlux(bandpass) == galaxy.calculateFlux(bandpass)


TRANSFORMS = {
    "shear": lambda galaxy: galaxy.shear(g1=0.1, g2=0.05),
    "rotate": lambda galaxy: galaxy.rotate(0.4 * galsim.radians),
    "shift": lambda galaxy: galaxy.shift(0.1, 0.07),
    "dilate": lambda galaxy: galaxy.dilate(1.3),
    "lens": lambda galaxy: galaxy.lens(0.1, 0.02, 1.1),
    "withFlux": lambda galaxy: galaxy.withFlux(7.0, VIS),
    "scale": lambda galaxy: galaxy * 2,
    "redshift": lambda galaxy: galaxy._atRedshift(galaxy.redshift),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("band", ["LSST_g", "LSST_y", VIS])
def test_chromatic_for_one_bandpass_is_one_profile(stamps, band, transform):
    """With an achromatic PSF the image is that of the sum, after what GalSim's config does."""
    bandpass, psf = find_bandpass(band), galsim.Gaussian(fwhm=0.2)

    def draw(galaxy):
        image = galsim.Convolve(transform(galaxy), psf)
        return image.drawImage(bandpass, nx=64, ny=64, scale=0.1, dtype=float).array

    for i in (0, 2):
        whole, one = stamps.chromatic(i), stamps.chromatic(i, bandpass=bandpass)
        assert len(whole.obj_list) == 5 and len(one.obj_list) == 1
        assert one.redshift == whole.redshift
        truth = draw(whole)
        np.testing.assert_allclose(draw(one), truth, rtol=0, atol=1e-6 * truth.max())


def test_one_profile_is_not_enough_for_another_bandpass_or_a_chromatic_psf(stamps):
    """Its colours are those of the whole galaxy; its colour gradients are lost."""
    r, z = (find_bandpass(f"LSST_{name}") for name in "rz")
    psf = galsim.Gaussian(fwhm=0.2)
    chromatic_psf = galsim.ChromaticObject(psf).dilate(lambda wave: (wave / 600) ** 3)
    whole, one = stamps.chromatic(0), stamps.chromatic(0, bandpass=r)
    for kernel, bandpass in ((psf, z), (chromatic_psf, r)):
        a, b = (
            galsim.Convolve(galaxy, kernel).drawImage(bandpass, nx=64, ny=64, scale=0.1).array
            for galaxy in (whole, one)
        )
        assert a.sum() == pytest.approx(b.sum(), rel=1e-3)
        assert np.abs(a - b).max() > 1e-4 * a.max()


def test_sum_through_a_chromatic_psf_is_the_integral_over_wavelength(stamps):
    bandpass = galsim.Bandpass("1", "nm", blue_limit=550, red_limit=650)
    psf = galsim.ChromaticObject(galsim.Gaussian(fwhm=0.3)).dilate(lambda wave: wave / 600)
    galaxy = galsim.Convolve(stamps.chromatic(0), psf)
    drawn = galaxy.drawImage(bandpass, nx=48, ny=48, scale=0.2, dtype=float).array
    waves, step = np.linspace(550, 650, 17, retstep=True)
    weights = np.array([0.5, *[1.0] * 15, 0.5]) * step
    exact = sum(
        weight * galaxy.evaluateAtWavelength(wave).drawImage(
            nx=48, ny=48, scale=0.2, dtype=float).array
        for wave, weight in zip(waves, weights, strict=True)
    )  # fmt: skip
    np.testing.assert_allclose(drawn, exact, rtol=0, atol=1e-3 * exact.max())


def test_chromatic_transforms_and_pickles(stamps):
    galaxy = stamps.chromatic(0)
    other = pickle.loads(pickle.dumps(galaxy.shear(g1=0.02, g2=0.01)))
    bandpass = hst_bandpass("F814W")
    assert other.calculateFlux(bandpass) == pytest.approx(galaxy.calculateFlux(bandpass))


def test_chromatic_out_of_reach(stamps):
    nisp_h = galsim.Bandpass("0.7", "nm", blue_limit=1522, red_limit=2021)
    with pytest.raises(galsim.GalSimRangeError):
        stamps.chromatic(0).drawImage(nisp_h, nx=16, ny=16, scale=0.2)
    with pytest.raises(galsim.GalSimRangeError):
        stamps.chromatic(0, bandpass=nisp_h)


def test_as_candels(stamps):
    native = stamps.as_candels(galsim.BaseDeviate(8))
    size = native.shape[-1]
    assert native.shape == (4, 5, size, size) and size % 2 == 0
    assert native.dtype == np.float32
    np.testing.assert_array_equal(native, stamps.as_candels(galsim.BaseDeviate(8)))
    for k, band in enumerate(BANDS):
        sigma = CANDELS_NOISE[band]
        # Corners hold noise alone.
        assert native[:, k, :12, :12].std() == pytest.approx(sigma, rel=0.1)
        image = galsim.Image(size, size, scale=0.06)
        model = galsim.Convolve(stamps.galaxy(0, band), hst_psf(band))
        residual = native[0, k] - model.drawImage(image, method="no_pixel").array
        assert residual.std() == pytest.approx(sigma, rel=0.02)


def test_as_candels_holds_the_stamp(stamps):
    """The largest galaxy, whichever way it lies, loses no flux at the edge."""
    native = stamps[:1].as_candels(galsim.BaseDeviate(1))[0, 2]
    noise = CANDELS_NOISE["F814W"] * native.shape[-1]
    assert native.sum() == pytest.approx(stamps.galaxy(0).flux, abs=5 * noise, rel=0.01)


@pytest.mark.parametrize("renderer", ["galsim", "batch"])
def test_as_candels_holds_the_ellipse_of_round_stamps(stamps, renderer):
    """A stamp that ends in a circle is an ellipse on the sky, narrower than the stamp's corners."""
    square = dataclasses.replace(
        stamps[:1], jacobian=0.05 * (galsim.Shear(g1=0.5, g2=0.5).getMatrix())[None]
    )
    axis = np.arange(64) - 31.5
    inside = np.hypot(axis, axis[:, None]) < 32
    round_stamp = dataclasses.replace(square, array=square.array * inside)
    sizes = [
        one.as_candels(galsim.BaseDeviate(1), renderer).shape[-1] for one in (square, round_stamp)
    ]
    jacobian = square.jacobian[0]
    ellipse = 32 * np.sqrt((jacobian @ jacobian.T).diagonal().max()) / 0.06
    assert 2 * ellipse < sizes[1] - 30 <= 2 * ellipse + 4 < sizes[0] - 30
    image = round_stamp.as_candels(galsim.BaseDeviate(1), renderer)[0, 2]
    noise = CANDELS_NOISE["F814W"] * image.shape[-1]
    assert image.sum() == pytest.approx(round_stamp.galaxy(0).flux, abs=5 * noise, rel=0.01)


def test_galaxies_of_two_redshifts_draw_in_one_sum(stamps):
    """Their spectra are in the observer's frame: the image is that of each, added up."""
    psf, bandpass = galsim.Gaussian(fwhm=0.5), find_bandpass("LSST_r")
    chromatic_psf = galsim.ChromaticObject(psf).dilate(lambda wave: (wave / 600) ** 0.3)
    first, second = stamps.chromatic(0), stamps.chromatic(2).shift(0.5, 0)
    vega = galsim.SED("vega.txt", "nm", "flambda")
    star = galsim.DeltaFunction() * vega.withMagnitude(22, bandpass)

    def draw(galaxy, kernel):
        image = galsim.Convolve(galaxy, kernel)
        return image.drawImage(bandpass, nx=48, ny=48, scale=0.2, dtype=float).array

    for kernel in (psf, chromatic_psf):
        parts = [draw(galaxy, kernel) for galaxy in (first, second, star)]
        turned = galsim.Add([second, star, first]).rotate(0 * galsim.radians)
        for both in (galsim.Add([first, second, star]), star + first + second, turned):
            np.testing.assert_allclose(
                draw(both, kernel), sum(parts), rtol=0, atol=1e-4 * sum(parts).max()
            )
    pair = galsim.Add(first, second)
    magnitudes = stamps.magnitude("LSST_r")[[0, 2]]
    assert pair.calculateMagnitude(bandpass) == pytest.approx(
        -2.5 * np.log10((10 ** (-0.4 * magnitudes)).sum()), abs=2e-3
    )


def test_truth(stamps):
    for i in range(len(stamps)):
        for galaxy in (stamps.galaxy(i, "H158", 26.0), stamps.chromatic(i)):
            assert galaxy.truth == stamps.truth(i)
            assert galaxy.magnitude == TABLE["magnitude"][i]
            assert galaxy.half_light_radius == TABLE["half_light_radius"][i]
            assert galaxy.ellipticity.g1 == pytest.approx(TABLE["g1"][i], abs=1e-12)
            assert galaxy.ellipticity.g2 == pytest.approx(TABLE["g2"][i], abs=1e-12)
            assert galaxy.redshift == TABLE["redshift"][i]
            assert galaxy.id == stamps.conditions.id[i]
            for band in (*BANDS, "LSST_g", "Euclid_VIS", VIS):
                expected = stamps.magnitude(band)[i]
                assert galaxy.magnitude_in(band) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_truth_of_a_transformed_chromatic_galaxy_is_kept_or_absent(stamps, transform):
    galaxy = stamps.chromatic(1)
    moved = transform(galaxy)
    assert moved.redshift == galaxy.redshift == TABLE["redshift"][1]
    for name in ("magnitude", "half_light_radius", "ellipticity", "id"):
        assert getattr(moved, name, None) in (None, getattr(galaxy, name))


@pytest.mark.parametrize("use", ["magnitude", "image", "galaxy", "weights", "chromatic"])
def test_u_is_refused_and_extrapolated_with_a_warning(stamps, use):
    u = find_bandpass("LSST_u")
    call = {
        "magnitude": lambda **k: stamps.magnitude("LSST_u", **k),
        "image": lambda **k: stamps.image(0, "LSST_u", **k),
        "galaxy": lambda **k: stamps.galaxy(0, "LSST_u", 27.0, **k),
        "weights": lambda **k: stamps.weights("LSST_u", 27.0, **k),
        "chromatic": lambda **k: stamps.chromatic(0, bandpass=u, **k),
    }[use]
    with pytest.raises(galsim.GalSimRangeError, match=r"LSST_u.*extrapolate=True"):
        call()
    with pytest.warns(galsim.GalSimWarning, match="blueward of F435W"):
        found = call(extrapolate=True)
    with pytest.warns(galsim.GalSimWarning):
        flux = 10 ** (-0.4 * (stamps.magnitude("LSST_u", extrapolate=True) - 27))
    if use == "galaxy":
        assert found.flux == pytest.approx(flux[0], rel=1e-6)
    if use == "chromatic":
        magnitude = found.calculateMagnitude(u.withZeropoint("AB"))
        assert magnitude == pytest.approx(27 - 2.5 * np.log10(flux[0]), abs=2e-3)
        whole = stamps.chromatic(0, extrapolate=True)
        assert whole.calculateMagnitude(u) == pytest.approx(magnitude, abs=2e-3)


@pytest.mark.parametrize("name", ["lsst_r", "Euclid_VIS", "VIS", "h158", "Roman_F158", "f606w"])
def test_bands_by_the_names_people_use(stamps, name):
    band = find_band(name)
    assert stamps.galaxy(0, name, 26.0) == stamps.galaxy(0, band, 26.0)
    np.testing.assert_array_equal(stamps.magnitude(name), stamps.magnitude(band))
    np.testing.assert_array_equal(stamps.weights(name, 26.0), stamps.weights(band, 26.0))


def test_render_takes_u_by_the_same_rule(stamps):
    u = {"bands": "LSST_u", "zeropoint": 27.0, "device": "cpu"}
    psf = galsim.Gaussian(fwhm=0.7)
    with pytest.raises(galsim.GalSimRangeError, match=r"LSST_u.*extrapolate=True"):
        stamps.render(psf, 64, 64, 0.2, **u)
    with pytest.warns(galsim.GalSimWarning, match="blueward of F435W"):
        images = stamps.render(psf, 64, 64, 0.2, extrapolate=True, **u)
        galaxy = stamps.galaxy(2, "LSST_u", 27.0, extrapolate=True)
    drawn = galsim.Convolve(galaxy, psf).drawImage(nx=64, ny=64, scale=0.2).array
    np.testing.assert_allclose(images[2, 0], drawn, rtol=0, atol=3e-4 * drawn.max())


def test_as_candels_refuses_what_takes_too_much_memory(stamps):
    large = dataclasses.replace(stamps, jacobian=1000 * stamps.jacobian)
    with pytest.raises(galsim.GalSimRangeError, match=r"draw fewer galaxies at a time \(0 fit\)"):
        large.as_candels(galsim.BaseDeviate(1))
