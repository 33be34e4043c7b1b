"""``galsim-vae calibrate``: the bias of shear estimators."""

from dataclasses import dataclass

from galsim_vae.settings import build
from galsim_vae.shear import CalibrationConfig, calibrate
from galsim_vae.shear.calibration import summary, written_files

from .call import Call

__all__ = ["Keys", "run"]

Keys = CalibrationConfig


@dataclass(frozen=True)
class _Where:
    """Where the work is done, which is no part of what is done."""

    workers: int = 1
    scheduler: str | None = None


def run(call: Call) -> None:
    """Run a calibration and print m and c of all galaxies."""
    values = call.load("configuration file, such as examples/demo_shear.yaml")
    given = {name: values.pop(name) for name in ("workers", "scheduler") if name in values}
    where, config = build(_Where, given), CalibrationConfig.from_dict(values)
    table = calibrate(config, where.workers, where.scheduler, call.progress)
    print(*summary(table), sep="\n")
    call.wrote(*written_files(table, config.output))
