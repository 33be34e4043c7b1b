"""Correlation alignment: a learner that is taught the source as the target would show it.

Sun, Feng & Saenko 2016 (AAAI 30, 2058, arXiv:1511.05547): the features of the source are whitened
by their own covariance and coloured by the target's. Here all classes weigh the same in means and
covariances, in the source by the labels, and in the target by what a linear learner says of it: of
the source as it is at first, then as it was aligned.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .learners import CLIP, fit_classifier
from .shares import even_chances, even_weights

__all__ = ["Aligned", "Alignment"]

_REGULAR = 1.0  # added to each standardised feature's variance, as in the paper
_LEAST = 1e-9
_ROUNDS = 3


class Aligned:
    """A learner on aligned features, as a classifier of scikit-learn.

    Parameters
    ----------
    learner : str
        One of `learners.CLASSIFIERS`.
    target : ndarray (n, count)
        Features of the galaxies without labels.

    Attributes
    ----------
    classes_ : ndarray
        The labels, in the order of the probabilities.
    """

    def __init__(self, learner: str, target: NDArray):
        self._learner, self._target = learner, target

    def fit(self, features: NDArray, labels: NDArray) -> "Aligned":
        """Learn from features (n, count) and labels (n,) of the source; returns itself."""
        self.classes_, number = np.unique(labels, return_inverse=True)
        share = np.bincount(number) / len(number)
        sure = np.eye(len(share))
        weight = even_weights(sure[number])
        moved = features
        for _ in range(_ROUNDS):
            found = fit_classifier(moved, labels, "logistic").predict_proba(self._target)
            # One class each: doubts would draw the rare classes towards the frequent ones.
            other = even_weights(sure[even_chances(found, share).argmax(1)])
            self._alignment = Alignment.of(features, self._target, weight, other)
            moved = self._alignment.moved(features)
        self._model = fit_classifier(moved, labels, self._learner)
        return self

    def predict_proba(self, features: NDArray) -> NDArray:
        """Return the probability of each class, (n, classes), of galaxies of the source."""
        return self._model.predict_proba(self._alignment.moved(features))

    def predict_target(self, features: NDArray) -> NDArray:
        """Return the probability of each class, (n, classes), of galaxies of the target."""
        return self._model.predict_proba(features)


@dataclass(frozen=True)
class Alignment:
    """A linear map of features of the source to what they would be in the target.

    Attributes
    ----------
    mean, scale : ndarray (count,)
        Of the source.
    matrix : ndarray (count, count)
        Of standardised features, to the right of them.
    target_mean, target_scale : ndarray (count,)
        Of the target.
    """

    mean: NDArray
    scale: NDArray
    matrix: NDArray
    target_mean: NDArray
    target_scale: NDArray

    @classmethod
    def of(
        cls, source: NDArray, target: NDArray, weight: NDArray, other: NDArray
    ) -> "Alignment":
        """Find the map.

        Parameters
        ----------
        source, target : ndarray (n, count) and (m, count)
            Features.
        weight, other : ndarray (n,) and (m,)
            Of the galaxies, each with the sum 1.
        """
        mean, scale, white = _root(source, weight, -0.5)
        target_mean, target_scale, colour = _root(target, other, 0.5)
        return cls(mean, scale, white @ colour, target_mean, target_scale)

    def moved(self, features: NDArray) -> NDArray:
        """Return features (n, count) of the source as the target would show them."""
        standard = np.clip((features - self.mean) / self.scale, -CLIP, CLIP)
        return self.target_mean + self.target_scale * (standard @ self.matrix)


def _root(features: NDArray, weight: NDArray, power: float) -> tuple[NDArray, NDArray, NDArray]:
    """Mean and scatter, and a power of the regularised covariance of standardised features."""
    mean = weight @ features
    scale = np.sqrt(weight @ (features - mean) ** 2)
    scale = np.where(scale > _LEAST, scale, 1.0)
    standard = np.clip((features - mean) / scale, -CLIP, CLIP)
    covariance = (standard * weight[:, None]).T @ standard
    value, axis = np.linalg.eigh(covariance + _REGULAR * np.eye(len(mean)))
    return mean, scale, (axis * value**power) @ axis.T
