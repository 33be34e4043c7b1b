"""Galaxies of which only the pixels of their own segment are known, in FITS files."""

import math
from collections.abc import Iterator, Mapping
from functools import cached_property, partial

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy import ndimage

from galsim_vae.frame.observation import Observation

from .catalogue import column, finite
from .filters import map_filters
from .psf import build_psf
from .source import Source, guarded

__all__ = ["SegmentReader"]

CHUNK = 16
# The second largest segment of a stamp may have this share of its flux.
MAX_SECOND_SEGMENT = 0.05
PADDING = 4


class SegmentReader:
    """FITS cubes of stamps in which all but the galaxy's own segment is 0.

    One HDU (n, ny, nx) a filter, its EXTNAME the filter's name, with PIXSCALE [arcsec] and ZPT_AB
    in the header, and a table CATALOG. Only the segment is used.

    Parameters
    ----------
    name : str
        Of the set.
    file_name : str
        The file.
    noise : dict
        Filter to rms per pixel, in the unit of its cube: the sky cannot be measured.
    psf : str, ndarray or dict, optional
        See `psf.build_psf`; one for all filters, or a dict of them by filter.
    magnitude : str, optional
        Column of the AB magnitude in F814W.
    """

    def __init__(self, name: str, file_name: str, noise: Mapping[str, float], psf="HST",
                 magnitude: str | None = None, provenance: str = ""):  # fmt: skip
        self.name, self.path, self.provenance = name, file_name, provenance
        self.noise, self.psf, self.magnitude = dict(noise), psf, magnitude
        self.filters = map_filters(self.noise, None, False)

    def check(self) -> None:
        """Raise if an HDU, a keyword or a column is missing, or a shape or a noise is wrong."""
        for name, rms in self.noise.items():
            if not 0 < rms < math.inf:
                raise galsim.GalSimRangeError(
                    f"Noise of {self.name} {name} must be positive", rms, 0.0
                )
        with fits.open(self.path) as hdus:
            names = [hdu.name for hdu in hdus]
            for name in (*self.filters, "CATALOG"):
                if name not in names:
                    raise galsim.GalSimKeyError(f"{self.path} has no HDU {name}", name)
            n = len(hdus["CATALOG"].data)
            for name in self.filters:
                header, cube = hdus[name].header, hdus[name].data
                for key in ("PIXSCALE", "ZPT_AB"):
                    if key not in header:
                        raise galsim.GalSimKeyError(f"{self.path}[{name}] has no {key}", key)
                if cube.ndim != 3 or len(cube) != n:
                    raise galsim.GalSimValueError(
                        f"{self.path}[{name}] must have shape ({n}, ny, nx)", cube.shape
                    )
                if not np.any(np.nan_to_num(cube)):
                    raise galsim.GalSimValueError(f"{self.path}: band {name} is empty or NaN", name)
        if self.magnitude:
            column(self._table, self.magnitude, self.path)

    @cached_property
    def _table(self):
        return Table.read(self.path, hdu="CATALOG")

    @cached_property
    def _cubes(self) -> dict[str, np.ndarray]:
        """Cubes by band, in the flux unit of the first filter."""
        with fits.open(self.path) as hdus:
            first = hdus[next(iter(self.filters))].header["ZPT_AB"]
            self._unit = {
                b: 10 ** (-0.4 * (hdus[n].header["ZPT_AB"] - first))
                for n, b in self.filters.items()
            }
            self._scale = {b: float(hdus[n].header["PIXSCALE"]) for n, b in self.filters.items()}
            return {
                b: np.nan_to_num(hdus[n].data.astype(np.float32)) * np.float32(self._unit[b])
                for n, b in self.filters.items()
            }

    def __len__(self) -> int:
        return math.ceil(len(self._table) / CHUNK)

    def read(self, chunk: int) -> Iterator[Source]:
        """Read CHUNK galaxies."""
        for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self._table))):
            yield guarded(self.name, i, partial(self._source, i))

    @cached_property
    def _psfs(self) -> dict[str, galsim.GSObject]:
        specs = dict.fromkeys(self.filters, self.psf)
        if isinstance(self.psf, Mapping) and "type" not in self.psf:
            specs = dict(self.psf)
        return {b: build_psf(specs[n], n, self._scale[b]) for n, b in self.filters.items()}

    def _source(self, i: int) -> Source:
        image = {b: cube[i].astype(float) for b, cube in self._cubes.items()}
        mask, reason = _segment(np.max(list(image.values()), axis=0))
        observation = Observation(
            image,
            dict(self._scale),
            dict(self._psfs),
            {b: self.noise[n] * self._unit[b] for n, b in self.filters.items()},
            mask={b: mask for b in image},
        )
        magnitude = finite(self._table[self.magnitude][i]) if self.magnitude else math.nan
        filters = {b: n for n, b in self.filters.items()}
        return Source(self.name, i, observation, filters, magnitude, reason=reason,
                      identifier=str(i), segment_only=True)  # fmt: skip


def _segment(image) -> tuple[np.ndarray, str]:
    """Main segment of an image that is 0 elsewhere, and why it is no good, if so."""
    # Holes are clipped negative pixels of the galaxy; opening drops lone pixels and threads.
    # Padded, since they take the outside for empty.
    positive = np.pad(image > 0, PADDING, mode="edge")
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(positive))
    opened = ndimage.binary_opening(filled)[PADDING:-PADDING, PADDING:-PADDING]
    labels, count = ndimage.label(opened)
    if count == 0:
        return np.zeros(image.shape, dtype=bool), "no segment"
    flux = ndimage.sum_labels(image, labels, np.arange(1, count + 1))
    order = np.argsort(flux)[::-1]
    mask = labels == order[0] + 1
    if count > 1 and flux[order[1]] > MAX_SECOND_SEGMENT * image.sum():
        return mask, "several segments"
    if mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any():
        return mask, "cut by the stamp's edge"
    return mask, ""
