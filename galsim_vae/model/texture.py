"""Fine structure that latents leave open, drawn from noise of a galaxy's own.

A decoder that is trained on squared residuals gives the mean of all that its latents leave open:
too smooth a galaxy. What is left is drawn (Shen & Meinshausen 2024, arXiv:2307.00835): noise,
weighted at each place by what the decoder has there, is added to the decoder's features at half of
the resolution and to the logarithm of brightness. Without noise nothing is added.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .vae import LEAK, Decoder, VAEConfig, activate

__all__ = ["TEXTURE_MAPS", "Texture", "TexturedDecoder", "texture_shape"]

#: Maps of noise at half of the resolution: one number a pixel of the stamp.
TEXTURE_MAPS = 4
_WIDTH = 16


def texture_shape(config: VAEConfig) -> tuple[int, int, int]:
    """Return the shape of a galaxy's noise."""
    return TEXTURE_MAPS, config.size // 2, config.size // 2


class Texture(nn.Module):
    """Features at half of the resolution and noise -> what is added to them, and to the level.

    Parameters
    ----------
    config : VAEConfig
        Sizes of the decoder.
    """

    def __init__(self, config: VAEConfig):
        super().__init__()
        fine = config.fine_widths[0]
        self.fine = fine
        self.gain = nn.Conv2d(fine, _WIDTH, 1)
        # Without constants: no noise, no texture.
        self.noise = nn.Conv2d(TEXTURE_MAPS, _WIDTH, 3, padding=1, bias=False)
        self.mix = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False)
        self.out = nn.Conv2d(_WIDTH, fine + 4, 3, padding=1, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is added.

        Parameters
        ----------
        features : tensor (n, fine_widths[0], size/2, size/2)
            Of the decoder.
        noise : tensor (n, TEXTURE_MAPS, size/2, size/2)
            Of mean 0 and variance 1.

        Returns
        -------
        features : tensor (n, fine_widths[0], size/2, size/2)
        level : tensor (n, 1, size, size)
        """
        noise = noise.contiguous(memory_format=torch.channels_last)
        weighted = self.gain(activate(features)) * self.noise(noise)
        added = self.out(F.leaky_relu_(self.mix(weighted), LEAK))
        return added[:, : self.fine], F.pixel_shuffle(added[:, self.fine :], 2)


class TexturedDecoder(nn.Module):
    """Latent and noise -> stamps; see `Decoder`.

    Parameters
    ----------
    decoder : Decoder
    texture : Texture
    """

    def __init__(self, decoder: Decoder, texture: Texture):
        super().__init__()
        self.decoder, self.texture = decoder, texture

    def forward(self, latent: Tensor, noise: Tensor) -> Tensor:
        """Decode.

        Parameters
        ----------
        latent : tensor (n, latent)
        noise : tensor (n, TEXTURE_MAPS, size/2, size/2)
            Of mean 0 and variance 1; zeros give what `Decoder` gives.

        Returns
        -------
        tensor (n, bands, size, size)
        """
        decoder = self.decoder
        condition = decoder.condition(latent)
        features = decoder.features(latent, condition)
        added, level = self.texture(features, noise)
        return decoder.finish(latent, condition, features + added, level)
