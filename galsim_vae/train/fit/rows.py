"""What the flows of traits and latents are trained on: galaxies encoded, completed and measured."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from galsim_vae.conditions import NAMES
from galsim_vae.model.flow import Flows
from galsim_vae.model.traits import measure_traits, spread
from galsim_vae.model.vae import Decoder

from . import flow_constants
from .checkpoint import Collected, WorkFolder
from .encoded import Encoded
from .fill import NEARBY_MAGNITUDE, fill_missing, lend

__all__ = ["Galaxies", "Rows", "hide", "join", "outside", "with_traits", "within"]

_PART = 256  # galaxies completed or measured at a time


class Galaxies(NamedTuple):
    """Galaxies that a flow is shown, and all that it may be told of them.

    Attributes
    ----------
    latents : tensor (n, latent)
    conditions : tensor (n, 4)
        NaN where missing.
    turn : tensor (n,)
        NaN where not turned.
    traits : tensor (n, traits)
        Of what the latents decode to.
    """

    latents: Tensor
    conditions: Tensor
    turn: Tensor
    traits: Tensor

    def at(self, index: Tensor | slice) -> "Galaxies":
        """Return some of them."""
        return Galaxies(*(value[index] for value in self))


class Rows(NamedTuple):
    """All galaxies that there are for training.

    Attributes
    ----------
    kept : Galaxies
        Synthetic ones that no step sees: they give the radius of noise.
    shown : Galaxies
        The synthetic ones first.
    synthetic : int
        Number of synthetic galaxies among those shown.
    """

    kept: Galaxies
    shown: Galaxies
    synthetic: int

    def draw(self, count: int, generator: torch.Generator) -> Galaxies:
        """Return some of those shown, at random, as `hide` leaves them."""
        size, device = (count,), generator.device
        index = torch.randint(len(self.shown.turn), size, generator=generator, device=device)
        return hide(self.shown.at(index), generator)


def hide(galaxies: Galaxies, generator: torch.Generator) -> Galaxies:
    """Hide each condition, and the traits, of galaxies that are not turned: they are NaN then.

    Each with the probability `flow_constants.HIDE`.
    """
    size = len(galaxies.turn), len(NAMES) + 1
    hidden = torch.rand(size, generator=generator, device=generator.device) < flow_constants.HIDE
    hidden &= torch.isnan(galaxies.turn)[:, None]
    conditions = torch.where(hidden[:, :-1], torch.nan, galaxies.conditions)
    traits = torch.where(hidden[:, -1:], torch.nan, galaxies.traits)
    return galaxies._replace(conditions=conditions, traits=traits)


def within(conditions: Tensor, ranges: dict) -> Tensor:
    """Hide labels outside the ranges: they are not ones that can be asked for."""
    return torch.where(outside(conditions, ranges), torch.nan, conditions)


def outside(conditions: Tensor, ranges: dict) -> Tensor:
    """Return which labels (n, 4) are outside the ranges of `NAMES`."""
    limits = conditions.new_tensor([ranges[name] for name in NAMES]).T
    return (conditions < limits[0]) | (conditions > limits[1])


def join(
    flows: Flows, decoder: Decoder, made: Encoded, real: Encoded | None, ranges: dict, seed: int
) -> Encoded:
    """Join synthetic galaxies and real ones, and complete these.

    Real galaxies outside the ranges are left out: a label hidden would be filled in. What the
    others lack is drawn from the population, and as most of them are seen in one to three bands,
    they are given the colours of a synthetic one like them: what the encoder makes of bands that
    it has not seen is too uncertain to be learnt. Each of a galaxy's many copies has a draw of its
    own.

    Parameters
    ----------
    flows : Flows
        Whose population flow is trained.
    decoder : Decoder
    made, real : Encoded
        Synthetic and real galaxies.
    ranges : dict of str to (low, high)
        Of each of `NAMES`.
    seed : int
        Of what is drawn.

    Returns
    -------
    Encoded
        The synthetic ones first, as they are but for labels outside the ranges.
    """
    made = made._replace(conditions=within(made.conditions, ranges))
    if real is None:
        return made
    keep = ~outside(real.conditions, ranges).any(1)
    real = Encoded(*(value[keep] for value in real))
    magnitude = made.conditions[:, NAMES.index("magnitude")]
    bright = magnitude[magnitude < NEARBY_MAGNITUDE]
    generator = torch.Generator(magnitude.device).manual_seed(seed)
    others = made.latents, made.conditions

    def complete(latents: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        conditions = fill_missing(flows, conditions, bright, generator)
        return lend(latents, conditions, others, decoder, generator), conditions

    latents, conditions = _by_parts(complete, real.latents, real.conditions)
    real = real._replace(latents=latents, conditions=conditions)
    return Encoded(*(torch.cat(pair) for pair in zip(made, real, strict=True)))


def _by_parts(function: Callable, *values: Tensor) -> tuple[Tensor, ...]:
    parts = zip(*(value.split(_PART) for value in values), strict=True)
    return tuple(map(torch.cat, zip(*(function(*part) for part in parts), strict=True)))


@torch.no_grad()
def with_traits(
    decoder: Decoder, encoded: Encoded, synthetic: int, seed: int, work: WorkFolder
) -> Rows:
    """Measure the traits of galaxies on what they decode to; keep some from training.

    Parameters
    ----------
    decoder : Decoder
    encoded : Encoded
        The synthetic ones first.
    synthetic : int
        Number of these.
    seed : int
        Of what is drawn.
    work : WorkFolder
        Of ``traits.ckpt``.

    Returns
    -------
    Rows
    """
    latents = encoded.latents
    measured = Collected(("traits",), latents.device)
    checkpoint = work.checkpoint("traits", traits=measured)
    for part in checkpoint.steps(-(-len(latents) // _PART), "traits"):
        measured.append((measure_traits(decoder(latents[part * _PART :][:_PART])),))
    (traits,) = measured.joined()
    generator = torch.Generator(latents.device).manual_seed(seed)
    traits = spread(traits, generator)
    galaxies = Galaxies(latents, encoded.conditions, encoded.turn, traits)
    kept = min(flow_constants.RADIUS_GALAXIES, synthetic // 8)
    return Rows(galaxies.at(slice(kept)), galaxies.at(slice(kept, None)), synthetic - kept)
