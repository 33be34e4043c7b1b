"""Noise of pixels, on any device: a function of (seed, galaxy, stream, pixel) alone.

The generator is Philox4x32-10 (Salmon et al. 2011, SC '11): counter-based, so that no pixel waits
for another, and made of integers, so that every device draws the same numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["normal_deviates", "philox", "poisson"]

_WORD = 0xFFFFFFFF
_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)

# Below this mean the Poisson distribution is inverted term by term; no deviate needs more terms.
_SMALL_MEAN = 10.0
_TERMS = 48


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: int) -> tuple[Tensor, ...]:
    """Four words of 32 bits for each counter of four words, all in int64, from a 64-bit key."""
    a, b, c, d = counter
    keys = [key & _WORD, key >> 32 & _WORD]
    for _ in range(_ROUNDS):
        # The product is right modulo 2^64: as an int64 it may be negative, but has these bits.
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = (
            (second >> 32 & _WORD) ^ b ^ keys[0],
            second & _WORD,
            (first >> 32 & _WORD) ^ d ^ keys[1],
            first & _WORD,
        )
        keys = [(word + weyl) & _WORD for word, weyl in zip(keys, _WEYL, strict=True)]
    return a, b, c, d


def normal_deviates(seed: int, ids: Tensor, stream: int, count: int) -> Tensor:
    """Draw standard normal deviates for each galaxy, whatever other galaxies are asked for.

    Parameters
    ----------
    seed : int
        64-bit seed of the set.
    ids : tensor (n,) int64
        One a galaxy, on the device to be used.
    stream : int
        32-bit number of an independent stream of the same galaxies.
    count : int
        Deviates a galaxy.

    Returns
    -------
    tensor (n, count) float32
        By Box and Muller's method; none is beyond 6.8.
    """
    block = torch.arange(-(-count // 4), device=ids.device).expand(len(ids), -1)
    name = ids[:, None].expand_as(block)
    counter = (block, torch.full_like(block, stream & _WORD), name & _WORD, name >> 32 & _WORD)
    words = torch.stack(philox(counter, seed), dim=-1)
    uniform = (words.to(torch.float32) + 0.5) * 2.0**-32
    radius = (-2 * uniform[..., :2].clamp_(max=1).log_()).sqrt_()
    angle = 2 * math.pi * uniform[..., 2:]
    pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    return pairs.flatten(1)[:, :count]


def poisson(mean: Tensor, normal: Tensor) -> Tensor:
    """Turn standard normal deviates into Poisson ones of given means, float64.

    From the mean 10 upwards, Giles's asymptotic inverse (2016, ACM Trans. Math. Softw. 42, 7,
    Algorithm 955, Q_N2): one in 10^4 deviates or fewer is off by one. Below it, exact. A mean that
    is not positive is returned as it is, GalSim's habit.
    """
    mean, w = mean.to(torch.float64), normal.to(torch.float64)
    root = mean.clamp(min=_SMALL_MEAN).sqrt()
    w2 = w * w
    out = (
        mean + root * w + (2 + w2) / 6 - w * (2 + w2) / (72 * root)
        + (-8 / 405 + w2 * (7 / 810 + w2 / 270)) / (root * root)
    ).floor_().clamp_(min=0)  # fmt: skip
    small = mean < _SMALL_MEAN
    if bool(small.any()):
        out[small] = _invert(mean[small], w[small])
    return out


def _invert(mean: Tensor, w: Tensor) -> Tensor:
    uniform = torch.special.ndtr(w)
    term = torch.exp(-mean)
    below, out = term.clone(), torch.zeros_like(mean)
    for k in range(1, _TERMS):
        out += uniform > below
        term *= mean / k
        below += term
    return torch.where(mean > 0, out, mean)
