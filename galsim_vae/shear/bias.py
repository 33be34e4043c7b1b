"""From shapes to m and c, with errors by the jackknife, in bins; and the difference from twins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from astropy.table import Table
from galsim.errors import galsim_warn
from numpy.typing import NDArray

from .chunk import PROPERTIES
from .config import CalibrationConfig

__all__ = ["DIFFERENCE", "Bias", "Sums", "bias", "make_table"]

#: The name of the rows that have m and c of ``vae`` less those of ``sersic``.
DIFFERENCE = "vae - sersic"
#: Groups of the jackknife: its errors are good to 1 / sqrt(2 * 100) = 7 %.
GROUPS = 100

_COLUMNS = {
    "population": str, "estimator": str, "property": str, "low": float, "high": float,
    "mean": float, "used": int, "pairs": int, "fraction": float, "component": int,
    "m": float, "m_err": float, "c": float, "c_err": float,
    "m_err_unpaired": float, "c_err_unpaired": float,
}  # fmt: skip
_DESCRIPTIONS = {
    "population": "kind of galaxies",
    "property": "what the bin is in; 'all' for no bin, which has no edges and no mean",
    "low": "edge of the bin, included", "high": "edge of the bin, excluded but for the last",
    "mean": "mean of the property", "used": "galaxies (blended: scenes) that were used",
    "pairs": "pairs of images +g and -g",
    "fraction": "used, over all in the bin", "component": "of the shear, 1 or 2",
    "m": "multiplicative bias; masked where the component was not sheared",
    "c": "additive bias",
    "m_err_unpaired": "of a difference: error if the two had galaxies and noise of their own",
}  # fmt: skip


class Sums(NamedTuple):
    """Sums over the galaxies of each group, both components.

    Attributes
    ----------
    odd, even, response : ndarray (groups, 2) float64
        Sums of e(+g) - e(-g), of e(+g) + e(-g), and of r(+g) + r(-g).
    """

    odd: NDArray
    even: NDArray
    response: NDArray

    @classmethod
    def of(cls, e: NDArray, r: NDArray, groups: int = GROUPS) -> Sums:
        """Return the sums of galaxies in groups of neighbours.

        Parameters
        ----------
        e, r : ndarray (n, angles, 2, 2)
            Shapes and responses; the third axis is the sign of the shear.
        groups : int
            Not more than n are made.

        Returns
        -------
        Sums
        """
        n = len(e)
        group = np.arange(n) * min(groups, n) // max(n, 1)

        def added(values: NDArray) -> NDArray:
            return np.stack(
                [np.bincount(group, weights=column) for column in values.sum(axis=1).T], axis=1
            )

        return cls(added(e[:, :, 0] - e[:, :, 1]), added(e.sum(axis=2)), added(r.sum(axis=2)))

    def estimates(self, g: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Return m and c of all galaxies, (2,), and without each of the groups, (groups, 2).

        Parameters
        ----------
        g : ndarray (2,)
            Shear of the +g images; m is NaN where it is zero.

        Returns
        -------
        m, c : ndarray (2,)
            Of all galaxies.
        m_rest, c_rest : ndarray (groups, 2)
            Without each of the groups.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = np.where(g == 0, np.nan, 1 / g)
            odd, even, response = (values.sum(axis=0) for values in self)
            rest = response - self.response
            m, m_rest = odd / response * inverse - 1, (odd - self.odd) / rest * inverse - 1
            return m, even / response, m_rest, (even - self.even) / rest


class Bias(NamedTuple):
    """m and c of the two components, and their errors.

    Attributes
    ----------
    m, m_err, c, c_err : ndarray (2,) float64
        NaN where there is none.
    """

    m: NDArray
    m_err: NDArray
    c: NDArray
    c_err: NDArray


def bias(sums: Sums, shear: tuple[float, float], less: Sums | None = None) -> Bias:
    """Return the multiplicative and additive bias of a shear estimator.

    With the estimate of the shear g_hat = (1 + m) g + c, and shapes e and responses r,

        m = [sum e(+g) - sum e(-g)] / [sum r(+g) + sum r(-g)] / g - 1
        c = [sum e(+g) + sum e(-g)] / [sum r(+g) + sum r(-g)]

    Parameters
    ----------
    sums : Sums
    shear : (2,)
        (g1, g2) of the +g images; NaN is the m of a component that is zero.
    less : Sums, optional
        Of the same galaxies of another population: the result is the difference.

    Returns
    -------
    Bias
        Errors by the jackknife that leaves out one group after another (Efron & Stein 1981, Annals
        of Statistics 9, 586); those of a difference know what the two have in common.
    """
    values = np.array(shear, dtype=float)
    m, c, m_rest, c_rest = sums.estimates(values)
    if less is not None:
        other = less.estimates(values)
        m, c, m_rest, c_rest = m - other[0], c - other[1], m_rest - other[2], c_rest - other[3]
    return Bias(m, _jackknife(m_rest), c, _jackknife(c_rest))


def _jackknife(rest: NDArray) -> NDArray:
    n = len(rest)
    if n < 2:
        return np.full(rest.shape[1:], np.nan)
    return np.sqrt((n - 1) * rest.var(axis=0))


def make_table(config: CalibrationConfig, arrays: dict[str, NDArray]) -> Table:
    """Return the biases of all populations and estimators, of all galaxies and in bins.

    A galaxy is used where it was measured in all of its images, of all populations.

    Parameters
    ----------
    config : CalibrationConfig
    arrays : dict of str to array
        As `galsim_vae.shear.chunk.run_chunk` gives them, chunks joined.

    Returns
    -------
    Table
        One row a population, estimator, bin and component of the shear. What there is not is
        masked: m of a component without shear, edges where there is no bin, unpaired errors of
        what is no difference.
    """
    rows: list[dict] = []
    for estimator in config.estimators:
        keys = [f"{population}/{estimator}" for population in config.populations]
        ok = np.all([arrays[f"{key}/ok"] for key in keys], axis=0)
        if not ok.any():
            galsim_warn(f"{estimator} measured no galaxy in all of its images: the table lacks it")
        for name, low, high, inside in _bins(config, arrays):
            use = inside & ok
            if not use.any():
                continue
            values = arrays.get(f"truth/{name}")
            common = {
                "estimator": estimator, "property": name, "low": low, "high": high,
                "mean": np.nan if values is None else float(values[use].mean()),
                "used": int(use.sum()), "pairs": int(use.sum()) * len(config.angles),
                "fraction": float(use.sum() / inside.sum()),
            }  # fmt: skip
            sums = [Sums.of(arrays[f"{key}/e"][use], arrays[f"{key}/r"][use]) for key in keys]
            rows += _rows(config, common, sums)
    table = Table(rows=rows, names=list(_COLUMNS), dtype=list(_COLUMNS.values()), masked=True)
    for column in table.itercols():
        if column.dtype.kind == "f":
            column.mask = np.isnan(column)
    for name, text in _DESCRIPTIONS.items():
        table[name].description = text
    return table


def _rows(config: CalibrationConfig, common: dict, sums: list[Sums]) -> list[dict]:
    """The rows of one bin and estimator."""
    alone = [bias(one, config.shear) for one in sums]
    results = dict(zip(config.populations, alone, strict=True))
    unpaired = {}
    if len(sums) == 2:
        results[DIFFERENCE] = bias(sums[0], config.shear, sums[1])
        unpaired[DIFFERENCE] = [np.hypot(*(getattr(b, k) for b in alone)) for k in Bias._fields]
    rows = []
    for population, found in results.items():
        loose = unpaired.get(population, np.full((4, 2), np.nan))
        for k in (0, 1):
            rows.append(
                common
                | {"population": population, "component": k + 1}
                | {name: float(value[k]) for name, value in found._asdict().items()}
                | {"m_err_unpaired": float(loose[1][k]), "c_err_unpaired": float(loose[3][k])}
            )
    return rows


def _bins(config: CalibrationConfig, arrays: dict[str, NDArray]):
    """Yield (property, low, high, (n,) bool); of equal numbers of galaxies."""
    n = len(arrays[f"vae/{config.estimators[0]}/ok"])
    inside = np.ones(n, bool)
    if config.layout == "blended":
        yield "all", np.nan, np.nan, inside
        return
    if config.redshift is not None:
        redshift = arrays["truth/redshift"]
        inside = (redshift >= config.redshift[0]) & (redshift < config.redshift[1])
    yield "all", np.nan, np.nan, inside
    for name in PROPERTIES:
        values = arrays.get(f"truth/{name}")
        if values is None or not inside.any() or config.bins < 2:
            continue
        edges = np.quantile(values[inside], np.linspace(0, 1, config.bins + 1))
        for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
            last = i == config.bins - 1
            below = values <= high if last else values < high
            yield name, float(low), float(high), inside & (values >= low) & below
