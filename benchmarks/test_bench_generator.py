"""Galaxies on the CPU: the decoder alone, and the generator from conditions to stamps.

Each time is that of ``BATCH`` galaxies, so galaxies a second are ``BATCH`` times the ops column; or
of one, on one thread. `benchmarks.costs` has the ratios to what GalSim draws.
"""

import galsim
import numpy as np
import pytest
import torch

import galsim_vae
from galsim_vae.model import file as modelfile

BATCH = 1000
THREADS = 2


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def generator():
    return galsim_vae.GalaxyGenerator("candels", device="cpu")


@pytest.mark.benchmark(group=f"{BATCH} galaxies, {THREADS} threads")
def test_decode(benchmark, generator):
    width = modelfile.read(generator.path).vae.config.latent
    latent = np.random.default_rng(1).standard_normal((BATCH, width))
    stamps = benchmark.pedantic(generator.decode, args=(latent,), rounds=5, warmup_rounds=1)
    assert stamps.shape == (BATCH, 5, 64, 64)


@pytest.mark.benchmark(group=f"{BATCH} galaxies, {THREADS} threads")
@pytest.mark.parametrize("exact", [True, False])
def test_sample(benchmark, generator, exact):
    rng = galsim.BaseDeviate(1)
    table = generator.sample_conditions(BATCH, rng)
    stamps = benchmark.pedantic(
        generator.sample, args=(table, rng), kwargs={"exact": exact}, rounds=5, warmup_rounds=1
    )
    assert len(stamps) == BATCH


@pytest.mark.benchmark(group="one galaxy, one thread")
@pytest.mark.parametrize("step", ["decode", "sample, exact", "sample", "galaxy"])
def test_one(benchmark, generator, step):
    width = modelfile.read(generator.path).vae.config.latent
    latent = np.random.default_rng(1).standard_normal((1, width))
    asked = {"magnitude": 22.0, "half_light_radius": 0.6, "redshift": 0.5}
    shape = galsim.Shear(g1=0.1)
    table = {name: [value] for name, value in asked.items()} | {"g1": [0.1], "g2": [0.0]}
    rng = galsim.BaseDeviate(1)
    steps = {
        "decode": lambda: generator.decode(latent),
        "sample, exact": lambda: generator.sample(table, rng),
        "sample": lambda: generator.sample(table, rng, exact=False),
        "galaxy": lambda: generator.galaxy(**asked, ellipticity=shape, rng=rng),
    }
    torch.set_num_threads(1)
    benchmark.pedantic(steps[step], rounds=20, warmup_rounds=2)
