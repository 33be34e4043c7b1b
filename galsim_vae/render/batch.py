"""Images of whole batches of galaxies, on CPUs and GPUs, to GalSim's accuracy.

`render` does for `Stamps` what ``galsim.Convolve(galaxy, psf).drawImage(...)`` does for one galaxy:
rotation, shear, shift, PSF, pixels and noise. `galsim_vae.render.fourier` is the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import galsim
import numpy as np
import torch
from galsim.errors import GalSimIncompatibleValuesError, GalSimValueError
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from galsim_vae.bands import REFERENCE
from galsim_vae.devices import find_device, in_halves, in_single_threads, one_thread, pinned_torch

from . import fourier
from .grids import Grid, into_batches, transform
from .noise import add_noise, make_noise
from .placement import Moves, flux_ratios, place, place_with_gradients
from .scene import Drawable, RenderScene, add_up, find_pixels, observe, samples

__all__ = ["render"]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@pinned_torch()
def render(
    stamps: Drawable,
    psf: galsim.GSObject | Sequence[galsim.GSObject],
    nx: int,
    ny: int,
    scale: float | None = None,
    *,
    wcs: galsim.BaseWCS | None = None,
    image_pos: galsim.PositionD | None = None,
    shear: galsim.Shear | ArrayLike | Tensor | None = None,
    rotation: galsim.Angle | Sequence[galsim.Angle] | ArrayLike | Tensor | None = None,
    shift: galsim.PositionD | ArrayLike | Tensor | None = None,
    flux_ratio: ArrayLike | Tensor | None = None,
    array: ArrayLike | Tensor | None = None,
    bands: str | galsim.Bandpass | Sequence[str | galsim.Bandpass] = REFERENCE,
    zeropoint: float | Sequence[float] | None = None,
    method: str = "auto",
    noise: galsim.BaseNoise | galsim.BaseCorrelatedNoise | None = None,
    seed: int | galsim.BaseDeviate | None = None,
    device: str | Sequence[str] = "auto",
    dtype: str = "float32",
    out: Tensor | None = None,
    extrapolate: bool = False,
    differentiable: bool = False,
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
    scale : float, optional
        Pixel scale, arcsec.
    wcs : galsim.BaseWCS, optional
        Of the pixels, instead of a scale: a local one, or any other and ``image_pos``. Shears,
        rotations and shifts are in its world coordinates, as in ``drawImage(wcs=wcs)``.
    image_pos : galsim.PositionD, optional
        Where on the image of a ``wcs`` that varies the galaxies are.
    shear : galsim.Shear or (n, 2) or (2,), optional
        Reduced shear (g1, g2), after the rotation.
    rotation : galsim.Angle or (n,), optional
        Counterclockwise: one or more ``galsim.Angle``, or plain numbers, which are radians.
    shift : galsim.PositionD or (n, 2) or (2,), optional
        (x, y) of the galaxy from the image's true centre, arcsec, after the shear.
    flux_ratio : float or (n,), optional
        Factor of each galaxy's flux, as in ``withScaledFlux``.
    array : (n, bands, 64, 64), optional
        Drawn in place of ``stamps.array``, such as what a decoder gives. How the bands are mixed
        to a filter is that of ``stamps``.
    bands : str or galsim.Bandpass, or sequence of these
        As in `Stamps.galaxy`.
    zeropoint : float or sequence of float, optional
        As in `Stamps.galaxy`; one serves all bands.
    method : {"auto", "no_pixel"}
        As in ``drawImage``: whether to add the pixel's response, or the PSF has it already.
    noise : galsim.GaussianNoise, PoissonNoise, CCDNoise or BaseCorrelatedNoise, optional
        What it says is in counts. The deviates are those of ``seed``: that of the object is not
        touched. Correlated noise is not periodic in the image.
    seed : int or galsim.BaseDeviate
        Needed for noise. The noise is a function of it, of the galaxy's id and of the filter;
        two draws of a deviate are used.
    device : str or sequence of str
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1"; several share the galaxies.
    dtype : {"float32", "float64"}
        Of the images.
    out : torch.Tensor, optional
        Where to draw, on any device: results of the right shape and type.
    extrapolate : bool
        Take u filters, with a warning, see `Stamps.galaxy`.
    differentiable : bool
        Keep the gradients of ``shear``, ``rotation``, ``shift``, ``flux_ratio`` and ``array`` where
        these are tensors that require them. All images are then in one graph, of some 1 MiB a
        galaxy; nothing is halved where memory runs out.

    Returns
    -------
    torch.Tensor (n, bands, ny, nx)
        Counts. On the device, or on the CPU if there are several.

    Raises
    ------
    galsim.GalSimRangeError
        A size or scale that is not positive; a shear not below 1; a rotation of more than a turn in
        plain numbers; a PSF too sharp for the pixels; a filter that the bands do not reach; a seed
        out of range.
    galsim.GalSimValueError
        An unknown band, method, noise, device or dtype; a seed that is not whole; a shape that does
        not fit the number of galaxies; a WCS that is singular.
    galsim.GalSimIncompatibleValuesError
        Noise without a seed; no zero-point for a filter that is not an HST band; scale and wcs, or
        neither; a wcs that varies without a position; gradients that are not asked for or of what
        has none.

    Notes
    -----
    On one device the pixels of a galaxy do not depend on the other galaxies of the batch, on
    their order or on the number of threads. (Where a GPU's memory runs out, batches are halved,
    and the last bit may differ.) Devices differ by less than the error, which is 1e-5 of the
    peak in float64 and 3e-5 in float32 (see the page on rendering in the documentation).

    Gradients are those of the images on the grid that each galaxy has. Its period and fineness step
    with the map to the sky: there an image has a step of its error, and no gradient. Pixels with
    ``differentiable=True`` differ from the others by some 1e-6 of the peak.
    """
    n = len(stamps.array)
    bands = [bands] if isinstance(bands, str | galsim.Bandpass) else list(bands)
    names = [device] if isinstance(device, str | torch.device) else list(device)
    devices = [find_device(name) for name in names]
    if dtype not in _DTYPES:
        raise GalSimValueError("Unknown dtype", dtype, list(_DTYPES))
    pixels = find_pixels(scale, wcs, image_pos)
    optics = observe(n, psf, (ny, nx), pixels, method)
    moves = Moves(shear, rotation, shift)
    lay = place_with_gradients if differentiable else place
    scene = RenderScene(
        samples(stamps, array, differentiable),
        stamps.conditions.id.astype(np.int64),
        add_up(stamps, bands, zeropoint, extrapolate),
        flux_ratios(flux_ratio, n, differentiable),
        lay(stamps.jacobian, stamps.offset, moves, optics.to_pixels),
        optics,
        make_noise(noise, seed, bands, optics.shape, pixels, differentiable),
        differentiable,
    )
    if differentiable:
        return _draw_graph(scene, devices, out, _DTYPES[dtype])
    full = (n, len(bands), *optics.shape)
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
        batches = list(into_batches(scene, part, device))
        each = [[batch] for batch in batches] if device.type == "cpu" else [batches]
        jobs += [(device, job) for job in each]

    def run(job: tuple[torch.device, list]) -> None:
        for grid, size, batch in job[1]:
            _fill(scene, grid, size, batch, job[0], out)

    in_single_threads(run, jobs, at_once=len(devices))


def _fill(
    scene: RenderScene, grid: Grid, size: int, rows: NDArray, device: torch.device, out: Tensor
) -> None:
    """Draw some galaxies of one grid into their places."""

    def run(start: int, stop: int, size: int) -> None:
        some = rows[start:stop]
        index = torch.from_numpy(some).to(out.device)
        for band in range(out.shape[1]):
            images = _draw_band(scene, grid, some, size, band, device, out.dtype)
            out[index, band] = images.to(out.device)

    in_halves(run, len(rows), size)


def _draw_graph(
    scene: RenderScene, devices: list[torch.device], out: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Draw all galaxies on one device, with their gradients."""
    if out is not None or len(devices) > 1:
        raise GalSimIncompatibleValuesError(
            "Images with gradients are drawn on one device, and into no tensor that is there",
            differentiable=True, out=out, device=[str(device) for device in devices],
        )  # fmt: skip
    n, count = scene.weights.shape[:2]
    if n * count == 0:
        return torch.empty((n, count, *scene.optics.shape), dtype=dtype, device=devices[0])
    parts, order = [], []
    with one_thread():
        for grid, size, rows in into_batches(scene, np.arange(n), devices[0]):
            images = [
                _draw_band(scene, grid, rows, size, band, devices[0], dtype)
                for band in range(count)
            ]
            parts.append(torch.stack(images, 1))
            order.append(rows)
    back = torch.from_numpy(np.argsort(np.concatenate(order))).to(devices[0])
    return torch.cat(parts)[back]


def _draw_band(
    scene: RenderScene,
    grid: Grid,
    rows: NDArray,
    size: int,
    band: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Draw some galaxies of one grid in one band, with noise; ``size`` is that of a full batch."""
    # A GPU's rounding may depend on the number of galaxies: there it is always the same.
    padded = rows if device.type == "cpu" else np.resize(rows, size)
    images = _draw_clean(scene, grid, padded, band, device, dtype)
    if scene.noise is not None:
        ids = torch.from_numpy(scene.ids[padded]).to(device)
        images = add_noise(scene.noise, images, ids, band)
    return images[: len(rows)]


def _draw_clean(
    scene: RenderScene,
    grid: Grid,
    rows: NDArray,
    band: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    weights, optics = scene.weights[rows, band], scene.optics
    used = np.flatnonzero(weights.any(axis=0))
    stamps = torch.as_tensor(scene.array[rows[:, None], used]).to(device).to(dtype)
    stamps = torch.einsum("nb,nbyx->nyx", torch.from_numpy(weights[:, used]).to(stamps), stamps)
    psf = optics.index[rows]
    seen = [transform(optics, i, grid.period) for i in (psf[:1] if len(optics.psfs) == 1 else psf)]
    values = torch.from_numpy(np.stack([one.values for one in seen])).to(device)
    index = torch.from_numpy(rows)
    images = fourier.draw(
        stamps,
        scene.placement.factors.rows(index, device),
        scene.placement.shift[index].to(device),
        values.to(dtype.to_complex()),
        seen[0].step,
        grid.refinement,
        grid.reach,
        optics.shape,
        optics.scale,
        scene.differentiable,
    )
    if scene.flux_ratio is not None:
        images = images * scene.flux_ratio[index].to(images)[:, None, None]
    return images
