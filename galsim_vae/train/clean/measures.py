"""What is odd about a galaxy, measured with a trained model of galaxies.

Seven measures, `REASONS`: of the residual of the model, of the latent under the flow, and of the
PSF-free model. Larger is odder; `usual` and `anomaly` turn them into probabilities and a score.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from skimage.morphology import reconstruction
from torch import Tensor
from tqdm import tqdm

from galsim_vae.bands import STAMP_SIZE
from galsim_vae.conditions import NAMES
from galsim_vae.model import file as modelfile
from galsim_vae.model import likelihood
from galsim_vae.train.fit.batch import APERTURE_AREA, INFERENCE, Batch
from galsim_vae.train.fit.refine import refine
from galsim_vae.train.training_file import Dataset, check_frame

__all__ = [
    "REASONS",
    "Explained",
    "cut_off",
    "explain",
    "irregularity",
    "measure_oddities",
    "misfit",
    "peaks",
    "sharp_residual",
    "straight_residual",
]

#: What can be odd about a galaxy, in the order of the columns.
REASONS = {
    "misfit": "reduced chi-square, with a model error of 10 % of the local brightness",
    "sharp_residual": "residual brighter and sharper than the PSF allows, as of a cosmic ray",
    "straight_residual": "residual along a straight line, as of a satellite trail",
    "cut_off": "light at the border of what was observed, as of a satellite trail",
    "unlikely_latent": "-ln of the density of the latent under the flow",
    "irregular": "departure of the PSF-free model from its elliptical isophotes, as of a blend",
    "second_peak": "second peak of the PSF-free model, as of a blend",
}
# A model that smooths arms is wrong by a share of the local brightness; artefacts are not bound to
# where the galaxy is bright.
MODEL_ERROR = 0.1
# Latents are inferred as if galaxies were no better observed than this, with the full weight of
# the prior, so that the model explains what galaxies have and does not chase artefacts.
FIT_SIGNAL_TO_NOISE = 200.0
FIT_STEPS = 40
FIT_PRIOR = 1.0
# Lines: angles, clip of a pixel's residual [sigma] (a line is bright all along, a knot is not), and
# the least usable length [pixel].
_ANGLES, _CLIP, _LENGTH = 36, 3.0, 12.0
_OFFSETS = 92
_BORDER = 2  # width of the border of what was observed [pixel]
_FADED = 0.003  # brightness, over the brightest, below which a border is dark
_SMOOTH = 1.5  # before the brightest place is looked for [pixel]
_SMOOTH_MODEL = 1.0  # before peaks are looked for [pixel]
_BATCH = 32


@dataclass(frozen=True)
class Explained:
    """Galaxies and what the model makes of them.

    Attributes
    ----------
    batch : Batch
        What was observed, at unit flux.
    latent : tensor (n, latent)
    stamp : tensor (n, bands, 64, 64)
        Decoded, PSF-free.
    image : tensor (n, bands, 64, 64)
        The same through the PSF, at the fitted flux.
    """

    batch: Batch
    latent: Tensor
    stamp: Tensor
    image: Tensor

    @property
    def residual(self) -> Tensor:
        return (self.batch.image - self.image) * self.batch.mask

    @property
    def sigma(self) -> Tensor:
        """Noise and model error of each pixel, in units of the batch; infinite where masked."""
        noise = self.batch.noise.square() * self.batch.noise_area
        variance = noise[:, :, None, None] + (MODEL_ERROR * self.image).square()
        return torch.where(self.batch.mask, variance.sqrt(), torch.inf)


def explain(model: modelfile.Model, data: Dataset) -> Explained:
    """Infer the latent of every galaxy, decode it and fit its flux."""
    batch = Batch.from_training_file(data, INFERENCE)
    limited = batch.no_better_than(FIT_SIGNAL_TO_NOISE)
    latent = refine(model.vae, limited, steps=FIT_STEPS, prior=FIT_PRIOR)
    with torch.no_grad():
        stamp = model.vae.decoder(latent)
        seen = likelihood.convolve(stamp, batch.otf)
    weight = likelihood.inverse_variance(limited.noise, limited.noise_area, limited.mask)
    flux = likelihood.fit_amplitude(batch.image, seen, weight)
    return Explained(batch, latent, stamp, flux[:, None, None, None] * seen)


def measure_oddities(
    model: modelfile.Model, data: Dataset, progress: bool = False
) -> dict[str, NDArray]:
    """Measure what is odd about each galaxy.

    Returns
    -------
    dict of each of `REASONS` to (n,) float, larger is odder; ``"signal_to_noise"`` of the flux in
    two half-light radii in the best band; and ``"source"``.

    Raises
    ------
    galsim.GalSimValueError
        The galaxies are in another frame than the model's.
    """
    check_frame(data, model.vae.config.canonical_frame)
    parts = []
    starts = range(0, len(data), _BATCH)
    for start in tqdm(starts, desc="anomaly", disable=not progress):
        parts.append(_measure(model, data[start : start + _BATCH]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _measure(model: modelfile.Model, data: Dataset) -> dict[str, NDArray]:
    explained = explain(model, data)
    batch = explained.batch
    noise = batch.noise * (batch.noise_area * APERTURE_AREA).sqrt()
    ratio = (batch.image.sum((2, 3)) / noise).amax(1)
    anything = torch.full((len(data), len(NAMES)), torch.nan)
    with torch.no_grad():
        density = model.flows.latent_log_prob(explained.latent, anything)
    values = {
        "misfit": misfit(explained).clamp(min=1e-6).log(),
        "sharp_residual": sharp_residual(explained).clamp(min=1.0).log(),
        "straight_residual": straight_residual(explained).clamp(min=1.0).log(),
        "cut_off": cut_off(explained).clamp(min=_FADED).log(),
        "unlikely_latent": torch.where(batch.mask.flatten(1).any(1), -density, torch.inf),
        "irregular": irregularity(explained).clamp(min=1e-6).log(),
        "second_peak": peaks(explained),
        "signal_to_noise": ratio.clamp(min=INFERENCE.faintest),
    }
    # What is beyond the networks' numbers is as odd as can be.
    measured = {
        name: np.nan_to_num(value.double().numpy(), nan=1e6, posinf=1e6)
        for name, value in values.items()
    }
    return measured | {"source": np.asarray(data.source)}


def misfit(explained: Explained) -> Tensor:
    """Chi-square per degree of freedom, noise and model error together, tensor (n,)."""
    chi_square = (explained.residual / explained.sigma).square().sum((1, 2, 3))
    return chi_square / likelihood.degrees_of_freedom(
        explained.batch.noise_area, explained.batch.mask
    )


def sharp_residual(explained: Explained) -> Tensor:
    """Largest residual after what the PSF could have let through is taken off [sigma], (n,).

    Whatever came through the telescope is as wide as the PSF, so that smoothing by the PSF once
    more keeps most of it; of a cosmic ray's hit little is kept.
    """
    residual = explained.residual
    sharp = residual - likelihood.convolve(residual, explained.batch.otf)
    return (sharp / explained.sigma).amax((1, 2, 3))


def straight_residual(explained: Explained) -> Tensor:
    """Largest mean residual along any line across a band, over its error, tensor (n,).

    The mean is weighted by the inverse variance, so that the galaxy itself, where the model may be
    wrong, counts less than the sky beside it; each pixel's residual over sigma is clipped.
    """
    lines = _lines()
    shape = explained.image.shape[:2]
    sigma = explained.sigma
    root_weight = sigma.flatten(2).amin(2)[:, :, None, None] / sigma  # 1 where best known
    root_weight = torch.where(explained.batch.mask, root_weight, 0.0)
    clipped = (explained.residual / sigma).clamp(-_CLIP, _CLIP) * root_weight
    usable = _columns(explained.batch.mask.float())
    along, length = lines @ _columns(clipped), lines @ usable
    # Lines that see next to nothing, and those through the brightest galaxies, count as faint.
    error = np.sqrt(np.maximum(lines.power(2) @ _columns(root_weight.square()), 1e-3))
    strength = np.where(length > _LENGTH, along / error, 0.0).max(0)
    return torch.from_numpy(strength.reshape(shape).max(1))


def _columns(images: Tensor) -> NDArray:
    """Images (n, bands, size, size) as a matrix (pixels, n * bands)."""
    return images.flatten(0, 1).flatten(1).numpy().T


def cut_off(explained: Explained) -> Tensor:
    """Mean brightness at the border of what was observed over the brightest place, tensor (n,).

    In the band where it is largest. A galaxy fades before its stamp or its segment ends; a trail
    does not.
    """
    mask = explained.batch.mask.numpy()
    image = (explained.batch.image * explained.batch.mask).numpy()
    brightest = ndimage.gaussian_filter(image, (0, 0, _SMOOTH, _SMOOTH), mode="constant")
    cross = ndimage.generate_binary_structure(2, 1)[None, None]
    border = mask & ~ndimage.binary_erosion(mask, cross, iterations=_BORDER)
    mean = (image * border).sum((2, 3)) / np.maximum(border.sum((2, 3)), 1)
    return torch.from_numpy((mean / np.maximum(brightest.max((2, 3)), 1e-12)).max(1))


@functools.cache
def _lines() -> sparse.csr_matrix:
    """Radon transform (lines, pixels): lines one pixel apart, shared linearly between two."""
    y, x = (np.indices((STAMP_SIZE, STAMP_SIZE)) - (STAMP_SIZE - 1) / 2).reshape(2, -1)
    rows, columns, weights = [], [], []
    for number in range(_ANGLES):
        angle = math.pi * number / _ANGLES
        place = x * math.cos(angle) + y * math.sin(angle) + _OFFSETS / 2
        low = np.floor(place).astype(int)
        for line, weight in ((low, 1 - (place - low)), (low + 1, place - low)):
            rows.append(number * _OFFSETS + line)
            columns.append(np.arange(place.size))
            weights.append(weight)
    entries = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    shape = (_ANGLES * _OFFSETS, STAMP_SIZE**2)
    return sparse.csr_matrix(entries, shape=shape, dtype=np.float32)


def irregularity(explained: Explained) -> Tensor:
    """Rms departure of the PSF-free model from its own elliptical isophotes, tensor (n,).

    Observed bands only, on average.
    """
    return torch.tensor([_departure(image) for image in _model_mean(explained)])


def peaks(explained: Explained) -> Tensor:
    """Height of the PSF-free model's second peak, smoothed a little, over the first, tensor (n,).

    Observed bands only, on average.
    """
    over = (0, _SMOOTH_MODEL, _SMOOTH_MODEL)
    images = ndimage.gaussian_filter(_model_mean(explained), over)
    return torch.tensor([_second_peak(image) for image in images])


def _model_mean(explained: Explained) -> NDArray:
    """Mean of the PSF-free model over the observed bands, (n, 64, 64) float64."""
    observed = explained.batch.mask.any(3).any(2).double()[:, :, None, None]
    return ((explained.stamp * observed).sum(1) / observed.sum(1).clamp(min=1)).numpy()


def _departure(image: NDArray) -> float:
    """Rms departure from elliptical isophotes, relative to the rms of the image.

    All isophotes have the centroid and the second moments of the whole.
    """
    y, x = np.indices(image.shape, dtype=float)
    flux = image.sum()
    if not flux > 0:  # no band was observed
        return 0.0
    d = np.stack([x - (image * x).sum() / flux, y - (image * y).sum() / flux])
    moments = np.einsum("iyx,jyx,yx->ij", d, d, image) / flux
    inverse = np.linalg.inv(moments) * math.sqrt(np.linalg.det(moments))
    radius = np.sqrt(np.einsum("iyx,ij,jyx->yx", d, inverse, d))
    ring = radius.astype(int)
    count = np.maximum(np.bincount(ring.ravel()), 1)
    profile = np.bincount(ring.ravel(), weights=image.ravel()) / count
    smooth = np.interp(radius, np.arange(len(profile)) + 0.5, profile)
    return math.sqrt(((image - smooth) ** 2).sum() / (image**2).sum())


def _second_peak(image: NDArray) -> float:
    """Largest height of any other peak over its saddle towards the highest, relative to that.

    What is left above the reconstruction by dilation from the highest peak alone (Vincent 1993,
    IEEE Trans. Image Processing 2, 176); 0 to 1 of an image that is nowhere negative.
    """
    top = np.argmax(image)
    if not image.flat[top] > 0:  # no band was observed
        return 0.0
    seed = np.full_like(image, image.min())
    seed.flat[top] = image.flat[top]
    return float((image - reconstruction(seed, image)).max() / image.flat[top])
