"""Made-up pictures of three kinds: round ones, edge-on ones and ones with two arms."""

import numpy as np
from PIL import Image

KINDS = ("round", "edge_on", "spiral")


def pictures(n, side=64, seed=1):
    """Pixels (n, side, side, 3) uint8 and the kind of each, its number in KINDS."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % len(KINDS)
    made = np.stack([_picture(KINDS[k], side, rng) for k in kind])
    return made, kind


def _picture(kind, side, rng):
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) * (64 / side)
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    scale = rng.uniform(5, 8)
    if kind == "edge_on":
        light = np.exp(-np.hypot(u, 5 * v) / scale)
    else:
        r = np.hypot(u, v)
        light = np.exp(-r / scale)
        if kind == "spiral":
            light = light * (1 + 0.9 * np.cos(2 * np.arctan2(v, u) - 0.35 * r)) + 0.3 * light
    colour = np.array([1.0, 0.9, 0.7]) + rng.normal(0, 0.05, 3)
    sky = 12 + 3 * rng.normal(size=(side, side, 3))
    return np.clip(sky + 200 * light[..., None] * colour, 0, 255).astype(np.uint8)


def folder(path, n, side=64):
    """Write n pictures as PNG files, g000.png and so on; returns their kinds."""
    path.mkdir()
    made, kind = pictures(n, side)
    for k, array in enumerate(made):
        Image.fromarray(array).save(path / f"g{k:03d}.png")
    return kind
