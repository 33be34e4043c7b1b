"""What the batched renderer is to draw: its arguments, checked and brought to arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import galsim
import numpy as np
from galsim.errors import GalSimIncompatibleValuesError, GalSimRangeError, GalSimValueError
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.conditions import Conditions

from .noise import Noise
from .placement import Placement

__all__ = ["Drawable", "Optics", "RenderScene", "add_up", "find_pixels", "observe", "samples"]

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


class Optics(NamedTuple):
    """PSFs and pixels.

    All lengths are in the unit of ``scale``: arcsec where pixels are squares along the axes of the
    sky, else pixels.

    Attributes
    ----------
    psfs : list of galsim.GSObject
        The distinct ones.
    index : ndarray (n,) int64
        Which of them a galaxy has.
    shape : (int, int)
        (ny, nx), pixels.
    scale : float
        Of a pixel.
    pixel : bool
        Whether the pixel's response is still to be added.
    to_pixels : ndarray (2, 2)
        Map from arcsec to the unit of ``scale``.
    """

    psfs: list[galsim.GSObject]
    index: NDArray
    shape: tuple[int, int]
    scale: float
    pixel: bool
    to_pixels: NDArray


class RenderScene(NamedTuple):
    """All that is to be drawn.

    Attributes
    ----------
    array : ndarray or tensor (n, bands, 64, 64)
        Stamps.
    ids : ndarray (n,) int64
        Of the galaxies.
    weights : ndarray (n, drawn bands, bands) float64
        What each stamp counts in each image.
    flux_ratio : tensor (n,) float64 or None
        What the images are multiplied by, besides.
    placement : Placement
    optics : Optics
    noise : Noise or None
    differentiable : bool
        Whether the images keep gradients.
    """

    array: NDArray | Tensor
    ids: NDArray
    weights: NDArray
    flux_ratio: Tensor | None
    placement: Placement
    optics: Optics
    noise: Noise | None
    differentiable: bool


def samples(galaxies: Drawable, array: Any, differentiable: bool) -> NDArray | Tensor:
    """Return the stamps that are drawn: the galaxies' own, or others in their place.

    Parameters
    ----------
    galaxies : Drawable
    array : array_like or tensor (n, bands, 64, 64), optional
        As in `galsim_vae.render.render`.
    differentiable : bool
        Whether it may ask for gradients.

    Raises
    ------
    galsim.GalSimValueError
        Another shape.
    galsim.GalSimIncompatibleValuesError
        It asks for gradients, and there are to be none.
    """
    if array is None:
        return galaxies.array
    if not isinstance(array, Tensor):
        array = np.asarray(array)
    elif array.requires_grad and not differentiable:
        raise GalSimIncompatibleValuesError(
            "array asks for gradients: draw with differentiable=True, or give array.detach()",
            differentiable=differentiable,
        )
    if tuple(array.shape) != galaxies.array.shape:
        raise GalSimValueError(
            f"array must have the shape of the stamps, {galaxies.array.shape}", tuple(array.shape)
        )
    return array


def find_pixels(
    scale: float | None, wcs: galsim.BaseWCS | None, image_pos: galsim.PositionD | None
) -> galsim.BaseWCS:
    """Return the local WCS of the images.

    Parameters
    ----------
    scale : float, optional
        As in `galsim_vae.render.render`.
    wcs : galsim.BaseWCS, optional
        As there.
    image_pos : galsim.PositionD, optional
        As there.

    Raises
    ------
    galsim.GalSimRangeError
        A scale that is not positive.
    galsim.GalSimValueError
        A WCS that is singular.
    galsim.GalSimIncompatibleValuesError
        Not one of scale and wcs; a WCS that varies and no position, or a position without one.
    TypeError
        Something else than a number or a WCS.
    """
    if isinstance(scale, galsim.BaseWCS):
        raise TypeError(f"scale must be a number: give wcs={scale!r}")
    if scale is not None:
        if wcs is not None or image_pos is not None:
            raise GalSimIncompatibleValuesError(
                "Give a scale, or a wcs and, if it varies, image_pos",
                scale=scale, wcs=wcs, image_pos=image_pos,
            )  # fmt: skip
        if not (np.isfinite(scale) and scale > 0):
            raise GalSimRangeError("scale must be positive", scale, 0)
        return galsim.PixelScale(float(scale))
    if wcs is None:
        raise GalSimIncompatibleValuesError("Give a scale or a wcs", scale=scale, wcs=wcs)
    if not isinstance(wcs, galsim.BaseWCS):
        raise TypeError(f"wcs must be a galsim.BaseWCS, not {wcs!r}")
    if image_pos is None and not wcs.isUniform():
        raise GalSimIncompatibleValuesError(
            "This WCS varies: say where with image_pos, or give wcs.local(image_pos)",
            wcs=wcs, image_pos=image_pos,
        )  # fmt: skip
    local = wcs.local(image_pos)
    area = local.pixelArea()
    if not (np.isfinite(area) and area > 0):
        raise GalSimValueError("The WCS is singular", wcs)
    return local


def observe(
    n: int,
    psf: galsim.GSObject | Sequence[galsim.GSObject],
    shape: tuple[int, int],
    wcs: galsim.BaseWCS,
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
    wcs : galsim.BaseWCS
        As `find_pixels` returns it.
    method : {"auto", "no_pixel"}
        As in `galsim_vae.render.render`.

    Raises
    ------
    galsim.GalSimRangeError
        A size that is not positive.
    galsim.GalSimValueError
        An unknown method; a number of PSFs that is neither 1 nor n.
    TypeError
        A PSF that is no `galsim.GSObject`.
    """
    ny, nx = shape
    for name, value in (("nx", nx), ("ny", ny)):
        if not (np.isfinite(value) and value > 0):
            raise GalSimRangeError(f"{name} must be positive", value, 0)
    if method not in _METHODS:
        raise GalSimValueError("Unknown method", method, _METHODS)
    psfs, index = _psfs(psf, n)
    if isinstance(wcs, galsim.PixelScale):
        scale, to_pixels = float(wcs.scale), np.eye(2)
    else:
        # As GalSim does it: all that is drawn is brought to the frame of the pixels.
        scale, to_pixels = 1.0, np.linalg.inv(wcs.jacobian().getMatrix())
        psfs = [wcs.profileToImage(one) for one in psfs]
    return Optics(psfs, index, (int(ny), int(nx)), scale, method == "auto", to_pixels)


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
