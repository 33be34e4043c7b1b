"""``galsim-vae hunt``: look for odd galaxies, taught by yes and no in a table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from astropy.table import Table

from galsim_vae.files import output_file, write_whole
from galsim_vae.settings import key

from .call import Call
from .sample import check_count, new_file

__all__ = ["Keys", "run"]

_COLUMNS = 8


@dataclass(frozen=True)
class Keys:
    """What can be given as ``key=value``."""

    labels: Path = key("table, .csv, of your yes and no; the galaxies to look at are added to it")
    output: Path = key("contact sheet of the most promising, .png", Path("hunt.png"))
    count: int = key("galaxies to look at", 40)
    learner: Literal["static", "along"] = key(
        "on latents and moments, or with the encoder's last layers trained along", "static"
    )
    start: Literal["density", "isolation", "likelihood"] = key(
        "score as long as there are no labels", "density"
    )
    seed: int = key("of the random numbers", 1)


def run(call: Call) -> None:
    """Train on the labels that are there, and propose what to look at next."""
    keys = call.read(Keys)
    check_count(keys.count, "count")
    path = call.file("table of latents, from galsim-vae encode")
    sheet = new_file(keys.output, (".png",), True)
    from galsim_vae.latents.table import features, key_of, labels_of, read_latents
    from galsim_vae.plots import contact_sheet
    from galsim_vae.train.latents import hunt
    from galsim_vae.train.latents.tasks import pictures_of

    table = read_latents(path)
    rows, values = np.zeros(0, int), np.zeros(0)
    if keys.labels.exists():
        rows, values = labels_of(table, keys.labels, "label")
    labels = output_file(keys.labels)
    odd = hunt.is_yes(values)
    known = features(table)
    start = hunt.unsupervised(known, np.asarray(table["log_density"]), keys.seed)[keys.start]
    if keys.learner == "along":
        model, stretched = pictures_of(table, call.progress)
        learner = hunt.Along(model.vae, stretched, keys.seed)
    else:
        learner = hunt.Static(known)
    rng = np.random.default_rng([keys.seed, len(rows)])
    proposed, score = hunt.propose(start, learner, rows, odd, keys.count, rng)
    name = key_of(table)
    names = np.array([str(value) for value in table[name]])
    listed = Table({
        name: np.concatenate([names[rows], names[proposed]]),
        "label": [*np.where(odd, "yes", "no"), *([""] * len(proposed))],
        "score": np.round(np.concatenate([score[rows], score[proposed]]), 4),
    })  # fmt: skip
    tiles = [table["thumbnail"][row][::-1] / 255 for row in proposed]
    sheets = [tiles[k : k + _COLUMNS] for k in range(0, len(tiles), _COLUMNS)]
    contact_sheet(sheets, sheet, captions=names[proposed].tolist())
    write_whole(labels, lambda temporary: listed.write(temporary, format="ascii.csv"))
    if call.progress:
        print(f"{len(rows)} looked at, {int(odd.sum())} of them odd; say yes or no to "
              f"{len(proposed)} more in {labels}, in the order of the picture")  # fmt: skip
    call.wrote(sheet, labels)
