"""Learners on the features of galaxies, their scores, and folds."""

from collections.abc import Callable
from typing import Any

import numpy as np
from galsim.errors import GalSimValueError
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tqdm import tqdm

from galsim_vae.train.fit.pictures import FOLDS, fold_of
from galsim_vae.train.statistics import bootstrap_error

__all__ = [
    "BEST_OF_CLASSES",
    "BEST_OF_NUMBERS",
    "CLASSIFIERS",
    "CLIP",
    "Making",
    "REGRESSORS",
    "class_scores",
    "cross_validated",
    "expected_calibration_error",
    "fit_classifier",
    "folds_of",
    "number_scores",
]

_COMPONENTS = 1200
#: Of standardised features: one wild number is not to rule a galaxy's neighbours.
CLIP = 6.0
#: Share of a redshift error over 1 + z, and of other numbers in units of the scatter, beyond which
#: a galaxy is an outlier.
OUTLIER_REDSHIFT, OUTLIER = 0.15, 5.0
#: Makes an unfitted learner of the number of galaxies and of features.
Making = Callable[[int, int], Any]


def _clip() -> FunctionTransformer:
    return FunctionTransformer(np.clip, kw_args={"a_min": -CLIP, "a_max": CLIP})


def _kernel(n: int, count: int) -> Nystroem:
    return Nystroem(gamma=0.5 / count, n_components=min(n, _COMPONENTS), random_state=0)


#: The best of those below for classes, and for numbers, some of which hang on few of the features.
BEST_OF_CLASSES, BEST_OF_NUMBERS = "kernel", "boosting"
#: Classifiers by name, each a function of the number of galaxies and of features. ``kernel`` is
#: logistic regression on radial basis functions.
CLASSIFIERS: dict[str, Making] = {
    "kernel": lambda n, count: make_pipeline(
        StandardScaler(), _clip(), _kernel(n, count), LogisticRegression(C=30, max_iter=300)
    ),
    "logistic": lambda n, count: make_pipeline(
        StandardScaler(), _clip(), LogisticRegression(C=0.02, max_iter=300)
    ),
    "boosting": lambda n, count: HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.08, max_leaf_nodes=12, l2_regularization=1.0, random_state=0
    ),
}
#: Regressors by the same names.
REGRESSORS: dict[str, Making] = {
    "kernel": lambda n, count: make_pipeline(
        StandardScaler(), _clip(), _kernel(n, count), Ridge(alpha=0.1)
    ),
    "logistic": lambda n, count: make_pipeline(StandardScaler(), _clip(), Ridge(alpha=100)),
    "boosting": lambda n, count: HistGradientBoostingRegressor(
        max_iter=150, learning_rate=0.08, max_leaf_nodes=12, l2_regularization=1.0, random_state=0
    ),
}


def fit_classifier(features: NDArray, labels: NDArray, learner: str | Making) -> Any:
    """Fit one of `CLASSIFIERS`, or another of their kind.

    Parameters
    ----------
    features : ndarray (n, count)
        Finite numbers.
    labels : ndarray (n,) int
        Classes, 0 and up.
    learner : str or callable
        Its name, or a function as those of `CLASSIFIERS`.

    Returns
    -------
    object
        With ``predict_proba``.

    Raises
    ------
    galsim.GalSimValueError
        All labels are the same.
    """
    if len(np.unique(labels)) < 2:
        raise GalSimValueError(
            "All labels are the same: give labels of at least two classes", np.unique(labels)
        )
    make = CLASSIFIERS[learner] if isinstance(learner, str) else learner
    return make(*features.shape).fit(features, labels)


def cross_validated(
    features: NDArray, targets: NDArray, group: NDArray, learner: str | Making, classes: int = 0,
    progress: bool = False,
) -> NDArray:  # fmt: skip
    """Predict each galaxy by a learner that has seen nothing of its fold.

    Parameters
    ----------
    features : ndarray (n, count)
        Finite numbers.
    targets : ndarray (n,)
        Classes, 0 to ``classes`` - 1, or numbers.
    group : ndarray (n,) int
        Of which `folds_of` makes the folds.
    learner : str or callable
        One of `CLASSIFIERS`, or, for classes, a function as those are.
    classes : int
        Number of classes; 0 for numbers.
    progress : bool
        Show a bar.

    Returns
    -------
    ndarray (n, classes) or (n,)
        Probabilities, or numbers.

    Raises
    ------
    galsim.GalSimValueError
        Fewer than four groups, or all that is outside a fold is of one class.
    """
    fold = folds_of(group)
    found = np.zeros((len(targets), classes) if classes else len(targets))
    for k in tqdm(range(FOLDS), "folds", unit="fold", disable=not progress):
        seen, held = fold != k, fold == k
        if classes:
            model = fit_classifier(features[seen], targets[seen], learner)
            columns = np.asarray(model.classes_, int)
            found[np.ix_(held, columns)] = model.predict_proba(features[held])
        else:
            model = REGRESSORS[str(learner)](int(seen.sum()), features.shape[1])
            found[held] = model.fit(features[seen], targets[seen]).predict(features[held])
    return found


def folds_of(group: NDArray) -> NDArray:
    """Return the fold, 0 to 3, of each labelled galaxy: its group modulo 4.

    Where that leaves a fold with less than half of its share, the groups are numbered anew.

    Raises
    ------
    galsim.GalSimValueError
        There are fewer than four groups.
    """
    fold = fold_of(group)
    if np.bincount(fold, minlength=FOLDS).min() < len(fold) / (2 * FOLDS):
        fold = fold_of(np.unique(group, return_inverse=True)[1])
    if len(np.unique(fold)) < FOLDS:
        raise GalSimValueError("Too few groups to judge by four folds", len(np.unique(group)))
    return fold


def class_scores(labels: NDArray, probability: NDArray) -> dict[str, float]:
    """Score probabilities.

    Parameters
    ----------
    labels : ndarray (n,) int
        The true classes.
    probability : ndarray (n, classes)
        Of each class.

    Returns
    -------
    dict
        ``accuracy`` with its binomial ``error``, ``balanced`` (mean of the classes' recalls),
        ``majority`` (share of the most frequent class), ``calibration`` (see
        `expected_calibration_error`) and ``log_loss`` [nat].
    """
    n, best = len(labels), probability.argmax(1)
    right = best == labels
    accuracy = float(right.mean())
    recalls = [float(right[labels == k].mean()) for k in np.unique(labels)]
    own = probability[np.arange(n), labels]
    return {
        "galaxies": n,
        "accuracy": accuracy,
        "error": float(np.sqrt(accuracy * (1 - accuracy) / n)),
        "balanced": float(np.mean(recalls)),
        "majority": float(np.bincount(labels).max() / n),
        "calibration": expected_calibration_error(labels, probability),
        "log_loss": float(-np.log(np.maximum(own, 1e-6)).mean()),
    }


def expected_calibration_error(labels: NDArray, probability: NDArray, bins: int = 10) -> float:
    """Mean difference of stated probability and share of right answers.

    Naeini et al. 2015 (AAAI 29, 2901), equation 1: in bins of the probability of the class that is
    answered, weighted by the galaxies in each.

    Parameters
    ----------
    labels : ndarray (n,) int
        The true classes.
    probability : ndarray (n, classes)
        Of each class.
    bins : int
        Number of bins.

    Returns
    -------
    float
        0 is perfect.
    """
    stated, right = probability.max(1), probability.argmax(1) == labels
    place = np.minimum((stated * bins).astype(int), bins - 1)
    parts = [
        abs(stated[place == k].mean() - right[place == k].mean()) * np.mean(place == k)
        for k in np.unique(place)
    ]
    return float(np.sum(parts))


def number_scores(truth: NDArray, found: NDArray, redshift: bool) -> dict[str, float]:
    """Score predicted numbers.

    Parameters
    ----------
    truth, found : ndarray (n,)
        The numbers, and what was predicted.
    redshift : bool
        Errors are divided by 1 + z, and beyond 0.15 is an outlier; of other numbers what is beyond
        5 times the scatter.

    Returns
    -------
    dict
        ``bias`` (median error), ``scatter`` (1.4826 times the median absolute deviation) with its
        ``error``, ``outliers`` (share), ``rms`` with its ``rms_error``, and ``guess`` and
        ``guess_rms``, scatter and rms of always saying the median. Errors are by a bootstrap.
    """
    scale = 1 + truth if redshift else np.ones_like(truth)
    error = (found - truth) / scale
    constant = (np.median(truth) - truth) / scale
    bias, scatter = float(np.median(error)), _scatter(error)
    limit = OUTLIER_REDSHIFT if redshift else OUTLIER * scatter

    def uncertain(statistic: Callable[[NDArray], float]) -> float:
        return float(bootstrap_error(statistic, error, random=np.random.default_rng(1)))

    return {
        "galaxies": len(truth),
        "bias": bias,
        "scatter": scatter,
        "error": uncertain(_scatter),
        "outliers": float(np.mean(np.abs(error) > limit)),
        "rms": _rms(error),
        "rms_error": uncertain(_rms),
        "guess": _scatter(constant),
        "guess_rms": _rms(constant),
    }


def _scatter(error: NDArray) -> float:
    return float(1.4826 * np.median(np.abs(error - np.median(error))))


def _rms(error: NDArray) -> float:
    return float(np.sqrt(np.mean(np.square(error))))
