"""What can be wrong with a set of mosaics, found before the work on them starts."""

import math

import galsim
import numpy as np

from . import sky
from .catalogue import Catalogue

__all__ = ["mosaic"]

# Scatter of the sky over its rms map: 1 for white noise, less where drizzling correlates it.
RMS_RANGE = (0.1, 2.0)
# Pieces in which the noise map is compared with the image: so many along either axis, their side.
SAMPLES, SIDE = 6, 128
MAX_OFFSET = 0.2  # between the pixel grids of two images [pixel]
MAX_SCALE_RATIO = 1.01  # of two pixel scales
SCALE_RANGE = (0.001, 10.0)  # arcsec per pixel
PSF_RANGE = (0.7, 30.0)  # half-light diameter of a PSF [pixel]
MAGNITUDE_RANGE = (10.0, 40.0)  # of a zero-point
REDSHIFT_RANGE = (-100.0, 20.0)  # with the negative numbers that stand for none


def mosaic(reader) -> None:
    """Check all files of a `mosaic.MosaicReader` without reading them as a whole.

    Raises
    ------
    OSError
        A file is missing or is not FITS.
    galsim.GalSimError
        The message names the file and what is wrong with it.
    """
    if reader.catalogue is not None:
        reader.catalogue.check()
    for name, files in ((name, reader.files[name]) for name in reader.filters):
        if (files.rms is None) == (files.weight is None):
            raise galsim.GalSimConfigError(f"{reader.name} {name}: give rms or weight, one of them")
    for name in reader.filters:
        _shape(reader, name)
        _zeropoint(reader, name)
    _ = reader.noise_unit  # raises where units do not fit
    _grids(reader)
    _scale(reader)
    if reader.catalogue is not None:
        _catalogue(reader, reader.catalogue)
    for name in reader.filters:
        _pixels(reader, name)


def _shape(reader, name: str) -> None:
    for image in (reader.images[name], reader.noises[name]):
        if image.shape != reader.shape:
            raise galsim.GalSimValueError(
                f"{image.spec}: all mosaics of {reader.name} must have the same shape",
                image.shape,
                [reader.shape],
            )


def _zeropoint(reader, name: str) -> None:
    zeropoint = reader.zeropoint(name)
    if np.isnan(zeropoint):
        raise galsim.GalSimConfigError(
            f"{reader.images[name].spec}: no AB zero-point in the header; give "
            f"bands.{name}.zeropoint"
        )
    if not MAGNITUDE_RANGE[0] < zeropoint < MAGNITUDE_RANGE[1]:
        raise galsim.GalSimRangeError(
            f"AB zero-point of {reader.name} {name}", zeropoint, *MAGNITUDE_RANGE
        )


def _grids(reader) -> None:
    """Are all images and noise maps on one grid of pixels?"""
    files = [file for name in reader.filters for file in (reader.images[name], reader.noises[name])]
    placed = [file for file in files if file.celestial is not None]
    ny, nx = reader.shape
    corners = np.array([(0, 0), (nx - 1, 0), (0, ny - 1), (nx - 1, ny - 1), (nx / 2, ny / 2)])
    for file in placed[1:]:
        places = file.pixels(placed[0].sky(corners))
        offset = float(np.max(np.hypot(*(places - corners).T)))
        if not offset < MAX_OFFSET:
            raise galsim.GalSimValueError(
                f"{file.spec} is not on the pixel grid of {placed[0].spec}: its WCS differs by up "
                f"to so many pixels (at most {MAX_OFFSET}); resample one to the grid of the other",
                round(offset, 3),
            )
    scales = {
        name: reader.files[name].pixel_scale or reader.images[name].pixel_scale()
        for name in reader.filters
    }
    known = [scale for scale in scales.values() if not math.isnan(scale)]
    if known and max(known) > MAX_SCALE_RATIO * min(known):
        raise galsim.GalSimValueError(
            f"All mosaics of {reader.name} must be on one pixel grid: arcsec per pixel", scales
        )


def _pixels(reader, name: str) -> None:
    """Is there any data, and does the noise map fit it?"""
    image, noise = reader.images[name], reader.noises[name]
    for file in (image, noise):
        if not file.holds_data():
            raise galsim.GalSimValueError(
                f"{file.spec} (band {name}) holds nothing but NaN or 0", name
            )
    ratios = []
    for box in _boxes(reader):
        data, error = reader.cut(name, box)
        with np.errstate(invalid="ignore"):
            good = sky.exposed(data) & np.isfinite(error) & (error > 0)
        if good.sum() >= sky.MIN_PIXELS:
            ratios.append(sky.noise(data / np.where(good, error, 1), good))
    # Pieces that the map says are no data, by a very large or small number, do not count.
    low, high = RMS_RANGE[0] / sky.FAR, RMS_RANGE[1] * sky.FAR
    ratios = [ratio for ratio in ratios if low < ratio < high] or ratios
    if ratios and not RMS_RANGE[0] < np.median(ratios) < RMS_RANGE[1]:
        what = "an rms map" if reader.files[name].rms else "an inverse variance map"
        raise galsim.GalSimRangeError(
            f"{noise.spec} does not look like {what} in the unit of {image.spec}: scatter of the "
            "image over the rms",
            round(float(np.median(ratios)), 4),
            *RMS_RANGE,
        )


def _boxes(reader) -> list[tuple[slice, slice]]:
    """Small pieces from all over the mosaic, and about some galaxies of the catalogue."""
    ny, nx = reader.shape
    grid = (np.arange(SAMPLES) + 0.5) / SAMPLES
    places = np.stack(np.meshgrid(grid * nx, grid * ny), -1).reshape(-1, 2)
    if reader.catalogue is not None:
        rows = reader.catalogue.pixels(reader.celestial)
        rows = rows[np.isfinite(rows).all(1)]
        places = np.concatenate([places, rows[:: max(len(rows) // SAMPLES**2, 1)]])
    low = np.clip(places - SIDE // 2, 0, np.maximum(np.array([nx, ny]) - SIDE, 0)).astype(int)
    return [(slice(y, y + SIDE), slice(x, x + SIDE)) for x, y in low.tolist()]


def _scale(reader) -> None:
    first = next(iter(reader.filters))
    if reader.wcs is None:
        raise galsim.GalSimConfigError(
            f"{reader.images[first].spec} has no WCS and no PIXSCALE: give "
            f"bands.{first}.pixel_scale [arcsec]"
        )
    centre = galsim.PositionD((reader.shape[1] + 1) / 2, (reader.shape[0] + 1) / 2)
    scale = float(np.sqrt(reader.wcs.pixelArea(image_pos=centre)))
    if not SCALE_RANGE[0] < scale < SCALE_RANGE[1]:
        raise galsim.GalSimRangeError(
            f"Pixel scale of {reader.name} must be in arcsec", scale, *SCALE_RANGE
        )
    for name, psf in reader.psfs.items():
        width = 2 * psf.calculateHLR() / scale
        if not PSF_RANGE[0] < width < PSF_RANGE[1]:
            raise galsim.GalSimRangeError(
                f"PSF of {reader.name} {name}: half-light diameter in pixels", width, *PSF_RANGE
            )


def _catalogue(reader, catalogue: Catalogue) -> None:
    places = catalogue.pixels(reader.celestial)
    ny, nx = reader.shape
    with np.errstate(invalid="ignore"):
        inside = ((places >= 0) & (places < (nx, ny))).all(1)
    if not inside.any():
        raise galsim.GalSimValueError(
            f"{catalogue.path}: no position is on the mosaic of {reader.name}, which has "
            f"{nx} x {ny} pixels; are they in pixels (x, y) and degrees (ra, dec)? First rows",
            places[:3].tolist(),
        )
    redshift = catalogue.redshift()
    if redshift is not None:
        wrong = ~((redshift > REDSHIFT_RANGE[0]) & (redshift < REDSHIFT_RANGE[1]))
        wrong &= np.isfinite(redshift)
        if wrong.mean() > 0.5:
            raise galsim.GalSimRangeError(
                f"{catalogue.path}: that is no redshift", redshift[wrong][:3], *REDSHIFT_RANGE
            )
