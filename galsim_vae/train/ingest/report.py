"""What an ingest took and what it left, as a page with contact sheets."""

import html
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from galsim_vae.files import write_whole
from galsim_vae.plots import colour_image, contact_sheet
from galsim_vae.train import training_file as dataset

__all__ = ["summary", "write_report"]

COLUMNS = 14
# A contact sheet shows at most so many: evenly spread ones, if there are more.
MAX_ACCEPTED, MAX_REJECTED = 280, 70
_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>galsim-vae ingest</title>
<style>body{font:15px sans-serif;margin:2em auto;max-width:1300px}td,th{padding:2px 12px;
text-align:left;border-bottom:1px solid #ccc}img{max-width:100%}p{max-width:60em}</style>
"""


def summary(galaxies: dataset.Dataset, rejected: dataset.Rejected) -> list[str]:
    """One line a source: how many were taken, in how many bands, and why the others were not."""
    lines = []
    for name in _sources(galaxies, rejected):
        taken = galaxies.source == name
        bands = Counter(galaxies.mask[taken].any((2, 3)).sum(1).tolist())
        reasons = Counter(rejected.reason[rejected.source == name].tolist())
        text = f"{name}: {taken.sum()} of {taken.sum() + reasons.total()}"
        text += " (" + ", ".join(f"{n} in {b} bands" for b, n in sorted(bands.items())) + ")"
        if reasons:
            text += "; rejected: " + ", ".join(f"{n} {r}" for r, n in reasons.most_common())
        lines.append(text)
    return lines


def _sources(galaxies, rejected) -> list[str]:
    return list(dict.fromkeys([*galaxies.source.tolist(), *rejected.source.tolist()]))


def write_report(training_file, folder) -> Path:
    """Write ``index.html`` and its contact sheets for a training file.

    Returns
    -------
    Path of the page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    galaxies, rejected = dataset.read(training_file), dataset.read_rejected(training_file)
    header = dataset.read_header(training_file)
    page = "".join(_page(Path(training_file).name, galaxies, rejected, header, folder))
    write_whole(folder / "index.html", lambda path: path.write_text(page))
    return folder / "index.html"


def _page(name: str, galaxies, rejected, header, folder: Path) -> Iterator[str]:
    yield _HEAD
    yield f"<h1>{html.escape(name)}</h1><p>{len(galaxies)} galaxies taken "
    yield f"({int(galaxies.valid.sum())} held out), {len(rejected)} objects rejected.</p>"
    yield _table(
        ("source", "taken", "rejected", "filter > band"), _source_rows(galaxies, rejected, header)
    )
    for source in _sources(galaxies, rejected):
        yield f"<h2>{html.escape(source)}</h2>"
        taken = galaxies[galaxies.source == source]
        if len(taken):
            yield f"<p>{len(taken)} taken, in the canonical frame (what is masked is black):</p>"
            yield _sheet(folder, f"{source}_taken", _canonical_pictures(taken, MAX_ACCEPTED))
        reasons = Counter(rejected.reason[rejected.source == source].tolist())
        for reason, count in reasons.most_common():
            rows = np.flatnonzero((rejected.source == source) & (rejected.reason == reason))
            shown = rows[_spread(count, MAX_REJECTED)]
            which = ", ".join(rejected.identifier[shown].tolist())
            yield f"<h3>{count} rejected: {html.escape(reason)}</h3><p>{html.escape(which)}</p>"
            pictures = [rejected.picture[row] / 255 for row in shown]
            yield _sheet(folder, f"{source}_{_plain(reason)}", pictures)
    yield f"<p>{html.escape(header.get('provenance', ''))}</p></html>\n"


def _source_rows(galaxies, rejected, header):
    for source in _sources(galaxies, rejected):
        yield (
            source,
            int((galaxies.source == source).sum()),
            int((rejected.source == source).sum()),
            header.get(f"band_map_{source}", ""),
        )


def _table(names, rows) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _canonical_pictures(galaxies: dataset.Dataset, most: int) -> list[NDArray]:
    rows = _spread(len(galaxies), most)
    return [colour_image(galaxies.image[k] * galaxies.mask[k]) for k in rows]


def _spread(count: int, most: int) -> NDArray:
    """Return at most `most` of the numbers 0 to count - 1, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _sheet(folder: Path, name: str, pictures: list[NDArray]) -> str:
    rows = [pictures[k : k + COLUMNS] for k in range(0, len(pictures), COLUMNS)]
    contact_sheet(rows, folder / f"{_plain(name)}.png", panel=0.9)
    return f'<img src="{_plain(name)}.png" alt="{html.escape(name)}">'


def _plain(text: str) -> str:
    """A file name of a text."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in text)
