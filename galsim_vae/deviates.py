"""Random numbers that belong to a galaxy: a function of (seed, id) alone."""

import numbers

import galsim
import numpy as np
from numpy.typing import NDArray

__all__ = ["checked_noise_seed", "checked_seed", "draw_seed", "galaxy_uniforms", "normal"]

_MAX_SEED, _MAX_NOISE_SEED = 2**32 - 1, 2**64 - 1


def checked_seed(seed: int) -> int:
    """Refuse what GalSim would not take as a seed of its own right.

    Its deviates are seeded from the time by 0, take no notice of a text, and have 32 bits: a larger
    number is the same as a smaller one.

    Raises
    ------
    galsim.GalSimValueError
        It is not a whole number.
    galsim.GalSimRangeError
        It is not in 1 to 2^32 - 1.
    """
    why = "GalSim draws a seed of its own for 0; seed must be a positive number of 32 bits"
    return _checked("seed", seed, 1, _MAX_SEED, why)


def checked_noise_seed(seed: int) -> int:
    """Refuse what no pixel's noise is a function of: it needs a whole number of 64 bits.

    Raises
    ------
    galsim.GalSimValueError
        It is not a whole number.
    galsim.GalSimRangeError
        It is not in 0 to 2^64 - 1.
    """
    name = "The seed of noise"
    return _checked(name, seed, 0, _MAX_NOISE_SEED, f"{name} is out of range")


def _checked(name: str, seed: int, low: int, high: int, why: str) -> int:
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise galsim.GalSimValueError(f"{name} must be a whole number from {low} to {high}", seed)
    if not low <= seed <= high:
        raise galsim.GalSimRangeError(why, int(seed), low, high)
    return int(seed)


def draw_seed(rng: galsim.BaseDeviate) -> int:
    """Take a 64-bit seed from a deviate, always with two of its draws.

    Raises
    ------
    galsim.GalSimValueError
        ``rng`` is no deviate.
    """
    if not isinstance(rng, galsim.BaseDeviate):
        raise galsim.GalSimValueError(
            "rng must be a galsim.BaseDeviate, such as galsim.BaseDeviate(1234)", rng
        )
    return (rng.raw() << 32) | rng.raw()


def galaxy_uniforms(
    seed: int | NDArray, ids: NDArray, count: int, attempt: int = 0
) -> NDArray:
    """Draw uniform deviates for each galaxy, whatever other galaxies are asked for.

    Philox is a counter-based generator (Salmon et al. 2011, SC '11): the galaxy's id is part of
    the counter, so that its numbers need no state of others, and NumPy keeps the bit stream of
    its bit generators fixed between versions.

    Parameters
    ----------
    seed : int, or ndarray (n,) uint64
        64-bit seed of the set, or one a galaxy.
    ids : ndarray (n,) int64
        One a galaxy.
    count : int
        Numbers a galaxy.
    attempt : int
        Number of an independent stream of the same galaxy.

    Returns
    -------
    ndarray (n, count) float64
        In the open interval (0, 1).
    """
    seeds = np.broadcast_to(np.asarray(seed, dtype=np.uint64), len(ids))
    numbers = np.asarray(ids, dtype=np.int64).astype(np.uint64)
    raw = np.empty((len(ids), count), dtype=np.uint64)
    for row, (own, number) in enumerate(zip(seeds, numbers, strict=True)):
        key = np.array([own, attempt], dtype=np.uint64)
        counter = np.array([0, 0, number, 0], dtype=np.uint64)
        raw[row] = np.random.Philox(counter=counter, key=key).random_raw(count)
    return ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def normal(uniforms: NDArray) -> NDArray:
    """Turn uniform deviates into standard normal ones by the inverse distribution function."""
    from scipy.special import ndtri  # here, as importing it takes 0.1 s

    return ndtri(uniforms)
