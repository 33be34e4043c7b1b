"""How well labels of one survey serve another: python -m benchmarks.surveys FOLDER

FOLDER holds tables of latents of the sets with labels: efigi.fits, gz_kaggle.fits and
galaxy10.fits. Each set is cut to the galaxies of four classes (EFIGI's lenticulars are left out,
or smooth like Galaxy Zoo's ellipticals: "S0"). The labels of the target judge and teach nothing.
Prints a Markdown table.
"""

import argparse
from pathlib import Path

import numpy as np
from astropy.table import QTable
from numpy.typing import NDArray

from galsim_vae.latents.table import read_latents
from galsim_vae.train.latents.adapt import Judges, adapt
from galsim_vae.train.latents.finetune import FineTuning

_EFIGI = {0: "smooth", 2: "edge-on", 3: "barred", 4: "unbarred", 5: "unbarred"}
#: Of each set its file, the column of its labels and the class of each.
SETS = {
    "EFIGI": ("efigi", "class7", _EFIGI),
    "EFIGI with S0": ("efigi", "class7", _EFIGI | {1: "smooth"}),
    "Galaxy Zoo": (
        "gz_kaggle", "label", {0: "barred", 1: "edge-on", 2: "smooth", 3: "unbarred"}
    ),
    "Galaxy10": (
        "galaxy10", "label",
        {2: "smooth", 3: "smooth", 5: "barred", 6: "unbarred", 7: "unbarred", 8: "edge-on",
         9: "edge-on"},
    ),
}  # fmt: skip
PAIRS = (
    ("EFIGI", "Galaxy Zoo"), ("Galaxy Zoo", "EFIGI"), ("EFIGI with S0", "Galaxy Zoo"),
    ("Galaxy Zoo", "EFIGI with S0"), ("Galaxy Zoo", "Galaxy10"),
)  # fmt: skip


def cut(folder: Path, name: str) -> tuple[QTable, NDArray]:
    """Return the galaxies of the four classes, and the class of each."""
    file, column, classes = SETS[name]
    table = read_latents(folder / f"{file}.fits")
    kept = np.isin(table[column], list(classes))
    return table[kept], np.array([classes[int(k)] for k in table[column][kept]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--learner", default="kernel")
    parser.add_argument("--fine-tune", action="store_true", help="the encoder trained along")
    parser.add_argument("--moments", action="store_true", help="without the latents")
    parser.add_argument("--hold-out", type=int, nargs="*", default=[], metavar="FOLD",
                        help="folds that the encoder never saw, to be judged alone")  # fmt: skip
    options = parser.parse_args()
    for source, target in PAIRS:
        files = [options.folder / f"{SETS[name][0]}.fits" for name in (source, target)]
        if not all(file.exists() for file in files):
            continue
        known, labels = cut(options.folder, source)
        other, truth = cut(options.folder, target)
        for table in (known, other) if options.moments else ():
            table["mean"] = table["mean"][:, :0]
        judged = np.arange(len(other))
        if options.hold_out:
            judged = judged[np.isin(np.asarray(other["group"]) % 4, options.hold_out)]
        tuning = FineTuning(steps=1200) if options.fine_tune else None
        for way in ("fine_tune",) if tuning else ("coral", "mmd"):
            adapted = adapt(known, np.arange(len(known)), labels, other, "type", way,
                            options.learner, Judges(judged, truth[judged]), tuning=tuning,
                            progress=options.fine_tune)  # fmt: skip
            for row in adapted.accuracy:
                before, after = (
                    f"{row[when]:.3f} ± {row[f'{when}_error']:.3f}" for when in ("before", "after")
                )
                print(f"| {source} to {target} | {way} | {row['survey']} | {row['class']} "
                      f"({row['galaxies']}) | {before} | {after} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
