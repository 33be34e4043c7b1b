"""Galaxies cut out of mosaics: image, rms and PSF per band, with a catalogue or by detection.

The mosaic is read in tiles. In each the objects are found with `sep` (Barbary 2016, JOSS 1, 58;
Bertin & Arnouts 1996, A&AS 117, 393) in the sum of the bands; a catalogue, if there is one, says
which of them are wanted and what is known of them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from galsim_vae.frame.observation import Observation
from galsim_vae.settings import build
from galsim_vae.train.failures import failure

from . import detection, sky
from .catalogue import Catalogue
from .filters import map_filters
from .mosaic_image import MosaicImage
from .psf import build_psf
from .source import Source, guarded
from .units import Calibration, noise_factor

__all__ = ["Band", "MosaicReader"]

# Side of a tile and what is read around it [pixel]; the latter bounds the size of a stamp.
TILE, MARGIN = 512, 200
SKY_GROWTH = 6  # sky keeps so far away from any segment [pixel]
# Half-width of a stamp: so many half-light radii (the canonical stamp's corner is at 7.5) and
# a rim of sky [pixel].
STAMP_RADII, STAMP_RIM, MIN_HALF = 8.0, 16, 32
EDGE_RADII = 1.5  # half-light radii between the centre and the edge of the mosaic
MATCH = 4.0  # a catalogue position belongs to a detection at most so far away [pixel]
CHUNK = 4096  # rows of the catalogue that are on no tile are dealt with so many at a time


@dataclass
class Band:
    """Files of one filter.

    Attributes
    ----------
    image : str
        FITS image, ``"file.fits[HDU]"``, in counts or in a unit of f_nu or f_lambda.
    rms, weight : str, optional
        Noise map in the image's unit, or inverse variance map; one of the two.
    psf : object
        See `psf.build_psf`.
    zeropoint : float, optional
        AB, of the image's values as they are; from its header if absent: its unit, or a keyword, or
        PHOTFLAM and PHOTPLAM, with EXPTIME if it holds a total of counts.
    pixel_scale : float, optional
        Arcsec; from the image's header if absent.
    saturation : float, optional
        Image value from which pixels are saturated.
    """

    image: str
    psf: object
    rms: str | None = None
    weight: str | None = None
    zeropoint: float | None = None
    pixel_scale: float | None = None
    saturation: float | None = None


class MosaicReader:
    """Mosaics of one field on one pixel grid.

    Parameters
    ----------
    name : str
        Of the set.
    bands : dict
        Filter to `Band`, or to a dict of its attributes.
    catalogue : dict, optional
        The parameters of `catalogue.Catalogue`; absent: all that is detected.
    pivot : dict, optional
        Filter to pivot wavelength [nm] for filters that are not known.
    """

    def __init__(self, name: str, bands: Mapping[str, Mapping], catalogue: Mapping | None = None,
                 pivot: Mapping[str, float] | None = None, provenance: str = ""):  # fmt: skip
        self.name, self.provenance = name, provenance
        self.files = {
            f: b if isinstance(b, Band) else build(Band, b, f"inputs.{name}.bands.{f}")
            for f, b in bands.items()
        }
        self.filters = map_filters(self.files, pivot, False)
        self.catalogue: Catalogue | None = None
        if catalogue is not None:
            self.catalogue = build(Catalogue, catalogue, f"inputs.{name}.catalogue")
        self._zeropoints: dict[str, float] = {}

    @cached_property
    def images(self) -> dict[str, MosaicImage]:
        """Images by filter."""
        return {f: MosaicImage(self.files[f].image) for f in self.filters}

    @cached_property
    def noises(self) -> dict[str, MosaicImage]:
        """Rms or weight maps by filter."""
        return {
            f: MosaicImage(str(self.files[f].rms or self.files[f].weight)) for f in self.filters
        }

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the mosaic."""
        return next(iter(self.images.values())).shape

    @cached_property
    def wcs(self) -> galsim.BaseWCS | None:
        """Pixel scale that was given, or the first WCS or pixel scale in a header, or None."""
        for name in self.filters:
            if self.files[name].pixel_scale:
                return galsim.PixelScale(self.files[name].pixel_scale)
        found = (image.wcs() for image in self.images.values())
        return next((wcs for wcs in found if wcs is not None), None)

    def local_wcs(self, place: galsim.PositionD) -> galsim.JacobianWCS:
        """Linear WCS at a place (x, y), 1-based."""
        assert self.wcs is not None
        return self.wcs.local(image_pos=place)

    @cached_property
    def celestial(self) -> MosaicImage | None:
        """The first image that knows where it is on the sky, or None."""
        return next((i for i in self.images.values() if i.celestial is not None), None)

    def calibration(self, name: str) -> Calibration:
        """What the header of a filter's image says of its unit."""
        return self.images[name].calibration(self.files[name].pixel_scale)

    def zeropoint(self, name: str) -> float:
        """AB zero-point of a filter, NaN if it is not known."""
        if name not in self._zeropoints:
            found = self.calibration(name).zeropoint(self.files[name].zeropoint)
            self._zeropoints[name] = math.nan if found is None else found
        return self._zeropoints[name]

    @cached_property
    def unit(self) -> dict[str, float]:
        """What brings each filter's counts to those of the first filter (f_nu)."""
        first = self.zeropoint(next(iter(self.filters)))
        return {f: 10 ** (-0.4 * (self.zeropoint(f) - first)) for f in self.filters}

    @cached_property
    def noise_unit(self) -> dict[str, float]:
        """What brings each filter's rms to the unit of its image."""
        return {
            f: noise_factor(
                self.calibration(f),
                self.noises[f].calibration(self.files[f].pixel_scale),
                self.files[f].rms is None,
            )
            for f in self.filters
        }

    def cut(self, name: str, box: tuple[slice, slice]) -> tuple[NDArray, NDArray]:
        """Read image and rms (ny, nx) of a filter in a box, in the image's unit, as they are."""
        image, rms = self.images[name].cut(box), self.noises[name].cut(box)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.files[name].rms is None:
                rms = 1 / np.sqrt(rms)
            return image, rms * np.float32(self.noise_unit[name])

    @cached_property
    def psfs(self) -> dict[str, galsim.GSObject]:
        """Effective PSFs by filter, centred."""
        centre = galsim.PositionD((self.shape[1] + 1) / 2, (self.shape[0] + 1) / 2)
        wcs = self.local_wcs(centre)
        return {f: build_psf(self.files[f].psf, f, wcs) for f in self.filters}

    def check(self) -> None:
        """Raise if a file is missing, or does not fit the others; see `mosaic_checks.mosaic`."""
        from .mosaic_checks import mosaic

        mosaic(self)

    @cached_property
    def _places(self) -> NDArray | None:
        """Pixel positions (n, 2) of the catalogue, 0-based (x, y), or None."""
        return None if self.catalogue is None else self.catalogue.pixels(self.celestial)

    @cached_property
    def _tile_of_row(self) -> NDArray:
        """Lower corner (n, 2) (y, x) of the tile of each row of the catalogue; -1: on none."""
        assert self._places is not None
        x, y = np.where(np.isnan(self._places), -np.inf, self._places).T
        ny, nx = self.shape
        inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        corners = np.full((len(x), 2), -1)
        corners[inside] = TILE * np.floor_divide(np.stack([y, x], 1)[inside], TILE).astype(int)
        return corners

    @cached_property
    def tiles(self) -> list[tuple[int, int]]:
        """Lower corners (y, x) of the tiles that have to be read."""
        corners = [(y, x) for y in range(0, self.shape[0], TILE)
                   for x in range(0, self.shape[1], TILE)]  # fmt: skip
        if self._places is None:
            return corners
        wanted = set(map(tuple, self._tile_of_row.tolist()))
        return [corner for corner in corners if corner in wanted]

    @cached_property
    def _outside(self) -> NDArray:
        """Rows of the catalogue that are on no tile."""
        if self._places is None:
            return np.zeros(0, dtype=int)
        return np.flatnonzero(self._tile_of_row[:, 0] < 0)

    def __len__(self) -> int:
        return len(self.tiles) + math.ceil(len(self._outside) / CHUNK)

    def read(self, chunk: int) -> Iterator[Source]:
        """Detect the objects of one tile and cut them out."""
        if chunk >= len(self.tiles):
            start = CHUNK * (chunk - len(self.tiles))
            yield from self._unseen(self._outside[start : start + CHUNK].tolist(), "")
            return
        corner = self.tiles[chunk]
        rows = [] if self._places is None else self._rows_of(corner)
        try:
            tile = _Tile(self, *corner)
        except Exception as error:
            reason = failure(error)
            if self._places is not None:
                yield from self._unseen(rows, reason)
            else:
                yield Source(self.name, corner[0] * self.shape[1] + corner[1], None, reason=reason)
            return
        if self.catalogue is not None and self._places is not None:
            if tile.empty:
                yield from self._unseen(rows, "not observed")
            else:
                yield from tile.catalogued(self.catalogue, self._places, set(rows))
        elif not tile.empty:
            yield from tile.detected()

    def _rows_of(self, corner: tuple[int, int]) -> list[int]:
        return np.flatnonzero((self._tile_of_row == corner).all(1)).tolist()

    def _unseen(self, rows: list[int], reason: str) -> Iterator[Source]:
        """Rows of the catalogue without pixels, and why."""
        assert self.catalogue is not None and self._places is not None
        for row in rows:
            unknown = np.isnan(self._places[row]).any()
            why = reason or ("no position" if unknown else "off the mosaic")
            yield self.catalogue.source(self.name, row, why)


class _Tile:
    """One tile with its margin: images, noise, segments."""

    def __init__(self, reader: MosaicReader, y: int, x: int):
        self.reader = reader
        ny, nx = reader.shape
        self.core = (y, x, min(y + TILE, ny), min(x + TILE, nx))
        self.y0, self.x0 = max(y - MARGIN, 0), max(x - MARGIN, 0)
        box = (
            slice(self.y0, min(y + TILE + MARGIN, ny)),
            slice(self.x0, min(x + TILE + MARGIN, nx)),
        )
        self.image, self.rms, self.good, self.saturated = {}, {}, {}, {}
        for name, band in reader.filters.items():
            self._add(name, band, box)
        self.empty = not any(good.any() for good in self.good.values())
        if not self.empty:
            self._detect()

    def _add(self, name: str, band: str, box) -> None:
        limit, unit = self.reader.files[name].saturation, self.reader.unit[name]
        image, rms = self.reader.cut(name, box)
        good = sky.usable(image, rms)
        self.saturated[band] = np.isfinite(image) & (image >= (limit or np.inf))
        self.image[band] = np.where(good, image * unit, 0.0)
        self.rms[band] = np.where(good, rms * unit, 0.0)
        self.good[band] = good

    def _detect(self) -> None:
        """Find the objects, and measure the noise of each band between them."""
        import sep

        seen = np.any(list(self.good.values()), axis=0)
        score = detection.score(self.image, self.rms, self.good, True)
        self.objects, self.segments = detection.find(score, seen)
        self.radius = np.zeros(len(self.objects))
        if len(self.objects):
            table = self.objects
            self.radius, _ = sep.flux_radius(
                score,
                table["x"],
                table["y"],
                6.0 * table["a"],
                0.5,
                mask=~seen,
                segmap=self.segments,
                seg_id=np.arange(1, len(table) + 1),
            )
        self.sky = seen & ~ndimage.binary_dilation(self.segments > 0, iterations=SKY_GROWTH)
        self.factor, self.correlation = {}, {}
        for band, image in self.image.items():
            ratio = np.divide(
                image, self.rms[band], out=np.zeros_like(score), where=self.good[band]
            )
            show = self.sky & self.good[band]
            enough = show.sum() >= sky.MIN_PIXELS
            # The map is of what the noise would be without correlation.
            self.factor[band] = sky.noise(ratio, show) if enough else 1.0
            self.correlation[band] = sky.correlation([(ratio, show)] if enough else [])

    def _inside(self, x, y):
        """Tell which positions of the mosaic are in this tile's core."""
        y0, x0, y1, x1 = self.core
        return (y >= y0) & (y < y1) & (x >= x0) & (x < x1)

    def detected(self) -> Iterator[Source]:
        """Every object whose centre is in the core."""
        x, y = self.objects["x"] + self.x0, self.objects["y"] + self.y0
        for k in np.flatnonzero(self._inside(x, y)).tolist():
            # The pixel that holds the centre is a number no other object has, in any run.
            index = int(y[k]) * self.reader.shape[1] + int(x[k])
            yield guarded(self.reader.name, index, partial(self._source, k, index))

    def catalogued(self, catalogue: Catalogue, places: NDArray, rows: set[int]) -> Iterator[Source]:
        """Every catalogue row of `rows`, those whose position is in the core.

        The first row of the catalogue that is at an object has it. Rows of the margin count, so
        that one object is not taken in two tiles.
        """
        ny, nx = self.segments.shape
        x, y = places[:, 0] - self.x0, places[:, 1] - self.y0
        with np.errstate(invalid="ignore"):
            near = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        taken: set[int] = set()
        for row in np.flatnonzero(near).tolist():
            information = catalogue.row(row)
            k = self._object_at(*places[row])
            again = k in taken
            if k is not None and not information.reason:
                taken.add(k)
            if row not in rows:
                continue
            if k is None:
                source = Source(self.reader.name, row, None, reason="not detected")
            else:
                source = guarded(self.reader.name, row, partial(self._source, k, row))
            if information.reason:
                source.reason = information.reason
            elif again:
                source.reason = "same object as another row"
            yield information.describe(source)

    def _object_at(self, x: float, y: float) -> int | None:
        """Row of the object at a position of the mosaic, or None."""
        ny, nx = self.segments.shape
        column = min(round(x) - self.x0, nx - 1)
        label = int(self.segments[min(round(y) - self.y0, ny - 1), column])
        # The position may be off the centre of a large galaxy, but is in its segment.
        if label > 0:
            return label - 1
        if not len(self.objects):
            return None
        distance = np.hypot(self.objects["x"] + self.x0 - x, self.objects["y"] + self.y0 - y)
        k = int(np.argmin(distance))
        return k if distance[k] <= MATCH else None

    def _source(self, k: int, index: int) -> Source:
        """Cut one object out; what is wrong with its pixels is its reason."""
        x, y = float(self.objects["x"][k]), float(self.objects["y"][k])
        half = int(np.clip(STAMP_RADII * self.radius[k] + STAMP_RIM, MIN_HALF, MARGIN))
        ny, nx = self.segments.shape
        left, low = max(int(x) - half, 0), max(int(y) - half, 0)
        box = (slice(low, min(int(y) + half + 1, ny)), slice(left, min(int(x) + half + 1, nx)))
        own = self.segments[box] == k + 1
        labels = np.unique(self.segments[box])
        labels = labels[(labels > 0) & (labels != k + 1)]
        others = detection.grown(self.segments[box], labels) & ~own
        used = {b: f for f, b in self.reader.filters.items() if self.good[b][box][own].any()}
        source = Source(self.reader.name, index, None, used,
                        identifier=str(index))  # fmt: skip
        source.zeropoint = self.reader.zeropoint(next(iter(self.reader.filters)))
        wcs = self.reader.local_wcs(galsim.PositionD(x + self.x0 + 1, y + self.y0 + 1))
        images, noise, masks = {}, {}, {}
        for band in used:
            good = self.good[band][box]
            show = good & self.sky[box]
            level = sky.level(self.image[band][box], show) if show.sum() >= sky.MIN_PIXELS else 0.0
            images[band] = np.where(good, self.image[band][box] - level, 0.0)
            noise[band] = self.factor[band] * float(np.median(self.rms[band][box][good & own]))
            masks[band] = good & ~others
        source.observation = Observation(
            images,
            dict.fromkeys(used, wcs),
            {b: self.reader.psfs[f] for b, f in used.items()},
            noise,
            masks,
            dict.fromkeys(used, (x - left, y - low)),
            {b: self.correlation[b] for b in used},
        )
        source.reason = self._reason(k, own, box, used)
        return source

    def _reason(self, k: int, own: NDArray, box, used: dict[str, str]) -> str:
        if any(self.saturated[band][box][own].any() for band in used):
            return "saturated"
        x, y = self.objects["x"][k] + self.x0, self.objects["y"][k] + self.y0
        ny, nx = self.reader.shape
        if min(x, y, nx - 1 - x, ny - 1 - y) < EDGE_RADII * self.radius[k]:
            return "cut by the edge"
        return ""
