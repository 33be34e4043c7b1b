"""The batched renderer on pixels that are no squares along the axes of the sky, against GalSim."""

import galsim
import numpy as np
import pytest
from drawings import ACCURACY, DEVICES, SCENES, TIGHT, galaxies, galsim_image, transforms

from galsim_vae.render import render

PSF = galsim.Kolmogorov(fwhm=0.7)
SKEW = galsim.JacobianWCS(0.19, 0.04, -0.03, 0.23)
TAN = galsim.TanWCS(
    galsim.AffineTransform(0.02, 0.19, 0.21, -0.03, origin=galsim.PositionD(50, 70)),
    galsim.CelestialCoord(30 * galsim.degrees, -20 * galsim.degrees),
)
PLACE = galsim.PositionD(700, 900)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["Moffat", "image"])
@pytest.mark.parametrize(
    "wcs", [SKEW, galsim.JacobianWCS(-0.2, 0, 0, 0.2), galsim.ShearWCS(0.22, galsim.Shear(g1=0.1))]
)
def test_agrees_with_galsim(wcs, name, device):
    psf, _, nx, ny, _ = SCENES[name]
    stamps, moves = galaxies(2, seed=6, low=0.2), transforms(2)
    tight = psf().withGSParams(**TIGHT)
    for dtype, accuracy in ACCURACY.items():
        images = render(stamps, psf(), nx, ny, wcs=wcs, **moves, dtype=dtype, device=device)[:, 0]
        for i in range(2):
            one = {key: value[i] for key, value in moves.items()}
            truth = galsim_image(stamps, i, tight, nx, ny, None, **one, wcs=wcs)
            error = np.abs(images[i].cpu().numpy() - truth).max() / truth.max()
            assert error < accuracy, (dtype, error)


def test_a_pixel_that_has_its_response_in_the_psf():
    stamps, moves = galaxies(2), transforms(2)
    pixel = SKEW.profileToWorld(galsim.Pixel(1.0))
    images = [
        render(stamps, psf, 32, 32, wcs=SKEW, **moves, method=method, dtype="float64")
        for psf, method in ((PSF, "auto"), (galsim.Convolve(PSF, pixel), "no_pixel"))
    ]
    np.testing.assert_allclose(*images, atol=ACCURACY["float64"] * float(images[0].max()))


def test_a_celestial_wcs_is_taken_where_it_is_asked_for():
    """GalSim takes it in the middle of the image."""
    stamps, moves = galaxies(1, low=0.3), transforms(1)
    drawn = render(stamps, PSF, 33, 33, wcs=TAN, image_pos=PLACE, **moves, dtype="float64")
    there = TAN.shiftOrigin(galsim.PositionD(17, 17) - PLACE)
    one = {key: value[0] for key, value in moves.items()}
    truth = galsim_image(stamps, 0, PSF.withGSParams(**TIGHT), 33, 33, None, **one, wcs=there)
    np.testing.assert_allclose(drawn[0, 0], truth, atol=ACCURACY["float64"] * truth.max())
    local = render(stamps, PSF, 33, 33, wcs=TAN.local(PLACE), **moves, dtype="float64")
    np.testing.assert_array_equal(drawn, local)


def test_a_wcs_of_squares_is_a_scale():
    """Also one that knows where its origin is; with noise, to the bit."""
    settings = {"noise": galsim.PoissonNoise(sky_level=5.0), "seed": 3, **transforms(3)}
    stamps = galaxies(3)
    wanted = stamps.render(PSF, 32, 24, 0.2, **settings)
    for wcs in (galsim.PixelScale(0.2), galsim.OffsetWCS(0.2, galsim.PositionD(3, 4))):
        np.testing.assert_array_equal(stamps.render(PSF, 32, 24, wcs=wcs, **settings), wanted)
    turned = galsim.JacobianWCS(0.2, 0, 0, 0.2)
    images = stamps.render(PSF, 32, 24, wcs=turned, **settings | {"noise": None})
    clean = stamps.render(PSF, 32, 24, 0.2, **settings | {"noise": None})
    np.testing.assert_allclose(images, clean, atol=ACCURACY["float32"] * clean.max())


@pytest.mark.parametrize(
    "kwargs, error, words",
    [
        ({"wcs": TAN}, galsim.GalSimIncompatibleValuesError, "image_pos"),
        ({"wcs": 0.2}, TypeError, "BaseWCS"),
        ({"wcs": galsim.JacobianWCS(0.2, 0.2, 0.2, 0.2)}, galsim.GalSimError, "singular"),
        ({"scale": 0.2, "image_pos": PLACE}, galsim.GalSimIncompatibleValuesError, "image_pos"),
        ({"wcs": SKEW, "image_pos": (1, 2)}, TypeError, "image_pos"),
    ],
)
def test_bad_input(kwargs, error, words):
    with pytest.raises(error, match=words):
        render(galaxies(1), PSF, 16, 16, **kwargs)
