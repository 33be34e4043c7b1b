"""Throughputs of the filters of surveys.

Those of LSST, of ACS and of Roman come with GalSim. The others are straight lines between the two
edges below, the tilt of which is such that the effective wavelength is right. With these, the
spectra of Coleman, Wu & Weedman (1980) at redshifts 0.1 to 2.3 have the magnitudes of the tabulated
throughputs to 0.007 (rms; 0.010 in Pan-STARRS w, 0.013 in SDSS z, and 0.03 in DES g and SDSS u,
mostly for ellipticals whose 400 nm break is in the filter): less than what the interpolation
between the HST bands costs (`galsim_vae.filters.spectrum`).
"""

from __future__ import annotations

import functools

import galsim
import numpy as np

from .bandpass import shipped_bandpass

__all__ = ["EDGES", "EFFECTIVE_WAVELENGTH", "roman_bandpasses", "survey_filter", "survey_filters"]

#: Effective wavelength, nm, int lambda^2 T dlambda / int lambda T dlambda, of every filter of every
#: survey: the values of surveycodex 1.3.0 (https://github.com/LSSTDESC/surveycodex), computed
#: there with speclite. LSST comes first, the others by name.
EFFECTIVE_WAVELENGTH = {
    "LSST": {
        "u": 368.141, "g": 486.412, "r": 624.976, "i": 756.469, "z": 870.164, "y": 972.202,
    },
    "CFHTLS": {"u": 382.329, "g": 487.737, "r": 623.062, "i": 761.766, "z": 882.798},
    "COSMOS": {"f814w": 807.343},
    "DES": {"g": 489.004, "r": 646.962, "i": 784.778, "z": 919.646, "Y": 989.297},
    "Euclid_NISP": {"YE": 1089.014, "JE": 1379.127, "HE": 1785.975},
    "Euclid_VIS": {"IE": 750.637},
    "HSC": {"g": 484.37, "r": 625.889, "i": 773.009, "z": 891.239, "y": 978.695},
    "PanSTARRS": {
        "g": 490.014, "r": 624.127, "i": 756.377, "z": 869.008, "y": 964.461, "w": 657.929,
    },
    "Roman_WFI": {"F106": 1073.633, "F129": 1296.861, "F158": 1596.115},
    "Roman_WFI_Deep": {
        "F087": 881.18, "F106": 1073.633, "F129": 1296.861, "F146": 1536.573, "F158": 1596.115,
        "F184": 1850.203, "F213": 2144.099,
    },
    "SDSS": {"u": 361.437, "g": 474.923, "r": 620.583, "i": 752.562, "z": 894.738},
}  # fmt: skip

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


@functools.cache
def survey_filters() -> dict[tuple[str, str], str | galsim.Bandpass]:
    """Return every filter of every survey, within reach of the HST bands or not.

    Returns
    -------
    dict of (survey, filter) to str or galsim.Bandpass
        What `galsim_vae.Stamps.galaxy` takes as a band: COSMOS's is the HST band itself. In the
        order of `EFFECTIVE_WAVELENGTH`.
    """
    return {
        (survey, name): survey_filter(survey, name)
        for survey, filters in EFFECTIVE_WAVELENGTH.items()
        for name in filters
    }


@functools.cache
def roman_bandpasses() -> dict[str, galsim.Bandpass]:
    """Return Roman's filters by GalSim's names (``H158``)."""
    import galsim.roman

    return galsim.roman.getBandpasses()


@functools.cache
def survey_filter(survey: str, name: str) -> str | galsim.Bandpass:
    """Return one value of `survey_filters`: GalSim's throughput, or one made of `EDGES`."""
    if survey == "LSST":
        return shipped_bandpass(f"LSST_{name}")
    if survey == "COSMOS":
        return name.upper()
    if survey.startswith("Roman_WFI"):  # F106 is Y106 of GalSim
        return next(band for known, band in roman_bandpasses().items() if known[1:] == name[1:])
    return _straight(*EDGES[survey][name], EFFECTIVE_WAVELENGTH[survey][name])


def _straight(blue: float, red: float, effective: float) -> galsim.Bandpass:
    """A straight line between two edges, of a given effective wavelength; all in nm.

    The effective wavelength is int lambda^2 T dlambda / int lambda T dlambda.
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
