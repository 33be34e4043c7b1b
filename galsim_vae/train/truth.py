"""What is known of a synthetic galaxy beside its image: its true power spectrum and colours.

Where the data do not say at which place there is structure, the mean of all that is possible is the
best answer to the likelihood of pixels: too smooth a galaxy. That there is structure, and how much,
is known; a network that is asked for it as well puts it somewhere. And colours, four numbers beside
thousands of pixels, weigh little in that likelihood until all structure is right.
"""

import torch
from torch import Tensor

# Cycles a stamp. Lower ones are the galaxy's size and shape, which pixels tell well enough; the
# decoder's last kernel is zero at 32.
_RINGS = torch.arange(4, 29)
# Added to the power of stamps of unit flux (1 at zero cycles), so that rings in which a smooth
# galaxy has next to none do not rule the logarithm.
_POWER_FLOOR = 3e-6
_FLUX_FLOOR = 0.02  # relative error of a flux below which there is little to gain
# Noise of a galaxy's flux over that of a pixel, about: between an aperture of twice the half-light
# radius (21) and the whole stamp (64).
_FLUX_NOISE = 40.0


def power_misfit(stamps: Tensor, truth: Tensor) -> Tensor:
    """Squared difference of the logarithms of the power in each ring, mean over rings and bands.

    Parameters
    ----------
    stamps, truth : tensors (n, bands, size, size), decoded and true, without PSF and noise.

    Returns
    -------
    tensor (n,)
    """
    return (_log_power(stamps) - _log_power(truth)).square().mean((1, 2))


def colour_misfit(stamps: Tensor, truth: Tensor, noise: Tensor, observed: Tensor) -> Tensor:
    """Difference of the logarithms of each band's flux, in units of what it can be known to.

    Squared where small, the distance itself (pseudo-Huber) where large.

    Parameters
    ----------
    stamps, truth : tensors (n, bands, size, size), decoded and true, without PSF and noise.
    noise : tensor (n, bands), rms per pixel of the image that was encoded.
    observed : bool tensor (n, bands); other bands do not count.

    Returns
    -------
    tensor (n,), sum over bands
    """
    true = truth.sum((2, 3))
    variance = _FLUX_FLOOR**2 + (_FLUX_NOISE * noise / true).square()
    error = torch.log(stamps.sum((2, 3)) / true).square() / variance
    return (((1 + error).sqrt() - 1) * observed).sum(1)


def _log_power(stamps: Tensor) -> Tensor:
    """Logarithm of the mean power of stamps of unit flux in each ring, (n, bands, rings).

    Under a window: a galaxy cut off at the stamp's ends has power there that is not its own.
    """
    size = stamps.shape[-1]
    cycles = torch.fft.fftfreq(size, device=stamps.device) * size
    ring = torch.hypot(cycles[:, None], cycles[: size // 2 + 1]).round()
    inside = (ring[..., None] == _RINGS.to(stamps.device)).flatten(0, 1).to(stamps.dtype)
    unit = _window(stamps) * stamps / stamps.sum((2, 3), keepdim=True)
    power = torch.fft.rfft2(unit).abs().square().flatten(2)
    with torch.autocast(stamps.device.type, enabled=False):  # powers span eight decades
        return torch.log(power @ (inside / inside.sum(0)) + _POWER_FLOOR)


def _window(stamps: Tensor) -> Tensor:
    """1 in the inner half of a stamp, falling nearly to zero at its ends as a squared cosine."""
    size = stamps.shape[-1]
    axis = (torch.arange(size, device=stamps.device, dtype=stamps.dtype) - (size - 1) / 2).abs()
    window = torch.cos(torch.pi * (2 * axis / size - 0.5).clamp(min=0)).square()
    return window[:, None] * window
