"""Shear calibration: m and c of shear estimators on galaxies with structure, and on their twins.

Images come in pairs of +g and -g, of the same galaxies, PSF and noise, and again with the galaxies
turned by 90 degrees. The same is done with a parametric twin of each galaxy, so that what
morphology does to m is a difference in which most of the noise cancels.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import galsim
import numpy as np
from astropy.table import Table

from galsim_vae.files import output_folder, write_whole

from .bias import make_table
from .config import CalibrationConfig
from .figures import draw_figures, shown
from .store import ChunkStore
from .workers import run_missing

__all__ = ["calibrate", "summary", "written_files"]

logger = logging.getLogger(__name__)

_PACKAGES = ("galsim_vae", "GalSim", "numpy", "scipy", "torch", "astropy", "anacal", "ngmix",
             "metadetect")  # fmt: skip


def calibrate(
    config: CalibrationConfig | Mapping[str, Any],
    workers: int = 1,
    scheduler: str | None = None,
    progress: bool = True,
) -> Table:
    """Run a shear calibration, or go on with one that was interrupted; return m and c.

    Parameters
    ----------
    config : CalibrationConfig or mapping
        See `CalibrationConfig.from_dict`, which raises for a bad one before any work.
    workers : int
        Processes on this machine. They are started afresh: a script that calls this with more than
        one needs ``if __name__ == "__main__":``.
    scheduler : str, optional
        Address of a Dask scheduler, ``tcp://host:8786``, whose workers then do the work.
    progress : bool
        Show a bar.

    Returns
    -------
    Table
        One row a population, estimator, bin and component of the shear, with what made it in
        ``meta``. It depends neither on the number of workers nor on where they are.

    Raises
    ------
    galsim.GalSimRangeError
        Fewer than one worker.
    galsim.GalSimError
        A chunk was lost with its worker three times.

    Notes
    -----
    ``output`` then has ``calibration.ecsv``, the same table, ``throughput.ecsv``, the figures
    ``m.png`` and ``c.png``, and the folder of the chunks. A chunk that is there is not done
    again.
    """
    if not isinstance(config, CalibrationConfig):
        config = CalibrationConfig.from_dict(config)
    if workers < 1:
        raise galsim.GalSimRangeError("workers must be at least 1", workers, 1)
    folder = output_folder(config.output)
    store = ChunkStore(folder, config.fingerprint())
    logger.info("%d of %d chunks to do", len(store.missing(config.nchunks)), config.nchunks)
    run_missing(config, store, workers, scheduler, progress)
    table = make_table(config, store.read(config.nchunks))
    table.meta = _provenance(config)
    _write(table, folder / "calibration.ecsv")
    _write(_throughput(config, store), folder / "throughput.ecsv")
    draw_figures(table, folder)
    for path in written_files(table, folder):
        logger.info("wrote %s", path)
    return table


def written_files(table: Table, output: str | Path) -> list[Path]:
    """Return the files that `calibrate` wrote, but for the chunks.

    Parameters
    ----------
    table : Table
        As `calibrate` returns it.
    output : str or Path
        The run's folder.
    """
    names = ["calibration.ecsv", "throughput.ecsv", *(f"{name}.png" for name in shown(table))]
    return [Path(output) / name for name in names]


def _provenance(config: CalibrationConfig) -> dict[str, Any]:
    """Return what made a table, the same on every machine: without the folder."""
    values = dataclasses.asdict(config)
    del values["output"]
    return {
        "config": _plain(values),
        "weights_sha256": config.weights_sha256,
        "fingerprint": config.fingerprint(),
        "versions": _versions(),
        "seeds": "numpy.random.SeedSequence(seed, spawn_key=(chunk, purpose))",
        "noise_nJy": config.view().noise,
    }


def summary(table: Table) -> list[str]:
    """Return m and c of all galaxies as lines of text; m only of components that were sheared.

    Parameters
    ----------
    table : Table
        As `calibrate` returns it.
    """
    lines = [f"{'population':14s}{'estimator':12s}{'pairs':>8s}   component, m, c"]
    for row in table[table["property"] == "all"]:
        m = "not sheared".ljust(20)
        if not np.ma.is_masked(row["m"]):
            m = _with_error(row["m"], row["m_err"], 5)
        c = _with_error(row["c"], row["c_err"], 6)
        lines.append(
            f"{row['population']:14s}{row['estimator']:12s}{row['pairs']:8d}   "
            f"{row['component']}  {m}  {c}"
        )
    return lines


def _with_error(value: float, error: float, digits: int) -> str:
    """Return a value and its error; a single galaxy or scene has no error."""
    text = f"{value:+.{digits}f}"
    return text if np.ma.is_masked(error) else f"{text} +- {error:.{digits}f}"


def _throughput(config: CalibrationConfig, store: ChunkStore) -> Table:
    """Return the seconds of the processor for each step, all chunks."""
    seconds = store.seconds(config.nchunks)
    table = Table(
        {"step": list(seconds), "seconds": list(seconds.values()),
         "ms_per_galaxy": [1e3 * value / config.galaxies for value in seconds.values()]}
    )  # fmt: skip
    what = "scene" if config.layout == "blended" else "galaxy"
    images = len(config.angles) * 2 * len(config.populations)
    table["ms_per_galaxy"].description = f"a {what}, all of its {images} images"
    return table


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with tuples as lists, which YAML knows."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _write(table: Table, path: Path) -> None:
    write_whole(path, lambda temporary: table.write(temporary, format="ascii.ecsv"))
