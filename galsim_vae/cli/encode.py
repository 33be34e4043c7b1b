"""``galsim-vae encode``: galaxies or pictures to a table of latents."""

from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
from astropy.table import QTable

from galsim_vae.files import input_file
from galsim_vae.settings import key

from .call import Call
from .sample import new_file

__all__ = ["Keys", "run"]


@dataclass(frozen=True)
class Keys:
    """What can be given as ``key=value``."""

    output: Path = key("table to write, .fits")
    weights: str = key("name of shipped weights, or a file; of pictures for pictures", "candels")
    overwrite: bool = key("true replaces a file that is there", False)


def run(call: Call) -> None:
    """Encode what a file or a folder holds."""
    keys = call.read(Keys)
    path = call.file("training file, stamps from galsim-vae draw, or folder or .npz of pictures")
    output = new_file(keys.output, (".fits",), keys.overwrite)
    from galsim_vae.latents.table import write_latents
    from galsim_vae.model import file as modelfile

    weights = modelfile.find(keys.weights)
    of_pictures = modelfile.kind(weights) == modelfile.KIND
    is_picture = path.is_dir() or path.suffix == ".npz"
    if is_picture != of_pictures:
        have = "pictures" if is_picture else "galaxies in the HST bands"
        need = "pictures (galsim-vae train weights/rgb.yaml)" if is_picture else "galaxies"
        raise galsim.GalSimConfigValueError(
            f"{path} holds {have}: give weights= of {need}.", keys.weights
        )
    table = (_pictures if of_pictures else _galaxies)(weights, path, call.progress)
    table.meta |= {"INPUT": str(path.resolve()), "WEIGHTS": str(weights.resolve())}
    write_latents(output, table)
    call.wrote(output)


def _pictures(weights: Path, path: Path, progress: bool) -> QTable:
    from galsim_vae.latents.encode import encode_pictures
    from galsim_vae.latents.pictures import read_pictures
    from galsim_vae.model import picture_file

    model = picture_file.read(weights)
    table = encode_pictures(model, read_pictures(path, progress), progress)
    table.meta |= {"KIND": "pictures", "BANDS": ",".join(model.vae.config.bands),
                   "SHA256": model.sha256}  # fmt: skip
    return table


def _galaxies(weights: Path, path: Path, progress: bool) -> QTable:
    from galsim_vae.bands import BANDS
    from galsim_vae.latents.encode import encode_galaxies
    from galsim_vae.model import file as modelfile
    from galsim_vae.train import training_file
    from galsim_vae.train.fit.batch import INFERENCE, Batch

    model = modelfile.read(weights)
    stamps = path.suffix in (".fits", ".gz")
    if stamps:
        from galsim_vae.train.latents.stamps import canonical_stamps

        data = canonical_stamps(input_file(path), model.vae.config.canonical_frame, progress)
    else:
        data = training_file.read(path)
        training_file.check_frame(data, model.vae.config.canonical_frame)
    conditions = np.stack([data.magnitude, data.half_light_radius, data.g, data.redshift], 1)
    batch = Batch.from_training_file(data, INFERENCE)
    table = encode_galaxies(model, batch, conditions, data.angle, progress)
    if stamps:
        table["row"] = data.source_index  # stamps that cannot be measured are left out
    for name in ("source", "source_index", "identifier", "valid"):
        table[name] = getattr(data, name)
    for name, column in data.catalogue.items():
        if name not in table.colnames:
            table[name] = column
    table.meta |= {"KIND": "galaxies", "BANDS": ",".join(BANDS), "SHA256": model.sha256}
    return table
