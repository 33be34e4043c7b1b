"""What the latent flow is told of traits, stretched until what it draws has those of galaxies.

Told of a galaxy's asymmetry the flow draws one a little smoother, as it cannot follow every latent.
That is small, and much alike for all galaxies: each trait is stretched by a gain and a shift. What
the decoder lost of the finest structure is not asked for: it would draw a pattern of pixels.
"""

import torch
from torch import Tensor

from galsim_vae.model.flow import Flows
from galsim_vae.model.traits import STEPS, TRAITS, measure_traits
from galsim_vae.model.vae import Decoder

from . import flow_constants
from .rows import Rows

__all__ = ["calibrate", "levels"]

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


@torch.no_grad()
def calibrate(flows: Flows, decoder: Decoder, rows: Rows, seed: int) -> None:
    """Set gain and shift of the traits that are told.

    Parameters
    ----------
    flows : Flows
        Trained; its `trait_context` is changed.
    decoder : Decoder
    rows : Rows
        Galaxies; for the conditions and turns of synthetic ones is drawn, and their traits are
        wanted.
    seed : int
        Of every random number.
    """
    context = flows.trait_context
    generator = torch.Generator(context.gain.device).manual_seed(seed)
    some = torch.randint(rows.synthetic, (flow_constants.CALIBRATED,), generator=generator,
                         device=generator.device)  # fmt: skip
    like = rows.shown.at(some)
    like = like.at(torch.isfinite(like.turn))
    size = (len(like.turn), flows.noise_size)
    noise = torch.randn(size, generator=generator, device=generator.device)
    posed = flows.posed_context(like.conditions, like.turn)
    drawn = levels(flows.trait.from_noise(noise[:, flows.latent_size :], posed))
    wanted = levels(like.traits)
    free = torch.tensor([name not in STEPS for name in TRAITS], device=noise.device)
    told = drawn.clone()
    for _ in range(flow_constants.CALIBRATIONS):
        latents = flows.sample_latents(noise, like.conditions, like.turn)
        found = levels(torch.cat([measure_traits(decoder(z)) for z in latents.split(_PART)]))
        told[0] += wanted[0] - found[0]
        told[1] *= wanted[1] / found[1]
        gain = (told[1] / drawn[1]).clamp(1 / flow_constants.MOST_GAIN, flow_constants.MOST_GAIN)
        context.gain.copy_(torch.where(free, gain, 1.0))
        context.shift.copy_(torch.where(free, told[0] - gain * drawn[0], 0.0))
