"""Images of a mosaic, read piece by piece: what is not asked for is not loaded."""

import re
import warnings
from functools import cached_property
from pathlib import Path

import galsim
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import NDArray

from .units import Calibration

__all__ = ["MosaicImage"]

# Header keywords of the pixel scale [arcsec], where there is no WCS.
_SCALE = ("PIXSCALE", "PIXSCAL", "PIXSCAL1", "PIXELSCL", "SECPIX", "GS_SCALE")
# Rows read together when looking for data.
_ROWS = 128


class MosaicImage:
    """One image of a FITS file: ``"file.fits"`` or ``"file.fits[HDU]"``.

    HDU is a number, a name, or a name and its version: ``[SCI,2]``. Of plain files only the rows
    that are asked for are read, of tile-compressed ones (``.fits.fz``) the tiles. Gzipped ones
    cannot be read in pieces: they are held in memory as float32.

    Raises
    ------
    OSError
        No such file.
    galsim.GalSimKeyError
        No such HDU.
    galsim.GalSimValueError
        The HDU is not a 2D image.
    """

    def __init__(self, spec: str):
        match = re.fullmatch(r"(.*?)(?:\[(.*)\])?", str(spec))
        assert match is not None
        self.spec, path, hdu = str(spec), Path(match[1]), match[2]
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        # Not mapped: pages of a map stay in memory as long as there is room, and count as ours.
        self._file = fits.open(path, memmap=False)
        self._hdu = self._choose(hdu)
        self.header = self._hdu.header
        if self.header.get("NAXIS") != 2:
            raise galsim.GalSimValueError(f"{spec} must be a 2D image", self.header.get("NAXIS"))
        self.shape: tuple[int, int] = self._hdu.shape
        self._array = None
        if path.suffix == ".gz":
            self._array = np.asarray(self._hdu.data, dtype=np.float32)

    def _choose(self, hdu: str | None):
        if hdu is None:  # the first that is an image
            for candidate in self._file:
                if candidate.header.get("NAXIS") == 2 and candidate.is_image:
                    return candidate
            return self._file[0]
        name, _, version = (part.strip() for part in hdu.partition(","))
        try:
            if version:
                return self._file[name, int(version)]
            return self._file[int(name) if name.isdigit() else name]
        except (KeyError, IndexError, ValueError):
            raise galsim.GalSimKeyError(
                f"{self.spec}: no such HDU; there are {[h.name for h in self._file]}", hdu
            ) from None

    def cut(self, box: tuple[slice, slice]) -> NDArray:
        """Read the pixels of a box (rows, columns) that lies inside the image, as float32."""
        source = self._hdu.section if self._array is None else self._array
        return np.array(source[box], dtype=np.float32)

    def holds_data(self) -> bool:
        """Tell whether any pixel is finite and not 0, reading some rows at a time."""
        return any(
            np.any(np.nan_to_num(self.cut((slice(y, y + _ROWS), slice(None)))))
            for y in range(0, self.shape[0], _ROWS)
        )

    def keyword(self, *names: str):
        """Return the value of the first keyword that the image has, or else the file, or None.

        The file's own header, that of its empty first HDU, holds for all of its images.
        """
        for header in self._headers:
            for name in names:
                if name in header and not isinstance(header[name], fits.card.Undefined):
                    return header[name]
        return None

    @property
    def _headers(self) -> list[fits.Header]:
        first = self._file[0].header
        return [self.header, first] if first.get("NAXIS") == 0 else [self.header]

    def _comment(self, name: str) -> str:
        return next((str(h.comments[name]) for h in self._headers if name in h), "")

    def calibration(self, pixel_scale: float | None = None) -> Calibration:
        """What the header says of the unit; `pixel_scale` [arcsec] where it has none."""
        scale = self.pixel_scale() if pixel_scale is None else pixel_scale
        return Calibration(self.spec, self.keyword, self._comment, scale**2)

    @cached_property
    def celestial(self) -> WCS | None:
        """WCS of the sky in the header, axes in either order, in any frame; or None.

        Raises
        ------
        galsim.GalSimValueError
            There is one, but it is broken.
        """
        if "CTYPE1" not in self.header:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FITSFixedWarning)
                # SIP coefficients may stand without "-SIP" in CTYPE.
                wcs = WCS(self.header, naxis=2)
            if not wcs.has_celestial:
                return None
            wcs.all_pix2world([[0.0, 0.0]], 0)
        except Exception as error:  # wcslib has many
            raise galsim.GalSimValueError(
                f"{self.spec}: its WCS cannot be used ({str(error).strip()})",
                self.header["CTYPE1"],
            ) from error
        return wcs

    @cached_property
    def _wcs(self) -> galsim.BaseWCS | None:
        if self.celestial is not None:
            # A copy, as AstropyWCS changes the header that it is given. It knows RA and Dec only;
            # in another frame, shapes and areas are the same under these names.
            header = self.header.copy()
            for key in ("CTYPE1", "CTYPE2"):
                header[key] = re.sub("^.LON-", "RA---", re.sub("^.LAT-", "DEC--", header[key]))
            return galsim.FitsWCS(header=galsim.FitsHeader(header))
        scale = self.keyword(*_SCALE)
        return None if scale is None else galsim.PixelScale(float(scale))

    def wcs(self) -> galsim.BaseWCS | None:
        """WCS of the sky or pixel scale of the header, or None."""
        return self._wcs

    def pixel_scale(self) -> float:
        """Pixel scale at the centre [arcsec], NaN if unknown."""
        wcs = self._wcs
        centre = galsim.PositionD((self.shape[1] + 1) / 2, (self.shape[0] + 1) / 2)
        return float(np.sqrt(wcs.pixelArea(image_pos=centre))) if wcs else float("nan")

    def sky(self, pixels: NDArray) -> SkyCoord:
        """Sky positions of 0-based pixels (n, 2) (x, y)."""
        assert self.celestial is not None
        return self.celestial.pixel_to_world(*np.asarray(pixels, dtype=float).T)

    def pixels(self, sky: SkyCoord) -> NDArray:
        """Return 0-based pixels (n, 2) (x, y) of sky positions; inf beyond the projection.

        Distortion is followed on the image and around it, where it holds.
        """
        wcs = self.celestial
        assert wcs is not None
        there = sky.transform_to(wcs_to_celestial_frame(wcs)).spherical
        places = np.stack([there.lon.deg, there.lat.deg], 1)
        if wcs.wcs.lng > wcs.wcs.lat:
            places = places[:, ::-1]
        with np.errstate(invalid="ignore"):
            pixels = wcs.wcs_world2pix(places, 0)
            size = np.array(self.shape[::-1])
            near = (np.abs(pixels - size / 2) < size).all(1)
        if wcs.has_distortion and near.any():
            pixels[near] = wcs.all_world2pix(places[near], 0, quiet=True)
        return np.where(np.isnan(pixels), np.inf, pixels)
