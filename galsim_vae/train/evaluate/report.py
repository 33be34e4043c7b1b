"""Tables, Markdown and figures of an evaluation."""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from numpy.typing import NDArray

from galsim_vae.files import write_whole
from galsim_vae.plots import contact_sheet

from . import calibration, lanusse
from .calibration import Bin
from .ends import FAINTEST_SHOWN
from .features import FEATURES
from .lanusse import Line
from .rows import COMPARED, GROUPS, Estimate, Row, as_table
from .scorecard import power_ratio

__all__ = ["headline", "printed", "write"]

_COLOURS = {"held_out": "black", "model": "tab:blue", "sersic": "tab:orange", "normal": "tab:green"}
_SHEET = 16  # galaxies of the contact sheet
_PICTURES = {
    "galaxies": "Held-out, drawn and Sersic galaxies in three rows",
    "ends": "Bright drawn galaxies at a stretch that shows a ten-thousandth of the peak",
    "features": "Distribution of each feature of held-out, drawn, Sersic and flow-less galaxies",
    "power": "Power spectra over that of held-out galaxies",
    "calibration": "Bias by the asked value",
}


def write(
    folder: Path,
    name: str,
    rows: list[Row],
    bins: list[Bin],
    lines: list[Line],
    measured: dict[str, NDArray],
    facts: dict[str, Any],
) -> None:
    """Write all files of one comparison, each under a temporary name first.

    Parameters
    ----------
    folder : Path
        Where to.
    name : str
        First part of the files' names: ``<name>_scorecard.ecsv``, ``<name>_calibration.ecsv``,
        ``<name>_lanusse.ecsv``, ``<name>.md`` and the figures ``<name>_features.png``, ``_power``,
        ``_calibration``, ``_galaxies`` and ``_ends``.
    facts : dict
        Kept in the tables' headers.
    """
    table = as_table(rows)
    table.meta.update(facts)
    write_whole(folder / f"{name}_scorecard.ecsv", lambda path: _ecsv(table, path))
    if bins:
        table = calibration.as_table(bins)
        table.meta.update(facts)
        write_whole(folder / f"{name}_calibration.ecsv", lambda path: _ecsv(table, path))
        figure = _calibration_figure(bins)
        write_whole(folder / f"{name}_calibration.png", lambda path: figure.savefig(path, dpi=100))
    if lines:
        compared = lanusse.as_table(lines)
        compared.meta.update(facts)
        write_whole(folder / f"{name}_lanusse.ecsv", lambda path: _ecsv(compared, path))
    text = _markdown(name, rows, bins, lines, facts)
    write_whole(folder / f"{name}.md", lambda path: path.write_text(text))
    for kind, draw in (("features", _features_figure), ("power", _power_figure)):
        drawn = draw(measured)
        write_whole(folder / f"{name}_{kind}.png", lambda path, f=drawn: f.savefig(path, dpi=100))
    write_whole(folder / f"{name}_galaxies.png", lambda path: _galaxies(measured, path))
    if "bright/model" in measured:
        write_whole(folder / f"{name}_ends.png", lambda path: _ends(measured, path))


def _ecsv(table: Table, path: Path) -> None:
    rounded = table.copy()
    for name in rounded.colnames:
        if rounded[name].dtype.kind == "f":
            rounded[name].info.format = ".5g"
    rounded.write(path, format="ascii.ecsv")


def headline(rows: list[Row], facts: dict[str, Any]) -> str:
    """Return what was evaluated, and how many targets were met."""
    judged = [row.met for row in rows if row.met is not None]
    return (
        f"{facts['weights']} (sha256 {facts['sha256'][:12]}), {facts['held_out_galaxies']:,} "
        f"held-out galaxies, seed {facts['seed']}: {sum(judged)} of {len(judged)} targets met"
    )


def printed(name: str, rows: list[Row], facts: dict[str, Any]) -> str:
    """Return the scorecard as it is printed: a line a metric.

    Parameters
    ----------
    name : str
        Of the comparison.
    rows : list of Row
    facts : dict
        As in `write`.
    """
    heads = ("", "value", "floor", "target", "met")
    lines = [(f"  {row.metric}", *_short(row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]

    def line(cells: tuple[str, ...]) -> str:
        return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()

    text = [f"{name}: {headline(rows, facts)}", line(heads)]
    for number, title in GROUPS.items():
        group = [cells for row, cells in zip(rows, lines, strict=True) if row.number == number]
        text += [f"{title}", *map(line, group)] if group else []
    return "\n".join(text)


def _short(row: Row) -> tuple[str, str, str, str]:
    """Value, floor, target and whether it is met."""
    sign = ">=" if row.at_least else "<="
    target = "" if row.limit is None else f"{sign} {row.limit:.3g}"
    value = _text(row.values.get(row.judged))
    unclear = "unclear" if target and value else ""
    met = {None: unclear, True: "yes", False: "NO"}[row.met]
    return value, _text(row.values.get("floor")), target, met


def _markdown(
    name: str, rows: list[Row], bins: list[Bin], lines: list[Line], facts: dict[str, Any]
) -> str:
    """Return the page of a comparison: pictures, scorecard, calibration, Lanusse et al."""
    beside = [c for c in COMPARED if c not in ("model", "floor")]
    text = [
        headline(rows, facts) + ".",
        "",
        "| metric | model | floor | target | met | " + " | ".join(beside) + " |",
        "|---|---|---|---|---|" + "---|" * len(beside),
    ]
    for number, title in GROUPS.items():
        group = [row for row in rows if row.number == number]
        if group:
            text.append(f"| **{number}. {title}** |" + " |" * (4 + len(beside)))
        text += [_row(row, beside) for row in group]
    for kind, caption in _PICTURES.items():
        if bins or kind not in ("calibration", "ends"):
            text += ["", f"![{caption}]({name}_{kind}.png)"]
    if bins:
        met = [b.met for b in bins if np.isfinite(b.bias_limit)]
        text += [
            "",
            f"Calibration, exact=False: {sum(met)} of {len(met)} bins within their limits.",
            "",
            "| quantity | asked | galaxies | bias | scatter | limits | met |",
            "|---|---|---|---|---|---|---|",
        ]
        text += [_bin(b) for b in bins]
    if lines:
        better = sum(line.better("model") == "yes" for line in lines)
        text += [
            "",
            f"Against Lanusse et al. (2021): better in {better} of {len(lines)} lines (model).",
            "",
            "| quantity | asked | galaxies | theirs | model | better | free | better |",
            "|---|---|---|---|---|---|---|---|",
        ]
        text += [_line(line) for line in lines]
    return "\n".join(text) + "\n"


def _row(row: Row, beside: list[str]) -> str:
    _, _, target, met = _short(row)
    target = target.replace(">=", "≥").replace("<=", "≤")
    met = "**no**" if met == "NO" else met
    columns = [_text(row.values.get(name)) for name in ("model", "floor")]
    others = [_text(row.values.get(name)) for name in beside]
    cells = [row.metric.replace("|", "\\|"), *columns, target, met, *others]
    return "| " + " | ".join(cells) + " |"


def _text(estimate: Estimate | None) -> str:
    if estimate is None or not np.isfinite(estimate.value):
        return ""
    value, error = estimate
    if not np.isfinite(error) or error == 0:
        return f"{value:.3g}"
    # Two digits of the error.
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 6))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _yes(met: bool | None) -> str:
    return {None: "", True: "yes", False: "**no**"}[met]


def _bin(b: Bin) -> str:
    limits = " / ".join(f"{v:g}" for v in (b.bias_limit, b.scatter_limit) if np.isfinite(v))
    met = _yes(b.met) if limits else ""
    bias = _text(Estimate(b.bias, b.error))
    asked = f"{b.asked} {b.low:g} to {b.high:g}"
    quantity = b.quantity.replace("|", "\\|")
    return f"| {quantity} | {asked} | {b.galaxies} | {bias} | {b.scatter:.3g} | {limits} | {met} |"


def _line(line: Line) -> str:
    asked = f"{line.asked} {line.low:g} to {line.high:g}" if line.asked else "all"
    cells = [line.quantity, asked, str(line.galaxies), f"{line.theirs:+g}"]
    for sample in lanusse.SAMPLES:
        better = line.better(sample)
        cells += [_text(line.found[sample]), "**no**" if better == "no" else better]
    return "| " + " | ".join(cells) + " |"


def _features_figure(measured: dict[str, NDArray]) -> Figure:
    """Histogram of each feature, of each sample."""
    figure = Figure(figsize=(12, 9), layout="constrained")
    axes = figure.subplots(4, 4).flat
    for k, (feature, axis) in enumerate(zip(FEATURES, axes, strict=False)):
        known = measured["features/held_out"][:, k]
        known = known[np.isfinite(known)]
        axis.set_xlabel(feature)
        axis.set_yticks([])
        if len(known) < 2:
            continue
        low, high = np.percentile(known, (0.5, 99.5))
        margin = 0.15 * (high - low)
        edges = np.linspace(low - margin, high + margin, 41)
        for name, colour in _COLOURS.items():
            values = measured.get(f"features/{name}")
            if values is not None:
                values = values[:, k]
                values = values[(values > edges[0]) & (values < edges[-1])]
                if len(values):
                    style = {"histtype": "step", "color": colour, "label": name}
                    axis.hist(values, edges, density=True, **style)
    for axis in list(figure.axes)[len(FEATURES) :]:
        axis.set_axis_off()
    figure.axes[0].legend(fontsize=7)
    return figure


def _power_figure(measured: dict[str, NDArray]) -> Figure:
    """Power of each sample over that of the held-out galaxies."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    reference = measured["power/held_out"]
    waves = 1 + np.arange(reference.shape[1])
    for name in ("model", "sersic", "normal"):
        if f"power/{name}" in measured:
            other = measured[f"power/{name}"]
            made = np.isfinite(other).any(1)
            ratio = power_ratio(reference[made], other[made])
            axis.plot(waves, ratio, color=_COLOURS[name], label=name)
    axis.axhspan(0.95, 1.05, color="0.9")
    axis.set(xlabel="cycles a stamp", ylabel="power over that of held-out galaxies", yscale="log")
    axis.legend()
    return figure


def _calibration_figure(bins: list[Bin]) -> Figure:
    """Bias of each quantity by the asked value, and the limits."""
    quantities = list(dict.fromkeys(b.quantity for b in bins))
    quantities = [q for q in quantities if sum(b.quantity == q for b in bins) > 1]
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, -(-max(len(quantities), 1) // 2), squeeze=False).flat
    for quantity, axis in zip(quantities, axes, strict=False):
        part = [b for b in bins if b.quantity == quantity]
        middle = [(b.low + b.high) / 2 for b in part]
        axis.errorbar(middle, [b.bias for b in part], [b.error for b in part], fmt="o-", ms=3)
        if np.isfinite(part[0].bias_limit):
            axis.axhspan(-part[0].bias_limit, part[0].bias_limit, color="0.9")
        axis.axhline(0, color="0.5", lw=0.5)
        axis.set(xlabel=part[0].asked, title=quantity)
    for axis in figure.axes[len(quantities) :]:
        axis.set_axis_off()
    return figure


def _galaxies(measured: dict[str, NDArray], path: Path) -> None:
    """Held-out, generated and Sersic galaxies of the same conditions, as observed."""
    names = [n for n in ("held_out", "model", "sersic") if f"images/{n}" in measured]
    rows = []
    for name in names:
        images = measured[f"images/{name}"][:_SHEET].astype(float)
        peak = measured["images/held_out"][:_SHEET].astype(float).max((1, 2), keepdims=True)
        rows.append(list(np.clip(0.1 + 0.9 * images / np.maximum(peak, 1e-9), 0, 1)))
    contact_sheet(rows, path)


def _ends(measured: dict[str, NDArray], path: Path) -> None:
    """Bright galaxies with an arcsinh stretch that shows `FAINTEST_SHOWN` of the peak."""
    images = np.maximum(measured["bright/model"], 0) / FAINTEST_SHOWN
    images = np.arcsinh(images) / np.arcsinh(1 / FAINTEST_SHOWN)
    half = len(images) // 2
    contact_sheet([list(images[:half]), list(images[half:])], path)
