"""Every figure of the renderer that needs a GPU, in one command: python -m benchmarks.gpu

Prints Markdown tables: galaxies a second with and without decoding, against batch size and against
number; the share of the bandwidth limit; peak memory; agreement with the CPU; the same pixels for
any split, of calls and between several GPUs. Where there is no GPU it runs all the same, with few
galaxies, to its end: that tries the script out, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import galsim
import numpy as np
import torch

import galsim_vae
from benchmarks.scenes import SCENES, moves, population, processor
from galsim_vae.model import file as modelfile
from galsim_vae.model.batches import BATCH_SIZES
from galsim_vae.render.batch import render

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


def memory_peak(device: torch.device) -> str:
    """What the memory could move by its data sheet: two transfers a clock, of the bus's width."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        clock = getattr(properties, "memory_clock_rate", None)  # kHz; not in every torch
        if clock:
            return f"{2e3 * clock * properties.memory_bus_width / 8 / 1e9:.0f} GB/s"
    return "unknown"


def peak(device: torch.device) -> str:
    """Largest memory so far: of the device, or of this process."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**20:.0f} MiB"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB"


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


def decoder_batches(device: torch.device, largest: int) -> None:
    """Rates of the decoder against its batch size, which `galsim_vae.model.batches` fixes."""
    generator = galsim_vae.GalaxyGenerator("candels", device=str(device))
    model = modelfile.read(generator.path).vae
    decoder = model.decoder.to(device)
    latent = torch.randn(largest, model.config.latent, device=device)
    fixed = BATCH_SIZES[device.type].network
    print(f"\n| decoder's batch (fixed: {fixed}) | galaxies/s | peak memory |")
    print("| ---: | ---: | ---: |")
    size = 1
    while size <= largest:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with torch.inference_mode():
            rate = size / seconds(lambda size=size: decoder(latent[:size]), device)
        print(f"| {size} | {rate:.0f} | {peak(device)} |", flush=True)
        size *= 4


def decoder_agreement(device: torch.device) -> None:
    """Difference of decoded stamps from the CPU's, and the same stamps for any split."""
    here, there = (galsim_vae.GalaxyGenerator("candels", device=d) for d in ("cpu", str(device)))
    width = modelfile.read(here.path).vae.config.latent
    latent = np.random.default_rng(1).standard_normal((300, width))
    truth, whole = here.decode(latent), there.decode(latent)
    split = np.concatenate([there.decode(part) for part in np.array_split(latent, 7)])
    error = np.abs(whole - truth).max((1, 2, 3)) / truth.max((1, 2, 3))
    same = "yes" if np.array_equal(split, whole) else "NO"
    print(f"\nDecoder: {error.max():.1e} of the peak from the CPU's; same for any split: {same}")


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
    several = [f"cuda:{i}" for i in range(torch.cuda.device_count())] or [str(device)] * 2
    print(f"| scene | type | from the CPU's float64 | same for any split | same on {several} |")
    print("| --- | --- | ---: | --- | --- |")
    for name, scene in SCENES.items():

        def draw(part, where=device, dtype="float32", scene=scene):
            where = where if isinstance(where, list) else str(where)
            return render(part, scene.psf, 64, 64, scene.scale, device=where, dtype=dtype).cpu()

        truth = draw(few, "cpu", "float64")
        for dtype in ("float64", "float32"):
            whole = draw(few, dtype=dtype)
            split = torch.empty_like(whole)
            for rows in np.array_split(order, 7):
                split[rows] = draw(few[rows], dtype=dtype)
            error = (whole - truth).abs().amax((1, 2, 3)) / truth.amax((1, 2, 3))
            same, shared = (
                "yes" if torch.equal(other, whole) else "NO"
                for other in (split, draw(few, several, dtype))
            )
            print(f"| {name} | {dtype} | {error.max():.1e} | {same} | {shared} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--galaxies", type=int, help="a call (20,000; on a CPU 200)")
    parser.add_argument("--largest", type=int, help="of the test of linearity (1e6; on a CPU 1000)")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    count = arguments.galaxies or (20_000 if on_gpu else 200)
    if not on_gpu:
        print("NO GPU: this only tries the script out. None of these figures is that of a GPU.\n")
    name = torch.cuda.get_device_name(device) if on_gpu else processor()
    limit = bandwidth(device)
    print(f"{name}, torch {torch.__version__}; a copy moves {limit / 1e9:.0f} GB/s, "
          f"the memory's peak is {memory_peak(device)}\n")  # fmt: skip
    stamps = population(min(count, 2000))
    many = stamps[np.arange(count) % len(stamps)]
    agreement(stamps, device)
    decoder_agreement(device)
    throughput(many, device, limit)
    decoder_batches(device, 4096 if on_gpu else 16)
    from_table(count, device)
    linear(stamps, device, arguments.largest or (1_000_000 if on_gpu else 1000))


if __name__ == "__main__":
    main()
