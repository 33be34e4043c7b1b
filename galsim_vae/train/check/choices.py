"""What each choice of the recipe is worth: short trainings that differ in one thing.

Every variant is trained for the same number of steps from the same seed and judged on the same
galaxies, none of them trained on. Interrupted, it goes on. Writes choices.ecsv.
"""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from galsim.errors import GalSimConfigError
from torch import Tensor

from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.conditions import DEFAULT_RANGES, NAMES
from galsim_vae.files import output_folder, write_whole
from galsim_vae.model import likelihood
from galsim_vae.model.flow import FlowConfig
from galsim_vae.model.rings import ring_means
from galsim_vae.model.vae import VAE, VAEConfig
from galsim_vae.train.fit import autoencoder as loop
from galsim_vae.train.fit import flows as fitflows
from galsim_vae.train.fit.batch import Batch
from galsim_vae.train.fit.observe import observe
from galsim_vae.train.fit.real import RealGalaxies
from galsim_vae.train.fit.recipe import Recipe, training_settings, without
from galsim_vae.train.fit.recipe import sources as galaxy_sources
from galsim_vae.train.statistics import gini, wasserstein
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_galaxies
from galsim_vae.train.training_file import read

__all__ = ["compare", "distance", "features", "judge", "negative_elbo",
           "power_spectrum", "variants"]

logger = logging.getLogger(__name__)

TRAINING = loop.LoopConfig(steps=400, batch=14, real=8, seed=3)
FLOW = fitflows.FlowTraining(galaxies=4800, steps=200, batch=256)
_GALAXIES = 512
_SEED = 77
_REFERENCE = BANDS.index(REFERENCE)
_WAVES = range(2, 21)  # cycles a stamp


def variants(base: VAEConfig) -> dict[str, tuple[VAEConfig, loop.LoopConfig, bool]]:
    """Return sizes, training, and whether real galaxies are used, of each variant by its name."""
    training = TRAINING
    return {
        "base": (base, training, True),
        "no real galaxies": (base, replace(training, batch=22, real=0), False),
        "latent 64": (replace(base, latent=64), training, True),
        "no power term": (base, replace(training, power=0.0), True),
        "no colour term": (base, replace(training, colour=0.0), True),
        "beta 0.5": (base, replace(training, beta=0.5), True),
        "narrow decoder": (replace(base, widths=(32, 64), fine_widths=(16, 8)), training, True),
    }


def power_spectrum(stamps: Tensor) -> np.ndarray:
    """Mean power of F814W stamps (n, bands, size, size) at 2 to 20 cycles a stamp."""
    power = torch.fft.rfft2(stamps[:, _REFERENCE]).abs().square().mean(0)
    return ring_means(power, _WAVES).numpy()


def features(stamps: Tensor) -> np.ndarray:
    """Simple morphology of PSF-free stamps: peak, Gini, asymmetry, two colours; (n, 5)."""
    image = stamps[:, _REFERENCE]
    pixels = image.flatten(1)
    everywhere = torch.ones_like(pixels, dtype=torch.bool)
    asymmetry = (image - image.flip(-1, -2)).abs().sum((1, 2)) / (2 * image.sum((1, 2)))
    flux = stamps.sum((2, 3)).log()
    columns = [image.amax((1, 2)).log(), gini(pixels, everywhere), asymmetry,
               flux[:, 1] - flux[:, 2], flux[:, 2] - flux[:, 4]]  # fmt: skip
    return torch.stack(columns, 1).numpy()


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over features of `galsim_vae.train.statistics.wasserstein`."""
    return float(np.mean([wasserstein(a, b) for a, b in zip(first.T, second.T, strict=True)]))


@torch.no_grad()
def negative_elbo(vae: VAE, batch: Batch) -> tuple[float, float]:
    """Mean bound on -ln likelihood at the stated noise [nat a galaxy], and median chi^2 / dof."""
    mean, log_variance = vae.infer(batch.image, batch.otf, batch.noise, batch.mask)
    generator = torch.Generator().manual_seed(_SEED)
    stamps = vae.decoder(likelihood.sample_posterior(mean, log_variance, generator))
    weight = likelihood.inverse_variance(batch.noise, batch.noise_area, batch.mask)
    half = likelihood.half_chi_square(batch.image, likelihood.convolve(stamps, batch.otf), weight)
    dof = likelihood.degrees_of_freedom(batch.noise_area, batch.mask)
    bound = half - dof / 2 + likelihood.kl_divergence(mean, log_variance)
    return float(bound.mean()), float((2 * half / dof).median())


def judge(
    vae: VAE, sources: loop.Sources, held_out: RealGalaxies, flow: FlowConfig, work: Path
) -> dict[str, float]:
    """Return every number of the table for one trained network; `work` is for checkpoints."""
    vae = vae.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(_SEED)
    frame = sources.frame
    conditions, truth = fresh_galaxies(
        _GALAXIES, sources.colours, generator, wide=False, frame=frame
    )
    scale, taken = canonical_pixel_scale(conditions), frame.shear(conditions[:, 2])
    level = torch.full((_GALAXIES,), 100.0)
    seen = observe(truth, scale, sources.psfs, generator, level, complete=True, frame_g=taken)
    index = torch.arange(len(held_out))
    real = held_out.batch(index, generator, torch.full((len(index),), 50.0))
    row: dict[str, float] = {}
    row["bound"], row["chi2"] = negative_elbo(vae, seen)
    row["bound_real"], row["chi2_real"] = negative_elbo(vae, real)
    flows = fitflows.train(vae, sources, DEFAULT_RANGES, flow, FLOW, work)
    noise = torch.randn((_GALAXIES, flows.noise_size), generator=generator)
    uniform = torch.rand(_GALAXIES, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        turn = flows.turns.draw(uniform, conditions[:, NAMES.index("g")].double()).float()
        drawn = vae.decoder(flows.sample_latents(noise, conditions, turn))
    ratio = power_spectrum(drawn) / power_spectrum(truth)
    row["power"] = float(np.sqrt(np.mean(np.log(ratio) ** 2)))
    row["features"] = distance(features(truth), features(drawn))
    return row


def compare(recipe: Recipe) -> Table:
    """Train every variant, judge it and write choices.ecsv in the work folder of the recipe.

    Parameters
    ----------
    recipe : Recipe
        Its files, its work folder and the sizes of its networks are used, on the CPU.

    Returns
    -------
    Table
        One row a variant.

    Raises
    ------
    galsim.GalSimConfigError
        The recipe has no training file.
    OSError, ValueError
        See `galsim_vae.train.fit.train`.
    """
    if recipe.training_file is None:
        raise GalSimConfigError("training_file is missing: variants are judged on its galaxies")
    work = output_folder(recipe.work)
    data = read(recipe.training_file)
    if recipe.exclude is not None:
        data = without(data, recipe.exclude)
    sources = galaxy_sources(data, frame=recipe.vae.canonical_frame)
    held_out = RealGalaxies(data, data.valid)
    path = work / "choices.ecsv"
    rows = [dict(row) for row in Table.read(path)] if path.exists() else []
    for name, (vae_config, training, real) in variants(recipe.vae).items():
        if name in [str(row["variant"]) for row in rows]:
            continue
        own = sources if real else replace(sources, real=None)
        folder = work / name.replace(" ", "_")
        with training_settings():
            vae = loop.train(vae_config, training, own, folder)
            judged = judge(vae, own, held_out, recipe.flow, folder)
        rows.append({"variant": name} | judged)
        write_whole(path, Table(rows).write)
        logger.info("%s", rows[-1])
    return Table(rows)
