"""Lines of the scorecard: a metric, its value for every column, and its target."""

from typing import NamedTuple

import numpy as np
from astropy.table import Table

__all__ = ["COMPARED", "Estimate", "Row", "against_sersic", "as_table"]

#: Columns of the scorecard. "floor" is one half of the held-out galaxies against the other.
COMPARED = ("model", "free", "rebuilt", "floor", "sersic", "normal")


class Estimate(NamedTuple):
    """A number and its standard error, NaN if unknown."""

    value: float
    error: float = np.nan


class Row(NamedTuple):
    """One line of the scorecard.

    `number` is that of the metric in docs/realism.md; `limit` is what the model's value should
    not exceed, or if `at_least` not fall below; None is no target.
    """

    number: int
    metric: str
    values: dict[str, Estimate]
    limit: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the model's value is within the limit."""
        if self.limit is None or not np.isfinite(self.values["model"].value):
            return None
        value = abs(self.values["model"].value)
        return bool(value >= self.limit if self.at_least else value <= self.limit)


def against_sersic(rows: list[Row]) -> list[Row]:
    """Rows whose targets are those for real galaxies: nearer to them than Sersic profiles are."""
    return [_against_sersic(row) for row in rows]


def _against_sersic(row: Row) -> Row:
    if "over Sersic's" in row.metric:
        return row._replace(limit=0.5)
    known = row.values.get("sersic", Estimate(np.nan)).value
    if row.limit is None or row.number in (6, 7) or not np.isfinite(known):
        return row
    return row._replace(limit=float(f"{abs(known):.3g}"))


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
