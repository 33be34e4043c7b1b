"""Galaxies that come as stamps: arrays in .npz files, and segments in FITS files."""

import fnmatch
import math
from collections.abc import Iterator, Mapping
from functools import cached_property

import galsim
import numpy as np
from astropy.io import fits
from scipy import ndimage

from galsim_vae.bands import REFERENCE
from galsim_vae.frame.observation import Observation

from . import sky
from .source import Source, block_psf, build_psf, map_filters
from .tables import column, finite

__all__ = ["SegmentReader", "StampReader"]

CHUNK = 16
# The second largest segment of a stamp may have this share of its flux.
MAX_SECOND_SEGMENT = 0.05
PADDING = 4


class StampReader:
    """Stamps in a ``.npz`` file.

    ``img`` (n, bands, s, s): background-subtracted, linear flux per pixel; ``bands`` the filters;
    ``x``, ``y`` (n,) the galaxy in 0-based pixels; ``stamp_scale`` (n,) arcsec per pixel. Used
    where they are there: ``mask`` (n, s, s), 0 where usable; ``rebin`` (n,): the pixels are sums of
    so many native ones along either axis; ``zp`` (bands,) AB zero-points; ``mag`` (n, bands) AB;
    ``z``, ``ra``, ``dec``, ``id``; ``bandok`` (n, bands); ``psf`` (n, m, m), at native pixels;
    ``sig_native`` (n, bands), the noise of native pixels, for stamps that show no sky;
    ``quality`` (n,), 0 for rejected; ``survey`` (n,), if the file holds several.

    Parameters
    ----------
    name : of the set.
    file_name : the file.
    psf : see `source.build_psf`, or a dict of these with filters or surveys as keys; absent if the
        file has ``psf``.
    structure_only : the galaxies are nearby ones that stand in for distant ones: no magnitude, no
        redshift, no size in arcsec.
    pivot : dict of filter to pivot wavelength [nm] for filters that are not known.
    rows : only galaxies whose ``id`` looks like this (``"qso*"``).
    """

    def __init__(self, name: str, file_name: str, psf=None, structure_only: bool = False,
                 pivot: Mapping[str, float] | None = None, rows: str = "*",
                 provenance: str = ""):  # fmt: skip
        self.name, self.path, self.provenance = name, file_name, provenance
        self.psf, self.structure_only, self.rows = psf, structure_only, rows
        self.pivot = pivot

    @cached_property
    def data(self) -> dict[str, np.ndarray]:
        """Arrays of the file."""
        with np.load(self.path) as file:
            return {name: file[name] for name in file.files}

    @cached_property
    def bands(self) -> list[str]:
        """Filters in the order of the file."""
        return [str(b) for b in self.data["bands"]]

    @cached_property
    def filters(self) -> dict[str, str]:
        """Filters and the bands they stand for.

        Without zero-points the colours are unknown, and only the nearest filter is used.
        """
        chosen = map_filters(self.bands, self.pivot, self.structure_only)
        known = np.isfinite([self._zero[self.bands.index(name)] for name in chosen]).all()
        return chosen if known else dict(list(chosen.items())[:1])

    @cached_property
    def _zero(self) -> np.ndarray:
        """AB zero-points of the filters, NaN where unknown."""
        return np.asarray(self.data.get("zp", np.full(len(self.bands), np.nan)), dtype=float)

    @cached_property
    def index(self) -> np.ndarray:
        """Rows of the file that are read."""
        rows = np.arange(len(self.data["img"]))
        if self.rows == "*":
            return rows
        return rows[[fnmatch.fnmatch(str(name), self.rows) for name in self.data["id"]]]

    def check(self) -> None:
        """Raise if an array is missing, has the wrong shape, or holds nothing."""
        for name in ("img", "bands", "x", "y", "stamp_scale"):
            if name not in self.data:
                raise galsim.GalSimKeyError(
                    f"{self.path} has no array {name}; it has {', '.join(self.data)}", name
                )
        n, bands, ny, nx = _shape4(self.path, self.data["img"])
        shapes = {"bands": (bands,), "x": (n,), "y": (n,), "stamp_scale": (n,), "mask": (n, ny, nx),
                  "rebin": (n,), "zp": (bands,), "mag": (n, bands), "z": (n,), "ra": (n,),
                  "dec": (n,), "id": (n,), "bandok": (n, bands), "sig_native": (n, bands),
                  "quality": (n,), "survey": (n,)}  # fmt: skip
        for name, shape in shapes.items():
            if name in self.data and self.data[name].shape != shape:
                raise galsim.GalSimValueError(
                    f"{self.path}: {name} must have shape {shape}", self.data[name].shape
                )
        for k, name in enumerate(self.bands):
            if name in self.filters and not np.any(np.nan_to_num(self.data["img"][:, k])):
                raise galsim.GalSimValueError(f"{self.path}: band {name} is empty or NaN", name)
        scale = self.data["stamp_scale"]
        if not np.all((scale > 1e-3) & (scale < 100)):
            raise galsim.GalSimRangeError(
                f"{self.path}: stamp_scale must be in arcsec per pixel", scale, 1e-3, 100
            )
        if self.psf is None and "psf" not in self.data:
            raise galsim.GalSimConfigError(f"{self.path} has no array psf: give {self.name}.psf")
        if not len(self.index):
            raise galsim.GalSimConfigValueError(f"{self.path}: no id matches", self.rows)
        self._psf(int(self.index[0]), next(iter(self.filters)))

    def __len__(self) -> int:
        return math.ceil(len(self.index) / CHUNK)

    def read(self, chunk: int) -> Iterator[Source]:
        """Read CHUNK galaxies."""
        for i in self.index[chunk * CHUNK : (chunk + 1) * CHUNK]:
            yield self._source(int(i))

    def _get(self, name: str, i: int, default):
        return self.data[name][i] if name in self.data else default

    def _group(self, i: int) -> tuple:
        """What the PSF and the noise's correlation depend on."""
        return str(self._get("survey", i, "")), int(self._get("rebin", i, 1))

    def _psf(self, i: int, name: str) -> galsim.GSObject:
        survey, rebin = self._group(i)
        native = float(self.data["stamp_scale"][i]) / rebin
        spec = self.data["psf"][i] if self.psf is None else self.psf
        if isinstance(spec, Mapping) and "type" not in spec:
            key = survey if survey in spec else name
            if key not in spec:
                raise galsim.GalSimConfigError(f"{self.name}.psf has none for {survey} {name}")
            spec = spec[key]
        if self.psf is None:
            return block_psf(build_psf(spec, name, native), native, rebin)
        key = (survey, rebin, name, native)
        if key not in self._psfs:
            self._psfs[key] = block_psf(build_psf(spec, name, native), native, rebin)
        return self._psfs[key]

    @cached_property
    def _psfs(self) -> dict:
        return {}

    def _good(self, i: int, k: int) -> np.ndarray:
        image = self.data["img"][i, k]
        mask = self.data["mask"][i] == 0 if "mask" in self.data else True
        return np.isfinite(image) & mask

    def _sky(self, i: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        image = np.nan_to_num(self.data["img"][i, k].astype(float))
        return image, sky.pixels(image, self._good(i, k) & (image != 0))

    @cached_property
    def _correlations(self) -> dict:
        """Noise correlation of each group and filter."""
        groups: dict[tuple, list[int]] = {}
        for i in self.index.tolist():
            groups.setdefault(self._group(i), []).append(i)
        return {
            (group, name): sky.correlation(self._sky(i, self.bands.index(name)) for i in rows[:40])
            for group, rows in groups.items()
            for name in self.filters
        }

    def _noise(self, i: int, k: int) -> float:
        """Noise rms, measured where the stamp shows the sky."""
        image, show = self._sky(i, k)
        if show.any():
            return sky.noise(image, show)
        rebin = self._group(i)[1]
        return float(self._get("sig_native", i, np.zeros(len(self.bands)))[k]) * rebin

    def _source(self, i: int) -> Source:
        ok = self._get("bandok", i, np.ones(len(self.bands), bool))
        used = {b: n for n, b in self.filters.items() if ok[self.bands.index(n)]}
        at = {b: self.bands.index(n) for b, n in used.items()}
        source = Source(self.name, i, None, used, sized=not self.structure_only,
                        identifier=str(self._get("id", i, i)))  # fmt: skip
        for name in ("ra", "dec"):
            if name in self.data:
                source.catalogue[name] = float(self.data[name][i])
        if not used:
            source.reason = "no band"
            return source
        # To one f_nu unit, that of the first band.
        k0 = next(iter(at.values()))
        unit = {b: 10 ** (-0.4 * (self._zero[k] - self._zero[k0])) if k != k0 else 1.0
                for b, k in at.items()}  # fmt: skip
        source.observation = Observation(
            {
                b: np.nan_to_num(self.data["img"][i, k].astype(float)) * unit[b]
                for b, k in at.items()
            },
            dict.fromkeys(at, float(self.data["stamp_scale"][i])),
            {b: self._psf(i, n) for b, n in used.items()},
            {b: self._noise(i, k) * unit[b] for b, k in at.items()},
            {b: self._good(i, k) for b, k in at.items()},
            dict.fromkeys(at, (float(self.data["x"][i]), float(self.data["y"][i]))),
            {b: self._correlations[self._group(i), n] for b, n in used.items()},
        )
        if not self.structure_only:
            source.redshift = finite(self._get("z", i, math.nan), low=0.0)
            # Only the filter itself: another one that stands for it has another magnitude.
            if used.get(REFERENCE) == REFERENCE and "mag" in self.data:
                source.magnitude = finite(self.data["mag"][i, at[REFERENCE]])
        if self._get("quality", i, 1) < 1:
            source.reason = "quality"
        return source


def _shape4(path, image) -> tuple[int, int, int, int]:
    if image.ndim != 4 or image.dtype.kind != "f":
        raise galsim.GalSimValueError(
            f"{path}: img must be floats of shape (n, bands, ny, nx)", (image.shape, image.dtype)
        )
    return image.shape


class SegmentReader:
    """FITS cubes of stamps in which all but the galaxy's own segment is 0.

    One HDU (n, ny, nx) a filter, its EXTNAME the filter's name, with PIXSCALE [arcsec] and ZPT_AB
    in the header, and a table CATALOG. Only the segment is used.

    Parameters
    ----------
    name : of the set.
    file_name : the file.
    noise : dict of filter to rms per pixel, in the unit of its cube: the sky cannot be measured.
    psf : see `source.build_psf`, one for all filters or a dict of filters.
    magnitude : column of the AB magnitude in F814W.
    """

    def __init__(self, name: str, file_name: str, noise: Mapping[str, float], psf="HST",
                 magnitude: str | None = None, provenance: str = ""):  # fmt: skip
        self.name, self.path, self.provenance = name, file_name, provenance
        self.noise, self.psf, self.magnitude = dict(noise), psf, magnitude
        self.filters = map_filters(self.noise, None, False)

    def check(self) -> None:
        """Raise if an HDU, a keyword or a column is missing, or a shape is wrong."""
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
        from astropy.table import Table

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
            yield self._source(i)

    @cached_property
    def _psfs(self) -> dict[str, galsim.GSObject]:
        specs = dict.fromkeys(self.filters, self.psf)
        if isinstance(self.psf, Mapping) and "type" not in self.psf:
            specs = dict(self.psf)
        return {b: build_psf(specs[n], n, self._scale[b]) for n, b in self.filters.items()}

    def _source(self, i: int) -> Source:
        image = {b: cube[i].astype(float) for b, cube in self._cubes.items()}
        mask, reason = segment(np.max(list(image.values()), axis=0))
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


def segment(image) -> tuple[np.ndarray, str]:
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
