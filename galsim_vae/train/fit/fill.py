"""Conditions that real galaxies lack, drawn anew each time that a galaxy is used.

A galaxy without a redshift teaches a flow nothing of galaxies that are asked for with one. It may
be at any redshift that its magnitude, size and shape allow; so it is given one of these.
"""

import torch
from torch import Tensor

from galsim_vae.conditions import NAMES
from galsim_vae.model.flow import Flows, to_variables
from galsim_vae.model.vae import Decoder

__all__ = ["NEARBY_MAGNITUDE", "alike", "fill_missing", "is_nearby", "lend", "with_colours"]

#: Galaxies of nearby surveys, whose magnitude and size say nothing of what HST would see of their
#: like, are brighter.
NEARBY_MAGNITUDE = 21.0
# Differences that count as much: mag, ln radius, |g|, ln(1 + z).
_SCALES = (0.5, 0.3, 0.2, 0.05)
_SEARCHED = 4096


def is_nearby(conditions: Tensor) -> Tensor:
    """Return which galaxies have neither magnitude nor size, bool tensor (n,)."""
    pair = [NAMES.index(name) for name in ("magnitude", "half_light_radius")]
    return torch.isnan(conditions[:, pair]).all(1)


@torch.no_grad()
def alike(conditions: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
    """Return which of others, of some thousands at random, has the most similar conditions.

    Parameters
    ----------
    conditions : tensor (n, 4)
        In the order of `NAMES`, complete.
    others : tensor (m, 4)
        NaN where missing: such a row is not taken.
    generator : torch.Generator

    Returns
    -------
    tensor (n,) of indices
    """
    pick = torch.randint(len(others), (_SEARCHED,), generator=generator, device=others.device)
    distance = torch.cdist(_scaled(conditions), _scaled(others[pick]))
    return pick[distance.nan_to_num(nan=torch.inf).argmin(1)]


@torch.no_grad()
def lend(
    latents: Tensor, conditions: Tensor, others: tuple[Tensor, Tensor], decoder: Decoder,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Give galaxies the colours of others like them.

    Parameters
    ----------
    latents, conditions : tensor (n, latent), (n, 4)
        Of the galaxies; conditions are complete.
    others : (tensor (m, latent), tensor (m, 4))
        Latents and conditions of the others.
    decoder : Decoder
        Whose first latents are mostly colours.
    generator : torch.Generator

    Returns
    -------
    tensor (n, latent)
        That decode to the others' colours, and differ in the first latents alone.
    """
    like = others[0][alike(conditions, others[1], generator)]
    return with_colours(latents, like, decoder)


@torch.no_grad()
def with_colours(latents: Tensor, others: Tensor, decoder: Decoder) -> Tensor:
    """Change the first latents so that galaxies decode to the colours of others, by Newton's steps.

    The others' first latents alone would not do: the decoder takes a part of the colours from all
    latents, and together with those of a real galaxy's structure F814W came out 0.2 mag too faint.

    Parameters
    ----------
    latents, others : tensor (n, latent)
    decoder : Decoder

    Returns
    -------
    tensor (n, latent)
    """
    count = decoder.config.bands - 1
    return decoder.recoloured(others[:, :count], latents[:, count:], decoder.colours(others))


def _scaled(conditions: Tensor) -> Tensor:
    return to_variables(conditions) / conditions.new_tensor(_SCALES)


@torch.no_grad()
def fill_missing(
    flows: Flows, conditions: Tensor, bright: Tensor, generator: torch.Generator
) -> Tensor:
    """Draw what is missing from the population, given what is known.

    Parameters
    ----------
    flows : Flows
        Whose population flow is trained.
    conditions : tensor (n, 4)
        In the order of `NAMES`; NaN where missing.
    bright : tensor (m,)
        Magnitudes of galaxies brighter than `NEARBY_MAGNITUDE`, one of which a nearby one is given.
    generator : torch.Generator

    Returns
    -------
    tensor (n, 4)
        Known ones as they are.
    """
    lacking = torch.isnan(conditions).any(1)
    if not lacking.any():
        return conditions
    known = conditions[lacking]
    n, device = len(known), conditions.device
    pick = torch.randint(len(bright), (n,), generator=generator, device=device)
    magnitude = NAMES.index("magnitude")
    known[:, magnitude] = torch.where(is_nearby(known), bright[pick], known[:, magnitude])
    noise = torch.randn((n, len(NAMES)), generator=generator, device=device)
    with torch.autocast(device.type, enabled=False):
        found = flows.sample_conditions(noise, known)
    filled = conditions.clone()
    filled[lacking] = found
    return filled
