"""Stamps of one galaxy: they are all held out, or none is.

Surveys overlap, and a survey can give a galaxy twice. A stamp in training would tell the network
what another one, held out, is to test.
"""

from pathlib import Path

import galsim
import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from galsim_vae.files import input_file
from galsim_vae.train.training_file import is_validation

__all__ = ["RADIUS", "held_out", "near_pairs", "read_pairs"]

#: Stamps whose positions are so close are taken for one galaxy [arcsec].
RADIUS = 1.0
_COLUMNS = ("source", "source_index", "same_source", "same_index")


def read_pairs(path: str | Path) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Read a table of stamps that show one galaxy.

    Parameters
    ----------
    path : str or Path
        Table that astropy reads, columns source, source_index, same_source, same_index.

    Returns
    -------
    list of pairs of (source, source_index)

    Raises
    ------
    OSError
        No such file.
    galsim.GalSimKeyError
        A column is missing.
    """
    table = Table.read(input_file(Path(path)))
    for name in _COLUMNS:
        if name not in table.colnames:
            raise galsim.GalSimKeyError(
                f"{path} has no column {name}; it has {table.colnames}", name
            )
    names, rows, others, other_rows = (table[name].tolist() for name in _COLUMNS)
    first = zip(map(str, names), map(int, rows), strict=True)
    second = zip(map(str, others), map(int, other_rows), strict=True)
    return list(zip(first, second, strict=True))


def near_pairs(ra: ArrayLike, dec: ArrayLike, radius: float = RADIUS) -> NDArray:
    """Find the pairs of positions that are close on the sky.

    Parameters
    ----------
    ra, dec : array (n,)
        ICRS, degrees; NaN where unknown.
    radius : float
        Largest distance, arcsec.

    Returns
    -------
    (pairs, 2) int array
        Rows of each pair, the smaller one first.
    """
    ra, dec = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(known):
        return np.zeros((0, 2), dtype=int)
    ra, dec = ra[known], dec[known]
    places = np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    chord = 2 * np.sin(np.radians(radius / 3600) / 2)
    return known[cKDTree(places).query_pairs(chord, output_type="ndarray")]


def held_out(
    source: ArrayLike,
    source_index: ArrayLike,
    ra: ArrayLike,
    dec: ArrayLike,
    pairs: list[tuple[tuple[str, int], tuple[str, int]]] | None = None,
) -> NDArray:
    """Tell which galaxies are held out: every fifth of a source, and their other stamps.

    Parameters
    ----------
    source, source_index : array (n,)
        Names of the sources, and rows in them.
    ra, dec : array (n,)
        See `near_pairs`.
    pairs : list, optional
        Further stamps of one galaxy, from `read_pairs`. Those that are not among the galaxies are
        ignored.

    Returns
    -------
    bool array (n,)
    """
    index = np.asarray(source_index, dtype=int)
    names = zip(np.asarray(source).tolist(), index.tolist(), strict=True)
    row = {galaxy: k for k, galaxy in enumerate(names)}
    listed = [(row[a], row[b]) for a, b in pairs or () if a in row and b in row]
    links = np.concatenate([near_pairs(ra, dec), np.array(listed, dtype=int).reshape(-1, 2)])
    n = len(index)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(n, n))
    count, galaxy = connected_components(graph, directed=False)
    any_held_out = np.zeros(count, dtype=bool)
    np.logical_or.at(any_held_out, galaxy, is_validation(index))
    return any_held_out[galaxy]
