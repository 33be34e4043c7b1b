"""Images of galaxies: the plugin adds no bias of its own, and scenes hold their galaxies."""

import galsim
import numpy as np
import pytest
from direct_sum import direct_sum
from shear_setup import config, galaxies

import galsim_vae
from galsim_vae import shear
from galsim_vae.shear.bias import make_table
from galsim_vae.shear.chunk import run_chunk
from galsim_vae.shear.estimators import cut_out, detect, psf_image
from galsim_vae.shear.scenes import compose, draw_stamps
from galsim_vae.shear.survey import survey_view
from galsim_vae.shear.twins import in_one_band

SETUPS = {"LSST": ("LSST", "i"), "Euclid": ("Euclid_VIS", "IE")}


def weighted_shape(image, view, width):
    """Distortion of an image of an odd width by moments with a round Gaussian weight."""
    y, x = view.scale * (np.mgrid[: len(image), : len(image)] - len(image) // 2)
    weight = np.exp(-(x**2 + y**2) / (2 * width**2))
    xx, yy, xy = (np.sum(weight * image * a) for a in (x * x, y * y, x * y))
    return np.array([xx - yy, 2 * xy]) / (xx + yy)


@pytest.mark.parametrize("survey", SETUPS)
def test_drawn_galaxies_respond_to_shear_as_the_exact_transform_does(survey):
    """|delta m| <= 1e-4, for decoded galaxies, through GalSim and through the batches."""
    generator = galsim_vae.GalaxyGenerator("candels", device="cpu")
    radii, g, size = np.array([0.2, 0.4]), 0.05, 49
    table = {"magnitude": np.full(2, 22.0), "half_light_radius": radii}
    view = survey_view(*SETUPS[survey])
    stamps = in_one_band(generator.sample(table, galsim.BaseDeviate(4)), view.band)
    # The direct sum wants five bands, and draws the reference.
    five = np.repeat(stamps.array, 5, axis=1)
    five = galsim_vae.Stamps(five, stamps.conditions, stamps.jacobian, stamps.offset)
    for i, radius in enumerate(radii):
        width = np.hypot(radius, 0.5 * view.fwhm)
        responses = []
        for name in ("exact", "galsim", "batch"):
            shapes_of_signs = []
            for push in (np.array([g, -g]), np.array([-g, g])):
                if name == "exact":
                    # In a shorter period the wings of an Airy pattern wrap round: 1e-4 at 3 images.
                    psf, period = survey_view(*SETUPS[survey]).psf, 6 * size * view.scale
                    image = direct_sum(
                        five, i, psf, size, size, view.scale, period, push, (0, 0), 0.0
                    )
                else:
                    one, here = stamps[np.array([i])], np.zeros((1, 2))
                    image = draw_stamps(one, view, size, push[None], 0.0, here, name)[0]
                    image = image.astype(float)
                shapes_of_signs.append(weighted_shape(image, view, width))
            responses.append(shapes_of_signs[0] - shapes_of_signs[1])
        # They answer with a twentieth at least of what round ones without a PSF would, 4 g.
        assert (np.abs(responses[0]) > 0.2 * g).all()
        delta = np.array(responses[1:]) / responses[0] - 1
        assert np.abs(delta).max() <= 1e-4, (i, delta)


def test_renderers_agree():
    view, stamps = survey_view("LSST", "i", psf_shear=(0.02, 0.01)), galaxies(3)
    one, rng = in_one_band(stamps, view.band), np.random.default_rng(2)
    place, push = rng.uniform(-0.1, 0.1, (3, 2)), rng.uniform(-0.05, 0.05, (3, 2))
    drawn = [draw_stamps(one, view, 48, push, 0.7, place, name) for name in ("batch", "galsim")]
    for batch, plain in zip(*drawn, strict=True):
        np.testing.assert_allclose(batch, plain, rtol=0, atol=1e-4 * plain.max())
    flux = 10 ** (-0.4 * (stamps.magnitude(view.band) - shear.ZEROPOINT))
    np.testing.assert_allclose(drawn[0].sum(axis=(1, 2)), flux, rtol=0.01)


def test_galaxies_lie_at_the_pixel_that_estimators_measure():
    view, one = survey_view("LSST", "i"), in_one_band(galaxies(2), "F814W")
    nothing = np.zeros((2, 2))
    for size in (40, 41):
        images = draw_stamps(one, view, size, nothing, 0.0, nothing)
        for image in [*images, psf_image(view, size)]:
            found = galsim.hsm.FindAdaptiveMom(galsim.Image(np.array(image), xmin=0, ymin=0))
            centroid = found.moments_centroid
            assert np.hypot(centroid.x - size // 2, centroid.y - size // 2) < 0.1


def test_scenes_are_drawn_detected_and_measured(stub):
    made = config(
        layout="blended", galaxies=2, chunk=2, scene_size=160, stamp_size=48, density=60,
        depth=10, estimators=["anacal", "regauss"], twins=False,
    )  # fmt: skip
    arrays, seconds = run_chunk(made, 0)
    assert "detect" in seconds
    for name in made.estimators:
        assert arrays[f"vae/{name}/e"].shape == (2, 2, 2, 2)
        assert arrays[f"vae/{name}/count"].sum() > 2
    assert set(make_table(made, arrays)["property"]) == {"all"}


def test_scenes_hold_the_light_of_their_galaxies_where_it_belongs():
    images = np.arange(1, 4, dtype=np.float32)[:, None, None] * np.ones((3, 4, 4), np.float32)
    pixel, scene = np.array([[0, 0], [5, -3], [-9, 9]]), np.array([0, 1, 1])
    fields = compose(images, scene, pixel, 2, 20)
    assert fields.shape == (2, 20, 20)
    assert fields[0].sum() == 16 and fields[0, 8:12, 8:12].all()
    assert (fields[1, 5:9, 13:17] == 2).all() and (fields[1, 17:20, 0:3] == 3).all()
    found = cut_out(fields[1], x=np.array([15]), y=np.array([7]), size=4)
    assert (found == 2).all()


def test_the_detector_finds_a_galaxy_at_its_pixel():
    view, one = survey_view("LSST", "i"), in_one_band(galaxies(1), "F814W")
    nothing = np.zeros((1, 2))
    image = np.zeros((160, 160), np.float32)
    stamp = draw_stamps(one, view, 48, nothing, 0.0, nothing)[0]
    image[60 - 24 : 60 + 24, 90 - 24 : 90 + 24] = stamp
    found = detect(image, np.zeros_like(image), view, 48)
    assert isinstance(found, shear.Detections)
    bright = found.weight > 0.5
    assert (found.x[bright], found.y[bright]) == (90, 60)
