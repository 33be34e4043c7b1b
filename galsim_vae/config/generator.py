"""The input ``vae_generator``: {weights, device, exact, extrapolate}, which network to use.

All keys are optional, and so is the input.

GalSim loads inputs in the parent, which then forks. The input holds settings only; the network is
loaded by each process at its first galaxy, so that the parent has no CUDA context and no torch
threads to lose in the fork.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import galsim
import galsim.config
from astropy.table import QTable
from galsim.errors import GalSimWarning

from galsim_vae.stamps import Stamps

__all__ = ["GeneratorInput", "load_generator"]


class GeneratorInput:
    """The input ``vae_generator``: which network makes the galaxies.

    Parameters
    ----------
    weights : str
        Name of the weights shipped with the package, or a path.
    device : str
        "auto", "cpu", "cuda", ...
    exact : bool
        Correct flux, size and shape to exactly what was asked for.
    extrapolate : bool
        Warn instead of raising where a condition is out of the trained range, and take u filters.
    logger : logging.Logger, optional
        Where warnings go, each kind once; without it they are Python's.
    """

    _opt_params = {"weights": str, "device": str, "exact": bool, "extrapolate": bool}

    def __init__(
        self,
        weights: str = "candels",
        device: str = "auto",
        exact: bool = True,
        extrapolate: bool = False,
        logger: Any = None,
    ):
        self.weights, self.device = weights, device
        self.exact, self.extrapolate = exact, extrapolate
        self._logger = logger
        self._reported: set[str] = set()

    def sample(self, table: QTable | dict[str, Any], rng: galsim.BaseDeviate) -> Stamps:
        """Decode a table of conditions: see `GalaxyGenerator.sample`."""
        alone = isinstance(table, dict) and len(next(iter(table.values()))) == 1
        with _threads(alone), self.warnings_logged():
            generator = load_generator(self.weights, self.device)
            return generator.sample(table, rng, exact=self.exact, extrapolate=self.extrapolate)

    @property
    def settings(self) -> tuple[str, str, bool, bool]:
        """What a galaxy depends on, besides its conditions and its seed."""
        return self.weights, self.device, self.exact, self.extrapolate

    def load(self) -> None:
        """Load the network, where this process has not done so."""
        with _threads(alone=True), self.warnings_logged():
            load_generator(self.weights, self.device)

    def sample_each(self, table: dict[str, Any], seeds: list[int]) -> Stamps:
        """Decode a few rows, each of a seed of its own: see `GalaxyGenerator.sample_each`."""
        with _threads(alone=True):
            generator = load_generator(self.weights, self.device)
            return generator.sample_each(
                table, seeds, exact=self.exact, extrapolate=self.extrapolate
            )

    def sample_conditions(self, n: int, rng: galsim.BaseDeviate, first: int = 0) -> QTable:
        """Draw conditions from the population, see `GalaxyGenerator.sample_conditions`."""
        with _threads(alone=False):
            return load_generator(self.weights, self.device).sample_conditions(n, rng, first)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Trained range of each condition, see `GalaxyGenerator.ranges`."""
        with _threads(alone=False), self.warnings_logged():
            return load_generator(self.weights, self.device).ranges

    def on_gpu(self) -> bool:
        """Return whether galaxies are decoded on a GPU, which one process may use."""
        with _threads(alone=False):
            from galsim_vae.devices import find_device

            return find_device(self.device).type == "cuda"

    @contextlib.contextmanager
    def warnings_logged(self) -> Iterator[None]:
        """Send GalSim's warnings to the log, each kind once: ``galsim -v 0`` shows none."""
        if not self._logger:
            yield
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", GalSimWarning)
            yield
        for found in caught:
            if not issubclass(found.category, GalSimWarning):
                warnings.warn_explicit(
                    found.message, found.category, found.filename, found.lineno
                )
                continue
            kind = re.sub(r"[\d.]+", "", str(found.message))
            if kind not in self._reported:
                self._reported.add(kind)
                self._logger.warning("%s", found.message)


@functools.lru_cache(maxsize=4)
def load_generator(weights: str, device: str) -> Any:
    """Load a generator, once a process. torch is first imported here."""
    from galsim_vae.generator import GalaxyGenerator

    return GalaxyGenerator(weights, device=device)


@contextlib.contextmanager
def _threads(alone: bool) -> Iterator[None]:
    """One torch thread for a single galaxy, and always in a worker process.

    More would not be faster; workers share the cores; and a forked process does not have the
    threads that its parent's pool knows of: it would wait for them for ever, in the first torch
    operation that is large enough to be shared, be it in making the network or in running it.
    """
    if "torch" not in sys.modules or (not alone and multiprocessing.parent_process() is None):
        yield
        return
    from galsim_vae.devices import one_thread

    with one_thread():
        yield


galsim.config.RegisterInputType(
    "vae_generator",
    galsim.config.InputLoader(GeneratorInput, takes_logger=True, use_proxy=False),
)
