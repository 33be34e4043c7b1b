"""`VAEGalaxy`: a decoded stamp as a GalSim surface-brightness profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import galsim
import numpy as np
from galsim.errors import GalSimValueError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["VAEGalaxy"]


class VAEGalaxy(galsim.InterpolatedImage):
    """A galaxy: a canonical stamp, laid on the sky by a linear map.

    A `galsim.InterpolatedImage` (quintic interpolation in x and k, padded four times: GalSim's
    defaults; less costs 1e-3 in shear response) whose jacobian puts size, orientation and shape.
    It differs in what it is made of, in its equality and ``repr``, and in carrying a redshift;
    drawing, shooting and transforming it is what GalSim does. There is no PSF and no pixel in it.

    Normally made by `Stamps.galaxy` or `GalaxyGenerator.galaxy`, not by hand.

    Parameters
    ----------
    image_array : array_like, shape (64, 64)
        Samples of the profile, indexed [y, x]. Only their ratios matter. Copied.
    jacobian : array_like, shape (2, 2)
        Maps canonical pixels to arcsec on the sky: ((du/dx, du/dy), (dv/dx, dv/dy)).
    offset : array_like, shape (2,)
        (x, y) of the centroid from the centre of the stamp, canonical pixels. It goes to the
        profile's origin.
    flux : float
        Flux in the units of the image to be drawn.
    redshift : float, optional
        True redshift, kept as ``.redshift``. Nothing is redshifted by it.
    gsparams : galsim.GSParams, optional

    Raises
    ------
    galsim.GalSimValueError
        The array is not two-dimensional, not finite or sums to zero, or the jacobian is singular.

    Notes
    -----
    Like every GSObject it is immutable, hashable and picklable, and ``eval(repr(gal)) == gal``.
    GalSim's own config code sets ``redshift`` after the fact, so it has no part in the hash.
    """

    def __init__(
        self,
        image_array: ArrayLike,
        jacobian: ArrayLike,
        offset: ArrayLike = (0.0, 0.0),
        flux: float = 1.0,
        redshift: float | None = None,
        gsparams: galsim.GSParams | None = None,
    ):
        array = np.ascontiguousarray(image_array, dtype=np.float64)
        if array.ndim != 2 or not np.isfinite(array).all():
            raise GalSimValueError("image_array must be a finite 2-d array; its shape", array.shape)
        matrix = np.asarray(jacobian, dtype=np.float64)
        determinant = matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]
        if not (np.isfinite(determinant) and determinant != 0):
            raise GalSimValueError("The jacobian is singular or not finite", matrix.tolist())
        dx, dy = (float(d) for d in np.asarray(offset))
        super().__init__(
            galsim.Image(array, copy=False),
            wcs=galsim.JacobianWCS(*matrix.ravel().tolist()),
            offset=galsim.PositionD(dx, dy),
            flux=float(flux),
            gsparams=gsparams,
        )
        self._jacobian = tuple(matrix.ravel().tolist())
        self._centre = (dx, dy)
        if redshift is not None:
            self.redshift = float(redshift)

    @property
    def jacobian(self) -> np.ndarray:
        """The map from canonical pixels to arcsec, shape (2, 2); a copy."""
        return np.array(self._jacobian).reshape(2, 2)

    @property
    def offset(self) -> np.ndarray:
        """Centroid from the centre of the stamp, canonical pixels, shape (2,); a copy."""
        return np.array(self._centre)

    def _getMaxK(self, calculate_maxk: Any, _force_maxk: float) -> float:
        """GalSim's rule for maxk: beyond it no |F(k)| is above maxk_threshold of the flux.

        GalSim pads the image four times for it, transforms that, throws it away and does it again
        to draw: a tenth of all the time of a galaxy. Twice is enough for the rule. (Were GalSim
        to call this no longer, it would only be slower.)
        """
        if _force_maxk > 0 or not calculate_maxk:
            return super()._getMaxK(calculate_maxk, _force_maxk)
        import scipy.fft  # here, as it takes 0.1 s; in numpy 1 the transform is float64

        size = 2 * max(self.image.array.shape)
        amplitude = np.abs(scipy.fft.rfft2(self.image.array, (size, size)))
        above = amplitude > self.gsparams.maxk_threshold * abs(self.image.array.sum())
        across = np.flatnonzero(above.any(axis=0)).max(initial=0)
        along = np.flatnonzero(above.any(axis=1))
        largest = max(across, np.minimum(along, size - along).max(initial=0))
        # GalSim has samples every half of these steps, and may stop up to one step further out.
        step = 2 * np.pi / size
        return min(float(largest + 1) * step, np.pi) / self._wcs._maxScale()

    def _identity(self) -> tuple:
        """What, with the array and the redshift, makes two galaxies equal."""
        return ("galsim_vae.VAEGalaxy", self._jacobian, self._centre, self.flux, self.gsparams)

    def __eq__(self, other: Any) -> bool:
        return self is other or (
            isinstance(other, VAEGalaxy)
            and self._identity() == other._identity()
            and self.redshift == other.redshift
            and np.array_equal(self.image.array, other.image.array)
        )

    def __hash__(self) -> int:
        # The diagonal is enough to tell galaxies apart: GalSim does the same for its images.
        return hash((self._identity(), np.diag(self.image.array).tobytes()))

    def __repr__(self) -> str:
        jacobian = (self._jacobian[:2], self._jacobian[2:])
        redshift = self.__dict__.get("redshift")
        return (
            f"galsim_vae.VAEGalaxy({self.image.array.tolist()!r}, jacobian={jacobian!r}, "
            f"offset={self._centre!r}, flux={self.flux!r}, redshift={redshift!r}, "
            f"gsparams={self.gsparams!r})"
        )

    def __str__(self) -> str:
        return f"galsim_vae.VAEGalaxy(flux={self.flux:.6g}, redshift={self.redshift})"
