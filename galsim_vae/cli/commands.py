"""The subcommands ``info``, ``sample`` and ``draw`` of ``galsim-vae``."""

import logging
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table

from galsim_vae.bands import CANDELS_PIXEL_SCALE, ZEROPOINTS
from galsim_vae.conditions import read_conditions
from galsim_vae.deviates import checked_seed
from galsim_vae.files import write_whole
from galsim_vae.model import file as modelfile
from galsim_vae.render.candels import RENDERERS

from .call import Call

__all__ = ["draw", "info", "sample"]

logger = logging.getLogger(__name__)

_CONDITIONS = ("magnitude", "half_light_radius", "g1", "g2", "redshift")
_SHEET_COLUMNS = 10


def info(call: Call) -> None:
    """Print what weights files and training files hold."""
    call.take()
    if not call.files:
        from importlib.metadata import version

        print(f"galsim_vae {version('galsim_vae')}, GalSim {galsim.__version__}")
        print("weights:", ", ".join(modelfile.shipped()) or "none")
    for name in call.files:
        if Path(name).suffix in (".h5", ".hdf5"):
            _describe_training_file(name)
        else:
            _describe_weights(name)


def _describe_weights(name: str) -> None:
    path = modelfile.find(name)
    model = modelfile.read(path)
    print(f"{path}\nsha256: {model.sha256}")
    for condition, (low, high) in model.ranges.items():
        print(f"{condition}: {low:g} to {high:g}")
    for key, text in model.provenance.items():
        print(f"{key}: {text}")


def _describe_training_file(name: str) -> None:
    from galsim_vae.train import training_file as dataset
    from galsim_vae.train.ingest import report

    galaxies, header = dataset.read(name), dataset.read_header(name)
    print(f"{name}: {len(galaxies)} galaxies, {int(galaxies.valid.sum())} of them held out")
    for line in report.summary(galaxies, dataset.read_rejected(name)):
        print(line)
    for key, text in header.items():
        print(f"{key}: {text}")


def sample(call: Call) -> None:
    """Draw conditions from the population and write them as a table (ECSV or FITS)."""
    values = call.take(output=..., n=100, seed=1234, weights="candels", overwrite=False)
    if call.files:
        raise galsim.GalSimConfigError(f"sample takes no file, but was given {call.files}")
    output = _output(values, (".ecsv", ".fits"))
    n, rng = _count(values["n"]), galsim.BaseDeviate(checked_seed(values["seed"]))
    from galsim_vae.generator import GalaxyGenerator

    generator = GalaxyGenerator(values["weights"])
    write_whole(output, generator.sample_conditions(n, rng).write)
    logger.info("wrote %s", output)


def draw(call: Call) -> None:
    """Draw the galaxies of a table, or of the population, and write FITS or a PNG.

    The FITS file has one HDU a band, (n, m, m) e-/s, and the table of the galaxies. It is drawn by
    GalSim, or with ``renderer=batch`` by `galsim_vae.render`.
    """
    values = call.take(
        output=..., n=None, seed=1234, weights="candels", renderer="galsim", overwrite=False,
        extrapolate=False, **dict.fromkeys(_CONDITIONS),
    )  # fmt: skip
    asked = {name: values[name] for name in _CONDITIONS if values[name] is not None}
    if values["renderer"] not in RENDERERS:
        raise galsim.GalSimConfigValueError("Unknown renderer", values["renderer"], RENDERERS)
    output = _output(values, (".fits", ".png"))
    rng = galsim.BaseDeviate(checked_seed(values["seed"]))
    table = _conditions(call.files, asked, values["n"])
    from galsim_vae.generator import GalaxyGenerator

    generator = GalaxyGenerator(values["weights"])
    stamps = generator.sample(table, rng, extrapolate=values["extrapolate"])
    if output.suffix == ".png":
        _write_sheet(stamps, output)
    else:
        _write_images(stamps, stamps.as_candels(rng, values["renderer"]), output)
    logger.info("wrote %s", output)


def _conditions(files: list[str], asked: dict, n: int | None) -> QTable:
    """Conditions of a file, or `n` rows; those asked for by name replace a column."""
    if len(files) > 1:
        raise galsim.GalSimConfigError(f"draw takes one table, but was given {files}")
    if files and n is not None:
        raise galsim.GalSimConfigError("Give a table or n, not both")
    if files:
        table = read_conditions(files[0])
        n = len(table)
    else:
        n = 20 if n is None else _count(n)
        table = QTable({"id": np.arange(n)})
    for name, value in asked.items():
        try:
            table[name] = np.full(n, float(value))  # YAML takes 1e-2 for a text
        except (TypeError, ValueError):
            raise galsim.GalSimConfigValueError(f"{name} must be a number", value) from None
    return table


def _count(n) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise galsim.GalSimConfigValueError("n must be a whole number of galaxies from 1 on", n)
    return n


def _output(values: dict, endings: tuple[str, ...]) -> Path:
    """The file to write, if it can be written."""
    path = Path(str(values["output"]))
    if path.suffix not in endings:
        raise galsim.GalSimConfigValueError("output must end in", path.name, endings)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for the output {path.name}")
    if path.exists() and not values["overwrite"]:
        raise FileExistsError(f"{path} exists: give overwrite=true, or another output")
    return path


def _write_images(stamps, images: np.ndarray, path: Path) -> None:
    """Write (n, bands, m, m) images and their table; the file appears when complete."""
    hdus = [fits.PrimaryHDU()]
    for k, band in enumerate(stamps.bands):
        hdu = fits.ImageHDU(images[:, k], name=band)
        hdu.header["PIXSCALE"] = (CANDELS_PIXEL_SCALE, "arcsec")
        hdu.header["ZPT_AB"] = (ZEROPOINTS[band], "AB magnitude of 1 e-/s")
        hdus.append(hdu)
    hdus.append(fits.BinTableHDU(Table(stamps.table), name="CATALOG"))
    write_whole(path, fits.HDUList(hdus).writeto)


def _write_sheet(stamps, path: Path) -> None:
    from galsim_vae.plots import colour_image, contact_sheet

    pictures = [colour_image(stamp) for stamp in stamps.array]
    rows = [pictures[k : k + _SHEET_COLUMNS] for k in range(0, len(pictures), _SHEET_COLUMNS)]
    contact_sheet(rows, path)
