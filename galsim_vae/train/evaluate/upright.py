"""Real galaxies of any canonical frame in the one in which galaxies are compared."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.frame.frames import UPRIGHT
from galsim_vae.geometry import shear_matrix
from galsim_vae.train.training_file import Dataset

from . import frame
from .noise import correlation_width, gaussian_share

__all__ = ["noise_ratio", "upright"]

# A pixel is usable if all four that it lies between are.
_USABLE = 1 - 1e-3
# `frame.resample` keeps waves up to this share of the new pixels' Nyquist frequency.
_KEPT = 1.1


def upright(data: Dataset) -> Dataset:
    """Put the shears back that the frame of some galaxies has taken out.

    Along x the new pixels are smaller than the old ones, and nothing is finer than these were.
    Along y they are larger, and waves that are too short for them are lost. Beyond the end of the
    old stamp nothing is usable.

    Parameters
    ----------
    data : Dataset
        Of any frame.

    Returns
    -------
    Dataset
        Of the upright frame; the same if it is that already.
    """
    if data.frame == UPRIGHT:
        return data
    taken = torch.from_numpy(data.frame_g).float()
    mask = _mask(data.mask, taken)
    image = frame.put_back(torch.from_numpy(np.where(data.mask, data.image, 0)).float(), taken)
    # A PSF has its centre half a pixel from the middle of its stamp.
    psf = frame.put_back(torch.from_numpy(data.psf).float(), taken, 0.5).numpy()
    total = psf.sum((2, 3), keepdims=True)
    ratio = noise_ratio(data.noise_area, data.frame_g)
    return replace(
        data,
        image=image.numpy() * mask,
        psf=psf / np.where(total > 0, total, 1),
        mask=mask,
        noise=(data.noise * ratio).astype(np.float32),
        noise_area=(data.noise_area / ratio**2).astype(np.float32),
        frame_g=np.zeros_like(data.frame_g),
        frame=UPRIGHT,
    )


def _mask(mask: NDArray, taken: Tensor) -> NDArray:
    """Pixels whose four neighbours in the old stamp are all usable."""
    matrix = torch.from_numpy(shear_matrix(-taken.double().numpy(), 0.0)).float()
    places = torch.cat([matrix, torch.zeros(len(taken), 2, 1)], 2)
    shares = torch.from_numpy(mask).float()
    grid = torch.nn.functional.affine_grid(places, list(shares.shape), align_corners=False)
    return (torch.nn.functional.grid_sample(shares, grid, align_corners=False) > _USABLE).numpy()


def noise_ratio(area: NDArray, taken: NDArray) -> NDArray:
    """Return the rms of noise in the upright frame over that before.

    The power of the noise is taken for a Gaussian that is isotropic on the sky, of a width that
    gives its correlation area in the frame from which it comes, and ends at the Nyquist frequency
    of that frame's pixels.

    Parameters
    ----------
    area : ndarray (n, bands)
        Correlation area before [pixel^2].
    taken : ndarray (n,)
        Shear along +x that the frame has taken out.

    Returns
    -------
    ndarray (n, bands)
    """
    g = np.asarray(taken, dtype=float)[:, None]
    stretch = np.sqrt((1 + g) / (1 - g))
    width = correlation_width(area, stretch) * stretch
    kept = gaussian_share(width, np.minimum(1, _KEPT / stretch))
    return np.sqrt(kept / gaussian_share(width))
