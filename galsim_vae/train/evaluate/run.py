"""The scorecard of a weights file. See docs/evaluation.md.

Interrupted, it goes on from the pieces in its work folder and ends as if it had not been.
"""

import logging
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import galsim
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from galsim_vae.files import output_folder, write_whole
from galsim_vae.model import file as modelfile
from galsim_vae.train import training_file as dataset

from . import (
    calibration as evaluate_calibration,
)
from . import (
    lanusse as evaluate_lanusse,
)
from . import (
    report as evaluate_report,
)
from . import (
    rows as evaluate_rows,
)
from . import (
    scorecard as evaluate_score,
)
from .compare import FEWEST, PIECE, Context, Task, synthetic_piece
from .pieces import real_pieces

__all__ = ["GALAXIES", "evaluate"]

logger = logging.getLogger(__name__)

GALAXIES = 20_000
_BASELINES = 5000  # galaxies of the baselines that are slow to make
_IMAGES = evaluate_score.IMAGES
_FORMAT = 5  # of the pieces: increase it when they change

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
    weights : shipped name or path.
    output : folder of the results, one set of files named synthetic and one named real.
    work : folder of the pieces, to be kept until the evaluation is finished; ``pieces`` in
        `output` if absent.
    galaxies : synthetic held-out galaxies, rounded up to whole pieces of 250.
    seed : of everything random.
    data : training file, whose held-out galaxies are the second reference set.

    Raises
    ------
    galsim.GalSimRangeError : too few galaxies, or a negative seed.
    OSError : weights or training file cannot be read.
    """
    if galaxies < FEWEST:
        raise galsim.GalSimRangeError("Too few galaxies to compare", galaxies, FEWEST)
    if seed < 0:
        raise galsim.GalSimRangeError("seed must not be negative", seed, 0)
    real = None if data is None else dataset.read(data)
    path = modelfile.find(weights)
    output = output_folder(output)
    work = output_folder(output / "pieces" if work is None else work)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums depend on how they are shared out
    try:
        _finish("synthetic", _synthetic(path, work, galaxies, seed), path, output, seed)
        if real is not None:
            pieces = real_pieces(real, Context(path), seed)
            _finish("real", join(pieces), path, output, seed)
    finally:
        torch.set_num_threads(threads)


def _finish(name: str, measured: dict[str, NDArray], path: Path, output: Path, seed: int) -> None:
    """Score one comparison and write its files."""
    with tqdm(desc=f"scoring {name}", unit="metric") as bar:

        def progress(part: str) -> None:
            bar.set_postfix_str(part)
            bar.update()

        rows = evaluate_score.scorecard(measured, seed, progress)
        bins = []
        if name == "synthetic":
            progress("calibration")
            bins = evaluate_calibration.calibration(measured, seed)
        else:
            rows = evaluate_rows.against_sersic(rows)
        progress("lanusse")
        lines = evaluate_lanusse.against(measured, seed)
    facts = {
        "weights": path.name,
        "sha256": modelfile.read(path).sha256,
        "held_out_galaxies": len(measured["conditions"]),
        "seed": seed,
    }
    evaluate_report.write(output, name, rows, bins, lines, measured, facts)
    print(f"{name}: {evaluate_report.headline(rows, facts)}; see {output / name}.md")


def _synthetic(path: Path, work: Path, galaxies: int, seed: int) -> dict[str, NDArray]:
    """Make the pieces that are not there yet, on all cores, and join them."""
    count = -(-galaxies // PIECE)
    size = min(PIECE, galaxies)
    tasks = [Task(k, seed, k * PIECE < _BASELINES, k * PIECE < _IMAGES, size) for k in range(count)]
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
    return join([_load(file) for file in files])


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
    piece = synthetic_piece(task, _context)
    arrays: dict[str, Any] = {name.replace("/", "."): array for name, array in piece.items()}
    write_whole(file, lambda path: np.savez(path, **arrays))


def _load(file: Path) -> dict[str, NDArray]:
    with np.load(file) as data:
        return {name.replace(".", "/"): data[name] for name in data.files}


def join(pieces: list[dict[str, NDArray]]) -> dict[str, NDArray]:
    """Put pieces together; what a piece does not have is NaN, but images and training galaxies.

    These have rows of their own.
    """
    names = {name: None for piece in pieces for name in piece}
    joined = {}
    for name in names:
        have = [piece for piece in pieces if name in piece]
        if name.startswith("images/") or name == "features/training":
            joined[name] = np.concatenate([piece[name] for piece in have])
            continue
        shape = have[0][name].shape[1:]
        joined[name] = np.concatenate(
            [
                piece.get(name, np.full((len(piece["conditions"]), *shape), np.nan))
                for piece in pieces
            ]
        )
    return joined
