"""The strongest logarithmic spiral in an image of a galaxy.

exp(i (m theta + p ln r)) has m arms of pitch angle arctan(m / p); its part in the contrast to the
mean of each circle is a Fourier transform in the angle and in ln r (Puerari & Dottori 1992, A&AS
93, 469).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from galsim_vae.bands import HALF_LIGHT_PIXELS

__all__ = ["ARMS", "WINDING_STEP", "Spiral", "has_arms", "strongest"]

#: Numbers of arms that are looked for.
ARMS = (2, 3, 4, 5)
_RADII, _ANGLES = 32, 64
_INNER, _OUTER = 2.5, 18.0  # [pixel]
_WINDINGS = 64
#: Between the windings that are looked at.
WINDING_STEP = 2 * math.pi * (_RADII - 1) / (_WINDINGS * math.log(_OUTER / _INNER))
_TIGHTEST = 20.0  # |p| beyond which noise is wound tighter than arms are
_MOST_CONTRAST = 2.0
# Of clear arms. What is decoded of normal latents, blotches, reaches a share of 0.3 nearly as often
# as synthetic galaxies, of 0.45 less than half as often.
_LEAST_AMPLITUDE, _LEAST_SHARE, _LEAST_WINDING = 0.15, 0.45, 2.0
_NOTHING = 1e-7  # brightness of a circle over the galaxy's flux, in a pixel


class Spiral(NamedTuple):
    """The strongest spiral of each galaxy, tensors (n,).

    Attributes
    ----------
    arms : Tensor
        Their number, 2 to 5.
    winding : Tensor
        p; positive where arms wind counterclockwise inwards, near zero for a bar.
    phase : Tensor
        At the half-light radius of the frame [radian]: the crests are where m theta is less by it.
    amplitude : Tensor
        Of the contrast.
    share : Tensor
        Of all contrast that is not round, 1 at most.
    brighter : Tensor
        Angle of the side on which there is more light [radian].
    """

    arms: Tensor
    winding: Tensor
    phase: Tensor
    amplitude: Tensor
    share: Tensor
    brighter: Tensor


def strongest(images: Tensor) -> Spiral:
    """Look for it.

    Parameters
    ----------
    images : tensor (n, size, size)
        Without noise, in the frame of the networks.
    """
    contrast, log_radius = _polar(images)
    window = torch.hann_window(_RADII, periodic=False, device=images.device)
    waves = torch.fft.rfft(contrast, dim=2) * window[:, None]
    spirals = torch.fft.fft(waves[:, :, list(ARMS)], n=_WINDINGS, dim=1)
    winding = WINDING_STEP * _WINDINGS * torch.fft.fftfreq(_WINDINGS, device=images.device)
    power = spirals.abs().square() * (winding.abs() <= _TIGHTEST)[:, None]
    best = power.flatten(1).argmax(1)
    arms = best.new_tensor(ARMS)[best % len(ARMS)]
    p = winding[best // len(ARMS)]
    value = spirals.flatten(1).gather(1, best[:, None])[:, 0]
    phase = value.angle() + p * (math.log(HALF_LIGHT_PIXELS) - log_radius[0])
    whole = waves[:, :, 1:].abs().square().sum((1, 2)) * window.sum().square()
    share = value.abs().square() * window.square().sum() / whole.clamp(min=_NOTHING)
    amplitude = 2 * value.abs() / (_ANGLES * window.sum())
    return Spiral(arms, p, phase, amplitude, share, -waves[:, :, 1].sum(1).angle())


def has_arms(spiral: Spiral) -> Tensor:
    """Whether there are clear arms, (n,): a strong spiral, a large part of all contrast, no bar."""
    strong = (spiral.amplitude > _LEAST_AMPLITUDE) & (spiral.share > _LEAST_SHARE)
    return strong & (spiral.winding.abs() > _LEAST_WINDING)


def _polar(images: Tensor) -> tuple[Tensor, Tensor]:
    """Contrast to the mean of each circle (n, radii, angles), and ln radius (radii,)."""
    ends = (math.log(_INNER), math.log(_OUTER))
    log_radius = torch.linspace(*ends, _RADII, device=images.device)
    angle = torch.arange(_ANGLES, device=images.device) * (2 * math.pi / _ANGLES)
    radius = log_radius.exp()[:, None]
    place = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1)
    grid = (place / (images.shape[-1] / 2)).expand(len(images), -1, -1, -1)
    polar = F.grid_sample(images[:, None], grid, mode="bicubic", align_corners=False)[:, 0]
    mean = polar.mean(2, keepdim=True).clamp(min=_NOTHING)
    return (polar / mean - 1).clamp(-_MOST_CONTRAST, _MOST_CONTRAST), log_radius
