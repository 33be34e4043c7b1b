"""Latents as an archive of galaxies: size and fidelity, beside other ways to keep an image.

Synthetic galaxies are seen through HST in five bands, with noise. Each way keeps what was seen in
fewer bits and gives an image back, which is held against the galaxy without noise (through the same
PSF) and against the data.
"""

import io
import os
from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import norm
from tqdm import tqdm

from galsim_vae.files import write_whole
from galsim_vae.frame.frames import Frame
from galsim_vae.model import likelihood
from galsim_vae.model.vae import VAE
from galsim_vae.train.fit.batch import Batch
from galsim_vae.train.fit.observe import RadialPSFTable, observe
from galsim_vae.train.statistics import bootstrap_error
from galsim_vae.train.synthetic.colours import colour_table
from galsim_vae.train.synthetic.galaxies import canonical_pixel_scale, fresh_galaxies

__all__ = ["bits", "compare", "draw", "fidelity", "galaxies"]

SIGNAL_TO_NOISE = 200.0
#: Steps of rounding, in units of the error of what is rounded.
STEPS = (1.0, 4.0, 16.0, 64.0)
#: Compression of JPEG 2000, and step of FITS's Rice compression in units of the noise.
RATES, QUANTA = (30, 20, 10), (0.25, 1.0, 4.0)
#: Other galaxies, over the number of latents, that principal components are taken of.
OTHERS = 16
_PART = 64
_LEVELS = 65535


def galaxies(n: int, seed: int, frame: Frame) -> tuple[Batch, torch.Tensor]:
    """Synthetic galaxies of the population, seen by HST, and the same without noise.

    Parameters
    ----------
    n, seed : int
    frame : Frame

    Returns
    -------
    batch : Batch
    clean : tensor (n, bands, size, size)
    """
    random = torch.Generator().manual_seed(seed)
    conditions, stamps = fresh_galaxies(n, colour_table(), random, False, frame)
    scale, taken = canonical_pixel_scale(conditions), frame.shear(conditions[:, 2])
    level, width = torch.full((n,), SIGNAL_TO_NOISE), torch.ones(n)
    batch = observe(stamps, scale, RadialPSFTable.hst(), random, level, True, width, taken)
    return batch, likelihood.convolve(stamps, batch.otf)


def bits(numbers: NDArray, mean: NDArray, width: NDArray, step: NDArray | float) -> float:
    """Length of a code for rounded numbers, if each is taken to be normally distributed [bit].

    Parameters
    ----------
    numbers : array (n, m)
        Multiples of the step.
    mean, width : array (m,)
        Of their distribution.
    step : array broadcast to (n, m)

    Returns
    -------
    float
        Mean over n of the sum over m (Shannon 1948, Bell Syst. Tech. J. 27, 379).
    """
    low, high = (norm.cdf((numbers + half * step - mean) / width) for half in (-0.5, 0.5))
    return float(-np.log2(np.maximum(high - low, 1e-12)).sum(1).mean())


def fidelity(image: NDArray, batch: Batch, clean: NDArray) -> tuple[NDArray, NDArray]:
    """Peak signal-to-noise ratio [dB] to the noise-free images, and reduced chi-square, (n,).

    The ratio is the median over bands, of the peak of each.
    """
    difference = np.square(image - clean).mean((2, 3))
    psnr = 10 * np.log10(clean.max((2, 3)) ** 2 / np.maximum(difference, 1e-30))
    chi = (image - batch.image.numpy()) / batch.noise.numpy()[:, :, None, None]
    return np.median(psnr, axis=1), np.square(chi).mean((1, 2, 3))


def compare(vae: VAE, n: int = 500, seed: int = 1) -> Table:
    """Size and fidelity of each way, medians over galaxies with bootstrap errors.

    Parameters
    ----------
    vae : VAE
    n : int
        Galaxies that are kept. As many numbers as latents are kept of each by a principal component
        analysis of others.
    seed : int

    Returns
    -------
    Table
        Columns ``way``, ``bits`` (a galaxy), ``psnr`` [dB], ``chi2`` and their errors.
    """
    frame = vae.config.canonical_frame
    batch, clean = galaxies(n, seed, frame)
    table = Table(
        names=("way", "bits", "psnr", "psnr_error", "chi2", "chi2_error"),
        dtype=("U32", float, float, float, float, float),
    )
    ways = [("as it is", 32.0 * batch.image[0].numel(), batch.image.numpy())]
    made = chain(_latents(vae, batch), _components(vae, batch, seed), _rice(batch), _jpeg(batch))
    total = 2 * len(STEPS) + len(QUANTA) + len(RATES)
    ways += tqdm(made, desc="compression", unit="way", total=total)
    for name, size, image in ways:
        line: list = [name, size]
        for values in fidelity(image, batch, clean.numpy()):
            error = bootstrap_error(np.median, values, random=np.random.default_rng(seed))
            line += [float(np.median(values)), float(error)]
        table.add_row(line)
    return table


def draw(table: Table, path: str | os.PathLike) -> None:
    """Draw fidelity against size.

    Parameters
    ----------
    table : Table
        From `compare`.
    path : str or path
        Of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    ways = [row for row in table if "," in row["way"]]
    families = dict.fromkeys(row["way"].split(",")[0] for row in ways)
    for axis, name in zip(panels, ("psnr", "chi2"), strict=True):
        for family in families:
            rows = [row for row in ways if row["way"].startswith(family)]
            size, value, error = (
                [row[column] for row in rows] for column in ("bits", name, f"{name}_error")
            )
            axis.errorbar(size, value, error, fmt="o-", markersize=4, label=family)
        axis.set(xscale="log", xlabel="bits a galaxy")
    panels[0].set_ylabel("PSNR to the noise-free image [dB]")
    panels[1].set(yscale="log", ylabel="reduced chi-square to the noisy image")
    panels[0].legend()
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=110))


def _latents(vae: VAE, batch: Batch) -> Iterator[tuple[str, float, NDArray]]:
    """Latents, rounded in units of their width."""
    with torch.inference_mode():
        mean, log_variance = (
            torch.cat(part).double().numpy()
            for part in zip(*(vae.encode(b.image, b.otf, b.noise, b.mask) for b in _parts(batch)),
                            strict=True)
        )  # fmt: skip
        # One width for all galaxies, so that it need not be kept.
        error = np.exp(0.5 * np.median(log_variance, axis=0))
        for step in STEPS:
            rounded = np.round(mean / (step * error)) * (step * error)
            size = bits(rounded, mean.mean(0), mean.std(0), step * error)
            latent = torch.from_numpy(rounded).float()
            images = [
                likelihood.convolve(vae.decoder(latent[i : i + _PART]), batch.otf[i : i + _PART])
                for i in range(0, len(latent), _PART)
            ]
            yield f"latents, steps of {step:g} widths", size, torch.cat(images).numpy()


def _components(vae: VAE, batch: Batch, seed: int) -> Iterator[tuple[str, float, NDArray]]:
    """Principal components of images, rounded in units of the noise."""
    count = vae.config.latent
    known, _ = galaxies(OTHERS * count, seed + 1, vae.config.canonical_frame)
    pixels = known.image.flatten(1).double().numpy()
    middle = pixels.mean(0)
    pixels -= middle
    # The smaller of the two products has the same components.
    variance, vectors = np.linalg.eigh(pixels @ pixels.T / len(pixels))
    width = np.sqrt(variance[-count:])
    axes = pixels.T @ (vectors[:, -count:] / (width * len(pixels) ** 0.5))
    scores = (batch.image.flatten(1).double().numpy() - middle) @ axes
    noise = float(batch.noise.square().mean().sqrt())
    for step in STEPS:
        rounded = np.round(scores / (step * noise)) * (step * noise)
        size = bits(rounded, np.zeros(count), width, step * noise)
        image = (middle + rounded @ axes.T).reshape(batch.image.shape)
        yield f"components, steps of {step:g} noise", size, image


def _rice(batch: Batch) -> Iterator[tuple[str, float, NDArray]]:
    """FITS tile compression with Rice codes (Pence et al. 2009, PASP 121, 414)."""
    data = batch.image.numpy()
    for quantum in QUANTA:
        images, size = np.empty_like(data), 0
        for i, galaxy in enumerate(data):
            for b, band in enumerate(galaxy):
                step = -quantum * float(batch.noise[i, b])  # negative: in units of the data
                hdu = fits.CompImageHDU(band, compression_type="RICE_1", quantize_level=step)
                file = io.BytesIO()
                hdu.writeto(file)
                file.seek(0)
                images[i, b] = fits.getdata(file, 1)
                file.seek(0)
                with fits.open(file, disable_image_compression=True) as stored:
                    size += 8 * stored[1].header["PCOUNT"]
        yield f"FITS Rice, steps of {quantum:g} noise", size / len(data), images


def _jpeg(batch: Batch) -> Iterator[tuple[str, float, NDArray]]:
    """JPEG 2000 of 16 bit, a file a band, its header included."""
    data = batch.image.numpy()
    low, high = data.min((2, 3), keepdims=True), data.max((2, 3), keepdims=True)
    whole = np.round((data - low) / (high - low) * _LEVELS).astype(np.uint16)
    for rate in RATES:
        images, size = np.empty_like(data), 0
        for index in np.ndindex(data.shape[:2]):
            file = io.BytesIO()
            Image.fromarray(whole[index]).save(
                file, "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[rate]
            )
            size += 8 * file.tell()
            images[index] = np.asarray(Image.open(file), dtype=float)
        images = low + images / _LEVELS * (high - low)
        yield f"JPEG 2000, {rate}:1", size / len(data), images


def _parts(batch: Batch) -> Iterator[Batch]:
    for i in range(0, len(batch.image), _PART):
        yield Batch(*(field[i : i + _PART] for field in batch))
