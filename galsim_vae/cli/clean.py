"""``galsim-vae clean``: the galaxies of a training file, worst explained first."""

from dataclasses import dataclass
from pathlib import Path

from galsim_vae.files import input_file, output_folder, write_whole
from galsim_vae.model import file as modelfile
from galsim_vae.settings import key
from galsim_vae.train import training_file
from galsim_vae.train.clean import anomaly, measure_oddities

from .call import Call
from .sample import check_count

__all__ = ["Keys", "run"]


@dataclass(frozen=True)
class Keys:
    """What can be given as ``key=value``."""

    weights: str = key("name of shipped weights, or a file", "candels")
    output: Path = key("folder of anomaly.ecsv and anomaly.png", Path("cleaning"))
    worst: int = key("galaxies in the picture and on the screen", 48)


def run(call: Call) -> None:
    """Write every galaxy's score and reason, and a picture of the worst."""
    keys = call.read(Keys)
    check_count(keys.worst, "worst")
    file = input_file(call.file("training file"))
    model, folder = modelfile.read(modelfile.find(keys.weights)), output_folder(keys.output)
    data = training_file.read(file)
    measured = measure_oddities(model, data, call.progress)
    listed = anomaly.table(data, measured, anomaly.calibrate(measured))
    write_whole(folder / "anomaly.ecsv", listed.write)
    anomaly.sheet(model, data, listed[: keys.worst], folder / "anomaly.png")
    listed[: keys.worst].pprint(max_lines=-1, max_width=-1)
    call.wrote(folder / "anomaly.ecsv", folder / "anomaly.png")
