"""What is true of a galaxy as it was made, in every filter."""

from __future__ import annotations

import cmath
from typing import NamedTuple

import galsim
import numpy as np

from galsim_vae.bands import BANDS
from galsim_vae.conditions import Conditions

from .bandpass import warn_if_extrapolated
from .names import find_band
from .spectrum import band_weights, node_values

__all__ = ["Truth"]


class Truth(NamedTuple):
    """What is true of a galaxy as it was made.

    Shear, lensing, rotation, scaling and shifts that come later are not in it.

    Attributes
    ----------
    magnitude : float
        AB, F814W.
    half_light_radius : float
        sqrt(ab) of the half-light ellipse in F814W, arcsec.
    ellipticity : galsim.Shear
        In F814W.
    redshift : float
    id : int
        The galaxy's name in its table.
    fluxes : tuple of 5 float
        Mean f_nu in each of `galsim_vae.bands.BANDS` over that in F814W.
    """

    magnitude: float
    half_light_radius: float
    ellipticity: galsim.Shear
    redshift: float
    id: int
    fluxes: tuple[float, ...]

    @classmethod
    def of(cls, conditions: Conditions, i: int, fluxes: tuple[float, ...]) -> Truth:
        """Return the truth of row ``i`` of some conditions, none of them missing."""
        magnitude, half_light_radius, g, redshift = conditions.values[i].tolist()
        # A round galaxy may have no angle.
        angle = 0.0 if g == 0 else float(conditions.angle[i])
        shear = galsim._Shear(cmath.rect(g, 2 * angle))
        return cls(magnitude, half_light_radius, shear, redshift, int(conditions.id[i]), fluxes)

    def magnitude_in(self, band: str | galsim.Bandpass, extrapolate: bool = False) -> float:
        """Return the AB magnitude through a band or filter.

        Parameters
        ----------
        band : str or galsim.Bandpass
            As in `galsim_vae.Stamps.galaxy`.
        extrapolate : bool
            Allow filters down to 300 nm (u), with a warning.

        Returns
        -------
        float
            Infinite where an HST band has no flux at all.

        Raises
        ------
        galsim.GalSimRangeError
            A filter that the HST bands do not reach.
        galsim.GalSimValueError
            An unknown name.
        """
        band = find_band(band)
        if isinstance(band, str):
            flux = self.fluxes[BANDS.index(band)]
        else:
            nodes = node_values(np.array([self.fluxes]))
            flux = band_weights(band, nodes, extrapolate).sum()
            warn_if_extrapolated(band)
        with np.errstate(divide="ignore"):  # A band may be dark.
            return float(self.magnitude - 2.5 * np.log10(flux))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"galsim_vae.filters.Truth({values})"
