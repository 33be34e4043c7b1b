"""The scorecard of a weights file. See docs/realism.md.

Interrupted, it goes on from the pieces in its work folder and ends as if it had not been.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import galsim
from numpy.typing import NDArray
from tqdm import tqdm

from galsim_vae.devices import one_thread, process_pool
from galsim_vae.files import output_folder
from galsim_vae.generator import GalaxyGenerator
from galsim_vae.model import file as modelfile
from galsim_vae.train import training_file as dataset

from . import calibration, lanusse, report, scorecard
from .ends import population_ends
from .pieces import PIECE, join, read_piece, write_piece
from .real_pieces import FEWEST, RealTask, askable, known_features, real_piece, real_tasks
from .rows import against_sersic
from .samples import Context
from .synthetic_pieces import Task, synthetic_piece
from .two_samples import IMAGES

__all__ = ["DRAWS", "GALAXIES", "SHEARED", "evaluate"]

logger = logging.getLogger(__name__)

GALAXIES = 20_000
#: Synthetic galaxies that are sheared, and draws of each real one that are.
SHEARED, DRAWS = 5000, 20
_BASELINES = 5000  # galaxies of the baselines that are slow to make
_FORMAT = 9  # of the pieces: increase it when they change

_METRICS = 13  # steps of the bar

_context: Context | None = None  # of a worker
_data: dataset.Dataset | None = None


class _Job(NamedTuple):
    """A piece to be made, its galaxies and its file."""

    task: Task | RealTask
    size: int
    file: Path


def evaluate(
    weights: str | Path,
    output: Path,
    work: Path | None = None,
    galaxies: int = GALAXIES,
    seed: int = 1,
    data: Path | None = None,
    sheared: int = SHEARED,
    draws: int = DRAWS,
) -> None:
    """Evaluate weights, print the scorecards, and write tables, figures and Markdown.

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
        Training file, of any canonical frame, whose held-out galaxies that were seen from space
        are compared too.
    sheared : int
        Synthetic galaxies whose shear response is measured.
    draws : int
        Drawn galaxies for each real one whose shear response is measured; 0 for none.

    Raises
    ------
    galsim.GalSimRangeError
        Too few galaxies, synthetic or of the training file, or a negative number.
    OSError
        Weights or training file cannot be read.
    """
    if galaxies < FEWEST:
        raise galsim.GalSimRangeError("Too few galaxies to compare", galaxies, FEWEST)
    for name, value in (("seed", seed), ("sheared", sheared), ("draws", draws)):
        if value < 0:
            raise galsim.GalSimRangeError(f"{name} must not be negative", value, 0)
    path = modelfile.find(weights)
    ranges = modelfile.read(path).ranges
    real = rows = None
    if data is not None:
        real = dataset.read(data)
        rows = askable(real, ranges)
    output = output_folder(output)
    work = output_folder(output / "pieces" if work is None else work)
    with one_thread():  # sums depend on how they are shared out
        measured = _synthetic(path, work, galaxies, seed, sheared)
        measured |= population_ends(GalaxyGenerator(path, device="cpu"), seed)
        _finish("synthetic", measured, path, output, seed)
        if real is not None and rows is not None and data is not None:
            measured = _real(path, work, data, rows, seed, draws)
            known = known_features(real, seed)
            measured |= {} if known is None else {"features/training": known}
            _finish("real", measured, path, output, seed)


def _finish(name: str, measured: dict[str, NDArray], path: Path, output: Path, seed: int) -> None:
    """Score one comparison, write its files and print it."""
    with tqdm(desc=f"scoring {name}", unit="metric", total=_METRICS) as bar:

        def progress(part: str) -> None:
            bar.set_postfix_str(part)
            bar.update()

        rows = scorecard.scorecard(measured, seed, progress)
        bins = []
        progress("calibration")
        if name == "synthetic":
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
    print(report.printed(name, rows, facts))


def _synthetic(
    path: Path, work: Path, galaxies: int, seed: int, sheared: int
) -> dict[str, NDArray]:
    """Return the synthetic comparison."""
    count = -(-galaxies // PIECE)
    size = min(PIECE, galaxies)
    jobs = []
    for k in range(count):
        baselines, images = k * PIECE < _BASELINES, k * PIECE < IMAGES
        task = Task(k, seed, baselines, images, size, min(max(sheared - k * PIECE, 0), size))
        name = f"s{seed}-n{size}-{k}-{int(baselines)}{int(images)}-{task.responses}.npz"
        jobs.append(_Job(task, size, work / f"{_stem(path)}-{name}"))
    return _made(path, None, jobs, "synthetic")


def _real(
    path: Path, work: Path, data: Path, rows: NDArray, seed: int, draws: int
) -> dict[str, NDArray]:
    """Return the comparison of real galaxies."""
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    jobs = []
    for task in real_tasks(rows, seed, draws):
        name = f"{digest}-s{seed}-{task.number}-{draws}.npz"
        jobs.append(_Job(task, len(task.rows), work / f"{_stem(path)}-{name}"))
    return _made(path, data, jobs, "real")


def _stem(path: Path) -> str:
    return f"{modelfile.read(path).sha256[:12]}-v{_FORMAT}"


def _made(path: Path, data: Path | None, jobs: list[_Job], name: str) -> dict[str, NDArray]:
    """Make the pieces that are not there yet, on all cores, and join all."""
    missing = [job for job in jobs if not job.file.exists()]
    done = sum(job.size for job in jobs) - sum(job.size for job in missing)
    total = sum(job.size for job in jobs)
    with tqdm(desc=name, total=total, initial=done, unit="galaxy") as bar:
        for size in _work(path, data, missing):
            bar.update(size)
    return join([read_piece(job.file) for job in jobs])


def _work(path: Path, data: Path | None, jobs: list[_Job]) -> Iterator[int]:
    workers = min(len(os.sched_getaffinity(0)), len(jobs))
    if workers < 2:
        if jobs:
            _start(path, data)
        yield from map(_make, jobs)
        return
    with process_pool(workers, _start, (path, data)) as pool:
        yield from pool.map(_make, jobs)


def _start(path: Path, data: Path | None) -> None:
    global _context, _data
    _context = Context(path)
    _data = None if data is None else dataset.read(data)


def _make(job: _Job) -> int:
    assert _context is not None
    if isinstance(job.task, RealTask):
        assert _data is not None
        write_piece(job.file, real_piece(job.task, _data, _context))
    else:
        write_piece(job.file, synthetic_piece(job.task, _context))
    return job.size
