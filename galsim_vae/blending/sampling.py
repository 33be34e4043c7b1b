"""BlendingToolKit's samplers, made reproducible, and with errors that say what to do."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from btk.blend_generator import BlendGenerator
from galsim.errors import GalSimError, GalSimRangeError

from galsim_vae.filters import survey_filters

from .catalog import VAECatalog

__all__ = ["BlendSampler", "seeds"]

# What NumPy says where a sampler's cuts leave nothing: of a choice, and of a maximum.
_NOTHING = ("cannot be empty", "zero-size array")


def seeds(seed, number: int, *purpose: str | int) -> np.random.SeedSequence:
    """Random numbers of one blend for one purpose: they depend on nothing else.

    Parameters
    ----------
    seed : int
    number : int
        Of the blend, counted from the first of the first batch.
    *purpose : str or int
        What they are for.
    """
    key = (zlib.crc32(word.encode()) if isinstance(word, str) else word for word in purpose)
    return np.random.SeedSequence(seed, spawn_key=(number, *key))


class BlendSampler(BlendGenerator):
    """Calls a sampler: see the module.

    Parameters
    ----------
    catalog : VAECatalog
        The galaxies.
    sampling_function : btk.sampling_functions.SamplingFunction
        As in BTK.
    batch_size : int
        Blends in a batch.
    verbose : bool
        As in BTK.
    seed : int
        Of what the sampler leaves to NumPy's global random state.

    Attributes
    ----------
    number : int
        Of the next blend. One for which the sampler fails has a number too, so that another try
        is another blend.
    """

    def __init__(self, catalog: VAECatalog, sampling_function, batch_size, verbose, seed):
        super().__init__(catalog, sampling_function, batch_size, verbose)
        self._seed, self.number = seed, 0
        columns = catalog.table.columns
        # A sampler may choose by them, but twoscore more columns would slow down every blend.
        self._dropped = {f"{survey}_{name}" for survey, name in survey_filters()}
        self._table = _SamplerTable({name: np.asarray(column) for name, column in columns.items()})
        for name in ("ra", "dec"):
            self._table[name] /= 3600

    def __next__(self) -> list[Table]:
        return [self._sample() for _ in range(self.batch_size)]

    def _sample(self) -> Table:
        name = type(self.sampling_function).__name__
        seed = seeds(self._seed, self.number, "sampling", *self._own_seed())
        self.number += 1
        with _global_random(seed):
            try:
                blend = self.sampling_function(self._table)
            except ValueError as error:
                if not any(text in str(error) for text in _NOTHING):
                    raise
                raise GalSimError(
                    f"{name} found no galaxy to choose from among {len(self._table)}. Widen its "
                    "magnitude cuts, or make a larger catalogue"
                ) from error
        if not self.min_number <= len(blend) <= self.max_number:
            raise GalSimRangeError(
                f"Blend of {name} has too many or too few galaxies: change its stamp_size, "
                "min_number or max_number. The number is",
                len(blend),
                self.min_number,
                self.max_number,
            )
        return Table([blend[name] for name in blend.colnames if name not in self._dropped])

    def _own_seed(self) -> tuple[int, ...]:
        """The sampler's own seed: samplers with other seeds draw other galaxies."""
        rng = getattr(self.sampling_function, "rng", None)
        if not isinstance(rng, np.random.Generator):
            return ()
        entropy = getattr(rng.bit_generator.seed_seq, "entropy", None)
        return (entropy,) if isinstance(entropy, int) else ()


@contextlib.contextmanager
def _global_random(seed: np.random.SeedSequence) -> Iterator[None]:
    """Seed NumPy's global random state, for BTK's samplers that use it, and put it back."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed.generate_state(4))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


class _SamplerTable(Table):
    """A table for samplers.

    `FriendsOfFriendsSampling` needs pandas, which BTK does not require. It is not used for it where
    it is installed either: pandas puts groups of one size in another order, so that the blends
    would depend on whether it is there.
    """

    def to_pandas(self, *args, **kwargs):
        """As astropy's; for that sampler, a dict of what it asks for."""
        if "friends_of_friends_id" not in self.colnames:
            return super().to_pandas(*args, **kwargs)
        return {name: _Column(np.asarray(column)) for name, column in self.columns.items()}


class _Column(NamedTuple):
    """The one thing that is asked of a `pandas.Series`."""

    values: np.ndarray

    def value_counts(self) -> _Counts:
        """How often each value is there: the most frequent first, then the first seen."""
        found, first, count = np.unique(self.values, return_index=True, return_counts=True)
        order = np.lexsort([first, -count])
        return _Counts(count[order], found[order])


class _Counts:
    def __init__(self, counts: np.ndarray, index: np.ndarray):
        self.counts, self.index = counts, index

    def __ge__(self, number: int) -> np.ndarray:
        return self.counts >= number

    def __le__(self, number: int) -> np.ndarray:
        return self.counts <= number

    def __getitem__(self, keep: np.ndarray) -> _Counts:
        return _Counts(self.counts[keep], self.index[keep])
