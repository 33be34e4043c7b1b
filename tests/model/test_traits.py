"""Traits of stamps that are known, and how the latent flow is told of them."""

import math

import pytest
import torch

from galsim_vae.model.spirals import WINDING_STEP
from galsim_vae.model.traits import TRAITS, TraitContext, measure_traits, spread

AXIS = torch.arange(64) - 31.5
RADIUS = torch.hypot(AXIS, AXIS[:, None])
THETA = torch.atan2(AXIS[:, None].expand(64, 64), AXIS.expand(64, 64))


def galaxy(contrast=0.0, scale=(3.6,) * 5, flux=(1.0,) * 5):
    """One stamp (1, 5, 64, 64): discs of a scale length and a flux in each band."""
    discs = [torch.exp(-RADIUS / length) * (1 + contrast) for length in scale]
    return torch.stack([f * disc / disc.sum() for f, disc in zip(flux, discs, strict=True)])[None]


def trait(stamps, name):
    return measure_traits(stamps)[0, TRAITS.index(name)].item()


def test_light_of_a_disc():
    def inside(radius):
        # Pixels count by their centres: 16 within 2.5 have the area of a radius of 2.26.
        within = math.sqrt((RADIUS < radius).sum().item() / math.pi) / 3.6
        return 1 - (1 + within) * math.exp(-within)

    for name, radius in (("core", 2.5), ("inner", 4), ("half", 6)):
        assert math.exp(trait(galaxy(), name)) == pytest.approx(inside(radius), rel=0.05)
    for name, radius in (("halo", 12), ("outskirts", 18)):
        assert math.exp(trait(galaxy(), name)) == pytest.approx(1 - inside(radius), rel=0.1)


def test_colours_and_gradient():
    stamps = galaxy(scale=(3.6, 3.6, 2.4, 3.6, 3.6), flux=(0.2, 0.5, 1.0, 2.0, 4.0))
    for band, flux in (("F435W", 0.2), ("F606W", 0.5), ("F125W", 2.0), ("F160W", 4.0)):
        assert trait(stamps, band) == pytest.approx(math.log(flux), abs=1e-4)
    # The redder disc is the smaller: blue outside.
    assert trait(stamps, "gradient") < -0.3
    assert trait(galaxy(flux=(1, 3, 1, 1, 1)), "gradient") == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("arms", [2, 3])
def test_arms(arms):
    stamps = galaxy(0.3 * torch.cos(arms * THETA + 5 * (RADIUS / 6).log()))
    assert trait(stamps, "arms") == arms
    assert trait(stamps, "winding") == pytest.approx(5, abs=1)
    assert math.exp(trait(stamps, "amplitude")) == pytest.approx(0.3, rel=0.2)
    assert trait(stamps, "share") > 0.5
    # Turned by half a turn, odd arms fall between one another.
    assert (trait(stamps, "asymmetry") > math.log(0.1)) == (arms == 3)


def test_power():
    image = galaxy(0.3 * torch.cos(2 * math.pi * 12 / 64 * AXIS))[0, 2].double()
    power = torch.fft.fft2(image).abs().square()
    wave = torch.fft.fftfreq(64) * 64
    ring = torch.hypot(wave, wave[:, None]).round()
    for low, high in ((3, 5), (10, 14), (18, 24)):
        means = [power[ring == k].mean() for k in range(low, high + 1)]
        found = trait(galaxy(0.3 * torch.cos(2 * math.pi * 12 / 64 * AXIS)), f"power {low}-{high}")
        assert found == pytest.approx(torch.stack(means).mean().log().item(), abs=0.01)


def test_an_empty_or_negative_stamp_has_finite_traits():
    stamps = torch.cat([galaxy(), galaxy()])
    stamps[0, 0] = 0
    stamps[1, 1] = -1e-9
    assert torch.isfinite(measure_traits(stamps)).all()


def test_steps_are_spread():
    traits = measure_traits(galaxy()).expand(1000, -1)
    moved = spread(traits, torch.Generator().manual_seed(1)) - traits
    for column, name in enumerate(TRAITS):
        width = {"winding": WINDING_STEP, "arms": 1.0}.get(name, 0.0)
        assert moved[:, column].std().item() == pytest.approx(width / 12**0.5, rel=0.1)
        assert moved[:, column].abs().max() <= width / 2


@pytest.fixture
def context():
    torch.manual_seed(2)
    sample = torch.randn(5000, len(TRAITS))
    sample[:, TRAITS.index("arms")] = torch.randint(2, 6, (5000,))
    found = TraitContext()
    found.fit(sample)
    return found, sample


def test_what_is_not_told_is_zero(context):
    seen = context[0](torch.full((3, len(TRAITS)), torch.nan))
    assert seen.shape == (3, context[0].size) and not seen.any()


def test_what_is_told(context):
    forward, sample = context
    seen = forward(sample)
    n = len(TRAITS)
    assert seen.shape == (5000, forward.size) and (seen[:, 0] == 1).all()
    assert seen[:, 1 : n + 1].abs().max() == 1
    order = sample[:, 0].argsort()
    assert (seen[order, 1].diff() >= 0).all()
    arms = seen[:, 1 + 13 * n : 5 + 13 * n]
    assert (arms.argmax(1) + 2 == sample[:, TRAITS.index("arms")]).all()
    assert (arms.sum(1) == 1).all()
    # Bumps of the winding are those of its number of arms alone, and as strong.
    wound = seen[:, 5 + 13 * n :].reshape(5000, 4, 12)
    assert (wound[arms == 0] == 0).all()
    weak = sample.clone()
    weak[:, TRAITS.index("amplitude")] -= math.log(2)
    strong = sample[:, TRAITS.index("amplitude")] < 0
    less = forward(weak)[:, 5 + 13 * n :].reshape(5000, 4, 12)
    torch.testing.assert_close(less[strong], wound[strong] / 2)


def test_beyond_its_range_a_trait_counts_as_its_end(context):
    forward, sample = context
    far = sample[:1].repeat(2, 1)
    far[:, 0] = torch.tensor([9.0, 99.0])
    seen = forward(far)
    torch.testing.assert_close(seen[0], seen[1])


def test_shifts_are_interpolated(context):
    forward, _ = context
    forward.shift.copy_(torch.tensor([1.0, 3.0, 0.0, -2.0])[:, None])
    found = forward.shift_at(torch.tensor([18.0, 20.0, 20.5, 22.0, 23.0, 25.5, 26.5]))
    assert found.shape == (7, len(TRAITS)) and (found == found[:, :1]).all()
    assert found[:, 0].tolist() == pytest.approx([1.0, 1.0, 1.5, 3.0, 1.5, -1.5, -2.0])
