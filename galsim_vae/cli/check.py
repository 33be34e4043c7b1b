"""``galsim-vae check``: one thing measured about weights, or about the synthetic population."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import galsim
from astropy.table import Table

from galsim_vae.files import input_file, output_folder, write_whole
from galsim_vae.model import file as modelfile
from galsim_vae.settings import key
from galsim_vae.train.training_file import read, read_held_out

from .call import Call

__all__ = ["CHECKS", "Keys", "run"]


@dataclass(frozen=True)
class Keys:
    """What can be given as ``key=value``."""

    weights: str = key("name of shipped weights, or a file", "candels")
    output: Path = key("folder of tables and pictures", Path("checks"))
    training_file: Path | None = key(
        "reconstruction: says which galaxies are held out, every fifth of a set if absent; "
        "population: its HST galaxies are compared with synthetic ones", None
    )


def run(call: Call) -> None:
    """Run the check that is named first."""
    name, *files = call.files or [""]
    if name not in CHECKS:
        what = "Unknown check." if name else "Give the name of a check."
        raise galsim.GalSimConfigValueError(what, name, list(CHECKS))
    call = replace(call, files=files)
    if name in ("reconstruction", "pairs"):  # whose file of settings has keys of its own
        names = [field.name for field in fields(Keys)]
        own = {key: value for key, value in call.variables.items() if key in names}
        others = {key: value for key, value in call.variables.items() if key not in names}
        keys, call = replace(call, variables=own).read(Keys), replace(call, variables=others)
    else:
        keys = call.read(Keys)
    if keys.training_file is not None and name not in ("reconstruction", "population"):
        raise galsim.GalSimConfigValueError(
            f"check {name} has no key training_file: its training file is given without a key.",
            str(keys.training_file),
        )
    CHECKS[name](call, keys)


def _reconstruction(call: Call, keys: Keys) -> None:
    from galsim_vae.train.check import reconstruction
    from galsim_vae.train.ingest.config import IngestConfig

    config = call.load("configuration of ingest, such as weights/real.yaml")
    readers, vae = IngestConfig.from_dict(config).readers(), _model(keys).vae
    known = None
    if keys.training_file is not None:
        known = read_held_out(input_file(keys.training_file))
    folder = output_folder(keys.output)
    for reader in readers:
        reader.check()
    reconstruction.write(readers, vae, folder, known).pprint(max_lines=-1, max_width=-1)
    for label in ("sn50", "native"):
        call.wrote(*(folder / f"reconstruction_{label}.{ending}" for ending in ("ecsv", "png")))


def _hidden_band(call: Call, keys: Keys) -> None:
    from galsim_vae.train.check import hidden_band

    file, vae = _training_file(call), _model(keys).vae.requires_grad_(False)
    folder = output_folder(keys.output)
    _write(call, hidden_band.magnitude_errors(vae, read(file)), folder / "hidden_band.ecsv")


def _psf_freeness(call: Call, keys: Keys) -> None:
    from galsim_vae.train.check import psf_freeness

    if call.files:
        keys = replace(keys, weights=str(call.file("weights file or shipped name")))
    model, folder = _model(keys), output_folder(keys.output)
    table = psf_freeness.second_moment_ratios(model.vae)
    _write(call, table, folder / "psf_freeness.ecsv")


def _population(call: Call, keys: Keys) -> None:
    from galsim_vae.train.check.population import catalogues, compare, model, structure

    real = None
    if keys.training_file is not None:  # looked at before the work
        real = structure.chosen(read(input_file(keys.training_file)))
    data = catalogues.read(call.file("folder that holds the catalogues"))
    folder = output_folder(keys.output)
    drawn = model.DrawnPopulation(data)
    table = compare.compare(data, drawn)
    compare.write(folder, table, data, drawn)
    table.pprint_all()
    call.wrote(folder / "population.ecsv", folder)
    if real is not None:
        found = structure.measure(real)
        beside = structure.compare(found)
        beside.pprint_all()
        structure.write(folder, beside, found)
        call.wrote(folder / "population_structure.ecsv")


def _beside_real(call: Call, keys: Keys) -> None:
    from galsim_vae.generator import GalaxyGenerator
    from galsim_vae.plots import contact_sheet
    from galsim_vae.train.check import beside_real

    file = _training_file(call)
    generator = GalaxyGenerator(keys.weights, device="cpu", extrapolate=True)
    path = output_folder(keys.output) / "beside_real.png"
    contact_sheet(beside_real.pictures(read(file), generator), path)
    call.wrote(path)


def _compression(call: Call, keys: Keys) -> None:
    from galsim_vae.train.check import compression

    model, folder = _model(keys), output_folder(keys.output)
    table = compression.compare(model.vae)
    _write(call, table, folder / "compression.ecsv")
    compression.draw(table, folder / "compression.png")
    call.wrote(folder / "compression.png")


def _pairs(call: Call, keys: Keys) -> None:
    from galsim_vae.train.check import pairs
    from galsim_vae.train.ingest.config import IngestConfig
    from galsim_vae.train.ingest.same import read_pairs

    config = IngestConfig.from_dict(call.load("configuration of ingest, whose sets overlap"))
    readers, vae = config.readers(), _model(keys).vae
    same = read_pairs(config.same) if config.same is not None else []
    folder = output_folder(keys.output)
    for reader in readers:
        reader.check()
    found = pairs.find(readers, same, vae.config.canonical_frame)
    _write(call, pairs.compare(vae, found), folder / "pairs.ecsv")
    pairs.draw(vae, found, folder / "pairs.png")
    call.wrote(folder / "pairs.png")


def _planted(call: Call, keys: Keys) -> None:
    from galsim_vae.train.clean import planted

    file, model = _training_file(call), _model(keys)
    folder = output_folder(keys.output)
    planted.write(model, read(file), folder).pprint(max_lines=-1, max_width=-1)
    call.wrote(folder / "auc.ecsv", folder / "roc.png")


def _training_file(call: Call) -> Path:
    return input_file(call.file("training file"))


def _model(keys: Keys) -> modelfile.Model:
    return modelfile.read(modelfile.find(keys.weights))


def _write(call: Call, table: Table, path: Path) -> None:
    write_whole(path, table.write)
    table.pprint_all()
    call.wrote(path)


#: The checks by name.
CHECKS: dict[str, Callable[[Call, Keys], None]] = {
    "reconstruction": _reconstruction,
    "hidden-band": _hidden_band,
    "psf-freeness": _psf_freeness,
    "population": _population,
    "beside-real": _beside_real,
    "planted": _planted,
    "compression": _compression,
    "pairs": _pairs,
}
