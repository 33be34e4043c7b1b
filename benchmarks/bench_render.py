"""The batched renderer next to GalSim, side by side: python -m benchmarks.bench_render

Every method draws the same galaxies, sheared, shifted and convolved with the same PSF. One process
a core runs all methods in turn, round after round, so that whatever else the machine does falls on
all of them alike; the table gives medians over the rounds, and how far they scatter. Times are
those of the processor, all threads together: on an idle machine, the time that passes. Peak memory
is that of a process that runs one method alone, its libraries (torch too) and the stamps included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import astropy.io.fits
import galsim
import numpy as np

import galsim_vae
from benchmarks.scenes import SCENES, Scene, moves, population, processor

GALSIM_COUNT = 12  # galaxies a round and method; the batched renderer draws all
COSMOS_SCALE = 0.03


def place(galaxy: galsim.GSObject, i: int, move: dict, scene: Scene) -> galsim.Image:
    g1, g2 = move["shear"][i]
    galaxy = galaxy.rotate(move["rotation"][i] * galsim.radians).shear(g1=g1, g2=g2)
    final = galsim.Convolve(galaxy.shift(*move["shift"][i]), scene.psf)
    return final.drawImage(nx=scene.size, ny=scene.size, scale=scene.scale)


def methods(scene: Scene, stamps, move: dict, catalog) -> dict[str, Callable[[], int]]:
    """What is compared: each draws galaxies and returns how many."""
    weights = stamps.weights(scene.band, scene.zeropoint)
    arrays = np.einsum("nb,nbyx->nyx", weights[:GALSIM_COUNT], stamps.array[:GALSIM_COUNT])

    def plain(i):
        jacobian = galsim.JacobianWCS(*stamps.jacobian[i].ravel())
        offset = galsim.PositionD(*stamps.offset[i])
        return galsim.InterpolatedImage(galsim.Image(arrays[i], wcs=jacobian), offset=offset)

    def ours(i):
        return galsim_vae.VAEGalaxy(arrays[i], stamps.jacobian[i], stamps.offset[i])

    def from_stamps(i):
        return stamps.galaxy(i, scene.band, scene.zeropoint)

    def real(i):
        return galsim.RealGalaxy(catalog, index=i % catalog.nobjects, flux=1.0)

    def one_by_one(build):
        def run():
            for i in range(GALSIM_COUNT):
                place(build(i), i, move, scene)
            return GALSIM_COUNT

        return run

    def batch(**kwargs):
        def run():
            stamps.render(
                scene.psf, scene.size, scene.size, scene.scale, bands=scene.band,
                zeropoint=scene.zeropoint, device="cpu", **move, **kwargs,
            )  # fmt: skip
            return len(stamps)

        return run

    return {
        "InterpolatedImage": one_by_one(plain),
        "VAEGalaxy": one_by_one(ours),
        "Stamps.galaxy": one_by_one(from_stamps),
        "RealGalaxy": one_by_one(real),
        "render, float32": batch(),
        "render, float64": batch(dtype="float64"),
        "render, Gaussian noise": batch(noise=galsim.GaussianNoise(sigma=1.0), seed=1),
        "render, Poisson noise": batch(noise=galsim.PoissonNoise(sky_level=1000.0), seed=1),
    }


def real_galaxies(folder: Path, stamps) -> galsim.RealGalaxyCatalog:
    """Build a small catalogue in COSMOS's format: the stamps as HST would have seen them."""
    n = 10
    psf = galsim.Airy(lam=800, diam=2.4, obscuration=0.33)
    for name, images in (
        ("galaxies", [galsim.Convolve(stamps.galaxy(i), psf).drawImage(
            nx=160, ny=160, scale=COSMOS_SCALE) for i in range(n)]),
        ("psfs", [psf.drawImage(nx=65, ny=65, scale=COSMOS_SCALE)] * n),
    ):  # fmt: skip
        galsim.fits.writeMulti(images, str(folder / f"{name}.fits"))
    column = astropy.io.fits.Column
    names = {"GAL_FILENAME": "galaxies.fits", "PSF_FILENAME": "psfs.fits"}
    numbers = {"MAG": 22.0, "WEIGHT": 1.0, "PIXEL_SCALE": COSMOS_SCALE, "NOISE_MEAN": 0.0,
               "NOISE_VARIANCE": 1e-6, "RA": 150.0, "DEC": 2.0, "stamp_flux": 1.0}  # fmt: skip
    columns = [column(key, "20A", array=[value] * n) for key, value in names.items()]
    columns += [column("BAND", "5A", array=["F814W"] * n)]
    columns += [column(key, "D", array=[value] * n) for key, value in numbers.items()]
    columns += [column(key, "J", array=np.arange(n)) for key in ("IDENT", "GAL_HDU", "PSF_HDU")]
    table = astropy.io.fits.BinTableHDU.from_columns(columns)
    table.writeto(folder / "catalog.fits")
    return galsim.RealGalaxyCatalog("catalog.fits", dir=str(folder), preload=True)


def one_core(core: int, path: Path, move, rounds: int, names: list[str] | None):
    """Run all methods in turn on one core; (scene, method, round) -> seconds a galaxy."""
    import torch

    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    with path.open("rb") as file:
        stamps = pickle.load(file)
    times = []
    with tempfile.TemporaryDirectory() as folder:
        catalog = real_galaxies(Path(folder), stamps)
        for scene_name, scene in SCENES.items():
            table = methods(scene, stamps, move, catalog)
            for name in names or table:
                table[name]()
            for _ in range(rounds):
                for name in names or table:
                    start = time.process_time()
                    count = table[name]()
                    times.append((scene_name, name, (time.process_time() - start) / count))
    return times, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(cores, stamps, move, rounds, names=None):
    """Times and peak memory [MiB] of a process on each of some cores."""
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(len(cores), mp_context=context) as pool,
    ):
        # By way of a file: to send the stamps would take several times their memory.
        path = Path(folder) / "stamps"
        path.write_bytes(pickle.dumps(stamps))
        jobs = [pool.submit(one_core, core, path, move, rounds, names) for core in cores]
        answers = [job.result() for job in jobs]
    return [time for times, _ in answers for time in times], max(peak for _, peak in answers)


def report(times, memory: dict[str, float], cores: int) -> None:
    for scene in SCENES:
        table: dict[str, list[float]] = {}
        for where, name, seconds in times:
            if where == scene:
                table.setdefault(name, []).append(seconds)
        plain = np.array(table["InterpolatedImage"])
        print(f"\n{scene}: {SCENES[scene].size} x {SCENES[scene].size} pixels, {cores} processes\n")
        print("| method | ms a galaxy | galaxies/s | InterpolatedImage / it (16th to 84th) | MiB |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for name, seconds in table.items():
            ratio = plain / seconds  # of the same round
            low, middle, high = np.percentile(ratio, [16, 50, 84])
            median = np.median(seconds)
            print(f"| {name} | {1e3 * median:.3f} | {cores / median:.0f} "
                  f"| {middle:.2f} ({low:.2f} to {high:.2f}) | {memory[name]:.0f} |")  # fmt: skip


def linear(stamps, largest: int) -> None:
    """Time against the number of galaxies: the same ones again and again, drawn in one call."""
    import torch

    torch.set_num_threads(1)
    scene = SCENES["LSST"]
    print("\n| galaxies in one call | ms a galaxy, LSST, one core |\n| ---: | ---: |")
    count = 10
    while count <= largest:
        many = stamps[np.arange(count) % len(stamps)]
        start = time.process_time()
        many.render(scene.psf, scene.size, scene.size, scene.scale, device="cpu", **moves(count))
        print(f"| {count} | {1e3 * (time.process_time() - start) / count:.3f} |", flush=True)
        count *= 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--largest", type=int, default=10_000, help="of the test of linearity")
    arguments = parser.parse_args()
    stamps = population(arguments.galaxies)
    move = moves(arguments.galaxies)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    print(f"{len(cores)} cores of {processor()}; load {os.getloadavg()[0]:.1f} before")
    times, _ = run(cores, stamps, move, arguments.rounds)
    memory = {}
    for name in dict.fromkeys(name for _, name, _ in times):
        memory[name] = run(cores[:1], stamps, move, 1, [name])[1]
    report(times, memory, len(cores))
    linear(stamps, arguments.largest)


if __name__ == "__main__":
    main()
