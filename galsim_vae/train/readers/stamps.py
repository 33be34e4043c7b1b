"""Galaxies that come as stamps: arrays in .npz files."""

import fnmatch
import math
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import galsim
import numpy as np

from galsim_vae.bands import REFERENCE
from galsim_vae.frame.observation import Observation

from . import sky
from .catalogue import finite
from .filters import map_filters
from .psf import block_psf, build_psf
from .source import Source, guarded

__all__ = ["StampReader"]

CHUNK = 16
_REDDEST = 10.0  # of colours that are believed [mag]


class StampReader:
    """Stamps in a ``.npz`` file.

    ``img`` (n, bands, s, s): background-subtracted, linear flux per pixel; ``bands`` the filters;
    ``x``, ``y`` (n,) the galaxy in 0-based pixels; ``stamp_scale`` (n,) arcsec per pixel. Used
    where they are there: ``mask`` (n, s, s), 0 where usable; ``rebin`` (n,): the pixels are sums of
    so many native ones along either axis; ``zp`` (bands,) or (n, bands) AB zero-points; ``mag``
    (n, bands) AB; ``z``, ``ra``, ``dec``, ``id``; ``bandok`` (n, bands); ``psf`` (n, m, m), one
    for all bands, or (n, bands, m, m), at native pixels; ``sig_native`` (n, bands), the noise of
    native pixels, for stamps that show no sky; ``quality`` (n,), 0 for rejected; ``survey`` (n,),
    if the file holds several.

    Parameters
    ----------
    name : str
        Of the set.
    file_name : str
        The file.
    psf : str, ndarray or dict, optional
        See `psf.build_psf`, or a dict of these by filter or survey; absent if the file has ``psf``.
        ``{array: psf, index: 2, scale: 0.06}`` is element 2 of the file's array ``psf``, at pixels
        of 0.06 arcsec. Without ``index`` the array has one PSF a galaxy, and without ``scale``
        native pixels.
    structure_only : bool, optional
        The galaxies are nearby ones that stand in for distant ones: no magnitude, no redshift, no
        size in arcsec.
    pivot : dict, optional
        Filter to pivot wavelength [nm] for filters that are not known, or whose name means another
        one elsewhere.
    rows : str, optional
        Only galaxies whose ``id`` looks like this (``"qso*"``).
    segment_only : bool, optional
        All but the galaxy's own segment is 0. The noise is then ``sig_native``.
    colour : dict, optional
        Filter to the colour, F814W less that filter [AB mag], that galaxies like these have in the
        median: gives their F814W magnitude, from ``mag``, where they were not observed in F814W.
        With it, galaxies of a set that is `structure_only` have magnitude, redshift and size: they
        are as distant as others, and only their filter is far from our bands.
    """

    def __init__(self, name: str, file_name: str, psf=None, structure_only: bool = False,
                 pivot: Mapping[str, float] | None = None, rows: str = "*",
                 provenance: str = "", segment_only: bool = False,
                 colour: Mapping[str, float] | None = None):  # fmt: skip
        self.name, self.path, self.provenance = name, file_name, provenance
        self.psf, self.structure_only, self.rows = psf, structure_only, rows
        self.pivot, self.segment_only = pivot, segment_only
        self.colour = dict(colour or {})
        self.nearby = structure_only and not self.colour

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
        known = np.isfinite(self._zero[:, [self.bands.index(name) for name in chosen]]).all()
        return chosen if known else dict(list(chosen.items())[:1])

    @cached_property
    def _zero(self) -> np.ndarray:
        """AB zero-points of the galaxies and filters, NaN where unknown."""
        zero = np.asarray(self.data.get("zp", np.nan), dtype=float)
        return np.broadcast_to(zero, (len(self.data["img"]), len(self.bands)))

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
        if self.data.get("zp", np.empty(0)).ndim == 2:
            shapes["zp"] = (n, bands)
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
        if self.segment_only and "sig_native" not in self.data:
            raise galsim.GalSimConfigError(
                f"{self.path} has no array sig_native: {self.name}.segment_only needs it, since "
                "segments show no sky"
            )
        unknown = [name for name in self.colour if name not in self.bands]
        if unknown or (self.colour and "mag" not in self.data):
            raise galsim.GalSimConfigValueError(
                f"{self.name}.colour needs an array mag and filters of {self.path}",
                unknown or list(self.data), self.bands,
            )  # fmt: skip
        for name, value in self.colour.items():
            if not abs(value) < _REDDEST:  # NaN, too
                raise galsim.GalSimRangeError(
                    f"{self.name}.colour.{name} must be F814W less {name} [mag]", value,
                    -_REDDEST, _REDDEST,
                )  # fmt: skip
        for name in self.filters:
            self._psf(int(self.index[0]), name)

    def __len__(self) -> int:
        return math.ceil(len(self.index) / CHUNK)

    def read(self, chunk: int) -> Iterator[Source]:
        """Read CHUNK galaxies."""
        for i in self.index[chunk * CHUNK : (chunk + 1) * CHUNK]:
            yield guarded(self.name, int(i), partial(self._source, int(i)))

    def _get(self, name: str, i: int, default):
        return self.data[name][i] if name in self.data else default

    def _group(self, i: int) -> tuple:
        """What the PSF and the noise's correlation depend on."""
        return str(self._get("survey", i, "")), int(self._get("rebin", i, 1))

    def _psf(self, i: int, name: str) -> galsim.GSObject:
        survey, rebin = self._group(i)
        native = float(self.data["stamp_scale"][i]) / rebin
        spec: Any = {"array": "psf"} if self.psf is None else self.psf
        if isinstance(spec, Mapping) and "type" not in spec and "array" not in spec:
            if survey not in spec and name not in spec:
                raise galsim.GalSimConfigError(f"{self.name}.psf has none for {survey} {name}")
            spec = spec[survey if survey in spec else name]
        if isinstance(spec, Mapping) and "array" in spec:
            scale = float(spec.get("scale", native))
            return block_psf(build_psf(self._psf_array(spec, i, name), name, scale), native, rebin)
        key = (survey, rebin, name, native)
        if key not in self._psfs:
            self._psfs[key] = block_psf(build_psf(spec, name, native), native, rebin)
        return self._psfs[key]

    def _psf_array(self, spec: Mapping, i: int, name: str) -> np.ndarray:
        """PSF image of a galaxy and filter among the file's arrays."""
        unknown = set(spec) - {"array", "index", "scale"}
        if unknown:
            raise galsim.GalSimConfigError(
                f"Unknown key {self.name}.psf.{min(unknown)}; a PSF of the file has array, index "
                "and scale"
            )
        if spec["array"] not in self.data:
            raise galsim.GalSimKeyError(
                f"{self.path} has no array {spec['array']}; it has {', '.join(self.data)}",
                spec["array"],
            )
        array, n = self.data[spec["array"]], len(self.data["img"])
        if "index" in spec:
            if array.ndim != 3 or not 0 <= int(spec["index"]) < len(array):
                raise galsim.GalSimValueError(
                    f"{self.path}: {spec['array']} has no PSF image {spec['index']}", array.shape
                )
            return array[int(spec["index"])]
        if array.shape[:-2] not in ((n,), (n, len(self.bands))):
            raise galsim.GalSimValueError(
                f"{self.path}: {spec['array']} must have shape ({n}, m, m) or "
                f"({n}, {len(self.bands)}, m, m)",
                array.shape,
            )
        return array[i] if array.ndim == 3 else array[i, self.bands.index(name)]

    @cached_property
    def _psfs(self) -> dict:
        return {}

    def _good(self, i: int, k: int) -> np.ndarray:
        image = self.data["img"][i, k]
        mask = self.data["mask"][i] == 0 if "mask" in self.data else True
        return sky.exposed(image.astype(float)) & mask

    def _sky(self, i: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        image = np.nan_to_num(self.data["img"][i, k].astype(float))
        good = self._good(i, k) & (image != 0)
        return image, np.zeros_like(good) if self.segment_only else sky.pixels(image, good)

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
        source = Source(
            self.name, i, None, used, sized=not self.nearby,
            segment_only=self.segment_only, identifier=str(self._get("id", i, i)),
        )  # fmt: skip
        for name in ("ra", "dec"):
            if name in self.data:
                source.catalogue[name] = float(self.data[name][i])
        if not used:
            source.reason = "no band"
            return source
        # To one f_nu unit, that of the first band.
        k0 = next(iter(at.values()))
        zero = self._zero[i]
        unit = {b: 10 ** (-0.4 * (zero[k] - zero[k0])) if k != k0 else 1.0 for b, k in at.items()}
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
        if not self.nearby:
            source.redshift = finite(self._get("z", i, math.nan), low=0.0)
            source.magnitude = self._magnitude(i, used)
        if self._get("quality", i, 1) < 1:
            source.reason = "quality"
        return source

    def _magnitude(self, i: int, used: dict[str, str]) -> float:
        """F814W magnitude, NaN if not known."""
        if "mag" not in self.data:
            return math.nan
        # Only the filter itself: another one that stands for it has another magnitude.
        if used.get(REFERENCE) == REFERENCE:
            return finite(self.data["mag"][i, self.bands.index(REFERENCE)])
        for name, colour in self.colour.items():
            value = finite(self.data["mag"][i, self.bands.index(name)])
            if math.isfinite(value):
                return value + colour
        return math.nan


def _shape4(path, image) -> tuple[int, int, int, int]:
    if image.ndim != 4 or image.dtype.kind != "f":
        raise galsim.GalSimValueError(
            f"{path}: img must be floats of shape (n, bands, ny, nx)", (image.shape, image.dtype)
        )
    return image.shape
