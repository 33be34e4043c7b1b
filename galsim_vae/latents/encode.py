"""Observed galaxies or pictures to a table of latents."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from astropy import units
from astropy.table import QTable
from galsim.errors import GalSimValueError
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from galsim_vae.conditions import NAMES
from galsim_vae.devices import pinned_torch
from galsim_vae.model import file as modelfile
from galsim_vae.model import likelihood
from galsim_vae.model.batches import BATCH_SIZES, in_batches
from galsim_vae.model.picture_file import PictureModel
from galsim_vae.plots import colour_image

from .moments import moments
from .pictures import Pictures, stretch

__all__ = ["Observed", "THUMBNAIL", "encode_galaxies", "encode_pictures", "picture_of_stamp"]

#: Side of the pictures of galaxies in a table of latents [pixel].
THUMBNAIL = 48
_PART = 512  # galaxies between two steps of a bar
# Of colours in the moments' input: a stamp's asinh stretch turns logarithmic at this share of the
# 99.5th percentile of the reference.
_SOFTENING = 0.05


class Observed(Protocol):
    """Galaxies in the canonical frame, such as `galsim_vae.train.fit.batch.Batch`."""

    @property
    def image(self) -> Tensor:
        """Tensor (n, bands, size, size), zero where masked."""
        ...

    @property
    def otf(self) -> Tensor:
        """Tensor (n, bands, size, size // 2 + 1), transforms of PSFs centred at [0, 0]."""
        ...

    @property
    def noise(self) -> Tensor:
        """Tensor (n, bands), rms per pixel."""
        ...

    @property
    def noise_area(self) -> Tensor:
        """Tensor (n, bands), correlation area of the noise [pixel^2]."""
        ...

    @property
    def mask(self) -> Tensor:
        """Bool tensor (n, bands, size, size), True where usable."""
        ...


@pinned_torch()
def encode_galaxies(
    model: modelfile.Model,
    observed: Observed,
    conditions: NDArray,
    angle: NDArray | None = None,
    progress: bool = False,
) -> QTable:
    """Encode observed galaxies in the canonical frame.

    Parameters
    ----------
    model : Model
        From `galsim_vae.model.file.read`.
    observed : Observed
        The galaxies.
    conditions : ndarray (n, 4)
        In the order of `galsim_vae.conditions.NAMES`, radius in arcsec; NaN where unknown.
    angle : ndarray (n,), optional
        Position angle of the major axis [radian], 0 if absent.
    progress : bool
        Show a bar.

    Returns
    -------
    astropy.table.QTable
        Columns ``mean`` and ``width`` (n, latent; bands that were not observed have the colours of
        galaxies like these, which no width tells), ``reduced_chi_square`` of the decoded mean,
        ``log_density`` of the mean under the flow given what is known of the conditions [nat], the
        conditions ``magnitude``, ``half_light_radius``, ``g1``, ``g2`` and ``redshift``,
        ``moments`` and ``thumbnail``.

    Raises
    ------
    galsim.GalSimValueError
        Conditions of another number than the galaxies.
    """
    n = len(observed.image)
    conditions = np.asarray(conditions, np.float32)
    if conditions.shape != (n, len(NAMES)):
        raise GalSimValueError(f"conditions must have the shape {(n, len(NAMES))}",
                               conditions.shape)  # fmt: skip

    def part(image, otf, noise, area, mask, known):
        mean, log_variance = model.vae.encode(image, otf, noise, mask)
        decoded = likelihood.convolve(model.vae.decoder(mean), otf)
        weight = likelihood.inverse_variance(noise, area, mask)
        chi = 2 * likelihood.half_chi_square(image, decoded, weight)
        reduced = chi / likelihood.degrees_of_freedom(area, mask)
        return mean, log_variance, reduced, model.flows.latent_log_prob(mean, known)

    tensors = (
        observed.image, observed.otf, observed.noise, observed.noise_area, observed.mask,
        torch.from_numpy(conditions),
    )  # fmt: skip
    found = _in_parts(part, BATCH_SIZES["cpu"].network, tensors, "encoding", progress)
    table = _table(*found)
    magnitude, radius, g, redshift = conditions.T
    turn = 2 * (np.zeros(n) if angle is None else np.asarray(angle))
    table["magnitude"], table["half_light_radius"] = magnitude, radius * units.arcsec
    table["g1"], table["g2"] = g * np.cos(turn), g * np.sin(turn)
    table["redshift"] = redshift
    image = observed.image.numpy()
    table["moments"] = moments(np.stack([picture_of_stamp(s) for s in image]), progress)
    shown = (colour_image(stamp) for stamp in image)
    table["thumbnail"] = np.stack([_thumbnail(picture[::-1]) for picture in shown])
    return table


@pinned_torch()
def encode_pictures(model: PictureModel, pictures: Pictures, progress: bool = False) -> QTable:
    """Encode pictures, stretched as `galsim_vae.latents.pictures.stretch` does.

    Parameters
    ----------
    model : PictureModel
        From `galsim_vae.model.picture_file.read`.
    pictures : Pictures
        Of as many bands as the weights, or grey.
    progress : bool
        Show a bar.

    Returns
    -------
    astropy.table.QTable
        Columns ``mean`` and ``width`` (n, latent; bands that were not observed have the colours of
        galaxies like these, which no width tells), ``reduced_chi_square`` of the decoded mean (the
        noise is what a picture and its smoothed self differ by), ``log_density`` of the mean under
        the flow [nat], ``moments``, ``thumbnail``, ``name``, ``group`` and what else is known.

    Raises
    ------
    galsim.GalSimValueError
        Another number of bands.
    """
    config = model.vae.config
    stretched = stretch(pictures.array, config.size, len(config.bands))

    def part(images):
        mean, log_variance = model.vae.encoder(images)
        residual = (model.vae.decoder(mean) - images).square().mean((1, 2, 3))
        density = model.flow.log_prob(mean, mean.new_zeros(len(mean), 1))
        return mean, log_variance, residual / _noise(images).square(), density

    tensors = (torch.from_numpy(stretched),)
    table = _table(*_in_parts(part, BATCH_SIZES["cpu"].network, tensors, "encoding", progress))
    table["moments"] = moments(stretched, progress)
    table["thumbnail"] = np.stack([_thumbnail(picture / 255) for picture in pictures.array])
    table["name"], table["group"] = pictures.names, pictures.group
    for name, column in pictures.columns.items():
        if name not in table.colnames:
            table[name] = column
    return table


def picture_of_stamp(stamp: NDArray) -> NDArray:
    """Return a linear stamp (bands, size, size) as the moments take it: asinh, bright end at 1.

    Of what was not observed the mean of the other bands stands in.
    """
    seen = np.abs(stamp).max((1, 2)) > 0
    mean = stamp[seen].mean(0) if seen.any() else stamp.mean(0)
    peak = max(float(np.percentile(mean, 99.5)), 1e-12)
    filled = np.where(seen[:, None, None], stamp, mean)
    return np.arcsinh(filled / (_SOFTENING * peak)) / np.arcsinh(1 / _SOFTENING)


def _in_parts(function, size: int, tensors: tuple[Tensor, ...], label: str, progress: bool):
    """Apply `in_batches` to part after part, under a bar, and join the results."""
    n = len(tensors[0])
    parts = []
    with tqdm(total=n, desc=label, unit="galaxy", disable=not progress) as bar:
        for start in range(0, max(n, 1), _PART):
            rows = [t[start : start + _PART] for t in tensors]
            parts.append(in_batches(function, size, torch.device("cpu"), *rows))
            bar.update(len(rows[0]))
    return [torch.cat(values).numpy() for values in zip(*parts, strict=True)]


def _table(mean: NDArray, log_variance: NDArray, reduced: NDArray, density: NDArray) -> QTable:
    return QTable({
        "row": np.arange(len(mean)),
        "mean": mean,
        "width": np.exp(0.5 * log_variance),
        "reduced_chi_square": reduced,
        "log_density": density,
    })  # fmt: skip


def _noise(images: Tensor) -> Tensor:
    """Rms noise per pixel (n,): the median absolute difference of a pixel from its neighbours."""
    middle = images[:, :, 1:-1, 1:-1]
    around = images[:, :, :-2, 1:-1] + images[:, :, 2:, 1:-1]
    around = around + images[:, :, 1:-1, :-2] + images[:, :, 1:-1, 2:]
    difference = (middle - around / 4).abs().flatten(1)
    # The mean of four neighbours adds a quarter of the variance.
    return (1.4826 / 1.25**0.5 * difference.median(1).values).clamp(min=1 / 255)


def _thumbnail(picture: NDArray) -> NDArray:
    """Picture (side, side, 1 or 3) in [0, 1] as uint8 (48, 48, 3); the first row is on top."""
    from PIL import Image

    eight = np.clip(255 * picture + 0.5, 0, 255).astype(np.uint8)
    if eight.shape[-1] not in (1, 3):
        eight = eight[..., :3] if eight.shape[-1] > 3 else eight[..., :1]
    image = Image.fromarray(eight[..., 0] if eight.shape[-1] == 1 else eight).convert("RGB")
    return np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
