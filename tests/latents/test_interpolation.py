"""Ways between galaxies, and a galaxy at other redshifts, with the shipped weights."""

import galsim
import numpy as np
import pytest
from galsim.errors import GalSimRangeError, GalSimValueError

from galsim_vae import GalaxyGenerator
from galsim_vae.latents import Drawn, Known, interpolate, sequence

ROW = {"magnitude": 21.0, "half_light_radius": 0.8, "g1": 0.1, "g2": 0.05, "redshift": 0.6}


@pytest.fixture(scope="module")
def generator():
    return GalaxyGenerator("candels", device="cpu")


def correlation(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


@pytest.mark.parametrize("through", ["noise", "latent"])
def test_the_ends_are_the_galaxies_themselves(generator, through):
    a, b = Drawn(5, 3, ROW), Drawn(7, 1, {"magnitude": 23.0})
    found = generator.interpolate(a, b, 4, through)
    one = generator.sample({**{k: [v] for k, v in ROW.items()}, "id": [3]}, galsim.BaseDeviate(5))
    other = generator.sample({"magnitude": [23.0], "id": [1]}, galsim.BaseDeviate(7))
    np.testing.assert_allclose(found.array[0], one.array[0], atol=1e-6)
    np.testing.assert_allclose(found.array[-1], other.array[0], atol=1e-6)
    np.testing.assert_allclose(found.jacobian[0], one.jacobian[0], atol=1e-4)
    np.testing.assert_allclose(found.conditions.values[-1], other.conditions.values[0], rtol=1e-6)
    np.testing.assert_allclose(np.diff(found.conditions.values[:, 0]), 2 / 3, rtol=1e-6)


def test_each_step_through_the_noise_has_noise_of_the_usual_length(generator, monkeypatch):
    """Its noise is as long as that of the ends, and as normal deviates are."""
    seen = []
    make = generator.from_noise
    monkeypatch.setattr(
        generator, "from_noise", lambda noise, table: seen.append(noise) or make(noise, table)
    )
    for k in range(3):
        interpolate(generator, Drawn(5, k, ROW), Drawn(7, k + 50, ROW), 7, "noise")
        length = np.linalg.norm(seen[-1], axis=1)
        assert length[3] == pytest.approx(length[[0, -1]].mean(), rel=1e-4)
        assert np.all(abs(length / np.sqrt(seen[-1].shape[1]) - 1) < 0.25)


def test_noise_and_latents_are_inverse(generator):
    latent, table = generator.latents({"id": np.arange(6)}, galsim.BaseDeviate(3))
    noise = generator.to_noise(latent, table)
    assert abs(noise.std() - 1) < 0.1
    np.testing.assert_allclose(generator.from_noise(noise, table), latent, atol=2e-3)
    stamps = generator.sample({"id": np.arange(6)}, galsim.BaseDeviate(3))
    again = generator.from_latents(latent, table)
    np.testing.assert_array_equal(again.array, stamps.array)
    turned = np.sign((again.jacobian * stamps.jacobian).sum((1, 2)))[:, None, None]
    np.testing.assert_allclose(turned * again.jacobian, stamps.jacobian, rtol=1e-7, atol=1e-12)


def test_noise_does_not_depend_on_neighbours(generator):
    latent, table = generator.latents({"id": np.arange(24)}, galsim.BaseDeviate(3))
    together = generator.to_noise(latent, table)
    for row in range(0, 24, 5):
        alone = generator.to_noise(latent[row : row + 1], table[row : row + 1])
        np.testing.assert_array_equal(alone[0], together[row])


def test_a_known_latent_is_an_end(generator):
    latent, table = generator.latents({"id": [0, 1]}, galsim.BaseDeviate(3))
    found = interpolate(generator, Known(latent[0], table[0]), Known(latent[1], table[1]), 2)
    decoded = generator.decode(latent)
    mirrored = np.asarray(table["hand"]) < 0
    decoded[mirrored] = decoded[mirrored, :, ::-1]
    np.testing.assert_allclose(found.array, decoded, atol=1e-6)


def test_a_latent_without_a_pose_lies_as_its_stamp_does(generator):
    row = {k: [v] for k, v in ROW.items()}
    latent, posed = generator.latents(row, galsim.BaseDeviate(3))
    lying = generator.from_latents(latent, row, exact=False)
    other = {name: np.asarray(posed[name]) for name in ROW} | {"turn": [0.5], "hand": [-1]}
    turned = generator.from_latents(latent, other, exact=False)
    np.testing.assert_array_equal(lying.array, turned.array[:, :, ::-1])
    angle = -0.5  # mirrored, it is turned the other way
    matrix = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    np.testing.assert_allclose(turned.jacobian[0], lying.jacobian[0] @ matrix, atol=1e-12)
    between = interpolate(generator, Drawn(5, 3, ROW), Known(latent[0], ROW), 3)
    assert np.isfinite(between.jacobian).all()


def test_the_turn_goes_the_shorter_way(generator):
    row = {k: [v] for k, v in ROW.items()}
    latent, _ = generator.latents(row, galsim.BaseDeviate(3))
    ends = [Known(latent[0], {**ROW, "turn": turn}) for turn in (0.1, 2 * np.pi - 0.1)]
    half = interpolate(generator, *ends, 3)
    straight = generator.from_latents(latent, {**row, "turn": [0.0]}, exact=False)
    apart = np.linalg.inv(half.jacobian[1]) @ straight.jacobian[0]
    assert abs(np.arctan2(apart[1, 0], apart[0, 0])) < 0.1

@pytest.mark.parametrize("follow", ["fixed", "population"])
def test_structure_stays_after_a_small_step_in_redshift(generator, follow):
    for ident in range(3):
        stamps = sequence(generator, Drawn(11, ident, ROW), [0.6, 0.63], follow)
        assert correlation(*stamps.array[:, 2]) > 0.95
    moved = stamps.conditions.values
    if follow == "fixed":
        np.testing.assert_array_equal(moved[0, :3], moved[1, :3])
    else:
        np.testing.assert_allclose(moved[0, :3], [21.0, 0.8, np.hypot(0.1, 0.05)], rtol=0.01)


def test_colours_follow_those_of_the_population(generator):
    """Over many galaxies of one magnitude and size, the median colours are those of new draws."""
    z, n = [0.3, 1.0, 2.0], 24
    row = {"magnitude": 23.0, "half_light_radius": 0.4, "g1": 0.1, "g2": 0.0}
    moved = np.stack([
        sequence(generator, Drawn(13, k, {**row, "redshift": 0.6}), z).array.sum((2, 3))
        for k in range(n)
    ])  # fmt: skip
    for step, redshift in enumerate(z):
        table = {k: [v] * 4 * n for k, v in row.items()} | {"redshift": [redshift] * 4 * n}
        drawn = generator.sample(table, galsim.BaseDeviate(17)).array.sum((2, 3))
        colours = [-2.5 * np.log10(f[:, 1] / f[:, 3]) for f in (moved[:, step], drawn)]
        error = colours[1].std() * 1.25 * np.sqrt(1 / n + 1 / (4 * n))
        assert abs(np.median(colours[0]) - np.median(colours[1])) < 3 * error + 0.05, redshift


def test_following_the_population_goes_there_and_back(generator):
    table = {k: [v, v] for k, v in ROW.items()}
    there = generator.follow_population(table, [2.0, 0.6])
    assert there["magnitude"][0] > 22 and abs(there["magnitude"][1] - 21) < 0.01
    back = generator.follow_population(there, [0.6, 0.6])
    np.testing.assert_allclose(back["magnitude"], 21, atol=0.05)
    np.testing.assert_allclose(back["half_light_radius"].value, 0.8, rtol=0.05)


def test_mistakes(generator):
    a = Drawn(5, 3, ROW)
    for call, kind, says in (
        (lambda: interpolate(generator, a, a, 1), GalSimRangeError, "at least 2"),
        (lambda: interpolate(generator, a, a, 3, "wormhole"), GalSimValueError, "Unknown way"),
        (lambda: interpolate(generator, a, 3, 3), GalSimValueError, "Drawn or Known"),
        (lambda: interpolate(generator, Known(np.zeros(128), {"magnitude": 3}), a, 3),
         GalSimValueError, "lacks"),
        (lambda: sequence(generator, a, [0.5, 9.0]), GalSimRangeError, "redshift"),
        (lambda: sequence(generator, a, []), GalSimValueError, "at least one redshift"),
        (lambda: sequence(generator, a, [1], "other"), GalSimValueError, "Unknown sequence"),
        (lambda: sequence(generator, Drawn(5, 0, {"colour": 1}), [1]), GalSimValueError, "colour"),
        (lambda: generator.to_noise(np.zeros((1, 128)), {"magnitude": [22]}), GalSimValueError,
         "Every condition is needed"),
        (lambda: generator.from_noise(np.zeros((1, 3)), {k: [v] for k, v in ROW.items()}),
         GalSimValueError, "must have the shape"),
        (lambda: generator.from_latents(
            np.zeros((1, 256)), {k: [v] for k, v in ROW.items()} | {"hand": [0]}),
         GalSimValueError, "hand must be 1 or -1"),
    ):  # fmt: skip
        with pytest.raises(kind, match=says):
            call()
