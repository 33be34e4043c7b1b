"""Drawn galaxies beside held-out real ones, through the same PSF and noise, as one picture."""

from collections import Counter

import galsim
import numpy as np
import torch
from astropy.table import MaskedColumn, Table
from numpy.typing import NDArray

from galsim_vae import GalaxyGenerator
from galsim_vae.model import likelihood
from galsim_vae.plots import colour_image
from galsim_vae.train.fit.batch import Batch
from galsim_vae.train.fit.real import RealGalaxies
from galsim_vae.train.training_file import Dataset, check_frame

__all__ = ["COLUMNS", "SIGNAL_TO_NOISE", "as_observed", "conditions", "pictures", "rows"]

COLUMNS = 12
# Both are brought to this signal-to-noise ratio, so that noise does not tell them apart.
SIGNAL_TO_NOISE = 150.0
SOURCES = ("candels_goodss", "jwst_ceers", "hst_acs", "sdss_r")


def conditions(data: Dataset) -> Table:
    """What is known of each galaxy; the rest is left to the population."""
    table = Table({"id": np.arange(len(data))})
    for name in ("magnitude", "half_light_radius", "redshift"):
        values = getattr(data, name)
        table[name] = MaskedColumn(values, mask=~np.isfinite(values))
    table["g1"], table["g2"] = data.g, np.zeros(len(data))
    return table


def as_observed(stamps: NDArray, real: Batch, generator: torch.Generator) -> NDArray:
    """Show drawn galaxies as the real ones were: PSF, noise, mask and flux of the brightest band.

    Parameters
    ----------
    stamps : ndarray (n, bands, size, size)
        PSF-free canonical stamps.
    real : Batch
        The galaxies that they stand beside.
    """
    seen = likelihood.convolve(torch.from_numpy(stamps), real.otf)
    flux = torch.where(real.mask.any(-1).any(-1), (seen * real.mask).sum((2, 3)), 0.0).amax(1)
    own = (real.image * real.mask).sum((2, 3)).amax(1)
    seen = seen * (own / flux)[:, None, None, None]
    noise = (real.noise.square() * real.noise_area).sqrt()
    seen = seen + noise[:, :, None, None] * torch.randn(seen.shape, generator=generator)
    return (seen * real.mask).numpy()


def rows(data: Dataset, generator: GalaxyGenerator, seed: int) -> list[list[NDArray]]:
    """Pictures of held-out galaxies of one source, and of drawn ones with their conditions."""
    chosen = np.flatnonzero(data.valid)[:COLUMNS]
    noise = torch.Generator().manual_seed(seed)
    galaxies = RealGalaxies(data[chosen], np.ones(len(chosen), dtype=bool))
    index = torch.arange(len(chosen))
    level = torch.full((len(chosen),), SIGNAL_TO_NOISE)
    real = galaxies.batch(index, noise, level)
    stamps = generator.sample(conditions(data[chosen]), galsim.BaseDeviate(seed), exact=True)
    drawn = as_observed(stamps.array, real, noise)
    return [[colour_image(x) for x in images] for images in (real.image.numpy(), drawn)]


def pictures(data: Dataset, generator: GalaxyGenerator) -> list[list[NDArray]]:
    """Two rows of pictures for each of some sources of a training file: real and drawn galaxies.

    The sources are those of `SOURCES` that the file has, or else the four with most held-out
    galaxies.

    Raises
    ------
    galsim.GalSimValueError
        No galaxy is held out.
    """
    check_frame(data, generator.frame)
    counts = Counter(np.asarray(data.source)[data.valid].tolist())
    if not counts:
        raise galsim.GalSimValueError("The training file holds out no galaxy", len(data))
    names = [name for name in SOURCES if name in counts]
    names = names or [name for name, _ in counts.most_common(len(SOURCES))]
    found = []
    for number, name in enumerate(names):
        found += rows(data[np.asarray(data.source) == name], generator, seed=number)
    return found
