"""``galsim-vae draw``: galaxies as CANDELS would see them, or a contact sheet of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table
from tqdm import tqdm

from galsim_vae.bands import CANDELS_PIXEL_SCALE, ZEROPOINTS
from galsim_vae.conditions import Conditions
from galsim_vae.deviates import checked_seed
from galsim_vae.files import write_whole
from galsim_vae.settings import key
from galsim_vae.stamps import Stamps
from galsim_vae.tables import read_table

from .call import Call
from .sample import check_count, new_file

if TYPE_CHECKING:
    from galsim_vae.generator import GalaxyGenerator

__all__ = ["Keys", "run"]

_CONDITIONS = ("magnitude", "half_light_radius", "g1", "g2", "redshift")
_SHEET_COLUMNS = 10
_REDSHIFTS = (0.1, 3.0)


@dataclass(frozen=True)
class Keys:
    """What can be given as ``key=value``."""

    output: Path = key(
        "file to write: .fits, one HDU a band, e-/s, and the table; .png, a contact sheet"
    )
    n: int | None = key("number of galaxies, where no TABLE is given; 20 if absent", None)
    magnitude: float | None = key("AB in F814W, of all galaxies; goes before TABLE", None)
    half_light_radius: float | None = key("arcsec, of all galaxies", None)
    g1: float | None = key("ellipticity of all galaxies, along x", None)
    g2: float | None = key("ellipticity of all galaxies, along the diagonal", None)
    redshift: float | None = key("of all galaxies", None)
    extrapolate: bool = key("true draws beyond the trained range, with a warning", False)
    sequence: Literal["redshift"] | None = key(
        "draws each galaxy at so many steps of this condition, a row a galaxy in a contact sheet",
        None,
    )
    steps: int = key("of a sequence, from redshift 0.1 to 3, evenly in ln(1 + z)", 10)
    follow: Literal["fixed", "population"] = key(
        "magnitude, size and shape along a sequence: fixed, or following the population", "fixed"
    )
    renderer: Literal["galsim", "batch"] = key("galsim, or the faster batch", "galsim")
    seed: int = key("of the random numbers, from 1 on", 1234)
    weights: str = key("name of shipped weights, or a file", "candels")
    overwrite: bool = key("true replaces a file that is there", False)


def run(call: Call) -> None:
    """Draw the galaxies of a table, or of the population."""
    keys = call.read(Keys)
    output = new_file(keys.output, (".fits", ".png"), keys.overwrite)
    rng = galsim.BaseDeviate(checked_seed(keys.seed))
    check_count(keys.steps, "steps")
    table = _conditions(call.files, keys)
    from galsim_vae.generator import GalaxyGenerator

    generator = GalaxyGenerator(keys.weights)
    if keys.sequence is None:
        stamps = generator.sample(table, rng, extrapolate=keys.extrapolate)
    else:
        stamps = _sequences(generator, table, keys, call.progress)
    if output.suffix == ".png":
        columns = _SHEET_COLUMNS if keys.sequence is None else keys.steps
        _write_sheet(stamps, output, columns, call.progress)
    else:
        images = stamps.as_candels(rng, keys.renderer, progress=call.progress)
        _write_images(stamps, images, output)
    call.wrote(output)


def _conditions(files: list[str], keys: Keys) -> QTable:
    """Conditions of a file, or `n` rows; those asked for by name replace a column."""
    if len(files) > 1:
        raise galsim.GalSimConfigError(f"draw takes one table, but was given {files}")
    if files and keys.n is not None:
        raise galsim.GalSimConfigError("Give a table or n, not both")
    if files:
        table = read_table(files[0])
    else:
        n = 20 if keys.n is None else keys.n
        check_count(n)
        table = QTable({"id": np.arange(n)})
    for name in _CONDITIONS:
        value = getattr(keys, name)
        if value is not None:
            table[name] = np.full(len(table), value)
    return table


def _write_images(stamps: Stamps, images: np.ndarray, path: Path) -> None:
    """Write (n, bands, m, m) images and their table; the file appears when complete."""
    hdus = [fits.PrimaryHDU()]
    for k, band in enumerate(stamps.bands):
        hdu = fits.ImageHDU(images[:, k], name=band)
        hdu.header["PIXSCALE"] = (CANDELS_PIXEL_SCALE, "arcsec")
        hdu.header["ZPT_AB"] = (ZEROPOINTS[band], "AB magnitude of 1 e-/s")
        hdus.append(hdu)
    hdus.append(fits.BinTableHDU(Table(stamps.table), name="CATALOG"))
    write_whole(path, fits.HDUList(hdus).writeto)


def _sequences(generator: "GalaxyGenerator", table: QTable, keys: Keys, progress: bool) -> Stamps:
    """Each galaxy at every redshift, those of a galaxy one after the other."""
    from galsim_vae.latents import Drawn, sequence

    low, high = np.log1p(_REDSHIFTS)
    z = np.expm1(np.linspace(low, high, keys.steps))
    parts = []
    for k, row in enumerate(tqdm(table, "sequences", unit="galaxy", disable=not progress)):
        ident = int(row["id"]) if "id" in table.colnames else k
        parts.append(sequence(generator, Drawn(keys.seed, ident, row), z, keys.follow))
    conditions = [part.conditions for part in parts]
    joined = Conditions(
        np.concatenate([c.values for c in conditions]),
        np.concatenate([c.angle for c in conditions]),
        np.arange(sum(map(len, parts))),
    )
    array, jacobian, offset = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("array", "jacobian", "offset")
    )
    return Stamps(array, joined, jacobian, offset, parts[0].bands)


def _write_sheet(stamps: Stamps, path: Path, columns: int, progress: bool) -> None:
    from galsim_vae.plots import colour_image, contact_sheet

    bar = tqdm(stamps.array, desc="drawing", unit="galaxy", disable=not progress)
    pictures = [colour_image(stamp) for stamp in bar]
    rows = [pictures[k : k + columns] for k in range(0, len(pictures), columns)]
    contact_sheet(rows, path)
