"""How well numbers are regressed: python -m benchmarks.numbers LABELS TABLES REAL

LABELS is the folder of labelled sets, TABLES that of their latents, and REAL the table of latents
of real galaxies (``galsim-vae encode``). Each number is predicted in four folds from latents and
moments, from less, and always as the median. Prints a Markdown table.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray

from galsim_vae.latents.encode import encode_galaxies
from galsim_vae.latents.table import features, read_latents
from galsim_vae.model import file as modelfile
from galsim_vae.train.fit.observe import RadialPSFTable, observe
from galsim_vae.train.latents import learners
from galsim_vae.train.latents.classify import FEWEST, group_of
from galsim_vae.train.synthetic.colours import colour_table
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_galaxies

#: Of the 37 votes, those that most galaxies were asked for.
VOTES = (
    "t01_smooth_or_features_a01_smooth_debiased", "t02_edgeon_a04_yes_debiased",
    "t03_bar_a06_bar_debiased", "t04_spiral_a08_spiral_debiased", "t06_odd_a14_yes_debiased",
    "t08_odd_feature_a24_merger_debiased",
)  # fmt: skip
SYNTHETIC = 2000


def votes(labels: Path, table: Table) -> Iterator[tuple[str, NDArray]]:
    """Yield names and vote fractions of the rows of a table."""
    with np.load(labels / "gz2_sdss_votes1000.npz") as file:
        names, fractions = file["vote_names"].tolist(), file["votes"].astype(float)
    for name in VOTES:
        yield f"GZ2 {name[:-9]}", fractions[np.asarray(table["row"]), names.index(name)]


def synthetic() -> tuple[Table, NDArray, NDArray]:
    """Latents of synthetic galaxies, what their bands' fluxes say, and their redshifts."""
    model = modelfile.read(modelfile.find("candels"))
    random = torch.Generator().manual_seed(20)
    frame = model.vae.config.canonical_frame
    conditions, stamps = fresh_galaxies(SYNTHETIC, colour_table(), random, False, frame)
    scale, taken = canonical_pixel_scale(conditions), frame.shear(conditions[:, 2])
    batch = observe(stamps, scale, RadialPSFTable.hst(), random, complete=True,
                    psf_scale=torch.ones(SYNTHETIC), frame_g=taken)  # fmt: skip
    unknown = np.full((SYNTHETIC, 4), np.nan)
    table = encode_galaxies(model, batch, unknown, progress=True)
    return table, colours(batch.image.sum((2, 3)).numpy()), conditions[:, 3].numpy()


def colours(flux: NDArray) -> NDArray:
    """Logarithms of fluxes (n, bands) over the largest; 0 where there is none."""
    ratio = flux / np.maximum(flux.max(1, keepdims=True), 1e-12)
    return np.where(flux > 0, np.log(np.maximum(ratio, 1e-3)), 0.0)


def report(name: str, known: dict[str, NDArray], values: NDArray, group: NDArray,
           held: NDArray | None = None) -> None:  # fmt: skip
    """Print how well numbers are known from several sets of features."""
    redshift = "redshift" in name
    rows = np.isfinite(values)
    judged = np.ones(rows.sum(), bool) if held is None else held[rows]
    for way, x in known.items():
        found = learners.cross_validated(x[rows], values[rows], group[rows],
                                          learners.BEST_OF_NUMBERS)  # fmt: skip
        s = learners.number_scores(values[rows][judged], found[judged], redshift)
        print(f"| {name} | {s['galaxies']} | {way} | {s['scatter']:.3f} ± {s['error']:.3f} | "
              f"{s['guess']:.3f} | {s['rms']:.3f} ± {s['rms_error']:.3f} | {s['guess_rms']:.3f} | "
              f"{s['outliers']:.3f} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("tables", type=Path)
    parser.add_argument("real", type=Path)
    options = parser.parse_args()
    table = read_latents(options.tables / "gz2.fits")
    group, held = group_of(table), np.isin(group_of(table) % 4, (2, 3))
    moments = np.asarray(table["moments"], float)
    for name, values in votes(options.labels, table):
        report(name, {"latents and moments": features(table), "moments": moments}, values, group,
               held)  # fmt: skip
    real = read_latents(options.real)
    for source in ("jwst_ceers", "cosmos", "hst_nicmos"):
        own = real[np.asarray(real["source"]) == source]
        latents, z = np.asarray(own["mean"], float), np.asarray(own["redshift"], float)
        first = {"latents": latents, "colours in the latents": latents[:, :4]}
        for label, judged in (("", None), (", held out", np.asarray(own["valid"], bool))):
            if np.isfinite(z).sum() >= FEWEST:
                report(f"{source} redshift{label}", first, z, np.arange(len(own)), judged)
    table, fluxes, z = synthetic()
    latents = np.asarray(table["mean"], float)
    known = {"latents": latents, "colours in the latents": latents[:, :4], "fluxes": fluxes}
    report("synthetic redshift", known, z, np.arange(len(z)))


if __name__ == "__main__":
    main()
