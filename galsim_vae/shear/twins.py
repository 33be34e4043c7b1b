"""Parametric twins: the Sersic profile that is most like a galaxy.

A twin has its galaxy's flux, half-light radius, ellipticity and centroid, by the same estimators,
and the Sersic index that fits the stamp best. It is a stamp too, so that the two go through the
same interpolation, fade at the same ends, and have the resolution of a stamp in common: what is
left between them is morphology.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae import shapes
from galsim_vae.bands import HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE
from galsim_vae.conditions import NAMES, Conditions
from galsim_vae.devices import pinned_torch
from galsim_vae.frame.frames import DEFAULT
from galsim_vae.geometry import residual_shear, shear_matrix
from galsim_vae.render import sersic
from galsim_vae.stamps import Stamps

__all__ = ["Twins", "in_one_band", "sersic_twins"]

_BATCH = 32
_ITERATIONS = 4
_LARGEST = 0.2  # correction of ln radius and of g


class Twins(NamedTuple):
    """Twins of n galaxies.

    ``stamps`` of one band; ``index`` (n,) Sersic indices; ``residual`` (n,) the part of the light
    that is elsewhere in the twin, half the sum of absolute differences; ``good`` (n,) whether both
    could be measured.
    """

    stamps: Stamps
    index: NDArray
    residual: NDArray
    good: NDArray


def in_one_band(stamps: Stamps, band) -> Stamps:
    """Galaxies through one filter, as stamps of that filter alone.

    Parameters
    ----------
    stamps : Stamps
    band : str or galsim.Bandpass
        As in `galsim_vae.Stamps.galaxy`.

    Returns
    -------
    Stamps
        ``array`` (n, 1, 64, 64), each of sum 1; the magnitude is that through ``band``. It goes by
        the name of the reference band, the only one whose flux is the magnitude's.
    """
    weights = stamps.weights(band, 0.0)
    images = np.einsum("nb,nbyx->nyx", weights, stamps.array.astype(np.float64))
    flux = images.sum(axis=(1, 2))
    values = stamps.conditions.values.copy()
    values[:, NAMES.index("magnitude")] = -2.5 * np.log10(flux)
    conditions = Conditions(values, stamps.conditions.angle, stamps.conditions.id)
    array = (images / flux[:, None, None]).astype(np.float32)[:, None]
    return Stamps(array, conditions, stamps.jacobian, stamps.offset, (REFERENCE,))


@pinned_torch()
def sersic_twins(stamps: Stamps) -> Twins:
    """Fit a Sersic index to each galaxy and make its twin.

    Parameters
    ----------
    stamps : Stamps
        Of one band, as `in_one_band` gives them.

    Returns
    -------
    Twins
    """
    parts = [_fit(stamps[i : i + _BATCH]) for i in range(0, len(stamps), _BATCH)]
    array, jacobian, offset, index, residual, good = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    twins = Stamps(array[:, None], stamps.conditions, jacobian, offset, stamps.bands)
    return Twins(twins, index, residual, good)


def _fit(stamps: Stamps) -> tuple[NDArray, ...]:
    """One batch: twin stamps (n, 64, 64), jacobians, offsets, indices, residuals, good."""
    images = torch.from_numpy(stamps.array[:, 0])
    moments, radius, good = shapes.measure(images)
    # A galaxy that cannot be measured keeps a round twin, and is not used.
    x, y, g1, g2 = (torch.where(good, v, torch.zeros_like(v)) for v in moments[:4])
    radius = torch.where(good, radius, torch.full_like(radius, HALF_LIGHT_PIXELS))

    twins, index, seen, twin_radius, twin_good = _most_like(images, radius, g1, g2, x, y)
    good = (good & twin_good).numpy()
    shear = residual_shear(_complex(seen.g1, seen.g2), _complex(g1, g2))
    larger = (radius / twin_radius).double().numpy()[:, None, None]
    stretch = larger * shear_matrix(np.real(shear), np.imag(shear))
    stretch = np.where(good[:, None, None], stretch, np.eye(2))
    jacobian = stamps.jacobian @ stretch
    # The twin's centroid goes where the galaxy's is on the sky.
    centre = np.stack([x.numpy(), y.numpy()], axis=1).astype(np.float64)
    place = np.einsum("nij,nj->ni", stamps.jacobian, centre - stamps.offset)
    twin_centre = np.stack([seen.x.numpy(), seen.y.numpy()], axis=1).astype(np.float64)
    twin_centre = np.where(good[:, None], twin_centre, centre)
    offset = twin_centre - np.linalg.solve(jacobian, place[:, :, None])[:, :, 0]
    residual = 0.5 * (images - twins).abs().sum(dim=(1, 2)).numpy()
    return twins.numpy(), jacobian, offset, index.double().numpy(), residual, good


def _most_like(images: Tensor, radius: Tensor, g1: Tensor, g2: Tensor, x: Tensor, y: Tensor):
    """Profiles of one ellipse and of the index that fits best, and the moments of them.

    Smoothing and the end of the stamp make the measured ellipse another than the profile's, so
    that the latter is corrected once.

    Returns
    -------
    twins : tensor (n, 64, 64)
        Of sum 1.
    index : tensor (n,)
        Sersic indices.
    moments : Moments
        Of the twins.
    radius : tensor (n,)
        Half-light radii [pixel].
    good : tensor (n,)
        Whether both could be measured.
    """
    values = torch.stack([torch.zeros_like(x), radius.log(), g1, g2, x, y], 1)
    ends = DEFAULT.taper(STAMP_SIZE)
    for last in (False, True):
        values = sersic.fit(images, start=values, free=("ln index",), iterations=_ITERATIONS)
        twins = sersic.stamps(values) * ends
        twins = twins / twins.sum((1, 2), keepdim=True)
        seen, seen_radius, good = shapes.measure(twins)
        if not last:
            change = torch.stack([(radius / seen_radius).log(), g1 - seen.g1, g2 - seen.g2], 1)
            values[:, 1:4] += torch.where(good[:, None], change, 0.0).clamp(-_LARGEST, _LARGEST)
    return twins, values[:, 0].exp(), seen, seen_radius, good


def _complex(g1: Tensor, g2: Tensor) -> NDArray:
    return g1.double().numpy() + 1j * g2.double().numpy()
