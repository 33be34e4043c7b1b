"""Filters: a galaxy's light in any of them from its light in the five bands."""

from .asked import read_asked
from .bandpass import ab_zeropoint, check_reach, in_reach
from .names import find_band, find_bandpass, find_filter, within_reach
from .spectrum import band_weights, node_values, photon_spectra
from .surveys import survey_filters
from .truth import Truth

__all__ = [  # noqa: RUF022 (one a line would be too long)
    "Truth", "ab_zeropoint", "band_weights", "check_reach", "find_band", "find_bandpass",
    "find_filter", "in_reach", "node_values", "photon_spectra", "read_asked", "survey_filters",
    "within_reach",
]  # fmt: skip
