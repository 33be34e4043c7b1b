"""A draft of a galaxy's latents is mixed with noise and carried on along nearly straight ways.

Arms are rings among the latents: turned by any angle, a galaxy is another of the same kind.
Coupling layers, whose every step is a stretching of axes, make blotches of them. A velocity that
depends on place and time can bend, and is learnt by regression (flow matching: Lipman et al. 2023,
arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003), without the determinants of a density. It
begins with what another flow has drawn, mixed with noise in which what that flow got wrong is lost
(Meng et al. 2022, arXiv:2108.01073): what all galaxies have in common need not be learnt twice.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Transport", "TransportConfig"]

_WAVES = 16  # of the time, as the network sees it
_CONDITION_WIDTH = 128
_TURNS = 30  # of the iteration that undoes a step


@dataclass(frozen=True)
class TransportConfig:
    """Sizes of the network.

    Attributes
    ----------
    width : int
        Of each layer.
    blocks : int
        Number of residual blocks.
    begin : float
        Time at which a draft is mixed with noise: the later, the more is left of it.
    steps : int
        From there to the end; each takes the velocity twice.
    """

    width: int = 768
    blocks: int = 6
    begin: float = 0.5
    steps: int = 2

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class _Block(nn.Module):
    """Two linear layers, shifted and scaled by a condition; starts as identity."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.told = nn.Linear(_CONDITION_WIDTH, 2 * width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        for layer in (self.told, self.second):
            _begin_with_zero(layer)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.told(condition).chunk(2, dim=1)
        return x + self.second(F.silu(self.first(self.norm(x) * (1 + scale) + shift)))


class Transport(nn.Module):
    """A velocity that carries standard normal noise (time 0) to a distribution (time 1).

    Parameters
    ----------
    dimensions : int
        Size of the vectors, whose components are uncorrelated and of unit variance.
    context : int
        Size of the vectors that they are conditioned on.
    config : TransportConfig

    Attributes
    ----------
    scale : tensor (dimensions,)
        By which the components are multiplied on their way: what is larger comes out of the noise
        earlier, and counts more for training.
    """

    waves: Tensor
    scale: Tensor

    def __init__(self, dimensions: int, context: int, config: TransportConfig):
        super().__init__()
        self.config = config
        told = 2 * _WAVES + 1 + context
        self.condition = nn.Sequential(
            nn.Linear(told, _CONDITION_WIDTH), nn.SiLU(),
            nn.Linear(_CONDITION_WIDTH, _CONDITION_WIDTH), nn.SiLU(),
        )  # fmt: skip
        self.stem = nn.Linear(dimensions, config.width)
        self.blocks = nn.ModuleList(_Block(config.width) for _ in range(config.blocks))
        self.out = nn.Linear(config.width, dimensions)
        self.stretch = nn.Linear(_CONDITION_WIDTH, dimensions)
        for layer in (self.out, self.stretch):
            _begin_with_zero(layer)
        self.register_buffer("scale", torch.ones(dimensions))
        self.register_buffer("waves", math.pi * torch.arange(1.0, _WAVES + 1), persistent=False)

    def forward(self, place: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Return the velocity (n, dimensions) at places (n, dimensions) and times (n, 1)."""
        phase = time * self.waves
        condition = self.condition(torch.cat([time, phase.sin(), phase.cos(), context], 1))
        x = self.stem(place)
        for block in self.blocks:
            x = block(x, condition)
        # What is normal noise in the end as well only shrinks and grows on its way.
        variance = self.scale.square()
        shrink = (time * variance - (1 - time)) / ((1 - time).square() + time.square() * variance)
        return self.out(x) + (shrink + self.stretch(condition)) * place

    def misfit(self, values: Tensor, noise: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Squared error of the velocity between noise and values, (n,): what training minimises.

        Parameters
        ----------
        values, noise : tensor (n, dimensions)
            The ends of each way.
        time : tensor (n, 1)
            Where on it, from 0 to 1.
        context : tensor (n, context)
        """
        end = values * self.scale
        velocity = self((1 - time) * noise + time * end, time, context)
        return (velocity.float() - (end - noise)).square().mean(1)

    def refined(self, draft: Tensor, noise: Tensor, context: Tensor) -> Tensor:
        """Carry a draft on from where it is mixed with noise.

        Parameters
        ----------
        draft, noise : tensor (n, dimensions)
            Components of a sample of another distribution, not far from this one, and standard
            normal noise.
        context : tensor (n, context)

        Returns
        -------
        tensor (n, dimensions)
        """
        begin = self.config.begin
        place = (1 - begin) * noise + begin * draft * self.scale
        for step in range(self.config.steps):
            place = self._moved(place, step, context)
        return place / self.scale

    def noise_of(self, values: Tensor, context: Tensor) -> Tensor:
        """Noise (n, dimensions) that refines values, taken as a draft, to themselves.

        To about 1e-4: each step is undone by iteration.
        """
        begin = self.config.begin
        place = values * self.scale
        for step in reversed(range(self.config.steps)):
            end = place
            for _ in range(_TURNS):
                place = place + end - self._moved(place, step, context)
        return (place - begin * values * self.scale) / (1 - begin)

    def _moved(self, place: Tensor, step: int, context: Tensor) -> Tensor:
        """Take a step by the velocity in its middle."""
        length = (1 - self.config.begin) / self.config.steps
        time = place.new_full((len(place), 1), self.config.begin + step * length)
        middle = place + 0.5 * length * self(place, time, context)
        return place + length * self(middle, time + 0.5 * length, context)


def _begin_with_zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
