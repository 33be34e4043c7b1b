"""What an encoder's reconstruction lacks, and a correction of the latent by it.

An encoder is one function for all galaxies; what it misses of one shows in the difference between
that galaxy's image and its reconstruction, which a second network turns into a correction, as often
as wanted (Marino, Yue & Mandt 2018, arXiv:1807.09356; Putzky & Welling 2017, arXiv:1706.04008).
"""

import torch
from torch import Tensor, nn

from . import likelihood
from .beginning import straight_path
from .blocks import Trunk

__all__ = ["FAINT", "SEEN", "Look", "in_units_of_noise"]

#: Signal-to-noise ratio of a pixel from which brightness counts by its logarithm.
SEEN = 3.0
#: Brightness of a pixel over the galaxy's flux below which contrast counts little, as in training.
FAINT = 1e-4
_LEAST_NOISE = 1e-5  # that is allowed for, over the galaxy's flux
_LEAST_FLUX = 1e-2  # of a band, over the galaxy's
_NOTHING = 1e-12


class Look(nn.Module):
    """Images and their reconstructions -> corrections of latents; none before training.

    Parameters
    ----------
    bands, size, latent : int
        Of stamps and latents; the first bands - 1 latents are mostly colours.
    widths : (int, int)
        Channels of its `Trunk`.
    condition : int
        Size of the vector of what the encoder is told beside pixels.
    """

    def __init__(self, bands: int, size: int, latent: int, widths: tuple[int, int], condition: int):
        super().__init__()
        self.trunk = Trunk(4 * bands, widths, condition)
        told = condition + bands + latent
        self.colour = nn.Linear(told, bands - 1)
        pooled = widths[1] * (size // 16) ** 2
        self.structure = nn.Linear(pooled + told, latent - (bands - 1))
        self.gain = nn.Linear(condition, latent)
        self.straight = straight_path(size**2, latent, bias=False)
        for layer in (self.colour, self.structure, self.gain):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, images: Tensor, model: Tensor, noise: Tensor, mask: Tensor, condition: Tensor,
        latent: Tensor,
    ) -> Tensor:  # fmt: skip
        """Correct.

        Parameters
        ----------
        images : tensor (n, bands, size, size)
        model : tensor (n, bands, size, size)
            What `latent` decodes to, convolved with the PSFs; of any flux.
        noise, mask : Tensor
            As the encoder is given them.
        condition : tensor (n, condition)
        latent : tensor (n, latent)

        Returns
        -------
        tensor (n, latent), to be added to `latent`
        """
        weight = mask / noise.square().clamp(min=_NOTHING)[:, :, None, None]
        flux = likelihood.fit_amplitude(images, model, weight).clamp(min=_NOTHING)
        images = images * mask / flux[:, None, None, None]
        model = (model * mask).clamp(min=0)
        noise = noise / flux[:, None]
        lacking = images - model
        least = (SEEN * noise)[:, :, None, None]
        light = model + least + FAINT
        contrast = torch.asinh(lacking / light)
        channels = [in_units_of_noise(lacking, noise), contrast, model / light, mask.to(model)]
        pooled = self.trunk(torch.cat(channels, 1), condition)
        ratio = _flux(images) / _flux(model)
        told = torch.cat([condition, ratio.log() * mask.flatten(2).any(2), latent], 1)
        found = torch.cat([self.colour(told), self.structure(torch.cat([pooled, told], 1))], 1)
        seen = _together(lacking, model, noise, mask).flatten(1)
        return found.float() + torch.sigmoid(self.gain(condition)) * self.straight(seen).float()


def in_units_of_noise(images: Tensor, noise: Tensor) -> Tensor:
    """Stretch images (n, bands, ...) of unit flux so that what is just above the noise shows.

    Values are of order one; `noise` is (n, bands).
    """
    unit = SEEN * noise + _LEAST_NOISE
    return torch.asinh(images / unit[:, :, None, None]) / 3


def _flux(images: Tensor) -> Tensor:
    """Flux of each band, not below a hundredth of the galaxy's."""
    return images.sum((2, 3)).clamp(min=_LEAST_FLUX)


def _together(lacking: Tensor, model: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
    """Contrast of what all bands together lack, weighted by their signal to noise (n, size, size).

    Bands count alike, whatever the galaxy's colours: each is of unit flux.
    """
    flux = _flux(model)
    weight = (flux / noise.clamp(min=_NOTHING)).square()[:, :, None, None] * mask
    total = weight.sum(1).clamp(min=_NOTHING)
    light, more = (
        (weight * part / flux[:, :, None, None]).sum(1) / total for part in (model, lacking)
    )
    return torch.asinh(more / (light + SEEN * total.rsqrt() + FAINT))
