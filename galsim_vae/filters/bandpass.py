"""Throughputs: zero-points, and which of them the five HST bands reach."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator

import galsim
import numpy as np
from galsim.errors import GalSimRangeError, GalSimWarning, galsim_warn

__all__ = [
    "EXTRAPOLATED_REACH",
    "REACH",
    "ab_zeropoint",
    "bandpass_name",
    "check_reach",
    "file_stem",
    "in_reach",
    "shipped_bandpass",
    "shipped_names",
    "warn_if_extrapolated",
    "warned_already",
]

#: Wavelengths, nm, that the five bands reach. A filter must have 99 % of its throughput inside.
REACH = (345.0, 1800.0)

#: The same with the extrapolation blueward of F435W, see `galsim_vae.filters.band_weights`.
EXTRAPOLATED_REACH = (300.0, 1800.0)


@functools.lru_cache(maxsize=64)
def ab_zeropoint(bandpass: galsim.Bandpass) -> float:
    """Return the AB magnitude of 1 photon / (s cm^2) through a bandpass: GalSim's zero-point."""
    return float(bandpass.withZeropoint("AB").zeropoint)


@functools.lru_cache(maxsize=128)
def in_reach(bandpass: galsim.Bandpass, extrapolate: bool = False) -> bool:
    """Return whether 99 % of a filter's throughput is inside `REACH`, or `EXTRAPOLATED_REACH`."""
    low, high = EXTRAPOLATED_REACH if extrapolate else REACH
    wavelength, throughput = _throughput(bandpass)
    inside = (wavelength >= low) & (wavelength <= high)
    return bool(throughput[inside].sum() >= 0.99 * throughput.sum())


def check_reach(bandpass: galsim.Bandpass, extrapolate: bool = False) -> None:
    """Check that the five bands reach a filter: 99 % of its throughput is inside `REACH`.

    Parameters
    ----------
    bandpass : galsim.Bandpass
    extrapolate : bool
        Allow `EXTRAPOLATED_REACH`, that is u filters.

    Raises
    ------
    galsim.GalSimRangeError
        If the filter reaches outside 345 to 1800 nm, or 300 to 1800 nm.
    """
    if in_reach(bandpass, extrapolate):
        return
    wavelength, throughput = _throughput(bandpass)
    cumulative = np.cumsum(throughput) / throughput.sum()
    blue, red = np.interp([0.005, 0.995], cumulative, wavelength)
    hint = ""
    if not extrapolate and in_reach(bandpass, True):
        hint = (
            ", or give extrapolate=True to what draws the galaxy (galaxy, render, a vae_catalog), "
            "which extrapolates the spectra blueward of F435W"
        )
    raise GalSimRangeError(
        f"Bandpass {bandpass_name(bandpass)} is out of reach of the HST bands. Choose a filter "
        f"with 99 % of its throughput in the range (nm){hint}. The filter covers",
        (round(float(blue), 1), round(float(red), 1)),
        *(EXTRAPOLATED_REACH if extrapolate else REACH),
    )


def warn_if_extrapolated(bandpass: galsim.Bandpass) -> None:
    """Warn (`galsim.GalSimWarning`) of a filter that is reached by extrapolation only."""
    if not in_reach(bandpass):
        galsim_warn(
            f"Most of bandpass {bandpass_name(bandpass)} lies blueward of F435W: there galaxies "
            "are extrapolated, with the slope of their spectrum between F435W and F606W and the "
            "structure of F435W."
        )


@contextlib.contextmanager
def warned_already() -> Iterator[None]:
    """Leave out the warning of `warn_if_extrapolated`: for many galaxies after one warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*lies blueward of F435W", GalSimWarning)
        yield


def bandpass_name(bandpass: galsim.Bandpass) -> str:
    """Return the file that a bandpass came from; else its effective wavelength in words."""
    return file_stem(bandpass) or f"of effective wavelength {bandpass.effective_wavelength:.0f} nm"


def file_stem(bandpass: galsim.Bandpass) -> str:
    """Return the name of the file that a bandpass came from, or "" where there is none."""
    if isinstance(bandpass._orig_tp, str):
        stem, extension = os.path.splitext(os.path.basename(bandpass._orig_tp))
        if extension[1:].isalpha():  # and not a formula such as "0.7"
            return stem
    return ""


@functools.cache
def shipped_names() -> tuple[str, ...]:
    """Return the names of the throughput files that come with GalSim, without extension."""
    folder = os.path.join(galsim.meta_data.share_dir, "bandpasses")
    return tuple(sorted(f[:-4] for f in os.listdir(folder) if f.endswith(".dat")))


@functools.lru_cache(maxsize=64)
def shipped_bandpass(name: str) -> galsim.Bandpass:
    """Read one of `shipped_names`, with its AB zero-point."""
    return galsim.Bandpass(f"{name}.dat", wave_type="nm").withZeropoint("AB")


def _throughput(bandpass: galsim.Bandpass) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths (m,), nm, and the share of an AB source's photons at each (m,), in any unit."""
    wavelength = np.linspace(bandpass.blue_limit, bandpass.red_limit, 4001)
    return wavelength, bandpass(wavelength) / wavelength
