"""The synthetic population: its relations, and the intergalactic medium."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from galsim_vae.conditions import DEFAULT_RANGES  # noqa: E402
from galsim_vae.train.synthetic import colours, population  # noqa: E402


@pytest.fixture(scope="module")
def drawn():
    """Columns of 200,000 galaxies: magnitude, radius, g, redshift."""
    return population.sample(200_000, torch.Generator().manual_seed(3)).T


def near(magnitude, value):
    return (magnitude - value).abs() < 0.25


def test_sample_is_within_the_ranges(drawn):
    for column, (low, high) in zip(drawn, DEFAULT_RANGES.values(), strict=True):
        assert torch.isfinite(column).all()
        assert column.min() >= low * (1 - 1e-5) and column.max() <= high * (1 + 1e-5)


def test_nothing_piles_up_at_the_limits(drawn):
    for column, (low, high) in zip(drawn, DEFAULT_RANGES.values(), strict=True):
        width = 1e-4 * (high - low)
        for limit in (low, high):
            inside = ((column - limit).abs() < width).float().mean()
            further = ((column - limit).abs() < 20 * width).float().mean()
            assert inside < 0.2 * further + 5e-5


def test_same_seed_same_population():
    first, second, other = (
        population.sample(100, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first.dtype == torch.float32 and first.shape == (100, 4)
    assert torch.equal(first, second) and not torch.equal(first, other)


@pytest.mark.parametrize(("low", "slope"), [(20.0, 0.36), (22.0, 0.31), (24.0, 0.26)])
def test_counts(drawn, low, slope):
    """Slope between neighbouring intervals of 1 mag: 0.33 - 0.025 (m - 22) between them."""
    first, second = (((drawn[0] > m) & (drawn[0] < m + 1)).sum() for m in (low, low + 1))
    assert math.log10(second / first) == pytest.approx(slope, abs=0.03)


@pytest.mark.parametrize("m", [20.5, 22.0, 23.0, 24.5, 26.0])
def test_sizes(drawn, m):
    magnitude, radius, g, redshift = (column[near(drawn[0], m)] for column in drawn)
    assert float(radius.median()) == pytest.approx(0.28 * math.exp(-0.33 * (m - 23)), rel=0.05)
    x = torch.stack((torch.ones_like(g), magnitude - m, (1 + redshift).log(), g), 1)
    answer = torch.linalg.lstsq(x.double(), radius.log().double()[:, None]).solution[:, 0]
    if m < 25:  # further on, the smallest size asked for cuts the distribution
        assert answer[2] == pytest.approx(-0.2, abs=0.06)
    assert abs(answer[3]) < 0.12


@pytest.mark.parametrize(("m", "median"), [(20.5, 0.24), (22.0, 0.27), (23.25, 0.325), (26, 0.335)])
def test_ellipticities(m, median):
    g = population.ellipticities(torch.full((50_000,), float(m)), torch.Generator().manual_seed(4))
    assert float(g.median()) == pytest.approx(median, abs=0.01)


def test_ellipticity_follows_its_density():
    """At 23.5 mag: the mixture of the docstring, by an independent integral."""
    magnitude = torch.full((100_000,), 23.5)
    g = population.ellipticities(magnitude, torch.Generator().manual_seed(5)).numpy()
    e = np.linspace(0, 0.8, 8001)
    a, e0 = math.exp(-0.448 - 1.019 * 1.5), math.exp(-2.63 + 0.34 * 1.5)
    disc = e * (1 - np.exp((e - 0.804) / a)) / ((1 + e) * np.hypot(e, e0))
    bulge = e * np.exp(-2.368 * e - 6.691 * e**2)
    density = 0.9 * disc / disc.sum() + 0.1 * bulge / bulge.sum()
    expected = np.interp(np.sort(g), e, np.cumsum(density))
    assert np.abs(expected - np.linspace(0, 1, len(g))).max() < 0.006


@pytest.mark.parametrize(
    ("m", "median"), [(19.0, 0.285), (20.5, 0.43), (22.0, 0.65), (23.5, 0.86), (25.0, 1.08)]
)
def test_redshifts(m, median):
    z = population.redshifts(torch.full((50_000,), m), torch.Generator().manual_seed(6))
    assert float(z.median()) == pytest.approx(median, rel=0.04)


def test_intergalactic_medium():
    """Madau (1995): transparent redward of Lyman alpha, steps at the lines, opaque far blueward."""
    wave = np.array([380.0, 480.0, 490.0, 700.0])
    through = colours.igm_transmission(wave, 3.0)
    assert through[2] == through[3] == 1
    # Lyman alpha alone at 480 nm: exp(-0.0036 (480 / 121.6)^3.46)
    assert through[1] == pytest.approx(math.exp(-0.0036 * (480 / 121.6) ** 3.46))
    assert through[0] < through[1]
    assert colours.igm_transmission(np.array([400.0]), 5.0)[0] < 0.01
    assert np.all(colours.igm_transmission(wave, 2.0) == 1)


def test_distant_galaxies_drop_out_of_f435w():
    table = colours.colour_table(z_max=4.0, step=0.5)
    im = -2.5 * np.log10(table.at(torch.tensor([2.0, 4.0]))[:, 3].numpy())
    assert im[1, 0] - im[0, 0] > 2  # F435W - F814W
