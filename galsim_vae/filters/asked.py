"""Magnitudes that are asked for in some filters: the galaxy's spectrum changed to have them.

The columns ``mag_<filter>`` of a table of conditions. A galaxy keeps the spectrum that the
networks give it, as far as it can: of all changes of the logarithms of its nodes
(`galsim_vae.filters.spectrum`) that give the magnitudes asked for, it gets the one with the
smallest sum of squares. Where the magnitude in F814W is not asked for, the galaxy may also be
brighter or fainter as a whole, which is no change of the spectrum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import galsim
import numpy as np
from galsim.errors import GalSimIncompatibleValuesError

from galsim_vae.bands import BANDS, PIVOT, REFERENCE, hst_bandpass
from galsim_vae.conditions import NAMES, Conditions, from_table, of_row

from .bandpass import check_reach
from .names import find_band
from .spectrum import band_weights, node_values

__all__ = ["Matched", "first_guess", "match_magnitudes", "read_asked"]

_MAGNITUDE = NAMES.index("magnitude")
_LN = 0.4 * np.log(10)
# Of Newton's method, mag; and how far a node may be moved, mag: beyond that the magnitudes
# contradict each other.
_TOLERANCE, _MAX_ITERATIONS, _MAX_CHANGE = 1e-7, 40, 5.0
_STEP = 1e-4
# mag per ln(wavelength) of ordinary galaxies, on both sides of F814W: where to begin.
_BLUE, _RED = -2.4, -1.3


class Matched(NamedTuple):
    """Galaxies that have the magnitudes asked for.

    Attributes
    ----------
    magnitude : ndarray (n,)
        AB, F814W.
    scale : ndarray (n, 5)
        What to multiply the stamps of `BANDS` with; 1 for F814W.
    """

    magnitude: np.ndarray
    scale: np.ndarray


def read_asked(
    table: Any, ranges: Mapping[str, tuple[float, float]], extrapolate: bool = False
) -> Conditions:
    """Read and check a table of conditions, with magnitudes in any filter.

    Parameters
    ----------
    table, ranges, extrapolate : table, mapping, bool
        As in `galsim_vae.from_table`; a column may be ``mag_<filter>``, see
        `galsim_vae.filters.names`. ``extrapolate`` takes u filters too.

    Returns
    -------
    Conditions

    Raises
    ------
    galsim.GalSimRangeError, galsim.GalSimValueError, galsim.GalSimIncompatibleValuesError
        As in `galsim_vae.from_table`; an unknown filter, or one out of reach.
    """

    def check(name: str) -> None:
        band = find_band(name)
        if isinstance(band, galsim.Bandpass):
            check_reach(band, extrapolate)

    return from_table(table, ranges, extrapolate=extrapolate, bands=BANDS, check_filter=check)


def first_guess(asked: Conditions) -> np.ndarray:
    """Guess the F814W magnitudes (n,) of galaxies of which others are known.

    Those of an ordinary galaxy's colours, from the filters near F814W more than from others. NaN
    where none is given.
    """
    total, weights = np.zeros(len(asked)), np.zeros(len(asked))
    for name, magnitude in asked.band_magnitudes.items():
        distance = np.log(_pivot(name) / PIVOT[REFERENCE])
        colour = distance * (_BLUE if distance < 0 else _RED)
        weight = np.isfinite(magnitude) / (0.05 + abs(distance)) ** 2
        total += weight * np.where(weight > 0, magnitude - colour, 0.0)
        weights += weight
    with np.errstate(invalid="ignore"):
        return total / weights


def match_magnitudes(
    fluxes: np.ndarray, asked: Conditions, extrapolate: bool = False
) -> Matched:
    """Find the smallest changes of spectra that give the magnitudes asked for.

    Parameters
    ----------
    fluxes : ndarray (n, 5)
        Of the galaxies in `BANDS`, F814W = 1.
    asked : Conditions
        Magnitudes in F814W, NaN where they are free, and ``band_magnitudes``.
    extrapolate : bool
        Take u filters.

    Returns
    -------
    Matched

    Raises
    ------
    galsim.GalSimIncompatibleValuesError
        Magnitudes that no spectrum of five nodes has, or none that is like the galaxy's.
    """
    magnitude = asked.values[:, _MAGNITUDE].copy()
    scale = np.ones((len(asked), len(BANDS)))
    for rows, names in _patterns(asked):
        wanted = np.stack([asked.band_magnitudes[name][rows] for name in names], axis=1)
        known = magnitude[rows]
        nodes = node_values(fluxes[rows])
        changed, brightness, left = _solve(nodes, names, wanted, known, extrapolate)
        _refuse(asked, rows, names, changed - nodes, left)
        after = _fluxes(changed, list(BANDS), False)
        reference = after[:, [BANDS.index(REFERENCE)]]
        magnitude[rows] = np.where(
            np.isfinite(known), known, -(brightness + np.log(reference[:, 0])) / _LN
        )
        before = _fluxes(nodes, list(BANDS), False)
        before /= before[:, [BANDS.index(REFERENCE)]]
        as_it_was = (changed == nodes).all(axis=1, keepdims=True)
        scale[rows] = np.where(as_it_was, 1.0, after / reference / before)
    scale[:, BANDS.index(REFERENCE)] = 1.0
    return Matched(magnitude, scale)


def _patterns(asked: Conditions) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Rows that have magnitudes in the same filters, and F814W or not."""
    names = list(asked.band_magnitudes)
    if not names:
        return
    given = np.isfinite(np.stack([asked.band_magnitudes[name] for name in names], axis=1))
    free = np.isnan(asked.values[:, [_MAGNITUDE]])
    kinds = np.concatenate([given, free], axis=1)
    for kind in np.unique(kinds[given.any(axis=1)], axis=0):
        rows = np.flatnonzero((kinds == kind).all(axis=1))
        yield rows, [name for name, there in zip(names, kind, strict=False) if there]


def _solve(
    nodes: np.ndarray, names: list[str], wanted: np.ndarray, known: np.ndarray, extrapolate: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solve for the smallest changes by Newton's method, each galaxy until it is there.

    Returns the nodes (n, 5), ln of the brightness that they are to be multiplied with (n,), and
    what is left of the differences (n, k), mag.
    """
    fixed = bool(np.isfinite(known).all())
    if fixed:
        names, wanted = [*names, REFERENCE], np.column_stack([wanted, known])
    change, left = np.zeros_like(nodes), np.full_like(wanted, np.inf)
    brightness = -_LN * known if fixed else np.zeros(len(nodes))
    todo = np.arange(len(nodes))
    for _ in range(_MAX_ITERATIONS):
        model = np.log(_fluxes(nodes[todo] + change[todo], names, extrapolate))
        residual = -_LN * wanted[todo] - model - brightness[todo, None]
        left[todo] = residual / _LN
        far = np.abs(left[todo]).max(axis=1) > _TOLERANCE
        todo, residual = todo[far], residual[far]
        if len(todo) == 0:
            break
        slopes = _slopes(nodes[todo] + change[todo], names, extrapolate)
        target = residual + (slopes @ change[todo, :, None])[:, :, 0]
        if fixed:
            change[todo] = (np.linalg.pinv(slopes) @ target[:, :, None])[:, :, 0]
        else:
            change[todo], brightness[todo] = _smallest(slopes, target + brightness[todo, None])
        change[todo] = np.clip(change[todo], -3 * _MAX_CHANGE, 3 * _MAX_CHANGE)
    return nodes + change, brightness, left


def _smallest(slopes: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest changes (n, 5), and a brightness (n,): slopes . change + brightness = target.

    With Lagrange's multipliers l (n, k): change = slopes^T l, and the sum of l is zero.
    """
    n, k = target.shape
    if k == 1:  # the brightness does it all
        return np.zeros((n, len(BANDS))), target[:, 0]
    system = np.ones((n, k + 1, k + 1))
    system[:, :k, :k] = slopes @ slopes.swapaxes(1, 2)
    system[:, k, k] = 0
    right = np.concatenate([target, np.zeros((n, 1))], axis=1)
    found = (np.linalg.pinv(system, rcond=1e-11) @ right[:, :, None])[:, :, 0]
    return (found[:, None, :k] @ slopes)[:, 0], found[:, k]


def _slopes(nodes: np.ndarray, names: list[str], extrapolate: bool) -> np.ndarray:
    """Change of ln flux in each filter with each node (n, k, 5)."""
    steps = _STEP * np.eye(len(BANDS))
    ends = [np.log(_fluxes(nodes + sign * step, names, extrapolate))
            for step in steps for sign in (1, -1)]  # fmt: skip
    return np.stack([(up - down) / (2 * _STEP) for up, down in
                     zip(ends[::2], ends[1::2], strict=True)], axis=2)  # fmt: skip


def _fluxes(nodes: np.ndarray, names: list[str], extrapolate: bool) -> np.ndarray:
    """Mean f_nu (n, k) through filters, in the unit of the nodes."""
    found = []
    for name in names:
        band = find_band(name)
        bandpass = hst_bandpass(band) if isinstance(band, str) else band
        found.append(band_weights(bandpass, nodes, extrapolate).sum(axis=1))
    return np.stack(found, axis=1)


def _pivot(name: str) -> float:
    band = find_band(name)
    return PIVOT[band] if isinstance(band, str) else band.effective_wavelength


def _refuse(
    asked: Conditions, rows: np.ndarray, names: list[str], change: np.ndarray, left: np.ndarray
) -> None:
    far = (np.abs(change).max(axis=1) > _LN * _MAX_CHANGE) | ~(np.abs(left).max(axis=1) < 1e-5)
    if not far.any():
        return
    everywhere = np.zeros(len(asked), bool)
    everywhere[rows[far]] = True
    row = int(np.argmax(everywhere))
    given = {f"mag_{name}": float(asked.band_magnitudes[name][row]) for name in names}
    if np.isfinite(asked.values[row, _MAGNITUDE]):
        given["magnitude"] = float(asked.values[row, _MAGNITUDE])
    raise GalSimIncompatibleValuesError(
        f"The magnitudes{of_row(row, everywhere)} contradict each other: no spectrum with nodes in "
        f"the five HST bands, within {_MAX_CHANGE:g} mag of a galaxy's, has them. Leave some of "
        "the filters out (in a vae_catalog, give the columns other names)", **given,
    )  # fmt: skip
