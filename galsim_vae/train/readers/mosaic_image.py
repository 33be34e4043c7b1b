"""Images of a mosaic, read piece by piece: what is not asked for is not loaded."""

import re
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

__all__ = ["MosaicImage"]

# Header keywords of the AB zero-point and of the pixel scale [arcsec], where there is no WCS.
_ZEROPOINT = ("ZPT_AB", "ABMAGZP", "MAGZPT", "MAGZEROP", "ZEROPNT")
_SCALE = ("PIXSCALE", "PIXSCAL", "PIXSCAL1")
# Rows read together when looking for data.
_ROWS = 128


class MosaicImage:
    """One image of a FITS file: ``"file.fits"`` or ``"file.fits[HDU]"``, HDU a name or a number.

    Of plain files only the rows that are asked for are read, of tile-compressed ones
    (``.fits.fz``) the tiles. Gzipped ones cannot be read in pieces: they are held in memory as
    float32.

    Raises
    ------
    OSError : no such file.
    galsim.GalSimKeyError : no such HDU.
    galsim.GalSimValueError : the HDU is not a 2D image.
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
        try:
            return self._file[int(hdu) if hdu.isdigit() else hdu]
        except (KeyError, IndexError):
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

    @property
    def unit(self) -> str:
        """BUNIT of the header, or ''."""
        return str(self.header.get("BUNIT", "")).strip()

    def zeropoint(self) -> float | None:
        """AB zero-point in the header: its own keyword, or HST's PHOTFLAM and PHOTPLAM."""
        for key in _ZEROPOINT:
            if key in self.header:
                return float(self.header[key])
        if "PHOTFLAM" in self.header and "PHOTPLAM" in self.header:
            # ACS Data Handbook, section 5.1.1
            flam, plam = float(self.header["PHOTFLAM"]), float(self.header["PHOTPLAM"])
            return -2.5 * np.log10(flam) - 5 * np.log10(plam) - 2.408
        if self.unit.lower() in ("mjy/sr", "mjy / sr"):
            steradian = (self.pixel_scale() * (galsim.arcsec / galsim.radians)) ** 2
            return float(-2.5 * np.log10(1e6 * steradian / 3631))
        return None

    def wcs(self) -> galsim.BaseWCS | None:
        """Celestial WCS or pixel scale of the header, or None."""
        for key in _SCALE:
            if key in self.header and "CTYPE1" not in self.header:
                return galsim.PixelScale(float(self.header[key]))
        if "RA" in str(self.header.get("CTYPE1", "")):
            return galsim.FitsWCS(header=galsim.FitsHeader(self.header))
        return None

    def pixel_scale(self) -> float:
        """Pixel scale at the centre [arcsec]."""
        wcs = self.wcs()
        centre = galsim.PositionD((self.shape[1] + 1) / 2, (self.shape[0] + 1) / 2)
        return float(np.sqrt(wcs.pixelArea(image_pos=centre))) if wcs else float("nan")
