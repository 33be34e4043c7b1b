"""What is left of galaxies where their stamps end, and a picture that would show it."""

import galsim
import numpy as np
from numpy.typing import NDArray

from galsim_vae.bands import BANDS, REFERENCE, STAMP_SIZE
from galsim_vae.conditions import NAMES
from galsim_vae.generator import GalaxyGenerator
from galsim_vae.stamps import Stamps

__all__ = ["DRAWS", "FAINTEST_SHOWN", "end_brightness", "population_ends"]

#: Galaxies that are drawn from the population.
DRAWS = 1000
_RING = (25.5, 26.5)  # where stamps end: distance from their centre [pixel]
_SHOWN = 16
_BRIGHT = 22.0
#: Brightness that is grey in the picture, over the peak.
FAINTEST_SHOWN = 1e-4
_PIXELS = 160  # of a picture; it reaches a little beyond the corners of the stamp
_MARGIN = 1.05


def end_brightness(stamps: NDArray) -> NDArray:
    """Return the brightest pixel at the end of each stamp over its peak, in F814W.

    Parameters
    ----------
    stamps : ndarray (n, bands, 64, 64)
        Without PSF.

    Returns
    -------
    ndarray (n,)
        Brightest pixel between 25.5 and 26.5 px from the centre, where the taper begins, over the
        brightest of all.
    """
    image = stamps[:, BANDS.index(REFERENCE)]
    axis = np.arange(STAMP_SIZE) - (STAMP_SIZE - 1) / 2
    distance = np.hypot(axis[:, None], axis)
    ring = (distance >= _RING[0]) & (distance <= _RING[1])
    return image[:, ring].max(1) / image.max((1, 2))


def population_ends(generator: GalaxyGenerator, seed: int) -> dict[str, NDArray]:
    """Draw galaxies of the population; return their ends and pictures of bright ones.

    Parameters
    ----------
    generator : GalaxyGenerator
    seed : int

    Returns
    -------
    dict
        ``ends/model`` (n,), see `end_brightness`; ``bright/model`` (16, 160, 160), galaxies
        brighter than 22 mag on the sky, their peak 1, through a PSF of two pixels.
    """
    rng = galsim.BaseDeviate(int(np.random.SeedSequence([seed, 10]).generate_state(1)[0] >> 1) + 1)
    drawn = generator.sample(generator.sample_conditions(DRAWS, rng), rng, exact=True)
    magnitude = drawn.conditions.values[:, NAMES.index("magnitude")]
    bright = np.argsort(magnitude > _BRIGHT, kind="stable")[:_SHOWN]
    pictures = [_picture(drawn[k : k + 1]) for k in bright]
    return {"ends/model": end_brightness(drawn.array), "bright/model": np.stack(pictures)}


def _picture(galaxy: Stamps) -> NDArray:
    """One galaxy on the sky, with all of its stamp."""
    corners = galaxy.jacobian[0] @ np.array([[1, 1], [1, -1]]) * STAMP_SIZE / 2
    scale = 2 * _MARGIN * float(np.abs(corners).max()) / _PIXELS
    psf = galsim.Gaussian(fwhm=2 * scale)
    (image,) = galaxy.render(psf, nx=_PIXELS, ny=_PIXELS, scale=scale, device="cpu")[0]
    return image / image.max()
