"""Two ways to draw the galaxies of blends, side by side: python -m benchmarks.blend_drawing

`galsim_vae.blending.camera.Camera` draws one galaxy after the other, `galsim_vae.render.render` all
galaxies of some blends in one call. Each draws the same galaxies at the same places through the
middle filter of each survey of BlendingToolKit. Times are those of the processor, on one thread;
with PSFs that were sampled before. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from btk.survey import get_surveys

from benchmarks.scenes import population, processor
from galsim_vae.blending.camera import Camera
from galsim_vae.conditions import Conditions
from galsim_vae.filters import find_filter
from galsim_vae.render import render
from galsim_vae.stamps import Stamps

SURVEYS = ("LSST", "Euclid_VIS", "HSC", "DES", "CFHTLS", "Roman_WFI", "COSMOS")
STAMP_SIZES = (24.0, 12.0)  # arcsec: BTK's default, and the demo's
FAINTEST = 25.3
SHIFT = 0.1  # of the stamp's size: BTK's DefaultSampling


class OneBand:
    """Galaxies in one filter, of unit flux: what `render` needs."""

    def __init__(self, stamps: Stamps, images: np.ndarray, rows: np.ndarray):
        self.array = images[rows][:, None]
        self.conditions: Conditions = stamps.conditions[rows]
        self.jacobian, self.offset = stamps.jacobian[rows], stamps.offset[rows]

    def weights(self, band, zeropoint) -> np.ndarray:
        return np.ones((len(self.array), 1))


def ways(
    stamps: Stamps, name: str, stamp_size: float
) -> tuple[str, int, dict[str, Callable[[np.ndarray], np.ndarray]]]:
    """Return the filter, the width of an image, and two functions of rows that draw."""
    survey = get_surveys(name)
    scale = survey.pixel_scale.to_value("arcsec")
    size = int(stamp_size / scale)
    filters = survey.available_filters
    filt = survey.get_filter(filters[len(filters) // 2])
    images = np.stack([stamps.image(i, find_filter(name, filt.name)) for i in range(len(stamps))])
    images /= images.sum(axis=(1, 2), keepdims=True)
    reach = SHIFT * stamp_size
    position = np.random.default_rng(1).uniform(-reach, reach, (len(stamps), 2))
    camera = Camera(filt.psf, scale, size)

    def one_by_one(rows: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                camera.draw(images[i], stamps.jacobian[i], stamps.offset[i], *position[i])
                for i in rows
            ]
        )

    def together(rows: np.ndarray) -> np.ndarray:
        galaxies = OneBand(stamps, images, rows)
        drawn = render(galaxies, filt.psf, size, size, scale, shift=position[rows], device="cpu")
        return drawn[:, 0].numpy()

    return filt.name, size, {"Camera": one_by_one, "render": together}


def milliseconds(draw: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, number: int) -> float:
    """Time a galaxy, in calls of a number of galaxies."""
    start = time.process_time()
    for first in range(0, len(rows), number):
        draw(rows[first : first + number])
    return 1e3 * (time.process_time() - start) / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    numbers = (2, 4, 8, 16, arguments.galaxies)
    everybody = population(4 * arguments.galaxies)
    bright = everybody.conditions.values[:, 0] < FAINTEST
    stamps = everybody[bright][: arguments.galaxies]
    rows = np.arange(len(stamps))
    print(f"{processor()}; {len(rows)} galaxies; ms a galaxy, Camera / render, in calls of\n")
    print(f"| survey | pixels | {' | '.join(map(str, numbers))} | largest difference |")
    print("| --- | ---: |" + " ---: |" * (len(numbers) + 1))
    for stamp_size in STAMP_SIZES:
        for name in SURVEYS:
            filt, size, draw = ways(stamps, name, stamp_size)
            first, second = (way(rows) for way in draw.values())  # and the PSFs are sampled
            apart = np.abs(first - second).max(axis=(1, 2)) / first.max(axis=(1, 2))
            cells = []
            for number in numbers:
                times = [
                    [milliseconds(way, rows, number) for way in draw.values()]
                    for _ in range(arguments.rounds)
                ]
                cells.append(" / ".join(f"{t:.2f}" for t in np.min(times, axis=0)))
            print(f"| {name} {filt} | {size} | {' | '.join(cells)} | {apart.max():.0e} |",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
