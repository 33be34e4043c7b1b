"""Shear calibration: m and c of shear estimators on galaxies with structure, and on their twins.

    galsim-vae calibrate CONFIG.yaml [workers=N] [--scheduler ADDRESS] [key=value ...]

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
from typing import TYPE_CHECKING, Any

import galsim
import yaml
from astropy.table import Table

from galsim_vae.files import write_whole

from .bias import DIFFERENCE, Bias, Sums, bias, make_table
from .config import ESTIMATORS, CalibrationConfig
from .estimators import Detections, Estimator, Shapes, make_estimator
from .figures import draw_figures
from .store import ChunkStore
from .survey import ZEROPOINT, Observation, observation
from .workers import run_missing

if TYPE_CHECKING:
    from galsim_vae.cli.call import Call

__all__ = [
    "DIFFERENCE", "ESTIMATORS", "ZEROPOINT", "Bias", "CalibrationConfig", "Detections",
    "Estimator", "Observation", "Shapes", "Sums", "bias", "calibrate", "command",
    "make_estimator", "observation",
]  # fmt: skip

logger = logging.getLogger(__name__)

_PACKAGES = ("galsim_vae", "GalSim", "numpy", "scipy", "torch", "astropy", "anacal", "ngmix")


def calibrate(
    config: CalibrationConfig | Mapping[str, Any],
    workers: int = 1,
    scheduler: str | None = None,
    progress: bool = True,
) -> Table:
    """Run a shear calibration, or go on with one that was interrupted.

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
    identity, fingerprint = config.identity(), config.fingerprint()
    store = ChunkStore(config.output, fingerprint)
    logger.info("%d of %d chunks to do", len(store.missing(config.nchunks)), config.nchunks)
    run_missing(config, store, workers, scheduler, progress)
    table = make_table(config, store.read(config.nchunks))
    table.meta = {
        "config": _plain(dataclasses.asdict(config)),
        "weights_sha256": identity["weights_sha256"],
        "fingerprint": fingerprint,
        "versions": _versions(),
        "seeds": "numpy.random.SeedSequence(seed, spawn_key=(chunk, purpose))",
        "noise_nJy": config.observation().noise,
    }
    # A folder has no part in results: the same table is made anywhere.
    del table.meta["config"]["output"]
    folder = Path(config.output)
    _write(table, folder / "calibration.ecsv")
    _write(_throughput(config, store), folder / "throughput.ecsv")
    draw_figures(table, folder)
    return table


def command(call: Call) -> None:
    """Run ``galsim-vae calibrate``: print m and c of all galaxies."""
    values, workers, scheduler = _read(call)
    table = calibrate(values, workers, scheduler, logger.isEnabledFor(logging.WARNING))
    print(f"{'population':14s}{'estimator':10s}{'pairs':>9s}   component, m, c")
    for row in table[table["property"] == "all"]:
        print(
            f"{row['population']:14s}{row['estimator']:10s}{row['pairs']:9d}   {row['component']} "
            f"{row['m']:+.5f} +- {row['m_err']:.5f}  {row['c']:+.6f} +- {row['c_err']:.6f}"
        )
    print(f"{Path(values['output']) / 'calibration.ecsv'}")


def _read(call: Call) -> tuple[dict[str, Any], int, str | None]:
    """The configuration, the number of workers and the scheduler that a call asks for."""
    if len(call.files) != 1:
        raise galsim.GalSimConfigError(f"Give one configuration file, not {call.files}")
    with open(call.files[0]) as file:
        values = yaml.safe_load(file)
    if not isinstance(values, dict):
        raise galsim.GalSimConfigError(f"{call.files[0]} is not a table of keys and values")
    values |= call.variables
    workers, scheduler = values.pop("workers", 1), values.pop("scheduler", None)
    if not isinstance(workers, int) or isinstance(workers, bool):
        raise galsim.GalSimConfigValueError("workers must be a whole number", workers)
    return values, workers, scheduler


def _throughput(config: CalibrationConfig, store: ChunkStore) -> Table:
    """Seconds of the processor for each step, all chunks."""
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
    """Tuples as lists, which YAML knows."""
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
