"""Another survey: what the labels of one table of latents say of a table that has none.

Surveys show galaxies with other depth, colours and framing, so that a learner of the one is wrong
in the other. The ways here see both surveys, and labels of the source alone: two learn from
features, and one trains the encoder of pictures along. The surveys may also differ in how frequent
a class is: how frequent it is in the target is told by the answers for it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table, vstack
from galsim.errors import GalSimValueError
from numpy.typing import NDArray

from galsim_vae.files import write_whole
from galsim_vae.latents.table import features

from . import classify, learners
from .coral import Aligned
from .finetune import FineTuning, Task, fine_tune
from .head import Head
from .labels import are_numbers, classes_of, texts_of
from .shares import even_chances, likely_shares, weighted
from .tasks import pictures_of

__all__ = ["Adapted", "Judges", "adapt", "write"]


@dataclass(frozen=True)
class Judges:
    """Labels of the target, by which what was learnt is judged; nothing learns from them.

    Attributes
    ----------
    rows : ndarray (k,) int
        Of the target.
    values : ndarray (k,)
        Their classes.
    """

    rows: NDArray
    values: NDArray


@dataclass(frozen=True)
class Adapted:
    """What was learnt for another survey.

    Attributes
    ----------
    table : Table
        A row a galaxy of the target, with what is predicted and the probabilities.
    accuracy : Table
        Of held-out galaxies of the source, and of the target if there are judges: the share of
        right answers ``before`` and ``after`` with binomial errors, of ``all`` galaxies, of each
        class, and ``balanced``, the mean of the classes.
    """

    table: Table
    accuracy: Table


def adapt(
    source: Table, rows: NDArray, values: NDArray, target: Table, column: str, adaptation: str,
    learner: str = "kernel", judges: Judges | None = None, seed: int = 1, progress: bool = False,
    tuning: FineTuning | None = None,
) -> Adapted:  # fmt: skip
    """Learn classes in a survey with labels, and predict the galaxies of one without.

    Parameters
    ----------
    source : Table
        Of latents.
    rows : ndarray (m,) int
        Of the source, those with a label.
    values : ndarray (m,)
        Their classes, texts or whole numbers.
    target : Table
        Of latents, encoded by the same weights.
    column : str
        Name of the labels.
    adaptation : {"coral", "mmd"}
        `galsim_vae.train.latents.coral.Aligned` or `galsim_vae.train.latents.head.Head`. Before
        adaptation the same learner or network has not seen the target.
    learner : str
        One of `learners.CLASSIFIERS`, for ``coral``.
    judges : Judges, optional
        Labels of the target.
    seed : int
        Of the network.
    progress : bool
        Show bars.
    tuning : FineTuning, optional
        Train the encoder of pictures along, see `galsim_vae.train.latents.finetune.fine_tune`, in
        the place of `adaptation` and `learner`. A fold of the source is held out and judges.

    Returns
    -------
    Adapted

    Raises
    ------
    galsim.GalSimValueError
        Tables of other weights, fewer than 12 labels or galaxies of the target, labels that are
        numbers, or a class that only one of the surveys has; fine-tuning without pictures, or a
        class that is not both in the fold that is held out and in the others.
    """
    _check(source, target, values, column)
    names, labels = classes_of(values, column)
    if judges is not None:
        _check_classes(names, judges, column)
    group = classify.group_of(source)[rows]
    if tuning is None:
        known, other = features(source)[rows], features(target)
        ways = _ways(adaptation, learner, other, seed)
        answers = _of_features(known, other, labels, group, ways, progress)
    else:
        answers = _of_networks(source, rows, target, labels, group, tuning, progress)
    even = even_chances(answers.target[1], answers.share)
    found = weighted(even, likely_shares(even))
    accuracy = [_accuracies("source", names, labels[answers.judged], answers.source)]
    if judges is not None:
        truth = np.searchsorted(names, texts_of(judges.values))
        told = [probability[judges.rows] for probability in (answers.target[0], found)]
        accuracy.append(_accuracies("target", names, truth, told))
    listed = classify.naming(target)
    classify.add_classes(listed, names, found)
    return Adapted(listed, vstack(accuracy))


def write(adapted: Adapted, folder: Path) -> list[Path]:
    """Write predictions.ecsv and accuracy.ecsv into a folder; returns their paths."""
    paths = [folder / name for name in ("predictions.ecsv", "accuracy.ecsv")]
    for path, table in zip(paths, (adapted.table, adapted.accuracy), strict=True):
        write_whole(path, table.write)
    return paths


class _Answers(NamedTuple):
    """Probabilities before and after adaptation, of labelled galaxies and of the target."""

    judged: NDArray
    source: list[NDArray]
    target: list[NDArray]
    share: NDArray  # of each class in what taught the target's


def _of_features(
    known: NDArray, other: NDArray, labels: NDArray, group: NDArray, ways: tuple[Any, Any],
    progress: bool,
) -> _Answers:  # fmt: skip
    """Learn from features; labelled galaxies are answered in four folds."""
    held = [
        learners.cross_validated(known, labels, group, way, int(labels.max()) + 1, progress)
        for way in ways
    ]  # fmt: skip
    plain, adapted = (learners.fit_classifier(known, labels, way) for way in ways)
    told = [plain.predict_proba(other), adapted.predict_target(other)]
    return _Answers(np.arange(len(labels)), held, told, np.bincount(labels) / len(labels))


def _of_networks(
    source: Table, rows: NDArray, target: Table, labels: NDArray, group: NDArray,
    tuning: FineTuning, progress: bool,
) -> _Answers:  # fmt: skip
    """Train the encoder along, without the target and with it; one fold is held out."""
    model, pictures = pictures_of(source, progress)
    other = pictures_of(target, progress)[1]
    judged = learners.folds_of(group) == 0
    counts = [np.bincount(labels[part], minlength=labels.max() + 1) for part in (judged, ~judged)]
    if np.min(counts) == 0:
        raise GalSimValueError("A class has too few labels to hold a fold out: give more",
                               np.bincount(labels).tolist())  # fmt: skip
    tasks = {"labels": Task(pictures[rows[~judged]], labels[~judged])}
    held, told = [], []
    for shown in (None, other):
        network = fine_tune(model.vae, tasks, tuning, progress, shown)
        held.append(network.predict(pictures[rows[judged]], "labels"))
        told.append(network.predict(other, "labels", progress))
    return _Answers(np.flatnonzero(judged), held, told, counts[1] / counts[1].sum())


def _ways(adaptation: str, learner: str, target: NDArray, seed: int) -> tuple[Any, Any]:
    """Return what makes the learner, and what makes the one that is adapted."""
    if adaptation == "mmd":
        return (lambda n, count: Head(seed)), (lambda n, count: Head(seed, target))
    return learner, (lambda n, count: Aligned(learner, target))


def _check(source: Table, target: Table, values: NDArray, column: str) -> None:
    digests = [table.meta.get("SHA256") for table in (source, target)]
    if digests[0] != digests[1]:
        raise GalSimValueError(
            "The target was encoded by other weights than the source: encode both by the same",
            digests[1], [digests[0]],
        )  # fmt: skip
    for what, count in (("labels", len(values)), ("galaxies of the target", len(target))):
        if count < classify.FEWEST:
            raise GalSimValueError(
                f"Adaptation needs at least {classify.FEWEST} {what}: give more", count
            )
    if are_numbers(values):
        raise GalSimValueError("Adaptation is for classes, and these are numbers", column)


def _check_classes(names: NDArray, judges: Judges, column: str) -> None:
    if not len(judges.values):
        raise GalSimValueError("The labels of the target are all empty: fill some in", column)
    alone = np.setxor1d(names, texts_of(judges.values))
    if len(alone):
        raise GalSimValueError(
            f"{column}: only one of source and target has a class. Leave its labels empty, or give "
            "it the other's name", alone.tolist(), names.tolist(),
        )  # fmt: skip


def _accuracies(
    survey: str, names: NDArray, labels: NDArray, probabilities: list[NDArray]
) -> Table:
    """Accuracies before and after as `Adapted` has them."""
    each = [labels == k for k in range(len(names))]
    counts = np.array([rows.sum() for rows in each])
    listed = Table({
        "survey": [survey] * (len(names) + 2),
        "class": ["all", "balanced", *names],
        "galaxies": [len(labels), len(labels), *counts],
    })  # fmt: skip
    for when, probability in zip(("before", "after"), probabilities, strict=True):
        right = probability.argmax(1) == labels
        share = np.array([right[rows].mean() for rows in each])
        error = np.sqrt(share * (1 - share) / counts)
        mean = float(right.mean())
        listed[when] = [mean, share.mean(), *share]
        listed[f"{when}_error"] = [
            np.sqrt(mean * (1 - mean) / len(labels)), np.sqrt((error**2).sum()) / len(names), *error
        ]  # fmt: skip
        for name in (when, f"{when}_error"):
            listed[name].format = ".4f"
    return listed
