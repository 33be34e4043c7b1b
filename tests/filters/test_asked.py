"""Magnitudes asked for in filters: exact, by the smallest change of the spectrum, or refused."""

import galsim
import numpy as np
import pytest

from galsim_vae.bands import BANDS
from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.filters import band_weights, find_bandpass, node_values, read_asked
from galsim_vae.filters.asked import first_guess, match_magnitudes

N = 12
RNG = np.random.default_rng(8)
#: Spectra that rise to the red, with scatter, F814W = 1.
FLUXES = np.exp(np.linspace(-1.5, 1, 5) + RNG.normal(0, 0.2, (N, 5)))
FLUXES /= FLUXES[:, [2]]


def magnitude_of(fluxes, magnitude, name, extrapolate=False):
    """AB magnitudes through a filter, as a galaxy of these stamps has them."""
    weights = band_weights(find_bandpass(name), node_values(fluxes), extrapolate)
    return magnitude - 2.5 * np.log10(weights.sum(axis=1))


def match(extrapolate=False, **columns):
    table = {"id": np.arange(N)} | {name: np.broadcast_to(v, N) for name, v in columns.items()}
    asked = read_asked(table, DEFAULT_RANGES, extrapolate)
    matched = match_magnitudes(FLUXES, asked, extrapolate)
    return matched.magnitude, FLUXES * matched.scale


@pytest.mark.parametrize("name", ["LSST_g", "LSST_r", "LSST_y", "Euclid_VIS", "H158", "F606W"])
def test_one_filter_moves_the_galaxy_as_a_whole(name):
    wanted = 23 + RNG.normal(size=N)
    magnitude, fluxes = match(**{f"mag_{name}": wanted})
    np.testing.assert_allclose(fluxes, FLUXES, rtol=1e-9)
    np.testing.assert_allclose(magnitude_of(fluxes, magnitude, name), wanted, atol=1e-6)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    "names", [("LSST_g", "LSST_r", "LSST_i"), ("LSST_g", "F160W"), ("LSST_i", "LSST_y", "H158")]
)
def test_several_filters_are_all_met(names, fixed):
    own = [magnitude_of(FLUXES, 24.0, name) for name in names]
    noise = RNG.normal(0, 0.2, (len(names), N))
    wanted = {f"mag_{name}": mag for name, mag in zip(names, np.add(own, noise), strict=True)}
    given = {"magnitude": np.full(N, 24.1)} if fixed else {}
    magnitude, fluxes = match(**wanted, **given)
    for name in names:
        found = magnitude_of(fluxes, magnitude, name)
        np.testing.assert_allclose(found, wanted[f"mag_{name}"], atol=2e-6)
    np.testing.assert_allclose(fluxes[:, 2], 1)
    if fixed:
        np.testing.assert_array_equal(magnitude, 24.1)


def test_the_change_is_the_smallest():
    """No step along what leaves the magnitudes as they are makes it smaller."""
    names = ("LSST_g", "LSST_i")
    wanted = {f"mag_{n}": magnitude_of(FLUXES, 24, n) + d
              for n, d in zip(names, (0.3, -0.2), strict=True)}  # fmt: skip
    magnitude, fluxes = match(**wanted)
    before = node_values(FLUXES)
    after = node_values(fluxes) - 0.4 * np.log(10) * (magnitude - 24)[:, None]
    for i in range(N):
        change = after[i] - before[i]
        # Slopes of both magnitudes by each node, by finite differences; and of the brightness.
        slopes = np.array([
            [(np.log(band_weights(find_bandpass(n), after[i] + s, False).sum())
              - np.log(band_weights(find_bandpass(n), after[i] - s, False).sum())) / 2e-4
             for s in 1e-4 * np.eye(5)] for n in names
        ])  # fmt: skip
        # Free brightness: among changes that differ by a common shift of all nodes the magnitudes
        # are met by one; the smallest is orthogonal to what keeps the colour.
        colour = slopes[0] - slopes[1]
        change = change - change[4]  # F160W is out of reach of both: it tells the brightness
        free = np.linalg.svd(colour[None])[2][1:]
        np.testing.assert_allclose(free @ change, 0, atol=2e-4)


def test_rows_do_not_depend_on_each_other():
    wanted = magnitude_of(FLUXES, 24, "LSST_g") + RNG.normal(0, 0.3, N)
    table = {"mag_LSST_g": wanted, "mag_LSST_y": magnitude_of(FLUXES, 24, "LSST_y")}
    asked = read_asked(table, DEFAULT_RANGES)
    whole = match_magnitudes(FLUXES, asked)
    for i in range(N):
        one = match_magnitudes(FLUXES[i : i + 1], asked[i : i + 1])
        np.testing.assert_array_equal(one.magnitude, whole.magnitude[i : i + 1])
        np.testing.assert_array_equal(one.scale, whole.scale[i : i + 1])


def test_rows_with_different_filters():
    r = np.ma.MaskedArray(np.full(N, 24.0), np.arange(N) % 2 == 0)
    i = np.ma.MaskedArray(np.full(N, 23.0), np.arange(N) % 3 == 0)
    asked = read_asked({"id": np.arange(N), "mag_LSST_r": r, "mag_LSST_i": i}, DEFAULT_RANGES)
    matched = match_magnitudes(FLUXES, asked)
    fluxes = FLUXES * matched.scale
    for name, column in (("LSST_r", r), ("LSST_i", i)):
        found = magnitude_of(fluxes, matched.magnitude, name)
        there = ~column.mask
        np.testing.assert_allclose(found[there], column.data[there], atol=1e-6)
    neither = r.mask & i.mask
    assert np.isnan(matched.magnitude[neither]).all()
    assert np.isnan(first_guess(asked)[neither]).all()
    assert np.isfinite(first_guess(asked)[~neither]).all()


def test_u_by_extrapolation():
    with pytest.raises(galsim.GalSimRangeError, match="LSST_u.*extrapolate"):
        match(mag_LSST_u=25.0)
    magnitude, fluxes = match(True, mag_LSST_u=25.0, mag_LSST_r=23.5)
    np.testing.assert_allclose(magnitude_of(fluxes, magnitude, "LSST_u", True), 25, atol=2e-6)


@pytest.mark.parametrize(
    "wanted",
    [
        {"mag_LSST_i": 22.0, "mag_HSC_i": 23.0},
        {"mag_LSST_i": 22.0, "mag_Rubin_i": 22.1},
        {"mag_LSST_g": 20.0, "mag_LSST_r": 35.0},
        {f"mag_LSST_{f}": m for f, m in zip("grizy", (24, 23, 22.6, 22.2, 22.5), strict=True)},
    ],
)
def test_contradictions(wanted):
    with pytest.raises(galsim.GalSimIncompatibleValuesError, match="of row 0 .*contradict"):
        match(**wanted)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("mag_LSST_q", galsim.GalSimValueError, "LSST_q"),
        ("mag_i", galsim.GalSimValueError, "Several surveys"),
        ("mag_K213", galsim.GalSimRangeError, "out of reach"),
        ("mag_F814W", galsim.GalSimValueError, "called magnitude"),
    ],
)
def test_filters_that_cannot_be_asked_for(name, error, message):
    with pytest.raises(error, match=message):
        match(**{name: 23.0})


def test_what_is_not_asked_for_is_as_it_was():
    magnitude, fluxes = match(magnitude=24.0)
    np.testing.assert_array_equal(magnitude, 24.0)
    np.testing.assert_array_equal(fluxes, FLUXES)
    assert len(BANDS) == 5
