"""The comparison of Lanusse et al. (2021, MNRAS 504, 5543), done in their way, beside theirs.

They draw COSMOS galaxies and generated ones of the same magnitude and radius through the same PSF
and with the same noise, and compare the adaptive moments that ``galsim.hsm`` finds in both. Here
the held-out galaxies take the place of COSMOS. docs/realism.md says where each figure is from.
"""

from collections.abc import Callable
from typing import NamedTuple

import galsim
import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.conditions import NAMES
from galsim_vae.train.statistics import bootstrap_error

from .features import FEATURES
from .observables import Observing
from .rows import Estimate

__all__ = ["SAMPLES", "Line", "adaptive", "against", "as_table"]

SAMPLES = ("model", "free")
_FEWEST = 20  # galaxies that make a bin
_SIZE = FEATURES.index("size")
_G, _SIGMA, _RHO4, _FLUX, _RADIUS, _MAGNITUDE = range(6)  # of `_columns`


def _less(reference: NDArray, other: NDArray) -> float:
    return float(other.mean() - reference.mean())


def _over(reference: NDArray, other: NDArray) -> float:
    return float(other.mean() / reference.mean() - 1)


def _median_over(reference: NDArray, other: NDArray) -> float:
    return float(np.median(other / reference) - 1)


def _median_less(reference: NDArray, other: NDArray) -> float:
    return float(np.nanmedian(other - reference))


class _Figure(NamedTuple):
    """A figure of theirs: what it is of, how it is found, for which asked values, and its value."""

    quantity: str
    column: int
    statistic: Callable[[NDArray, NDArray], float]
    theirs: float
    asked: str = ""
    low: float = -np.inf
    high: float = np.inf


_MEANS = (
    _Figure("mean abs(g), less held-out's", _G, _less, 0.0097),
    _Figure("mean sigma over held-out's, less 1", _SIGMA, _over, 0.007),
    _Figure("mean half-light radius over held-out's, less 1", _RADIUS, _over, 0.007),
    _Figure("mean rho4, less held-out's", _RHO4, _less, -0.05),
)
_BINNED = (
    *(
        _Figure("mean rho4, less held-out's", _RHO4, _less, -0.05, "magnitude", low, high)
        for low, high in ((20.0, 22.0), (22.0, 23.5), (23.5, 24.5), (24.5, 25.2))
    ),
    *(
        _Figure("median sigma over held-out's, less 1", _SIGMA, _median_over, theirs,
                "half_light_radius", low, high)
        for low, high, theirs in (
            (0.1, 0.13, 0.14), (0.13, 0.17, 0.03), (0.17, 0.22, 0.03), (0.22, 0.3, 0.03)
        )
    ),
    _Figure("median flux over held-out's, less 1", _FLUX, _median_over, 0.08,
            "magnitude", 24.8, 25.2),
    _Figure("median magnitude on the sky, less asked", _MAGNITUDE, _median_less, 0.08,
            "magnitude", 24.8, 25.2),
)  # fmt: skip


class Line(NamedTuple):
    """One of their figures, the same of the samples, and the bin of the asked value."""

    quantity: str
    asked: str
    low: float
    high: float
    galaxies: int
    theirs: float
    found: dict[str, Estimate]

    def better(self, sample: str) -> str:
        """Whether a sample is nearer to none than theirs: yes, no, or unclear if by < 2 errors."""
        value, error = self.found[sample]
        if abs(value) >= abs(self.theirs):
            return "no"
        return "yes" if abs(value) + 2 * error < abs(self.theirs) else "unclear"


def adaptive(image: Tensor, observing: Observing) -> NDArray:
    """Adaptive moments by ``galsim.hsm`` of observed stamps, as Lanusse et al. measure theirs.

    Returns
    -------
    array (n, 4)
        |g|; sigma times the pixel scale; rho4; the flux of the matched Gaussian. NaN where HSM
        fails.
    """
    rows = torch.arange(len(image))
    stamps, masks = image[rows, observing.band].numpy(), observing.mask[rows, observing.band]
    weights = masks.numpy().astype(np.int32)
    values = np.full((len(stamps), 4), np.nan)
    for k, scale in enumerate(observing.pixel_scale.tolist()):
        found = galsim.hsm.FindAdaptiveMom(
            galsim.Image(stamps[k]), weight=galsim.Image(weights[k]), strict=False
        )
        if not found.error_message:
            g = found.observed_shape.g
            values[k] = g, found.moments_sigma * scale, found.moments_rho4, found.moments_amp
    return values


def against(measured: dict[str, NDArray], seed: int) -> list[Line]:
    """Compare the samples as they compare theirs, bin by bin.

    Of real galaxies, whose magnitudes are not asked for and whose true sizes are not known, means
    over all galaxies only.

    Parameters
    ----------
    measured : dict of str to ndarray
        Arrays of `compare`, joined.
    seed : int
        Of bootstraps.
    """
    names = ("held_out", *SAMPLES)
    values = {name: _columns(measured, name) for name in names}
    known = np.isfinite(np.hstack([v[:, :_MAGNITUDE] for v in values.values()])).all(1)
    values = {name: v[known] for name, v in values.items()}
    conditions = measured["conditions"][known]
    random = np.random.default_rng(seed)
    lines = []
    for figure in (*_MEANS, *_BINNED) if "fluxes/held_out" in measured else _MEANS:
        asked = conditions[:, NAMES.index(figure.asked)] if figure.asked else np.zeros(known.sum())
        rows = (asked >= figure.low) & (asked < figure.high)
        if rows.sum() < _FEWEST:
            continue
        reference, *others = (values[name][rows, figure.column] for name in names)
        found = {
            name: _estimate(figure.statistic, reference, other, random)
            for name, other in zip(SAMPLES, others, strict=True)
        }
        lines.append(
            Line(
                figure.quantity, figure.asked, figure.low, figure.high, int(rows.sum()),
                figure.theirs, found,
            )
        )  # fmt: skip
    return lines


def _columns(measured: dict[str, NDArray], name: str) -> NDArray:
    """`adaptive`, the half-light radius, and the magnitude asked for or on the sky: (n, 6)."""
    if name == "held_out":
        magnitude = measured["conditions"][:, NAMES.index("magnitude")]
    else:
        magnitude = measured[f"sky/{name}"][:, 2]
    radius = measured[f"features/{name}"][:, _SIZE]
    return np.column_stack([measured[f"adaptive/{name}"], radius, magnitude])


def _estimate(statistic, reference: NDArray, other: NDArray, random) -> Estimate:
    error = bootstrap_error(statistic, reference, other, random=random)
    return Estimate(statistic(reference, other), float(error))


def as_table(lines: list[Line]) -> Table:
    """One line a figure of theirs, with the samples' and whether these are better."""
    table = Table()
    for name in ("quantity", "asked", "low", "high", "galaxies", "theirs"):
        table[name] = [getattr(line, name) for line in lines]
    for sample in SAMPLES:
        table[sample] = [line.found[sample].value for line in lines]
        table[f"{sample}_error"] = [line.found[sample].error for line in lines]
        table[f"{sample}_better"] = [line.better(sample) for line in lines]
    return table
