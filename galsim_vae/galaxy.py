"""`VAEGalaxy`: a decoded stamp as a GalSim surface-brightness profile, and what is true of it."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import galsim
import numpy as np
from galsim.errors import GalSimValueError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .filters.truth import Truth

__all__ = ["ChromaticVAEGalaxy", "TransformedVAEGalaxy", "VAEGalaxy"]

# Photons are shot from a grid that is this many times finer than the stamp.
_PHOTON_OVERSAMPLING = 4
# GalSim's quintic interpolant ends three pixels out.
_KERNEL_REACH = 3


class _HasTruth:
    """The truth of a galaxy as attributes; without a truth there are none."""

    _truth: Truth | None

    @property
    def truth(self) -> Truth | None:
        """What is true of the galaxy as it was made, a `galsim_vae.filters.Truth`."""
        return self._truth

    @property
    def magnitude(self) -> float:
        """AB magnitude in F814W."""
        return self._known("magnitude").magnitude

    @property
    def half_light_radius(self) -> float:
        """sqrt(ab) of the half-light ellipse in F814W, arcsec."""
        return self._known("half_light_radius").half_light_radius

    @property
    def ellipticity(self) -> galsim.Shear:
        """Ellipticity in F814W."""
        return self._known("ellipticity").ellipticity

    @property
    def id(self) -> int:
        """The galaxy's name in its table."""
        return self._known("id").id

    def magnitude_in(self, band: str | galsim.Bandpass, extrapolate: bool = False) -> float:
        """Return the AB magnitude in a filter, see `galsim_vae.filters.Truth.magnitude_in`."""
        return self._known("magnitude_in").magnitude_in(band, extrapolate)

    def _known(self, name: str) -> Truth:
        if self.truth is None:
            raise AttributeError(
                f"This {type(self).__name__} was made without a truth and has no {name}: take it "
                "from Stamps.galaxy or GalaxyGenerator.galaxy"
            )
        return self.truth


class _KeepsTruth(galsim.GSObject):
    """A profile the transformations of which know which galaxy they are of.

    GalSim makes a plain Transformation, the redshift of which is 0.
    """


def _keeping(name: str) -> Any:
    """The method of GSObject, with its result a `TransformedVAEGalaxy`."""
    method = getattr(galsim.GSObject, name)

    @functools.wraps(method)
    def transformed(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _kept(self, method(self, *args, **kwargs))

    return transformed


# All others (withFlux, magnify, products) go through these.
for _name in ("withScaledFlux", "expand", "dilate", "shear", "_shear", "lens", "_lens", "rotate",
              "transform", "shift", "_shift"):  # fmt: skip
    setattr(_KeepsTruth, _name, _keeping(_name))


def _kept(galaxy: Any, result: Any) -> Any:
    if type(result) is galsim.Transformation:
        kept = TransformedVAEGalaxy.__new__(TransformedVAEGalaxy)
        kept.__dict__.update(result.__dict__)
        kept.redshift = galaxy.redshift
        return kept
    return result


class VAEGalaxy(_HasTruth, _KeepsTruth, galsim.InterpolatedImage):
    """A galaxy: a canonical stamp, laid on the sky by a linear map.

    A `galsim.InterpolatedImage` (quintic interpolation in x and k, padded four times: GalSim's
    defaults; less costs 1e-3 in shear response) whose jacobian puts size, orientation and shape.
    It differs in what it is made of, in its equality and ``repr``, in carrying what is true of it,
    in its photons, and in its ``maxk`` and ``stepk``, which serve elongated pixels too;
    drawing and transforming it is what GalSim does. There is no PSF and no pixel in it.

    Normally made by `Stamps.galaxy` or `GalaxyGenerator.galaxy`, not by hand. Those give it a
    ``truth``, and with it the attributes ``magnitude``, ``half_light_radius``, ``ellipticity``,
    ``redshift`` and ``id`` and the method ``magnitude_in(band)``: the galaxy as it was made. A
    transformed galaxy has ``redshift``, ``id``, ``truth`` and ``magnitude_in``.

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
        True redshift, kept as ``.redshift``. Nothing is redshifted by it. By default the truth's.
    gsparams : galsim.GSParams, optional
        GalSim's accuracy.
    truth : galsim_vae.filters.Truth, optional
        What is true of the galaxy.

    Raises
    ------
    galsim.GalSimValueError
        The array is not two-dimensional, not finite or sums to zero, or the jacobian is singular.

    Notes
    -----
    Like every GSObject it is immutable, hashable and picklable, and ``eval(repr(gal)) == gal``.
    GalSim's own config code sets ``redshift`` after the fact, so it has no part in the hash.

    Photons are never negative: they are shot from the profile with its negative parts set to zero
    and the flux put right. GalSim's own photons of an InterpolatedImage are partly negative, and
    `galsim.Sum` forgets their sign (in GalSim 2.8), which would make sums 29 to 58 % too bright.
    What is cut off is 3e-5 of the flux in the median and 2e-4 at most. The expected image is that
    of the drawn one to 1e-4 of its peak through a PSF of 0.7", and to 3e-4 through one of 0.1".
    """

    def __init__(
        self,
        image_array: ArrayLike,
        jacobian: ArrayLike,
        offset: ArrayLike = (0.0, 0.0),
        flux: float = 1.0,
        redshift: float | None = None,
        gsparams: galsim.GSParams | None = None,
        truth: Truth | None = None,
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
        self._truth = truth
        if redshift is None and truth is not None:
            redshift = truth.redshift
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

        GalSim divides the largest k of the image by the longest side of a pixel, which cuts the
        minor axis of a galaxy with elongated pixels. Here each k that is kept is mapped to the sky.

        GalSim also pads the image four times for it, transforms that, throws it away and does it
        again to draw: a tenth of all the time of a galaxy. Twice is enough for the rule. (Were
        GalSim to call this no longer, it would only be slower, and cut again.)
        """
        if _force_maxk > 0 or not calculate_maxk:
            return super()._getMaxK(calculate_maxk, _force_maxk)
        import scipy.fft  # here, as it takes 0.1 s; in numpy 1 the transform is float64

        size = 2 * max(self.image.array.shape)
        amplitude = scipy.fft.rfft2(self.image.array, (size, size))
        power = amplitude.real**2 + amplitude.imag**2
        least = self.gsparams.maxk_threshold * self.image.array.sum()
        dudx, dudy, dvdx, dvdy = self._wcs.getMatrix().ravel()
        determinant = dudx * dvdy - dudy * dvdx
        x, y, outwards = _waves(size)
        on_sky = (dvdy * x - dvdx * y) ** 2
        on_sky += (dudx * y - dudy * x) ** 2
        on_sky *= outwards
        square = (on_sky * (power > least**2)).max()
        largest = max(math.sqrt(square), abs(determinant) / self._wcs._minScale())
        return 2 * math.pi / size * largest / abs(determinant)

    def _getSimpleStepK(self, R: float) -> float:
        """Of light that reaches R pixels; GalSim takes the shortest side of a pixel here."""
        return np.pi / (math.hypot(R, self.x_interpolant.xrange) * self._wcs._maxScale())

    @functools.cached_property
    def photon_cells(self) -> np.ndarray:
        """The profile on cells a quarter of a pixel wide, without its negative parts, (m, m).

        The cells have the stamp's centre, and reach three pixels further. Read only.
        """
        ny, nx = self.image.array.shape
        cells = np.maximum(_interpolation(ny) @ self.image.array @ _interpolation(nx).T, 0)
        cells.flags.writeable = False
        return cells

    @functools.cached_property
    def _cumulative(self) -> np.ndarray:
        """Probability that a photon is of a cell up to this one, (m * m,)."""
        cumulative = np.cumsum(self.photon_cells)
        return cumulative / cumulative[-1]

    @property
    def _positive_flux(self) -> float:
        return max(self.flux, 0.0)

    @property
    def _negative_flux(self) -> float:
        return max(-self.flux, 0.0)

    def _shoot(self, photons: galsim.PhotonArray, rng: galsim.BaseDeviate) -> None:
        """Choose a cell for each photon, and a place in it."""
        uniforms = np.empty(3 * len(photons))
        galsim.UniformDeviate(rng).generate(uniforms)
        which, across, along = uniforms.reshape(3, -1)
        cell = np.searchsorted(self._cumulative, which, side="right")
        ny, nx = self.photon_cells.shape
        row, column = np.divmod(cell, nx)
        x = (column + across - nx / 2) / _PHOTON_OVERSAMPLING - self._centre[0]
        y = (row + along - ny / 2) / _PHOTON_OVERSAMPLING - self._centre[1]
        dudx, dudy, dvdx, dvdy = self._jacobian
        photons.x = dudx * x + dudy * y
        photons.y = dvdx * x + dvdy * y
        photons.flux = self.flux / len(photons)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for made_again in ("photon_cells", "_cumulative"):
            state.pop(made_again, None)
        return state

    def _identity(self) -> tuple:
        """What, with the array and the redshift, makes two galaxies equal."""
        kind = "galsim_vae.VAEGalaxy"
        return (kind, self._jacobian, self._centre, self.flux, self.gsparams, self.truth)

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
            f"gsparams={self.gsparams!r}, truth={self.truth!r})"
        )

    def __str__(self) -> str:
        return f"galsim_vae.VAEGalaxy(flux={self.flux:.6g}, redshift={self.redshift})"


class TransformedVAEGalaxy(_KeepsTruth, galsim.Transformation):
    """A sheared, lensed, turned, scaled or shifted `VAEGalaxy`, which is its ``original``.

    It has the galaxy's ``redshift``, ``id``, ``truth`` and ``magnitude_in``. Other attributes of a
    VAEGalaxy need not be true of what became of it, and are absent.
    """

    redshift: float

    @property
    def truth(self) -> Truth | None:
        """What is true of the galaxy as it was made."""
        return self.original.truth

    @property
    def id(self) -> int:
        """The galaxy's name in its table."""
        return self.original.id

    def magnitude_in(self, band: str | galsim.Bandpass, extrapolate: bool = False) -> float:
        """Return the AB magnitude of the galaxy as it was made, without lensing or ``withFlux``."""
        return self.original.magnitude_in(band, extrapolate)

    def __getattr__(self, name: str) -> Any:
        hint = ""
        if name in ("magnitude", "half_light_radius", "ellipticity"):
            hint = f": that of the galaxy as it was made is galaxy.truth.{name}"
        raise AttributeError(f"{type(self).__name__} has no attribute {name}{hint}")

    def __repr__(self) -> str:
        kind = "galsim_vae.galaxy.TransformedVAEGalaxy("
        return super().__repr__().replace("galsim.Transformation(", kind, 1)


class ChromaticVAEGalaxy(_HasTruth, galsim.ChromaticSum):
    """A galaxy in all bands, as `Stamps.chromatic` makes it, and what is true of it.

    After a transformation GalSim's own classes remain: they have ``redshift``, and no other truth.

    Parameters
    ----------
    parts : list of galsim.ChromaticObject
        To be added up.
    truth : galsim_vae.filters.Truth, optional
    """

    def __init__(self, parts: list[galsim.ChromaticObject], truth: Truth | None = None):
        galsim.ChromaticSum.__init__(self, parts)
        self._truth = truth


@functools.cache
def _waves(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Waves in x (m,) and in y (size, 1) of a half-complex transform, and how far each may reach.

    GalSim has samples every half of these steps, and may stop up to one step further out. That,
    (size, m), is in units of the wave, squared.
    """
    x, y = np.arange(size // 2 + 1.0), np.fft.fftfreq(size, 1 / size)[:, None]
    steps = np.maximum(np.maximum(x, np.abs(y)), 1)
    return x, y, np.minimum(1 + 1 / steps, size / 2 / steps) ** 2


@functools.cache
def _interpolation(size: int) -> np.ndarray:
    """Values (m, size) of the interpolant at the m cells of the fine grid, which has its centre."""
    cells = (size + 2 * _KERNEL_REACH) * _PHOTON_OVERSAMPLING
    position = (np.arange(cells) - (cells - 1) / 2) / _PHOTON_OVERSAMPLING
    pixel = np.arange(size) - (size - 1) / 2
    distance = position[:, None] - pixel
    values = galsim.Quintic().xval(distance.ravel()).reshape(distance.shape)
    # Uniform cells widen the profile by the variance 1/12 of a cell: less a 24th of the second
    # difference, they do not.
    padded = np.pad(values, ((1, 1), (0, 0)))
    return values - (padded[2:] - 2 * values + padded[:-2]) / 24
