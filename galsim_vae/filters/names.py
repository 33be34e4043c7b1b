"""Filters by the names that people use, without regard to case and separators.

=============================== ==================================================
``F814W``                       an HST band of the stamps
``LSST_i``, ``HSC_y``           a survey and its filter; ``i`` with ``survey="LSST"``
``Roman_H158``, ``H158``        GalSim's names for Roman, or ``F158``
``Euclid_VIS``, ``VIS``, ``IE`` Euclid's; ``Euclid_Y``, ``NISP_Y``, ``YE`` and so on
``WFC3_ir_F105W``, ``F105W``    a throughput that comes with GalSim
=============================== ==================================================

A filter that several surveys have (``i``) needs its survey.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator

import galsim
from galsim.errors import GalSimValueError

from galsim_vae.bands import BANDS, hst_bandpass

from .bandpass import file_stem, in_reach, shipped_bandpass, shipped_names
from .surveys import (
    EDGES,
    EFFECTIVE_WAVELENGTH,
    roman_bandpasses,
    survey_filter,
    survey_filters,
)

__all__ = [
    "band_names",
    "canonical_filter",
    "canonical_name",
    "find_band",
    "find_bandpass",
    "find_filter",
    "within_reach",
]

# Whose filter a throughput is where no survey of the table has it.
_HST, _SHIPPED, _ROMAN = "HST", "GalSim", "Roman"
# What else a survey is called. One name may stand for two entries of the table.
_CALLED = {
    "LSST": ("LSST", "Rubin"),
    "CFHTLS": ("CFHTLS", "CFHT"),
    "PanSTARRS": ("PanSTARRS", "PS1"),
    "Roman_WFI": ("Roman", "Roman_WFI"),
    "Roman_WFI_Deep": ("Roman", "Roman_WFI", "Roman_WFI_Deep"),
    "Euclid_VIS": ("Euclid", "Euclid_VIS"),
    "Euclid_NISP": ("Euclid", "Euclid_NISP", "NISP"),
}
_ROMAN_NAMES = ("R062", "Z087", "Y106", "J129", "H158", "F184", "W146", "K213")
_EUCLID_NAMES = {"IE": ("VIS", "IE"), "YE": ("Y", "YE"), "JE": ("J", "JE"), "HE": ("H", "HE")}


def find_band(
    band: str | galsim.Bandpass, survey: str | None = None
) -> str | galsim.Bandpass:
    """Find what a user may call a band.

    Parameters
    ----------
    band : str or galsim.Bandpass
        A bandpass, or a name as in the module's docstring.
    survey : str, optional
        Whose filter it is.

    Returns
    -------
    str or galsim.Bandpass
        One of `galsim_vae.bands.BANDS` for these, else a bandpass.

    Raises
    ------
    galsim.GalSimValueError
        An unknown name: the message lists near ones; or a filter of several surveys.
    """
    if isinstance(band, galsim.Bandpass):
        return band
    if band in BANDS and survey is None:
        return band
    owner, name = _look_up(band, survey)
    if owner == _HST:
        return name
    if owner == _SHIPPED:
        return shipped_bandpass(name)
    return roman_bandpasses()[name] if owner == _ROMAN else survey_filter(owner, name)


def find_bandpass(band: str | galsim.Bandpass, survey: str | None = None) -> galsim.Bandpass:
    """Find the throughput of what a user may call a band.

    Parameters
    ----------
    band : str or galsim.Bandpass
        As in `find_band`.
    survey : str, optional
        Whose filter it is.

    Returns
    -------
    galsim.Bandpass
        With its AB zero-point.

    Raises
    ------
    galsim.GalSimValueError
        An unknown name.
    """
    found = find_band(band, survey)
    return hst_bandpass(found) if isinstance(found, str) else found


def find_filter(survey: str, name: str) -> str | galsim.Bandpass:
    """Find a filter of a survey; of a survey that is not in the table, by its name alone.

    Parameters
    ----------
    survey, name : str
        As in `find_band`. Of filters of the same name LSST's comes first.

    Raises
    ------
    galsim.GalSimValueError
        The survey has no such filter; for an unknown survey, no survey has one.
    """
    if _key(survey) in _surveys():
        return find_band(name, survey)
    for (_, known), band in survey_filters().items():
        if known == name:
            return band
    names = tuple(dict.fromkeys(known for _, known in survey_filters()))
    raise GalSimValueError(f"No throughput is known of a filter of survey {survey}", name, names)


def canonical_filter(survey: str, name: str) -> tuple[str, str]:
    """Return the survey and filter as `galsim_vae.filters.survey_filters` spells them.

    Raises
    ------
    galsim.GalSimValueError
        An unknown survey, or a filter that it has not.
    """
    if name in EFFECTIVE_WAVELENGTH.get(survey, ()):
        return survey, name
    found = _look_up(name, survey)
    if found not in survey_filters():
        raise GalSimValueError(f"{survey} has no filter", name, _filters_of(survey))
    return found


def canonical_name(band: str | galsim.Bandpass) -> str:
    """Return the one name of a filter that may be called by several.

    Parameters
    ----------
    band : str or galsim.Bandpass
        As in `find_band`.

    Returns
    -------
    str
        ``"LSST_r"`` for ``"lsst-r"`` and for LSST's own bandpass; of a bandpass that no survey of
        the table has, its name if it has one, else how it is written in Python.

    Raises
    ------
    galsim.GalSimValueError
        An unknown name.
    """
    if isinstance(band, str):
        found = find_band(band)
        return found if isinstance(found, str) else _shown()[_look_up(band, None)]
    named = _index().get(_key(getattr(band, "name", None) or file_stem(band)))
    made = [(survey, name) for survey, filters in EDGES.items() for name in filters]
    for found in [named] if named else made:
        if find_band(_shown()[found]) == band:
            return _shown()[found]
    return str(getattr(band, "name", band))


def within_reach(band: str | galsim.Bandpass, extrapolate: bool) -> bool:
    """Return whether the HST bands reach a filter, see `galsim_vae.filters.bandpass.in_reach`."""
    return in_reach(find_bandpass(band), extrapolate)


@functools.cache
def band_names() -> tuple[str, ...]:
    """Return a name of every filter: the HST bands first, each once."""
    return tuple(dict.fromkeys(_shown()[found] for found in _index().values()))


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower().removesuffix(".dat"))


def _entries() -> Iterator[tuple[str, tuple[str, str]]]:
    """Every name, and the owner and filter that it stands for; the first of a key counts."""
    for band in BANDS:
        yield band, (_HST, band)
    for band in BANDS:
        yield f"HST_{band}", (_HST, band)
    for survey, filters in EFFECTIVE_WAVELENGTH.items():
        for name in filters:
            for called in _filter_names(survey, name):
                for prefix in _CALLED.get(survey, (survey,)):
                    yield f"{prefix}_{called}", (survey, name)
    for name in _ROMAN_NAMES:
        for called in (name, f"F{name[1:]}"):
            yield f"Roman_{called}", (_ROMAN, name)
    for stem in shipped_names():
        yield stem, (_SHIPPED, stem)
    # A filter by itself, where one survey has it. A letter needs its survey.
    for survey, filters in EFFECTIVE_WAVELENGTH.items():
        for name in filters:
            for called in _filter_names(survey, name):
                if len(called) > 1:
                    yield called, (survey, name)
    for name in _ROMAN_NAMES:
        for called in (name, f"F{name[1:]}"):
            yield called, (_ROMAN, name)
    for stem in shipped_names():
        tail = stem.rpartition("_")[2]
        if len(tail) > 1:
            yield tail, (_SHIPPED, stem)
            yield f"HST_{tail}", (_SHIPPED, stem)


def _filter_names(survey: str, name: str) -> tuple[str, ...]:
    """What a filter of the table is called."""
    if survey.startswith("Roman"):
        return next(known for known in _ROMAN_NAMES if known[1:] == name[1:]), name
    if survey.startswith("Euclid"):
        return _EUCLID_NAMES[name]
    return (name,)


@functools.cache
def _index() -> dict[str, tuple[str, str]]:
    index: dict[str, tuple[str, str]] = {}
    for name, found in _entries():
        index.setdefault(_key(name), found)
    return index


@functools.cache
def _shown() -> dict[tuple[str, str], str]:
    """The first name of each filter."""
    shown: dict[tuple[str, str], str] = {}
    for name, found in _entries():
        if _index()[_key(name)] == found:
            shown.setdefault(found, name)
    return shown


@functools.cache
def _surveys() -> dict[str, set[str]]:
    """The owners that the name of a survey stands for."""
    surveys = {_key(_HST): {_HST, _SHIPPED}, _key(_ROMAN): {_ROMAN}}
    for survey in EFFECTIVE_WAVELENGTH:
        for called in (survey, *_CALLED.get(survey, ())):
            surveys.setdefault(_key(called), set()).add(survey)
    return surveys


def _filters_of(survey: str) -> tuple[str, ...]:
    owners = _surveys()[_key(survey)]
    return tuple(_shown()[found] for found in dict.fromkeys(_index().values())
                 if found[0] in owners)  # fmt: skip


def _look_up(band: str, survey: str | None) -> tuple[str, str]:
    """The owner and filter of a name."""
    key = _key(band)
    if survey is not None:
        owners = _surveys().get(_key(survey))
        if owners is None:
            raise GalSimValueError("Unknown survey", survey, tuple(EFFECTIVE_WAVELENGTH))
        for known in (_key(survey) + key, key):
            if known in _index() and _index()[known][0] in owners:
                return _index()[known]
        raise GalSimValueError(f"{survey} has no filter", band, _filters_of(survey))
    if isinstance(band, str) and key in _index():
        return _index()[key]
    shared = [f"{owner}_{name}" for owner, name in _index().values() if _key(name) == key]
    if shared:
        raise GalSimValueError("Several surveys have this filter: name one", band,
                               tuple(dict.fromkeys(shared)))  # fmt: skip
    near = difflib.get_close_matches(key, _index(), n=6)
    hint = tuple(dict.fromkeys(_shown()[_index()[known]] for known in near))
    raise GalSimValueError(
        "Unknown band: give a galsim.Bandpass or the name of a filter"
        + (", such as these near names." if hint else "."),
        band,
        hint or band_names(),
    )
