"""Colours of template galaxies through the HST bands, as a function of redshift.

The templates are the Coleman, Wu & Weedman (1980, ApJS 43, 393) galaxies, extended by Bolzonella
et al. (2000, A&A 363, 476), that GalSim ships; they reach from 9 nm to 2205 nm, which covers
F435W at z = 6 and F160W at z = 0 without extrapolation. The intergalactic medium absorbs as in
Madau (1995).
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    import galsim

__all__ = ["TEMPLATES", "ColourTable", "colour_table", "igm_transmission"]

TEMPLATES = ("E", "Sbc", "Scd", "Im")
_FILES = {
    "F435W": "ACS_wfc_F435W",
    "F606W": "ACS_wfc_F606W",
    "F814W": "ACS_wfc_F814W",
    "F125W": "WFC3_ir_F125W",
    "F160W": "WFC3_ir_F160W",
}
_REFERENCE = 2
# Madau (1995, ApJ 441, 18), eq. 15: Lyman alpha to delta [nm] and their coefficients.
_LYMAN_LINES = ((121.6, 3.6e-3), (102.6, 1.7e-3), (97.3, 1.2e-3), (95.0, 9.3e-4))
_LYMAN_LIMIT = 91.2


class ColourTable(NamedTuple):
    """Flux ratios of the templates on a redshift grid.

    Attributes
    ----------
    redshift : Tensor, (nz,)
        Evenly spaced from 0.
    ratio : Tensor, (nz, templates, bands)
        f_nu(band) / f_nu(F814W) of each of `TEMPLATES` at that redshift, bands in the order of
        ``galsim_vae.bands.BANDS``.
    wavelength : Tensor, (bands,)
        Pivot wavelengths, micron.
    """

    redshift: torch.Tensor
    ratio: torch.Tensor
    wavelength: torch.Tensor

    def at(self, redshift: torch.Tensor) -> torch.Tensor:
        """Interpolate the ratios linearly in redshift.

        Parameters
        ----------
        redshift : Tensor, (n,)
            Clipped to the grid.

        Returns
        -------
        Tensor, (n, templates, bands)
        """
        place = redshift / (self.redshift[1] - self.redshift[0])
        place = place.clamp(0, len(self.redshift) - 1.001)
        lower = place.long()
        weight = (place - lower)[:, None, None]
        return self.ratio[lower] * (1 - weight) + self.ratio[lower + 1] * weight

    def to(self, device: torch.device | str) -> "ColourTable":
        """Return the table on another device."""
        return ColourTable(*(t.to(device) for t in self))


def igm_transmission(wave: np.ndarray, redshift: float) -> np.ndarray:
    """Mean transmission of the intergalactic medium, Madau (1995, ApJ 441, 18).

    Lyman alpha to delta (eq. 15) and the Lyman continuum (footnote 3).

    Parameters
    ----------
    wave : array, (n,)
        Observed wavelength, nm, longer than 91.2.
    redshift : float
        Of the galaxy.

    Returns
    -------
    array, (n,)
        0 to 1.
    """
    depth = np.zeros_like(wave)
    for line, coefficient in _LYMAN_LINES:
        depth += np.where(wave < line * (1 + redshift), coefficient * (wave / line) ** 3.46, 0)
    x, end = wave / _LYMAN_LIMIT, 1 + redshift
    continuum = (
        0.25 * x**3 * (end**0.46 - x**0.46)
        + 9.4 * x**1.5 * (end**0.18 - x**0.18)
        - 0.7 * x**3 * (x**-1.32 - end**-1.32)
        - 0.023 * (end**1.68 - x**1.68)
    )
    return np.exp(-depth - np.where(x < end, continuum.clip(0), 0))


def _band_flux(wave: np.ndarray, flambda: np.ndarray, band: "galsim.Bandpass") -> float:
    """Photon-weighted mean f_nu (any unit): int f_lambda T lambda / int T c / lambda."""
    through = band(wave)
    return float(np.trapezoid(flambda * through * wave, wave) / np.trapezoid(through / wave, wave))


def colour_table(z_max: float = 6.0, step: float = 0.01) -> ColourTable:
    """Tabulate the templates' flux ratios.

    Parameters
    ----------
    z_max, step : float
        Redshift grid, from 0.

    Returns
    -------
    ColourTable
        float32 tensors on the CPU.

    Raises
    ------
    OSError
        If GalSim's SED or bandpass files are missing.
    """
    import galsim  # here, so that a node without GalSim can use a stored table

    bands = [galsim.Bandpass(f"{f}.dat", wave_type="nm") for f in _FILES.values()]
    redshift = np.arange(0.0, z_max + step / 2, step)
    ratio = np.empty((len(redshift), len(TEMPLATES), len(bands)))
    waves = [np.linspace(b.blue_limit, b.red_limit, 600) for b in bands]
    for t, name in enumerate(TEMPLATES):
        sed = np.loadtxt(f"{galsim.meta_data.share_dir}/SEDs/CWW_{name}_ext.sed")
        for b, (band, wave) in enumerate(zip(bands, waves, strict=True)):
            for i, z in enumerate(redshift):
                flambda = np.interp(wave / (1 + z), sed[:, 0] / 10, sed[:, 1])
                flambda *= igm_transmission(wave, float(z))
                ratio[i, t, b] = _band_flux(wave, flambda, band)
    ratio /= ratio[..., _REFERENCE, None]
    pivot = [np.sqrt(_band_flux(w, w**0, b)) / 1000 for w, b in zip(waves, bands, strict=True)]
    return ColourTable(
        torch.tensor(redshift, dtype=torch.float32),
        torch.tensor(ratio, dtype=torch.float32),
        torch.tensor(pivot, dtype=torch.float32),
    )
