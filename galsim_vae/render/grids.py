"""Which grid of wave vectors each galaxy needs, and so which galaxies share a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import galsim
import numpy as np
import torch
from numpy.typing import NDArray

from galsim_vae.bands import STAMP_SIZE

from . import fourier
from .psf_table import PSFTransform, sample_psf
from .scene import Optics, RenderScene

__all__ = ["Grid", "find_grids", "into_batches", "transform"]

# Light beyond this distance from a stamp's centre (four half-light radii) may see the far wing of
# the PSF, beyond the image, from the wrong side.
_WRAPPED = 0.75 * STAMP_SIZE / 2
# Periods are rounded up to a power of this, and the reaches of the grids to one of the next.
_PERIODS, _REACHES = 2 ** (1 / 8), 1.25
# Bytes of scratch a batch: on a CPU what its cache holds, on a GPU what keeps it busy.
_SCRATCH = {"cpu": 2**24, "cuda": 2**28}


class Grid(NamedTuple):
    """What the galaxies of a batch share; a function of each of them alone, and of the PSF."""

    period: float
    waves: int
    refinement: int
    reach: float

    def batch_size(self, shape: tuple[int, int], device: torch.device) -> int:
        """Galaxies a batch, a function of the grid and the device alone."""
        lines = 2 * self.reach * self.refinement * self.waves
        sky = 2 * self.waves**2
        numbers = 4 * STAMP_SIZE * lines + 3 * self.waves * lines + 6 * sky + 4 * np.prod(shape)
        return int(max(1, _SCRATCH[device.type] // (8 * numbers)))


def into_batches(
    scene: RenderScene, rows: NDArray, device: torch.device
) -> Iterator[tuple[Grid, int, NDArray]]:
    """Split galaxies by the grid they need, and then into batches of that grid's size.

    Parameters
    ----------
    scene : RenderScene
    rows : ndarray (m,) int
        The galaxies.
    device : torch.device

    Yields
    ------
    grid : Grid
    size : int
        Of a full batch.
    rows : ndarray (at most size,) int
    """
    grids = find_grids(scene, rows)
    for grid in sorted(set(grids)):
        same = rows[[g == grid for g in grids]]
        size = grid.batch_size(scene.optics.shape, device)
        for start in range(0, len(same), size):
            yield grid, size, same[start : start + size]


def find_grids(scene: RenderScene, rows: NDArray) -> list[Grid]:
    """Return the grid of each of some galaxies."""
    optics, placement = scene.optics, scene.placement
    factors = placement.factors.detach().rows(torch.from_numpy(rows), torch.device("cpu"))
    shift = placement.shift.detach()[rows]
    width = max(optics.shape) * optics.scale
    extent = _WRAPPED * _row_norm(factors) + shift.abs().amax(1).numpy()
    floor = np.array([_least_period(psf) for psf in optics.psfs])[optics.index[rows]]
    steps = np.ceil(np.log(np.maximum(width + 2 * extent, floor) / width) / np.log(_PERIODS))
    periods = width * _PERIODS**steps
    refinement = fourier.grid_refinement(factors, periods)
    reach = _REACHES ** np.ceil(np.log(fourier.grid_reach(factors)) / np.log(_REACHES))
    return [
        Grid(float(p), transform(optics, i, p).waves, int(q), float(r))
        for i, p, q, r in zip(optics.index[rows], periods, refinement, reach, strict=True)
    ]


def transform(optics: Optics, psf: int, period: float) -> PSFTransform:
    """Return one of the PSFs, sampled for images of a period."""
    return sample_psf(optics.psfs[psf], float(period), optics.scale, optics.pixel)


def _least_period(psf: galsim.GSObject) -> float:
    """Where a PSF's wing has fallen to 1e-3 of its peak or so, twice: 12 FWHM of a Gaussian."""
    return 11 * np.sqrt(psf.flux / psf.max_sb)


def _row_norm(factors: fourier.Factors) -> NDArray:
    """The larger norm of a row of the map to the sky: arcsec on the sky a stamp pixel."""
    gamma, across = factors.slope * factors.alpha, factors.eta + factors.slope * factors.beta
    rows = torch.hypot(factors.beta, across), torch.hypot(factors.alpha, gamma)
    return torch.maximum(*rows).numpy()
