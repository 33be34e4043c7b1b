"""`Stamps`: decoded galaxies and the geometry that puts them on the sky."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import galsim
import numpy as np
from astropy.table import QTable
from galsim.errors import GalSimIncompatibleValuesError, GalSimIndexError, GalSimValueError

from .bands import BANDS, REFERENCE, ZEROPOINTS
from .conditions import NAMES, Conditions, to_table
from .files import input_file, output_file, write_whole
from .filters.bandpass import ab_zeropoint, check_reach, in_reach, warn_if_extrapolated
from .filters.names import find_band
from .filters.spectrum import band_weights, node_values, photon_spectra
from .filters.truth import Truth
from .galaxy import ChromaticVAEGalaxy, VAEGalaxy

__all__ = ["Stamps", "in_counts"]

_MAGNITUDE, _REDSHIFT = NAMES.index("magnitude"), NAMES.index("redshift")
_FORMAT = "galsim_vae stamps 1"
_ADVICE = (
    "Stamps are no sequence: write stamps.galaxy(i, band, zeropoint) for i in range(len(stamps)), "
    "or stamps[i:j] for some of them, or stamps.array (n, bands, 64, 64)"
)


@dataclass(frozen=True, eq=False)
class Stamps:
    """A batch of decoded galaxies.

    Attributes
    ----------
    array : ndarray (n, bands, 64, 64) float32
        Canonical stamps, PSF-free and pixel-free, non-negative; F814W sums to 1 and every other
        band to its f_nu over that of F814W.
    conditions : Conditions
        Of each galaxy, none missing.
    jacobian : ndarray (n, 2, 2) float64
        Maps canonical pixels to arcsec on the sky: scale, rotation, small residual shear.
    offset : ndarray (n, 2) float64
        (x, y) of the centroid from the centre of the stamp, canonical pixels.
    bands : tuple of str
        The bands of ``array``.
    sha256 : str
        Digest of the weights that they were decoded with; "" if that is not known.
    """

    array: np.ndarray
    conditions: Conditions
    jacobian: np.ndarray
    offset: np.ndarray
    bands: tuple[str, ...] = BANDS
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice | np.ndarray) -> Stamps:
        """Return some of the galaxies (a slice, a boolean mask or an array of indices).

        Raises
        ------
        TypeError
            One index: a galaxy is drawn in a band, `galaxy`.
        """
        if not isinstance(rows, slice) and np.ndim(rows) == 0:
            raise TypeError(f"{_ADVICE}; not stamps[{rows!r}]")
        return Stamps(
            self.array[rows],
            self.conditions[rows],
            self.jacobian[rows],
            self.offset[rows],
            self.bands,
            self.sha256,
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write the galaxies to a safetensors file; it appears under its name when complete.

        Parameters
        ----------
        path : str or path
            The file; one that is there is replaced if it is called ``.safetensors``.

        Raises
        ------
        OSError
            It cannot be written, or is there under another name.
        """
        from safetensors.numpy import save_file

        path = output_file(path)
        if path.exists() and path.suffix != ".safetensors":
            raise FileExistsError(
                f"{path} is there already, and may be something else: only files called "
                ".safetensors are replaced"
            )
        tensors = {name: np.ascontiguousarray(value) for name, value in self._tensors().items()}
        header = {"format": _FORMAT, "bands": json.dumps(self.bands), "weights_sha256": self.sha256}
        header["sha256"] = _digest(header, tensors)
        write_whole(path, lambda place: save_file(tensors, place, metadata=header))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Stamps:
        """Read a file of `save`, and check that it is what was written.

        Parameters
        ----------
        path : str or path
            The file.

        Returns
        -------
        Stamps
            To the bit; compare ``sha256`` with that of a `GalaxyGenerator` before mixing them.

        Raises
        ------
        OSError
            There is no such file, it is cut off, or it is none of stamps.
        galsim.GalSimValueError
            Its contents are not those that were written.
        """
        from safetensors import SafetensorError, safe_open

        path = input_file(path)
        try:
            with safe_open(path, framework="numpy") as file:
                header = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise OSError(f"{path}: not a complete safetensors file ({error}). Save the stamps "
                          "again") from error  # fmt: skip
        found = header.pop("sha256", None)
        if header.get("format") != _FORMAT or found is None:
            raise OSError(f"{path}: no stamps of galsim_vae, or of another version of it")
        if _digest(header, tensors) != found:
            raise GalSimValueError(
                f"{path}: contents do not match their sha256; the file was changed or damaged. "
                "Save the stamps again", found,
            )  # fmt: skip
        magnitudes = {
            name.removeprefix("mag_"): value
            for name, value in tensors.items() if name.startswith("mag_")
        }  # fmt: skip
        conditions = Conditions(tensors["values"], tensors["angle"], tensors["id"], magnitudes)
        return cls(
            tensors["array"], conditions, tensors["jacobian"], tensors["offset"],
            tuple(json.loads(header["bands"])), header["weights_sha256"],
        )  # fmt: skip

    def _tensors(self) -> dict[str, np.ndarray]:
        found = self.conditions
        named = {"values": found.values, "angle": found.angle, "id": found.id}
        named |= {"array": self.array, "jacobian": self.jacobian, "offset": self.offset}
        return named | {f"mag_{name}": value for name, value in found.band_magnitudes.items()}

    def __iter__(self) -> NoReturn:
        raise TypeError(_ADVICE)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(_ADVICE)

    @property
    def pixel_scale(self) -> np.ndarray:
        """Canonical pixel scale, arcsec, shape (n,): the geometric mean of the two axes."""
        return np.sqrt(np.abs(np.linalg.det(self.jacobian)))

    @property
    def table(self) -> QTable:
        """The conditions as a table, see `galsim_vae.to_table`.

        A position angle that is read back from its g1 and g2 may be half a turn from the one that
        was drawn: galaxies made again from the table may be turned by 180 degrees.
        """
        return to_table(self.conditions)

    def magnitude(
        self, band: str | galsim.Bandpass = REFERENCE, extrapolate: bool = False
    ) -> np.ndarray:
        """Return AB magnitudes through a band or filter.

        Parameters
        ----------
        band : str or galsim.Bandpass
            As in `galaxy`.
        extrapolate : bool
            Allow filters down to 300 nm (u), see `galsim_vae.filters.band_weights`, with a warning
            (`galsim.GalSimWarning`).

        Returns
        -------
        ndarray (n,) float64
            Infinite where an HST band has no flux at all.
        """
        band = find_band(band)
        if isinstance(band, str):
            flux = self.array[:, self.bands.index(band)].sum(axis=(1, 2), dtype=np.float64)
        else:
            flux = band_weights(band, self._nodes, extrapolate).sum(axis=1)
            warn_if_extrapolated(band)
        with np.errstate(divide="ignore"):  # A band may be dark.
            return self.conditions.values[:, _MAGNITUDE] - 2.5 * np.log10(flux)

    def image(
        self, i: int, band: str | galsim.Bandpass = REFERENCE, extrapolate: bool = False
    ) -> np.ndarray:
        """One galaxy's canonical stamp through a band or filter.

        Parameters
        ----------
        i : int
            Row.
        band : str or galsim.Bandpass
            As in `galaxy`.
        extrapolate : bool
            As in `magnitude`.

        Returns
        -------
        ndarray (64, 64) float32
            It sums to f_nu over that of F814W.
        """
        return self._through(self._row(i), find_band(band), extrapolate)[0]

    def galaxy(
        self,
        i: int,
        band: str | galsim.Bandpass = REFERENCE,
        zeropoint: float | None = None,
        gsparams: galsim.GSParams | None = None,
        extrapolate: bool = False,
    ) -> VAEGalaxy:
        """Return one galaxy in one band.

        Parameters
        ----------
        i : int
            Row.
        band : str or galsim.Bandpass
            An HST band of the stamps, a bandpass, or the name of a filter (``"LSST_r"``,
            ``"Euclid_VIS"``, ``"H158"``: `galsim_vae.filters.names`). An HST band by its name is
            its own stamp; the image through any other filter is a mix of the stamps of the bands
            about it (`galsim_vae.filters.spectrum`).
        zeropoint : float, optional
            AB magnitude of one unit of flux. HST bands have `ZEROPOINTS`; others need it.
        gsparams : galsim.GSParams, optional
            GalSim's accuracy.
        extrapolate : bool
            As in `magnitude`.

        Returns
        -------
        VAEGalaxy
            Its flux is 10^(-0.4 (magnitude - zeropoint)).

        Raises
        ------
        galsim.GalSimRangeError
            A filter that the HST bands do not reach.
        galsim.GalSimValueError
            An unknown band, or a zero-point that is not finite.
        galsim.GalSimIncompatibleValuesError
            No zero-point for a filter that is not an HST band.
        galsim.GalSimIndexError
            No such row.
        """
        i, band = self._row(i), find_band(band)
        image, flux = self._through(i, band, extrapolate)
        zeropoint = _zeropoint(band, zeropoint)
        unit = 10 ** (-0.4 * (self.conditions.values[i, _MAGNITUDE] - zeropoint))
        return self._profile(i, image, unit * flux, gsparams)

    def chromatic(
        self,
        i: int,
        gsparams: galsim.GSParams | None = None,
        bandpass: galsim.Bandpass | None = None,
        extrapolate: bool = False,
    ) -> ChromaticVAEGalaxy:
        """Return one galaxy in all bands: it draws through any `galsim.Bandpass` within reach.

        The sum over the bands of the band's profile times that part of the galaxy's spectrum which
        looks like it (`galsim_vae.filters.photon_spectra`), in photons / (s cm^2 nm). Through an
        HST band it has that band's flux, and nearly its image: the ends of a band's range look
        partly like the next band. The spectrum is in the observer's frame; ``.redshift`` is the
        galaxy's, and ``atRedshift`` with the same value does nothing.

        Parameters
        ----------
        i : int
            Row.
        gsparams : galsim.GSParams, optional
            GalSim's accuracy.
        bandpass : galsim.Bandpass, optional
            The only one that the galaxy will be drawn through, with an achromatic PSF. GalSim
            draws the five parts of the sum one after the other; here they are added up before, as
            this bandpass sees them, to one profile with the whole spectrum. The image is the same
            to 1e-6 of its peak and costs a quarter. Colour gradients are lost where they matter:
            with a chromatic PSF, another bandpass or redshift, or photons that are not all alike.
        extrapolate : bool
            For drawing through u filters: the spectrum goes on blueward of F435W with its slope. It
            warns if there is a ``bandpass`` that needs it. Without it a ``bandpass`` that needs it
            is refused; where there is none, f_nu is constant blueward of F435W.

        Returns
        -------
        ChromaticVAEGalaxy
            Of five parts, or of one.

        Raises
        ------
        galsim.GalSimIndexError
            No such row.
        galsim.GalSimRangeError
            A ``bandpass`` that the HST bands do not reach; when drawn, any that extends outside 300
            to 1900 nm.
        """
        i = self._row(i)
        magnitude, redshift = self.conditions.values[i, [_MAGNITUDE, _REDSHIFT]]
        unit = 10 ** (-0.4 * magnitude)
        if bandpass is not None:
            check_reach(bandpass, extrapolate)
            extrapolate = not in_reach(bandpass)
            warn_if_extrapolated(bandpass)
        seds = photon_spectra(self._nodes[i], redshift, extrapolate)
        if bandpass is not None:
            # GalSim's own integrals, with which it weighs the parts of the sum.
            photons = np.array([sed.calculateFlux(bandpass) for sed in seds])
            image = self._mix(i, photons / photons.sum())
            whole = self._profile(i, image, unit, gsparams) * sum(seds[1:], seds[0])
            return ChromaticVAEGalaxy([whole], self.truth(i))
        parts = []
        for k, flux, sed in zip(self._order, self._fluxes[i], seds, strict=True):
            image = self.array[i, k if flux > 0 else self.bands.index(REFERENCE)]
            parts.append(self._profile(i, image, unit, gsparams) * sed)
        return ChromaticVAEGalaxy(parts, self.truth(i))

    def truth(self, i: int) -> Truth:
        """Return what is true of one galaxy, its magnitudes in all filters included.

        Parameters
        ----------
        i : int
            Row.

        Returns
        -------
        Truth
            Conditions, id, and fluxes in the bands.

        Raises
        ------
        galsim.GalSimIndexError
            No such row.
        """
        i = self._row(i)
        return Truth.of(self.conditions, i, tuple(self._fluxes[i].tolist()))

    def weights(
        self,
        band: str | galsim.Bandpass = REFERENCE,
        zeropoint: float | None = None,
        extrapolate: bool = False,
    ) -> np.ndarray:
        """Return what each band's stamp counts in the images through a band or filter.

        ``(weights[:, :, None, None] * array).sum(axis=1)`` are the images in counts.

        Parameters
        ----------
        band : str or galsim.Bandpass
            As in `galsim_vae.Stamps.galaxy`, which raises the same errors.
        zeropoint : float, optional
            As there.
        extrapolate : bool
            As there.

        Returns
        -------
        ndarray (n, bands) float64
            In the order of ``bands``.
        """
        weights = np.zeros((len(self), len(self.bands)))
        band = find_band(band)
        if isinstance(band, str):
            weights[:, self.bands.index(band)] = 1
        else:
            flux = band_weights(band, self._nodes, extrapolate)
            warn_if_extrapolated(band)
            weights[:, self._order] = _shares(flux, self._fluxes)
        zeropoint = _zeropoint(band, zeropoint)
        return weights * 10 ** (-0.4 * (self.conditions.values[:, [_MAGNITUDE]] - zeropoint))

    def render(
        self,
        psf: galsim.GSObject | Sequence[galsim.GSObject],
        nx: int,
        ny: int,
        scale: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Draw all the galaxies through a PSF, each on an image of its own.

        Parameters
        ----------
        psf : galsim.GSObject
            One for all, or a sequence of one a galaxy.
        nx, ny : int
            Size of an image, pixels.
        scale : float, optional
            Pixel scale, arcsec; or give ``wcs``.
        **kwargs : object
            See `galsim_vae.render.render`: wcs, shears, shifts, bands, noise, seed, device and so
            on.

        Returns
        -------
        ndarray (n, bands, ny, nx) float32 or float64
            Counts. With ``differentiable=True`` a `torch.Tensor`, since an array has no gradients.
        """
        import torch

        from .render.batch import render

        if kwargs.get("differentiable"):
            return render(self, psf, nx, ny, scale, **kwargs)
        bands = kwargs.get("bands", REFERENCE)
        count = 1 if isinstance(bands, str | galsim.Bandpass) else len(bands)
        dtype = np.dtype(kwargs.get("dtype", "float32"))
        out = np.empty((len(self), count, ny, nx), dtype=dtype)
        render(self, psf, nx, ny, scale, **kwargs, out=torch.from_numpy(out))
        return out

    def as_candels(
        self, rng: galsim.BaseDeviate, renderer: str = "galsim", progress: bool = False
    ) -> np.ndarray:
        """Draw the galaxies as CANDELS would have seen them.

        Through model HST PSFs (`galsim_vae.bands.hst_psf`), in e-/s at `ZEROPOINTS`, with white
        noise of CANDELS/GOODS-S "wide" depth (`CANDELS_DEPTH`; sky and read-out, without the
        galaxy's own photon noise). North is not up: the position angle is that of ``jacobian``.

        Parameters
        ----------
        rng : galsim.BaseDeviate
            For the noise.
        renderer : "galsim" or "batch"
            GalSim, or `galsim_vae.render`: the same to the accuracy of either, the noise exactly.
            The latter spends some seconds on the PSFs, and pays from hundreds of galaxies on.
        progress : bool
            Show a bar.

        Returns
        -------
        ndarray (n, bands, m, m) float32
            0.06" pixels, centred on the galaxy; m is even and holds the largest galaxy: its whole
            stamp, or the ellipse in which all stamps have their light.

        Raises
        ------
        galsim.GalSimRangeError
            Images of more than 8 GiB.
        galsim.GalSimValueError
            An unknown renderer.
        """
        from .render import candels

        return candels.draw(self, rng, renderer, progress)

    @property
    def _order(self) -> list[int]:
        """Where each of `BANDS` is in ``bands``."""
        return [self.bands.index(band) for band in BANDS]

    @functools.cached_property
    def _fluxes(self) -> np.ndarray:
        """(n, 5) flux in each of `BANDS`, F814W = 1."""
        return self.array.sum(axis=(2, 3), dtype=np.float64)[:, self._order]

    @functools.cached_property
    def _nodes(self) -> np.ndarray:
        """(n, 5) spectra that have these fluxes, see `galsim_vae.filters.spectrum.node_values`."""
        return node_values(self._fluxes)

    def _through(
        self, i: int, band: str | galsim.Bandpass, extrapolate: bool
    ) -> tuple[np.ndarray, float]:
        """The stamp (64, 64) through a band or filter, and its flux, F814W = 1."""
        if isinstance(band, str):
            image = self.array[i, self.bands.index(band)]
            return image, image.sum(dtype=np.float64)
        weights = band_weights(band, self._nodes[i], extrapolate)
        warn_if_extrapolated(band)
        return self._mix(i, weights), weights.sum()

    def _mix(self, i: int, weights: np.ndarray) -> np.ndarray:
        """Add up the stamps of `BANDS`, each with the flux ``weights`` (5,)."""
        share = _shares(weights, self._fluxes[i])
        return np.tensordot(share.astype(np.float32), self.array[i, self._order], axes=1)

    def _row(self, i: int) -> int:
        if not -len(self) <= i < len(self):
            raise GalSimIndexError(f"There are {len(self)} stamps: no galaxy", i)
        return operator.index(i) % len(self)

    def _profile(
        self, i: int, image: np.ndarray, flux: float, gsparams: galsim.GSParams | None
    ) -> VAEGalaxy:
        return VAEGalaxy(
            image,
            self.jacobian[i],
            self.offset[i],
            float(flux),
            gsparams=gsparams,
            # Stamps of one filter alone do not know the fluxes in the bands.
            truth=self.truth(i) if set(BANDS) <= set(self.bands) else None,
        )


def _digest(header: dict[str, str], tensors: dict[str, np.ndarray]) -> str:
    """Sha256 of a file's header and contents, whatever their order."""
    found = hashlib.sha256(json.dumps(sorted(header.items())).encode())
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        found.update(f"{name} {value.dtype.str} {value.shape}".encode())
        found.update(value.tobytes())
    return found.hexdigest()


def in_counts(
    galaxy: galsim.ChromaticObject, bandpass: galsim.Bandpass, zeropoint: float
) -> galsim.ChromaticObject:
    """Scale a chromatic galaxy so that its flux through one bandpass follows a zero-point.

    Parameters
    ----------
    galaxy : galsim.ChromaticObject
        As `Stamps.chromatic` gives it: absolute, in photons / (s cm^2 nm).
    bandpass : galsim.Bandpass
        The bandpass that it will be drawn through.
    zeropoint : float
        AB magnitude of one unit of drawn flux.

    Returns
    -------
    galsim.ChromaticObject
        Drawn through ``bandpass`` (exposure and area 1) its flux is 10^(-0.4 (m_AB - zeropoint)).
    """
    return galaxy * float(10 ** (0.4 * (_finite(zeropoint) - ab_zeropoint(bandpass))))


def _shares(weights: np.ndarray, fluxes: np.ndarray) -> np.ndarray:
    """How much of each band's stamp makes up images that get the flux ``weights`` from each band.

    All in the order of `BANDS`, (5,) or (n, 5). A band without flux has no shape either: what there
    is of it looks like F814W.
    """
    lit = fluxes > 0
    share = np.where(lit, weights, 0.0) / np.where(lit, fluxes, 1.0)
    share[..., BANDS.index(REFERENCE)] += np.where(lit, 0.0, weights).sum(axis=-1)
    return share


def _zeropoint(band: str | galsim.Bandpass, zeropoint: float | None) -> float:
    if zeropoint is not None:
        return _finite(zeropoint)
    if isinstance(band, str) and band in ZEROPOINTS:
        return ZEROPOINTS[band]
    known = getattr(band, "name", None) or str(band)
    if not isinstance(band, str) and len(known) > 60:  # a table of the throughput
        known = f"filter of {band.effective_wavelength:.0f} nm"
    raise GalSimIncompatibleValuesError(
        "Give a zeropoint (AB magnitude of one count): only HST bands have one of their own",
        band=known,
        zeropoint=zeropoint,
    )


def _finite(zeropoint: float) -> float:
    zeropoint = float(zeropoint)
    if not math.isfinite(zeropoint):
        raise GalSimValueError("The zeropoint must be a finite AB magnitude", zeropoint)
    return zeropoint
