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

from galsim_vae.bands import REFERENCE
from galsim_vae.conditions import NAMES
from galsim_vae.generator import GalaxyGenerator
from galsim_vae.stamps import Stamps

from .config import CalibrationConfig
from .estimators import centre_shift, detect, make_estimator
from .survey import ZEROPOINT, Observation
from .twins import in_one_band, sersic_twins

__all__ = ["PROPERTIES", "draw", "run_chunk"]

#: What m is binned in: S/N of the galaxy by a matched filter, without noise; half-light radius,
#: arcsec; magnitude through the survey's filter; |g|; redshift; index of the Sersic twin; part of
#: the light that is elsewhere in the twin.
PROPERTIES = ("snr", "half_light_radius", "magnitude", "ellipticity", "redshift", "sersic_index",
              "residual")  # fmt: skip
SIGNS = (1.0, -1.0)
# Purposes of random numbers.
_GALAXIES, _PLACES, _NOISE = range(3)
# Draws of a chunk's galaxies until all of them are usable.
_ATTEMPTS = 3
# Conditions are drawn so many at a time until enough are bright.
_CONDITIONS = 512


class _Galaxies(NamedTuple):
    """The galaxies of a chunk: stamps of one band by population, and what is true of them."""

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
def _generator(weights: str, device: str) -> GalaxyGenerator:
    return GalaxyGenerator(weights, device)


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
        (n, angles, signs, 2) and ``/ok`` (n,), where n counts galaxies, or scenes. In e and r of a
        scene all its detections are added up; ``/count`` (n,) is their mean number.
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
    generator = _generator(config.weights, config.device)
    if weights_sha256 not in (None, generator.sha256):
        raise galsim.GalSimValueError(
            "The weights of this worker are others than those of the run; their sha256",
            generator.sha256,
            [weights_sha256],
        )
    clock, seen = _Clock(), config.observation()
    n = min(config.chunk, config.galaxies - number * config.chunk)
    # A sum depends on how threads share it out. It is not put back: a worker of a cluster may have
    # several chunks in hand.
    torch.set_num_threads(1)
    make = _isolated if config.layout == "isolated" else _blended
    return make(config, seen, number, n, clock), dict(clock.seconds)


def _random(config: CalibrationConfig, number: int, *purpose: int) -> np.random.Generator:
    sequence = np.random.SeedSequence(config.seed, spawn_key=(number, *purpose))
    return np.random.Generator(np.random.SFC64(sequence))


def _make_galaxies(config, seen: Observation, number: int, n: int, clock: _Clock) -> _Galaxies:
    """Draw n galaxies from the population, and fit their twins."""
    for attempt in range(_ATTEMPTS):
        try:
            stamps = _decode(config, seen, (number, _GALAXIES, attempt), n, clock)
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


def _decode(config, seen: Observation, key: tuple[int, ...], n: int, clock: _Clock) -> Stamps:
    """n galaxies of the population through the survey's filter."""
    generator = _generator(config.weights, config.device)
    rng = galsim.BaseDeviate(int(_random(config, *key).integers(1, 2**31)))
    with clock("conditions"):
        table = _conditions(generator, config.max_magnitude, n, rng)
    with clock("decode"):
        return in_one_band(generator.sample(table, rng), seen.band)


def _conditions(generator, max_magnitude: float | None, n: int, rng) -> QTable:
    """n rows of the population that are bright enough, with ids that are all different."""
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


def draw(
    stamps: Stamps, seen: Observation, size: int, shear: NDArray, angle: float, place: NDArray,
    renderer: str = "batch", device: str = "cpu",
) -> NDArray:  # fmt: skip
    """Draw galaxies without noise: turned, sheared, moved, seen.

    Parameters
    ----------
    stamps : Stamps
        Of one band, as `galsim_vae.shear.twins.in_one_band` gives them.
    seen : Observation
    size : int
        Width of the images, pixels.
    shear, place : (n, 2)
        (g1, g2) of each, and where it comes to lie, arcsec from the pixel
        ``[size // 2, size // 2]``.
    angle : float
        Radians.
    renderer : {"batch", "galsim"}
        `galsim_vae.Stamps.render`, or GalSim's drawImage for each.

    Returns
    -------
    (n, size, size) float32
        nJy.
    """
    place = place + centre_shift(size) * seen.scale
    if renderer == "batch":
        return stamps.render(
            seen.psf, size, size, seen.scale, shear=shear, rotation=np.full(len(stamps), angle),
            shift=place, zeropoint=ZEROPOINT, device=device,
        )[:, 0]  # fmt: skip
    images = np.zeros((len(stamps), size, size), np.float32)
    for i, array in enumerate(images):
        galaxy = stamps.galaxy(i, REFERENCE, ZEROPOINT).rotate(angle * galsim.radians)
        galaxy = galaxy.shear(g1=shear[i, 0], g2=shear[i, 1]).shift(*place[i])
        image = galsim.Image(array, scale=seen.scale, copy=False)
        galsim.Convolve(galaxy, seen.psf).drawImage(image)
    return images


def _shears(config: CalibrationConfig, sign: float, redshift: NDArray) -> NDArray:
    """The shear of each galaxy, (n, 2)."""
    low, high = config.redshift or (0.0, np.inf)
    inside = (redshift >= low) & (redshift < high)
    return np.where(inside[:, None], sign * np.array(config.shear), 0.0)


def _moved(place: NDArray, angle: float, shear: NDArray) -> NDArray:
    """Positions turned and sheared about the origin like the galaxies at them, (n, 2)."""
    cos, sin = np.cos(angle), np.sin(angle)
    turned = place @ np.array([[cos, sin], [-sin, cos]])
    g1, g2 = shear.T
    x = (1 + g1) * turned[:, 0] + g2 * turned[:, 1]
    y = g2 * turned[:, 0] + (1 - g1) * turned[:, 1]
    return np.stack([x, y], axis=1) / np.sqrt(1 - g1**2 - g2**2)[:, None]


def _noises(config, seen: Observation, number: int, angle: int, shape) -> tuple[NDArray, NDArray]:
    """Noise of the images, and of the estimators that add some: the same for both signs."""
    rng = _random(config, number, _NOISE, angle)
    made = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    first, second = (np.float32(seen.noise) * one for one in made)
    return first, second


def _isolated(config, seen: Observation, number: int, n: int, clock: _Clock) -> dict[str, NDArray]:
    galaxies = _make_galaxies(config, seen, number, n, clock)
    truth, size = galaxies.truth, config.stamp_size
    # Anywhere in the middle pixel, so that pixels have no part in m.
    places = seen.scale * _random(config, number, _PLACES).uniform(-0.5, 0.5, (n, 2))
    estimators = {name: make_estimator(name, seen, size) for name in config.estimators}
    shape = (n, len(config.angles), len(SIGNS), 2)
    pairs = [(population, name) for population in galaxies.stamps for name in estimators]
    out = {f"{p}/{name}/{key}": np.zeros(shape) for p, name in pairs for key in "er"}
    out |= {f"{p}/{name}/ok": galaxies.good.copy() for p, name in pairs}
    for a, angle in enumerate(config.angles):
        with clock("noise"):
            noise, renoise = _noises(config, seen, number, a, (n, size, size))
        for s, sign in enumerate(SIGNS):
            shear = _shears(config, sign, truth["redshift"])
            place = _moved(places, angle, shear)
            for population, stamps in galaxies.stamps.items():
                with clock("draw"):
                    images = draw(
                        stamps, seen, size, shear, angle, place, config.renderer, config.device
                    )
                if "snr" not in truth:
                    square = np.einsum("nyx,nyx->n", images, images, dtype=np.float64)
                    truth["snr"] = np.sqrt(square) / seen.noise
                images += noise
                for name, estimator in estimators.items():
                    with clock(f"measure {name}"):
                        found = estimator.stamps(images, renoise)
                    key = f"{population}/{name}"
                    out[f"{key}/e"][:, a, s], out[f"{key}/r"][:, a, s] = found.e, found.r
                    out[f"{key}/ok"] &= found.ok
    return out | {f"truth/{name}": values for name, values in truth.items()}


def _blended(config, seen: Observation, number: int, n: int, clock: _Clock) -> dict[str, NDArray]:
    places, scene = _places(config, seen, number, n)
    galaxies = _make_galaxies(config, seen, number, len(places), clock)
    size, width = config.stamp_size, config.scene_size
    estimators = {name: make_estimator(name, seen, size) for name in config.estimators}
    shape = (n, len(config.angles), len(SIGNS), 2)
    pairs = [(population, name) for population in galaxies.stamps for name in estimators]
    out = {f"{p}/{name}/{key}": np.zeros(shape) for p, name in pairs for key in "er"}
    out |= {f"{p}/{name}/ok": np.ones(n, bool) for p, name in pairs}
    out |= {f"{p}/{name}/count": np.zeros(n) for p, name in pairs}
    for a, angle in enumerate(config.angles):
        with clock("noise"):
            noise, renoise = _noises(config, seen, number, a, (n, width, width))
        for s, sign in enumerate(SIGNS):
            shear = _shears(config, sign, galaxies.truth["redshift"])
            place = _moved(places, angle, shear) / seen.scale
            pixel = np.rint(place).astype(int)
            for population, stamps in galaxies.stamps.items():
                with clock("draw"):
                    images = draw(
                        stamps, seen, size, shear, angle, (place - pixel) * seen.scale,
                        config.renderer, config.device,
                    )  # fmt: skip
                    fields = _compose(images, scene, pixel, n, width)
                fields += noise
                for i in range(n):
                    with clock("detect"):
                        peaks = detect(fields[i], renoise[i], seen, size)
                    for name, estimator in estimators.items():
                        with clock(f"measure {name}"):
                            found = estimator.scene(fields[i], renoise[i], peaks)
                        key = f"{population}/{name}"
                        out[f"{key}/e"][i, a, s] = found.e.sum(axis=0)
                        out[f"{key}/r"][i, a, s] = found.r.sum(axis=0)
                        out[f"{key}/count"][i] += found.ok.sum() / (len(config.angles) * 2)
    return out


def _places(config, seen: Observation, number: int, n: int) -> tuple[NDArray, NDArray]:
    """Positions of galaxies in scenes, arcsec from the middle, (m, 2), and their scene, (m,).

    They lie in a disc, which has no direction, and all its light and detections are in the image:
    no galaxy moves in or out with the shear.
    """
    rng = _random(config, number, _PLACES)
    radius = 0.5 * seen.scale * (config.scene_size - 1.5 * config.stamp_size)
    density = config.density
    if density is None:
        density = 46 * 10 ** (0.31 * ((config.max_magnitude or 26.5) - 25))
    count = np.maximum(rng.poisson(density * np.pi * radius**2 / 3600, n), 1)
    m = int(count.sum())
    distance, angle = radius * np.sqrt(rng.uniform(size=m)), rng.uniform(0, 2 * np.pi, m)
    places = np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)
    return places, np.repeat(np.arange(n), count)


def _compose(images: NDArray, scene: NDArray, pixel: NDArray, n: int, width: int) -> NDArray:
    """Add stamps to scenes, (n, width, width); ``pixel`` (m, 2) from the middle pixel."""
    size = images.shape[-1]
    pad = size // 2 + 1
    fields = np.zeros((n, width + 2 * pad, width + 2 * pad), np.float32)
    corner = pixel + width // 2 + pad - size // 2
    for image, i, (x, y) in zip(images, scene, corner, strict=True):
        fields[i, y : y + size, x : x + size] += image
    return fields[:, pad:-pad, pad:-pad].copy()
