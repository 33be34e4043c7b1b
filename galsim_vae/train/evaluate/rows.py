"""Lines of the scorecard: a metric, its value for every column, and its target."""

from typing import NamedTuple

import numpy as np
from astropy.table import Table

__all__ = ["COMPARED", "GROUPS", "Estimate", "Row", "against_sersic", "as_table"]

#: Columns of the scorecard. "floor" is one half of the held-out galaxies against the other.
COMPARED = ("model", "free", "rebuilt", "floor", "sersic", "normal")
#: What the metrics of a number have in common.
GROUPS = {
    1: "Shear response over that of held-out galaxies, less 1",
    2: "Brightest pixel at the stamp's end, over the peak",
    3: "W1/sigma68",
    4: "Mean and median, beside those of held-out galaxies",
    5: "Maximum mean discrepancy",
    6: "Accuracy of two-sample tests",
    7: "Power over that of held-out galaxies, less 1",
    8: "Distance to the training set over held-out's",
    9: "Isotropy and edges",
    10: "Precision and recall",
    11: "Galaxies with clear spiral arms, over those among held-out ones",
}
_RESPONSE, _EDGES = 1, (2, 8, 9)


class Estimate(NamedTuple):
    """A number and its standard error, NaN if unknown."""

    value: float
    error: float = np.nan


class Row(NamedTuple):
    """One line of the scorecard.

    `number` is that of the metric in docs/realism.md; `limit` is what the value of the column
    `judged` should not exceed, or if `at_least` not fall below; None is no target. Nearer to the
    limit than twice `unclear`, the value does not tell whether it is met.
    """

    number: int
    metric: str
    values: dict[str, Estimate]
    limit: float | None = None
    at_least: bool = False
    judged: str = "model"
    unclear: float = 0.0

    @property
    def met(self) -> bool | None:
        """Whether the judged value is within the limit; None if there is none, or not clear."""
        value = abs(self.values.get(self.judged, Estimate(np.nan)).value)
        if self.limit is None or not np.isfinite(value):
            return None
        if abs(value - self.limit) < 2 * self.unclear:
            return None
        return bool(value >= self.limit if self.at_least else value <= self.limit)


def against_sersic(rows: list[Row]) -> list[Row]:
    """Rows whose targets are those for real galaxies: nearer to them than Sersic profiles are."""
    return [_against_sersic(row) for row in rows]


def _against_sersic(row: Row) -> Row:
    if "over Sersic's" in row.metric:
        return row._replace(limit=0.35)
    if row.metric == "gradient boosting":
        return row._replace(limit=0.65)
    if row.metric.startswith("share of these"):
        return row._replace(limit=0.8)
    model, sersic = (row.values.get(name, Estimate(np.nan)) for name in ("model", "sersic"))
    if row.number == _RESPONSE:
        error = np.hypot(model.error, 0.5 * sersic.error)
        return row._replace(unclear=float(error) if np.isfinite(error) else 0.0)
    if row.limit is None or row.number in _EDGES or not np.isfinite(sersic.value):
        return row
    return row._replace(limit=float(f"{abs(sersic.value):.3g}"))


def as_table(rows: list[Row]) -> Table:
    """One line a row; columns number, metric, each sample and its error, limit, met."""
    table = Table()
    table["number"] = [row.number for row in rows]
    table["metric"] = [row.metric for row in rows]
    for name in COMPARED:
        estimates = [row.values.get(name, Estimate(np.nan)) for row in rows]
        table[name] = [e.value for e in estimates]
        table[f"{name}_error"] = [e.error for e in estimates]
    table["limit"] = [np.nan if row.limit is None else row.limit for row in rows]
    table["met"] = ["" if row.met is None else "yes" if row.met else "no" for row in rows]
    return table
