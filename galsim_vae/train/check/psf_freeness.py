"""Are decoded stamps free of the PSF? One galaxy through three PSFs must decode to itself."""


import galsim
import numpy as np
import torch
from astropy.table import Table

from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE
from galsim_vae.frame.frames import ROUND, Frame
from galsim_vae.model.vae import VAE
from galsim_vae.shapes import adaptive_moments
from galsim_vae.train.fit.batch import APERTURE_AREA, Batch
from galsim_vae.train.fit.refine import refine
from galsim_vae.train.statistics import bootstrap_error, sigma68

__all__ = [
    "COLOURS",
    "PSF_FWHM",
    "SIGNAL_TO_NOISE",
    "canonical_stamp",
    "profiles",
    "second_moment_ratios",
    "see_through_moffat",
]

# FWHM of the PSFs in half-light radii: the widest is the limit that the network is held to,
# half-light radius = 0.7 FWHM.
PSF_FWHM = (0.5, 1.0, 1 / 0.7)
SIGNAL_TO_NOISE = 200.0
# What a wide PSF blurs is found by many steps only.
_STEPS, _LEARNING_RATE = 250, 0.1
# f_nu relative to F814W of an Sbc galaxy at redshift 0.7 (CWW template); no colour gradients.
COLOURS = (0.10, 0.34, 1.0, 2.04, 2.91)


def profiles(n: int, seed: int, frame: Frame = ROUND) -> list[galsim.GSObject]:
    """Smooth galaxies with a known truth, in canonical pixels of a frame.

    Sersic discs and bulges, index 0.8 to 2.5, |g| up to 0.6, with a round Gaussian of 0.65 pixels
    that limits their band as it does that of every synthetic galaxy.
    """
    rng = np.random.default_rng(seed)
    index, g = rng.uniform(0.8, 2.5, n), frame.rest(rng.uniform(0, 0.6, n))
    return [
        galsim.Convolve(
            galsim.Sersic(n=round(a, 2), half_light_radius=HALF_LIGHT_PIXELS).shear(g1=b),
            galsim.Gaussian(sigma=0.65),
        )
        for a, b in zip(index, g, strict=True)
    ]


def canonical_stamp(profile: galsim.GSObject, centre: float = 0.0) -> torch.Tensor:
    """Canonical stamp (size, size) of a profile in canonical pixels."""
    image = profile.shift(centre, centre).drawImage(
        nx=STAMP_SIZE, ny=STAMP_SIZE, scale=1.0, method="no_pixel", dtype=float
    )
    return torch.from_numpy(image.array.astype(np.float32))


def see_through_moffat(
    galaxies: list[galsim.GSObject], fwhm: float, generator: torch.Generator
) -> Batch:
    """See galaxies through one Moffat PSF of `fwhm` [canonical pixel], in all bands alike."""
    psf = galsim.Convolve(galsim.Moffat(beta=4.5, fwhm=fwhm), galsim.Pixel(1.0))
    seen = torch.stack([canonical_stamp(galsim.Convolve(galaxy, psf)) for galaxy in galaxies])
    kernel = canonical_stamp(psf, 0.5)
    otf = torch.fft.rfft2(torch.fft.ifftshift(kernel / kernel.sum()))
    n, bands = len(galaxies), len(BANDS)
    noise = torch.full((n, bands), 1 / (SIGNAL_TO_NOISE * APERTURE_AREA**0.5))
    image = seen[:, None] * torch.tensor(COLOURS)[:, None, None]
    image = image + noise[:, :, None, None] * torch.randn(image.shape, generator=generator)
    otf = otf.expand(n, bands, -1, -1)
    mask = torch.ones_like(image, dtype=torch.bool)
    return Batch(image, otf, noise, torch.ones_like(noise), mask)


def second_moment_ratios(vae: VAE, n: int = 256, seed: int = 1) -> Table:
    """Decode galaxies seen through each PSF and compare second moments with the truth.

    The latents have the highest posterior under a standard normal prior of full weight.

    Parameters
    ----------
    n : int, optional
        Galaxies.

    Returns
    -------
    Table with a row a PSF: fwhm [half-light radius]; ratio, ratio_error, the median of the
    decoded over the true second moment (adaptive moments, sigma^2) and its bootstrap error;
    scatter, half the 16 to 84 percentile range.
    """
    reference = BANDS.index(REFERENCE)
    galaxies = profiles(n, seed, vae.config.canonical_frame)
    truth = adaptive_moments(
        torch.stack([canonical_stamp(galaxy) for galaxy in galaxies])
    ).sigma.square()
    table = Table(names=("fwhm", "ratio", "ratio_error", "scatter"))
    rng = np.random.default_rng(seed)
    for number, fwhm in enumerate(PSF_FWHM):
        generator = torch.Generator().manual_seed(seed + number)
        batch = see_through_moffat(galaxies, fwhm * HALF_LIGHT_PIXELS, generator)
        latent = refine(
            vae, batch, _STEPS, 1.0, _LEARNING_RATE, f"through a PSF of {fwhm:.2f} radii"
        )
        with torch.no_grad():
            stamps = vae.decoder(latent)[:, reference]
        ratio = (adaptive_moments(stamps).sigma.square() / truth).numpy()
        error = bootstrap_error(np.median, ratio, random=rng)
        table.add_row((fwhm, np.median(ratio), error, sigma68(ratio)))
    return table
