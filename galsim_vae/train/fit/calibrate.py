"""What the latent flow is told of traits, stretched until what it draws has those of galaxies.

Told of a galaxy's asymmetry the flow draws one a little smoother, as it cannot follow every latent,
and encoding has lost some light of halos and of colour gradients before. Both are small, and much
alike for all galaxies: each trait is stretched by a gain and a shift. The finest power that is lost
is not asked for: the decoder, which cannot make it, would draw a pattern of pixels.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from galsim_vae.model.flow import Flows
from galsim_vae.model.traits import FINEST, STEPS, TRAITS, measure_traits
from galsim_vae.model.vae import Decoder

from . import flow_constants
from .rows import Galaxies

__all__ = ["calibrate", "levels", "lost"]

_PART = 256
_LEVELS = (0.16, 0.5, 0.84)
_LEAST_WIDTH = 1e-3  # of logarithms


def levels(traits: Tensor) -> Tensor:
    """Return median and half the distance from the 16th to the 84th percentile, (2, traits)."""
    share = traits.new_tensor(_LEVELS)
    low, middle, high = (torch.stack(v) for v in zip(
        *(torch.quantile(column, share).unbind() for column in traits.unbind(1)), strict=True
    ))  # fmt: skip
    return torch.stack([middle, ((high - low) / 2).clamp(min=_LEAST_WIDTH)])


def lost(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the medians of true stamps less those of decoded ones, (traits,); 0 of `FINEST`.

    Parameters
    ----------
    pairs : iterable of (tensor, tensor)
        True and decoded stamps (n, bands, size, size), as `true_and_decoded` yields them.
    """
    measured = [tuple(map(measure_traits, pair)) for pair in pairs]
    true, decoded = (levels(torch.cat(side))[0] for side in zip(*measured, strict=True))
    return torch.where(_named(FINEST, true), 0.0, true - decoded)


def _named(names: Iterable[str], like: Tensor) -> Tensor:
    return torch.tensor([name in names for name in TRAITS], device=like.device)


@torch.no_grad()
def calibrate(
    flows: Flows, decoder: Decoder, galaxies: Galaxies, missing: Tensor, seed: int
) -> None:
    """Set gain and shift of the traits that are told.

    Parameters
    ----------
    flows : Flows
        Trained; its `trait_context` is changed.
    decoder : Decoder
    galaxies : Galaxies
        Those of which some are taken: for their conditions and turns is drawn, and their traits,
        with what is missing, are wanted.
    missing : tensor (traits,)
        From `lost`.
    seed : int
        Of every random number.
    """
    context = flows.trait_context
    generator = torch.Generator(context.gain.device).manual_seed(seed)
    order = torch.randperm(len(galaxies.turn), generator=generator, device=generator.device)
    like = galaxies.at(order[: flow_constants.CALIBRATED])
    size = (len(like.turn), flows.noise_size)
    noise = torch.randn(size, generator=generator, device=generator.device)
    posed = flows.posed_context(like.conditions, like.turn)
    drawn = levels(flows.trait.from_noise(noise[:, flows.latent_size :], posed))
    wanted = levels(like.traits)
    wanted[0] += missing
    fixed = _named(STEPS, noise)
    told = drawn.clone()
    for _ in range(flow_constants.CALIBRATIONS):
        latents = flows.sample_latents(noise, like.conditions, like.turn)
        found = levels(torch.cat([measure_traits(decoder(z)) for z in latents.split(_PART)]))
        told[0] += wanted[0] - found[0]
        told[1] *= wanted[1] / found[1]
        gain = (told[1] / drawn[1]).clamp(1 / flow_constants.MOST_GAIN, flow_constants.MOST_GAIN)
        context.gain.copy_(torch.where(fixed, 1.0, gain))
        context.shift.copy_(torch.where(fixed, 0.0, told[0] - gain * drawn[0]))
