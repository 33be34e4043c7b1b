"""``galsim-vae classify``: a user's labels taught to all galaxies of a table of latents."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from galsim_vae.files import output_folder
from galsim_vae.settings import key

from .call import Call
from .sample import check_count

__all__ = ["Keys", "run"]


@dataclass(frozen=True)
class Keys:
    """What can be given as ``key=value``."""

    column: str = key("of the labels: texts and whole numbers are classes, others are regressed")
    labels: Path | None = key(
        "table of labels with a column name, identifier or row; the latents' own if absent", None
    )
    output: Path = key("folder of predictions, scores and a picture", Path("classes"))
    learner: Literal["kernel", "logistic", "boosting"] = key(
        "on latents and moments: radial basis functions, linear, or trees", "kernel"
    )
    fine_tune: bool = key("true trains the encoder of pictures along, in four folds", False)
    steps: int = key("of the fine-tuning, with 64 pictures each", 600)
    seed: int = key("of the fine-tuning", 1)


def run(call: Call) -> None:
    """Learn, judge by four folds, and predict."""
    keys = call.read(Keys)
    check_count(keys.steps, "steps")
    path = call.file("table of latents, from galsim-vae encode")
    from galsim_vae.latents.table import column_of, labels_of, read_latents

    table = read_latents(path)
    if keys.labels is None:
        values = column_of(table, keys.column)
        rows = np.flatnonzero([v == v and str(v).strip() != "" for v in values])
        if values.dtype.kind == "i":
            rows = rows[values[rows] >= 0]  # -1 is what sets without a class say
        values = values[rows]
    else:
        rows, values = labels_of(table, keys.labels, keys.column)
    from galsim_vae.train.latents.classify import learn, write
    from galsim_vae.train.latents.finetune import FineTuning

    folder = output_folder(keys.output)
    tuning = FineTuning(steps=keys.steps, seed=keys.seed) if keys.fine_tune else None
    learnt = learn(table, rows, values, keys.column, keys.learner, tuning, call.progress)
    if call.progress:
        print(", ".join(f"{k} {v:.4g}" for k, v in learnt.scores.items()))
    call.wrote(*write(learnt, keys.column, folder))
