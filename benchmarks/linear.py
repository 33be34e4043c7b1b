"""Cost of the renderer against the number of galaxies: python -m benchmarks.linear

Many galaxies are drawn on one core in calls of a thousand, and each call's images are used (their
sum is taken) and dropped, as a simulation would. The galaxies are always the same ones, turned,
sheared and shifted anew. Times are those of the processor.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from benchmarks.scenes import SCENES, moves, population, processor

# Small images of small galaxies [pixels, arcsec], so that a million take minutes.
SIZE, LARGEST_RADIUS = 16, 0.2
REPEATS = {1: 7, 10: 7, 100: 7, 1000: 5, 3000: 3, 10_000: 3}


def draw(stamps, count: int, call: int) -> float:
    """Draw ``count`` galaxies, ``call`` at a time; seconds a galaxy."""
    scene = SCENES["LSST"]
    total = 0.0
    start = time.process_time()
    for first in range(0, count, call):
        some = stamps[np.arange(first, min(first + call, count)) % len(stamps)]
        move = moves(len(some), seed=first)
        images = some.render(scene.psf, SIZE, SIZE, scene.scale, device="cpu", **move)
        total += float(images.sum(dtype=np.float64))
    elapsed = (time.process_time() - start) / count
    if not np.isfinite(total):
        raise RuntimeError("an image is not finite")
    return elapsed


def memory() -> float:
    """Largest memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def row(stamps, count: int, call: int) -> None:
    times = [1e3 * draw(stamps, count, call) for _ in range(REPEATS.get(count, 1))]
    scatter = f"{np.median(times):.3f} ({min(times):.3f} to {max(times):.3f})"
    print(f"| {count} | {min(call, count)} | {scatter} | {memory():.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--call", type=int, default=1000, help="galaxies a call")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    stamps = population(2000)
    stamps = stamps[stamps.table["half_light_radius"].value < LARGEST_RADIUS]
    draw(stamps, 1000, 1000)  # samples the PSF
    print(f"LSST, {SIZE} x {SIZE} pixels, radii below {LARGEST_RADIUS} arcsec, float32")
    print(f"One core of {processor()}; {memory():.0f} MiB with libraries, network and stamps\n")
    print("| galaxies | in calls of | ms a galaxy: median (range) | peak memory, MiB |")
    print("| ---: | ---: | ---: | ---: |")
    for call in (1, 10, 100, 1000, 3000):
        row(stamps, call, call)
    count = 10_000
    while count <= arguments.largest:
        row(stamps, count, arguments.call)
        count *= 10


if __name__ == "__main__":
    main()
