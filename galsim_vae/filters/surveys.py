"""Throughputs of the filters of surveycodex's surveys, which BlendingToolKit draws.

surveycodex holds the effective wavelength of a filter, but no throughput. Those of LSST, of ACS and
of Roman come with GalSim. The others are straight lines between the two edges below, the tilt of
which is such that the effective wavelength is surveycodex's. With these, the spectra of Coleman, Wu
& Weedman (1980) at redshifts 0.1 to 2.3 have the magnitudes of the tabulated throughputs to 0.007
(rms; 0.010 in Pan-STARRS w, 0.013 in SDSS z, and 0.03 in DES g and SDSS u, mostly for ellipticals
whose 400 nm break is in the filter): less than what the interpolation between the HST
bands costs (`galsim_vae.filters.spectrum`).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import galsim
import numpy as np
from galsim.errors import GalSimValueError

from galsim_vae.bands import find_bandpass, in_reach

if TYPE_CHECKING:
    import surveycodex

__all__ = ["EDGES", "find_filter", "survey_filters", "within_reach"]

#: Wavelengths, nm, between which a filter has its light, detector and atmosphere included. Where
#: a throughput has no foot they are those of half its maximum; else they are a little wider, so
#: that the magnitudes come out best. HSC: Kawanomoto et al. 2018, PASJ 70, 66. DES: Flaugher et al.
#: 2015, AJ 150, 150. CFHTLS: the first MegaCam filters, u* to z' (CFHT's filter page). SDSS: Doi et
#: al. 2010, AJ 139, 1628. Pan-STARRS: Tonry et al. 2012, ApJ 750, 99. Euclid: Cropper et al. 2016,
#: Proc. SPIE 9904 (VIS) and Schirmer et al. 2022, A&A 662, A92 (NISP).
EDGES = {
    "HSC": {"g": (408, 546), "r": (548, 697), "i": (694, 846), "z": (853, 930), "y": (938, 1048)},
    "DES": {"g": (418, 548), "r": (567, 716), "i": (708, 856), "z": (849, 997), "Y": (954, 1056)},
    "CFHTLS": {
        "u": (334, 411), "g": (414, 559), "r": (564, 685), "i": (698, 843), "z": (827, 935),
    },
    "SDSS": {"u": (315, 390), "g": (407, 533), "r": (560, 675), "i": (691, 817), "z": (818, 975)},
    "PanSTARRS": {
        "g": (407, 550), "r": (550, 690), "i": (690, 820), "z": (818, 922), "y": (923, 1036),
        "w": (451, 814),
    },
    "Euclid_VIS": {"IE": (542, 924)},
    "Euclid_NISP": {"YE": (950, 1217), "JE": (1167, 1572), "HE": (1524, 2027)},
}  # fmt: skip

#: Half the width of an edge, as a part of its wavelength.
_EDGE = 0.015
#: Of filters that several surveys call by the same letter, this survey's has the letter.
_FIRST = "LSST"


@functools.cache
def survey_filters() -> dict[tuple[str, str], str | galsim.Bandpass]:
    """Every filter of every surveycodex survey, within reach of the HST bands or not.

    Returns
    -------
    dict of (survey, filter) to str or galsim.Bandpass
        What `galsim_vae.Stamps.galaxy` takes as a band: COSMOS's is the HST band itself. LSST
        comes first, then the surveys in the order of their names.
    """
    import surveycodex

    names = sorted(surveycodex.available_surveys, key=lambda name: (name != _FIRST, name))
    pairs = [(name, band) for name in names for band in _survey(name).available_filters]
    known = {pair: _throughput(*pair) for pair in pairs}
    return {pair: filt for pair, filt in known.items() if filt is not None}


def find_filter(survey: str, name: str) -> str | galsim.Bandpass:
    """Find a filter of a survey; of a survey that surveycodex does not have, by its name alone.

    Parameters
    ----------
    survey, name : str
        As in surveycodex: ``"LSST"``, ``"r"``.

    Raises
    ------
    galsim.GalSimValueError
        No survey has a filter of this name.
    """
    if (survey, name) in survey_filters():
        return survey_filters()[survey, name]
    for (_, known), band in survey_filters().items():
        if known == name:
            return band
    names = tuple(dict.fromkeys(known for _, known in survey_filters()))
    raise GalSimValueError(f"No throughput is known of a filter of survey {survey}", name, names)


def within_reach(band: str | galsim.Bandpass, extrapolate: bool) -> bool:
    """Whether the HST bands reach a filter, see `galsim_vae.bands.in_reach`."""
    return in_reach(find_bandpass(band), extrapolate)


@functools.cache
def _survey(name: str) -> surveycodex.survey.Survey:
    import surveycodex

    return surveycodex.get_survey(name)


def _throughput(survey: str, name: str) -> str | galsim.Bandpass | None:
    """GalSim's throughput, or one made of `EDGES`; None if neither has the filter."""
    if survey == "LSST":
        return find_bandpass(f"LSST_{name}")
    if survey == "COSMOS":
        return name.upper()
    if survey.startswith("Roman_WFI"):  # F106 of surveycodex is Y106 of GalSim
        return {band[1:]: bandpass for band, bandpass in _roman().items()}[name[1:]]
    if name not in EDGES.get(survey, ()):
        return None
    wavelength = _survey(survey).get_filter(name).effective_wavelength
    return _straight(*EDGES[survey][name], wavelength.to_value("nm"))


@functools.cache
def _roman() -> dict[str, galsim.Bandpass]:
    import galsim.roman

    return galsim.roman.getBandpasses()


def _straight(blue: float, red: float, effective: float) -> galsim.Bandpass:
    """A straight line between two edges, of a given effective wavelength; all in nm.

    The effective wavelength is int lambda^2 T dlambda / int lambda T dlambda, as in speclite, with
    which surveycodex's were computed.
    """
    from scipy.optimize import brentq

    wavelength = np.linspace(blue * (1 - 2 * _EDGE), red * (1 + 2 * _EDGE), 1001)
    corners = np.array(
        [blue * (1 - _EDGE), blue * (1 + _EDGE), red * (1 - _EDGE), red * (1 + _EDGE)]
    )
    window = np.interp(wavelength, corners, [0, 1, 1, 0])
    position = (2 * wavelength - blue - red) / (red - blue)

    def throughput(tilt: float) -> np.ndarray:
        return window * np.maximum(1 + tilt * position, 0)

    def excess(tilt: float) -> float:
        light = wavelength * throughput(tilt)
        return float((wavelength * light).sum() / light.sum() - effective)

    table = galsim.LookupTable(wavelength, throughput(brentq(excess, -0.95, 0.95)), "linear")
    return galsim.Bandpass(table, "nm")
