"""One observed galaxy: native stamps, PSFs, noise and masks of any survey."""

from dataclasses import dataclass, field

import galsim
import numpy as np
from numpy.typing import NDArray

from galsim_vae.bands import BANDS

__all__ = ["Observation", "fill_masked"]


@dataclass
class Observation:
    """One galaxy as a survey saw it: native stamps in one or more bands.

    Parameters
    ----------
    image : dict
        Band name to array (ny, nx), flux per native pixel, background subtracted. The unit must be
        proportional to f_nu with the same factor in every band.
    wcs : dict
        Band name to pixel scale [arcsec], or to a `galsim.BaseWCS` (uniform).
    psf : dict
        Band name to `galsim.GSObject` or to array (image at the native pixels, centred): the
        effective PSF, that is with the native pixel response in it.
    noise : dict
        Band name to rms per native pixel, in the image's unit; absent means 0.
    mask : dict
        Band name to bool array (ny, nx), True where the pixel may be used; absent means everywhere.
    centre : dict
        Band name to (x, y), 0-based array coordinates of one common point of the sky near the
        galaxy; absent means the centre of the array.
    correlation : dict
        Band name to the correlation function of the noise at lags of native pixels, array
        (2k + 1, 2k + 1), 1 at its centre; absent means white.

    Raises
    ------
    galsim.GalSimValueError
        An unknown band, or an image that is not a finite 2D array.
    galsim.GalSimIncompatibleValuesError
        A band without PSF or WCS, or a mask of another shape.
    """

    image: dict[str, NDArray]
    wcs: dict[str, galsim.BaseWCS]
    psf: dict[str, galsim.GSObject]
    noise: dict[str, float] = field(default_factory=dict)
    mask: dict[str, NDArray] = field(default_factory=dict)
    centre: dict[str, tuple[float, float]] = field(default_factory=dict)
    correlation: dict[str, NDArray] = field(default_factory=dict)

    def __post_init__(self):
        if not self.image:
            raise galsim.GalSimValueError("An observation needs at least one band", self.image)
        for name in ("wcs", "psf", "noise", "mask", "centre", "correlation"):
            setattr(self, name, dict(getattr(self, name)))
        self.image = {band: self._checked(band, image) for band, image in self.image.items()}
        for band, image in self.image.items():
            if band not in self.wcs or band not in self.psf:
                raise galsim.GalSimIncompatibleValuesError(
                    f"Band {band} has no PSF or no WCS: give both", psf=self.psf, wcs=self.wcs
                )
            if not isinstance(self.wcs[band], galsim.BaseWCS):
                self.wcs[band] = galsim.PixelScale(float(self.wcs[band]))
            self.wcs[band] = self.wcs[band].jacobian()
            if not isinstance(self.psf[band], galsim.GSObject):
                array = np.array(self.psf[band], dtype=float)
                self.psf[band] = galsim.InterpolatedImage(
                    galsim.ImageD(array), wcs=self.wcs[band], flux=1.0
                )
            self.noise.setdefault(band, 0.0)
            self.mask.setdefault(band, np.ones(image.shape, dtype=bool))
            self.mask[band] = np.asarray(self.mask[band], dtype=bool)
            if self.mask[band].shape != image.shape:
                raise galsim.GalSimIncompatibleValuesError(
                    f"Mask of band {band} must have the shape of its image",
                    mask=self.mask[band].shape,
                    image=image.shape,
                )
            self.centre.setdefault(band, ((image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2))

    def noise_area(self, band: str) -> float:
        """Sum of the noise correlation over all lags [native pixel^2]; 1 is white."""
        return max(float(self.correlation[band].sum()), 1.0) if band in self.correlation else 1.0

    @staticmethod
    def _checked(band: str, image) -> NDArray:
        if band not in BANDS:
            raise galsim.GalSimValueError("Unknown band", band, BANDS)
        image = np.asarray(image, dtype=float)
        if image.ndim != 2 or not np.all(np.isfinite(image)):
            raise galsim.GalSimValueError(
                f"Image of band {band} must be 2D and finite (set bad pixels to 0 and mask them)",
                image.shape,
            )
        return image


def fill_masked(image: NDArray, mask: NDArray, centre: tuple[float, float]) -> NDArray:
    """Return a copy whose masked pixels hold their 180-degree mirror about `centre`, or else 0.

    The fill only keeps the interpolation from ringing at the edge of a mask: the canonical mask
    excludes whatever it touched.
    """
    y, x = np.nonzero(~mask)
    my = np.rint(2 * centre[1] - y).astype(int)
    mx = np.rint(2 * centre[0] - x).astype(int)
    inside = (my >= 0) & (my < image.shape[0]) & (mx >= 0) & (mx < image.shape[1])
    my, mx = np.where(inside, my, 0), np.where(inside, mx, 0)
    filled = np.array(image, dtype=float)
    filled[y, x] = np.where(inside & mask[my, mx], image[my, mx], 0.0)
    return filled
