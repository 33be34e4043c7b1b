"""Images of whole batches of galaxies, on CPUs and GPUs, to GalSim's accuracy.

`render` does for `Stamps` what ``galsim.Convolve(galaxy, psf).drawImage(...)`` does for one galaxy:
rotation, shear, shift, PSF, pixels and noise. `galsim_vae.render.fourier` is the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import galsim
import numpy as np
import torch
from galsim.errors import GalSimValueError
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from galsim_vae.bands import REFERENCE, STAMP_SIZE
from galsim_vae.devices import find_device, in_halves, in_single_threads, pinned_torch

from . import fourier, pixelnoise
from .psf_table import PSFTransform, sample_psf
from .scene import Drawable, Optics, RenderScene, add_up, make_noise, observe, place

__all__ = ["render"]

# Light beyond this distance from a stamp's centre (four half-light radii) may see the far wing of
# the PSF, beyond the image, from the wrong side.
_WRAPPED = 0.75 * STAMP_SIZE / 2
# Periods are rounded up to a power of this, and the reaches of the grids to one of the next.
_PERIODS, _REACHES = 2 ** (1 / 8), 1.25
# Bytes of scratch a batch: on a CPU what its cache holds, on a GPU what keeps it busy.
_SCRATCH = {"cpu": 2**24, "cuda": 2**28}
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class _Grid(NamedTuple):
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


@pinned_torch()
def render(
    stamps: Drawable,
    psf: galsim.GSObject | Sequence[galsim.GSObject],
    nx: int,
    ny: int,
    scale: float,
    *,
    shear: galsim.Shear | ArrayLike | None = None,
    rotation: galsim.Angle | ArrayLike | None = None,
    shift: galsim.PositionD | ArrayLike | None = None,
    bands: str | galsim.Bandpass | Sequence[str | galsim.Bandpass] = REFERENCE,
    zeropoint: float | Sequence[float] | None = None,
    method: str = "auto",
    noise: galsim.GaussianNoise | galsim.PoissonNoise | None = None,
    seed: int | galsim.BaseDeviate | None = None,
    device: str | Sequence[str] = "auto",
    dtype: str = "float32",
    out: Tensor | None = None,
    extrapolate: bool = False,
) -> Tensor:
    """Draw each galaxy on an image of its own.

    Like ``Convolve(stamps.galaxy(i, band, zeropoint).rotate(rotation).shear(shear).shift(*shift),
    psf).drawImage(nx=nx, ny=ny, scale=scale)`` followed by ``addNoise(noise)``, for all of them.

    Parameters
    ----------
    stamps : Drawable
        The galaxies: `galsim_vae.Stamps`, or another object with the same five attributes.
    psf : galsim.GSObject or sequence of n of them
        One for all, or one a galaxy. Sampling a new one takes some 10 ms.
    nx, ny : int
        Size of an image, pixels. Its true centre is the galaxies' origin.
    scale : float
        Pixel scale, arcsec.
    shear : galsim.Shear or (n, 2) or (2,), optional
        Reduced shear (g1, g2), after the rotation.
    rotation : galsim.Angle or (n,), optional
        Counterclockwise; plain numbers are radians.
    shift : galsim.PositionD or (n, 2) or (2,), optional
        (x, y) of the galaxy from the image's true centre, arcsec, after the shear.
    bands : str or galsim.Bandpass, or sequence of these
        As in `Stamps.galaxy`.
    zeropoint : float or sequence of float, optional
        As in `Stamps.galaxy`; one serves all bands.
    method : {"auto", "no_pixel"}
        As in ``drawImage``: whether to add the pixel's response, or the PSF has it already.
    noise : galsim.GaussianNoise or galsim.PoissonNoise, optional
        Its ``sigma`` or ``sky_level``, in counts. The deviates are those of ``seed``: that of the
        object is not touched.
    seed : int or galsim.BaseDeviate
        Needed for noise. The noise is a function of it, of the galaxy's id and of the band's name;
        two draws of a deviate are used.
    device : str or sequence of str
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1"; several share the galaxies.
    dtype : {"float32", "float64"}
        Of the images.
    out : torch.Tensor, optional
        Where to draw, on any device: results of the right shape and type.
    extrapolate : bool
        Take u filters, with a warning, see `Stamps.galaxy`.

    Returns
    -------
    torch.Tensor (n, bands, ny, nx)
        Counts. On the device, or on the CPU if there are several.

    Raises
    ------
    galsim.GalSimRangeError
        A size or scale that is not positive; a shear not below 1; a PSF too sharp for the pixels;
        a filter that the bands do not reach.
    galsim.GalSimValueError
        An unknown band, method, noise, device or dtype; a shape that does not fit the number of
        galaxies.
    galsim.GalSimIncompatibleValuesError
        Noise without a seed; no zero-point for a filter that is not an HST band.

    Notes
    -----
    On one device the pixels of a galaxy do not depend on the other galaxies of the batch, on
    their order or on the number of threads. (Where a GPU's memory runs out, batches are halved,
    and the last bit may differ.) Devices differ by less than the error, which is 1e-5 of the
    peak in float64 and 3e-5 in float32 (see the page on rendering in the documentation).
    """
    n = len(stamps.array)
    bands = [bands] if isinstance(bands, str | galsim.Bandpass) else list(bands)
    names = [device] if isinstance(device, str | torch.device) else list(device)
    devices = [find_device(name) for name in names]
    if dtype not in _DTYPES:
        raise GalSimValueError("Unknown dtype", dtype, list(_DTYPES))
    optics = observe(n, psf, (ny, nx), scale, method)
    placement = place(stamps, shear, rotation, shift)
    weights = add_up(stamps, bands, zeropoint, extrapolate)
    scene = RenderScene(stamps, weights, placement, optics, make_noise(noise, seed, bands))
    full = (n, len(bands), ny, nx)
    if out is None:
        home = devices[0] if len(devices) == 1 else torch.device("cpu")
        out = torch.empty(full, dtype=_DTYPES[dtype], device=home)
    elif tuple(out.shape) != full or out.dtype != _DTYPES[dtype]:
        raise GalSimValueError(f"out must be {dtype} of shape {full}", tuple(out.shape))
    _share(scene, np.arange(n), devices, out)
    return out


def _share(scene: RenderScene, rows: NDArray, devices: list[torch.device], out: Tensor) -> None:
    """Give each device its part of the galaxies: a thread for each GPU, one a batch on the CPU."""
    jobs = []
    for device, part in zip(devices, np.array_split(rows, len(devices)), strict=True):
        batches = list(_batches(scene, part, device))
        each = [[batch] for batch in batches] if device.type == "cpu" else [batches]
        jobs += [(device, job) for job in each]

    def run(job: tuple[torch.device, list]) -> None:
        for grid, size, batch in job[1]:
            _draw_batch(scene, grid, size, batch, job[0], out)

    in_single_threads(run, jobs, at_once=len(devices))


def _batches(scene: RenderScene, rows: NDArray, device: torch.device):
    """Split galaxies by the grid they need, and then into batches of that grid's size."""
    grids = _grids(scene, rows)
    for grid in sorted(set(grids)):
        same = rows[[g == grid for g in grids]]
        size = grid.batch_size(scene.optics.shape, device)
        for start in range(0, len(same), size):
            yield grid, size, same[start : start + size]


def _grids(scene: RenderScene, rows: NDArray) -> list[_Grid]:
    """The grid of each galaxy."""
    optics, placement = scene.optics, scene.placement
    factors = placement.factors.rows(torch.from_numpy(rows), torch.device("cpu"))
    width = max(optics.shape) * optics.scale
    extent = _WRAPPED * _row_norm(factors) + placement.shift[rows].abs().amax(1).numpy()
    floor = np.array([_least_period(psf) for psf in optics.psfs])[optics.index[rows]]
    steps = np.ceil(np.log(np.maximum(width + 2 * extent, floor) / width) / np.log(_PERIODS))
    periods = width * _PERIODS**steps
    refinement = fourier.grid_refinement(factors, periods)
    reach = _REACHES ** np.ceil(np.log(fourier.grid_reach(factors)) / np.log(_REACHES))
    return [
        _Grid(float(p), _transform(optics, i, p).waves, int(q), float(r))
        for i, p, q, r in zip(optics.index[rows], periods, refinement, reach, strict=True)
    ]


def _least_period(psf: galsim.GSObject) -> float:
    """Where a PSF's wing has fallen to 1e-3 of its peak or so, twice: 12 FWHM of a Gaussian."""
    return 11 * np.sqrt(psf.flux / psf.max_sb)


def _row_norm(factors: fourier.Factors) -> NDArray:
    """The larger norm of a row of the map to the sky: arcsec on the sky a stamp pixel."""
    gamma, across = factors.slope * factors.alpha, factors.eta + factors.slope * factors.beta
    rows = torch.hypot(factors.beta, across), torch.hypot(factors.alpha, gamma)
    return torch.maximum(*rows).numpy()


def _transform(optics: Optics, psf: int, period: float) -> PSFTransform:
    return sample_psf(optics.psfs[psf], float(period), optics.scale, optics.pixel)


def _draw_batch(
    scene: RenderScene, grid: _Grid, size: int, rows: NDArray, device: torch.device, out: Tensor
) -> None:
    """Draw some galaxies of one grid into their places."""

    def run(start: int, stop: int, size: int) -> None:
        some = rows[start:stop]
        # A GPU's rounding may depend on the number of galaxies: there it is always the same.
        padded = some if device.type == "cpu" else np.resize(some, size)
        for band in range(out.shape[1]):
            images = _draw_band(scene, grid, padded, band, device, out.dtype)[: len(some)]
            images = _add_noise(scene, images, some, band)
            out[torch.from_numpy(some).to(out.device), band] = images.to(out.device)

    in_halves(run, len(rows), size)


def _draw_band(
    scene: RenderScene,
    grid: _Grid,
    rows: NDArray,
    band: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    weights, optics = scene.weights[rows, band], scene.optics
    used = np.flatnonzero(weights.any(axis=0))
    stamps = torch.from_numpy(scene.galaxies.array[rows[:, None], used]).to(device).to(dtype)
    stamps = torch.einsum("nb,nbyx->nyx", torch.from_numpy(weights[:, used]).to(stamps), stamps)
    psf = optics.index[rows]
    seen = [_transform(optics, i, grid.period) for i in (psf[:1] if len(optics.psfs) == 1 else psf)]
    transform = torch.from_numpy(np.stack([one.values for one in seen])).to(device)
    index = torch.from_numpy(rows)
    return fourier.draw(
        stamps,
        scene.placement.factors.rows(index, device),
        scene.placement.shift[index].to(device),
        transform.to(dtype.to_complex()),
        seen[0].step,
        grid.refinement,
        grid.reach,
        optics.shape,
        optics.scale,
    )


def _add_noise(scene: RenderScene, images: Tensor, rows: NDArray, band: int) -> Tensor:
    if scene.noise is None:
        return images
    model, seed, streams = scene.noise
    ids = torch.from_numpy(scene.galaxies.conditions.id[rows].astype(np.int64)).to(images.device)
    count = images.shape[1] * images.shape[2]
    normal = pixelnoise.normal_deviates(seed, ids, streams[band], count).view_as(images)
    if isinstance(model, galsim.GaussianNoise):
        return images + model.sigma * normal
    sky = model.sky_level
    return (pixelnoise.poisson(images + sky, normal) - sky).to(images.dtype)
