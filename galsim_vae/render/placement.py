"""Where galaxies lie on the sky: their maps from stamp pixels, and their fluxes.

Plain numbers are worked on by NumPy, and tensors by torch, which keeps their gradients: the two may
differ in the last bit.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import galsim
import numpy as np
import torch
from galsim.errors import GalSimIncompatibleValuesError, GalSimRangeError, GalSimValueError
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.geometry import rotation_matrix, shear_matrix

from . import fourier

__all__ = ["Moves", "Placement", "flux_ratios", "place", "place_with_gradients"]

# A plain number beyond one turn is no rotation in radians.
_TURN = 2 * math.pi * (1 + 1e-6)


class Moves(NamedTuple):
    """How n galaxies are moved, as `galsim_vae.render.render` takes it."""

    shear: Any
    rotation: Any
    shift: Any


class Placement(NamedTuple):
    """Where and how galaxies lie on the sky.

    Attributes
    ----------
    factors : galsim_vae.render.fourier.Factors
        Of each galaxy's map to the sky.
    shift : tensor (n, 2) float64
        (x, y) of the stamps' centres from those of the images, arcsec.
    """

    factors: fourier.Factors
    shift: Tensor


def place(jacobian: NDArray, offset: NDArray, moves: Moves, to_pixels: NDArray) -> Placement:
    """Return each galaxy's map to the sky.

    Parameters
    ----------
    jacobian : ndarray (n, 2, 2)
        Of stamp pixels to arcsec.
    offset : ndarray (n, 2)
        Centroids from the stamps' centres, stamp pixels.
    moves : Moves
        Rotation, shear and shift, in this order.
    to_pixels : ndarray (2, 2)
        Map from arcsec to the unit that the images' pixels are measured in.

    Raises
    ------
    galsim.GalSimRangeError
        A shear that is not below 1; a rotation of more than a turn in plain numbers.
    galsim.GalSimValueError
        A shape that does not fit the number of galaxies, or numbers that are not finite.
    galsim.GalSimIncompatibleValuesError
        A tensor that asks for gradients.
    """
    n = len(jacobian)
    shear, rotation, shift = (_numbers(name, value, n) for name, value in _items(moves))
    _check(shear, rotation, moves.rotation)
    matrix = to_pixels @ shear_matrix(*shear.T) @ rotation_matrix(rotation) @ jacobian
    centre = shift @ to_pixels.T - np.einsum("nij,nj->ni", matrix, offset)
    return Placement(fourier.factorise(torch.from_numpy(matrix)), torch.from_numpy(centre))


def place_with_gradients(
    jacobian: NDArray, offset: NDArray, moves: Moves, to_pixels: NDArray
) -> Placement:
    """Return each galaxy's map to the sky, with the gradients of the moves that are tensors.

    Parameters and errors are those of `place`.
    """
    n = len(jacobian)
    shear, rotation, shift = (_tensor(name, value, n) for name, value in _items(moves))
    _check(shear.detach().numpy(), rotation.detach().numpy(), moves.rotation)
    g1, g2 = shear.unbind(1)
    cos, sin = rotation.cos(), rotation.sin()
    turned = torch.stack([cos, -sin, sin, cos], 1).view(n, 2, 2)
    sheared = torch.stack([1 + g1, g2, g2, 1 - g1], 1).view(n, 2, 2)
    sheared = sheared / (1 - g1 * g1 - g2 * g2).sqrt()[:, None, None]
    frame, scale = torch.from_numpy(jacobian), torch.from_numpy(to_pixels)
    matrix = scale @ sheared @ turned @ frame
    centre = shift @ scale.T - (matrix @ torch.from_numpy(offset)[..., None])[..., 0]
    return Placement(fourier.factorise(matrix), centre)


def flux_ratios(value: Any, n: int, differentiable: bool) -> Tensor | None:
    """Return the factors of n galaxies' fluxes, with their gradients if these are wanted.

    Parameters
    ----------
    value : float or (n,), optional
        As in `galsim_vae.render.render`.
    n : int
        Number of galaxies.
    differentiable : bool
        Whether a tensor keeps its gradients.

    Returns
    -------
    tensor (n,) float64 or None

    Raises
    ------
    galsim.GalSimValueError
        Another shape, or numbers that are not finite.
    galsim.GalSimIncompatibleValuesError
        A tensor that asks for gradients, where there are to be none.
    """
    if value is None:
        return None
    if differentiable:
        return _tensor("flux_ratio", value, n)
    return torch.from_numpy(_numbers("flux_ratio", value, n).copy())


def _items(moves: Moves) -> list[tuple[str, Any]]:
    return list(moves._asdict().items())


_SHAPES: dict[str, tuple[int, ...]] = {"shear": (2,), "rotation": (), "shift": (2,),
                                       "flux_ratio": ()}  # fmt: skip


def _numbers(name: str, value: Any, n: int) -> NDArray:
    """Finite numbers (n, ...) float64, whatever they are given as; zeros for None."""
    shape = _SHAPES[name]
    if isinstance(value, Tensor):
        if value.requires_grad:
            raise GalSimIncompatibleValuesError(
                f"{name} asks for gradients: draw with differentiable=True, or give "
                f"{name}.detach()", differentiable=False,
            )  # fmt: skip
        value = value.cpu()
    array = np.asarray(_plain(name, value), dtype=np.float64)
    if array.shape not in (shape, (n, *shape)):
        raise GalSimValueError(f"{name} must have the shape {(n, *shape)} or {shape}", array.shape)
    if not np.isfinite(array).all():
        raise GalSimValueError(f"{name} must be finite", value)
    return np.broadcast_to(array, (n, *shape))


def _tensor(name: str, value: Any, n: int) -> Tensor:
    """The same as a tensor, with its gradients."""
    if not isinstance(value, Tensor):
        return torch.from_numpy(_numbers(name, value, n).copy())
    _numbers(name, value.detach(), n)  # for its errors
    return value.to("cpu", torch.float64).expand(n, *_SHAPES[name])


def _plain(name: str, value: Any) -> Any:
    """What GalSim has classes for, as numbers."""
    if value is None:
        return np.zeros(_SHAPES[name])
    if isinstance(value, galsim.Shear):
        return value.g1, value.g2
    if isinstance(value, galsim.PositionD | galsim.PositionI):
        return value.x, value.y
    if name == "rotation" and _has_angles(value):
        angles = np.asarray(value, dtype=object)
        return np.vectorize(lambda one: getattr(one, "rad", one), otypes=[float])(angles)
    return value


def _has_angles(rotation: Any) -> bool:
    """Whether these are one or more `galsim.Angle`."""
    return not isinstance(rotation, Tensor) and np.asarray(rotation).dtype == object


def _check(shear: NDArray, rotation: NDArray, given: Any) -> None:
    size = np.hypot(*shear.T)
    if (size >= 1).any():
        raise GalSimRangeError("|shear| must be below 1", float(size.max()), 0, 1)
    largest = float(rotation[np.abs(rotation).argmax()]) if len(rotation) else 0.0
    if abs(largest) > _TURN and not _has_angles(given):
        raise GalSimRangeError(
            "rotation in plain numbers is in radians, and this is more than a turn: give "
            "galsim.Angle, such as 90 * galsim.degrees", largest, -2 * math.pi, 2 * math.pi
        )  # fmt: skip
