"""Steps of an optimiser along one cosine, and the moving average of the weights that is kept."""

import copy
import math
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from . import constants

__all__ = ["Descent", "paced"]

_Network = TypeVar("_Network", bound=nn.Module)


class Descent(Generic[_Network]):
    """What minimises a loss over the weights of a network.

    Parameters
    ----------
    network : Module
        Its weights are changed.
    optimizer : Optimizer
        Of its parameters. A group may have a ``share`` of the learning rate.
    name : str
        What errors call it.
    rate : float
        Peak of the learning rate.
    steps : int
        Number of all steps.
    clip : float
        Largest norm of the gradient.
    decay : float
        Of the moving average, which forgets faster in the first steps.

    Attributes
    ----------
    average : Module
        The moving average, a network of the same kind.
    """

    def __init__(
        self, network: _Network, optimizer: torch.optim.Optimizer, *, name: str, rate: float,
        steps: int, clip: float, decay: float,
    ):  # fmt: skip
        self.network, self.optimizer = network, optimizer
        self.average = copy.deepcopy(network)
        self._name = name
        self._rate, self._steps, self._clip, self._decay = rate, steps, clip, decay

    def step(self, number: int, loss: Tensor) -> None:
        """Take a step.

        Raises
        ------
        FloatingPointError
            The loss is not finite.
        """
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{self._name}: loss is {loss.item()} at step {number}")
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate * group.get("share", 1.0) * _schedule(number / self._steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._clip)
        self.optimizer.step()
        decay = min(self._decay, (number + 1) / (number + 10))
        _move(self.average, self.network, decay)


def paced(network: nn.Module, straight: list[nn.Linear]) -> list[dict[str, Any]]:
    """Return the groups of an optimiser: straight paths learn at a share of the rate.

    What needs no slope is left out.

    Parameters
    ----------
    network : Module
        The whole of it.
    straight : list of Linear
        Its parts that have `galsim_vae.train.fit.constants.STRAIGHT_SHARE` of the learning rate.
    """
    slow = [parameter for path in straight for parameter in path.parameters()]
    others = {id(parameter) for parameter in slow}
    fast = [p for p in network.parameters() if p.requires_grad and id(p) not in others]
    return [{"params": fast}, {"params": slow, "share": constants.STRAIGHT_SHARE}]


def _schedule(progress: float) -> float:
    """Learning rate relative to its peak after a share of the steps."""
    if progress < 0.02:
        return (progress + 1e-4) / 0.02
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - 0.02) / 0.98))


@torch.no_grad()
def _move(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move every parameter of `average` towards that of `network` by 1 - decay."""
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
