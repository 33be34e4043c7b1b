"""The estimate of m and c, and its errors."""

import numpy as np

from galsim_vae.shear.bias import Sums, bias


def made_shapes(n, m, c, g, seed=1, noise=0.0, nangles=2):
    """Shapes of galaxies with a given bias; the response scatters."""
    rng = np.random.default_rng(seed)
    r = rng.uniform(0.5, 1.5, (n, 1, 1, 2)) * np.ones((n, nangles, 2, 2))
    intrinsic = 0.3 * rng.standard_normal((n, 1, 2)) * np.array([1, -1][:nangles])[:, None]
    signs = np.array([1, -1])[:, None] * np.array(g)
    e = intrinsic[:, :, None] + r * ((1 + m) * signs + c)
    return e + noise * rng.standard_normal(e.shape), r


def test_bias_is_found_exactly_where_there_is_no_noise():
    g, m, c = (0.02, -0.01), np.array([0.05, -0.03]), np.array([1e-3, -2e-3])
    found = bias(Sums.of(*made_shapes(500, m, c, g)), g)
    np.testing.assert_allclose(found.m, m, atol=1e-12)
    np.testing.assert_allclose(found.c, c, atol=1e-14)
    np.testing.assert_allclose(found.m_err, 0, atol=1e-12)


def test_errors_are_the_scatter_of_repetitions():
    g = (0.02, 0.02)
    runs = [bias(Sums.of(*made_shapes(400, 0, 0, g, s, 0.05)), g) for s in range(200)]
    for name in ("m", "c"):
        scatter = np.std([getattr(run, name) for run in runs], axis=0)
        error = np.mean([getattr(run, f"{name}_err") for run in runs], axis=0)
        np.testing.assert_allclose(error, scatter, rtol=0.15)


def test_a_difference_keeps_what_is_in_common_out_of_its_error():
    g = (0.02, 0.01)
    e, r = made_shapes(1000, 0.0, 0.0, g, noise=0.1)
    extra = 2e-4 * np.random.default_rng(5).standard_normal(e.shape)
    one, other = Sums.of(e * 1.01 + extra, r), Sums.of(e, r)
    alone, less = bias(one, g), bias(one, g, other)
    np.testing.assert_allclose(less.m, bias(one, g).m - bias(other, g).m)
    assert (less.m_err < alone.m_err / 20).all()
    # An error that is right: e is 1.01 times as large, noise and all.
    assert (np.abs(less.m - 0.01 * (1 + bias(other, g).m)) < 4 * less.m_err + 1e-4).all()


def test_m_of_a_component_without_shear_is_nan():
    found = bias(Sums.of(*made_shapes(50, 0, 0, (0.02, 0))), (0.02, 0.0))
    assert np.isfinite(found.m).tolist() == [True, False] and np.isfinite(found.c).all()
    alone = bias(Sums.of(*made_shapes(1, 0, 0, (0.02, 0))), (0.02, 0.0))
    assert np.isnan(alone.m_err).all()
