"""One chunk of a shear-calibration run: conditions, decoding, drawing, measuring.

All that is random is a function of the run's seed and of the chunk's number.
"""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import NamedTuple

import galsim
import numpy as np
import torch
from astropy.table import QTable, vstack
from numpy.typing import NDArray

from galsim_vae.conditions import NAMES
from galsim_vae.devices import pinned_torch
from galsim_vae.generator import GalaxyGenerator
from galsim_vae.stamps import Stamps

from .config import CalibrationConfig
from .estimators import make_estimator
from .scenes import Layout, make_layout
from .survey import SurveyView
from .twins import in_one_band, sersic_twins

__all__ = ["PROPERTIES", "load_generator", "run_chunk"]

#: What m is binned in: S/N of the galaxy by a matched filter, without noise; half-light radius,
#: arcsec; magnitude through the survey's filter; |g|; redshift; index of the Sersic twin; part of
#: the light that is elsewhere in the twin.
PROPERTIES = ("snr", "half_light_radius", "magnitude", "ellipticity", "redshift", "sersic_index",
              "residual")  # fmt: skip
# Of the shear of the two images of a pair.
_SIGNS = (1.0, -1.0)
# Purposes of random numbers.
_GALAXIES, _PLACES, _NOISE = range(3)
# Draws of a chunk's galaxies until all of them are usable.
_ATTEMPTS = 3
# Conditions are drawn so many at a time until enough are bright.
_CONDITIONS = 512


class _Galaxies(NamedTuple):
    """The galaxies of a chunk: stamps of one band by population, and what is true of them.

    ``good`` (n,) says whether galaxy and twin could be measured.
    """

    stamps: dict[str, Stamps]
    truth: dict[str, NDArray]
    good: NDArray


class _Clock:
    """Seconds, of the processor, spent in each step."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, step: str):
        start = time.process_time()
        try:
            yield
        finally:
            self.seconds[step] += time.process_time() - start


@functools.lru_cache(maxsize=2)
def load_generator(weights: str, device: str) -> GalaxyGenerator:
    """Return a generator, which all chunks of a process share; as in `GalaxyGenerator`."""
    return GalaxyGenerator(weights, device)


@pinned_torch()
def run_chunk(
    config: CalibrationConfig, number: int, weights_sha256: str | None = None
) -> tuple[dict[str, NDArray], dict[str, float]]:
    """Simulate and measure one chunk.

    Parameters
    ----------
    config : CalibrationConfig
    number : int
        From 0.
    weights_sha256 : str, optional
        What the weights must be: a worker elsewhere may have others of the same name.

    Returns
    -------
    arrays : dict of str to array
        ``truth/<name>`` (n,) of isolated galaxies, and ``<population>/<estimator>/e``, ``/r``
        (n, angles, signs, 2), ``/ok`` (n,), and ``/count`` (n,), the mean number of galaxies that
        were measured in an image. n counts galaxies, or scenes; in e and r of a scene all its
        galaxies are added up.
    seconds : dict of str to float
        Of the processor, for each step; they have no part in results.

    Raises
    ------
    galsim.GalSimValueError
        Other weights.

    Notes
    -----
    Torch has one thread from then on.
    """
    generator = load_generator(config.weights, config.device)
    if weights_sha256 not in (None, generator.sha256):
        raise galsim.GalSimValueError(
            "The weights of this worker are others than those of the run; their sha256",
            generator.sha256,
            [weights_sha256],
        )
    clock, view = _Clock(), config.view()
    n = min(config.chunk, config.galaxies - number * config.chunk)
    # A sum depends on how threads share it out. It is not put back: a worker of a cluster may have
    # several chunks in hand.
    torch.set_num_threads(1)
    layout = make_layout(config, view, n, _random(config, number, _PLACES))
    galaxies = _make_galaxies(config, view, number, len(layout.places), clock)
    arrays = _measure_all(config, layout, galaxies, number, clock)
    if layout.isolated:
        arrays |= {f"truth/{name}": values for name, values in galaxies.truth.items()}
    return arrays, dict(clock.seconds)


def _measure_all(
    config: CalibrationConfig, layout: Layout, galaxies: _Galaxies, number: int, clock: _Clock
) -> dict[str, NDArray]:
    """Return the arrays of `run_chunk` but for the truth, to which the S/N is added."""
    view, truth, nangles = layout.view, galaxies.truth, len(config.angles)
    estimators = {name: make_estimator(name, view, config.stamp_size) for name in config.estimators}
    usable = galaxies.good if layout.isolated else np.ones(layout.n, bool)
    out: dict[str, NDArray] = {}
    for key in (f"{population}/{name}" for population in galaxies.stamps for name in estimators):
        out |= {f"{key}/{name}": np.zeros((layout.n, nangles, len(_SIGNS), 2)) for name in "er"}
        out |= {f"{key}/ok": usable.copy(), f"{key}/count": np.zeros(layout.n)}
    for a, angle in enumerate(config.angles):
        with clock("noise"):
            noise, renoise = _noises(config, layout, number, a)
        for s, sign in enumerate(_SIGNS):
            shear = _shears(config, sign, truth["redshift"])
            for population, stamps in galaxies.stamps.items():
                with clock("draw"):
                    images = layout.draw(stamps, shear, angle)
                if layout.isolated and "snr" not in truth:
                    truth["snr"] = _signal_to_noise(images, view)
                images += noise
                for name, found in layout.measure(estimators, images, renoise, clock):
                    key = f"{population}/{name}"
                    out[f"{key}/e"][:, a, s], out[f"{key}/r"][:, a, s] = found.e, found.r
                    out[f"{key}/ok"] &= found.ok
                    out[f"{key}/count"] += found.count / (nangles * len(_SIGNS))
    return out


def _signal_to_noise(images: NDArray, view: SurveyView) -> NDArray:
    """Return the S/N of galaxies (n,) by a matched filter, from images without noise."""
    square = np.einsum("nyx,nyx->n", images, images, dtype=np.float64)
    return np.sqrt(square) / view.noise


def _random(config: CalibrationConfig, number: int, *purpose: int) -> np.random.Generator:
    sequence = np.random.SeedSequence(config.seed, spawn_key=(number, *purpose))
    return np.random.Generator(np.random.SFC64(sequence))


def _make_galaxies(
    config: CalibrationConfig, view: SurveyView, number: int, n: int, clock: _Clock
) -> _Galaxies:
    """Draw n galaxies from the population, and fit their twins."""
    for attempt in range(_ATTEMPTS):
        try:
            stamps = _decode(config, view, (number, _GALAXIES, attempt), n, clock)
            break
        except galsim.GalSimRangeError:
            raise
        except galsim.GalSimError:
            # A galaxy had no usable stamp: a long run must not end there.
            if attempt == _ATTEMPTS - 1:
                raise
    values = stamps.conditions.values
    truth = {name: values[:, NAMES.index(name)] for name in NAMES if name != "g"}
    truth |= {"ellipticity": values[:, NAMES.index("g")], "id": stamps.conditions.id}
    if not config.twins:
        return _Galaxies({"vae": stamps}, truth, np.ones(n, bool))
    with clock("twins"):
        twins = sersic_twins(stamps)
    truth |= {"sersic_index": twins.index, "residual": twins.residual}
    return _Galaxies({"vae": stamps, "sersic": twins.stamps}, truth, twins.good)


def _decode(config, view: SurveyView, key: tuple[int, ...], n: int, clock: _Clock) -> Stamps:
    """Return n galaxies of the population through the survey's filter."""
    generator = load_generator(config.weights, config.device)
    rng = galsim.BaseDeviate(int(_random(config, *key).integers(1, 2**31)))
    with clock("conditions"):
        table = _conditions(generator, config.max_magnitude, n, rng)
    with clock("decode"):
        return in_one_band(generator.sample(table, rng), view.band)


def _conditions(generator, max_magnitude: float | None, n: int, rng) -> QTable:
    """Return n rows of the population that are bright enough, with ids that are all different."""
    if max_magnitude is None:
        return generator.sample_conditions(n, rng)
    parts, found, first = [], 0, 0
    while found < n:
        table = generator.sample_conditions(_CONDITIONS, rng)
        table["id"] += first
        first += _CONDITIONS
        parts.append(table[np.asarray(table["magnitude"].value) <= max_magnitude])
        found += len(parts[-1])
        if first >= 100 * _CONDITIONS and found == 0:
            raise galsim.GalSimError(
                f"None of {first} galaxies is brighter than max_magnitude = {max_magnitude}"
            )
    return vstack(parts)[:n]


def _shears(config: CalibrationConfig, sign: float, redshift: NDArray) -> NDArray:
    """Return the shear of each galaxy, (n, 2)."""
    low, high = config.redshift or (0.0, np.inf)
    inside = (redshift >= low) & (redshift < high)
    return np.where(inside[:, None], sign * np.array(config.shear), 0.0)


def _noises(
    config: CalibrationConfig, layout: Layout, number: int, angle: int
) -> tuple[NDArray, NDArray]:
    """Return noise of the images, and of the estimators that add some: the same for both signs."""
    rng = _random(config, number, _NOISE, angle)
    shape = (layout.n, layout.width, layout.width)
    made = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    first, second = (np.float32(layout.view.noise) * one for one in made)
    return first, second
