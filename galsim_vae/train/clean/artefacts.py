"""Artefacts planted in a training file, to measure how well `anomaly` finds them.

Each galaxy is taken back to pixels like those of its survey (about half the FWHM of the sharpest
PSF), spoilt there, measured again as a survey would have measured it, and brought back to the
canonical frame. Galaxies that are left alone make the same journey, so that nothing but the
artefact tells them apart.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, STAMP_SIZE
from galsim_vae.train.training_file import Dataset

from .native import NativeGalaxy, depth, flux_of, half_width, measure_again, native, places, sampled

__all__ = [
    "BLEND_RATIO",
    "SEGMENT_SIGMA",
    "bleed",
    "blend",
    "cosmic_rays",
    "log_uniform",
    "noise_only",
    "plant",
    "satellite_trail",
    "saturated_star",
]

# Strengths, all drawn log-uniformly. `SIGMA` is the noise in one native pixel of the band hit.
RAY_PIXELS = (1.0, 12.0)  # length of a cosmic ray's track [native pixel]
RAY_SIGMA = (10.0, 100.0)  # its height in each pixel
RAY_HITS = 3  # at most, all in one band, as bands are exposed one after the other
TRAIL_SIGMA = (5.0, 50.0)  # height of a satellite's trail, in one band
TRAIL_WIDTH = (0.5, 3.0)  # its own sigma over that of the PSF
STAR_LEVEL = (1e3, 1e4)  # full well, in noise: some 80,000 e- over 8 to 80 e-
STAR_OVERFLOW = (3.0, 100.0)  # central pixel of the star, had it not saturated, over the full well
SPIKE_SHARE = 0.02  # of the star's flux in each of its four diffraction spikes
BLEEDING_BANDS = BANDS[:3]  # CCDs; infrared arrays do not bleed
BLEND_RATIO = (0.2, 1.0)  # flux of the second galaxy over the first's
BLEND_DISTANCE = (0.7, 3.0)  # in half-light radii of the first, uniform in area as by chance
BLEND_SIZE = 2.0  # the second is larger or smaller by at most this factor
# A stamp with a smaller usable share holds the galaxy's own segment only; what touches the segment
# and stands out by this many sigma would have become part of it.
SEGMENT_SHARE = 0.4
SEGMENT_SIGMA = 3.0


def log_uniform(limits: tuple[float, float], random: np.random.Generator) -> float:
    """Draw a number whose logarithm is uniform between two limits."""
    return float(np.exp(random.uniform(*np.log(limits))))


def cosmic_rays(galaxy: NativeGalaxy, random: np.random.Generator) -> NativeGalaxy:
    """Hit one band with one to three cosmic rays: straight tracks, one pixel wide."""
    band = _one_band(galaxy, random)
    mask, sigma = galaxy.observation.mask[band], galaxy.observation.noise[band]
    usable = np.argwhere(mask)
    added = np.zeros(mask.shape)
    for _ in range(random.integers(1, RAY_HITS + 1)):
        y, x = usable[random.integers(len(usable))]
        length, angle = log_uniform(RAY_PIXELS, random), random.uniform(0, 2 * math.pi)
        height = sigma * log_uniform(RAY_SIGMA, random)
        along = np.arange(0, length, 0.5)
        ys = np.rint(y + along * math.sin(angle)).astype(int)
        xs = np.rint(x + along * math.cos(angle)).astype(int)
        inside = (ys >= 0) & (ys < len(mask)) & (xs >= 0) & (xs < len(mask))
        track = np.unique(np.stack([ys, xs], 1)[inside], axis=0)
        # Energy loss along a track scatters.
        added[track[:, 0], track[:, 1]] = height * np.exp(0.3 * random.standard_normal(len(track)))
    return _with_light(galaxy, {band: added}, random)


def satellite_trail(galaxy: NativeGalaxy, random: np.random.Generator) -> NativeGalaxy:
    """Draw a straight trail through one band, at most two half-light radii from the centre."""
    band = _one_band(galaxy, random)
    pixel = galaxy.pixel
    radius = galaxy.geometry.half_light_radius / pixel
    side = len(galaxy.observation.image[band])
    angle, miss = random.uniform(0, math.pi), random.uniform(-2, 2) * radius
    y, x = np.indices((side, side)) - (side - 1) / 2
    distance = x * math.cos(angle) + y * math.sin(angle) - miss
    psf_sigma = 2 * half_width(galaxy.data.psf[galaxy.row, BANDS.index(band)]) / 2.355
    psf_sigma *= float(galaxy.data.pixel_scale[galaxy.row]) / pixel
    width = psf_sigma * math.hypot(1.0, log_uniform(TRAIL_WIDTH, random))
    height = galaxy.observation.noise[band] * log_uniform(TRAIL_SIGMA, random)
    return _with_light(galaxy, {band: height * np.exp(-0.5 * (distance / width) ** 2)}, random)


def saturated_star(galaxy: NativeGalaxy, random: np.random.Generator) -> NativeGalaxy:
    """Put a saturated star in the galaxy's place, in all bands.

    The PSF and four spikes along the diagonals, cut at the full well; in CCDs the charge that
    overflows runs along the columns until it finds room.
    """
    level, overflow = log_uniform(STAR_LEVEL, random), log_uniform(STAR_OVERFLOW, random)
    light = {}
    for band, image in galaxy.observation.image.items():
        psf = galaxy.observation.psf[band]
        ny, nx = image.shape
        star = psf.drawImage(nx=nx, ny=ny, scale=galaxy.pixel, method="no_pixel", dtype=float)
        star = np.maximum(star.array, 0) + SPIKE_SHARE * _spikes(ny)
        well = level * galaxy.observation.noise[band]
        # Colours of stars scatter.
        star *= overflow * well / star.max() * math.exp(0.5 * random.standard_normal())
        light[band] = bleed(star, well) if band in BLEEDING_BANDS else np.minimum(star, well)
    return _with_light(noise_only(galaxy, random), light, random)


def _spikes(side: int) -> NDArray:
    """Four diffraction spikes of unit sum each, a pixel wide, falling as 1 / radius."""
    middle = (side - 1) / 2
    y, x = np.indices((side, side)) - middle
    across, along = np.abs(np.abs(x) - np.abs(y)) / math.sqrt(2), np.hypot(x, y)
    spikes = np.exp(-0.5 * (across / 0.7) ** 2) / np.maximum(along, 1.0)
    return 4 * spikes / spikes.sum()


def bleed(image: NDArray, well: float) -> NDArray:
    """Cut an image at the full well and let the overflow run along its columns.

    Parameters
    ----------
    image : ndarray (ny, nx)
        Flux per pixel.
    well : float
        Largest flux that a pixel holds.

    Returns
    -------
    ndarray (ny, nx)
        A column keeps its flux unless it is full.
    """
    out = np.minimum(image, well)
    for x in np.flatnonzero((image > well).any(0)):
        excess = float((image[:, x] - out[:, x]).sum())
        peak = int(np.argmax(image[:, x]))
        order = np.argsort(np.abs(np.arange(len(out)) - peak), kind="stable")
        room = well - out[order, x]
        taken = np.clip(excess - (np.cumsum(room) - room), 0, room)
        out[order, x] += taken
    return out


def blend(galaxy: NativeGalaxy, random: np.random.Generator) -> NativeGalaxy:
    """Add a second galaxy of the same source, with its own size on the sky.

    Its noise comes with it and is counted. Of the galaxies of like size, one is taken whose noise,
    at the flux ratio drawn, is not above the first's, if there is one.
    """
    data, row = galaxy.data, galaxy.row
    ratio = log_uniform(BLEND_RATIO, random)
    other = _partner(data, row, ratio, random)
    angle, direction = random.uniform(0, 2 * math.pi, 2)
    distance = math.sqrt(random.uniform(*np.square(BLEND_DISTANCE)))
    distance *= galaxy.geometry.half_light_radius
    scale, pixel = float(data.pixel_scale[other]), galaxy.pixel
    second = replace(
        galaxy.geometry,
        centroid=(distance * math.cos(direction), distance * math.sin(direction)),
        angle=angle,
        g=float(data.frame_g[other]),
        half_light_radius=scale * HALF_LIGHT_PIXELS,
    )
    factor = ratio * flux_of(data, row) / flux_of(data, other)
    names = list(galaxy.observation.image)
    usable = np.where(data.mask[other], factor * data.image[other], 0.0)
    at = places(second, pixel, len(galaxy.observation.image[names[0]]))
    images = sampled(usable[[BANDS.index(band) for band in names]], at, pixel / scale)
    spoilt = _with_light(galaxy, dict(zip(names, images, strict=True)), random)
    noise = {
        band: math.hypot(rms, factor * depth(data, other, band) * pixel)
        for band, rms in galaxy.observation.noise.items()
    }
    return replace(spoilt, observation=replace(spoilt.observation, noise=noise))


def _partner(data: Dataset, row: int, ratio: float, random: np.random.Generator) -> int:
    """Draw the second galaxy of a blend: seen in the first's bands, of its source if any is."""
    bands: NDArray = np.asarray(data.mask.any(axis=(2, 3)))
    fit = np.all(bands | ~bands[row], axis=1) & (np.arange(len(data)) != row)
    same = fit & (data.source == data.source[row])
    candidates = np.flatnonzero(same if same.any() else fit)
    if candidates.size == 0:
        raise galsim.GalSimValueError(
            "No other galaxy was seen in its bands, to blend it with: add some, or leave it out",
            f"{data.source[row]} {data.source_index[row]}",
        )
    size = np.abs(np.log(data.pixel_scale[candidates] / data.pixel_scale[row]))
    near = candidates[size <= max(math.log(BLEND_SIZE), size.min())]
    band = BANDS[int(np.argmax(bands[row]))]
    noise = np.array([depth(data, j, band) / flux_of(data, j) for j in near])
    quiet = ratio * noise <= depth(data, row, band) / flux_of(data, row)
    return int(random.choice(near[quiet]) if quiet.any() else near[np.argmin(noise)])


def noise_only(galaxy: NativeGalaxy, random: np.random.Generator) -> NativeGalaxy:
    """Leave nothing but noise: a false detection, cut out like a galaxy."""
    noise = galaxy.observation.noise
    image = {
        band: noise[band] * random.standard_normal(array.shape)
        for band, array in galaxy.observation.image.items()
    }
    return replace(galaxy, observation=replace(galaxy.observation, image=image))


def _with_light(galaxy: NativeGalaxy, light: dict, random: np.random.Generator) -> NativeGalaxy:
    """Add light; a stamp that holds a segment only keeps what of the light touches the segment."""
    image, masks = dict(galaxy.observation.image), dict(galaxy.observation.mask)
    usable = [m for m in masks.values() if m.any()]
    whole = STAMP_SIZE**2 * (float(galaxy.data.pixel_scale[galaxy.row]) / galaxy.pixel) ** 2
    segment_only = np.mean([m.sum() for m in usable]) < SEGMENT_SHARE * whole
    if segment_only:
        standing = [a > SEGMENT_SIGMA * galaxy.observation.noise[b] for b, a in light.items()]
        joined = np.any([*masks.values(), *standing], axis=0)
        labels, _ = ndimage.label(joined, np.ones((3, 3)))
        kept = np.unique(labels[np.any(list(masks.values()), axis=0)])
        grown = np.isin(labels, kept) & joined
        for band, mask in masks.items():
            # Outside its segment the file says nothing: blank sky of the right depth.
            sky = galaxy.observation.noise[band] * random.standard_normal(mask.shape)
            image[band] = np.where(grown & ~mask, sky, image[band])
            masks[band] = mask | grown
    for band, array in light.items():
        image[band] = image[band] + array
    return replace(galaxy, observation=replace(galaxy.observation, image=image, mask=masks))


def _one_band(galaxy: NativeGalaxy, random: np.random.Generator) -> str:
    return str(random.choice(list(galaxy.observation.image)))


KINDS: dict[str, Callable[[NativeGalaxy, np.random.Generator], NativeGalaxy]] = {
    "cosmic rays": cosmic_rays,
    "satellite trail": satellite_trail,
    "saturated star": saturated_star,
    "blend": blend,
    "noise only": noise_only,
}


def plant(data: Dataset, kind: str | None, seed: int, noisy: bool = True) -> Dataset:
    """Spoil every galaxy of a file.

    Parameters
    ----------
    kind : str, optional
        One of `KINDS`; None sends the galaxies on the same journey and leaves them alone.
    seed : int
        Row k is a function of (seed, kind, k) alone.
    noisy : bool, optional
        The images have the noise that the file states; otherwise it is still to be drawn.

    Returns
    -------
    Dataset
        With the same rows.
    """
    if kind is not None and kind not in KINDS:
        raise galsim.GalSimValueError("Unknown artefact", kind, tuple(KINDS))
    number = 0 if kind is None else 1 + list(KINDS).index(kind)
    rows = []
    for row in range(len(data)):
        random = np.random.default_rng([seed, number, row])
        galaxy = native(data, row, random, noisy)
        if kind is not None:
            galaxy = KINDS[kind](galaxy, random)
        rows.append(measure_again(galaxy, keep_frame=kind == "noise only"))
    return replace(data, **{name: np.array([r[name] for r in rows]) for name in rows[0]})
