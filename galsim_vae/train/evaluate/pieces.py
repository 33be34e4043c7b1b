"""The comparison with real held-out galaxies of a training file."""

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE
from galsim_vae.conditions import NAMES
from galsim_vae.train.training_file import Dataset

from . import frame
from .compare import FEWEST, PIECE, Context, Task, compare, seeded
from .observables import Observing, features

__all__ = ["real_pieces"]

logger = logging.getLogger(__name__)

# White noise added to the real galaxies, in units of their own: what remains of its correlation,
# which generated galaxies do not have, is a quarter of the variance.
_ADDED = 3**0.5


def _conditions(data: Dataset) -> NDArray:
    """Conditions (n, 4) as `evaluate_sets.compare` takes them; NaN where not known."""
    columns = {"half_light_radius": data.half_light_radius, "g": data.g}
    columns |= {"magnitude": data.magnitude, "redshift": data.redshift}
    return np.stack([columns[name] for name in NAMES], 1).astype(float)


def _usable(conditions: NDArray, ranges: dict[str, tuple[float, float]]) -> NDArray:
    """Galaxies whose known conditions can be asked for."""
    low, high = np.array([ranges[name] for name in NAMES]).T
    with np.errstate(invalid="ignore"):
        outside = (conditions < low) | (conditions > high)
    return ~outside.any(1) & np.isfinite(conditions[:, NAMES.index("g")])


def _observe(data: Dataset, random: torch.Generator) -> tuple[Tensor, Observing]:
    """Images with more noise, flux 1 in the band of structure, and how they were observed.

    Structure is measured in F814W, or else in the band of highest signal-to-noise ratio. Sizes
    are in units of the observed half-light radius: many of these galaxies are not at the distance
    of those that the generator draws.
    """
    image, psf, noise = (
        torch.from_numpy(np.ascontiguousarray(v)).float()
        for v in (data.image, data.psf, data.noise)
    )
    mask = torch.from_numpy(np.ascontiguousarray(data.mask))
    flux = (image * mask).sum((2, 3))
    ratio = flux / (noise * mask.sum((2, 3)).sqrt()).clamp_min(1e-9 * flux.abs().amax())
    observed = mask.flatten(2).any(2)
    band = torch.where(observed, ratio, -torch.inf).argmax(1)
    reference = BANDS.index(REFERENCE)
    band = torch.where(observed[:, reference], reference, band)
    unit = flux.gather(1, band[:, None])
    image, noise = image / unit[:, :, None, None], noise / unit
    image = frame.add_noise(image, _ADDED * noise, random) * mask
    margin = (frame.PADDED - STAMP_SIZE) // 2
    centred = torch.nn.functional.pad(psf, (margin,) * 4)
    otf = torch.fft.rfft2(torch.fft.ifftshift(centred, dim=(-2, -1)))
    scale = torch.full((len(image),), 1 / HALF_LIGHT_PIXELS)
    total = noise * (1 + _ADDED**2) ** 0.5
    return image, Observing(otf, total, mask, band, scale)


def real_pieces(data: Dataset, context: Context, seed: int) -> list[dict[str, NDArray]]:
    """Compare all held-out galaxies of a training file; the results as `compare` gives them.

    Raises
    ------
    ValueError : the file has too few held-out galaxies that can be asked for.
    """
    rows = np.flatnonzero(data.valid)
    conditions = _conditions(data)
    rows = rows[_usable(conditions[rows], context.generator.ranges)]
    logger.info("%d of %d real held-out galaxies can be asked for", len(rows), data.valid.sum())
    if len(rows) < FEWEST:
        raise ValueError(
            f"The training file has {len(rows)} held-out galaxies within the ranges of the weights "
            f"and should have {FEWEST} or more: give another file, or leave data= out"
        )
    pieces = []
    for number, part in enumerate(np.split(rows, range(PIECE, len(rows), PIECE))):
        random = seeded(seed, number, 1)
        seen, observing = _observe(data[part], random)
        task = Task(number, seed, size=len(part))
        pieces.append(compare(task, context, conditions[part], None, seen, observing, random))
    training = np.flatnonzero(~data.valid)
    random = seeded(seed, 2)
    parts = np.split(training, range(PIECE, len(training), PIECE))
    known = np.concatenate([features(*_observe(data[part], random)) for part in parts])
    pieces[0]["features/training"] = known
    return pieces
