"""Statistics against scipy, statmorph and direct formulas."""

import numpy as np
import pytest
import scipy.stats
import torch

from galsim_vae.train.statistics import (
    bootstrap,
    bootstrap_error,
    gini,
    sigma68,
    wasserstein,
)


def random() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("statistic", [np.mean, np.median, np.ptp])
def test_errors_are_those_of_scipy(statistic):
    values = random().normal(size=300)
    known = scipy.stats.bootstrap((values,), statistic, n_resamples=4000, rng=random())
    found = bootstrap_error(statistic, values, random=random())
    assert found == pytest.approx(known.standard_error, rel=0.2)  # 200 draws: 4 standard errors


def test_samples_keep_their_pairs():
    a = random().normal(size=400)
    b = a + 0.01 * np.random.default_rng(8).normal(size=400)

    def difference(x, y):
        return x.mean() - y.mean()

    assert bootstrap_error(difference, a, b, random=random()) < 1e-3
    alone = bootstrap_error(difference, a, -b, random=random())
    assert alone == pytest.approx(2 / np.sqrt(400), rel=0.2)


def test_a_statistic_may_be_an_array():
    values = random().normal(size=(50, 3))
    draws = bootstrap(lambda v: v.mean(0), values, random=random())
    error = bootstrap_error(lambda v: v.mean(0), values, random=random())
    np.testing.assert_allclose(error, draws.std(0, ddof=1))
    assert error.shape == (3,)


def test_the_error_of_one_galaxy_is_not_known():
    assert np.isnan(bootstrap_error(np.median, np.ones(1), random=random()))


def test_sigma68_of_a_normal_distribution_is_its_width():
    values = 3 * random().normal(size=200_000)
    assert sigma68(values) == pytest.approx(3 * 0.9945, rel=0.01)
    assert sigma68(np.append(values, [np.nan, np.nan])) == sigma68(values)


def test_wasserstein_is_that_of_scipy_over_sigma68():
    a, b = random().normal(size=(2, 500))
    b = np.abs(b[:400]) + 2
    known = scipy.stats.wasserstein_distance(a, b) / sigma68(a)
    assert wasserstein(a, np.append(b, np.nan)) == pytest.approx(known)
    assert wasserstein(10 * a, 10 * b) == pytest.approx(known)
    assert wasserstein(a, a) == 0
    # A shift has the distance of the shift.
    assert wasserstein(a, a + 0.3) * sigma68(a) == pytest.approx(0.3)


def test_gini_is_the_formula_of_lotz():
    values = random().normal(0.3, 1, size=(3, 40))
    inside = random().random((3, 40)) < 0.6
    found = gini(torch.from_numpy(values), torch.from_numpy(inside))
    for value, row, chosen in zip(found, values, inside, strict=True):
        x = np.sort(np.abs(row[chosen]))
        n = len(x)
        pairs = np.abs(x[:, None] - x).sum()  # half the mean difference over the mean
        assert float(value) == pytest.approx(pairs / (2 * n * (n - 1) * x.mean()))


def test_gini_is_that_of_statmorph():
    statmorph = pytest.importorskip("statmorph", reason="statmorph comes with the dev extra")
    y, x = np.indices((64, 64)) - 31.5
    image = np.exp(-np.hypot(x, y) / 5)
    segment = np.hypot(x, y) < 20
    known = statmorph.SourceMorphology(
        image, segment.astype(int), label=1, weightmap=np.full_like(image, 1e-6)
    )
    inside = known._segmap_gini
    pixels = np.asarray(known._cutout_stamp_maskzeroed)
    found = gini(torch.from_numpy(pixels.reshape(1, -1)), torch.from_numpy(inside.reshape(1, -1)))
    assert float(found) == pytest.approx(known.gini, abs=1e-6)


def test_gini_at_its_ends():
    everywhere = torch.ones(2, 10, dtype=torch.bool)
    values = torch.ones(2, 10)
    values[1, 1:] = 0
    assert gini(values, everywhere).tolist() == pytest.approx([0, 1])
