"""A galaxy's ellipses on its pixels: radius, noise of a flux, and what of them is usable."""

import math

import galsim
import numpy as np
from numpy.typing import NDArray

from galsim_vae.bands import HALF_LIGHT_PIXELS
from galsim_vae.frame import canonical as frame
from galsim_vae.frame.moments import Ellipse
from galsim_vae.frame.observation import Observation

__all__ = ["MIN_COVER", "aperture_noise", "cover", "elliptical_radius", "shown"]

# Usable share of the canonical pixels within one half-light radius that a galaxy needs.
MIN_COVER = 0.8


def aperture_noise(
    observation: Observation, geometry: frame.Geometry, rms: float | None = None
) -> float:
    """Noise of the flux inside two half-light radii in the reference band.

    White noise of `rms` per native pixel stands in for the observation's own if given.
    """
    if rms is None:
        rms = observation.noise[geometry.band] * math.sqrt(observation.noise_area(geometry.band))
    area = observation.wcs[geometry.band].pixelArea()
    return rms * math.sqrt(math.pi * (2 * geometry.observed_half_light_radius) ** 2 / area)


def elliptical_radius(observation: Observation, geometry: frame.Geometry, band: str) -> NDArray:
    """Geometric-mean radius [arcsec] of every pixel of `band` in the galaxy's ellipses."""
    wcs = observation.wcs[band]
    to_pixel = np.linalg.inv([[wcs.dudx, wcs.dudy], [wcs.dvdx, wcs.dvdy]])
    shape = galsim.Shear(g=geometry.g, beta=geometry.angle * galsim.radians).getMatrix()
    centre = frame.pixel_centroid(observation, band, geometry.centroid)
    ellipse = Ellipse(centre, to_pixel @ shape @ shape @ to_pixel.T)
    return ellipse.radius(observation.image[band].shape) * math.sqrt(wcs.pixelArea())


def cover(mask, radius: float = 1.0) -> float:
    """Usable share, in the worst observed band, of a disc of `radius` half-light radii."""
    y, x = np.indices(mask.shape[1:]) - (mask.shape[1] - 1) / 2
    disc = np.hypot(x, y) < radius * HALF_LIGHT_PIXELS
    return min(float(m[disc].mean()) for m in mask if m.any()) if mask.any() else 0.0


def shown(observation: Observation, geometry: frame.Geometry, band: str) -> float:
    """Usable share of the pixels of `band` inside the galaxy's half-light ellipse."""
    radius = elliptical_radius(observation, geometry, band)
    inside = radius <= max(geometry.observed_half_light_radius, radius.min())
    return float(observation.mask[band][inside].mean())
