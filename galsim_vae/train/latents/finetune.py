"""The encoder of pictures trained along with a classifier, on one or several sets of labels.

The encoder starts from the weights of the autoencoder. Sets that are labelled in other ways (votes,
attributes) may be trained along with the one that counts: each has a head of its own, and all share
the encoder. Pictures of another survey, without labels, may be shown too: then what the heads are
given is to look alike in both surveys, see `galsim_vae.train.latents.head`. Pictures are turned,
mirrored, zoomed and shifted at random; what is predicted of a picture is the mean over its eight
turns and mirror images.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from galsim.errors import GalSimValueError
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from galsim_vae.devices import half_precision
from galsim_vae.model.pictures import PictureVAE
from galsim_vae.train.fit.descent import Descent
from galsim_vae.train.fit.pictures import augmented
from galsim_vae.train.fit.recipe import training_settings

from .head import Likeness

__all__ = ["FineTuning", "Network", "Task", "fine_tune"]

_WIDTH = 128
_DROP = 0.3
_SMOOTHING = 0.05  # of labels: the share that goes to the other classes
_GREY = 0.1
_PART = 64
# Share of the steps before another survey counts (by then the answers for it mean something), and
# the memory of its shares of the classes, from step to step.
_WARM, _MEMORY = 0.25, 0.98


@dataclass(frozen=True)
class Task:
    """Pictures and what is known of them.

    Attributes
    ----------
    pictures : ndarray (n, bands, size, size) float32
        Stretched.
    targets : ndarray
        (n,) int: a class, 0 and up. Or (n, count) float in [0, 1]: shares, NaN where unknown.
    """

    pictures: NDArray
    targets: NDArray

    @property
    def is_class(self) -> bool:
        """Whether the targets are classes."""
        return self.targets.ndim == 1

    @property
    def outputs(self) -> int:
        """Number of outputs of the head."""
        return int(self.targets.max()) + 1 if self.is_class else self.targets.shape[1]


@dataclass(frozen=True)
class FineTuning:
    """How long and how.

    Attributes
    ----------
    steps, batch : int
        Of the optimiser.
    learning_rate : float
        Peak of the schedule for the new layers; the encoder's is a third of it.
    seed : int
        Of the new layers and of the order and the changes of the pictures.
    """

    steps: int = 2400
    batch: int = 64
    learning_rate: float = 3e-3
    seed: int = 1


class Network(nn.Module):
    """The encoder, a layer that all tasks share, and a head for each."""

    def __init__(self, vae: PictureVAE, outputs: dict[str, int]):
        super().__init__()
        self.encoder = copy.deepcopy(vae.encoder).requires_grad_(True)
        self.shared = nn.Sequential(
            nn.Dropout(_DROP), nn.Linear(self.encoder.width, _WIDTH), nn.SiLU(), nn.Dropout(_DROP)
        )
        self.heads = nn.ModuleDict({name: nn.Linear(_WIDTH, n) for name, n in outputs.items()})
        self.classes: dict[str, bool] = {}

    def forward(self, pictures: Tensor) -> Tensor:
        """Return what the heads are given, tensor (n, 128)."""
        return self.shared(self.encoder.features(pictures))

    @torch.inference_mode()
    def predict(self, pictures: NDArray, task: str, progress: bool = False) -> NDArray:
        """Return probabilities of the classes, or shares, (n, outputs) float.

        Parameters
        ----------
        pictures : ndarray (n, bands, size, size)
            Stretched.
        task : str
            Name of the task.
        progress : bool
            Show a bar.
        """
        self.eval()
        last = (lambda x: x.softmax(1)) if self.classes[task] else torch.sigmoid
        starts = tqdm(range(0, len(pictures), _PART), "predicting", disable=not progress)
        parts = []
        for start in starts:
            part = torch.from_numpy(pictures[start : start + _PART])
            seen = [torch.rot90(p, k, (2, 3)) for p in (part, part.flip(3)) for k in range(4)]
            found = torch.stack([last(self.heads[task](self(p)).float()) for p in seen])
            parts.append(found.mean(0))
        return torch.cat(parts).numpy().astype(float)


def fine_tune(
    vae: PictureVAE, tasks: dict[str, Task], config: FineTuning, progress: bool = False,
    target: NDArray | None = None,
) -> Network:  # fmt: skip
    """Train the encoder and the heads of all tasks together.

    Parameters
    ----------
    vae : PictureVAE
        Its encoder is copied.
    tasks : dict of str to Task
        Those to learn. Half of the pictures of a step are of the first one, if there are several;
        the others are drawn from all other tasks alike.
    config : FineTuning
        How long.
    progress : bool
        Show a bar.
    target : ndarray (n, bands, size, size), optional
        Pictures of another survey, to be seen like those of the first task, which is of classes.

    Returns
    -------
    Network
        The moving average of the weights.

    Raises
    ------
    galsim.GalSimValueError
        A task or a target with pictures of another size or without pictures; a task with one class
        only.
    """
    size, bands = vae.config.size, len(vae.config.bands)
    for name, task in tasks.items():
        if task.pictures.shape[1:] != (bands, size, size):
            raise GalSimValueError(f"{name}: pictures of another size than the weights",
                                   task.pictures.shape[1:], [(bands, size, size)])  # fmt: skip
        if not len(task.pictures) or (task.is_class and len(np.unique(task.targets)) < 2):
            raise GalSimValueError(f"{name}: needs galaxies of at least two classes",
                                   np.unique(task.targets))  # fmt: skip
    if target is not None and (target.shape[1:] != (bands, size, size) or not len(target)):
        raise GalSimValueError("The target needs pictures of the weights' size", target.shape,
                               [("n", bands, size, size)])  # fmt: skip
    with training_settings():
        return _fit(vae, tasks, config, progress, target)


def _fit(
    vae: PictureVAE, tasks: dict[str, Task], config: FineTuning, progress: bool,
    target: NDArray | None,
) -> Network:  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = Network(vae, {name: task.outputs for name, task in tasks.items()})
        network.classes = {name: task.is_class for name, task in tasks.items()}
        groups: list[dict[str, Any]] = [
            {"params": list(network.encoder.parameters()), "share": 1 / 3},
            {"params": [*network.shared.parameters(), *network.heads.parameters()], "share": 1.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=0.02)
        descent = Descent(
            network, optimizer, name="fine-tuning", rate=config.learning_rate,
            steps=config.steps, clip=2.0, decay=0.99,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(config.seed)
        draw = _Draw(tasks, config.batch, generator)
        other = None if target is None else _Target(target, tasks, generator)
        network.train()
        bar = tqdm(range(config.steps), "fine-tuning", unit="step", disable=not progress)
        for step in bar:
            shown = other if step >= _WARM * config.steps else None
            loss = _loss(network, tasks, *draw(), generator, shown)
            descent.step(step, loss)
            if step % 20 == 0:
                bar.set_postfix_str(f"loss {loss.item():.3f}", refresh=False)
    return descent.average.eval().requires_grad_(False)


class _Draw:
    """Draws the pictures of a step: the task of each, and its row there."""

    def __init__(self, tasks: dict[str, Task], batch: int, generator: torch.Generator):
        counts = [len(task.pictures) for task in tasks.values()]
        self._first, self._others = counts[0], sum(counts[1:])
        self._of = np.repeat(np.arange(len(counts)), counts)
        self._row = np.concatenate([np.arange(count) for count in counts])
        self._batch, self._generator = batch, generator

    def __call__(self) -> tuple[NDArray, NDArray]:
        own = self._batch // 2 if self._others else self._batch
        parts = [torch.randint(self._first, (own,), generator=self._generator)]
        if self._others:
            rest = (self._batch - own,)
            parts += [self._first + torch.randint(self._others, rest, generator=self._generator)]
        index = torch.cat(parts).numpy()
        return self._of[index], self._row[index]


class _Target:
    """How far the first task's pictures are from those of another survey, for the network."""

    def __init__(self, pictures: NDArray, tasks: dict[str, Task], generator: torch.Generator):
        name, task = next(iter(tasks.items()))
        self._name, self._pictures, self._generator = name, pictures, generator
        self._likeness = Likeness(torch.from_numpy(task.targets), _MEMORY)

    def loss(self, network: Network, shared: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted discrepancy of `shared` (n, width) from n / 2 other pictures."""
        count = max(len(shared) // 2, 1)
        rows = torch.randint(len(self._pictures), (count,), generator=self._generator)
        seen = augmented(torch.from_numpy(self._pictures[rows.numpy()]), self._generator, _GREY)
        with half_precision(torch.device("cpu")):
            other = network(seen)
        other = other.float()
        return self._likeness.loss(shared, labels, other, network.heads[self._name](other))


def _loss(
    network: Network, tasks: dict[str, Task], of: NDArray, row: NDArray,
    generator: torch.Generator, other: _Target | None = None,
) -> Tensor:  # fmt: skip
    """Mean loss of the pictures of a step: cross-entropy of classes and of shares."""
    order = np.argsort(of, kind="stable")
    of, row = of[order], row[order]
    pictures = np.concatenate([
        task.pictures[row[of == k]] for k, task in enumerate(tasks.values())
    ])  # fmt: skip
    seen = augmented(torch.from_numpy(pictures), generator, _GREY)
    with half_precision(torch.device("cpu")):
        shared = network(seen)
    total = torch.zeros(())
    for k, (name, task) in enumerate(tasks.items()):
        mine = torch.from_numpy(of == k)
        if not mine.any():
            continue
        found = network.heads[name](shared[mine].float())
        target = torch.from_numpy(task.targets[row[of == k]])
        if task.is_class:
            part = F.cross_entropy(found, target.long(), label_smoothing=_SMOOTHING)
            if other is not None and k == 0:
                part = part + other.loss(network, shared[mine].float(), target.long())
        else:
            known = torch.isfinite(target)
            cost = F.binary_cross_entropy_with_logits(
                found, torch.where(known, target, 0.0).float(), reduction="none"
            )
            part = 3 * (cost * known).sum() / known.sum().clamp(min=1)
        total = total + part * mine.sum() / len(mine)
    return total
