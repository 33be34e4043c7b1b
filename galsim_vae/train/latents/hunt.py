"""Odd galaxies: scores without labels, and learners that a user teaches by yes and no.

A hunt goes in rounds: the most promising galaxies are shown, the user says yes or no, the learner
is trained again and proposes others. As long as there are few labels, the score without labels
counts beside what was learnt. Two learners: on static features (latents and moments), and with the
encoder's last layers trained along, which Vafaei Sadr et al. 2023 (RASTI 2, 586) call AHUNT.
"""

import copy
from typing import Protocol

import numpy as np
import torch
from galsim.errors import GalSimValueError
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch.nn import functional as F

from galsim_vae.model.blocks import activate
from galsim_vae.model.pictures import PictureEncoder, PictureVAE
from galsim_vae.train.fit.recipe import training_settings

__all__ = ["Along", "HuntLearner", "Static", "is_yes", "mixed", "propose", "ranked", "unsupervised"]

_COMPONENTS = 20
_NEIGHBOURS = 10
_CLIP = 6.0
# With so many labels what was learnt counts as much as the score without labels.
_EVEN = 20
# Of the proposals one in so many is drawn at random, so that the learner hears of what it would
# never ask for.
_RANDOM = 5
_STEPS, _RATE = 40, 2e-3
_YES = {"yes", "y", "true", "1", "1.0", "odd"}
_NO = {"no", "n", "false", "0", "0.0", "ordinary"}


class HuntLearner(Protocol):
    """What learns from yes and no."""

    def fit(self, rows: NDArray, odd: NDArray) -> NDArray:
        """Return a score of every galaxy (n,), larger for odd ones, from labels of some rows."""
        ...


def ranked(values: NDArray) -> NDArray:
    """Return ranks in (0, 1], the largest value last."""
    order = np.empty(len(values))
    order[np.argsort(values, kind="stable")] = np.arange(1, len(values) + 1)
    return order / len(values)


def unsupervised(features: NDArray, log_density: NDArray, seed: int = 1) -> dict[str, NDArray]:
    """Score galaxies without any label, larger for odd ones.

    Parameters
    ----------
    features : ndarray (n, count)
        Latents and moments.
    log_density : ndarray (n,)
        Of the latents under the flow.
    seed : int
        Of the isolation forest.

    Returns
    -------
    dict of str to ndarray (n,)
        ``likelihood``: minus the log density under the flow. ``isolation``: an isolation forest
        (Liu et al. 2008, ICDM, 413). ``density``: mean distance from the ten nearest, along the
        first 20 principal axes of unit variance.
    """
    scaled = np.clip(StandardScaler().fit_transform(features), -_CLIP, _CLIP)
    count = min(_COMPONENTS, *scaled.shape)
    axes = PCA(count, whiten=True, random_state=0).fit_transform(scaled)
    near = NearestNeighbors(n_neighbors=min(_NEIGHBOURS + 1, len(axes))).fit(axes)
    forest = IsolationForest(n_estimators=200, random_state=seed).fit(axes)
    return {
        "likelihood": -np.asarray(log_density, float),
        "isolation": -forest.score_samples(axes),
        "density": near.kneighbors(axes)[0][:, 1:].mean(1),
    }


def mixed(start: NDArray, learnt: NDArray, labels: int) -> NDArray:
    """Return the mean of the ranks of two scores (n,), the learnt one's weight rising with labels.

    Parameters
    ----------
    start, learnt : ndarray (n,)
        Score without labels, and what was learnt.
    labels : int
        Number of labels.
    """
    share = labels / (labels + _EVEN)
    return (1 - share) * ranked(start) + share * ranked(learnt)


class Static:
    """A support-vector machine on features that stay as they are.

    Parameters
    ----------
    features : ndarray (n, count)
        Latents and moments.
    """

    def __init__(self, features: NDArray):
        self._scaled = np.clip(StandardScaler().fit_transform(features), -_CLIP, _CLIP)

    def fit(self, rows: NDArray, odd: NDArray) -> NDArray:
        """Return a score of every galaxy, see `HuntLearner`."""
        gamma = 0.5 / self._scaled.shape[1]
        model = SVC(C=1.0, gamma=gamma, class_weight="balanced")
        return model.fit(self._scaled[rows], odd).decision_function(self._scaled)


class Along:
    """The last layers of the encoder of pictures, trained along with the classifier.

    What comes before them is computed once, for each picture and three of its mirror images.

    Parameters
    ----------
    vae : PictureVAE
        Its weights are the start of each training.
    pictures : ndarray (n, bands, size, size)
        Stretched.
    seed : int
        Of the new layer.
    """

    def __init__(self, vae: PictureVAE, pictures: NDArray, seed: int = 1):
        self._encoder, self._seed = vae.encoder, seed
        self._trunk = torch.stack([
            torch.cat([_before_last(vae.encoder, part) for part in seen.split(256)])
            for seen in _mirrored(torch.from_numpy(pictures))
        ])  # fmt: skip
        with torch.inference_mode():
            facts = torch.from_numpy(pictures)
            facts = torch.cat([facts.mean((2, 3)), facts.std((2, 3))], 1)
            condition = vae.encoder.condition(facts)
        self._condition = condition.clone()

    def fit(self, rows: NDArray, odd: NDArray) -> NDArray:
        """Return a score of every galaxy, see `HuntLearner`."""
        with training_settings(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            last = copy.deepcopy(self._encoder.last).requires_grad_(True)
            head = torch.nn.Linear(self._encoder.width, 1)
            optimizer = torch.optim.AdamW([*last.parameters(), *head.parameters()], lr=_RATE,
                                          weight_decay=0.05)  # fmt: skip
            target = torch.from_numpy(np.asarray(odd, np.float32))
            weight = torch.where(target > 0, 0.5 / target.mean(), 0.5 / (1 - target.mean()))
            index = torch.from_numpy(np.asarray(rows))
            for step in range(_STEPS):
                found = self._logit(last, head, step % len(self._trunk), index)
                loss = F.binary_cross_entropy_with_logits(found, target, weight)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            with torch.inference_mode():
                every = torch.arange(self._trunk.shape[1])
                parts = [self._logit(last, head, k, every) for k in range(len(self._trunk))]
        return torch.stack(parts).mean(0).numpy().astype(float)

    def _logit(self, last, head, image: int, index: torch.Tensor) -> torch.Tensor:
        x = last(self._trunk[image, index], self._condition[index])
        return head(F.dropout(activate(x).flatten(1), 0.3, torch.is_grad_enabled()))[:, 0]


def _mirrored(pictures: torch.Tensor) -> list[torch.Tensor]:
    return [pictures, pictures.flip(2), pictures.flip(3), pictures.flip(2, 3)]


def _before_last(encoder: PictureEncoder, pictures: torch.Tensor) -> torch.Tensor:
    """What the last block is given."""
    kept = []
    handle = encoder.last.register_forward_pre_hook(lambda _, given: kept.append(given[0].clone()))
    try:
        with torch.no_grad():
            encoder.features(pictures)
    finally:
        handle.remove()
    return kept[0]


def propose(
    start: NDArray, learner: HuntLearner, rows: NDArray, odd: NDArray, count: int,
    rng: np.random.Generator,
) -> tuple[NDArray, NDArray]:  # fmt: skip
    """Find the galaxies to look at next.

    Parameters
    ----------
    start : ndarray (n,)
        Score without labels.
    learner : HuntLearner
        Is asked once there is a yes and a no.
    rows, odd : ndarray (m,)
        Galaxies with a label, and whether they are odd.
    count : int
        How many.
    rng : numpy.random.Generator
        Of the fifth that is drawn at random.

    Returns
    -------
    proposed : ndarray (count,) int
        Rows without a label, the most promising first.
    score : ndarray (n,)
        Of all galaxies, 0 to 1.
    """
    score = ranked(start)
    if len(np.unique(odd)) > 1:
        score = mixed(start, learner.fit(rows, odd), len(rows))
    rest = np.setdiff1d(np.arange(len(start)), rows)
    order = rest[np.argsort(-score[rest], kind="stable")]
    chance = count // _RANDOM if len(rows) else 0
    best = order[: max(count - chance, 0)]
    others = order[len(best) :]
    drawn = rng.choice(others, min(chance, len(others)), replace=False)
    return np.concatenate([best, drawn]).astype(int), score


def is_yes(values: NDArray) -> NDArray:
    """Read yes and no (also true and false, 1 and 0), bool (m,).

    Raises
    ------
    galsim.GalSimValueError
        Anything else.
    """
    said = [str(value).strip().lower() for value in values]
    for word in said:
        if word not in _YES | _NO:
            raise GalSimValueError("A label of a hunt must be yes or no", word,
                                   sorted(_YES | _NO))  # fmt: skip
    return np.array([word in _YES for word in said], bool)
