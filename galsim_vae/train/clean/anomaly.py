"""Cleaning by the model: how badly a trained model explains each galaxy of a training file.

``galsim-vae clean`` writes anomaly.ecsv (every galaxy, worst first, with the reason) and
anomaly.png (the worst ones: data, model, residual). Each of `measures.REASONS` is measured on each
galaxy and turned into the probability that a galaxy of the file with the same source and
signal-to-noise ratio is as odd or odder, and `combine` makes the score of them. `planted` measures
how well it works.
"""

import os

import galsim
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from galsim_vae.files import write_whole
from galsim_vae.model import file as modelfile
from galsim_vae.plots import colour_image
from galsim_vae.train.training_file import Dataset

from .measures import REASONS, explain
from .usual import Usual

__all__ = ["MIN_GALAXIES", "calibrate", "combine", "oddness", "sheet", "table"]

_OF_BLENDS = ("irregular", "second_peak")
MIN_GALAXIES = 20


def calibrate(measured: dict[str, NDArray]) -> dict[str, Usual]:
    """Find what is usual of each of `REASONS` in a set, from `measure_oddities`.

    Raises
    ------
    galsim.GalSimValueError
        Fewer than `MIN_GALAXIES` galaxies.
    """
    ratio = measured["signal_to_noise"]
    if len(ratio) < MIN_GALAXIES:
        raise galsim.GalSimValueError(
            f"Anomalies are relative to the other galaxies: give at least {MIN_GALAXIES}",
            len(ratio),
        )
    return {name: Usual.of(measured[name], ratio, measured["source"]) for name in REASONS}


def oddness(measured: dict[str, NDArray], usual: dict[str, Usual]) -> NDArray:
    """-log10 of the tail probability of each of `REASONS`, (n, reasons).

    Parameters
    ----------
    measured : dict of str to ndarray
        From `measure_oddities`.
    usual : dict of str to Usual
        From `calibrate`, of the same file or of another.
    """
    ratio = measured["signal_to_noise"]
    source = measured["source"]
    return np.stack([usual[name].oddness(measured[name], ratio, source) for name in REASONS], 1)


def combine(odd: NDArray) -> NDArray:
    """Score of galaxies, (n,), from `oddness`: the sum over the reasons plus twice the largest.

    The sum (Fisher's method) finds what is a little odd in several ways; the largest what is odd in
    one, such as a cosmic ray. The two measures of a blend count together as one.
    """
    blend = odd[:, [list(REASONS).index(name) for name in _OF_BLENDS]].sum(1)
    return odd.sum(1) + 2 * np.maximum(odd.max(1), blend)


def table(data: Dataset, measured: dict[str, NDArray], usual: dict[str, Usual]) -> Table:
    """List every galaxy, worst first.

    Parameters
    ----------
    data : Dataset
        The galaxies.
    measured : dict of str to ndarray
        From `measure_oddities`, of the same galaxies.
    usual : dict of str to Usual
        From `calibrate`, of the same file or of another.

    Returns
    -------
    astropy.table.Table
        Columns row (in the training file), source, source_index, identifier, valid, score, reason,
        signal_to_noise, and -log10 of the tail probability of each reason.
    """
    odd = oddness(measured, usual)
    columns = {
        "row": np.arange(len(data)),
        "source": data.source,
        "source_index": data.source_index,
        "identifier": data.identifier,
        "valid": data.valid,
        "score": combine(odd),
        "reason": np.array(list(REASONS))[odd.argmax(1)],
        "signal_to_noise": measured["signal_to_noise"],
    }
    listed = Table(columns | dict(zip(REASONS, odd.T, strict=True)))
    for name in ("score", "signal_to_noise", *REASONS):
        listed[name].info.format = ".3g"
    listed.meta["reasons"] = REASONS
    return listed[np.argsort(-combine(odd), kind="stable")]


def sheet(model: modelfile.Model, data: Dataset, listed: Table, path: os.PathLike) -> None:
    """Draw data, model and residual (-5 to 5 sigma, mean of the bands) of listed galaxies."""
    from matplotlib.figure import Figure

    explained = explain(model, data[np.asarray(listed["row"])])
    across = 4
    down = -(-len(listed) // across)
    figure = Figure(figsize=(3.3 * across, 1.3 * down))
    axes = figure.subplots(down, 3 * across, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for k, row in enumerate(listed):
        first, second, third = axes[k // across, 3 * (k % across) :][:3]
        observed = explained.batch.mask[k].any(2).any(1)[:, None, None]
        first.imshow(colour_image(explained.batch.image[k].numpy()), origin="lower")
        first.set_title(f"{row['source']} {row['source_index']}", fontsize=6, pad=2)
        second.imshow(colour_image((explained.image[k] * observed).numpy()), origin="lower")
        second.set_title(f"{row['reason']}", fontsize=6, pad=2)
        sigma = (explained.residual[k] / explained.sigma[k]).sum(0) / observed.sum()
        third.imshow(sigma.numpy(), origin="lower", cmap="gray", vmin=-5, vmax=5)
        third.set_title(f"{row['score']:.1f}", fontsize=6, pad=2)
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.15 / down, 0.03, 0.16)
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=100))
