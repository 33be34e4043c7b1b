"""The variational autoencoder of pictures: stretched cutouts in any bands <-> latent vector.

It knows no PSF, no noise, no frame and no conditions, so that it can be trained on whatever cutouts
there are. Galaxies for simulations come from `galsim_vae.model.vae`.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from galsim.errors import GalSimValueError
from torch import Tensor, nn
from torch.nn import functional as F

from .beginning import begin_with_components, begin_with_signal, straight_path
from .blocks import LEAK, Halving, ResidualBlock, activate, double
from .flow import CouplingFlow, FlowConfig

__all__ = ["PictureConfig", "PictureDecoder", "PictureEncoder", "PictureVAE", "picture_flow"]

_CONDITION_WIDTH = 64


@dataclass(frozen=True)
class PictureConfig:
    """Bands and sizes of the network.

    Attributes
    ----------
    bands : tuple of str
        Names of the bands, in the order of the pictures' last axis.
    size : int
        Side of a picture [pixel], a multiple of 16.
    latent : int
        Number of latent dimensions.
    encoder_widths, decoder_widths : (int, int)
        Channels at 1/4 and at 1/8 of the resolution and below.
    """

    bands: tuple[str, ...] = ("i", "r", "g")
    size: int = 64
    latent: int = 64
    encoder_widths: tuple[int, int] = (48, 96)
    decoder_widths: tuple[int, int] = (32, 64)

    def __post_init__(self):
        if not self.bands or self.size % 16 or self.size < 32 or self.latent < 1:
            raise GalSimValueError(
                "A network of pictures needs a band, a latent and a side that is a multiple of 16 "
                "and at least 32", (self.bands, self.size, self.latent),
            )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PictureConfig":
        """Return what `to_dict` made."""
        names = ("bands", "encoder_widths", "decoder_widths")
        pairs: dict[str, Any] = {name: tuple(values[name]) for name in names}
        return cls(**{**values, **pairs})


class PictureEncoder(Halving):
    """Pictures -> mean and log-variance of the latent.

    `features` and `head` are apart, so that a classifier can take the place of the head.
    """

    def __init__(self, config: PictureConfig):
        super().__init__()
        wider = config.encoder_widths[1]
        self.width = wider * (config.size // 16) ** 2
        self.condition = nn.Sequential(
            nn.Linear(2 * len(config.bands), _CONDITION_WIDTH), nn.SiLU()
        )
        self.build(len(config.bands), config.encoder_widths, _CONDITION_WIDTH)
        self.last = ResidualBlock(wider, _CONDITION_WIDTH)
        self.head = nn.Linear(self.width, 2 * config.latent)
        self.straight = straight_path(len(config.bands) * config.size**2, config.latent, bias=False)

    def features(self, pictures: Tensor) -> Tensor:
        """Return what the last convolution finds, tensor (n, width).

        Parameters
        ----------
        pictures : tensor (n, bands, size, size)
            From `galsim_vae.latents.pictures.stretch`.
        """
        facts = torch.cat([pictures.mean((2, 3)), pictures.std((2, 3))], 1)
        c = self.condition(facts)
        return activate(self.last(self.halved(pictures, c), c)).flatten(1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, each tensor (n, latent), of `pictures` as in `features`."""
        mean, log_variance = self.head(self.features(pictures)).float().chunk(2, dim=1)
        return mean + self.straight(pictures.flatten(1)).float(), log_variance.clamp(-12.0, 6.0)


class PictureDecoder(nn.Module):
    """Latent -> pictures."""

    def __init__(self, config: PictureConfig):
        super().__init__()
        wide, wider = config.decoder_widths
        self.side = config.size // 8
        self.condition = nn.Sequential(nn.Linear(config.latent, _CONDITION_WIDTH), nn.SiLU())
        self.stem = nn.Linear(config.latent, wider * self.side**2)
        self.block1 = ResidualBlock(wider, _CONDITION_WIDTH)
        self.up1 = nn.Conv2d(wider, wide, 3, padding=1)
        self.block2 = ResidualBlock(wide, _CONDITION_WIDTH)
        self.up2 = nn.Conv2d(wide, wide, 3, padding=1)
        self.out = nn.Conv2d(wide, 4 * len(config.bands), 3, padding=1)
        for parameter in self.out.parameters():  # pictures begin as the straight path makes them
            nn.init.zeros_(parameter)
        self.straight = straight_path(config.latent, len(config.bands) * config.size**2)

    def forward(self, latent: Tensor) -> Tensor:
        """Return pictures (n, bands, size, size) of latents (n, latent)."""
        c = self.condition(latent)
        x = self.stem(latent).reshape(len(latent), -1, self.side, self.side)
        x = self.block1(x.contiguous(memory_format=torch.channels_last), c)
        x = self.block2(double(self.up1(x)), c)
        x = self.out(activate(double(self.up2(x))))
        found = F.pixel_shuffle(x.float(), 2)
        return found + self.straight(latent).reshape(found.shape)


class PictureVAE(nn.Module):
    """Encoder and decoder of one configuration."""

    def __init__(self, config: PictureConfig | None = None):
        super().__init__()
        self.config = config or PictureConfig()
        self.encoder = PictureEncoder(self.config)
        self.decoder = PictureDecoder(self.config)
        begin_with_signal(self, self.encoder.head, self.decoder.out, LEAK)

    def begin_with_components(self, pictures: Tensor) -> None:
        """Let latents begin as the principal components of pictures, on the straight paths.

        Parameters
        ----------
        pictures : tensor (m, bands, size, size)
            Stretched, more than there are latents.
        """
        encoder, decoder = self.encoder, self.decoder
        pixels = pictures.flatten(1)
        begin_with_components(encoder.straight, encoder.head, decoder.straight, pixels, pixels)


def picture_flow(latent: int, config: FlowConfig) -> CouplingFlow:
    """Return a flow without conditions: its context is one column of zeros."""
    return CouplingFlow(latent, 1, config)
