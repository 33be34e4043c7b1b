"""Maps of the plane, against GalSim's own."""

import galsim
import numpy as np
import pytest
import torch

from galsim_vae import geometry, shapes
from galsim_vae.frame.moments import Ellipse


def shears(n, seed=3):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 0.8, n) * np.exp(2j * np.pi * rng.uniform(size=n))


def test_matrices_are_galsims():
    g, angle = shears(20), np.random.default_rng(1).uniform(-4, 4, 20)
    found, turns = geometry.shear_matrix(g.real, g.imag), geometry.rotation_matrix(angle)
    assert found.shape == turns.shape == (20, 2, 2)
    for one, matrix, beta, turn in zip(g, found, angle, turns, strict=True):
        shear = galsim.Shear(g1=one.real, g2=one.imag)
        np.testing.assert_allclose(matrix, shear.getMatrix(), rtol=0, atol=1e-14)
        x, y = galsim.PositionD(0.3, -1.2), turn @ [0.3, -1.2]
        where = galsim.Gaussian(sigma=1).shift(x).rotate(beta * galsim.radians).centroid
        np.testing.assert_allclose(y, [where.x, where.y], atol=1e-14)
    assert geometry.rotation_matrix(0.3).shape == geometry.shear_matrix(0.1, 0.2).shape == (2, 2)


def test_a_sheared_shape_is_galsims():
    shape, shear = shears(20), shears(20, seed=8)
    found = geometry.sheared_shape(shape, shear)
    also = geometry.sheared_shape(torch.from_numpy(shape), torch.from_numpy(shear)).numpy()
    for one, other, value in zip(shape, shear, found, strict=True):
        theirs = galsim.Shear(other) + galsim.Shear(one)
        assert abs(value - theirs.shear) < 1e-14
    np.testing.assert_allclose(also, found, rtol=0, atol=1e-15)


def test_residual_shear_is_galsims():
    found, asked = shears(50), np.abs(shears(50, seed=4))
    for f, g, s in zip(found, asked, geometry.residual_shear(found, asked), strict=True):
        total = galsim.Shear(g1=s.real, g2=s.imag) + galsim.Shear(g1=f.real, g2=f.imag)
        assert total.g1 == pytest.approx(g, abs=1e-10)
        assert total.g2 == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("g", shears(5))
def test_the_radius_is_that_of_the_circle_that_was_sheared(g):
    """In NumPy and torch, and for what is measured of stamps and of observed images."""
    matrix = geometry.shear_matrix(g.real, g.imag)
    moments = matrix @ matrix.T
    circle = np.random.default_rng(2).normal(size=(40, 2)) * 3
    x, y = matrix @ circle.T
    parts = moments[0, 0], moments[0, 1], moments[1, 1]
    radius = np.hypot(*circle.T)
    np.testing.assert_allclose(geometry.elliptical_radius(x, y, *parts), radius, rtol=1e-12)
    tensors = (torch.from_numpy(v) for v in (x, y))
    np.testing.assert_allclose(geometry.elliptical_radius(*tensors, *parts), radius, rtol=1e-12)

    rows, columns = np.indices((9, 9))
    inside = np.linalg.solve(matrix, np.stack([columns - 4.5, rows - 3.5]).reshape(2, -1))
    expected = np.hypot(*inside).reshape(9, 9)
    np.testing.assert_allclose(Ellipse((4.5, 3.5), 7 * moments).radius((9, 9)), expected)
    values = torch.tensor([[0.5], [-0.5], [g.real], [g.imag], [1.7], [1]], dtype=torch.float64)
    found = shapes.elliptical_radius(torch.zeros(1, 9, 9), shapes.Moments(*values))
    np.testing.assert_allclose(found[0], expected)
