"""What a user's labels teach: classes or numbers of all galaxies of a table of latents."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from galsim.errors import GalSimValueError
from numpy.typing import NDArray

from galsim_vae.files import write_whole
from galsim_vae.latents.table import features
from galsim_vae.train.fit.pictures import FOLDS

from . import figures, learners
from .finetune import FineTuning, Task, fine_tune
from .labels import are_numbers, classes_of, texts_of
from .tasks import pictures_of, tasks_of

__all__ = ["FEWEST", "Learnt", "add_classes", "combined", "group_of", "learn", "naming", "write"]

logger = logging.getLogger(__name__)
#: Labels that a learner needs.
FEWEST = 12
_NETWORK = 2 / 3


@dataclass
class Learnt:
    """What was learnt of a table of latents.

    Attributes
    ----------
    table : Table
        A row a galaxy, with the given label, what is predicted and, of classes, probabilities.
        Labelled galaxies are predicted by learners that have seen nothing of their fold.
    scores : dict
        Of the labelled galaxies.
    names : list of str
        Of the classes; empty for numbers.
    labels : ndarray (m,)
        Classes or numbers of the labelled galaxies.
    found : ndarray (m, classes) or (m,)
        Their predictions.
    """

    table: Table
    scores: dict[str, float]
    names: list[str]
    labels: NDArray
    found: NDArray


def group_of(table: Table) -> NDArray:
    """Return the group of each row, the row itself where the table has none."""
    return np.asarray(table["group" if "group" in table.colnames else "row"], int)


def learn(
    table: Table, rows: NDArray, values: NDArray, column: str, learner: str = "",
    tuning: FineTuning | None = None, progress: bool = False,
    also: Mapping[str, tuple[Table, Sequence[str]]] | None = None,
) -> Learnt:  # fmt: skip
    """Learn labels, judge by four folds, and predict all galaxies.

    Parameters
    ----------
    table : Table
        Of latents.
    rows : ndarray (m,) int
        Those with a label.
    values : ndarray (m,)
        The labels: texts or whole numbers are classes, other numbers are regressed.
    column : str
        Their name; errors of a ``redshift`` are divided by 1 + z.
    learner : str
        One of `learners.CLASSIFIERS`; the best for classes, or for numbers, if empty.
    tuning : FineTuning, optional
        Train the encoder of pictures along, once a fold and once for the unlabelled, and take the
        weighted mean of both learners, see `combined`.
    progress : bool
        Show bars.
    also : mapping of str to (Table, list of str), optional
        Tables of latents of the same weights, and columns with other classes there, which
        fine-tuning teaches the encoder along with the labels. None of these galaxies may be among
        the labelled ones, which they would judge.

    Returns
    -------
    Learnt

    Raises
    ------
    galsim.GalSimValueError
        Fewer than 12 labels, one class only, or more than 50 classes; fine-tuning without pictures;
        a table in `also` of other weights or of the same pictures, or a column of it that has no
        classes.
    """
    if len(values) < FEWEST:
        raise GalSimValueError(f"{column} needs at least {FEWEST} labels", len(values))
    others = _others(table, also or {}, tuning, progress)
    known, group = features(table), group_of(table)
    if are_numbers(values):
        if tuning is not None:
            raise GalSimValueError("Fine-tuning is for classes, and these are numbers", column)
        learner = learner or learners.BEST_OF_NUMBERS
        return _numbers(table, known, rows, values.astype(float), group, column, learner, progress)
    learner = learner or learners.BEST_OF_CLASSES
    names, labels = classes_of(values, column)
    found = learners.cross_validated(
        known[rows], labels, group[rows], learner, len(names), progress
    )
    every = np.zeros((len(table), len(names)))
    model = learners.fit_classifier(known[rows], labels, learner)
    every[:, np.asarray(model.classes_, int)] = model.predict_proba(known)
    if tuning is not None:
        folds, whole = _fine_tuned(table, rows, labels, group, tuning, progress, others)
        found, every = (combined(a, b) for a, b in ((found, folds), (every, whole)))
    every[rows] = found
    listed = _listed(table, rows, texts_of(values), column)
    add_classes(listed, names, every)
    scores = learners.class_scores(labels, found)
    return Learnt(listed, scores, names.tolist(), labels, found)


def _others(
    table: Table, also: Mapping[str, tuple[Table, Sequence[str]]], tuning: FineTuning | None,
    progress: bool,
) -> dict[str, Task]:  # fmt: skip
    """Tasks that are taught along; none of them may show what is to judge."""
    if also and tuning is None:
        raise GalSimValueError("Labels of other sets are for fine-tuning", list(also))
    for name, (other, _) in also.items():
        if other.meta.get("INPUT") == table.meta.get("INPUT"):
            raise GalSimValueError(f"{name} is of the pictures that are to judge: leave it out",
                                   other.meta.get("INPUT"))  # fmt: skip
    return tasks_of(also, str(table.meta.get("SHA256")), progress)


def combined(moments: NDArray, network: NDArray) -> NDArray:
    """Return the weighted geometric mean of the probabilities (n, classes) of two learners.

    The network counts twice: Galaxy Zoo's galaxies have the best likelihood so.

    Parameters
    ----------
    moments, network : ndarray (n, classes)
        Of the learner on latents and moments, and of the encoder trained along.
    """
    product = np.maximum(moments, 1e-4) ** (1 - _NETWORK) * np.maximum(network, 1e-4) ** _NETWORK
    return product / product.sum(1, keepdims=True)


def _numbers(
    table: Table, known: NDArray, rows: NDArray, values: NDArray, group: NDArray, column: str,
    learner: str, progress: bool,
) -> Learnt:  # fmt: skip
    found = learners.cross_validated(
        known[rows], values, group[rows], learner, progress=progress
    )
    model = learners.REGRESSORS[learner](len(rows), known.shape[1]).fit(known[rows], values)
    every = np.asarray(model.predict(known), float)
    every[rows] = found
    listed = _listed(table, rows, values, column)
    listed["predicted"] = every
    scores = learners.number_scores(values, found, column == "redshift")
    return Learnt(listed, scores, [], values, found)


def add_classes(listed: Table, names: NDArray, probability: NDArray) -> None:
    """Add to a table what is predicted: the class, its probability, and that of each class.

    Parameters
    ----------
    listed : Table
        Of n rows.
    names : ndarray (classes,) str
        Of the classes.
    probability : ndarray (n, classes)
        Of each.
    """
    listed["predicted"] = names[probability.argmax(1)]
    listed["probability"] = probability.max(1)
    for k, name in enumerate(names):
        listed[f"p_{name}"] = probability[:, k]


def naming(table: Table) -> Table:
    """Return the columns ``row``, ``name`` and ``identifier`` of a table of latents, if there."""
    names = [name for name in ("row", "name", "identifier") if name in table.colnames]
    return Table({name: np.asarray(table[name]) for name in names})


def _listed(table: Table, rows: NDArray, values: NDArray, column: str) -> Table:
    listed = naming(table)
    given: Any = np.full(len(table), np.nan if values.dtype.kind == "f" else "", values.dtype)
    given[rows] = values
    listed[f"given_{column}"] = given
    listed["held_out_by"] = np.where(np.isin(np.arange(len(table)), rows), "fold", "no label")
    return listed


def _fine_tuned(
    table: Table, rows: NDArray, labels: NDArray, group: NDArray, tuning: FineTuning,
    progress: bool, others: dict[str, Task],
) -> tuple[NDArray, NDArray]:  # fmt: skip
    """Probabilities of the labelled rows, each by a network of other folds, and of all rows."""
    model, stretched = pictures_of(table, progress)
    fold, classes = learners.folds_of(group[rows]), int(labels.max()) + 1
    found = np.zeros((len(rows), classes))
    for k in range(FOLDS):
        seen, held = fold != k, fold == k
        tasks = {"labels": Task(stretched[rows[seen]], labels[seen])} | others
        network = fine_tune(model.vae, tasks, tuning, progress)
        part = network.predict(stretched[rows[held]], "labels")
        found[np.ix_(held, np.arange(part.shape[1]))] = part
        logger.info("fold %d: %.3f", k, np.mean(part.argmax(1) == labels[held]))
    if len(rows) == len(table):
        every = np.zeros((len(table), classes))
        every[rows] = found
        return found, every
    tasks = {"labels": Task(stretched[rows], labels)} | others
    network = fine_tune(model.vae, tasks, tuning, progress)
    return found, network.predict(stretched, "labels", progress)


def write(learnt: Learnt, column: str, folder: Path) -> list[Path]:
    """Write predictions.ecsv, scores.ecsv and a picture into a folder; returns their paths."""
    table, scores, picture = (
        folder / name for name in ("predictions.ecsv", "scores.ecsv", f"{column}.png")
    )
    write_whole(table, learnt.table.write)
    write_whole(scores, Table([learnt.scores]).write)
    if learnt.names:
        figures.draw_classes(learnt.labels, learnt.found, learnt.names, picture)
    else:
        text = ", ".join(f"{k} {v:.3g}" for k, v in learnt.scores.items())
        figures.draw_numbers(learnt.labels, learnt.found, column, picture, text)
    return [table, scores, picture]
