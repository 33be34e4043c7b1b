"""How well odd galaxies are found: python -m benchmarks.hunts FOLDER

FOLDER holds tables of latents of the sets with labels, whose files tell what is odd. Three quarters
of each set are hunted, ten at a time, with the set's own labels in the place of the user; ROC AUC
is that of the fourth quarter, which is never looked at. Prints a Markdown table.
"""

import argparse
from pathlib import Path

import numpy as np
from astropy.table import QTable
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from galsim_vae.latents.table import features, read_latents
from galsim_vae.train.latents import hunt
from galsim_vae.train.latents.tasks import pictures_of

SEEDS, ROUND, MARKS = 5, 10, (20, 50, 100, 200)


def pixels_forest(pictures: NDArray) -> NDArray:
    """Isolation forest on 40 principal components of the pixels."""
    grey = pictures.mean(1)
    small = grey.reshape(len(grey), 32, 2, 32, 2).mean((2, 4)).reshape(len(grey), -1)
    axes = PCA(40, random_state=0).fit_transform(small)
    return -IsolationForest(n_estimators=200, random_state=0).fit(axes).score_samples(axes)


def chase(start: NDArray, learner, odd: NDArray, pool: NDArray, seed: int) -> dict[str, float]:
    """Hunt in the pool; AUC of the others, and how many were found over what chance finds."""
    rng = np.random.default_rng(seed)
    held = np.setdiff1d(np.arange(len(odd)), pool)
    noisy = hunt.ranked(start) + 0.05 * rng.normal(size=len(start))
    noisy[held] = -np.inf  # never proposed
    rows, found = np.zeros(0, int), {}
    while len(rows) < MARKS[-1]:
        proposed, _ = hunt.propose(noisy, _Inside(learner, held), rows, odd[rows], ROUND, rng)
        rows = np.concatenate([rows, proposed])
        n = len(rows)
        if n in MARKS:
            if n <= 100:
                usable = len(np.unique(odd[rows])) > 1
                score = learner.fit(rows, odd[rows]) if usable else start
                mixed = hunt.mixed(start, score, n)
                found[f"AUC {n}"] = roc_auc_score(odd[held], mixed[held])
            if n >= 100:
                found[f"times chance {n}"] = odd[rows].sum() / (n * odd[pool].mean())
    return found


class _Inside:
    """A learner whose score leaves rows out."""

    def __init__(self, learner, held: NDArray):
        self.learner, self.held = learner, held

    def fit(self, rows: NDArray, odd: NDArray) -> NDArray:
        score = self.learner.fit(rows, odd)
        score[self.held] = score.min() - 1
        return score


def flag(table: QTable, name: str) -> NDArray:
    """One of EFIGI's flags, or whether more than half of Galaxy Zoo 2's votes are for it (n,)."""
    with np.load(table.meta["INPUT"]) as file:
        names, kind = (("flag_names", "flags") if "flags" in file else ("vote_names", "votes"))
        column = [name in str(given) for given in file[names]].index(True)
        return np.asarray(file[kind][np.asarray(table["row"]), column] > 0.5)


def sets(folder: Path):
    """Yield name, table and what is odd of each set."""
    for name, file, pick in (
        ("GZ2 odd", "gz2", lambda t: flag(t, "odd_a14_yes")),
        ("EFIGI perturbed", "efigi", lambda t: flag(t, "perturbed")),
        ("EFIGI ringed", "efigi", lambda t: flag(t, "outer_ring") | flag(t, "inner_ring")),
        ("EFIGI multiple", "efigi", lambda t: flag(t, "multiple")),
        ("Euclid mergers", "euclid", lambda t: t["label"] == 1),
        ("SDSS artefacts", "artefacts", lambda t: t["label"] < 2),
    ):
        path = folder / f"{file}.fits"
        if path.exists():
            table = read_latents(path)
            yield name, table, np.asarray(pick(table), bool)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--along", action="store_true", help="the encoder's last layers too")
    parser.add_argument("--only", default="", help="sets whose name has this in it")
    options = parser.parse_args()
    for name, table, odd in sets(options.folder):
        if options.only not in name:
            continue
        known = features(table)
        scores = hunt.unsupervised(known, np.asarray(table["log_density"]))
        model, pictures = pictures_of(table)
        scores["forest of pixels"] = pixels_forest(pictures)
        text = ", ".join(f"{k} {roc_auc_score(odd, v):.3f}" for k, v in scores.items())
        print(f"{name}: {len(odd)} galaxies, {odd.sum()} odd; no labels: {text}", flush=True)
        learners = {"static": hunt.Static(known)}
        if options.along:
            learners["along"] = hunt.Along(model.vae, pictures)
        for label, learner in learners.items():
            runs = []
            for seed in tqdm(range(SEEDS), f"{name}, {label}"):
                pool = np.flatnonzero(np.arange(len(odd)) % 4 != seed % 4)
                runs.append(chase(scores["density"], learner, odd, pool, seed))
            for mark in runs[0]:
                values = [run[mark] for run in runs]
                error = np.std(values, ddof=1) / np.sqrt(SEEDS)
                print(f"| {name} | {label} | {mark} | {np.mean(values):.3f} ± {error:.3f} |",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
