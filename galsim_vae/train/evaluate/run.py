"""The scorecard of a weights file. See docs/realism.md.

Interrupted, it goes on from the pieces in its work folder and ends as if it had not been.
"""

import logging
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import galsim
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from galsim_vae.devices import one_thread
from galsim_vae.files import output_folder
from galsim_vae.model import file as modelfile
from galsim_vae.train import training_file as dataset

from . import calibration, lanusse, report, scorecard
from .compare import Context
from .pieces import (
    FEWEST,
    PIECE,
    Task,
    askable,
    join,
    read_piece,
    real_pieces,
    synthetic_piece,
    write_piece,
)
from .rows import against_sersic

__all__ = ["GALAXIES", "evaluate"]

logger = logging.getLogger(__name__)

GALAXIES = 20_000
_BASELINES = 5000  # galaxies of the baselines that are slow to make
_FORMAT = 6  # of the pieces: increase it when they change

_context: Context | None = None  # of a worker


def evaluate(
    weights: str | Path,
    output: Path,
    work: Path | None = None,
    galaxies: int = GALAXIES,
    seed: int = 1,
    data: Path | None = None,
) -> None:
    """Evaluate weights and write tables, figures and Markdown.

    Parameters
    ----------
    weights : str or Path
        Shipped name or path.
    output : Path
        Folder of the results, one set of files named synthetic and one named real.
    work : Path, optional
        Folder of the pieces, to be kept until the evaluation is finished; ``pieces`` in ``output``
        if absent.
    galaxies : int
        Synthetic held-out galaxies, rounded up to whole pieces of 250.
    seed : int
        Of everything random.
    data : Path, optional
        Training file, whose held-out galaxies are the second reference set.

    Raises
    ------
    galsim.GalSimRangeError
        Too few galaxies, synthetic or of the training file, or a negative seed.
    OSError
        Weights or training file cannot be read.
    """
    if galaxies < FEWEST:
        raise galsim.GalSimRangeError("Too few galaxies to compare", galaxies, FEWEST)
    if seed < 0:
        raise galsim.GalSimRangeError("seed must not be negative", seed, 0)
    path = modelfile.find(weights)
    ranges = modelfile.read(path).ranges
    real = rows = None
    if data is not None:
        real = dataset.read(data)
        rows = askable(real, ranges)
    output = output_folder(output)
    work = output_folder(output / "pieces" if work is None else work)
    with one_thread():  # sums depend on how they are shared out
        _finish("synthetic", _synthetic(path, work, galaxies, seed), path, output, seed)
        if real is not None and rows is not None:
            pieces = real_pieces(real, rows, Context(path), seed)
            _finish("real", join(pieces), path, output, seed)


def _finish(name: str, measured: dict[str, NDArray], path: Path, output: Path, seed: int) -> None:
    """Score one comparison and write its files."""
    with tqdm(desc=f"scoring {name}", unit="metric") as bar:

        def progress(part: str) -> None:
            bar.set_postfix_str(part)
            bar.update()

        rows = scorecard.scorecard(measured, seed, progress)
        bins = []
        if name == "synthetic":
            progress("calibration")
            bins = calibration.calibration(measured, seed)
        else:
            rows = against_sersic(rows)
        progress("lanusse")
        lines = lanusse.against(measured, seed)
    facts = {
        "weights": path.name,
        "sha256": modelfile.read(path).sha256,
        "held_out_galaxies": len(measured["conditions"]),
        "seed": seed,
    }
    report.write(output, name, rows, bins, lines, measured, facts)
    print(f"{name}: {report.headline(rows, facts)}; see {output / name}.md")


def _synthetic(path: Path, work: Path, galaxies: int, seed: int) -> dict[str, NDArray]:
    """Make the pieces that are not there yet, on all cores, and join them."""
    count = -(-galaxies // PIECE)
    size = min(PIECE, galaxies)
    tasks = [
        Task(k, seed, k * PIECE < _BASELINES, k * PIECE < scorecard.IMAGES, size)
        for k in range(count)
    ]
    stem = f"{modelfile.read(path).sha256[:12]}-v{_FORMAT}"
    files = [
        work / f"{stem}-s{t.seed}-n{t.size}-{t.number}-{int(t.baselines)}{int(t.images)}.npz"
        for t in tasks
    ]
    missing = [(t, file) for t, file in zip(tasks, files, strict=True) if not file.exists()]
    bar = tqdm(total=count * size, initial=(count - len(missing)) * size, unit="galaxy")
    with bar:
        for _ in _work(path, missing):
            bar.update(size)
    return join([read_piece(file) for file in files])


def _work(path: Path, missing: list[tuple[Task, Path]]) -> Iterator[None]:
    workers = min(len(os.sched_getaffinity(0)), len(missing))
    if workers < 2:
        if missing:
            _start(path)
        yield from map(_make, missing)
        return
    # Not by fork: torch's threads do not survive it.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=_start, initargs=(path,)) as pool:
        yield from pool.map(_make, missing)


def _start(path: Path) -> None:
    global _context
    torch.set_num_threads(1)
    _context = Context(path)


def _make(item: tuple[Task, Path]) -> None:
    task, file = item
    assert _context is not None
    write_piece(file, synthetic_piece(task, _context))
