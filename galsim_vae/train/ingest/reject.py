"""What is not one well-measured galaxy, and why."""

import math
from dataclasses import replace

import numpy as np
from scipy import ndimage

from galsim_vae.bands import BANDS
from galsim_vae.frame import canonical as frame
from galsim_vae.frame import moments as estimate
from galsim_vae.frame.observation import Observation
from galsim_vae.train.apertures import MIN_COVER, aperture_noise, cover, elliptical_radius
from galsim_vae.train.readers import sky
from galsim_vae.train.readers.source import Source

__all__ = ["blended", "covered", "has_flat_top", "has_two_nuclei", "reject"]

# Limits of what is taken as one well-measured galaxy. Lengths are in observed half-light radii of
# the reference band unless stated.
MAX_OFF_CENTRE = 1.0  # centroid from the stamp's centre
MAX_BAND_OFFSET = 0.3  # centroid between the bluest and the reddest band
MIN_SIZE = 1.15  # half-light radius over the PSF's; that of a star of S/N 20 scatters by 0.05
MIN_SIGNAL_TO_NOISE = 7.0  # of the flux in an aperture of two half-light radii
SKY_RADII = 4.0  # the sky is looked at beyond so many half-light radii
MAX_SKY = 0.2  # its change over the stamp, over two half-light radii, relative to the flux
# A Gaussian is above 0.9 of its peak in 0.15 of the area above 0.5, peakier profiles in less; a
# clipped star in nearly all. Looked at where the peak has a signal-to-noise ratio of
FLAT_TOP, FLAT_TOP_SIGNAL_TO_NOISE = 0.45, 50.0
MERGER_PEAK = 0.4  # a second nucleus is at least so bright, relative to the first,
MERGER_DIP = 0.6  # and the saddle between them at most so bright, relative to the second,
MERGER_SIGMA = 5.0  # and the difference of so many sigma
# Usable share of the canonical pixels within two half-light radii, where a neighbour's wings reach
# in; see `apertures.MIN_COVER`.
MIN_OUTER_COVER = 0.75


def reject(source: Source, observation: Observation, geometry: frame.Geometry) -> str:
    """Return why a measured galaxy should not be used, or ''.

    Parameters
    ----------
    observation : Observation
        The source's, neighbours masked.
    """
    band = geometry.band
    scale = math.sqrt(observation.wcs[band].pixelArea())
    radius = geometry.observed_half_light_radius
    if geometry.flux[band] <= MIN_SIGNAL_TO_NOISE * aperture_noise(observation, geometry):
        return "too noisy"
    if math.hypot(*geometry.centroid) > MAX_OFF_CENTRE * radius:
        return "off centre"
    if radius < MIN_SIZE * estimate.psf_size(observation.psf[band], scale)[1]:
        return "unresolved"
    if source.segment_only and _band_offset(observation, geometry) > MAX_BAND_OFFSET * radius:
        return "bands disagree on the centre"
    if any(has_flat_top(observation, geometry, b) for b in observation.image):
        return "saturated"
    if has_two_nuclei(observation, geometry):
        return "two nuclei"
    if not source.segment_only and _sky_gradient(observation, geometry) > MAX_SKY:
        return "uneven sky"
    return ""


def _band_offset(observation: Observation, geometry: frame.Geometry) -> float:
    """Distance of the centroids in the bluest and in the reddest band [arcsec]."""
    ends = [b for b in BANDS if b in observation.image]
    first, last = (_centroid(observation, b, geometry) for b in (ends[0], ends[-1]))
    return math.dist(first, last)


def _sky_gradient(observation: Observation, geometry: frame.Geometry) -> float:
    """Largest difference of the sky's level in two quadrants, in the aperture of two half-light
    radii, over the galaxy's flux; 0 where the sky does not show.
    """  # noqa: D205
    band = geometry.band
    image, mask = observation.image[band], observation.mask[band]
    distance = elliptical_radius(observation, geometry, band)
    far = mask & (distance > SKY_RADII * geometry.observed_half_light_radius)
    show = sky.pixels(image, far)
    y, x = np.indices(image.shape)
    x0, y0 = frame.pixel_centroid(observation, band, geometry.centroid)
    quadrants = [show & ((x > x0) == right) & ((y > y0) == up) for right in (0, 1) for up in (0, 1)]
    quadrants = [q for q in quadrants if q.sum() >= sky.MIN_PIXELS]
    if len(quadrants) < 2:
        return 0.0
    levels = [sky.level(image, q) for q in quadrants]
    # Less what noise makes of it (four sigma).
    samples = min(q.sum() for q in quadrants) / observation.noise_area(band)
    change = max(levels) - min(levels) - 4 * observation.noise[band] / math.sqrt(samples)
    area = math.pi * (2 * geometry.observed_half_light_radius) ** 2
    return change * area / observation.wcs[band].pixelArea() / geometry.flux[band]


def _centroid(observation, band, geometry) -> tuple[float, float]:
    """Centroid of the flux inside two half-light radii, from the observation's centre [arcsec]."""
    x0, y0 = frame.pixel_centroid(observation, band, geometry.centroid)
    scale = math.sqrt(observation.wcs[band].pixelArea())
    image = observation.image[band] * observation.mask[band]
    y, x = np.indices(image.shape)
    near = np.hypot(x - x0, y - y0) < 2 * geometry.observed_half_light_radius / scale
    flux = image[near].sum()
    return (x - x0)[near] @ image[near] / flux * scale, (y - y0)[near] @ image[near] / flux * scale


def has_flat_top(observation: Observation, geometry: frame.Geometry, band: str) -> bool:
    """Tell whether the brightest part of a band is a plateau, as of a saturated star."""
    near = elliptical_radius(observation, geometry, band) < 3 * geometry.observed_half_light_radius
    image = np.where(near & observation.mask[band], observation.image[band], 0.0)
    peak = image.max()
    if peak <= FLAT_TOP_SIGNAL_TO_NOISE * observation.noise[band]:
        return False
    top, half = (_area(image, share * peak) for share in (0.9, 0.5))
    return half >= 9 and top > FLAT_TOP * half


def _area(image, threshold: float) -> int:
    """Number of pixels above a threshold that are connected with the brightest one."""
    labels, _ = ndimage.label(image >= threshold)
    return int(np.sum(labels == labels.flat[np.argmax(image)]))


def has_two_nuclei(observation: frame.Observation, geometry: frame.Geometry) -> bool:
    """Tell whether the reference band has a second bright peak behind a deep saddle.

    The image is smoothed with a Gaussian of a quarter of the half-light radius, and peaks count if
    a half-light radius apart. The saddle spares arms, clumps and edge-on discs.
    """
    band = geometry.band
    radius = geometry.observed_half_light_radius / math.sqrt(observation.wcs[band].pixelArea())
    image = observation.image[band] * observation.mask[band]
    smooth = ndimage.gaussian_filter(image, radius / 4)
    x0, y0 = frame.pixel_centroid(observation, band, geometry.centroid)
    y, x = np.nonzero((smooth == ndimage.maximum_filter(smooth, 5)) & (smooth > 0))
    near = np.hypot(x - x0, y - y0) < 3 * radius
    x, y = x[near], y[near]
    if x.size == 0:
        return False
    height = smooth[y, x]
    top = int(np.argmax(height))
    sigma = _smooth_noise(observation, band, radius / 4)
    for i in np.flatnonzero(height > MERGER_PEAK * height[top]):
        if math.hypot(x[i] - x[top], y[i] - y[top]) < radius:
            continue
        share = np.linspace(0, 1, 50)
        path = [y[top] + share * (y[i] - y[top]), x[top] + share * (x[i] - x[top])]
        saddle = ndimage.map_coordinates(smooth, path, order=1).min()
        if saddle < MERGER_DIP * height[i] and height[i] - saddle > MERGER_SIGMA * sigma:
            return True
    return False


def _smooth_noise(observation, band: str, sigma: float) -> float:
    """Noise rms of a band after smoothing with a Gaussian of `sigma` pixels."""
    # Averaged over 4 pi sigma^2 pixels, if these are many, of noise with that correlation area.
    area = observation.noise_area(band)
    return observation.noise[band] * math.sqrt(min(area / (4 * math.pi * sigma**2), 1.0))


def covered(source: Source, canonical: frame.Canonical, band: str) -> frame.Canonical:
    """Return the stamp without the bands that show too little of the galaxy.

    Parameters
    ----------
    band : str
        In which the galaxy was measured; it stays.
    """
    mask = canonical.mask.copy()
    for i, name in enumerate(BANDS):
        if name != band and blended(source, mask[i : i + 1]):
            mask[i] = False
    return replace(canonical, mask=mask)


def blended(source: Source, mask) -> str:
    """Return why too little of a canonical stamp (bands, 64, 64) is usable, or ''."""
    if cover(mask, 1.0) < MIN_COVER:
        return "too little usable area"
    if not source.segment_only and cover(mask, 2.0) < MIN_OUTER_COVER:
        return "blended"
    return ""
