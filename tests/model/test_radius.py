"""The radius of a flow's noise."""

import pytest
import torch
from scipy import stats

from galsim_vae.model.flow import CouplingFlow, FlowConfig
from galsim_vae.model.radius import Radius

DIMENSIONS = 6


def spread(n: int, seed: int = 0) -> torch.Tensor:
    """Vectors with radii more different than those of normal noise."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, DIMENSIONS, generator=random, dtype=torch.float64)
    return noise * torch.exp(0.4 * torch.randn(n, 1, generator=random, dtype=torch.float64))


@pytest.fixture
def radius() -> Radius:
    found = Radius(DIMENSIONS)
    found.fit(spread(20_000))
    return found


def test_it_begins_as_the_identity():
    vectors = spread(100).float()
    noise, logdet = Radius(DIMENSIONS)(vectors)
    assert torch.equal(noise, vectors)
    assert torch.all(logdet == 0)


def test_noise_of_galaxies_has_the_radii_of_normal_noise(radius):
    noise, _ = radius(spread(20_000, seed=1))
    found = stats.kstest(noise.norm(dim=1), stats.chi(DIMENSIONS).cdf)
    assert found.statistic < 1.63 / 20_000**0.5 * 2**0.5  # 1 % of chance; fitted to as many
    # Without the fit, the same test fails by far.
    assert stats.kstest(spread(20_000, 1).norm(dim=1), stats.chi(DIMENSIONS).cdf).statistic > 0.05


def test_directions_are_kept_and_undone(radius):
    vectors = torch.cat([spread(1000, seed=2), torch.zeros(1, DIMENSIONS), 1e3 * spread(5)])
    noise, _ = radius(vectors)
    assert torch.isfinite(noise).all()
    torch.testing.assert_close(radius.undo(noise), vectors, rtol=1e-9, atol=1e-9)
    cosine = torch.nn.functional.cosine_similarity(noise, vectors)[:1000]
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


def test_the_determinant_is_that_of_the_derivative(radius):
    vectors = spread(20, seed=3)
    derivative = torch.func.vmap(torch.func.jacrev(lambda v: radius(v[None])[0][0]))(vectors)
    expected = torch.linalg.slogdet(derivative).logabsdet
    torch.testing.assert_close(radius(vectors)[1], expected, rtol=1e-8, atol=1e-8)


def test_radii_that_are_all_the_same_have_an_inverse():
    radius = Radius(DIMENSIONS)
    radius.fit(torch.ones(10, DIMENSIONS))
    noise = torch.randn(50, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    drawn = radius.undo(noise)
    assert torch.isfinite(drawn).all()
    torch.testing.assert_close(radius(drawn)[0], noise, rtol=0.05, atol=0.05)


def test_one_row_has_the_bits_that_it_has_among_many(radius):
    noise = torch.randn(300, 256, generator=torch.Generator().manual_seed(0))
    large = Radius(256)
    large.fit(1.3 * noise)
    whole = large.undo(noise)
    for rows in (slice(0, 1), slice(7, 8), slice(3, 10), slice(0, 65)):
        assert torch.equal(large.undo(noise[rows]), whole[rows])


def test_noise_of_a_flow_has_normal_radii_once_fitted():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = CouplingFlow(DIMENSIONS, 3, FlowConfig(layers=2, hidden=8))
    values, context = spread(20_000).float(), torch.zeros(20_000, 3)
    before = flow.log_prob(values, context).mean().item()
    flow.fit_radius(values, context)
    assert flow.log_prob(values, context).mean().item() > before + 0.1
    noise = torch.randn(20_000, DIMENSIONS, generator=torch.Generator().manual_seed(1))
    drawn = flow.from_noise(noise, context)
    torch.testing.assert_close(flow.to_noise(drawn, context), noise, rtol=1e-3, atol=1e-3)
    radii = flow.to_noise(spread(20_000, seed=4).float(), context).norm(dim=1)
    assert stats.kstest(radii.detach(), stats.chi(DIMENSIONS).cdf).statistic < 0.02
