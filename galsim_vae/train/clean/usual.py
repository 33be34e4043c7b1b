"""What is usual of a measure in a set of galaxies, and how odd a value of it is."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

__all__ = ["Usual"]

# Tail probabilities are counted down to TAIL and follow an exponential beyond; its scale is taken
# between TAIL and CLEAN_TAIL, as the last few per cent may be artefacts.
TAIL, CLEAN_TAIL = 0.2, 0.05
# A floor for sets without a tail, small beside the scales of real sets (0.08 and more).
MIN_SCALE = 0.01
# A source's own level counts as much as that of the whole set where it has so many galaxies.
OWN = 5


@dataclass(frozen=True)
class Usual:
    """What is usual of one measure in a set of galaxies.

    Attributes
    ----------
    level, slope : float
        Of a line in ln(signal-to-noise), within `limits` of it.
    offsets : dict of str to float
        By source, what its galaxies have over that line: spirals that a survey was searched for
        have more of what a model smooths than the galaxies of a field.
    excess : ndarray (n,)
        Sorted, of the set over line and offset.
    threshold, scale : float
        Of the exponential tail beyond probability `TAIL`.
    """

    level: float
    slope: float
    limits: tuple[float, float]
    offsets: dict[str, float]
    excess: NDArray
    threshold: float
    scale: float

    @classmethod
    def of(cls, value: NDArray, signal_to_noise: NDArray, source: NDArray) -> "Usual":
        """Fit a robust line and the tail above it; both bear some per cent of artefacts."""
        x = np.log(signal_to_noise)
        limits = (float(np.percentile(x, 5)), float(np.percentile(x, 95)))
        x = np.clip(x, *limits)
        middle = float(np.median(value))
        spread = 1.4826 * float(np.median(np.abs(value - middle))) + 1e-12
        level, slope = optimize.least_squares(
            lambda p: (value - p[0] - p[1] * x) / spread, (middle, 0.0), loss="soft_l1"
        ).x
        excess = value - level - slope * x
        offsets = {}
        for name in np.unique(source):
            own = excess[source == name]
            offsets[str(name)] = float(np.median(own)) * len(own) / (len(own) + OWN)
        excess = np.sort(excess - [offsets[str(name)] for name in source])
        threshold = float(np.percentile(excess, 100 * (1 - TAIL)))
        # Not the mean of the tail: artefacts are in it.
        last = float(np.percentile(excess, 100 * (1 - CLEAN_TAIL)))
        scale = (last - threshold) / math.log(TAIL / CLEAN_TAIL)
        tail = (threshold, max(scale, MIN_SCALE))
        return cls(float(level), float(slope), limits, offsets, excess, *tail)

    def oddness(self, value: NDArray, signal_to_noise: NDArray, source: NDArray) -> NDArray:
        """Return -log10 of the probability that a galaxy has as much of this measure or more."""
        excess = value - self.level - self.slope * np.clip(np.log(signal_to_noise), *self.limits)
        excess = excess - [self.offsets.get(str(name), 0.0) for name in source]
        above = 1 - np.searchsorted(self.excess, excess, side="left") / len(self.excess)
        inside = -np.log(np.maximum(above, TAIL))
        tail = -math.log(TAIL) + (excess - self.threshold) / self.scale
        return np.where(excess > self.threshold, tail, inside) / math.log(10)
