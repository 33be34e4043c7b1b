"""What the latent flow is told of traits, shifted until what it draws has those of galaxies.

Told of a galaxy's asymmetry the flow draws one a little smoother, as it cannot follow every latent,
and encoding has lost some light of halos and of colour gradients before. Both are small, and much
alike for all galaxies. The finest power that is lost is not asked for: the decoder, which cannot
make it, would draw a pattern of pixels.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from galsim_vae.model.flow import Flows
from galsim_vae.model.traits import FINEST, NEARLY, TRAITS, measure_traits
from galsim_vae.model.vae import Decoder

from . import flow_constants
from .rows import Galaxies

__all__ = ["calibrate", "lost"]

_PART = 256


def lost(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the medians of true stamps less those of decoded ones, (traits,); 0 of `FINEST`.

    Parameters
    ----------
    pairs : iterable of (tensor, tensor)
        True and decoded stamps (n, bands, size, size), as `true_and_decoded` yields them.
    """
    measured = [tuple(map(measure_traits, pair)) for pair in pairs]
    true, decoded = (torch.cat(side).median(0).values for side in zip(*measured, strict=True))
    return torch.where(_named(FINEST, true), 0.0, true - decoded)


def _named(names: Iterable[str], like: Tensor) -> Tensor:
    return torch.tensor([name in names for name in TRAITS], device=like.device)


@torch.no_grad()
def calibrate(
    flows: Flows, decoder: Decoder, galaxies: Galaxies, missing: Tensor, seed: int
) -> None:
    """Set the shift of the traits that are told, of `NEARLY`, by medians.

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

    Raises
    ------
    FloatingPointError
        The median of a trait of drawn galaxies is not finite.
    """
    shift = flows.trait_context.shift
    generator = torch.Generator(shift.device).manual_seed(seed)
    order = torch.randperm(len(galaxies.turn), generator=generator, device=generator.device)
    like = galaxies.at(order[: flow_constants.CALIBRATED])
    size = (len(like.turn), flows.noise_size)
    noise = torch.randn(size, generator=generator, device=generator.device)
    wanted = like.traits.median(0).values + missing
    for _ in range(flow_constants.CALIBRATIONS):
        latents = flows.sample_latents(noise, like.conditions, like.turn)
        found = torch.cat([measure_traits(decoder(z)) for z in latents.split(_PART)])
        shift += torch.where(_named(NEARLY, shift), wanted - found.median(0).values, 0.0)
    if not torch.isfinite(shift).all():
        raise FloatingPointError("traits of drawn galaxies are not finite: train the flows again")
