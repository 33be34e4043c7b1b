"""Every figure of the renderer that needs a GPU, in one command: python -m benchmarks.gpu

Prints Markdown tables: galaxies a second with and without decoding, against batch size and against
number; the share of the bandwidth limit; peak memory; agreement with the CPU; the same pixels for
any split. ``--device cpu --largest 1000`` tries the script itself out where there is no GPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import galsim
import numpy as np
import torch

import galsim_vae
from benchmarks.scenes import SCENES, moves, population, processor
from galsim_vae import modelfile
from galsim_vae.render import render

REPEATS = 5
PIXEL_BYTES = 4


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Median time of a call, after one to warm up."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    times = []
    for _ in range(REPEATS + 1):
        wait()
        start = time.perf_counter()
        function()
        wait()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def bandwidth(device: torch.device) -> float:
    """Bytes a second of a copy in the device's memory, read and written."""
    size = 2**28 if device.type == "cuda" else 2**24
    a = torch.ones(size, device=device)
    b = torch.empty_like(a)
    return 2 * PIXEL_BYTES * size / seconds(lambda: b.copy_(a), device)


def peak(device: torch.device) -> str:
    if device.type != "cuda":
        return "-"
    return f"{torch.cuda.max_memory_allocated(device) / 2**20:.0f} MiB"


def throughput(stamps: galsim_vae.Stamps, device: torch.device, limit: float) -> None:
    """Rates of drawing, per scene and with noise, and the share of the bandwidth limit.

    The limit is that of reading each stamp and writing each image once.
    """
    n = len(stamps)
    move = moves(n)
    noises = {
        "none": None,
        "Gaussian": galsim.GaussianNoise(sigma=1.0),
        "Poisson": galsim.PoissonNoise(sky_level=1000.0),
    }
    print(f"\n{n} galaxies in one call, one band; images stay on the device\n")
    print("| scene | type | noise | galaxies/s | of the bandwidth limit | peak memory |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for name, scene in SCENES.items():
        for dtype in ("float32", "float64"):
            for kind, noise in noises.items():
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(device)
                elapsed = seconds(
                    lambda scene=scene, noise=noise, dtype=dtype: render(
                        stamps, scene.psf, scene.size, scene.size, scene.scale,
                        bands=scene.band, zeropoint=scene.zeropoint, noise=noise, seed=1,
                        device=str(device), dtype=dtype, **move,
                    ),
                    device,
                )  # fmt: skip
                moved = PIXEL_BYTES * (64**2 + scene.size**2 * (2 if dtype == "float64" else 1))
                share = n * moved / limit / elapsed
                print(f"| {name} | {dtype} | {kind} | {n / elapsed:.0f} | {share:.2%} "
                      f"| {peak(device)} |", flush=True)  # fmt: skip


def from_table(n: int, device: torch.device) -> None:
    """Rates from a table of conditions, and from latents, to images on the device."""
    generator = galsim_vae.GalaxyGenerator("candels", device=str(device))
    table = generator.sample_conditions(n, galsim.BaseDeviate(1))
    stamps = generator.sample(table, galsim.BaseDeviate(2))
    width = modelfile.read(generator.path).vae.config.latent
    latent = np.random.default_rng(1).standard_normal((n, width))
    scene = SCENES["LSST"]

    def draw(stamps):
        return render(
            stamps, scene.psf, scene.size, scene.size, scene.scale,
            bands=["F606W", "F814W", "F125W"], device=str(device), **moves(n),
        )  # fmt: skip

    steps = {
        "decode, 5 bands": lambda: generator.decode(latent),
        "draw, 3 bands": lambda: draw(stamps),
        "decode and draw, 3 bands": lambda: (generator.decode(latent), draw(stamps)),
        "conditions, flow, decode, exact, draw, 3 bands": lambda: draw(
            generator.sample(table, galsim.BaseDeviate(2))
        ),
    }
    print(f"\n{n} galaxies, LSST pixels, stamps by way of the host\n")
    print("| step | galaxies/s | galaxies/s/band |\n| --- | ---: | ---: |")
    for name, step in steps.items():
        rate = n / seconds(step, device)
        bands = 5 if name.startswith("decode, ") else 3
        print(f"| {name} | {rate:.0f} | {bands * rate:.0f} |", flush=True)


def linear(stamps: galsim_vae.Stamps, device: torch.device, largest: int) -> None:
    """Time against the number of galaxies, to the largest, in calls of at most 100,000."""
    scene = SCENES["LSST"]
    print("\n| galaxies, LSST | microseconds a galaxy |\n| ---: | ---: |")
    count = 1
    while count <= largest:
        call = min(count, 100_000)
        many = stamps[np.arange(call) % len(stamps)]

        def draw(many=many, calls=count // call):
            for _ in range(calls):
                render(many, scene.psf, 64, 64, scene.scale, device=str(device))

        print(f"| {count} | {1e6 * seconds(draw, device) / count:.2f} |", flush=True)
        count *= 10


def agreement(stamps: galsim_vae.Stamps, device: torch.device) -> None:
    """Largest difference from the CPU's float64, of the peak, and the same pixels for any split."""
    few = stamps[:200]
    order = np.random.default_rng(1).permutation(len(few))
    print("\n| scene | type | from the CPU's float64 | same pixels for any split |")
    print("| --- | --- | ---: | --- |")
    for name, scene in SCENES.items():

        def draw(part, where=device, dtype="float32", scene=scene):
            return render(
                part, scene.psf, 64, 64, scene.scale, device=str(where), dtype=dtype
            ).cpu()  # fmt: skip

        truth = draw(few, "cpu", "float64")
        for dtype in ("float64", "float32"):
            whole = draw(few, dtype=dtype)
            split = torch.empty_like(whole)
            for rows in np.array_split(order, 7):
                split[rows] = draw(few[rows], dtype=dtype)
            error = (whole - truth).abs().amax((1, 2, 3)) / truth.amax((1, 2, 3))
            same = "yes" if torch.equal(split, whole) else "NO"
            print(f"| {name} | {dtype} | {error.max():.1e} | {same} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--galaxies", type=int, default=20_000)
    parser.add_argument("--largest", type=int, default=1_000_000)
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch finds no GPU here (--device cpu tries the script out)")
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    limit = bandwidth(device)
    print(f"{name}, torch {torch.__version__}; a copy moves {limit / 1e9:.0f} GB/s")
    stamps = population(min(arguments.galaxies, 2000))
    many = stamps[np.arange(arguments.galaxies) % len(stamps)]
    agreement(stamps, device)
    throughput(many, device, limit)
    from_table(min(arguments.galaxies, arguments.largest), device)
    linear(stamps, device, arguments.largest)


if __name__ == "__main__":
    main()
