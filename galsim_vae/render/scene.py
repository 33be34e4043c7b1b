"""What the batched renderer is to draw: its arguments, checked and brought to arrays."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

import galsim
import numpy as np
import torch
from galsim.errors import GalSimIncompatibleValuesError, GalSimRangeError, GalSimValueError
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.deviates import draw_seed

from . import fourier

if TYPE_CHECKING:
    from galsim_vae.stamps import Stamps

__all__ = ["Scene", "make_scene"]

_METHODS = ("auto", "no_pixel")


class Scene(NamedTuple):
    """All that is to be drawn.

    ``weights`` (n, drawn bands, bands of the stamps); ``factors`` of each galaxy's map to the sky;
    ``shift`` (n, 2) of the stamps' centres from the image's, arcsec; ``psfs`` the distinct ones,
    and ``psf_index`` (n,) which of them a galaxy has; ``shape`` (ny, nx); ``pixel`` whether to add
    its response; ``streams`` of noise, one a drawn band.
    """

    stamps: Stamps
    weights: NDArray
    factors: fourier.Factors
    shift: Tensor
    psfs: list[galsim.GSObject]
    psf_index: NDArray
    shape: tuple[int, int]
    scale: float
    pixel: bool
    noise: galsim.BaseNoise | None
    seed: int
    streams: list[int]


def make_scene(
    stamps, psf, nx, ny, scale, shear, rotation, shift, bands, zeropoint, method, noise, seed
) -> Scene:
    """Check everything, and work out each galaxy's map to the sky."""
    n = len(stamps)
    for name, value in (("nx", nx), ("ny", ny), ("scale", scale)):
        if not (np.isfinite(value) and value > 0):
            raise GalSimRangeError(f"{name} must be positive", value, 0)
    if method not in _METHODS:
        raise GalSimValueError("Unknown method", method, _METHODS)
    psfs, psf_index = _psfs(psf, n)
    jacobian = _shear_matrix(shear, n) @ _rotation_matrix(rotation, n) @ stamps.jacobian
    if isinstance(shift, galsim.PositionD | galsim.PositionI):
        shift = (shift.x, shift.y)
    centre = _each("shift", shift, n, (2,)) - np.einsum("nij,nj->ni", jacobian, stamps.offset)
    zeropoints = [zeropoint] * len(bands) if np.ndim(zeropoint) == 0 else list(zeropoint)
    if len(zeropoints) != len(bands):
        raise GalSimValueError(f"There are {len(bands)} bands: give one zeropoint each", zeropoint)
    weights = [stamps.weights(band, zp) for band, zp in zip(bands, zeropoints, strict=True)]
    if noise is not None and not isinstance(noise, galsim.GaussianNoise | galsim.PoissonNoise):
        raise GalSimValueError(
            "Unknown noise; add others to the images", noise, ["GaussianNoise", "PoissonNoise"]
        )
    if noise is not None and seed is None:
        raise GalSimIncompatibleValuesError("Noise needs a seed", noise=noise, seed=seed)
    seed = draw_seed(seed) if isinstance(seed, galsim.BaseDeviate) else int(seed or 0)
    return Scene(
        stamps,
        np.stack(weights, axis=1) if bands else np.empty((n, 0, len(stamps.bands))),
        fourier.factorise(jacobian),
        torch.from_numpy(centre),
        psfs,
        psf_index,
        (int(ny), int(nx)),
        float(scale),
        method == "auto",
        noise,
        seed,
        [zlib.crc32(str(getattr(band, "name", band)).encode()) for band in bands],
    )


def _psfs(psf, n: int) -> tuple[list[galsim.GSObject], NDArray]:
    """The distinct PSFs, and which of them each galaxy has."""
    psfs = list(psf) if np.iterable(psf) else [psf]
    for one in psfs:
        if not isinstance(one, galsim.GSObject):
            raise TypeError(f"A PSF must be a galsim.GSObject, not {one!r}")
    if len(psfs) != n and not isinstance(psf, galsim.GSObject):
        raise GalSimValueError(f"Give one PSF, or one for each of {n} galaxies", len(psfs))
    places: dict[galsim.GSObject, int] = {}
    index = np.array([places.setdefault(one, len(places)) for one in psfs], dtype=np.int64)
    return list(places), np.broadcast_to(index, n)


def _each(name: str, value, n: int, shape: tuple[int, ...]) -> NDArray:
    """Numbers for each galaxy, (n, *shape); zeros for None."""
    array = np.asarray(0.0 if value is None else value, dtype=np.float64)
    if value is not None and array.shape not in (shape, (n, *shape)):
        raise GalSimValueError(f"{name} must have the shape {(n, *shape)} or {shape}", array.shape)
    if not np.isfinite(array).all():
        raise GalSimValueError(f"{name} must be finite", value)
    return np.broadcast_to(array, (n, *shape))


def _shear_matrix(shear, n: int) -> NDArray:
    if isinstance(shear, galsim.Shear):
        shear = (shear.g1, shear.g2)
    g1, g2 = _each("shear", shear, n, (2,)).T
    size = np.hypot(g1, g2)
    if (size >= 1).any():
        raise GalSimRangeError("|shear| must be below 1", float(size.max()), 0, 1)
    matrix = np.array([[1 + g1, g2], [g2, 1 - g1]]) / np.sqrt(1 - size**2)
    return np.moveaxis(matrix, 2, 0)


def _rotation_matrix(rotation, n: int) -> NDArray:
    if isinstance(rotation, galsim.Angle):
        rotation = rotation.rad
    angle = _each("rotation", rotation, n, ())
    cos, sin = np.cos(angle), np.sin(angle)
    return np.moveaxis(np.array([[cos, -sin], [sin, cos]]), 2, 0)
