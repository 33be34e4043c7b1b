"""Held-out galaxies of both kinds, synthetic and real, compared in pieces of a fixed size.

A piece is a function of its number and the seed alone, so that pieces can be made in any order, and
kept.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import galsim
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE
from galsim_vae.conditions import NAMES
from galsim_vae.files import write_whole
from galsim_vae.frame.frames import UPRIGHT
from galsim_vae.train.fit.autoencoder import Sources
from galsim_vae.train.fit.batch import AS_STATED, Batch
from galsim_vae.train.synthetic import galaxies as synthetic
from galsim_vae.train.synthetic import population
from galsim_vae.train.training_file import Dataset, check_frame

from . import frame
from .compare import Context, HeldOut, compare
from .observables import Observing, observed_features

__all__ = ["FEWEST", "LIMITS", "PIECE", "Task", "askable", "join", "read_piece", "real_pieces",
           "synthetic_piece", "write_piece"]  # fmt: skip

logger = logging.getLogger(__name__)

PIECE = 250  # galaxies a piece
FEWEST = 24  # held-out galaxies that can be compared: half of them must have ten neighbours
#: Conditions of synthetic held-out galaxies: F814W as in Lanusse et al. 2020, sizes as calibrated.
LIMITS = {"magnitude": (18.0, 25.2), "half_light_radius": (0.1, 3.0)}
_REFERENCE = BANDS.index(REFERENCE)
_SPARE = 1.06  # galaxies made for one that is kept
# White noise added to the real galaxies, in units of their own: what remains of its correlation,
# which generated galaxies do not have, is a quarter of the variance.
_ADDED = 3**0.5


class Task(NamedTuple):
    """What is to be done for a piece: its number, the seed, and which extras are wanted."""

    number: int
    seed: int
    baselines: bool = True
    images: bool = True
    size: int = PIECE


def _seeded(*numbers: int) -> torch.Generator:
    """Random numbers of their own for each tuple of numbers.

    Training seeds are small integers used as they are, these are hashes: none is the same.
    """
    state = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return torch.Generator().manual_seed((int(state[0]) << 31) | int(state[1]))


# -- synthetic galaxies --------------------------------------------------------------------------


def synthetic_piece(task: Task, context: Context) -> dict[str, NDArray]:
    """Return a piece of the synthetic comparison, as `compare` does.

    Parameters
    ----------
    task : Task
        All that the piece depends on.
    context : Context
    """
    random = _seeded(task.seed, task.number)
    galaxies = _synthetic(task.size, context, random)
    ids = task.number * PIECE + np.arange(task.size)
    result = compare(galaxies, ids, context, random, task.baselines, task.images)
    if task.baselines:
        others = _synthetic(task.size, context, random)
        result["features/training"] = observed_features(others.seen, others.observing)
    return result


def _synthetic(n: int, context: Context, random: torch.Generator) -> HeldOut:
    """Synthetic galaxies that exactly have their conditions, through HST's PSFs."""
    stamps, framed, conditions = _canonical(
        n, context.sources, context.generator.ranges, random
    )
    observing = _candels(conditions, context.sources)
    seen = frame.add_noise(frame.see(stamps, observing.otf), observing.noise, random)
    return HeldOut(conditions.double().numpy(), seen, observing, stamps, framed)


def _canonical(n: int, sources: Sources, ranges: dict, generator: torch.Generator):
    """Stamps of synthetic galaxies as they are compared, and in the frame of the networks.

    And their conditions (n, 4), as measured.
    """
    conditions = _within(int(_SPARE * n) + 4, generator)
    stamps = synthetic.sample(
        conditions, generator, sources.colours, frame=sources.frame
    ).stamps
    measured = frame.truth(stamps)
    radius = synthetic.canonical_pixel_scale(conditions) * measured.radius
    taken = sources.frame.shear(conditions[:, 2])
    g = frame.on_sky(measured, taken).abs()
    table = torch.stack((conditions[:, 0], radius, g, conditions[:, 3]), 1)
    low, high = torch.tensor([ranges[name] for name in NAMES]).T
    good = measured.good & ((table > low) & (table < high)).all(1)
    rows = good.nonzero()[:n, 0]
    if len(rows) < n:
        raise RuntimeError(f"only {len(rows)} of {n} synthetic galaxies could be measured")
    stamps, taken, table = stamps[rows], taken[rows], table[rows]
    measured = frame.Truth(*(v[rows] for v in measured))
    whole = frame.canonical(stamps, measured, taken)
    framed = frame.canonical(stamps, measured, taken, sources.frame.shear(table[:, 2]))
    return whole, framed, table


def _within(n: int, generator: torch.Generator) -> Tensor:
    """Population conditions inside `LIMITS`, (n, 4) as `population.sample` gives them."""
    found, count = [], 0
    while count < n:
        drawn = population.sample(4 * n, generator)
        keep = torch.ones(len(drawn), dtype=torch.bool)
        for column, (low, high) in zip((0, 1), LIMITS.values(), strict=True):
            keep &= (drawn[:, column] >= low) & (drawn[:, column] <= high)
        found.append(drawn[keep])
        count += int(keep.sum())
    return torch.cat(found)[:n]


def _candels(conditions: Tensor, sources: Sources) -> Observing:
    """Through HST's PSFs, at CANDELS' depth, all bands and pixels."""
    n = len(conditions)
    scale = (conditions[:, 1] / HALF_LIGHT_PIXELS).float()
    mask = torch.ones(n, len(BANDS), STAMP_SIZE, STAMP_SIZE, dtype=torch.bool)
    band = torch.full((n,), _REFERENCE)
    otf = sources.psfs.canonical(scale, frame.PADDED)
    return Observing(otf, frame.candels_noise(conditions[:, 0], scale), mask, band, scale)


# -- real galaxies -------------------------------------------------------------------------------


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
    galsim.GalSimValueError
        The galaxies are not in the upright frame, in which they are compared.
    """
    check_frame(data, UPRIGHT)
    rows = np.flatnonzero(data.valid)
    conditions = _conditions(data[rows])
    low, high = np.array([ranges[name] for name in NAMES]).T
    with np.errstate(invalid="ignore"):
        outside = ((conditions < low) | (conditions > high)).any(1)
    flux = _fluxes(data[rows])[np.arange(len(rows)), _band(data[rows])]
    reasons = {
        "have conditions outside the weights' ranges": outside,
        "have no ellipticity": ~np.isfinite(conditions[:, NAMES.index("g")]),
        "have no flux in their band of structure": ~(flux > 0),
    }
    for reason, rejected in reasons.items():
        if np.any(rejected):
            logger.info("%d of %d real held-out galaxies %s", rejected.sum(), len(rows), reason)
    good = rows[~np.any(list(reasons.values()), axis=0)]
    if len(good) < FEWEST:
        raise galsim.GalSimRangeError(
            "Too few held-out galaxies in the training file are within the ranges of the weights: "
            "give another file, or leave data= out",
            len(good),
            FEWEST,
        )
    return good


def real_pieces(
    data: Dataset, rows: NDArray, context: Context, seed: int
) -> list[dict[str, NDArray]]:
    """Compare held-out galaxies of a training file; pieces as `compare` gives them.

    Parameters
    ----------
    data : Dataset
    rows : array of int
        As `askable` gives them.
    context : Context
    seed : int
    """
    pieces = []
    for number, part in enumerate(_in_pieces(rows)):
        random = _seeded(seed, number, 1)
        seen, observing = _observe(data[part], random)
        galaxies = HeldOut(_conditions(data[part]), seen, observing)
        ids = number * PIECE + np.arange(len(part))
        pieces.append(compare(galaxies, ids, context, random))
    training = np.flatnonzero(~data.valid)
    random = _seeded(seed, 2)
    known = [observed_features(*_observe(data[p], random)) for p in _in_pieces(training)]
    if known:
        pieces[0]["features/training"] = np.concatenate(known)
    return pieces


def _in_pieces(rows: NDArray) -> list[NDArray]:
    return [rows[i : i + PIECE] for i in range(0, len(rows), PIECE)]


def _conditions(data: Dataset) -> NDArray:
    """Conditions (n, 4) as `compare` takes them; NaN where not known."""
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


def _observe(data: Dataset, random: torch.Generator) -> tuple[Tensor, Observing]:
    """Images with more noise, flux 1 in the band of structure, and how they were observed.

    Sizes are in units of the observed half-light radius: many of these galaxies are not at the
    distance of those that the generator draws.
    """
    galaxies = Batch.from_training_file(data, AS_STATED)
    image, noise, mask = galaxies.image, galaxies.noise, galaxies.mask
    band = torch.from_numpy(_band(data))
    unit = image.sum((2, 3)).gather(1, band[:, None])
    image, noise = image / unit[:, :, None, None], noise / unit
    image = frame.add_noise(image, _ADDED * noise, random) * mask
    margin = (frame.PADDED - STAMP_SIZE) // 2
    psf = torch.from_numpy(np.ascontiguousarray(data.psf))
    centred = torch.nn.functional.pad(psf, (margin,) * 4)
    otf = torch.fft.rfft2(torch.fft.ifftshift(centred, dim=(-2, -1)))
    scale = torch.full((len(image),), 1 / HALF_LIGHT_PIXELS)
    total = noise * (1 + _ADDED**2) ** 0.5
    return image, Observing(otf, total, mask, band, scale)


# -- files ---------------------------------------------------------------------------------------


def write_piece(file: Path, piece: dict[str, NDArray]) -> None:
    """Write a piece, under a temporary name first."""
    arrays: dict[str, Any] = {name.replace("/", "."): array for name, array in piece.items()}
    write_whole(file, lambda path: np.savez(path, **arrays))


def read_piece(file: Path) -> dict[str, NDArray]:
    """Return a piece that `write_piece` has written."""
    with np.load(file) as data:
        return {name.replace(".", "/"): data[name] for name in data.files}


def join(pieces: list[dict[str, NDArray]]) -> dict[str, NDArray]:
    """Return pieces put together; what a piece does not have is NaN.

    Images and training galaxies have rows of their own.
    """
    names = {name: None for piece in pieces for name in piece}
    joined = {}
    for name in names:
        have = [piece for piece in pieces if name in piece]
        if name.startswith("images/") or name == "features/training":
            joined[name] = np.concatenate([piece[name] for piece in have])
            continue
        shape = have[0][name].shape[1:]
        joined[name] = np.concatenate(
            [
                piece.get(name, np.full((len(piece["conditions"]), *shape), np.nan))
                for piece in pieces
            ]
        )
    return joined
