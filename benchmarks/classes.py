"""How well classes are told: python -m benchmarks.classes FOLDER --hold-out 2 3

FOLDER holds tables of latents of the sets with labels, encoded by weights that were trained without
the folds of --hold-out. Rows of these folds are predicted by learners that have seen the labels of
all other folds. Prints a Markdown table; --fine-tune trains the encoder along, and with --also by
the labels of the other sets too.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from galsim_vae.latents.table import features, read_latents
from galsim_vae.train.latents import learners
from galsim_vae.train.latents.classify import combined, group_of
from galsim_vae.train.latents.finetune import FineTuning, Task, fine_tune
from galsim_vae.train.latents.tasks import pictures_of, tasks_of

SETS = {"EFIGI": ("efigi", "class7"), "Galaxy Zoo": ("gz_kaggle", "label"),
        "Galaxy Zoo 2": ("gz2", "class7")}  # fmt: skip


def scores(labels: NDArray, found: NDArray) -> str:
    """Accuracy with its error, balanced accuracy and calibration error."""
    s = learners.class_scores(labels, found)
    return f"{s['accuracy']:.3f} ± {s['error']:.3f} | {s['balanced']:.3f} | {s['calibration']:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hold-out", type=int, nargs="+", default=list(range(4)))
    parser.add_argument("--fine-tune", action="store_true")
    parser.add_argument("--also", action="store_true", help="taught by the other sets' labels")
    parser.add_argument("--only", default="", choices=["", *SETS], help="name of one set")
    parser.add_argument("--save", type=Path, help="folder of the probabilities, .npz")
    options = parser.parse_args()
    if options.also and not options.fine_tune:
        parser.error("--also needs --fine-tune")
    for name, (file, column) in SETS.items():
        if options.only and options.only != name:
            continue
        table = read_latents(options.folder / f"{file}.fits")
        model, pictures = pictures_of(table) if options.fine_tune else (None, None)
        others: dict[str, Task] = {}
        if model is not None and options.also:
            also = {f: (read_latents(options.folder / f"{f}.fits"), [c])
                    for f, c in SETS.values() if f != file}  # fmt: skip
            others = tasks_of(also, model.sha256)
        known = np.asarray(table[column]) >= 0
        labels = np.unique(np.asarray(table[column])[known], return_inverse=True)[1]
        fold = learners.folds_of(group_of(table)[known])
        every = features(table)[known]
        found: dict[str, list[NDArray]] = {"kernel": [], "network": [], "both": []}
        held = [np.flatnonzero(fold == k) for k in options.hold_out]
        for k, rows in zip(options.hold_out, held, strict=True):
            seen = fold != k
            learner = learners.fit_classifier(every[seen], labels[seen], "kernel")
            found["kernel"].append(learner.predict_proba(every[rows]))
            if model is not None and pictures is not None:
                images = pictures[known]
                tasks = {"labels": Task(images[seen], labels[seen])} | others
                network = fine_tune(model.vae, tasks, FineTuning(), True)
                found["network"].append(network.predict(images[rows], "labels"))
                found["both"].append(combined(found["kernel"][-1], found["network"][-1]))
            for way, parts in found.items():
                if parts:
                    so_far = labels[np.concatenate(held[: len(parts)])]
                    print(f"| {name} to fold {k} | {way} | {len(so_far)} | "
                          f"{scores(so_far, np.concatenate(parts))} |", flush=True)  # fmt: skip
        if options.save is not None:
            arrays = {way: np.concatenate(parts) for way, parts in found.items() if parts}
            np.savez(options.save / f"{file}.npz", labels=labels[np.concatenate(held)], **arrays)


if __name__ == "__main__":
    main()
