"""What the latent flow is told of traits, shifted until what it draws has those of galaxies.

Told of a galaxy's asymmetry the flow draws one a little smoother, as it cannot follow every latent;
that is small, and much alike for galaxies of a magnitude. Encoding has lost some light of halos and
of colour gradients before: one number a trait, the median of the population. The finest power that
is lost is not asked for: the decoder, which cannot make it, would draw a pattern of pixels.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from galsim_vae.conditions import NAMES
from galsim_vae.model.flow import Flows
from galsim_vae.model.traits import FINEST, NEARLY, TRAITS, measure_traits
from galsim_vae.model.vae import Decoder

from . import flow_constants
from .rows import Galaxies

__all__ = ["calibrate", "lost"]

_PART = 256
_FEWEST = 30  # galaxies whose median is one of their magnitude


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
    """Set the shifts of the traits that are told, of `NEARLY`, by medians of like magnitude.

    Parameters
    ----------
    flows : Flows
        Trained; its `trait_context` is changed.
    decoder : Decoder
    galaxies : Galaxies
        Those of which some are taken, up to as many near each magnitude of the shifts: for their
        conditions and turns is drawn, and their traits, with what is missing, are wanted.
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
    like, nearest = _of_each_magnitude(flows, galaxies, generator)
    size = (len(like.turn), flows.noise_size)
    noise = torch.randn(size, generator=generator, device=generator.device)
    wanted = _medians(like.traits, nearest, shift) + missing
    for _ in range(flow_constants.CALIBRATIONS):
        latents = flows.sample_latents(noise, like.conditions, like.turn)
        found = torch.cat([measure_traits(decoder(z)) for z in latents.split(_PART)])
        more = wanted - _medians(found, nearest, shift)
        shift += torch.where(_named(NEARLY, shift), more, 0.0)
    if not torch.isfinite(shift).all():
        raise FloatingPointError("traits of drawn galaxies are not finite: train the flows again")


def _of_each_magnitude(
    flows: Flows, galaxies: Galaxies, generator: torch.Generator
) -> tuple[Galaxies, Tensor]:
    """Up to as many galaxies near each magnitude that has a shift, and the number of this."""
    order = torch.randperm(len(galaxies.turn), generator=generator, device=generator.device)
    magnitude = galaxies.conditions[order, NAMES.index("magnitude")]
    nearest = flows.trait_context.place(magnitude).round()
    count = len(flows.trait_context.shift)
    each = flow_constants.CALIBRATED // count
    some = torch.cat([(nearest == k).nonzero()[:each, 0] for k in range(count)])
    return galaxies.at(order[some]), nearest[some]


def _medians(traits: Tensor, nearest: Tensor, shift: Tensor) -> Tensor:
    """Of the traits of galaxies near each magnitude, as `shift`; of all where there are few.

    Those half-way are moved by a mix of two; what this leaves, the next round finds.
    """
    groups = [traits[nearest == k] for k in range(len(shift))]
    return torch.stack([(g if len(g) >= _FEWEST else traits).median(0).values for g in groups])
