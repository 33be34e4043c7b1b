"""What a galaxy costs, next to a Sersic profile: python -m benchmarks.costs

Every way draws galaxies of the same magnitudes, sizes and ellipticities on 64 x 64 pixels of 0.2"
through LSST i and the same Kolmogorov PSF of 0.7". Objects are made, convolved and drawn afresh for
each galaxy; what a set shares (the PSF, the weights, a catalogue's start) is not counted, except
that a row says "decoded" where the networks' work is in its time. All ways run in turn, round after
round, on one thread, so that whatever else the machine does falls on all of them alike. Times are
those of the processor; a ratio is that to the Sersic profile of the same round. Prints a Markdown
table.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import galsim
import numpy as np
import torch

import galsim_vae
from benchmarks.scenes import SCENES, processor
from galsim_vae import shapes
from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.devices import pinned_torch
from galsim_vae.model import file as modelfile

SCENE = SCENES["LSST"]
# The real galaxies that the tests use too, where somebody has put them beside the repository.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL_GALAXIES = DATA / "cosmos_f814w" / "real_galaxy_catalog.fits"
SERSIC = "`galsim.Sersic`, n = 1.5"
# Galaxies a round: of the ways that draw one after the other, and of those that decode first.
FEW, MANY = 20, 200
SEED = 1


def draw(galaxy: galsim.GSObject) -> None:
    final = galsim.Convolve(galaxy, SCENE.psf)
    final.drawImage(nx=SCENE.size, ny=SCENE.size, scale=SCENE.scale)


def one_by_one(build: Callable[[int], galsim.GSObject], count: int = FEW) -> Callable[[], int]:
    """Return a function that draws a number of galaxies, and tells how many."""

    def run() -> int:
        for i in range(count):
            draw(build(i))
        return count

    return run


def parametric(stamps: galsim_vae.Stamps) -> Iterator[tuple[str, Callable[[], int]]]:
    """GalSim's own profiles."""
    flux = stamps.weights(SCENE.band, SCENE.zeropoint)
    flux = np.einsum("nb,nb->n", flux, stamps.array.sum(axis=(2, 3)))
    table = stamps.table
    radius, g1, g2 = (np.asarray(table[name]) for name in ("half_light_radius", "g1", "g2"))

    def sersic(i: int) -> galsim.GSObject:
        profile = galsim.Sersic(1.5, half_light_radius=radius[i], flux=flux[i])
        return profile.shear(g1=g1[i], g2=g2[i])

    def exponential(i: int) -> galsim.GSObject:
        profile = galsim.Exponential(half_light_radius=radius[i], flux=flux[i])
        return profile.shear(g1=g1[i], g2=g2[i])

    def interpolated(i: int) -> galsim.GSObject:
        wcs = galsim.JacobianWCS(*stamps.jacobian[i].ravel())
        image = galsim.Image(stamps.array[i, 2], wcs=wcs)
        return galsim.InterpolatedImage(image, flux=flux[i])

    yield SERSIC, one_by_one(sersic)
    yield "`galsim.Exponential`", one_by_one(exponential)
    yield "`galsim.InterpolatedImage`, 64 x 64", one_by_one(interpolated)


def real(path: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """Real galaxies of a catalogue in COSMOS's format, if it is there."""
    if path.exists():
        catalog = galsim.RealGalaxyCatalog(path.name, dir=str(path.parent), preload=True)
        yield "`galsim.RealGalaxy`, COSMOS", one_by_one(
            lambda i: galsim.RealGalaxy(catalog, index=i % catalog.nobjects)
        )


def ours(
    generator: galsim_vae.GalaxyGenerator, stamps: galsim_vae.Stamps
) -> Iterator[tuple[str, Callable[[], int]]]:
    """The ways of this package in Python."""
    table = stamps.table
    columns = {name: np.asarray(table[name], dtype=float) for name in table.colnames}
    settings = {"bands": SCENE.band, "zeropoint": SCENE.zeropoint, "device": "cpu"}
    pixels = SCENE.psf, SCENE.size, SCENE.size, SCENE.scale

    def alone(i: int) -> galsim.GSObject:
        row = {name: float(column[i]) for name, column in columns.items()}
        return generator.galaxy(
            magnitude=row["magnitude"], half_light_radius=row["half_light_radius"],
            ellipticity=galsim.Shear(g1=row["g1"], g2=row["g2"]), redshift=row["redshift"],
            rng=galsim.BaseDeviate(SEED + i), band=SCENE.band, zeropoint=SCENE.zeropoint,
        )  # fmt: skip

    def from_stamps(i: int) -> galsim.GSObject:
        return stamps.galaxy(i, SCENE.band, SCENE.zeropoint)

    def decode_and_draw() -> int:
        some = generator.sample(table[:MANY], galsim.BaseDeviate(SEED))
        for i in range(MANY):
            draw(some.galaxy(i, SCENE.band, SCENE.zeropoint))
        return MANY

    def rendered(number: int) -> Callable[[], int]:
        repeats = max(1, FEW // number)

        def run() -> int:
            for i in range(repeats):
                stamps[i * number : (i + 1) * number].render(*pixels, **settings)
            return repeats * number

        return run

    def decode_and_render() -> int:
        generator.sample(table[:MANY], galsim.BaseDeviate(SEED)).render(*pixels, **settings)
        return MANY

    yield "`GalaxyGenerator.galaxy`, one at a time, decoded", one_by_one(alone, 5)
    yield "flow, decoder, measurement: torch, one at a time", networks(generator)
    yield "`Stamps.galaxy`", one_by_one(from_stamps)
    yield f"`sample` of {MANY} and `Stamps.galaxy`, decoded", decode_and_draw
    for number in (1, 10, 100, len(stamps)):
        yield f"`Stamps.render` of {number}", rendered(number)
    yield f"`sample` of {MANY} and `Stamps.render`, decoded", decode_and_render


def networks(generator: galsim_vae.GalaxyGenerator) -> Callable[[], int]:
    """Return a function that runs the networks as torch has them, for galaxies one by one."""
    model = modelfile.read(generator.path)
    noise = torch.randn(FEW, model.flows.noise_size, generator=torch.Generator().manual_seed(SEED))
    conditions = torch.tensor([[24.0, 0.4, 0.2, 0.8]])

    @pinned_torch()
    @torch.inference_mode()
    def run() -> int:
        for row in noise:
            latent = model.flows.sample_latents(row[None], conditions)
            shapes.measure(model.vae.decoder(latent)[:, BANDS.index(REFERENCE)])
        return FEW

    return run


def yaml() -> Iterator[tuple[str, Callable[[], int]]]:
    """The same through GalSim's configuration: keys are read, and objects built, stamp by stamp."""
    random = {"type": "Random", "min": 0.2, "max": 0.6}
    magnitude = {"type": "Random", "min": 22, "max": 25}
    ellipticity = {"type": "GBeta", "g": {"type": "Random", "min": 0, "max": 0.5},
                   "beta": {"type": "Random"}}  # fmt: skip
    ours = {"type": "VAEGalaxy", "band": SCENE.band, "zeropoint": SCENE.zeropoint}
    given = {"magnitude": magnitude, "half_light_radius": random, "ellipticity": ellipticity,
             "redshift": 0.8}  # fmt: skip
    sersic = {"type": "Sersic", "n": 1.5, "flux": magnitude, "half_light_radius": random}
    device = {"device": "cpu"}
    settings = {"vae_generator": device}
    catalog = {"vae_catalog": {"nobjects": MANY, "seed": SEED, **device}}
    yield "YAML: `Sersic`", lambda: _image({**sersic, "ellip": ellipticity}, {})
    yield (
        "YAML: `VAEGalaxy`, the only one of its file, decoded",
        lambda: _stamps({**ours, **given}, settings, FEW // 2),
    )
    yield (
        f"YAML: `VAEGalaxy`, one in each of a file's {MANY} images, decoded",
        lambda: _stamps({**ours, **given}, settings, MANY, {"type": "MultiFits", "nimages": MANY}),
    )
    yield (
        f"YAML: `VAEGalaxy` in an image of {MANY}, decoded",
        lambda: _image({**ours, **given}, settings),
    )
    yield (
        f"YAML: `VAEGalaxy` of a `vae_catalog` of {MANY}, decoded",
        lambda: _image(ours, catalog),
    )


def _config(gal: dict, extra: dict, **image) -> dict:
    config = {
        "modules": ["galsim_vae"], "psf": {"type": "Kolmogorov", "fwhm": 0.7},
        "gal": copy.deepcopy(gal), "input": copy.deepcopy(extra),
        "image": {"pixel_scale": SCENE.scale, "random_seed": SEED, **image},
    }  # fmt: skip
    galsim.config.ImportModules(config)
    galsim.config.ProcessInput(config)
    return config


def _image(gal: dict, extra: dict) -> int:
    """Build an image of ``MANY`` galaxies, each on a tile of its own."""
    columns, rows = 20, MANY // 20
    galsim.config.BuildImage(_config(
        gal, extra, type="Tiled", nx_tiles=columns, ny_tiles=rows, stamp_size=SCENE.size
    ))  # fmt: skip
    return columns * rows


def _stamps(gal: dict, extra: dict, count: int, output: dict | None = None) -> int:
    """Build images of one galaxy; without an output the next galaxy cannot be foreseen."""
    config = _config(gal, extra, size=SCENE.size)
    if output:
        config["output"] = dict(output)
    for i in range(count):
        galsim.config.BuildImage(config, image_num=i, obj_num=i)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--galaxies", type=int, default=1000)
    parser.add_argument(
        "--real", type=Path, default=REAL_GALAXIES, metavar="FILE",
        help="a galsim.RealGalaxyCatalog; without one that row is left out",
    )  # fmt: skip
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = galsim_vae.GalaxyGenerator("candels", device="cpu")
    rng = galsim.BaseDeviate(SEED)
    stamps = generator.sample(generator.sample_conditions(arguments.galaxies, rng), rng)
    ways = dict(
        [*parametric(stamps), *real(arguments.real), *ours(generator, stamps), *yaml()]
    )
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            start = time.process_time()
            count = way()
            times[name].append(1e3 * (time.process_time() - start) / count)
    print(f"{processor()}, one thread; load {os.getloadavg()[0]:.1f}; {arguments.rounds} rounds\n")
    print("| way | ms a galaxy | times a Sersic (16th to 84th percentile) |")
    print("| --- | ---: | ---: |")
    for name, values in times.items():
        ratios = np.array(values) / times[SERSIC]
        low, middle, high = np.percentile(ratios, [16, 50, 84])
        print(f"| {name} | {np.median(values):.2f} | {middle:.2f} ({low:.2f} to {high:.2f}) |")


if __name__ == "__main__":
    main()
