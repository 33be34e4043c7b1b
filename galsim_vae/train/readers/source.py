"""What a reader of survey data gives: sources, one a galaxy, in chunks."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from galsim_vae.frame.observation import Observation
from galsim_vae.train.failures import failure

__all__ = ["Reader", "Source", "guarded"]


@dataclass
class Source:
    """One galaxy as a reader found it, with what its catalogue says (NaN where nothing).

    Attributes
    ----------
    name : str
        Of the reader.
    index : int
        Row in the reader's catalogue, the same in every run.
    observation : Observation, optional
        Stamps, PSFs, noise; None where `reason` says why there are none.
    filters : dict
        Band name to the survey's filter that stands for it.
    magnitude : float
        AB in F814W.
    sized : bool
        Its size on the sky is that of a distant galaxy (not so for nearby ones that enter as
        structure).
    segment_only : bool
        Only the galaxy's own segment is usable, so that what is masked around it does not tell of
        neighbours.
    identifier : str
        Of the survey.
    catalogue : dict of str to float
        Further columns of the survey's catalogue.
    zeropoint : float
        AB, of the observation's flux unit; it gives the magnitude where none is known.
    reason : str
        Why the reader itself rejects it, or ''.
    """

    name: str
    index: int
    observation: Observation | None
    filters: dict[str, str] = field(default_factory=dict)
    magnitude: float = math.nan
    redshift: float = math.nan
    zeropoint: float = math.nan
    sized: bool = True
    segment_only: bool = False
    identifier: str = ""
    catalogue: dict[str, float] = field(default_factory=dict)
    reason: str = ""


class Reader(Protocol):
    """A set of galaxies, read in chunks that do not depend on each other.

    Attributes
    ----------
    name : str
        Of the set, as the training file calls it.
    filters : dict
        The survey's filters to the bands they stand for.
    provenance : str
        Where the data come from, and their licence.
    """

    name: str
    filters: dict[str, str]
    provenance: str

    def check(self) -> None:
        """Look at all input without working on it.

        Raises
        ------
        galsim.GalSimError
            Something is missing or wrong; the message names it.
        """
        ...

    def __len__(self) -> int:
        """Count the chunks."""
        ...

    def read(self, chunk: int) -> Iterator[Source]:
        """Read the galaxies of one chunk."""
        ...


def guarded(name: str, index: int, make: Callable[[], Source]) -> Source:
    """Return what `make` makes, or a source that says why that failed; see `failures.failure`."""
    try:
        return make()
    except Exception as error:
        return Source(name, index, None, identifier=str(index), reason=failure(error))
