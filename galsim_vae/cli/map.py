"""``galsim-vae map``: galaxies laid out by their latents, and what the latents are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from astropy.table import Table

from galsim_vae.deviates import checked_seed
from galsim_vae.files import write_whole
from galsim_vae.settings import key

from .call import Call
from .sample import new_file

__all__ = ["Keys", "run"]

_TRAVERSALS = 8


@dataclass(frozen=True)
class Keys:
    """What can be given as ``key=value``."""

    output: Path = key(
        "map, .png; beside it the places (.ecsv), -prior.png and -traversals.png", Path("map.png")
    )
    colour: str | None = key("column of numbers or texts that colours the galaxies", None)
    method: Literal["pca", "umap", "tsne"] = key(
        "principal components, which are fast, or neighbours kept together", "umap"
    )
    seed: int = key("of the random numbers, from 1 on", 1)
    overwrite: bool = key("true replaces files that are there", False)


def run(call: Call) -> None:
    """Lay galaxies out, and draw what single latents do."""
    keys = call.read(Keys)
    seed = checked_seed(keys.seed)
    path = call.file("table of latents, from galsim-vae encode")
    output = new_file(keys.output, (".png",), keys.overwrite)
    listed, prior, traversals = (
        new_file(output.with_name(output.stem + end), (".png", ".ecsv"), keys.overwrite)
        for end in (".ecsv", "-prior.png", "-traversals.png")
    )
    from galsim_vae.latents.table import key_of, read_latents

    table = read_latents(path, "thumbnail")
    from galsim_vae.plots import contact_sheet
    from galsim_vae.train.latents import map as layout
    from galsim_vae.train.latents.map_figures import draw_map, draw_prior

    decode = layout.decoder_of(table)
    values = None if keys.colour is None else layout.colour(table, keys.colour)
    name = key_of(table)
    places = layout.place(np.asarray(table["mean"]), keys.method, seed, call.progress)
    found = Table({name: np.asarray(table[name]), "map_x": places[:, 0], "map_y": places[:, 1]})
    if values is not None:
        found[keys.colour] = values
    found.meta = {"METHOD": keys.method, "SEED": seed, "SHA256": table.meta["SHA256"]}
    write_whole(listed, found.write)
    draw_map(places, np.asarray(table["thumbnail"]), output, values, keys.colour or "")
    drawn = layout.samples(table, seed)
    draw_prior(drawn, np.asarray(table["width"]), prior)
    told = layout.divergence(table)
    most = np.argsort(-told, kind="stable")[:_TRAVERSALS]
    contact_sheet(
        [decode(row) for row in layout.traverse(drawn, most)], traversals,
        titles=[f"{step:+.0f} sigma" if step else "mean" for step in layout.STEPS],
        captions=[
            f"latent {k}: {told[k]:.2g} nat" if step == 0 else ""
            for k in most for step in range(len(layout.STEPS))
        ],
    )  # fmt: skip
    call.wrote(output, listed, prior, traversals)
