"""``galsim-vae sample``: conditions of galaxies, drawn from the population, as a table."""

from dataclasses import dataclass
from pathlib import Path

import galsim

from galsim_vae.deviates import checked_seed
from galsim_vae.files import output_file, write_whole
from galsim_vae.settings import key

from .call import Call

__all__ = ["Keys", "check_count", "new_file", "run"]


@dataclass(frozen=True)
class Keys:
    """What can be given as ``key=value``."""

    output: Path = key("table to write, .ecsv or .fits")
    n: int = key("number of galaxies", 100)
    seed: int = key("of the random numbers, from 1 on", 1234)
    weights: str = key("name of shipped weights, or a file", "candels")
    overwrite: bool = key("true replaces a file that is there", False)


def run(call: Call) -> None:
    """Draw conditions and write them."""
    call.no_file()
    keys = call.read(Keys)
    output = new_file(keys.output, (".ecsv", ".fits"), keys.overwrite)
    check_count(keys.n)
    rng = galsim.BaseDeviate(checked_seed(keys.seed))
    from galsim_vae.generator import GalaxyGenerator

    table = GalaxyGenerator(keys.weights).sample_conditions(keys.n, rng)
    write_whole(output, table.write)
    call.wrote(output)


def check_count(n: int, name: str = "n") -> None:
    """Raise galsim.GalSimRangeError if a number of galaxies is less than 1."""
    if n < 1:
        raise galsim.GalSimRangeError(f"{name} must be at least 1.", n, 1)


def new_file(path: Path, endings: tuple[str, ...], overwrite: bool) -> Path:
    """Return the path of an output if it can be written.

    Raises
    ------
    galsim.GalSimConfigValueError
        Another ending.
    OSError
        It is there already and not to be replaced; see `galsim_vae.files.output_file`.
    """
    if path.suffix not in endings:
        raise galsim.GalSimConfigValueError(
            f"output must end in {' or '.join(endings)}.", path.name, endings
        )
    path = output_file(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists: give overwrite=true, or another output")
    return path
