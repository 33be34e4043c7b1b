"""Long computations go on where they were interrupted, and end as if they had not been.

A checkpoint is written every `SAVE_EVERY` seconds and after the last step, under a temporary name
and then renamed, so that it is there in full or not at all.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from galsim.errors import GalSimValueError
from torch import Tensor
from tqdm import tqdm

from galsim_vae.files import write_whole

from .circumstances import circumstances

__all__ = [
    "SAVE_EVERY",
    "Checkpoint",
    "Collected",
    "RandomState",
    "WorkFolder",
    "digest",
    "read_runs",
]

#: Seconds between checkpoints: as much work as an interruption may cost.
SAVE_EVERY = 240.0


class Stateful(Protocol):
    """Whatever has a state of tensors: a network, an optimiser, `RandomState`, `Collected`."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take a state from `state_dict`."""
        ...


class RandomState:
    """The state of a random generator, as that of a network.

    Parameters
    ----------
    generator : torch.Generator
    """

    def __init__(self, generator: torch.Generator):
        self.generator = generator

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state."""
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Tensor], /) -> None:
        """Take a state from `state_dict`."""
        self.generator.set_state(state_dict["state"])


class Collected:
    """Rows of several tensors that are made part by part.

    Parameters
    ----------
    names : tuple of str
        Of the tensors of a part.
    device : torch.device or str
        Where restored rows are put.
    """

    def __init__(self, names: tuple[str, ...], device: torch.device | str):
        self.names = names
        self.device = device
        self.parts: list[tuple[Tensor, ...]] = []

    def append(self, part: tuple[Tensor, ...]) -> None:
        """Add rows."""
        self.parts.append(part)

    def joined(self) -> tuple[Tensor, ...]:
        """Return all rows of each tensor."""
        whole = tuple(torch.cat(values) for values in zip(*self.parts, strict=True))
        self.parts = [whole]
        return whole

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state."""
        return dict(zip(self.names, self.joined(), strict=True)) if self.parts else {}

    def load_state_dict(self, state_dict: dict[str, Tensor], /) -> None:
        """Take a state from `state_dict`."""
        rows = tuple(value.to(self.device) for value in state_dict.values())
        self.parts = [rows] if rows else []


class Checkpoint:
    """A computation of numbered steps and the file that it goes on from.

    Parameters
    ----------
    path : Path
        The parts are restored from it if it is there.
    settings : dict of str to dict
        All that the result depends on, by section; numbers, text, or tuples of these.
    parts : dict of str to Stateful
        All that the steps change.
    saved : callable, optional
        Called after each time that the file was written.

    Attributes
    ----------
    step : int
        Steps done.
    runs : list of dict
        In what circumstances they were done (`circumstances`), with ``steps`` and ``seconds`` that
        they took there; runs that differ in nothing else are one.

    Raises
    ------
    OSError
        The file is not a checkpoint.
    galsim.GalSimValueError
        It is one of other settings.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Mapping[str, Any]],
        parts: Mapping[str, Stateful],
        saved: Callable[[], None] | None = None,
    ):
        self.path = path
        self.settings = {name: dict(section) for name, section in settings.items()}
        self.parts = parts
        self.saved = saved
        self.step = 0
        self.runs: list[dict[str, Any]] = []
        if path.exists():
            self._restore()

    def steps(self, total: int, label: str) -> tqdm:
        """Return a progress bar over the numbers of the steps that are left.

        A step counts as done when the next one is asked for: then, and after the last, the file
        is written if it is due.
        """
        return tqdm(
            self._steps(total), label, total, initial=min(self.step, total), mininterval=10
        )  # fmt: skip

    def _steps(self, total: int) -> Iterator[int]:
        begun = saved = time.monotonic()
        first, run = self.step, self._run()
        before = dict(run)
        for step in range(first, total):
            yield step
            now = time.monotonic()
            self.step = step + 1
            run["steps"] = before["steps"] + self.step - first
            run["seconds"] = before["seconds"] + now - begun
            if now - saved >= SAVE_EVERY or self.step == total:
                self._save()
                saved = time.monotonic()

    def _run(self) -> dict[str, Any]:
        """Return the entry of `runs` that counts what is done now."""
        now = circumstances()
        same = self.runs and {name: self.runs[-1].get(name) for name in now} == now
        if not same:
            self.runs.append({**now, "steps": 0, "seconds": 0.0})
        return self.runs[-1]

    def _save(self) -> None:
        state = {
            "settings": self.settings,
            "step": self.step,
            "runs": self.runs,
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, lambda temporary: torch.save(state, temporary))
        if self.saved is not None:
            self.saved()

    def _restore(self) -> None:
        state = _read(self.path)
        settings = state["settings"]
        for section, values in self.settings.items():
            theirs = settings.get(section, {})
            for name in sorted(values.keys() | theirs.keys()):
                self._compare(f"{section}.{name}", theirs.get(name), values.get(name))
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        self.step, self.runs = state["step"], state["runs"]

    def _compare(self, name: str, theirs: Any, ours: Any) -> None:
        if theirs != ours:
            raise GalSimValueError(
                f"{self.path} was made with {name} = {theirs}, not {ours}: restore what it was "
                "made with, or give another work folder",
                ours,
            )


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Return `Checkpoint.runs` of a file.

    Raises
    ------
    OSError
        The file is not a checkpoint.
    """
    return _read(path)["runs"]


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        return {name: state[name] for name in ("settings", "step", "runs", "parts")}
    except Exception as error:
        raise OSError(
            f"{path} is not a checkpoint ({error}): delete it to begin again"
        ) from error


class WorkFolder(NamedTuple):
    """A folder of checkpoints that share settings.

    Attributes
    ----------
    path : Path
    settings : dict of str to dict
        As for `Checkpoint`.
    """

    path: Path
    settings: Mapping[str, Mapping[str, Any]]

    def checkpoint(self, name: str, **parts: Stateful) -> Checkpoint:
        """Return the checkpoint of one of the computations."""
        return Checkpoint(self.path / f"{name}.ckpt", self.settings, parts)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of names, types, shapes and values of tensors."""
    found = hashlib.sha256()
    for name, value in tensors.items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        if value.is_complex():
            value = torch.view_as_real(value)
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
