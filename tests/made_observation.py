"""A galaxy as a survey would see it, without noise, and its exact canonical stamp."""

import galsim
import numpy as np

from galsim_vae.bands import BANDS
from galsim_vae.frame import canonical as frame

PSF = galsim.Convolve(galsim.Gaussian(sigma=0.06), galsim.Pixel(0.06))
BAND = "F814W"


def galaxy(shear=0.3, angle=35.0, radius=0.5):
    """A disc without a cusp, so that canonical pixels can sample it."""
    disc = galsim.Sersic(1, half_light_radius=radius, flux=100.0)
    disc = galsim.Convolve(disc, galsim.Gaussian(sigma=0.2 * radius))
    return disc.shear(g=shear, beta=angle * galsim.degrees).shift(0.021, -0.034)


def observe(profile, bands=(BAND,), size=(120, 131), scale=0.06, psf=PSF, wcs=None, **kwargs):
    wcs = wcs or galsim.PixelScale(scale)
    image = galsim.Convolve(profile, psf).drawImage(
        nx=size[1], ny=size[0], wcs=wcs, method="no_pixel", dtype=float
    )
    return frame.Observation(
        {b: image.array for b in bands}, dict.fromkeys(bands, wcs), dict.fromkeys(bands, psf),
        **kwargs,
    )  # fmt: skip


def stamp_of(profile, geometry, band=BAND):
    """The exact PSF-free canonical stamp of a profile."""
    stamp = np.zeros((len(BANDS), 64, 64))
    stamp[BANDS.index(band)] = (
        profile.shift(-geometry.centroid[0], -geometry.centroid[1])
        .drawImage(
            nx=64, ny=64, wcs=frame.canonical_wcs(geometry), method="no_pixel", dtype=float
        ).array
    )
    return stamp
