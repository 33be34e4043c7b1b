"""Filters: a galaxy's light in any of them from its light in the five bands."""

from .spectrum import band_weights, node_values, photon_spectra
from .surveys import find_filter, survey_filters, within_reach

__all__ = [
    "band_weights",
    "find_filter",
    "node_values",
    "photon_spectra",
    "survey_filters",
    "within_reach",
]
