"""Sersic twins."""

import galsim
import numpy as np
import torch
from shear_setup import galaxies

import galsim_vae
from galsim_vae import shapes
from galsim_vae.frame.frames import DEFAULT
from galsim_vae.render import sersic
from galsim_vae.shear.twins import in_one_band, sersic_twins


def test_twins_have_the_flux_size_shape_and_place_of_their_galaxies():
    one = in_one_band(galaxies(5), "F814W")
    twins = sersic_twins(one)
    assert twins.good.all() and len(twins.stamps) == 5
    np.testing.assert_array_equal(
        twins.stamps.magnitude("F814W").round(5), one.magnitude("F814W").round(5)
    )
    assert (0.01 < twins.residual).all() and (twins.residual < 0.1).all()
    measured = []
    for stamps in (one, twins.stamps):
        images = torch.from_numpy(stamps.array[:, 0])
        moments = shapes.adaptive_moments(images)
        radius = shapes.half_light_radius(images, moments).numpy()
        size = radius * np.sqrt(np.linalg.det(stamps.jacobian))
        centre = np.stack([moments.x.numpy(), moments.y.numpy()], axis=1) - stamps.offset
        place = np.einsum("nij,nj->ni", stamps.jacobian, centre)
        view = [
            galsim.Convolve(stamps.galaxy(i, "F814W", 30.0), galsim.Gaussian(sigma=0.02))
            .drawImage(nx=200, ny=200, scale=0.02, method="no_pixel").FindAdaptiveMom()
            for i in range(5)
        ]  # fmt: skip
        shape = [(s.observed_shape.g1, s.observed_shape.g2) for s in view]
        measured.append((size, place, np.array(shape)))
    for galaxy, twin, error in zip(*measured, (2e-3, 1e-3, 5e-3), strict=True):
        np.testing.assert_allclose(twin, galaxy, rtol=0, atol=error)


def test_the_twin_of_a_sersic_galaxy_is_itself():
    index = torch.tensor([0.6, 1.0, 2.0, 3.5])
    ellipse = torch.tensor([np.log(6.0), 0.2, -0.1, 0.3, -0.4]).float().repeat(4, 1)
    images = sersic.stamps(torch.cat([index.log()[:, None], ellipse], 1)) * DEFAULT.taper(64)
    images = images / images.sum((1, 2), keepdim=True)
    stamps = galaxies(4)
    made = galsim_vae.Stamps(
        images.numpy()[:, None], stamps.conditions, stamps.jacobian, stamps.offset, ("F814W",)
    )
    twins = sersic_twins(made)
    # Its half-light radius is that of the light in the stamp, which is all only at a low index.
    assert (twins.residual < [0.002, 0.002, 0.03, 0.06]).all()
    np.testing.assert_allclose(twins.index[:3], index[:3], rtol=0.1)
