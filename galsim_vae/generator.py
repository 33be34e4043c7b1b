"""The generator: conditions and noise in, galaxy stamps out."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import galsim
import numpy as np
import torch
from galsim.errors import (
    GalSimError,
    GalSimIncompatibleValuesError,
    GalSimRangeError,
    GalSimValueError,
)  # fmt: skip
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from . import conditions as cond
from . import shapes
from .bands import BANDS, REFERENCE, STAMP_SIZE
from .deviates import draw_seed, galaxy_uniforms, normal
from .devices import find_device, pinned_torch
from .filters.asked import first_guess, match_magnitudes, read_asked
from .filters.search import fixed_points
from .frame.frames import Frame
from .galaxy import VAEGalaxy
from .geometry import residual_shear, rotation_matrix, shear_matrix
from .model import file as modelfile
from .model.batches import BATCH_SIZES, Batches, in_batches
from .model.packed import FEWEST_ROWS, pack
from .model.traits import measure_traits
from .stamps import Stamps

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["GalaxyGenerator"]

# Stamps whose moments do not converge are drawn again from the galaxy's next noise.
_ATTEMPTS = 5
# Rows from which on the four conditions, or the traits, and the parameters of their splines, fill
# registers of the processor.
_FEWEST = 16
# Largest difference of an asked mag_<BAND> from the F814W magnitude [mag].
_MAX_COLOUR = 10.0
_MAGNITUDE = cond.NAMES.index("magnitude")


class _Decoded(NamedTuple):
    """Latents (n, latent), turns and hands (n,), stamps (n, bands, size, size), mirrored by their
    hands, and what was measured on their reference band, each (n,).

    On the CPU.
    """

    latent: Tensor
    turn: Tensor
    hand: Tensor
    array: Tensor
    x: Tensor
    y: Tensor
    g1: Tensor
    g2: Tensor
    radius: Tensor
    converged: Tensor


class GalaxyGenerator:
    """Draw galaxies of asked-for magnitude, size, ellipticity and redshift.

    Parameters
    ----------
    weights : str or path
        Name of shipped weights, or path of a weights file.
    device : str
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" ...
    exact : bool
        Correct each stamp so that half-light radius and ellipticity are exactly the asked ones
        (flux always is); False leaves what the flow gave.
    extrapolate : bool
        Warn instead of raising for conditions outside the trained range.

    Raises
    ------
    OSError
        No such weights, or not a weights file.
    galsim.GalSimValueError
        Weights that fail their checks; a device that is not there; exact or extrapolate that is
        neither True nor False.
    """

    @pinned_torch()
    def __init__(
        self,
        weights: str | os.PathLike = "candels",
        device: str = "auto",
        exact: bool = True,
        extrapolate: bool = False,
    ):
        self.device = find_device(device)
        self._sizes = BATCH_SIZES[self.device.type]
        self.exact = _yes_or_no("exact", exact)
        self.extrapolate = _yes_or_no("extrapolate", extrapolate)
        self.path = modelfile.find(weights)
        self._model = modelfile.read(self.path)
        self._model.vae.to(self.device)
        self._model.flows.to(self.device)
        if self.device.type == "cpu":
            pack(self._model.vae.decoder)
            pack(self._model.flows)
        self._prepare()

    def _prepare(self) -> None:
        """What is done with batches: the networks, and the measurement of what they made."""
        flows, decoder, sizes = self._model.flows, self._model.vae.decoder, self._sizes
        self._conditions = Batches(
            lambda z, c: (flows.sample_conditions(z, c),), sizes.flow, self.device, _FEWEST
        )
        self._told = Batches(
            lambda z, c, t: (flows.sample_told(z, c, t),), sizes.flow, self.device, _FEWEST
        )
        self._latents = Batches(
            lambda z, *known: (flows.latent.from_noise(z, flows.latent_context(*known)),),
            sizes.flow, self.device, FEWEST_ROWS,
        )  # fmt: skip
        self._turns = copy.deepcopy(flows.turns).cpu()
        self._decoder = Batches(lambda z: (decoder(z),), sizes.network, self.device)
        self._measured = Batches(_measure, sizes.measure, self.device)
        self._traits = Batches(
            lambda s: (measure_traits(s),), sizes.measure, self.device, _FEWEST
        )

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands of a stamp."""
        return BANDS

    @property
    def frame(self) -> Frame:
        """The canonical frame of the stamps."""
        return self._model.vae.config.canonical_frame

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Trained range of each condition: AB mag, arcsec, dimensionless |g|, redshift."""
        return dict(self._model.ranges)

    @property
    def sha256(self) -> str:
        """Digest of the weights."""
        return self._model.sha256

    @property
    def provenance(self) -> dict[str, str]:
        """What the weights were trained on and how."""
        return dict(self._model.provenance)

    def __repr__(self) -> str:
        return (
            f"galsim_vae.GalaxyGenerator({str(self.path)!r}, device={str(self.device)!r}, "
            f"exact={self.exact}, extrapolate={self.extrapolate})"
        )

    def __reduce__(self):
        # Packed weights are in an order of this machine; another process reads the file.
        return type(self), (self.path, str(self.device), self.exact, self.extrapolate)

    @pinned_torch()
    def sample_conditions(self, n: int, rng: galsim.BaseDeviate, first: int = 0) -> QTable:
        """Draw conditions from the population.

        Parameters
        ----------
        n : int
            Number of galaxies.
        rng : galsim.BaseDeviate
            Two of its draws are used.
        first : int
            The first id. With an rng in the same state, tables of other ids go on with the same
            catalogue.

        Returns
        -------
        astropy.table.QTable
            Columns magnitude [AB mag], half_light_radius [arcsec], g1, g2, redshift and id (first
            to first + n - 1: rows that share an id share their noise).

        Raises
        ------
        galsim.GalSimRangeError
            n is negative.
        """
        if n < 0:
            raise GalSimRangeError("The number of galaxies must not be negative", n, 0)
        nothing = cond.Conditions(
            np.full((n, len(cond.NAMES)), np.nan), np.full(n, np.nan), first + np.arange(n), {}
        )
        return cond.to_table(self._complete(nothing, draw_seed(rng)))

    @pinned_torch()
    def sample(
        self,
        table,
        rng: galsim.BaseDeviate,
        exact: bool | None = None,
        extrapolate: bool | None = None,
    ) -> Stamps:
        """Draw one galaxy for each row of a table.

        A galaxy depends on its row, on two draws of `rng` and on its `id` (its row number if the
        table has no such column), and not on the other rows.

        Parameters
        ----------
        table : astropy.table.QTable, Table or dict of arrays
            Any of the columns magnitude [AB mag], half_light_radius [arcsec], g1 and g2, redshift,
            id and mag_<filter> (`galsim_vae.filters.names`); missing conditions are drawn from the
            population given those present. A galaxy has the mag_<filter> that it is asked for, by
            the smallest change of its spectrum; without a magnitude, the networks are given the
            F814W magnitude that it then comes out with, to 0.002 mag.
        rng : galsim.BaseDeviate
            Two of its draws are used.
        exact, extrapolate : bool, optional
            Override what the generator was made with. With exact=False the stamp is
            sheared by what its frame takes out and no further, not recentred, and resized by the
            median radius and not its own; the table of the result states what was asked.

        Returns
        -------
        Stamps
            Of the n rows.

        Raises
        ------
        galsim.GalSimRangeError
            A condition outside the trained range.
        galsim.GalSimValueError
            A column that is unknown, of a wrong unit or not finite; ``rng`` is no deviate.
        galsim.GalSimIncompatibleValuesError
            Columns of unlike lengths, none at all, or one of g1 and g2 alone; magnitudes that
            contradict each other.
        galsim.GalSimError
            No usable stamp could be drawn for a row.
        """
        asked = self._asked(table, extrapolate)
        return self._sample(
            asked, np.full(len(asked.id), draw_seed(rng), np.uint64), exact, extrapolate
        )

    @pinned_torch()
    def sample_each(
        self, table, seeds: ArrayLike, exact: bool | None = None, extrapolate: bool | None = None
    ) -> Stamps:
        """Draw one galaxy for each row of a table, each of a seed of its own.

        Each is as in `sample` with a deviate that gives its seed.

        Parameters
        ----------
        table : astropy.table.QTable, Table or dict of arrays
            As in `sample`.
        seeds : array_like (n,) of int
            Of 64 bits, as `galsim_vae.deviates.draw_seed` takes them from a deviate.
        exact, extrapolate : bool, optional
            As in `sample`.

        Returns
        -------
        Stamps
            Of the n rows.

        Raises
        ------
        galsim.GalSimError
            As in `sample`, and where there is not one seed for each row.
        """
        asked = self._asked(table, extrapolate)
        if np.shape(seeds) != asked.id.shape:
            raise GalSimIncompatibleValuesError(
                f"the table has {len(asked.id)} rows; give as many seeds", seeds=seeds
            )
        return self._sample(asked, np.asarray(seeds, np.uint64), exact, extrapolate)

    def _asked(self, table, extrapolate: bool | None) -> cond.Conditions:
        return read_asked(table, self._model.ranges, self._chosen("extrapolate", extrapolate))

    def _chosen(self, name: str, value: bool | None) -> bool:
        """Return what a call has chosen, or else the generator's own."""
        return getattr(self, name) if value is None else _yes_or_no(name, value)

    def _sample(
        self, asked: cond.Conditions, seeds: NDArray, exact: bool | None, extrapolate: bool | None
    ) -> Stamps:
        extrapolate = self._chosen("extrapolate", extrapolate)
        complete = self._complete(self._with_magnitudes(asked, seeds, extrapolate), seeds)
        decoded = self._draw(complete, seeds)
        return self._laid(decoded, asked, complete, exact, extrapolate)

    def _laid(
        self, decoded: _Decoded, asked: cond.Conditions, complete: cond.Conditions,
        exact: bool | None, extrapolate: bool,
    ) -> Stamps:  # fmt: skip
        """Stamps as they lie on the sky, with the fluxes that were asked for."""
        exact = self._chosen("exact", exact)
        pixels = float(self._model.flows.half_light_pixels)
        jacobian, offset = _geometry(decoded, complete, exact, pixels, self.frame)
        array = decoded.array.numpy()
        complete = self._fix_fluxes(array, asked, complete, extrapolate)
        return Stamps(array, complete, jacobian, offset, BANDS, self.sha256)

    @pinned_torch()
    def latents(self, table, rng: galsim.BaseDeviate) -> tuple[NDArray, QTable]:
        """Return the latents that `sample` decodes, and the conditions, all filled in.

        Half a turn of a galaxy is the same ellipticity, which is all that the table holds: of the
        galaxies whose ellipticity the population drew, `from_latents` turns some by 180 degrees
        against those of `sample`.

        Parameters
        ----------
        table : astropy.table.QTable, Table or dict of arrays
            As in `sample`, which raises the same errors.
        rng : galsim.BaseDeviate
            Two of its draws are used.

        Returns
        -------
        latent : ndarray (n, latent) float32
            To be decoded.
        conditions : astropy.table.QTable
            Of `galsim_vae.to_table`, and how each galaxy lies: ``turn`` [radian], the angle from
            the decoded stamp to the canonical frame, and ``hand``, -1 for its mirror image.
        """
        asked = self._asked(table, None)
        seeds = np.full(len(asked), draw_seed(rng), np.uint64)
        complete = self._complete(self._with_magnitudes(asked, seeds, self.extrapolate), seeds)
        decoded = self._draw(complete, seeds)
        found = cond.to_table(complete)
        for name in cond.POSE:
            found[name] = getattr(decoded, name).numpy()
        return decoded.latent.numpy(), found

    @pinned_torch()
    def from_latents(self, latent: ArrayLike, table, exact: bool | None = None) -> Stamps:
        """Decode latents and lay the stamps on the sky as conditions say.

        A position angle that is read back from g1 and g2 of a table may be half a turn from the one
        that was drawn, which turns the galaxy by 180 degrees.

        Parameters
        ----------
        latent : array_like (n, latent)
            From `latents`, `encode` or `from_noise`.
        table : astropy.table.QTable, Table or dict of arrays
            Every condition of each row, as in `sample`, and ``turn`` and ``hand`` as `latents`
            gives them; without these a galaxy lies as its stamp does, like those of `encode`.
        exact : bool, optional
            As in `sample`.

        Returns
        -------
        Stamps
            Of the n rows.

        Raises
        ------
        galsim.GalSimValueError
            An array of the wrong shape; a condition that is missing; a hand other than 1 or -1.
        galsim.GalSimError
            A stamp cannot be measured.
        """
        complete, turn, hand = self._all_conditions(table)
        width = self._model.vae.config.latent
        latent = self._tensor("latent", latent, (len(complete), width))
        decoded = self._decoded(latent, torch.from_numpy(turn), torch.from_numpy(hand))
        bad = ~decoded.converged.numpy()
        if bad.any():
            raise GalSimError(f"no usable stamp of this latent{_of_first(bad, complete)}")
        return self._laid(decoded, complete, complete, exact, self.extrapolate)

    @pinned_torch()
    def to_noise(self, latent: ArrayLike, table) -> NDArray:
        """Return noise (n, noise) from which the flows make latents, given conditions.

        The last of its numbers make the galaxy's traits (`galsim_vae.model.traits`), which are
        measured on its stamp; a galaxy that was drawn need not have just those that were asked of
        it, so this is not the noise that it was drawn of, but another that makes the same galaxy.

        Parameters
        ----------
        latent : array_like (n, latent)
            The latents.
        table : astropy.table.QTable, Table or dict of arrays
            Every condition of each row, and how it lies, as for `from_latents`.

        Returns
        -------
        ndarray (n, noise) float32
            Standard normal for galaxies as the flows draw them.

        Raises
        ------
        galsim.GalSimValueError
            An array of the wrong shape; a condition that is missing.
        """
        complete, turn, _ = self._all_conditions(table)
        flows = self._model.flows
        values = self._tensor("latent", latent, (len(complete), flows.latent_size))
        (traits,) = self._traits(self._decode(values))
        return self._through_flow(flows.latent_noise, complete, turn, values, traits)

    @pinned_torch()
    def from_noise(self, noise: ArrayLike, table) -> NDArray:
        """Return the latents (n, latent) that the flows make of noise, given conditions.

        It gives back the latents of which `to_noise` found the noise, and has the same errors.

        Parameters
        ----------
        noise : array_like (n, noise)
            Standard normal, from `to_noise` for instance.
        table : astropy.table.QTable, Table or dict of arrays
            Every condition of each row, and how it lies, as for `from_latents`.

        Returns
        -------
        ndarray (n, latent) float32
            The latents.
        """
        complete, turn, _ = self._all_conditions(table)
        flows = self._model.flows
        values = self._tensor("noise", noise, (len(complete), flows.noise_size))
        return self._through_flow(flows.sample_latents, complete, turn, values)

    def _through_flow(
        self, function: Callable[..., Tensor], complete: cond.Conditions, turn: NDArray,
        *values: Tensor,
    ) -> NDArray:  # fmt: skip
        (found,) = in_batches(
            lambda *rows: (function(*rows),), self._sizes.flow, self.device,
            *values, _as_float32(complete.values), _as_float32(turn),
        )  # fmt: skip
        return found.numpy()

    def _all_conditions(self, table) -> tuple[cond.Conditions, NDArray, NDArray]:
        """Complete conditions, and how galaxies lie: turn, NaN where not told, and hand (n,)."""
        columns = cond.as_columns(table)
        pose = {name: columns.pop(name, missing) for name, missing in cond.POSE.items()}
        asked = self._asked(columns, None)
        missing = ~np.isfinite(asked.values).all(1)
        if missing.any():
            raise GalSimValueError(
                f"Every condition is needed, and row {int(np.argmax(missing))} lacks one",
                list(cond.NAMES),
            )
        turn, hand = (np.ma.filled(np.ma.asarray(v, float), cond.POSE[n]) for n, v in pose.items())
        turn, hand = (np.broadcast_to(v, len(asked)).copy() for v in (turn, hand))
        wrong = np.abs(hand) != 1
        if wrong.any():
            raise GalSimValueError("hand must be 1 or -1 in every row", hand[wrong][0], (1, -1))
        # A round galaxy may lie in any way.
        complete = cond.Conditions(
            asked.values, np.nan_to_num(asked.angle), asked.id, asked.band_magnitudes
        )
        return complete, turn, hand

    @pinned_torch()
    def follow_population(self, table, redshift: ArrayLike) -> QTable:
        """Move galaxies in redshift and let magnitude, size and ellipticity follow the population.

        A galaxy keeps its place among those of its redshift: the noise from which the population's
        flow makes its conditions given the redshift.

        Parameters
        ----------
        table : astropy.table.QTable, Table or dict of arrays
            Every condition of each row, as in `sample`.
        redshift : array_like (n,)
            Where each is moved to.

        Returns
        -------
        astropy.table.QTable
            The conditions there, clipped to the trained ranges.

        Raises
        ------
        galsim.GalSimValueError
            A condition that is missing.
        """
        there, *_ = self._all_conditions(table)
        z = cond.NAMES.index("redshift")
        values = there.values.copy()
        values[:, z] = np.broadcast_to(redshift, len(values))
        (moved,) = in_batches(
            lambda c, n: (self._model.flows.moved_conditions(c, n),), self._sizes.flow, self.device,
            _as_float32(there.values), _as_float32(values[:, z : z + 1]),
        )  # fmt: skip
        for column, name in enumerate(cond.NAMES):
            if column != z:
                values[:, column] = np.clip(moved.numpy()[:, column], *self._model.ranges[name])
        return cond.to_table(cond.Conditions(values, there.angle, there.id))

    def interpolate(self, a, b, n: int, through: str = "noise") -> Stamps:
        """Draw what lies between two galaxies.

        Parameters
        ----------
        a, b : galsim_vae.latents.Drawn or galsim_vae.latents.Known
            The ends.
        n : int
            Number of galaxies, with both ends.
        through : {"noise", "latent"}
            The way, see `galsim_vae.latents.interpolate`, which raises the errors.

        Returns
        -------
        Stamps
            Of n galaxies.
        """
        import importlib

        # It stands above the generator, which must not need it.
        module = importlib.import_module("galsim_vae.latents.interpolation")
        return module.interpolate(self, a, b, n, through)

    def galaxy(
        self,
        *,
        rng: galsim.BaseDeviate,
        magnitude: float | None = None,
        half_light_radius: float | None = None,
        ellipticity: galsim.Shear | None = None,
        redshift: float | None = None,
        band=REFERENCE,
        zeropoint: float | None = None,
        gsparams: galsim.GSParams | None = None,
        exact: bool | None = None,
        extrapolate: bool | None = None,
    ) -> VAEGalaxy:
        """Draw one galaxy as a GSObject; conditions left out come from the population.

        Parameters
        ----------
        rng : galsim.BaseDeviate
            Two of its draws are used.
        magnitude : float, optional
            AB, F814W.
        half_light_radius : float or Quantity, optional
            Of the half-light ellipse, sqrt(a b), arcsec.
        ellipticity : galsim.Shear, optional
            Shape with respect to the sky's +x axis.
        redshift : float, optional
            Cosmological redshift.
        band : str or galsim.Bandpass
            As in `Stamps.galaxy`, which raises the same errors.
        zeropoint : float, optional
            As there.
        gsparams : galsim.GSParams, optional
            GalSim's accuracy.
        exact, extrapolate : bool, optional
            As in `sample`.

        Returns
        -------
        VAEGalaxy
            With its truth.

        Raises
        ------
        galsim.GalSimRangeError
            A condition outside the trained range.
        galsim.GalSimValueError
            A condition that is no number; an ellipticity that is no Shear.
        galsim.GalSimError
            No usable stamp could be drawn.
        """
        table = cond.one_row(magnitude, half_light_radius, ellipticity, redshift)
        extrapolate = self._chosen("extrapolate", extrapolate)
        stamps = self.sample(table, rng, exact=exact, extrapolate=extrapolate)
        return stamps.galaxy(0, band, zeropoint, gsparams, extrapolate)

    @pinned_torch()
    def encode(
        self,
        images: ArrayLike,
        psfs: ArrayLike,
        noise: ArrayLike,
        mask: ArrayLike | None = None,
    ) -> tuple[NDArray, NDArray]:
        """Infer the latents of observed stamps in the canonical frame.

        Bands without any usable pixel have the colours that galaxies like these have.

        Parameters
        ----------
        images : array_like (n, bands, 64, 64)
            In any linear unit proportional to f_nu.
        psfs : array_like (n, bands, 64, 64)
            Of sum 1, the centre at index [32, 32].
        noise : array_like (n, bands)
            Rms per pixel, in the unit of the images.
        mask : array_like (n, bands, 64, 64) bool, optional
            True where usable; all pixels if absent.

        Returns
        -------
        mean : ndarray (n, latent) float32
            Of the latents.
        log_variance : ndarray (n, latent) float32
            The logarithm of their variance, as inferred from what was observed.

        Raises
        ------
        galsim.GalSimValueError
            An array of the wrong shape; a value that is not finite where the mask is True; negative
            noise.
        """
        shape = (len(np.atleast_1d(images)), len(BANDS), STAMP_SIZE, STAMP_SIZE)
        mask = np.ones(shape, bool) if mask is None else np.asarray(mask, bool)
        if np.shape(images) == mask.shape:
            images = np.where(mask, images, 0.0)
        tensors = [
            self._tensor(name, value, wanted)
            for name, value, wanted in (
                ("images", images, shape),
                ("psfs", psfs, shape),
                ("noise", noise, shape[:2]),
                ("mask", mask, shape),
            )
        ]
        if bool((tensors[2] < 0).any()):
            raise GalSimValueError("noise must not be negative", float(tensors[2].min()))
        encode = self._model.vae.encode
        mean, log_variance = in_batches(
            lambda i, p, s, m: encode(i, torch.fft.rfft2(torch.fft.ifftshift(p, (2, 3))), s, m > 0),
            self._sizes.network, self.device, *tensors,
        )  # fmt: skip
        return mean.numpy(), log_variance.numpy()

    @pinned_torch()
    def decode(self, latent: ArrayLike) -> NDArray:
        """Decode latents into PSF-free canonical stamps.

        Parameters
        ----------
        latent : array_like (n, latent)
            From `encode`, for instance.

        Returns
        -------
        ndarray (n, bands, 64, 64) float32
            Sum 1 in F814W; the other bands relative to it, f_nu.

        Raises
        ------
        galsim.GalSimValueError
            An array of the wrong shape, or a value that is not finite.
        """
        width = self._model.vae.config.latent
        values = self._tensor("latent", latent, (len(np.atleast_1d(latent)), width))
        return self._decode(values).numpy()

    def _tensor(self, name: str, values: ArrayLike, shape: tuple[int, ...]) -> Tensor:
        array = np.asarray(values, dtype=np.float32)
        if array.shape != shape:
            raise GalSimValueError(f"{name} must have the shape {shape}", array.shape)
        if not np.isfinite(array).all():
            raise GalSimValueError(f"{name} must be finite; set the mask where it is not", "NaN")
        return torch.from_numpy(np.ascontiguousarray(array))

    def _decode(self, latent: Tensor) -> Tensor:
        (stamps,) = self._decoder(latent)
        return stamps

    def _complete(self, asked: cond.Conditions, seed: int | NDArray) -> cond.Conditions:
        """Fill in missing conditions and position angles from each galaxy's own noise."""
        if np.isfinite(asked.values).all() and np.isfinite(asked.angle).all():
            return asked
        count = len(cond.NAMES)
        uniforms = galaxy_uniforms(seed, asked.id, count + 1)
        noise = _as_float32(normal(uniforms[:, :count]))
        (drawn,) = self._conditions(noise, _as_float32(asked.values))
        drawn = drawn.numpy().astype(np.float64)
        for column, name in enumerate(cond.NAMES):
            drawn[:, column] = np.clip(drawn[:, column], *self._model.ranges[name])
        values = np.where(np.isfinite(asked.values), asked.values, drawn)
        failed = np.any(np.isnan(values), axis=1)
        if failed.any():
            raise GalSimError(f"the population flow failed{_of_first(failed, asked)}")
        angle = np.where(np.isfinite(asked.angle), asked.angle, np.pi * uniforms[:, count])
        return cond.Conditions(values, angle, asked.id, asked.band_magnitudes)

    def _with_magnitudes(
        self, asked: cond.Conditions, seeds: NDArray, extrapolate: bool
    ) -> cond.Conditions:
        """Find the F814W magnitudes of galaxies that are asked for by their light in filters.

        Each is decoded with its own noise, at a guess and at what comes out, and again where the
        two differ.
        """
        guess = first_guess(asked)
        rows = np.flatnonzero(np.isnan(asked.values[:, _MAGNITUDE]) & np.isfinite(guess))
        if len(rows) == 0:
            return asked
        low, high = (-np.inf, np.inf) if extrapolate else self._model.ranges["magnitude"]
        values = asked.values[:, _MAGNITUDE].copy()

        def comes_out(some: NDArray, magnitude: NDArray) -> NDArray:
            tried = rows[some]
            values[tried] = magnitude
            trial = cond.with_magnitude(asked, values)[tried]
            decoded = self._draw(self._complete(trial, seeds[tried]), seeds[tried])
            fluxes = decoded.array.numpy().sum((2, 3), dtype=np.float64)
            return match_magnitudes(fluxes, asked[tried], extrapolate).magnitude

        values[rows] = fixed_points(comes_out, guess[rows], low, high)
        return cond.with_magnitude(asked, values)

    def _fix_fluxes(
        self, array: NDArray, asked: cond.Conditions, complete: cond.Conditions, extrapolate: bool
    ) -> cond.Conditions:
        """Scale the stamps in place to the magnitudes asked for; return what is then true."""
        free = np.isnan(asked.values[:, _MAGNITUDE])
        given = {name: np.isfinite(mag) for name, mag in asked.band_magnitudes.items()}
        there = np.zeros(len(asked), bool)
        for name, rows in given.items():
            there |= rows if name not in BANDS else rows & free
        _fix_band_fluxes(array, complete, ~there)
        rows = np.flatnonzero(there)
        if len(rows) == 0:
            return complete
        fluxes = array[rows].sum((2, 3), dtype=np.float64)
        magnitude, scale = match_magnitudes(fluxes, asked[rows], extrapolate)
        array[rows] *= scale[:, :, None, None].astype(np.float32)
        values = complete.values[:, _MAGNITUDE].copy()
        values[rows] = magnitude
        if not extrapolate:
            cond.check_magnitude(values, self._model.ranges["magnitude"], there & free)
        return cond.with_magnitude(complete, values)

    def _draw(self, complete: cond.Conditions, seeds: NDArray) -> _Decoded:
        """Decode each galaxy's own noise, again where its moments do not converge."""
        decoded = self._decode_noise(complete.values, complete.id, seeds, attempt=1)
        for attempt in range(2, _ATTEMPTS + 1):
            bad = ~decoded.converged.numpy()
            if not bad.any():
                return decoded
            again = self._decode_noise(
                complete.values[bad], complete.id[bad], seeds[bad], attempt
            )
            where = torch.from_numpy(bad)
            with torch.inference_mode():
                for old, new in zip(decoded, again, strict=True):
                    old[where] = new
        bad = ~decoded.converged.numpy()
        if bad.any():
            raise GalSimError(
                f"no usable stamp in {_ATTEMPTS} draws{_of_first(bad, complete)}. "
                "Ask for conditions nearer to the middle of the trained ranges"
            )
        return decoded

    def _decode_noise(
        self, values: NDArray, ids: NDArray, seeds: NDArray, attempt: int
    ) -> _Decoded:
        width = self._model.flows.noise_size
        uniforms = galaxy_uniforms(seeds, ids, width + len(cond.POSE), attempt)
        noise = _as_float32(normal(uniforms[:, :width]))
        g = torch.from_numpy(values[:, cond.NAMES.index("g")])
        turn = self._turns.draw(torch.from_numpy(uniforms[:, width].copy()), g)
        hand = torch.from_numpy(np.where(uniforms[:, width + 1] < 0.5, -1.0, 1.0))
        own, rest = (part.contiguous() for part in self._model.flows.split_noise(noise))
        known = _as_float32(values), turn.float()
        (traits,) = self._told(rest, *known)
        (latent,) = self._latents(own, *known, traits)
        return self._decoded(latent, turn, hand)

    def _decoded(self, latent: Tensor, turn: Tensor, hand: Tensor) -> _Decoded:
        """Decode latents, mirror the stamps in y by their hand, and measure them."""
        array = self._decode(latent)
        mirrored = hand < 0
        array[mirrored] = array[mirrored].flip(2)
        measured = self._measured(array[:, BANDS.index(REFERENCE)])
        return _Decoded(latent, turn, hand, array, *measured)


def _measure(image: Tensor) -> tuple[Tensor, ...]:
    moments, radius, good = shapes.measure(image)
    return *moments[:4], radius, good


def _as_float32(values: NDArray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _of_first(bad: NDArray, conditions: cond.Conditions) -> str:
    """Which galaxy is the first bad one, and what was asked of it."""
    row = int(np.argmax(bad))
    values = zip(cond.LABELS.values(), conditions.values[row].tolist(), strict=True)
    given = (f"{label} = {value:g}" for label, value in values if np.isfinite(value))
    return f"{cond.of_row(row, bad)}, asked for {', '.join(given) or 'nothing'}"


def _yes_or_no(name: str, value: bool) -> bool:
    """Return a bool as it is: a text, "no" too, would be taken for True."""
    if not isinstance(value, bool | np.bool_):
        raise GalSimValueError(f"{name} must be True or False", value)
    return bool(value)


def _geometry(
    decoded: _Decoded, complete: cond.Conditions, exact: bool, pixels: float, frame: Frame
):
    """Map from stamp pixels to the sky: jacobian (n, 2, 2) [arcsec/pixel], offset (n, 2) [pixel].

    A stamp is turned by its own angle, sheared by what the frame takes out, and turned to the
    position angle. Exactly: between the first two it is dilated from the measured to the asked
    half-light radius and sheared from the measured shape to what is left of the asked one (a shear
    leaves the radius as it is: the half-light ellipse of the sheared galaxy is the sheared
    ellipse), and it is recentred on the measured centroid. Else all stamps are taken to have the
    median half-light radius, `pixels`.
    """
    radius = complete.values[:, cond.NAMES.index("half_light_radius")]
    g = complete.values[:, cond.NAMES.index("g")]
    n = len(radius)
    shear, offset = np.zeros(n, complex), np.zeros((n, 2))
    scale = radius / pixels
    # Mirrored, a galaxy is turned the other way.
    lies = (decoded.turn.nan_to_num() * decoded.hand).numpy().astype(np.float64)
    if exact:
        x, y, g1, g2, measured = (
            v.numpy().astype(np.float64)
            for v in (decoded.x, decoded.y, decoded.g1, decoded.g2, decoded.radius)
        )
        found = (g1 + 1j * g2) * np.exp(2j * lies)
        shear = residual_shear(found, frame.rest(g))
        offset = np.stack([x, y], axis=1)
        scale = radius / measured
    turn = rotation_matrix(complete.angle)
    stretch = shear_matrix(frame.shear(g), 0.0) @ shear_matrix(np.real(shear), np.imag(shear))
    return np.einsum("n,nij,njk,nkl->nil", scale, turn, stretch, rotation_matrix(lies)), offset


def _fix_band_fluxes(array: NDArray, complete: cond.Conditions, rows: NDArray) -> None:
    """Scale bands of some rows to the magnitudes asked for, in place; colour gradients are kept."""
    magnitude = complete.values[:, _MAGNITUDE]
    for band, asked in complete.band_magnitudes.items():
        given = np.isfinite(asked) & rows
        if not given.any():
            continue
        images = array[:, BANDS.index(band)]
        far = given & (np.abs(asked - magnitude) > _MAX_COLOUR)
        if far.any():
            row = int(np.argmax(far))
            low, high = magnitude[row] - _MAX_COLOUR, magnitude[row] + _MAX_COLOUR
            raise GalSimRangeError(
                f"mag_{band}{cond.of_row(row, far)} is too far from the magnitude in {REFERENCE}",
                asked[row],
                low,
                high,
            )
        flux = 10 ** (-0.4 * np.where(given, asked - magnitude, 0.0))
        ratio = np.where(given, flux / images.sum((1, 2), dtype=np.float64), 1.0)
        images *= ratio[:, None, None].astype(np.float32)
