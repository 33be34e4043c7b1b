"""The variational autoencoder: observed canonical stamps <-> latent vector -> PSF-free stamps."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Brings images of unit flux to values of order one where the galaxy is brighter than the sky.
_STRETCH = 200.0
_CONDITION_WIDTH = 96
_LEAK = 0.1  # slope of the activation below zero


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of the network.

    Attributes
    ----------
    bands : number of bands.
    reference : index of the reference band, the one that has unit flux.
    size : side of the stamp [pixel], a multiple of 16.
    latent : number of latent dimensions.
    widths : channels of the decoder at 1/4 and at 1/8 of the stamp's resolution.
    fine_widths : channels of the decoder at 1/2 and at full resolution.
    encoder_widths : channels of the encoder at 1/4 and at 1/8 of the resolution and below; it
        may be the larger one, since only the decoder runs when galaxies are drawn.
    """

    bands: int = 5
    reference: int = 2
    size: int = 64
    latent: int = 128
    widths: tuple[int, int] = (64, 128)
    fine_widths: tuple[int, int] = (32, 8)
    encoder_widths: tuple[int, int] = (96, 192)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "VAEConfig":
        names = ("widths", "fine_widths", "encoder_widths")
        pairs: dict[str, Any] = {name: tuple(values[name]) for name in names}
        return cls(**{**values, **pairs})


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shift given by a conditioning vector; starts as identity."""

    def __init__(self, channels: int, condition: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.shift = nn.Linear(condition, channels)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.first(_activate(x)).add_(self.shift(condition)[:, :, None, None])
        return self.second(F.leaky_relu_(h, _LEAK)).add_(x)


class Encoder(nn.Module):
    """Observed canonical stamps, their PSFs and noise -> mean and log-variance of the latent."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        wide, wider = config.encoder_widths
        self.condition = nn.Sequential(
            nn.Linear(3 * config.bands, _CONDITION_WIDTH), nn.SiLU(),
            nn.Linear(_CONDITION_WIDTH, _CONDITION_WIDTH), nn.SiLU(),
        )  # fmt: skip
        self.stem = nn.Conv2d(2 * config.bands * 16, wide, 3, padding=1)
        self.blocks1 = nn.ModuleList(ResidualBlock(wide, _CONDITION_WIDTH) for _ in range(2))
        self.down1 = nn.Conv2d(wide, wider, 3, stride=2, padding=1)
        self.blocks2 = nn.ModuleList(ResidualBlock(wider, _CONDITION_WIDTH) for _ in range(2))
        self.down2 = nn.Conv2d(wider, wider, 3, stride=2, padding=1)
        self.blocks3 = nn.ModuleList(ResidualBlock(wider, _CONDITION_WIDTH) for _ in range(1))
        self.head = nn.Linear(wider * (config.size // 16) ** 2, 2 * config.latent)
        with torch.no_grad():  # start near the prior
            self.head.weight.mul_(0.1)

    def forward(
        self, images: Tensor, psf_width: Tensor, noise: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode.

        Parameters
        ----------
        images : tensor (n, bands, size, size), any linear unit, the same in all bands of a galaxy.
        psf_width : tensor (n, bands), from `psf_width` [pixel].
        noise : tensor (n, bands), rms per pixel in the unit of `images`.
        mask : bool tensor (n, bands, size, size), True where a pixel was observed and is clean.

        Returns
        -------
        mean, log_variance : tensors (n, latent)
        """
        images = images * mask
        scale = images.sum((2, 3)).amax(1).clamp(min=1e-12)
        observed = mask.flatten(2).any(2)
        pixels = torch.asinh(images * (_STRETCH / scale[:, None, None, None]))
        width = torch.log(psf_width.clamp(min=1e-3))
        level = torch.log(_STRETCH * noise / scale[:, None] + 1e-3)
        features = torch.cat([width * observed, level * observed, observed.to(width.dtype)], 1)
        c = self.condition(features)
        x = F.pixel_unshuffle(torch.cat([pixels, mask.to(pixels.dtype)], 1), 4)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        for block in self.blocks1:
            x = block(x, c)
        x = self.down1(x)
        for block in self.blocks2:
            x = block(x, c)
        x = self.down2(x)
        for block in self.blocks3:
            x = block(x, c)
        mean, log_variance = self.head(_activate(x).flatten(1)).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 6.0)


class Decoder(nn.Module):
    """Latent -> PSF-free canonical stamps, non-negative, unit flux in the reference band."""

    envelope: Tensor
    taper: Tensor

    def __init__(self, config: VAEConfig):
        super().__init__()
        wide, wider = config.widths
        fine, finest = config.fine_widths
        c = _CONDITION_WIDTH
        self.config = config
        self.condition = nn.Sequential(
            nn.Linear(config.latent, 2 * c), nn.SiLU(), nn.Linear(2 * c, c), nn.SiLU()
        )
        self.colour = nn.Linear(c, config.bands)
        self.stem = nn.Linear(config.latent, wider * (config.size // 8) ** 2)
        self.blocks1 = nn.ModuleList(ResidualBlock(wider, c) for _ in range(1))
        self.up1 = nn.Conv2d(wider, wide, 3, padding=1)
        self.blocks2 = nn.ModuleList(ResidualBlock(wide, c) for _ in range(2))
        self.up2 = nn.Conv2d(wide, fine, 3, padding=1)
        self.blocks3 = nn.ModuleList(ResidualBlock(fine, c) for _ in range(1))
        self.up3 = nn.Conv2d(fine, 4 * finest, 3, padding=1)
        self.out = nn.Conv2d(finest, config.bands, 3, padding=1)
        self.register_buffer("envelope", _envelope(config.size), persistent=False)
        self.register_buffer("taper", _taper(config.size), persistent=False)

    def forward(self, latent: Tensor) -> Tensor:
        """Decode.

        Parameters
        ----------
        latent : tensor (n, latent).

        Returns
        -------
        tensor (n, bands, size, size); the reference band sums to 1, every other band to its
        f_nu flux relative to it.
        """
        side = self.config.size // 8
        c = self.condition(latent)
        x = self.stem(latent).reshape(len(latent), -1, side, side)
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks1:
            x = block(x, c)
        x = _double(self.up1(x))
        for block in self.blocks2:
            x = block(x, c)
        x = _double(self.up2(x))
        for block in self.blocks3:
            x = block(x, c)
        x = F.leaky_relu_(F.pixel_shuffle(self.up3(_activate(x)), 2), _LEAK)
        stamps = F.softplus(self.out(x).float().contiguous()) * self.envelope
        # The kernel is positive, and zero at the Nyquist frequency, where upsampling leaves a
        # checkerboard that GalSim would see as structure.
        stamps = _smooth(stamps) * self.taper
        stamps = stamps / stamps.sum((2, 3), keepdim=True)
        colour = self.colour(c).float().clamp(-8.0, 8.0)
        ratio = torch.exp(colour - colour[:, self.config.reference, None])
        return stamps * ratio[:, :, None, None]


class VAE(nn.Module):
    """Encoder and decoder of one configuration."""

    def __init__(self, config: VAEConfig | None = None):
        super().__init__()
        self.config = config or VAEConfig()
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)


def psf_width(otf: Tensor) -> Tensor:
    """Return the sigma of the Gaussian with the same noise-equivalent area as each PSF.

    Parameters
    ----------
    otf : complex or real tensor (..., size, size // 2 + 1), `rfft2` of PSFs of unit sum.

    Returns
    -------
    tensor (...) [pixel]
    """
    size = otf.shape[-2]
    power = otf.abs().square()
    whole = 2 * power.sum((-2, -1)) - power[..., 0].sum(-1) - power[..., -1].sum(-1)
    return (size**2 / (4 * math.pi * whole.clamp(min=1e-12))).sqrt()


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _LEAK)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _envelope(size: int) -> Tensor:
    """Mean profile that the network modulates: exponential with a core and faint wide wings."""
    axis = torch.arange(size) - (size - 1) / 2
    r = torch.hypot(axis[:, None], axis[None, :]) * (64 / size)
    return torch.exp(-r / 4.0) + 0.02 * torch.exp(-r / 10.0) + 2.0 * torch.exp(-r / 1.2)


def _taper(size: int) -> Tensor:
    """Window that is 1 inside and falls to zero, as a squared cosine, over the outer tenth.

    An edge-on galaxy reaches the ends of its stamp; cut there, it would have a visible edge.
    """
    edge = size / 10
    axis = (torch.arange(size) - (size - 1) / 2).abs()
    distance = (size / 2 - axis).clamp(max=edge)
    window = torch.sin(0.5 * math.pi * distance / edge).square()
    return window[:, None] * window[None, :]


def _smooth(stamps: Tensor) -> Tensor:
    """Convolve with (1, 2, 1) / 4 in x and in y; slices are much faster than a convolution."""
    padded = F.pad(stamps, (1, 1, 1, 1))
    rows = 0.25 * (padded[..., :-2] + padded[..., 2:]) + 0.5 * padded[..., 1:-1]
    return 0.25 * (rows[..., :-2, :] + rows[..., 2:, :]) + 0.5 * rows[..., 1:-1, :]
