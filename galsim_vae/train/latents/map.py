"""A map of galaxies by their latents, and what single latents do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from astropy.table import QTable
from galsim.errors import GalSimValueError
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from galsim_vae.devices import pinned_torch
from galsim_vae.latents.table import column_of
from galsim_vae.model import file as modelfile
from galsim_vae.model import picture_file
from galsim_vae.plots import colour_image

__all__ = [
    "METHODS",
    "STEPS",
    "apart",
    "colour",
    "decoder_of",
    "divergence",
    "place",
    "samples",
    "traverse",
]

_MOST_CLASSES = 50
_NEIGHBOURS, _PERPLEXITY = 15, 30.0
#: Of traversals, in standard deviations of a latent among the galaxies.
STEPS = np.arange(-3.0, 4.0)


def _umap(n: int, seed: int, progress: bool) -> Any:
    from umap import UMAP  # compiles for seconds when it is imported

    bar = {"desc": "UMAP", "disable": not progress}
    return UMAP(n_neighbors=min(_NEIGHBOURS, n - 1), random_state=seed, n_jobs=1, tqdm_kwds=bar)


#: The fewest galaxies of each method, and what lays them out: a function of their number, a seed
#: and whether to tell of progress.
METHODS: dict[str, tuple[int, Callable[[int, int, bool], Any]]] = {
    "pca": (3, lambda n, seed, progress: PCA(2, random_state=seed)),
    "umap": (12, _umap),
    "tsne": (12, lambda n, seed, progress: TSNE(
        perplexity=min(_PERPLEXITY, (n - 1) / 3), random_state=seed, verbose=int(progress)
    )),
}  # fmt: skip


def place(latents: NDArray, method: str, seed: int, progress: bool = False) -> NDArray:
    """Lay galaxies out on a plane by their latents.

    The latents are taken as they are, not each to unit variance: where the encoder learns nothing,
    means hardly differ, and are to count little. One thread, since sums of several are not the same
    each time, and UMAP and t-SNE make much of small differences.

    Parameters
    ----------
    latents : ndarray (n, latent)
        Means of the galaxies.
    method : str
        One of `METHODS`: ``pca``, the first two principal components; ``umap`` (McInnes et al.
        2018, arXiv:1802.03426) with 15 neighbours; ``tsne`` (van der Maaten & Hinton 2008, JMLR 9,
        2579) with a perplexity of 30, or of a third of the galaxies if these are few.
    seed : int
        Of the random numbers, from 1 to 2^32 - 1.
    progress : bool
        Show a bar, or what t-SNE prints.

    Returns
    -------
    ndarray (n, 2)
        The same for the same latents and seed.

    Raises
    ------
    galsim.GalSimValueError
        An unknown method, latents that are not finite, or too few galaxies that differ.
    """
    if method not in METHODS:
        raise GalSimValueError("Unknown method of a map", method, list(METHODS))
    fewest, layout = METHODS[method]
    latents = np.asarray(latents, float)
    lost = np.flatnonzero(~np.isfinite(latents).all(1))
    if len(lost):
        raise GalSimValueError(
            f"Latents must be finite: leave {len(lost)} rows out. The first is", int(lost[0])
        )
    distinct = len(np.unique(latents, axis=0))
    if distinct < fewest:
        raise GalSimValueError(
            f"{method} needs at least {fewest} galaxies of different latents: encode more, or "
            "choose another method", distinct, list(METHODS),
        )  # fmt: skip
    with threadpool_limits(1):
        return np.asarray(layout(len(latents), seed, progress).fit_transform(latents), float)


def colour(table: QTable, column: str) -> NDArray:
    """Return what galaxies are coloured by, ndarray (n,): numbers as float, all else as texts.

    What is not known is NaN, or empty.

    Parameters
    ----------
    table : QTable
        Of latents.
    column : str
        Of numbers or texts.

    Raises
    ------
    galsim.GalSimValueError
        There is no such column, nothing in it, or more than 50 different texts.
    """
    values = column_of(table, column)
    if values.dtype.kind in "iuf":
        values = values.astype(float)
        known = np.isfinite(values).any()
    else:
        values = np.char.strip(values.astype(str))
        known = (values != "").any()
        classes = len(set(values.tolist()) - {""})
        if classes > _MOST_CLASSES:
            raise GalSimValueError(
                f"{column} has more than {_MOST_CLASSES} different texts. Is it a name?", classes
            )
    if not known:
        raise GalSimValueError("No galaxy has a value in this column: choose another", column)
    return values


def apart(places: NDArray, side: float) -> NDArray:
    """Choose rows whose pictures do not overlap when each stands at its place.

    Parameters
    ----------
    places : ndarray (n, 2)
        Middles of the pictures.
    side : float
        Of a picture, in the units of `places`.

    Returns
    -------
    ndarray (m,) int
        Rows, the first that has room first; no other could be added.
    """
    chosen, free = [], np.arange(len(places))
    while len(free):
        chosen.append(free[0])
        distance = np.abs(places[free] - places[free[0]]).max(1)
        free = free[1:][distance[1:] >= side]
    return np.array(chosen, int)


def divergence(table: QTable) -> NDArray:
    """Say how much each latent tells of a galaxy, in the mean over all galaxies.

    ``0.5 (mean^2 + width^2 - 1) - ln width``, the divergence of the encoder's normal distribution
    from the normal prior (Kingma & Welling 2014, arXiv:1312.6114, appendix B).

    Parameters
    ----------
    table : QTable
        Of latents.

    Returns
    -------
    ndarray (latent,)
        In nat.
    """
    mean, width = (np.asarray(table[name], float) for name in ("mean", "width"))
    return (0.5 * (mean**2 + width**2 - 1) - np.log(width)).mean(0)


def samples(table: QTable, seed: int) -> NDArray:
    """Draw a latent vector of each galaxy, (n, latent), from what the encoder says of it.

    All together are the aggregated posterior, which the prior stands for where there is no flow.

    Parameters
    ----------
    table : QTable
        Of latents.
    seed : int
        Of the random numbers.
    """
    mean, width = (np.asarray(table[name], float) for name in ("mean", "width"))
    return mean + width * np.random.default_rng(seed).standard_normal(mean.shape)


def traverse(drawn: NDArray, which: NDArray) -> NDArray:
    """Move one latent after the other, with all others at their mean.

    Parameters
    ----------
    drawn : ndarray (n, latent)
        Latents of galaxies, from `samples`.
    which : ndarray (m,) int
        Latents that are moved.

    Returns
    -------
    ndarray (m, 7, latent)
        Each at `STEPS` times its standard deviation from its mean.
    """
    middle, scatter = drawn.mean(0), drawn.std(0)
    moved = np.tile(middle, (len(which), len(STEPS), 1))
    for row, k in zip(moved, which, strict=True):
        row[:, k] += STEPS * scatter[k]
    return moved


def decoder_of(table: QTable) -> Callable[[NDArray], list[NDArray]]:
    """Read the weights that a table of latents was made with.

    Parameters
    ----------
    table : QTable
        Of latents.

    Returns
    -------
    callable
        Of latents (n, latent), a list of pictures (side, side) or (side, side, 3) in [0, 1], the
        lowest row first.

    Raises
    ------
    OSError
        The file is no longer there.
    galsim.GalSimValueError
        The table names no weights, or the file has changed.
    """
    path, kind = table.meta.get("WEIGHTS"), table.meta.get("KIND")
    if path is None or kind not in ("galaxies", modelfile.KIND):
        raise GalSimValueError(
            "The latents do not name their weights: run galsim-vae encode again", (path, kind)
        )
    model = (picture_file if kind == modelfile.KIND else modelfile).read(path)
    if model.sha256 != table.meta.get("SHA256"):
        raise GalSimValueError(
            "The weights are others than those that made the latents: run galsim-vae encode again",
            path,
        )
    show = _shown if kind == modelfile.KIND else colour_image

    @pinned_torch()
    def decode(latents: NDArray) -> list[NDArray]:
        decoded = model.vae.decoder(torch.from_numpy(latents.astype(np.float32)))
        return [show(image) for image in decoded.numpy()]

    return decode


def _shown(image: NDArray) -> NDArray:
    """A stretched picture (bands, side, side), first row on top, as `decoder_of` gives it."""
    bands = np.clip(image[:, ::-1], 0, 1)
    return bands[:3].transpose(1, 2, 0) if len(bands) > 2 else bands[0]
