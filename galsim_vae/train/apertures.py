"""How well a PSF-free stamp explains an observation, in the native pixels of the survey."""

import math
from dataclasses import replace
from typing import NamedTuple

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from galsim_vae.frame import canonical as frame

__all__ = [
    "SEGMENT_SIGMA",
    "BandResidual",
    "add_noise",
    "aperture_noise",
    "elliptical_radius",
    "fit_amplitude",
    "half_light_ellipse",
    "native_residuals",
    "segment",
]

# Segments: pixels this many sigma above zero in the image smoothed by a Gaussian of so many pixels.
SEGMENT_SIGMA = 2.0
SEGMENT_SMOOTHING = 1.5


class BandResidual(NamedTuple):
    """Misfit of one band.

    Attributes
    ----------
    chi_square : per degree of freedom, inside the segment.
    absolute : sum of |data - model| over the sum of the data, inside the half-light ellipse. The
        noise adds to it.
    net : sum of (data - model) over the sum of the data, inside the half-light ellipse.
    """

    chi_square: float
    absolute: float
    net: float


def aperture_noise(
    observation: frame.Observation, geometry: frame.Geometry, rms: float | None = None
) -> float:
    """Noise of the flux inside two half-light radii in the reference band.

    White noise of `rms` per native pixel stands in for the observation's own if given.
    """
    if rms is None:
        rms = observation.noise[geometry.band] * math.sqrt(observation.noise_area(geometry.band))
    area = observation.wcs[geometry.band].pixelArea()
    return rms * math.sqrt(math.pi * (2 * geometry.observed_half_light_radius) ** 2 / area)


def add_noise(
    observation: frame.Observation,
    geometry: frame.Geometry,
    signal_to_noise: float,
    rng: galsim.BaseDeviate,
) -> frame.Observation:
    """Return the observation with white noise added down to a signal-to-noise ratio.

    The ratio is that of the flux to the noise inside two half-light radii in the reference band.
    Every band gets noise of the same rms per solid angle. A galaxy that is noisier already stays
    as it is.
    """
    wanted = geometry.flux[geometry.band] / signal_to_noise
    unit = aperture_noise(observation, geometry, 1.0)
    own = aperture_noise(observation, geometry) / unit
    added = math.sqrt(max((wanted / unit) ** 2 - own**2, 0.0))
    area = observation.wcs[geometry.band].pixelArea()
    deviate = galsim.GaussianDeviate(rng)
    image, noise, correlation = {}, {}, {}
    for band, array in observation.image.items():
        rms = added * math.sqrt(observation.wcs[band].pixelArea() / area)
        draws = np.empty(array.size)
        deviate.generate(draws)
        image[band] = array + rms * draws.reshape(array.shape)
        noise[band] = math.hypot(rms, observation.noise[band])
        if band in observation.correlation and noise[band] > 0:
            mixed = observation.correlation[band] * (observation.noise[band] / noise[band]) ** 2
            mixed[mixed.shape[0] // 2, mixed.shape[1] // 2] = 1.0
            correlation[band] = mixed
    return replace(observation, image=image, noise=noise, correlation=correlation)


def segment(observation: frame.Observation, geometry: frame.Geometry, band: str) -> NDArray:
    """Find the galaxy's pixels in `band`: usable, significant, and connected to its centre.

    Returns
    -------
    bool array with the shape of the band's image; it always holds the half-light ellipse.
    """
    mask = observation.mask[band]
    centre = frame.pixel_centroid(observation, band, geometry.centroid)
    filled = frame.fill_masked(observation.image[band], mask, centre)
    smooth = ndimage.gaussian_filter(filled, SEGMENT_SMOOTHING)
    sigma = observation.noise[band] * _smoothed_noise(observation.correlation.get(band))
    found = (smooth > SEGMENT_SIGMA * sigma) | half_light_ellipse(observation, geometry, band)
    labels, _ = ndimage.label(found)
    x, y = (int(round(c)) for c in centre)
    return mask & (labels == labels[y, x])


def _smoothed_noise(correlation: NDArray | None) -> float:
    """Rms of noise of unit rms after smoothing with a Gaussian of `SEGMENT_SMOOTHING`."""
    variance = 1 / (4 * math.pi * SEGMENT_SMOOTHING**2)
    if correlation is None:
        return math.sqrt(variance)
    y, x = np.indices(correlation.shape) - np.array(correlation.shape)[:, None, None] // 2
    overlap = np.exp(-(x**2 + y**2) / (4 * SEGMENT_SMOOTHING**2))
    return math.sqrt(variance * max(float(np.sum(correlation * overlap)), 1.0))


def elliptical_radius(observation, geometry: frame.Geometry, band: str) -> NDArray:
    """Geometric-mean radius [arcsec] of every pixel of `band` in the galaxy's ellipses."""
    ny, nx = observation.image[band].shape
    x0, y0 = frame.pixel_centroid(observation, band, geometry.centroid)
    y, x = np.indices((ny, nx))
    wcs = observation.wcs[band]
    u = wcs.dudx * (x - x0) + wcs.dudy * (y - y0)
    v = wcs.dvdx * (x - x0) + wcs.dvdy * (y - y0)
    cos, sin = math.cos(geometry.angle), math.sin(geometry.angle)
    # Axis ratio sqrt((1-g)/(1+g)) either way keeps sqrt(ab) at the half-light radius.
    stretch = math.sqrt((1 + geometry.g) / (1 - geometry.g))
    return np.hypot((u * cos + v * sin) / stretch, (v * cos - u * sin) * stretch)


def half_light_ellipse(observation, geometry: frame.Geometry, band: str) -> NDArray:
    """Pixels of `band` inside the (observed) half-light ellipse, as a bool array."""
    ny, nx = observation.image[band].shape
    x0, y0 = frame.pixel_centroid(observation, band, geometry.centroid)
    ellipse = elliptical_radius(observation, geometry, band) <= geometry.observed_half_light_radius
    ellipse[min(max(round(y0), 0), ny - 1), min(max(round(x0), 0), nx - 1)] = True
    return ellipse


def native_residuals(
    stamp: NDArray,
    geometry: frame.Geometry,
    observation: frame.Observation,
    segments: dict[str, NDArray] | None = None,
) -> dict[str, BandResidual]:
    """Compare a PSF-free stamp with an observation in native pixels.

    The stamp's flux is fitted as one number for all bands (inverse-variance weights, over the
    segments); its colours are its own.

    Parameters
    ----------
    stamp : (5, 64, 64) PSF-free canonical stamp.
    segments : dict of band to bool array; found with `segment` if absent.

    Raises
    ------
    galsim.GalSimValueError : a band without noise (chi-square needs one; see `add_noise`).
    """
    for band, rms in observation.noise.items():
        if not rms > 0:
            raise galsim.GalSimValueError(f"Band {band} has no noise: use add_noise first", rms)
    if segments is None:
        segments = {band: segment(observation, geometry, band) for band in observation.image}
    segments = {band: segments[band] & observation.mask[band] for band in observation.image}
    model = frame.to_native(stamp, geometry, observation)
    amplitude = fit_amplitude(model, observation, segments)
    residuals = {}
    for band, data in observation.image.items():
        difference = data - amplitude * model[band]
        inside = segments[band]
        dof = max(inside.sum() - 1 / len(model), 1)
        chi_square = np.sum(difference[inside] ** 2) / observation.noise[band] ** 2 / dof
        core = half_light_ellipse(observation, geometry, band) & observation.mask[band]
        flux = data[core].sum()
        residuals[band] = BandResidual(
            float(chi_square),
            float(np.abs(difference[core]).sum() / flux),
            float(difference[core].sum() / flux),
        )
    return residuals


def fit_amplitude(
    model: dict[str, NDArray], observation: frame.Observation, segments: dict[str, NDArray]
) -> float:
    """Best single factor for the native images of a model, all bands together."""
    top = bottom = 0.0
    for band, inside in segments.items():
        weight = 1 / observation.noise[band] ** 2
        top += weight * float(np.sum(model[band][inside] * observation.image[band][inside]))
        bottom += weight * float(np.sum(model[band][inside] ** 2))
    return top / bottom if bottom > 0 else 0.0
