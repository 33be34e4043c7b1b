"""``galsim-vae classify``: a user's labels taught to all galaxies of a table of latents."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from astropy.table import Table
from galsim.errors import GalSimConfigError
from numpy.typing import NDArray

from galsim_vae.files import output_folder
from galsim_vae.settings import key

from .call import Call
from .sample import check_count

if TYPE_CHECKING:
    from galsim_vae.train.latents.finetune import FineTuning

__all__ = ["Keys", "run"]


@dataclass(frozen=True)
class Keys:
    """What can be given as ``key=value``."""

    column: str = key("of the labels: texts and whole numbers are classes, others are regressed")
    labels: Path | None = key(
        "table of labels with a column name, identifier or row; the latents' own if absent", None
    )
    output: Path = key("folder of predictions, scores and a picture", Path("classes"))
    learner: Literal["kernel", "logistic", "boosting"] | None = key(
        "on latents and moments: radial basis functions, linear, or trees; absent: kernel for "
        "classes, boosting for numbers", None
    )
    fine_tune: bool = key("true trains the encoder of pictures along", False)
    steps: int = key("of the fine-tuning, with 64 pictures each", 2400)
    also: dict[str, list[str]] | None = key(
        "tables of latents of the same weights and their columns of other classes, "
        "{others.fits: type}, which the fine-tuning teaches along", None
    )
    target: Path | None = key(
        "table of latents of another survey, to predict this by a learner adapted to it", None
    )
    target_labels: Path | None = key("labels of the target, which judge and teach nothing", None)
    adaptation: Literal["coral", "mmd"] | None = key(
        "to the target: its correlations, or a network that sees both surveys alike; absent: "
        "coral, or mmd with fine_tune", None
    )
    seed: int = key("of the fine-tuning and of the network", 1)


def run(call: Call) -> None:
    """Learn, judge by four folds, and predict."""
    keys = call.read(Keys)
    check_count(keys.steps, "steps")
    _check_together(keys)
    path = call.file("table of latents, from galsim-vae encode")
    from galsim_vae.latents.table import labels_of, read_latents
    from galsim_vae.train.latents.labels import labelled
    from galsim_vae.train.latents.tasks import check_are_pictures

    table = read_latents(path)
    if keys.fine_tune:
        check_are_pictures(table)
    if keys.labels is None:
        rows, values = labelled(table, keys.column)
    else:
        rows, values = labels_of(table, keys.labels, keys.column)
    if keys.target is None:
        call.wrote(*_learn(call, keys, table, rows, values))
    else:
        call.wrote(*_adapt(call, keys, keys.target, table, rows, values))


def _learn(call: Call, keys: Keys, table: Table, rows: NDArray, values: NDArray) -> list[Path]:
    from galsim_vae.latents.table import read_latents
    from galsim_vae.train.latents.classify import learn, write

    also = {name: (read_latents(name), columns) for name, columns in (keys.also or {}).items()}
    folder = output_folder(keys.output)
    learnt = learn(
        table, rows, values, keys.column, keys.learner or "", _tuning(keys), call.progress, also
    )
    if call.progress:
        print(", ".join(f"{k} {v:.4g}" for k, v in learnt.scores.items()))
    return write(learnt, keys.column, folder)


def _tuning(keys: Keys) -> "FineTuning | None":
    from galsim_vae.train.latents.finetune import FineTuning

    return FineTuning(steps=keys.steps, seed=keys.seed) if keys.fine_tune else None


def _adapt(
    call: Call, keys: Keys, path: Path, table: Table, rows: NDArray, values: NDArray
) -> list[Path]:
    from galsim_vae.latents.table import labels_of, read_latents
    from galsim_vae.train.latents import learners
    from galsim_vae.train.latents.adapt import Judges, adapt, write

    target, judges = read_latents(path), None
    if keys.target_labels is not None:
        judges = Judges(*labels_of(target, keys.target_labels, keys.column))
    folder = output_folder(keys.output)
    adapted = adapt(
        table, rows, values, target, keys.column, keys.adaptation or "coral",
        keys.learner or learners.BEST_OF_CLASSES, judges, keys.seed, call.progress, _tuning(keys),
    )  # fmt: skip
    if call.progress:
        adapted.accuracy.pprint_all()
    return write(adapted, folder)


def _check_together(keys: Keys) -> None:
    """Refuse keys that say nothing beside others."""
    if keys.target is None and keys.target_labels is not None:
        raise GalSimConfigError("target_labels judge a target: give target= too")
    if keys.target is None and keys.adaptation is not None:
        raise GalSimConfigError("adaptation is to a target: give target= too")
    if keys.target is not None and keys.also:
        raise GalSimConfigError("also is not for a target: leave one of them out")
    if keys.also and not keys.fine_tune:
        raise GalSimConfigError("also is what fine-tuning teaches along: give fine_tune=true too")
    if keys.target is not None and keys.fine_tune and (keys.learner or keys.adaptation == "coral"):
        raise GalSimConfigError("fine_tune adapts the network by mmd: leave adaptation=coral and "
                                "learner= out")  # fmt: skip
