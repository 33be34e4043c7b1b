"""A small network that classifies features, and may be taught to see two surveys alike.

Two losses train its hidden layer: the cross-entropy of the source's labels, and how far the source
is from the target there, by the maximum mean discrepancy (Long et al. 2015, ICML 37, 97,
arXiv:1502.02791). In it each class of the source weighs as much as the network, so far, says that
it does in the target (Yan et al. 2017, CVPR, 945, arXiv:1705.00609).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from galsim_vae.train.fit.descent import Descent
from galsim_vae.train.fit.recipe import training_settings

from .learners import CLIP
from .shares import even_chances

__all__ = ["Head", "Likeness", "discrepancy"]

_WIDTH, _DROP_INPUT, _DROP = 64, 0.1, 0.3
_STEPS, _BATCH, _RATE, _DECAY = 400, 128, 2e-3, 0.1
# Of the discrepancy beside the cross-entropy, and the steps before it counts: by then the answers
# for the target mean something.
_WEIGHT, _WARM = 10.0, 60
_MEMORY = 0.97  # of the target's shares, from step to step
_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels, in mean squared distances


class Head:
    """The network, as a classifier of scikit-learn.

    Parameters
    ----------
    seed : int
        Of its first weights and of the order of the galaxies.
    target : ndarray (n, count), optional
        Features of the galaxies without labels that are to be seen like those with labels.

    Attributes
    ----------
    classes_ : ndarray
        The labels, in the order of the probabilities.
    """

    def __init__(self, seed: int, target: NDArray | None = None):
        self._seed, self._target = seed, target

    def fit(self, features: NDArray, labels: NDArray) -> "Head":
        """Learn from features (n, count) and labels (n,) of the source; returns itself."""
        self.classes_, number = np.unique(labels, return_inverse=True)
        self._scaler = StandardScaler().fit(features)
        source, label = self._input(features), torch.from_numpy(number)
        target = None if self._target is None else self._input(self._target)
        with training_settings(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self._network = _train(source, label, target)
        return self

    @torch.inference_mode()
    def predict_proba(self, features: NDArray) -> NDArray:
        """Return the probability of each class, (n, classes), of galaxies of either survey."""
        return self._network(self._input(features)).softmax(1).numpy().astype(float)

    predict_target = predict_proba

    def _input(self, features: NDArray) -> Tensor:
        scaled = np.clip(self._scaler.transform(features), -CLIP, CLIP)
        return torch.from_numpy(scaled.astype(np.float32))


def _train(source: Tensor, label: Tensor, target: Tensor | None) -> nn.Sequential:
    likeness = Likeness(label, _MEMORY)
    body = nn.Sequential(
        nn.Dropout(_DROP_INPUT), nn.Linear(source.shape[1], _WIDTH), nn.SiLU(), nn.Dropout(_DROP)
    )
    last = nn.Linear(_WIDTH, int(label.max()) + 1)
    network = nn.Sequential(body, last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    descent = Descent(
        network, optimizer, name="head", rate=_RATE, steps=_STEPS, clip=2.0, decay=0.98
    )
    for step in range(_STEPS):
        rows = torch.randint(len(source), (_BATCH,))
        seen = body(source[rows])
        loss = F.cross_entropy(last(seen), label[rows])
        if target is not None and step >= _WARM:
            other = body(target[torch.randint(len(target), (_BATCH,))])
            loss = loss + likeness.loss(seen, label[rows], other, last(other))
        descent.step(step, loss)
    return descent.average.eval().requires_grad_(False)


class Likeness:
    """How alike a network sees two surveys, classes weighted as it finds them in the target.

    Parameters
    ----------
    labels : tensor (n,) int
        All that is taught, 0 and up.
    memory : float
        Of the target's shares of the classes, from step to step.
    """

    def __init__(self, labels: Tensor, memory: float):
        self._share = torch.bincount(labels) / len(labels)
        self._shown = torch.full_like(self._share, 1 / len(self._share))
        self._memory = memory

    def loss(self, seen: Tensor, labels: Tensor, other: Tensor, answers: Tensor) -> Tensor:
        """Return what is added to the cross-entropy in a step.

        Parameters
        ----------
        seen : tensor (n, width)
            What the network makes of galaxies of the source.
        labels : tensor (n,) int
            Theirs.
        other : tensor (m, width)
            What it makes of galaxies of the target.
        answers : tensor (m, classes)
            Logits of the latter.
        """
        even = even_chances(answers.detach().softmax(1), self._share)
        self._shown = torch.lerp(even.mean(0), self._shown, self._memory)
        return _WEIGHT * discrepancy(seen, other, (self._shown / self._share)[labels])


def discrepancy(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of two samples, 0 if they are the same.

    Gretton et al. 2012 (JMLR 13, 723), equation 5, with weights and the mean of Gaussian kernels
    about as wide as the samples.

    Parameters
    ----------
    first, second : tensor (n, count) and (m, count)
        The samples.
    weight : tensor (n,)
        Of the first; its scale does not matter.
    """
    both = torch.cat([first, second])
    # Not by cdist: its slope at a distance of 0 is not a number.
    size = both.square().sum(1)
    square = (size[:, None] + size - 2 * both @ both.T).clamp(min=0)
    scale = square.detach().mean().clamp(min=1e-12)
    kernel = torch.stack([torch.exp(-square / (width * scale)) for width in _WIDTHS]).mean(0)
    sign = torch.cat([weight / weight.sum(), weight.new_full((len(second),), -1 / len(second))])
    return sign @ kernel @ sign
