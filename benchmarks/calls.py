"""Cost of the renderer by galaxies a call and by what is asked of it: python -m benchmarks.calls

The same galaxies are drawn in each way, one call after the other on one thread, and the ways run in
turns, so that whatever else the machine does falls on all of them alike. Times are those of the
processor. "Shears of the population" has its shapes in the map to the sky, as stamps have them;
pixels are as long on the sky as galaxies are flat.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

import galsim
import numpy as np
import torch

from benchmarks.scenes import SCENES, Scene, moves, population, processor
from galsim_vae import Stamps
from galsim_vae.frame.frames import DEFAULT
from galsim_vae.geometry import rotation_matrix, shear_matrix
from galsim_vae.render import render

CALLS = (1, 10, 100, 400)
# Galaxies that a way draws in a round, by galaxies a call: what takes a quarter of a second.
DRAWN = {1: 20, 10: 60, 100: 200, 400: 400}
PLAIN = "no shear in the map"
SKEW = np.array([[0.95, 0.1], [-0.05, 1.05]])


def ways(scene: Scene, stamps: Stamps) -> dict[str, tuple[Stamps, dict[str, Any]]]:
    """Each way's galaxies, and what `render` is asked for."""
    g = stamps.conditions.values[:, 2]
    turned = rotation_matrix(stamps.conditions.angle) * stamps.pixel_scale[:, None, None]
    round_, flat = (
        dataclasses.replace(stamps, jacobian=turned @ shear_matrix(shear, np.zeros(len(stamps))))
        for shear in (np.zeros(len(stamps)), DEFAULT.shear(g))
    )
    white = galsim.UncorrelatedNoise(1.0, wcs=galsim.PixelScale(scene.scale))
    return {
        PLAIN: (round_, {}),
        "shears of the population": (flat, {}),
        "skew pixels": (round_, {"wcs": galsim.JacobianWCS(*(scene.scale * SKEW).ravel())}),
        "Gaussian noise": (round_, {"noise": galsim.GaussianNoise(sigma=1.0), "seed": 1}),
        "CCD noise": (
            round_, {"noise": galsim.CCDNoise(sky_level=1e3, gain=2.0, read_noise=5.0), "seed": 1},
        ),
        "correlated noise": (
            round_, {"noise": white.convolvedWith(galsim.Gaussian(fwhm=0.3)), "seed": 1},
        ),
        "gradients: forward and backward": (round_, {"differentiable": True}),
    }  # fmt: skip


def runner(
    scene: Scene, stamps: Stamps, settings: dict[str, Any], call: int
) -> Callable[[], int]:
    """A function that draws some galaxies, ``call`` at a time, and returns how many."""
    move = moves(len(stamps))
    total = min(DRAWN[call], len(stamps))
    settings = {"scale": None if "wcs" in settings else scene.scale, "device": "cpu", **settings}

    def run() -> int:
        for start in range(0, total, call):
            rows = slice(start, start + call)
            moved: dict[str, Any] = {name: value[rows] for name, value in move.items()}
            if settings.get("differentiable"):
                moved["shear"] = torch.tensor(moved["shear"], requires_grad=True)
            images = render(stamps[rows], scene.psf, scene.size, scene.size, **settings, **moved)
            if images.requires_grad:
                images.square().sum().backward()
        return total

    return run


def measure(scene: Scene, stamps: Stamps, rounds: int) -> None:
    """Print the table of one scene: ms a galaxy, and how many times the plain way's."""
    table = {
        name: [runner(scene, some, settings, call) for call in CALLS]
        for name, (some, settings) in ways(scene, stamps).items()
    }
    times = {name: np.zeros((rounds + 1, len(CALLS))) for name in table}
    for k in range(rounds + 1):  # the first samples the PSF
        for column in range(len(CALLS)):
            for name, runs in table.items():
                start = time.process_time()
                count = runs[column]()
                times[name][k, column] = 1e3 * (time.process_time() - start) / count
    print("| | " + " | ".join(f"calls of {call}" for call in CALLS) + " |")
    print("| --- |" + " ---: |" * len(CALLS))
    for name, values in times.items():
        ratio = np.median(values[1:] / times[PLAIN][1:], axis=0)
        cells = zip(np.median(values[1:], axis=0), ratio, strict=True)
        print(f"| {name} | " + " | ".join(f"{ms:.2f} ({times:.2f})" for ms, times in cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scene", choices=list(SCENES), default="LSST")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    stamps, scene = population(max(CALLS)), SCENES[arguments.scene]
    print(f"{processor()}, one thread; load {os.getloadavg()[0]:.1f}; {arguments.rounds} rounds")
    print(f"{arguments.scene}, {scene.size} x {scene.size} pixels, float32: ms a galaxy (ratio)\n")
    measure(scene, stamps, arguments.rounds)


if __name__ == "__main__":
    main()
