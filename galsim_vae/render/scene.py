"""What the batched renderer is to draw: its arguments, checked and brought to arrays."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import galsim
import numpy as np
import torch
from galsim.errors import GalSimIncompatibleValuesError, GalSimRangeError, GalSimValueError
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.conditions import Conditions
from galsim_vae.deviates import draw_seed
from galsim_vae.geometry import rotation_matrix, shear_matrix

from . import fourier

__all__ = [
    "Drawable", "Noise", "Optics", "Placement", "RenderScene",
    "add_up", "make_noise", "observe", "place",
]  # fmt: skip

_METHODS = ("auto", "no_pixel")


class Drawable(Protocol):
    """What the renderer needs of `galsim_vae.Stamps`, or of anything else that it is to draw."""

    @property
    def array(self) -> NDArray:
        """Stamps, (n, bands, 64, 64) float32."""
        ...

    @property
    def conditions(self) -> Conditions:
        """Their ``id`` (n,) names the noise of each galaxy."""
        ...

    @property
    def jacobian(self) -> NDArray:
        """Map of stamp pixels to arcsec, (n, 2, 2)."""
        ...

    @property
    def offset(self) -> NDArray:
        """Each centroid's (x, y) from the centre of the stamp, (n, 2), stamp pixels."""
        ...

    def weights(
        self, band: str | galsim.Bandpass, zeropoint: float | None, extrapolate: bool
    ) -> NDArray:
        """Return what each stamp counts in the image through a filter, (n, bands)."""
        ...


class Placement(NamedTuple):
    """Where and how galaxies lie on the sky.

    Attributes
    ----------
    factors : fourier.Factors
        Fourier.Factors. Of each galaxy's map to the sky.
    shift : tensor (n, 2) float64
        (x, y) of the stamps' centres from those of the images, arcsec.
    """

    factors: fourier.Factors
    shift: Tensor


class Optics(NamedTuple):
    """PSFs and pixels.

    Attributes
    ----------
    psfs : list of galsim.GSObject
        The distinct ones.
    index : ndarray (n,) int64
        Which of them a galaxy has.
    shape : (int, int)
        (ny, nx), pixels.
    scale : float
        Of a pixel, arcsec.
    pixel : bool
        Whether the pixel's response is still to be added.
    """

    psfs: list[galsim.GSObject]
    index: NDArray
    shape: tuple[int, int]
    scale: float
    pixel: bool


class Noise(NamedTuple):
    """Noise of the pixels.

    Attributes
    ----------
    model : galsim.GaussianNoise or galsim.PoissonNoise
        Its ``sigma`` or ``sky_level``, counts.
    seed : int
        Of the whole set.
    streams : list of int
        One a drawn band.
    """

    model: galsim.GaussianNoise | galsim.PoissonNoise
    seed: int
    streams: list[int]


class RenderScene(NamedTuple):
    """All that is to be drawn; ``weights`` are (n, drawn bands, bands of the stamps)."""

    galaxies: Drawable
    weights: NDArray
    placement: Placement
    optics: Optics
    noise: Noise | None


def place(
    galaxies: Drawable,
    shear: Any,
    rotation: Any,
    shift: Any,
) -> Placement:
    """Return each galaxy's map to the sky.

    Parameters
    ----------
    galaxies : Drawable
        The galaxies.
    shear : galsim.Shear or (n, 2) or (2,)
        As in `galsim_vae.render.render`.
    rotation : galsim.Angle or (n,)
        As there.
    shift : galsim.PositionD or (n, 2) or (2,)
        As there.

    Raises
    ------
    galsim.GalSimRangeError
        A shear that is not below 1.
    galsim.GalSimValueError
        A shape that does not fit the number of galaxies, or numbers that are not finite.
    """
    n = len(galaxies.array)
    jacobian = _shear_matrix(shear, n) @ _rotation_matrix(rotation, n) @ galaxies.jacobian
    if isinstance(shift, galsim.PositionD | galsim.PositionI):
        shift = (shift.x, shift.y)
    centre = _each("shift", shift, n, (2,)) - np.einsum("nij,nj->ni", jacobian, galaxies.offset)
    return Placement(fourier.factorise(jacobian), torch.from_numpy(centre))


def observe(
    n: int,
    psf: galsim.GSObject | Sequence[galsim.GSObject],
    shape: tuple[int, int],
    scale: float,
    method: str,
) -> Optics:
    """Return the PSFs and pixels of n galaxies.

    Parameters
    ----------
    n : int
        Number of galaxies.
    psf : galsim.GSObject or sequence of n of them
        As in `galsim_vae.render.render`.
    shape : (int, int)
        (ny, nx).
    scale : float
        Pixel scale, arcsec.
    method : {"auto", "no_pixel"}
        As in `galsim_vae.render.render`.

    Raises
    ------
    galsim.GalSimRangeError
        A size or scale that is not positive.
    galsim.GalSimValueError
        An unknown method; a number of PSFs that is neither 1 nor n.
    TypeError
        A PSF that is no `galsim.GSObject`.
    """
    ny, nx = shape
    for name, value in (("nx", nx), ("ny", ny), ("scale", scale)):
        if not (np.isfinite(value) and value > 0):
            raise GalSimRangeError(f"{name} must be positive", value, 0)
    if method not in _METHODS:
        raise GalSimValueError("Unknown method", method, _METHODS)
    psfs, index = _psfs(psf, n)
    return Optics(psfs, index, (int(ny), int(nx)), float(scale), method == "auto")


def add_up(
    galaxies: Drawable,
    bands: list[str | galsim.Bandpass],
    zeropoint: Any,
    extrapolate: bool,
) -> NDArray:
    """Return what each stamp counts in each image.

    Parameters
    ----------
    galaxies : Drawable
        n galaxies.
    bands : list of str or galsim.Bandpass
        To be drawn.
    zeropoint : float, sequence of float, or None
        One for all bands, or one a band.
    extrapolate : bool
        As in `galsim_vae.render.render`.

    Returns
    -------
    ndarray (n, drawn bands, bands of the stamps) float64

    Raises
    ------
    galsim.GalSimValueError
        As many zero-points as bands, or one, are needed.
    """
    zeropoints = list(zeropoint) if np.iterable(zeropoint) else [zeropoint] * len(bands)
    if len(zeropoints) != len(bands):
        raise GalSimValueError(f"There are {len(bands)} bands: give one zeropoint each", zeropoint)
    weights = [
        galaxies.weights(band, zp, extrapolate)
        for band, zp in zip(bands, zeropoints, strict=True)
    ]
    if not weights:
        return np.empty((len(galaxies.array), 0, galaxies.array.shape[1]))
    return np.stack(weights, axis=1)


def make_noise(
    noise: galsim.BaseNoise | None,
    seed: int | galsim.BaseDeviate | None,
    bands: list[str | galsim.Bandpass],
) -> Noise | None:
    """Return the noise, if there is any.

    Parameters
    ----------
    noise : galsim.BaseNoise, optional
        As in `galsim_vae.render.render`.
    seed : int or galsim.BaseDeviate, optional
        As there.
    bands : list of str or galsim.Bandpass
        To be drawn.

    Raises
    ------
    galsim.GalSimValueError
        Noise of another kind than GaussianNoise and PoissonNoise.
    galsim.GalSimIncompatibleValuesError
        Noise without a seed.
    """
    if noise is None:
        return None
    if not isinstance(noise, galsim.GaussianNoise | galsim.PoissonNoise):
        raise GalSimValueError(
            "Unknown noise; add others to the images", noise, ["GaussianNoise", "PoissonNoise"]
        )
    if seed is None:
        raise GalSimIncompatibleValuesError("Noise needs a seed", noise=noise, seed=seed)
    seed = draw_seed(seed) if isinstance(seed, galsim.BaseDeviate) else int(seed)
    streams = [zlib.crc32(str(getattr(band, "name", band)).encode()) for band in bands]
    return Noise(noise, seed, streams)


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
    return shear_matrix(g1, g2)


def _rotation_matrix(rotation, n: int) -> NDArray:
    if isinstance(rotation, galsim.Angle):
        rotation = rotation.rad
    return rotation_matrix(_each("rotation", rotation, n, ()))
