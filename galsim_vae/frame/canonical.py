"""The canonical frame: observed stamps of any survey to 64 px stamps that look alike, and back.

A galaxy is centred on its centroid, its major axis laid along +x, the shear that the frame takes
out removed, and its half-light radius brought to `HALF_LIGHT_PIXELS` of a `STAMP_SIZE` stamp. One
geometry, measured in one reference band, is used for all bands, so that colour gradients survive.
GalSim does every resampling, in Fourier space: the native image is interpolated (quintic) and drawn
with the canonical pixel, which is a parallelogram on the sky.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE
from galsim_vae.geometry import rotation_matrix, shear_matrix

from . import moments as estimate
from .frames import DEFAULT, Frame
from .observation import Observation, fill_masked

__all__ = [
    "DEFAULT",
    "Canonical",
    "Frame",
    "Geometry",
    "Observation",
    "canonical_wcs",
    "fill_masked",
    "measure",
    "pixel_centroid",
    "reference_band",
    "resample",
    "resampled_noise",
    "to_canonical",
    "to_native",
]

# A canonical pixel is usable if the unusable native pixels have at most this weight in it. (The
# quintic kernel reaches three pixels, but its outer lobes are below this.)
BAD_WEIGHT = 0.05
# Native pixels kept around the stamp when resampling.
MARGIN = 8
# Wave numbers up to the Nyquist frequency of the native pixels on which noise is integrated.
NOISE_GRID = 64
# F814W gives the geometry if the galaxy has this signal-to-noise ratio in it, in the best of the
# circular apertures of these radii [pixel].
REFERENCE_SIGNAL_TO_NOISE = 30.0
APERTURES = (3, 6, 12, 24)
# The observed size is never corrected for the PSF to less than this share of itself.
SIZE_FLOOR = 0.5


@dataclass(frozen=True)
class Geometry:
    """Where a galaxy is, how it lies and how large it is on the sky.

    Attributes
    ----------
    centroid : tuple of (float, float)
        (u, v) offset [arcsec] from the observation's `centre`.
    g : float
        |g| = (a - b) / (a + b) of the adaptive moments, PSF quadrupole subtracted.
    angle : float
        Position angle of the major axis from +u [radian].
    half_light_radius : float
        sqrt(ab) of the half-light ellipse, corrected for the PSF [arcsec].
    observed_half_light_radius : float
        The same before the correction [arcsec].
    flux : dict
        Band name to the flux inside the total aperture, in the image's unit.
    band : str
        The band in which all this was measured.
    frame : Frame
        The canonical frame it is to be brought to.
    """

    centroid: tuple[float, float]
    g: float
    angle: float
    half_light_radius: float
    observed_half_light_radius: float
    flux: dict[str, float]
    band: str
    frame: Frame = DEFAULT

    @property
    def pixel_scale(self) -> float:
        """Side of a square of a canonical pixel's area [arcsec]."""
        return self.half_light_radius / HALF_LIGHT_PIXELS

    @property
    def frame_g(self) -> float:
        """Shear that the frame takes out."""
        return float(self.frame.shear(np.asarray(self.g)))

    @property
    def matrix(self) -> NDArray:
        """Map of canonical pixels to the sky, (2, 2) [arcsec/pixel]."""
        return self.pixel_scale * rotation_matrix(self.angle) @ shear_matrix(self.frame_g, 0.0)


@dataclass(frozen=True)
class Canonical:
    """One galaxy in the canonical frame; bands in the order of `BANDS`, zero where unobserved.

    Attributes
    ----------
    image : ndarray (5, 64, 64) float32
        Flux per canonical pixel, in the observation's unit.
    psf : ndarray (5, 64, 64) float32
        Sum 1, centre at index [32, 32]; native and canonical pixel in it.
    mask : ndarray (5, 64, 64) bool
        True where usable.
    noise : ndarray (5,) float32
        Rms per canonical pixel.
    noise_area : ndarray (5,) float32
        Sum of the noise correlation coefficients over all lags [pixel^2]; 1 is white. Given also
        where the noise is 0, as white native noise would have it.
    pixel_scale : float
        Arcsec, of a square of the pixel's area.
    frame_g : float
        Shear along +x that the frame has taken out.
    angle : float
        Position angle of +x [radian].
    """

    image: NDArray
    psf: NDArray
    mask: NDArray
    noise: NDArray
    noise_area: NDArray
    pixel_scale: float
    frame_g: float
    angle: float


def reference_band(observation: Observation, bands: Sequence[str] = ()) -> str:
    """Return the band whose geometry counts: F814W, or else the one of highest signal-to-noise.

    F814W must show the galaxy with at least `REFERENCE_SIGNAL_TO_NOISE`, if other bands do.

    Parameters
    ----------
    bands : sequence of str, optional
        It is one of these; of all that were observed if empty.
    """
    bands = list(bands or observation.image)
    if len(bands) == 1:
        return bands[0]
    ratio = {band: _signal_to_noise(observation, band) for band in bands}
    if ratio.get(REFERENCE, 0.0) >= REFERENCE_SIGNAL_TO_NOISE:
        return REFERENCE
    return max(ratio, key=lambda band: ratio[band])


def _signal_to_noise(observation: Observation, band: str) -> float:
    """Signal-to-noise ratio in the best of some circular apertures about the centre."""
    x, y = observation.centre[band]
    image, mask = observation.image[band], observation.mask[band]
    noise = observation.noise[band] * math.sqrt(observation.noise_area(band))
    rows, columns = np.indices(image.shape)
    distance = np.hypot(columns - x, rows - y)
    best = 0.0
    for radius in APERTURES:
        inside = (distance <= radius) & mask
        flux = float(image[inside].sum())
        # Noise-free images count by their flux.
        best = max(best, flux / (noise * math.sqrt(max(inside.sum(), 1))) if noise else 1e9 * flux)
    return best


def measure(
    observation: Observation, bands: Sequence[str] = (), frame: Frame = DEFAULT
) -> Geometry:
    """Measure centroid, shape, size and fluxes of a galaxy in its reference band.

    Shape: adaptive moments (Hirata & Seljak 2003, MNRAS 343, 459; `galsim.hsm`), those of the PSF
    subtracted. Size: the ellipse of the observed shape that holds half the Petrosian flux,
    corrected as sqrt(observed^2 - psf^2). Both corrections are exact for Gaussians only: good
    enough to lay out the canonical frame, since the labels that train the flow are measured again
    on decoded, PSF-free stamps.

    Parameters
    ----------
    bands : sequence of str, optional
        It is measured in one of these; in any if empty. Fluxes are given for all.
    frame : Frame
        The canonical frame it is to be brought to.

    Raises
    ------
    galsim.GalSimHSMError
        The moments do not converge.
    galsim.GalSimValueError
        No positive flux at the centroid.
    """
    band = reference_band(observation, bands)
    image, mask, guess = observation.image[band], observation.mask[band], observation.centre[band]
    x, y, moments = estimate.adaptive_moments(fill_masked(image, mask, guess), guess)
    ellipse = estimate.Ellipse((x, y), moments)
    filled = fill_masked(image, mask, ellipse.centre)
    total = estimate.total_radius(filled, ellipse)
    radius = estimate.half_light(filled, ellipse, total)

    scale = math.sqrt(observation.wcs[band].pixelArea())
    to_sky = _matrix(observation.wcs[band])
    offset = to_sky @ (np.array([x, y]) - guess)
    sky_moments = to_sky @ moments @ to_sky.T
    psf_moments, psf_radius = estimate.psf_size(observation.psf[band], scale)
    g, angle = estimate.shear_of(estimate.subtract_psf(sky_moments, psf_moments))
    observed = radius * scale
    corrected = math.sqrt(max(observed**2 - psf_radius**2, (SIZE_FLOOR * observed) ** 2))
    flux = {
        name: _band_flux(observation, name, offset, sky_moments, total * scale)
        for name in observation.image
    }
    centroid = (float(offset[0]), float(offset[1]))
    return Geometry(centroid, g, angle, corrected, observed, flux, band, frame)


def _matrix(wcs) -> NDArray:
    """2x2 matrix of a `galsim.JacobianWCS`: pixels to arcsec."""
    return np.array([[wcs.dudx, wcs.dudy], [wcs.dvdx, wcs.dvdy]])


def pixel_centroid(observation: Observation, band: str, geometry_centroid) -> tuple[float, float]:
    """0-based array coordinates (x, y) in `band` of a point (u, v) [arcsec] from its `centre`."""
    to_pixel = np.linalg.inv(_matrix(observation.wcs[band]))
    x, y = np.asarray(observation.centre[band]) + to_pixel @ np.asarray(geometry_centroid)
    return float(x), float(y)


def _band_flux(observation, band, offset, moments, radius) -> float:
    """Flux of `band` inside the ellipse of sky `moments` and geometric-mean `radius` [arcsec]."""
    centre = pixel_centroid(observation, band, offset)
    to_pixel = np.linalg.inv(_matrix(observation.wcs[band]))
    ellipse = estimate.Ellipse(centre, to_pixel @ moments @ to_pixel.T)
    filled = fill_masked(observation.image[band], observation.mask[band], centre)
    scale = math.sqrt(observation.wcs[band].pixelArea())
    return estimate.aperture_flux(filled, ellipse, radius / scale)


def _interpolated(array: NDArray, wcs) -> galsim.InterpolatedImage:
    """`galsim.InterpolatedImage` of flux per pixel that keeps all of its frequencies and extent.

    GalSim would cut both where the image has little power, which is wrong for noise and masks.
    Its own limit instead is where the quintic kernel has died out to 1e-5; three times the
    Nyquist frequency keeps all but 1e-3 of it and costs a tenth.
    """
    return galsim.InterpolatedImage(
        galsim.ImageD(np.ascontiguousarray(array, dtype=float)),
        x_interpolant="quintic",
        wcs=wcs,
        calculate_stepk=False,
        _force_maxk=3 * math.pi / math.sqrt(wcs.pixelArea()),
    )


def resample(array: NDArray, band: str, geometry: Geometry, observation: Observation) -> NDArray:
    """Resample a native array (ny, nx) of flux per pixel to canonical pixels (64, 64)."""
    wcs = observation.wcs[band]
    x, y = pixel_centroid(observation, band, geometry.centroid)
    # Only what the stamp can see, to its corners (and the kernel's reach): the cost grows with the
    # area.
    corners = geometry.matrix @ np.array([[1, 1], [1, -1]]) * STAMP_SIZE / 2
    reach = np.hypot(*corners).max() / wcs._minScale() + MARGIN
    x0, y0 = max(int(x - reach), 0), max(int(y - reach), 0)
    array = array[y0 : int(y + reach) + 2, x0 : int(x + reach) + 2]
    ny, nx = array.shape
    # InterpolatedImage has its origin at the centre of the array: move it to the centroid.
    shift = _matrix(wcs) @ np.array([x0 + (nx - 1) / 2 - x, y0 + (ny - 1) / 2 - y])
    # GalSim has no profile of zero flux: an image that sums to 0 is drawn in two parts.
    parts = [array] if array.sum() != 0 else [np.maximum(array, 0.0), np.minimum(array, 0.0)]
    drawn = np.zeros((STAMP_SIZE, STAMP_SIZE))
    for part in filter(np.any, parts):
        drawn = drawn + _draw_canonical(_interpolated(part, wcs).shift(*shift), geometry)
    return drawn


def _draw_canonical(profile: galsim.GSObject, geometry: Geometry, offset: float = 0.0) -> NDArray:
    """Draw a sky profile on canonical pixels, its origin `offset` pixels from the centre."""
    # Not drawImage's `center`: without an image, that moves the bounds along.
    image = canonical_wcs(geometry).profileToImage(profile).drawImage(
        nx=STAMP_SIZE,
        ny=STAMP_SIZE,
        scale=1.0,
        offset=(offset, offset),
        method="auto",
        dtype=float,
    )
    return image.array


def canonical_wcs(geometry: Geometry) -> galsim.JacobianWCS:
    """Return the map of canonical pixels to the sky, as GalSim takes it."""
    return galsim.JacobianWCS(*geometry.matrix.ravel().tolist())


def resampled_noise(band: str, geometry: Geometry, observation: Observation) -> tuple[float, float]:
    """Noise on canonical pixels that noise of unit rms on native pixels becomes.

    The variance is the integral of the power spectrum of the native noise times the squared
    transforms of the quintic kernel and of the canonical pixel. The correlation area
    follows from it: resampling keeps flux, so it keeps the noise power at zero frequency, per solid
    angle, and rms^2 * area = native area * canonical / native pixel area.

    Returns
    -------
    rms : float
        Per canonical pixel.
    area : float
        Correlation area [canonical pixel^2].
    """
    wcs = observation.wcs[band]
    ratio = geometry.pixel_scale**2 / wcs.pixelArea()
    # Wave numbers [1/native pixel] up to where the kernel has died out; white noise repeats.
    n = NOISE_GRID
    index = np.arange(3 * n) - 3 * n // 2
    k = 2 * np.pi * index / n
    kernel = np.array([galsim.Quintic().kval(value) for value in k])
    kx, ky = np.meshgrid(k, k)
    power = _noise_power(observation.correlation.get(band), n)[np.ix_(index % n, index % n)]
    power = power * np.outer(kernel, kernel) ** 2
    to_canonical_pixels = geometry.matrix.T @ np.linalg.inv(_matrix(wcs)).T / (2 * np.pi)
    u, v = (row[0] * kx + row[1] * ky for row in to_canonical_pixels)
    pixel = np.sinc(u) * np.sinc(v)
    variance = ratio**2 * float(np.sum(power * pixel**2)) / n**2
    return math.sqrt(variance), max(observation.noise_area(band) * ratio / variance, 1.0)


def _noise_power(correlation: NDArray | None, n: int) -> NDArray:
    """Power spectrum (n, n) of noise with a correlation function, zero frequency first."""
    if correlation is None:
        return np.ones((n, n))
    lags = np.zeros((n, n))
    y, x = np.indices(correlation.shape) - np.array(correlation.shape)[:, None, None] // 2
    np.add.at(lags, (y % n, x % n), correlation)
    return np.maximum(np.fft.fft2(lags).real, 0.0)


def to_canonical(observation: Observation, geometry: Geometry) -> Canonical:
    """Resample an observation to the canonical frame.

    Each canonical image is the sky image, PSF and native pixel in it, convolved with the canonical
    pixel; its sum is the native flux inside the stamp.
    """
    shape = (len(BANDS), STAMP_SIZE, STAMP_SIZE)
    image, psf = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    mask = np.zeros(shape, bool)
    noise, area = np.zeros(len(BANDS), np.float32), np.ones(len(BANDS), np.float32)
    # Bands often share their masks and, if white, what becomes of their noise.
    masks: dict[tuple, NDArray] = {}
    noises: dict[tuple, tuple[float, float]] = {}
    for i, band in enumerate(BANDS):
        if band not in observation.image:
            continue
        good, wcs = observation.mask[band], observation.wcs[band]
        centre = pixel_centroid(observation, band, geometry.centroid)
        image[i] = resample(
            fill_masked(observation.image[band], good, centre), band, geometry, observation
        )
        key = (good.tobytes(), good.shape, wcs, centre)
        if key not in masks:
            # Zero outside the array, as the image is unknown there.
            ratio = geometry.pixel_scale**2 / wcs.pixelArea()
            share = resample(good, band, geometry, observation) / ratio
            # Beside a masked region the kernel's lobes cross the limit: lone lines are dropped.
            masks[key] = ndimage.binary_opening(np.abs(share - 1) < BAD_WEIGHT)
        mask[i] = masks[key]
        psf[i] = _draw_canonical(observation.psf[band], geometry, 0.5)
        psf[i] /= psf[i].sum()
        key = (band if band in observation.correlation else "", wcs)
        if key not in noises:
            noises[key] = resampled_noise(band, geometry, observation)
        rms, area[i] = noises[key]
        noise[i] = rms * observation.noise[band]
    return Canonical(
        image, psf, mask, noise, area, geometry.pixel_scale, geometry.frame_g, geometry.angle
    )


def to_native(
    stamp: NDArray, geometry: Geometry, observation: Observation, *, observed: bool = False
) -> dict[str, NDArray]:
    """Draw a canonical stamp on the native grids of an observation.

    Parameters
    ----------
    stamp : ndarray (5, 64, 64)
        PSF-free and pixel-free stamp, flux per canonical pixel.
    observed : bool, optional
        The stamp is an observed canonical image instead (`Canonical.image`): its PSF stays and its
        canonical pixel is deconvolved, which inverts `to_canonical` up to the Nyquist frequency of
        the canonical pixels.

    Returns
    -------
    dict of band name to native image, one for every band of the observation.
    """
    native = {}
    for band, image in observation.image.items():
        array = np.asarray(stamp[BANDS.index(band)], dtype=float)
        # The map is applied to a profile in pixels: GalSim's maxk of elongated pixels cuts.
        profile: galsim.GSObject = _interpolated(array, galsim.PixelScale(1.0))
        if observed:
            profile = galsim.Convolve(profile, galsim.Deconvolve(galsim.Pixel(1.0)))
        profile = canonical_wcs(geometry).profileToWorld(profile)
        if not observed:
            profile = galsim.Convolve(profile, observation.psf[band])
        x, y = pixel_centroid(observation, band, geometry.centroid)
        native[band] = profile.drawImage(
            nx=image.shape[1],
            ny=image.shape[0],
            wcs=observation.wcs[band],
            offset=(x - (image.shape[1] - 1) / 2, y - (image.shape[0] - 1) / 2),
            method="no_pixel",
            dtype=float,
        ).array
    return native
