"""Colours of the GOODS fields, from space in every band: 3D-HST and FIGS."""

from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

__all__ = ["COLOURS", "figs", "three_d_hst"]

#: Colours, and their bands.
COLOURS = {
    "F606W-F814W": ("F606W", "F814W"),
    "F814W-F125W": ("F814W", "F125W"),
    "F125W-F160W": ("F125W", "F160W"),
}
_BANDS = ("F606W", "F814W", "F125W", "F160W")
# AB zero-points: 3D-HST's fluxes give the magnitudes that its table also has; FIGS's are in nJy.
_ZEROPOINTS = {"pears_3dhst_goods": 25.0, "figs_9band_z": 31.4}
_LEAST = 5.0  # flux over its error


def three_d_hst(shared: Path) -> Table:
    """Read 3D-HST (v4.1) in GOODS-S, as far as PEARS has it: 5,000 galaxies with F814W.

    Returns
    -------
    Table
        magnitude (F814W), redshift (spectroscopic, or else photometric) and `COLOURS`; NaN where a
        flux has less than 5 sigma. Stars and galaxies of bad photometry are left out.
    """
    return _read(shared, "pears_3dhst_goods")


def figs(shared: Path) -> Table:
    """Read FIGS in GOODS-N and -S, with redshifts of 3D-HST; as `three_d_hst`.

    Its colours are bluer than those of 3D-HST in the same field, F814W-F125W by 0.12 mag: these are
    two photometries of the same images.
    """
    return _read(shared, "figs_9band_z")


def _read(shared: Path, name: str) -> Table:
    data = Table.read(shared / "catalogues" / f"{name}.fits.gz")
    good = (data["use_phot"] == 1) & (data["star_flag"] != 1)
    magnitude = {band: _magnitude(data, band, _ZEROPOINTS[name]) for band in _BANDS}
    redshift = np.asarray(data["z_peak"], dtype=float)
    columns = {"magnitude": magnitude["F814W"], "redshift": redshift}
    columns |= {colour: magnitude[a] - magnitude[b] for colour, (a, b) in COLOURS.items()}
    return Table(columns)[good & np.isfinite(magnitude["F814W"])]


def _magnitude(data: Table, band: str, zeropoint: float) -> NDArray:
    flux, error = (np.asarray(data[f"{kind}_{band}"], dtype=float) for kind in "fe")
    with np.errstate(invalid="ignore", divide="ignore"):
        known = (flux > _LEAST * error) & (error > 0)
        return np.where(known, zeropoint - 2.5 * np.log10(flux), np.nan)
