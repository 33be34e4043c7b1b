"""What the networks of galaxies and of pictures are built of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LEAK", "Halving", "ResidualBlock", "Trunk", "activate", "double"]

#: Slope of the activation below zero.
LEAK = 0.1


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
        h = self.first(activate(x)).add_(self.shift(condition)[:, :, None, None])
        return self.second(F.leaky_relu_(h, LEAK)).add_(x)


class Halving(nn.Module):
    """What encoders share: images -> features at 1/16 of their resolution."""

    def build(self, channels: int, widths: tuple[int, int], condition: int) -> None:
        """Make the layers.

        Parameters
        ----------
        channels : int
            Of the images.
        widths : (int, int)
            Channels at 1/4 and at 1/8 of the resolution and below.
        condition : int
            Size of the conditioning vector.
        """
        wide, wider = widths
        self.stem = nn.Conv2d(channels * 16, wide, 3, padding=1)
        self.blocks1 = nn.ModuleList(ResidualBlock(wide, condition) for _ in range(2))
        self.down1 = nn.Conv2d(wide, wider, 3, stride=2, padding=1)
        self.blocks2 = nn.ModuleList(ResidualBlock(wider, condition) for _ in range(2))
        self.down2 = nn.Conv2d(wider, wider, 3, stride=2, padding=1)

    def halved(self, images: Tensor, condition: Tensor) -> Tensor:
        """Features (n, widths[1], size / 16, size / 16) of images (n, channels, size, size)."""
        x = F.pixel_unshuffle(images, 4)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        for block in self.blocks1:
            x = block(x, condition)
        x = self.down1(x)
        for block in self.blocks2:
            x = block(x, condition)
        return self.down2(x)


class Trunk(Halving):
    """Images -> flat features; parameters are those of `Halving.build`."""

    def __init__(self, channels: int, widths: tuple[int, int], condition: int):
        super().__init__()
        self.build(channels, widths, condition)
        self.blocks3 = nn.ModuleList(ResidualBlock(widths[1], condition) for _ in range(1))

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """Features (n, widths[1] * (size / 16)^2) of images (n, channels, size, size)."""
        x = self.halved(images, condition)
        for block in self.blocks3:
            x = block(x, condition)
        return activate(x).flatten(1)


def activate(x: Tensor) -> Tensor:
    """Return the activation that the networks share, a leaky ReLU."""
    return F.leaky_relu(x, LEAK)


def double(x: Tensor) -> Tensor:
    """Interpolate images (n, channels, side, side) to twice the resolution."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
