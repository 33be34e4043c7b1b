"""Synthetic held-out galaxies, compared in pieces of a fixed size."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE
from galsim_vae.conditions import NAMES
from galsim_vae.train.fit.autoencoder import Sources
from galsim_vae.train.seeds import seeded
from galsim_vae.train.synthetic import galaxies as synthetic
from galsim_vae.train.synthetic import population

from . import frame, shear_samples
from .compare import HeldOut, InFrame, compare
from .ends import end_brightness
from .observables import Observing, add_noise, observed_features
from .pieces import PIECE
from .samples import Context

__all__ = ["LIMITS", "Task", "synthetic_piece"]

#: Conditions of synthetic held-out galaxies: F814W as in Lanusse et al. 2020, sizes as calibrated.
LIMITS = {"magnitude": (18.0, 25.2), "half_light_radius": (0.1, 3.0)}
_SPARE = 1.06  # galaxies made for one that is kept


class Task(NamedTuple):
    """What is to be done for a piece.

    Its number, the seed, and which extras are wanted; ``responses`` galaxies of it are sheared.
    """

    number: int
    seed: int
    baselines: bool = True
    images: bool = True
    size: int = PIECE
    responses: int = 0


def synthetic_piece(task: Task, context: Context) -> dict[str, NDArray]:
    """Return a piece of the synthetic comparison, as `compare` does.

    Parameters
    ----------
    task : Task
        All that the piece depends on.
    context : Context
    """
    random = seeded(task.seed, task.number)
    galaxies = _synthetic(task.size, context, random)
    ids = task.number * PIECE + np.arange(task.size)
    result = compare(galaxies, ids, context, random, task.baselines, task.images)
    assert galaxies.framed is not None
    result["ends/held_out"] = end_brightness(galaxies.framed.image.numpy())
    if task.responses:
        first = _first(galaxies, task.responses)
        result |= _filled(shear_samples.synthetic(first, ids[: task.responses], context, random),
                          task.size)  # fmt: skip
    if task.baselines:
        others = _synthetic(task.size, context, random)
        result["features/training"] = observed_features(others.seen, others.observing)
    return result


def _first(galaxies: HeldOut, n: int) -> HeldOut:
    """The first n galaxies, as `shear_samples.synthetic` needs them."""
    framed = galaxies.framed
    assert framed is not None
    framed = framed._replace(image=framed.image[:n], taken=framed.taken[:n])
    return galaxies._replace(conditions=galaxies.conditions[:n], framed=framed)


def _filled(columns: dict[str, NDArray], n: int) -> dict[str, NDArray]:
    """Columns of n rows, NaN where they had fewer."""
    return {
        name: np.concatenate([values, np.full((n - len(values), *values.shape[1:]), np.nan)])
        for name, values in columns.items()
    }


def _synthetic(n: int, context: Context, random: torch.Generator) -> HeldOut:
    """Synthetic galaxies that exactly have their conditions, through HST's PSFs."""
    stamps, framed, conditions = _canonical(
        n, context.sources, context.generator.ranges, random
    )
    observing = _candels(conditions, context.sources)
    seen = add_noise(frame.see(stamps, observing.otf), observing, random)
    taken = context.frame.shear(conditions[:, NAMES.index("g")])
    psfs = context.sources.psfs
    otf = psfs.canonical(observing.pixel_scale, frame.PADDED, taken.float())
    in_frame = InFrame(framed, observing._replace(otf=otf), taken)
    return HeldOut(conditions.double().numpy(), seen, observing, stamps, in_frame)


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
    band = torch.full((n,), BANDS.index(REFERENCE))
    otf = sources.psfs.canonical(scale, frame.PADDED)
    return Observing(otf, frame.candels_noise(conditions[:, 0], scale), mask, band, scale)
