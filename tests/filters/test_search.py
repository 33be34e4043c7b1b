"""The search for a magnitude from which the same magnitude comes out."""

import numpy as np
import pytest

from galsim_vae.filters.search import fixed_points


def recorded(function):
    """Return what comes out by `function`, and a list of the rows of each trial."""
    trials = []

    def comes_out(rows, magnitude):
        trials.append(rows)
        return function(rows, magnitude)

    return comes_out, trials


def test_colours_that_change_slowly_take_few_trials():
    answer = np.linspace(20, 25, 50)
    comes_out, trials = recorded(lambda rows, m: answer[rows] - 0.3 * (m - answer[rows]))
    found = fixed_points(comes_out, answer + 0.4, 18.0, 26.5)
    np.testing.assert_allclose(found, answer, atol=1e-6)
    assert len(trials) <= 3


@pytest.mark.parametrize("width", [0.005, 0.015, 0.06])
def test_a_colour_that_jumps_between_two_trials_is_found(width):
    """By 0.6 mag within a few hundredths: a secant steps over it to and fro."""
    jump, n = 21.0, 20_001

    def colour(_, m):
        return 21.1 + 0.1 * (m - jump) - 0.3 * np.tanh((m - jump) / width)

    comes_out, trials = recorded(colour)
    found = fixed_points(comes_out, jump + np.linspace(-0.5, 0.5, n), 18.0, 26.5)
    np.testing.assert_allclose(colour(None, found), found, atol=0.002)
    assert 5 < len(trials) <= 17


def test_what_is_not_found_is_given_up():
    """A colour that steps across the answer has none; one that runs away is not followed."""
    comes_out, trials = recorded(lambda _, m: np.where(m < 21, 21.3, 20.7))
    found = fixed_points(comes_out, np.array([21.2]), 18.0, 26.5)
    np.testing.assert_allclose(found, 21, atol=1e-3)
    assert len(trials) == 17
    comes_out, trials = recorded(lambda _, m: m + 1)
    assert np.isfinite(fixed_points(comes_out, np.array([21.0]), -np.inf, np.inf))
    assert len(trials) == 5


def test_rows_do_not_depend_on_each_other():
    answer = np.array([20.0, 21.0, 22.0])
    steep = np.array([0.0, 0.3, 0.6])

    def comes_out(rows, m):
        return answer[rows] - steep[rows] * np.tanh((m - answer[rows]) / 0.02)

    together = fixed_points(comes_out, answer + 0.2, 18.0, 26.5)
    for i in range(3):
        alone = fixed_points(lambda _, m, i=i: comes_out(np.array([i]), m), answer[i:i+1] + 0.2,
                             18.0, 26.5)  # fmt: skip
        np.testing.assert_array_equal(alone, together[i : i + 1])


def test_an_answer_outside_the_range_ends_at_its_end():
    comes_out, trials = recorded(lambda rows, m: np.full(len(rows), 28.0))
    np.testing.assert_array_equal(fixed_points(comes_out, np.array([25.0]), 18.0, 26.5), [26.5])
    assert len(trials) == 2
