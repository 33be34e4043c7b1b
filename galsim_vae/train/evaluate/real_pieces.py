"""Held-out galaxies of a training file, compared in pieces of a fixed size."""

import logging
from typing import NamedTuple

import galsim
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE
from galsim_vae.conditions import NAMES
from galsim_vae.train.fit.batch import AS_STATED, Batch
from galsim_vae.train.seeds import seeded
from galsim_vae.train.training_file import Dataset

from . import frame, shear_samples
from .compare import HeldOut, InFrame, compare
from .noise import OWN, add_noise
from .observables import Observing, observed_features
from .pieces import PIECE
from .samples import Context, as_fitted, sersic_fits
from .space import from_space
from .upright import upright

__all__ = ["FEWEST", "RealTask", "askable", "conditions_of", "known_features", "observe",
           "real_piece", "real_tasks"]  # fmt: skip

logger = logging.getLogger(__name__)

FEWEST = 24  # held-out galaxies that can be compared: half of them must have ten neighbours
_REFERENCE = BANDS.index(REFERENCE)
# White noise added to the real galaxies, in units of their own, of which it leaves the share OWN:
# how their own is correlated is known roughly.
_ADDED = (1 / OWN - 1) ** 0.5
_PIECE = 40  # galaxies a piece, of which many draws are sheared


class RealTask(NamedTuple):
    """What is to be done for a piece of real galaxies: its rows, and draws that are sheared."""

    number: int
    seed: int
    rows: tuple[int, ...]
    draws: int = 0


def askable(data: Dataset, ranges: dict[str, tuple[float, float]]) -> NDArray:
    """Return the rows of held-out galaxies that can be compared; log how many cannot, and why.

    Parameters
    ----------
    data : Dataset
    ranges : dict
        Of the weights' conditions.

    Raises
    ------
    galsim.GalSimRangeError
        Fewer than `FEWEST` galaxies.
    """
    rows = np.flatnonzero(data.valid)
    conditions = conditions_of(data[rows])
    low, high = np.array([ranges[name] for name in NAMES]).T
    with np.errstate(invalid="ignore"):
        outside = ((conditions < low) | (conditions > high)).any(1)
    band = np.arange(len(rows)), _band(data[rows])
    flux = _fluxes(data[rows])[band]
    reasons = {
        "were not seen by HST, JWST or Euclid VIS": ~from_space(data.filters[rows][band]),
        "have conditions outside the weights' ranges": outside,
        "have no ellipticity": ~np.isfinite(conditions[:, NAMES.index("g")]),
        "have no flux in their band of structure": ~(flux > 0),
    }
    for reason, rejected in reasons.items():
        if np.any(rejected):
            logger.warning(
                "%d of %d real held-out galaxies are not compared: they %s",
                rejected.sum(), len(rows), reason,
            )  # fmt: skip
    good = rows[~np.any(list(reasons.values()), axis=0)]
    if len(good) < FEWEST:
        raise galsim.GalSimRangeError(
            "Too few held-out galaxies in the training file were seen from space and are within "
            "the ranges of the weights: give another file, or leave data= out",
            len(good),
            FEWEST,
        )
    return good


def real_tasks(rows: NDArray, seed: int, draws: int) -> list[RealTask]:
    """Return the pieces of galaxies of a training file.

    Parameters
    ----------
    rows : array of int
        As `askable` gives them.
    seed : int
    draws : int
        Of each galaxy, for the shear response.
    """
    parts = [rows[i : i + _PIECE] for i in range(0, len(rows), _PIECE)]
    return [RealTask(k, seed, tuple(part.tolist()), draws) for k, part in enumerate(parts)]


def real_piece(task: RealTask, data: Dataset, context: Context) -> dict[str, NDArray]:
    """Compare held-out galaxies of a training file, as `compare` does.

    Parameters
    ----------
    task : RealTask
        All that the piece depends on.
    data : Dataset
    context : Context

    Returns
    -------
    dict of array
        Those of `compare` and of `shear_samples.real`.
    """
    random = seeded(task.seed, task.number, 1)
    galaxies = _held_out(data[np.array(task.rows)], context, random)
    ids = task.number * _PIECE + np.arange(len(task.rows))
    result = compare(galaxies, ids, context, random)
    if task.draws:
        result |= shear_samples.real(galaxies, ids, context, random, task.draws)
    return result


def known_features(data: Dataset, seed: int) -> NDArray | None:
    """Return the features of the training galaxies of a file, None if there are none.

    Parameters
    ----------
    data : Dataset
    seed : int
        Of the noise that is added.
    """
    training, random = np.flatnonzero(~data.valid), seeded(seed, 2)
    parts = [training[i : i + PIECE] for i in range(0, len(training), PIECE)]
    bar = tqdm(parts, desc="training galaxies", unit="piece")
    found = [observed_features(*observe(upright(data[part]), random)) for part in bar]
    return np.concatenate(found) if found else None


def _held_out(data: Dataset, context: Context, random: torch.Generator) -> HeldOut:
    """Galaxies of a training file in the frame of comparison, and that of the networks."""
    seen, observing = observe(upright(data), random)
    framed = None
    if data.frame == context.frame:
        taken = torch.from_numpy(data.frame_g).float()
        framed = InFrame(*observe(data, random), taken, noisy=True)
    arcsec = torch.from_numpy(data.pixel_scale).float()
    fits = sersic_fits(seen, observing)
    asked, place = as_fitted(fits, observing, conditions_of(data), context.generator.ranges)
    return HeldOut(asked, seen, observing, framed=framed, fits=fits, place=place, arcsec=arcsec)


def conditions_of(data: Dataset) -> NDArray:
    """Return conditions (n, 4) as `compare` takes them; NaN where not known."""
    columns = {"half_light_radius": data.half_light_radius, "g": data.g}
    columns |= {"magnitude": data.magnitude, "redshift": data.redshift}
    return np.stack([columns[name] for name in NAMES], 1).astype(float)


def _fluxes(data: Dataset) -> NDArray:
    """Flux of the pixels that are usable, (n, bands)."""
    return np.einsum("nbyx,nbyx->nb", data.image, data.mask, dtype=np.float64)


def _band(data: Dataset) -> NDArray:
    """The band that structure is measured in: F814W, or else that of most signal to noise, (n,)."""
    observed, flux = np.any(data.mask, axis=(2, 3)), _fluxes(data)
    noise = data.noise * np.sqrt(data.mask.sum((2, 3)))
    ratio = flux / np.maximum(noise, 1e-9 * np.abs(flux).max(initial=1e-30))
    best = np.where(observed, ratio, -np.inf).argmax(1)
    return np.where(observed[:, _REFERENCE], _REFERENCE, best).astype(np.int64)


def observe(data: Dataset, random: torch.Generator) -> tuple[Tensor, Observing]:
    """Return images with more noise, flux 1 in the band of structure, and how they were observed.

    Sizes are in units of the observed half-light radius: many of these galaxies are not at the
    distance of those that the generator draws.
    """
    galaxies = Batch.from_training_file(data, AS_STATED)
    image, noise, mask = galaxies.image, galaxies.noise, galaxies.mask
    band = torch.from_numpy(_band(data))
    unit = image.sum((2, 3)).gather(1, band[:, None])
    image, noise = image / unit[:, :, None, None], noise / unit
    image = add_noise(image, _ADDED * noise, None, random) * mask
    margin = (frame.PADDED - STAMP_SIZE) // 2
    psf = torch.from_numpy(np.ascontiguousarray(data.psf))
    centred = torch.nn.functional.pad(psf, (margin,) * 4)
    otf = torch.fft.rfft2(torch.fft.ifftshift(centred, dim=(-2, -1)))
    scale = torch.full((len(image),), 1 / HALF_LIGHT_PIXELS)
    total = noise * (1 + _ADDED**2) ** 0.5
    area = torch.from_numpy(data.noise_area).float()
    return image, Observing(otf, total, mask, band, scale, area)
