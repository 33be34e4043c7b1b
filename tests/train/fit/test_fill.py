"""Conditions that a galaxy lacks are drawn from the population, given those that it has."""

import torch

from galsim_vae.conditions import DEFAULT_RANGES, NAMES
from galsim_vae.model.flow import Flows
from galsim_vae.model.vae import VAE, VAEConfig
from galsim_vae.train.fit.fill import NEARBY_MAGNITUDE, alike, fill_missing, is_nearby, lend

MISSING = torch.nan
KNOWN = torch.tensor(
    [
        [22.0, 0.5, 0.2, 0.8],
        [22.0, 0.5, 0.2, MISSING],
        [MISSING, 0.5, 0.2, 1.0],
        [MISSING, MISSING, 0.2, MISSING],
    ]
)
BRIGHT = torch.tensor([18.5, 20.5])


def filled(seed, flows):
    return fill_missing(flows, KNOWN, BRIGHT, torch.Generator().manual_seed(seed))


def test_known_conditions_stay_and_others_are_drawn_anew_within_the_ranges():
    flows = Flows(4, DEFAULT_RANGES)
    first, second = filled(1, flows), filled(2, flows)
    given = torch.isfinite(KNOWN)
    for values in (first, second):
        assert torch.equal(values[given], KNOWN[given])
        for column, name in enumerate(NAMES):
            low, high = DEFAULT_RANGES[name]
            assert ((values[:, column] > 0.999 * low) & (values[:, column] < 1.001 * high)).all()
    assert (first != second)[~given].sum() >= 4  # of five: a magnitude may be the same again
    assert torch.equal(filled(1, flows), first)
    assert torch.isnan(KNOWN).sum() == 5


def test_a_nearby_galaxy_is_given_a_bright_magnitude():
    assert is_nearby(KNOWN).tolist() == [False, False, False, True]
    flows = Flows(4, DEFAULT_RANGES)
    magnitudes = {filled(seed, flows)[3, 0].item() for seed in range(20)}
    assert magnitudes == set(BRIGHT.tolist())
    assert BRIGHT.max() < NEARBY_MAGNITUDE


def test_what_is_drawn_depends_on_what_is_known():
    """The population flow is asked, with the conditions that there are."""
    flows = Flows(4, DEFAULT_RANGES)
    asked = []

    def sample_conditions(noise, conditions):
        asked.append(conditions)
        return torch.where(torch.isnan(conditions), 1.0, conditions)

    flows.sample_conditions = sample_conditions
    values = filled(3, flows)
    assert values[1].tolist() == KNOWN[1, :3].tolist() + [1.0]
    assert torch.equal(asked[0][0].nan_to_num(-1), KNOWN[1].nan_to_num(-1))


def test_the_most_similar_is_found_and_one_of_unknown_conditions_never():
    random = torch.Generator().manual_seed(1)
    others = torch.tensor([[20.0, 1.0, 0.1, 0.2], [24.0, 0.3, 0.3, 0.8], [22.0, 0.5, 0.2, MISSING]])
    asked = torch.tensor([[23.6, 0.3, 0.3, 0.9], [20.1, 0.9, 0.1, 0.2], [22.0, 0.5, 0.2, 0.5]])
    found = alike(asked, others, random)
    assert found[:2].tolist() == [1, 0] and found[2] in (0, 1)


def test_colours_are_those_that_the_most_similar_decodes_to():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = VAE(VAEConfig(latent=8)).decoder
        torch.nn.init.normal_(decoder.colour.weight[:, :-8], std=0.05)  # a part of all latents
    random = torch.Generator().manual_seed(2)
    others = torch.tensor([[20.0, 1.0, 0.1, 0.2], [24.0, 0.3, 0.3, 0.8]])
    lent, own = torch.randn((2, 8), generator=random), torch.randn((1, 8), generator=random)
    asked = torch.tensor([[23.6, 0.3, 0.3, 0.9]])
    found = lend(own, asked, (lent, others), decoder, torch.Generator().manual_seed(1))
    assert lend(own[:0], asked[:0], (lent, others), decoder, random).shape == (0, 8)
    assert torch.equal(found[:, 4:], own[:, 4:])
    stamps = decoder(torch.cat([found, lent[1:]])).sum((2, 3))
    torch.testing.assert_close(stamps[0], stamps[1], rtol=1e-4, atol=0)
    mixed = decoder(torch.cat([lent[1:, :4], own[:, 4:]], 1)).sum((2, 3))
    assert (mixed[0] / stamps[1] - 1).abs().max() > 0.01  # the latents alone would not do
