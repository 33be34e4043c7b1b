"""How well `anomaly` finds planted artefacts: ROC curves and the areas under them.

``galsim-vae check planted`` plants each kind of `artefacts` in every held-out real galaxy of the
file and in fresh synthetic ones. What is usual is found on a set of which 5 % are artefacts of all
kinds, as in a set to be cleaned; then every galaxy left alone is held against every spoilt one.
Writes auc.ecsv and roc.png and prints the first.
"""

from pathlib import Path

import numpy as np
import torch
from astropy.table import Table, vstack
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve
from tqdm import tqdm

from galsim_vae.bands import BANDS
from galsim_vae.files import write_whole
from galsim_vae.frame.frames import DEFAULT, Frame
from galsim_vae.model import file as modelfile
from galsim_vae.train.fit.observe import RadialPSFTable, draw_signal_to_noise, observe
from galsim_vae.train.statistics import bootstrap_error
from galsim_vae.train.synthetic.colours import colour_table
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_galaxies
from galsim_vae.train.training_file import Dataset

from . import anomaly, artefacts
from .measures import measure_oddities

__all__ = [
    "Measured",
    "auc",
    "completeness",
    "measure_kinds",
    "results",
    "roc_figure",
    "scores",
    "synthetic_file",
    "write",
]

SHARE = 0.05  # of the set that is artefacts
SYNTHETIC = 160
# Share of the set that one would look at: completeness is quoted there.
LISTED = 0.1
_NOISE_FREE = 1e6  # signal-to-noise ratio

Measured = dict[str, NDArray]


def synthetic_file(n: int, seed: int, frame: Frame = DEFAULT) -> Dataset:
    """Fresh galaxies of the population seen by HST, in the form of a training file.

    The noise that the file states is not in the images yet: `artefacts.plant` draws it in native
    pixels (``noisy=False``).
    """
    generator = torch.Generator().manual_seed(seed)
    conditions, stamps = fresh_galaxies(n, colour_table(), generator, wide=False, frame=frame)
    scale, taken = canonical_pixel_scale(conditions), frame.shear(conditions[:, 2])
    free = torch.full((n,), _NOISE_FREE)
    batch = observe(stamps, scale, RadialPSFTable.hst(), generator, free, frame_g=taken)
    ratio = draw_signal_to_noise(n, generator)
    # Noise of galaxies whose flux is 1 in F814W; other bands as `observe` has them.
    noise = batch.noise * (_NOISE_FREE / ratio)[:, None]
    psf = torch.fft.fftshift(torch.fft.irfft2(batch.otf, s=stamps.shape[-2:]), dim=(-2, -1))
    missing, none = np.full(n, np.nan, np.float32), np.zeros(n, bool)
    return Dataset(
        image=batch.image.numpy() * batch.mask.numpy(),
        psf=psf.float().numpy(),
        mask=batch.mask.numpy(),
        noise=noise.numpy(),
        noise_area=np.ones((n, len(BANDS)), np.float32),
        magnitude=conditions[:, 0].numpy(),
        half_light_radius=conditions[:, 1].numpy(),
        g=conditions[:, 2].numpy(),
        redshift=missing,
        pixel_scale=scale.numpy(),
        frame_g=taken.numpy(),
        angle=np.zeros(n, np.float32),
        flux_scale=np.ones(n, np.float32),
        source=np.full(n, "synthetic"),
        source_index=np.arange(n),
        valid=none,
        frame=frame,
    )


def measure_kinds(
    model: modelfile.Model, data: Dataset, seed: int, noisy: bool
) -> tuple[Measured, dict[str, Measured]]:
    """Measure galaxies left alone, and spoilt by each kind of artefact."""
    spoilt = {}
    for kind in tqdm((None, *artefacts.KINDS), desc="artefacts"):
        planted = artefacts.plant(data, kind, seed, noisy)
        spoilt[kind] = measure_oddities(model, planted)
    return spoilt.pop(None), spoilt


def _rows(measured: Measured, rows: NDArray) -> Measured:
    return {name: values[rows] for name, values in measured.items()}


def scores(
    clean: Measured, spoilt: dict[str, Measured], random: np.random.Generator
) -> tuple[NDArray, dict[str, NDArray]]:
    """Score everything against a set of which `SHARE` are artefacts, of kinds drawn at random."""
    n = len(clean["signal_to_noise"])
    mixed = {name: values.copy() for name, values in clean.items()}
    for row in random.choice(n, max(round(SHARE * n), 1), replace=False):
        kind = str(random.choice(list(spoilt)))
        for name, values in mixed.items():
            values[row] = spoilt[kind][name][row]
    usual = anomaly.calibrate(mixed)

    def score(measured: Measured) -> NDArray:
        return anomaly.combine(anomaly.oddness(measured, usual))

    return score(clean), {kind: score(measured) for kind, measured in spoilt.items()}


def auc(clean: NDArray, spoilt: NDArray) -> float:
    """Area under the ROC curve: probability that a spoilt galaxy has the higher score."""
    truth = np.repeat([0, 1], [len(clean), len(spoilt)])
    return float(roc_auc_score(truth, np.concatenate([clean, spoilt])))


def completeness(clean: NDArray, spoilt: NDArray) -> float:
    """Share of the spoilt galaxies that score above all but `LISTED` of those left alone."""
    return float(np.mean(spoilt > np.quantile(clean, 1 - LISTED)))


def results(name: str, clean: Measured, spoilt: dict[str, Measured], seed: int) -> Table:
    """AUC and completeness of each kind with errors.

    Errors are of a bootstrap over galaxies (one and its spoilt versions go together), each with its
    own 5 % of artefacts in the set that says what is usual.
    """
    random = np.random.default_rng(seed)
    n = len(clean["signal_to_noise"])
    every = np.arange(n)

    def figures(rows: NDArray) -> NDArray:
        left, found = scores(
            _rows(clean, rows), {k: _rows(m, rows) for k, m in spoilt.items()}, random
        )
        return np.array([(auc(left, f), completeness(left, f)) for f in found.values()])

    values = figures(every)
    pairs = np.stack([values, bootstrap_error(figures, every, random=random)], 2)
    lines = [
        (name, kind, n, *line) for kind, line in zip(spoilt, pairs.reshape(-1, 4), strict=True)
    ]
    names = ["set", "kind", "n", "auc", "auc_error", "completeness", "completeness_error"]
    table = Table(rows=lines, names=names)
    for column in names[3:]:
        table[column].info.format = ".3f"
    return table


def roc_figure(
    sets: dict[str, tuple[Measured, dict[str, Measured]]], path: Path, seed: int
) -> None:
    """Draw the ROC curves of each set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(sets), 4.0), layout="constrained")
    axes = figure.subplots(1, len(sets), squeeze=False)[0]
    for axis, (name, (clean, spoilt)) in zip(axes, sets.items(), strict=True):
        left, found = scores(clean, spoilt, np.random.default_rng(seed))
        for kind, values in found.items():
            truth = np.repeat([0, 1], [len(left), len(values)])
            false, true, _ = roc_curve(truth, np.concatenate([left, values]))
            axis.plot(false, true, label=f"{kind}, {auc(left, values):.2f}")
        axis.plot([0, 1], [0, 1], color="0.8", lw=1)
        axis.set(title=name, xlabel="galaxies left alone, share above the score")
        axis.legend(title="area under the curve", fontsize=8, loc="lower right")
    axes[0].set_ylabel("artefacts, share above the score")
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=110))


def write(model: modelfile.Model, data: Dataset, output: Path, seed: int = 1) -> Table:
    """Plant artefacts in held-out and in synthetic galaxies, and write auc.ecsv and roc.png.

    Parameters
    ----------
    model : Model
        The weights.
    data : Dataset
        A training file; its held-out galaxies are used.
    output : Path
        Folder.
    seed : int, optional
        Of everything random.

    Returns
    -------
    Table
        See `results`; one row a set and kind.
    """
    files = {
        "real, held out": (data[data.valid], True),
        "synthetic": (synthetic_file(SYNTHETIC, seed, model.vae.config.canonical_frame), False),
    }
    sets, tables = {}, []
    for name, (galaxies, noisy) in files.items():
        clean, spoilt = sets[name] = measure_kinds(model, galaxies, seed, noisy)
        tables.append(results(name, clean, spoilt, seed))
    table = vstack(tables)
    write_whole(output / "auc.ecsv", table.write)
    roc_figure(sets, output / "roc.png", seed)
    return table
