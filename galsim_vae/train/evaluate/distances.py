"""How far two samples of galaxies are from each other: each a number with a known floor."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from galsim_vae.train.statistics import sigma68

__all__ = ["classifier_accuracy", "mmd_kernel", "mmd_squared", "nearest_distance",
           "network_accuracy", "permutation_p", "precision_recall", "standardise"]  # fmt: skip

_NEIGHBOURS = 10
_FOLDS = 4
_EPOCHS = 8
_BATCH = 64


def standardise(reference: NDArray, *others: NDArray) -> list[NDArray]:
    """Features (n, k) less the median of the reference, over its sigma68, held within 10.

    The limit keeps a few failed measurements from deciding a distance.
    """
    centre = np.nanmedian(reference, axis=0)
    width = np.array([sigma68(column) for column in reference.T])
    width = np.where(width > 0, width, 1.0)
    return [np.clip((values - centre) / width, -10, 10) for values in (reference, *others)]


def mmd_kernel(first: NDArray, second: NDArray) -> NDArray:
    """h(i, j) = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i), (n, n), 0 on the diagonal.

    k is a Gaussian of the median distance between members of the first sample. Gretton et al. 2012
    (JMLR 13, 723), equation 4.
    """
    within = cdist(first, first, "sqeuclidean")
    width = np.median(within[np.triu_indices_from(within, 1)])

    def kernel(squares: NDArray) -> NDArray:
        return np.exp(-squares / width)

    across = kernel(cdist(first, second, "sqeuclidean"))
    h = kernel(within) + kernel(cdist(second, second, "sqeuclidean")) - across - across.T
    np.fill_diagonal(h, 0)
    return h


def mmd_squared(h: NDArray, rows: NDArray | None = None) -> float:
    """Unbiased squared maximum mean discrepancy; of a bootstrap sample if `rows` are given."""
    if rows is None:
        return float(h.sum() / (len(h) * (len(h) - 1)))
    count = np.bincount(rows, minlength=len(h)).astype(float)
    # A galaxy drawn twice is not a pair with itself: these are the zeros of the diagonal.
    return float(count @ h @ count / (count.sum() ** 2 - np.square(count).sum()))


def permutation_p(h: NDArray, random: np.random.Generator, permutations: int = 1000) -> float:
    """Chance of an MMD as large as this one, were the two members of each pair exchangeable.

    Members have the same conditions, so they are exchanged within pairs, which changes the sign
    of their row and column.
    """
    signs = random.choice([-1.0, 1.0], (permutations, len(h)))
    shuffled = np.einsum("pi,pi->p", signs @ h, signs)
    return float((1 + np.sum(shuffled >= h.sum())) / (1 + permutations))


def nearest_distance(training: NDArray, galaxies: NDArray) -> NDArray:
    """Distance of each galaxy (n, k) to the nearest one of the training set."""
    return NearestNeighbors(n_neighbors=1).fit(training).kneighbors(galaxies)[0][:, 0]


def precision_recall(real: NDArray, made: NDArray) -> tuple[float, float]:
    """Share of `made` in the k-nearest-neighbour balls of `real`, and the other way round.

    Kynkaanniemi et al. 2019 (arXiv:1904.06991), equations 1 and 2, with k = 10. Two samples of one
    distribution reach less than 1: see the floor.
    """
    return _covered(real, made), _covered(made, real)


def _covered(by: NDArray, points: NDArray) -> float:
    """Share of the points that lie in the ball of any galaxy of `by`."""
    # The nearest neighbour of each is itself.
    radius = NearestNeighbors(n_neighbors=_NEIGHBOURS + 1).fit(by).kneighbors(by)[0][:, -1]
    parts = np.array_split(points, -(-len(points) // 500))
    inside = [(cdist(part, by) <= radius).any(1) for part in parts]
    return float(np.concatenate(inside).mean())


def classifier_accuracy(first: NDArray, second: NDArray, seed: int) -> float:
    """Accuracy of gradient boosting that tells two samples (n, k) apart, by cross-validation.

    Lopez-Paz & Oquab 2017 (arXiv:1610.06545). Rows of the same number have the same conditions
    and are kept in the same fold, lest these give the answer away. NaN is a value like any other,
    but features that hardly any galaxy has are left out.
    """
    data = np.concatenate([first, second])
    data = data[:, np.isfinite(data).sum(0) > 20]
    label = np.repeat([0, 1], [len(first), len(second)])
    pair = np.concatenate([np.arange(len(first)), np.arange(len(second))])
    right = np.zeros(len(data), dtype=bool)
    for train, test in GroupKFold(_FOLDS, shuffle=True, random_state=seed).split(data, label, pair):
        model = HistGradientBoostingClassifier(
            max_iter=100, max_leaf_nodes=15, early_stopping=False, random_state=seed
        )
        model.fit(data[train], label[train])
        right[test] = model.predict(data[test]) == label[test]
    return float(right.mean())


def network_accuracy(first: NDArray, second: NDArray, seed: int) -> float:
    """Accuracy of a small convolutional network that tells images (n, size, size) apart.

    Trained on two thirds of the pairs, mirrored at random; tested on the rest.
    """
    n = min(len(first), len(second))
    order = np.random.default_rng(seed).permutation(n)
    train, test = order[: 2 * n // 3], order[2 * n // 3 :]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network()
    data, label = _labelled(first[train], second[train])
    steps = _EPOCHS * -(-len(data) // _BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(data), generator=generator).split(_BATCH):
            images = _mirrored(data[rows].float(), generator)
            loss = nn.functional.binary_cross_entropy_with_logits(network(images), label[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    data, label = _labelled(first[test], second[test])
    with torch.inference_mode():
        guess = torch.cat([network(part.float()) for part in data.split(_BATCH)])
    return float(((guess > 0) == (label > 0.5)).float().mean())


def _labelled(first: NDArray, second: NDArray) -> tuple[Tensor, Tensor]:
    data = torch.from_numpy(np.concatenate([first, second]))[:, None]
    label = torch.cat([torch.zeros(len(first)), torch.ones(len(second))])
    return data, label


def _mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    for axis in (-1, -2):
        chosen = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    return images


def _network() -> nn.Module:
    """Four convolutions and a linear layer, 25,000 parameters."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((1, 16, 2), (16, 24, 2), (24, 32, 2), (32, 48, 2)):
        layers += [
            nn.Conv2d(inputs, outputs, 5 if inputs == 1 else 3, stride=stride, padding=1),
            nn.GroupNorm(4, outputs),
            nn.SiLU(),
        ]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 1), nn.Flatten(0)
    )
