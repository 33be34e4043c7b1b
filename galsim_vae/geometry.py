"""Linear maps of the plane: rotations, shears, and ellipses in them. NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "elliptical_radius",
    "residual_shear",
    "rotation_matrix",
    "shear_matrix",
    "sheared_shape",
]


def rotation_matrix(angle: ArrayLike) -> NDArray:
    """Return the matrix of a counterclockwise rotation.

    Parameters
    ----------
    angle : array_like (...)
        Radians.

    Returns
    -------
    ndarray (..., 2, 2) float64
    """
    cos, sin = np.cos(angle), np.sin(angle)
    return _last_axes(np.array([[cos, -sin], [sin, cos]]))


def shear_matrix(g1: ArrayLike, g2: ArrayLike) -> NDArray:
    """Return the matrix of a shear that keeps areas, that of `galsim.Shear.getMatrix`.

    Parameters
    ----------
    g1, g2 : array_like (...)
        Reduced shear, of a size below 1.

    Returns
    -------
    ndarray (..., 2, 2) float64
    """
    g1, g2 = np.broadcast_arrays(np.asarray(g1, dtype=float), np.asarray(g2, dtype=float))
    matrix = np.array([[1 + g1, g2], [g2, 1 - g1]]) / np.sqrt(1 - np.hypot(g1, g2) ** 2)
    return _last_axes(matrix)


def sheared_shape(shape: Any, shear: Any) -> Any:
    """Return the shape of what has one shape and is sheared, all as g1 + i g2.

    Adaptive moments and half-light ellipses follow a shear exactly (Bernstein & Jarvis 2002,
    AJ 123, 583, equation 2.13).

    Parameters
    ----------
    shape : (n,) complex array or tensor
        Reduced shear of the ellipse.
    shear : (n,) real or complex array or tensor
        Reduced shear that is applied to it.

    Returns
    -------
    (n,) complex array or tensor
    """
    return (shape + shear) / (1 + shear.conj() * shape)


def residual_shear(found: NDArray, asked: NDArray) -> NDArray:
    """Return the shear that turns one shape into another, all as g1 + i g2.

    The solution s of (found + s) / (1 + conj(s) found) = asked, GalSim's addition of shears
    (Bernstein & Jarvis 2002, AJ 123, 583, equation 2.13).

    Parameters
    ----------
    found, asked : ndarray (n,) complex
        Reduced shears of the two shapes.

    Returns
    -------
    ndarray (n,) complex
    """
    difference = asked * (1 - np.abs(found) ** 2) - found * (1 - np.abs(asked) ** 2)
    return difference / (1 - np.abs(found * asked) ** 2)


def elliptical_radius(x: Any, y: Any, xx: Any, xy: Any, yy: Any) -> Any:
    """Return how large an ellipse of given shape is that goes through a point, as sqrt(a b).

    Parameters
    ----------
    x, y : array or tensor (...)
        The point, from the ellipse's centre.
    xx, xy, yy : array, tensor or float
        Second moments of the shape, in any unit; they broadcast with the point.

    Returns
    -------
    array or tensor (...)
        In the unit of the point.
    """
    form = (yy * x * x - 2 * xy * x * y + xx * y * y) / (xx * yy - xy * xy) ** 0.5
    return form.clip(min=0) ** 0.5


def _last_axes(matrix: NDArray) -> NDArray:
    return np.moveaxis(matrix, (0, 1), (-2, -1))
