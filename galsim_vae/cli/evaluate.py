"""``galsim-vae evaluate``: the scorecard of a weights file."""

from dataclasses import dataclass
from pathlib import Path

from galsim_vae.files import input_file
from galsim_vae.settings import key

from .call import Call

__all__ = ["Keys", "run"]


@dataclass(frozen=True)
class Keys:
    """What can be given as ``key=value``."""

    data: Path | None = key("training file, whose held-out galaxies are compared too", None)
    galaxies: int = key("synthetic held-out galaxies", 20_000)
    sheared: int = key("of these, those whose shear response is measured", 5000)
    draws: int = key("galaxies drawn for each real one whose shear response is measured", 20)
    seed: int = key("of the random numbers", 1)
    output: Path = key("folder of tables, figures and Markdown", Path("evaluation"))
    work: Path | None = key("folder of unfinished work, output/pieces if absent", None)


def run(call: Call) -> None:
    """Evaluate weights, given by shipped name or as a file."""
    weights, keys = call.file("weights file or shipped name"), call.read(Keys)
    data = None if keys.data is None else input_file(keys.data)
    from galsim_vae.train.evaluate.run import evaluate

    evaluate(
        weights, keys.output, keys.work, keys.galaxies, keys.seed, data, keys.sheared, keys.draws
    )
    call.wrote(keys.output)
