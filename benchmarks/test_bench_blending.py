"""Batches of blends for LSST's six bands, one process: ours, CatSim's and real COSMOS galaxies.

Each time is that of ``BATCH`` blends of ``GALAXIES`` galaxies, sampled alike; galaxies a second are
``BATCH * GALAXIES`` times the ops column. `test_ratio` draws them in turns, so that other load of
the machine falls on all of them, in CPU time, and prints the ratios with their errors.
"""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from btk.catalog import CatsimCatalog, CosmosCatalog
from btk.draw_blends import CatsimGenerator, CosmosGenerator
from btk.sampling_functions import DefaultSampling
from btk.survey import get_surveys

import galsim_vae
from galsim_vae.blending import VAECatalog, VAEGenerator

# Where the tests too look for the data that docs/training.md describes.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CATSIM = DATA / "catalogues" / "catsim_sample.fits"
COSMOS = [DATA / "cosmos_f814w" / f"real_galaxy_catalog{end}.fits" for end in ("", "_fits")]
BATCH, GALAXIES, ROUNDS = 16, 4, 7

needs_data = pytest.mark.skipif(
    not (CATSIM.exists() and COSMOS[0].exists()),
    reason="needs the CatSim and COSMOS samples in shared/data beside the repository",
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ours():
    generator = galsim_vae.GalaxyGenerator("candels", device="cpu")
    return VAEGenerator(VAECatalog.from_generator(generator, 300, seed=1), *scene())


def catsim():
    return CatsimGenerator(CatsimCatalog.from_file(str(CATSIM)), *scene())


def cosmos():
    catalog = CosmosCatalog.from_file([str(name) for name in COSMOS], exclusion_level="none")
    return CosmosGenerator(catalog, *scene("MAG"))


def scene(mag_name="i_ab"):
    sampler = DefaultSampling(max_number=GALAXIES, min_number=GALAXIES, mag_name=mag_name)
    return sampler, get_surveys("LSST"), BATCH


@needs_data
@pytest.mark.benchmark(group=f"{BATCH} blends of {GALAXIES} galaxies, LSST ugrizy")
@pytest.mark.parametrize("make", [ours, catsim, cosmos], ids=["VAE", "Catsim", "Cosmos real"])
def test_batch(benchmark, make):
    generator = make()
    batch = benchmark.pedantic(next, args=(generator,), rounds=ROUNDS, warmup_rounds=1)
    assert batch.blend_images.shape == (BATCH, 6, 120, 120)


@needs_data
def test_ratio():
    """Galaxies a second of ours over those of the others, in turns."""
    generators = [ours(), catsim(), cosmos()]
    times = np.zeros((ROUNDS, 3))
    for generator in generators:
        next(generator)
    for row in times:
        for k, generator in enumerate(generators):
            start = time.process_time()
            next(generator)
            row[k] = time.process_time() - start
    rate = BATCH * GALAXIES / np.median(times, axis=0)
    print("\ngalaxies/s of CPU time: VAE {:.0f}, Catsim {:.0f}, Cosmos real {:.0f}".format(*rate))
    for k, name in ((1, "Catsim"), (2, "Cosmos real")):
        ratios = times[:, k] / times[:, 0]
        error = ratios.std(ddof=1) / np.sqrt(ROUNDS)
        print(f"VAE / {name}: {ratios.mean():.2f} +- {error:.2f}")
