"""Reconstruction of held-out real galaxies, in the native pixels of their survey.

    python -m galsim_vae.train.check.reconstruction candels weights/real.yaml --output validation/

writes reconstruction_sn50.ecsv and reconstruction_native.ecsv (a row a galaxy and band), contact
sheets of the same names (data, model, PSF-free model, residual), and prints the medians.
"""

import argparse
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray
from tqdm import tqdm

from galsim_vae.frame import canonical as frame
from galsim_vae.model import file as modelfile
from galsim_vae.model.vae import VAE, psf_width
from galsim_vae.plots import colour_image, contact_sheet
from galsim_vae.train import apertures as reconstruct
from galsim_vae.train.fit.observe import Batch
from galsim_vae.train.fit.refine import refine
from galsim_vae.train.ingest import config as inputs
from galsim_vae.train.ingest.reject import blended
from galsim_vae.train.ingest.run import measured
from galsim_vae.train.readers.source import Reader, Source
from galsim_vae.train.training_file import is_validation

__all__ = [
    "SIGNAL_TO_NOISE",
    "Reconstruction",
    "as_batch",
    "held_out",
    "main",
    "medians",
    "reconstruct_all",
    "reconstruct_one",
    "sheet",
    "table",
]

# Signal-to-noise ratio of the reference band that chi-square is quoted at.
SIGNAL_TO_NOISE = 50.0
# Arms are found by more steps than size and colours are.
_STEPS, _LEARNING_RATE = 200, 0.2


@dataclass
class Reconstruction:
    """One galaxy, observed and modelled.

    Attributes
    ----------
    source : the galaxy, as its reader gave it.
    canonical : what the encoder saw.
    stamp : (5, 64, 64) decoded, PSF-free.
    residuals : misfit of each band, in native pixels.
    """

    source: Source
    canonical: frame.Canonical
    stamp: NDArray
    residuals: dict[str, reconstruct.BandResidual]


def held_out(readers: Iterable[Reader]) -> Iterator[Source]:
    """Real galaxies that are usable and were not trained on."""
    for reader in readers:
        for chunk in range(len(reader)):
            for source in reader.read(chunk):
                if is_validation(source.index) and not source.reason:
                    yield source


def as_batch(canonical: frame.Canonical) -> Batch:
    """One galaxy as the training code holds it, scaled to unit flux in its brightest band."""
    scale = (canonical.image * canonical.mask).sum((1, 2)).max()
    image, psf, noise, area = (
        torch.from_numpy(np.ascontiguousarray(a[None], dtype=np.float32))
        for a in (
            canonical.image / scale,
            canonical.psf,
            canonical.noise / scale,
            canonical.noise_area,
        )
    )
    otf = torch.fft.rfft2(torch.fft.ifftshift(psf, dim=(-2, -1)))
    mask = torch.from_numpy(canonical.mask[None])
    return Batch(image * mask, otf, psf_width(otf), noise, area.clamp(min=1.0), mask)


def reconstruct_one(
    source: Source,
    vae: VAE,
    rng: galsim.BaseDeviate,
    signal_to_noise: float | None = SIGNAL_TO_NOISE,
) -> Reconstruction | None:
    """Infer a galaxy's latent and decode it; None if it is not one of those that ingest accepts.

    Geometry is that of the galaxy as observed; noise is added afterwards, down to
    `signal_to_noise` (None: none), and encoder and `refine` see the noisy galaxy only.
    """
    observed, geometry, reason = measured(source)
    if geometry is None or reason:
        return None
    if signal_to_noise is not None:
        observed = reconstruct.add_noise(observed, geometry, signal_to_noise, rng)
    canonical = frame.to_canonical(observed, geometry)
    if blended(source, canonical.mask):
        return None
    latent = refine(vae, as_batch(canonical), _STEPS, learning_rate=_LEARNING_RATE)
    with torch.no_grad():
        stamp = vae.decoder(latent)[0].numpy()
    residuals = reconstruct.native_residuals(stamp, geometry, observed)
    return Reconstruction(source, canonical, stamp, residuals)


def reconstruct_all(
    readers: Iterable[Reader], vae: VAE, seed: int, signal_to_noise: float | None
) -> list[Reconstruction]:
    """Reconstruct every held-out galaxy; galaxy k has the noise of seed + k."""
    rows = []
    for k, source in enumerate(tqdm(list(held_out(readers)), unit="galaxy")):
        row = reconstruct_one(source, vae, galsim.BaseDeviate(seed + k), signal_to_noise)
        if row is not None:
            rows.append(row)
    return rows


def table(rows: list[Reconstruction]) -> Table:
    """One row a galaxy and band: source, index, band, chi_square, absolute, net."""
    lines = [
        (r.source.name, r.source.index, band, *misfit)
        for r in rows
        for band, misfit in r.residuals.items()
    ]
    names = ("source", "index", "band", *reconstruct.BandResidual._fields)
    return Table(rows=lines, names=names)


def medians(results: Table) -> Table:
    """Median of each figure by band, with the error of the median (bootstrap)."""
    lines = []
    random = np.random.default_rng(5)
    for band in np.unique(results["band"]):
        part = results[[name == band for name in results["band"]]]
        line = [band, len(part)]
        for name in ("chi_square", "absolute", "net"):
            values = np.abs(part[name]) if name == "net" else np.asarray(part[name])
            draws = np.median(random.choice(values, (500, len(values))), axis=1)
            line += [float(np.median(values)), float(draws.std())]
        lines.append(line)
    names = ["band", "n"]
    for name in ("chi_square", "absolute", "net"):
        names += [name, f"{name}_error"]
    return Table(rows=lines, names=names)


def sheet(rows: list[Reconstruction], path: Path) -> None:
    """Data, model through the same PSF, PSF-free model, and residual over noise."""
    pictures = []
    for r in rows:
        data, mask = r.canonical.image * r.canonical.mask, r.canonical.mask
        model = _convolved(r.stamp, r.canonical.psf)
        weight = mask / np.maximum(r.canonical.noise, 1e-20)[:, None, None] ** 2
        amplitude = (weight * data * model).sum() / (weight * model**2).sum()
        model = amplitude * model
        with np.errstate(divide="ignore", invalid="ignore"):
            sigma = (data - model) / r.canonical.noise[:, None, None]
        residual = np.where(mask, sigma, 0).sum(0) / np.maximum(mask.sum(0), 1)
        observed = np.any(mask, axis=(1, 2))[:, None, None]
        pictures.append(
            [
                colour_image(data),
                colour_image(model * observed),
                colour_image(r.stamp * observed),
                np.clip(0.5 + residual / 10, 0, 1),
            ]
        )
    halves = (len(pictures) + 2) // 3
    pictures += [[]] * (3 * halves - len(pictures))
    joined = [[p for k in range(3) for p in pictures[k * halves + i]] for i in range(halves)]
    contact_sheet(joined, path, titles=["data", "model", "no PSF", "residual"] * 3, panel=1.0)


def _convolved(stamp: NDArray, psf: NDArray) -> NDArray:
    otf = np.fft.rfft2(np.fft.ifftshift(psf, axes=(-2, -1)))
    return np.fft.irfft2(np.fft.rfft2(stamp) * otf, s=stamp.shape[-2:])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Reconstruct held-out real galaxies.")
    parser.add_argument("weights", help="shipped name or path")
    parser.add_argument("config", help="configuration of galsim-vae ingest")
    parser.add_argument("--output", type=Path, required=True, help="folder for tables and pictures")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    vae = modelfile.read(modelfile.find(options.weights)).vae
    readers = inputs.build(inputs.load(options.config)["inputs"])
    for label, level in (("sn50", SIGNAL_TO_NOISE), ("native", None)):
        rows = reconstruct_all(readers, vae, 100, level)
        results = table(rows)
        results.write(options.output / f"reconstruction_{label}.ecsv", overwrite=True)
        print(label)
        medians(results).pprint(max_width=-1)
        finite = [r for r in rows if math.isfinite(float(r.stamp.sum()))]
        sheet(finite, options.output / f"reconstruction_{label}.png")


if __name__ == "__main__":
    main()
