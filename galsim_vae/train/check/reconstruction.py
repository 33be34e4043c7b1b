"""Reconstruction of held-out real galaxies, in the native pixels of their survey.

``galsim-vae check reconstruction`` writes reconstruction_sn50.ecsv and reconstruction_native.ecsv
(a row a galaxy and band), contact sheets of the same names (data, model, PSF-free model, residual),
and prints the medians.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import galsim
import numpy as np
import torch
from astropy.table import Table, vstack
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from galsim_vae.files import write_whole
from galsim_vae.frame import canonical as frame
from galsim_vae.model.vae import VAE
from galsim_vae.plots import colour_image, contact_sheet
from galsim_vae.train.apertures import aperture_noise, elliptical_radius
from galsim_vae.train.failures import failure
from galsim_vae.train.fit.batch import INFERENCE, Batch
from galsim_vae.train.fit.refine import refine
from galsim_vae.train.ingest.run import in_frame, measured
from galsim_vae.train.readers.source import Reader, Source
from galsim_vae.train.statistics import bootstrap_error
from galsim_vae.train.training_file import is_validation

__all__ = [
    "SIGNAL_TO_NOISE",
    "BandResidual",
    "Reconstruction",
    "add_noise",
    "as_batch",
    "held_out",
    "medians",
    "native_residuals",
    "reconstruct_all",
    "reconstruct_one",
    "sheet",
    "table",
]

logger = logging.getLogger(__name__)

# Signal-to-noise ratio of the reference band that chi-square is quoted at.
SIGNAL_TO_NOISE = 50.0
# Segments: pixels this many sigma above zero in the image smoothed by a Gaussian of so many pixels.
SEGMENT_SIGMA = 2.0
SEGMENT_SMOOTHING = 1.5
# Arms are found by more steps than size and colours are.
_STEPS, _LEARNING_RATE = 200, 0.2


class BandResidual(NamedTuple):
    """Misfit of one band.

    Attributes
    ----------
    chi_square : float
        Per degree of freedom, inside the segment.
    absolute : float
        Sum of ``|data - model|`` over the sum of the data, inside the half-light ellipse. The noise
        adds to it.
    net : float
        Sum of (data - model) over the sum of the data, inside the half-light ellipse.
    """

    chi_square: float
    absolute: float
    net: float


@dataclass
class Reconstruction:
    """One galaxy, observed and modelled.

    Attributes
    ----------
    source : Source
        The galaxy, as its reader gave it.
    canonical : Canonical
        What the encoder saw.
    stamp : ndarray (5, 64, 64)
        Decoded, PSF-free.
    residuals : dict of str to BandResidual
        Misfit of each band that shows something of the galaxy, in native pixels.
    """

    source: Source
    canonical: frame.Canonical
    stamp: NDArray
    residuals: dict[str, BandResidual]


def add_noise(
    observation: frame.Observation,
    geometry: frame.Geometry,
    signal_to_noise: float,
    rng: galsim.BaseDeviate,
) -> frame.Observation:
    """Return the observation with white noise added down to a signal-to-noise ratio.

    The ratio is that of the flux to the noise inside two half-light radii in the reference band.
    Every band gets noise of the same rms per solid angle. A galaxy that is noisier already stays
    as it is.
    """
    wanted = geometry.flux[geometry.band] / signal_to_noise
    unit = aperture_noise(observation, geometry, 1.0)
    own = aperture_noise(observation, geometry) / unit
    added = math.sqrt(max((wanted / unit) ** 2 - own**2, 0.0))
    area = observation.wcs[geometry.band].pixelArea()
    deviate = galsim.GaussianDeviate(rng)
    image, noise, correlation = {}, {}, {}
    for band, array in observation.image.items():
        rms = added * math.sqrt(observation.wcs[band].pixelArea() / area)
        draws = np.empty(array.size)
        deviate.generate(draws)
        image[band] = array + rms * draws.reshape(array.shape)
        noise[band] = math.hypot(rms, observation.noise[band])
        if band in observation.correlation and noise[band] > 0:
            mixed = observation.correlation[band] * (observation.noise[band] / noise[band]) ** 2
            mixed[mixed.shape[0] // 2, mixed.shape[1] // 2] = 1.0
            correlation[band] = mixed
    return replace(observation, image=image, noise=noise, correlation=correlation)


def _segment(observation: frame.Observation, geometry: frame.Geometry, band: str) -> NDArray:
    """Find the galaxy's pixels in `band`: usable, significant, and connected to its centre.

    Returns
    -------
    bool array with the shape of the band's image; it always holds the half-light ellipse.
    """
    mask = observation.mask[band]
    centre = frame.pixel_centroid(observation, band, geometry.centroid)
    filled = frame.fill_masked(observation.image[band], mask, centre)
    smooth = ndimage.gaussian_filter(filled, SEGMENT_SMOOTHING)
    sigma = observation.noise[band] * _smoothed_noise(observation.correlation.get(band))
    found = (smooth > SEGMENT_SIGMA * sigma) | _half_light_ellipse(observation, geometry, band)
    labels, _ = ndimage.label(found)
    x, y = (int(round(c)) for c in centre)
    return mask & (labels == labels[y, x])


def _smoothed_noise(correlation: NDArray | None) -> float:
    """Rms of noise of unit rms after smoothing with a Gaussian of `SEGMENT_SMOOTHING`."""
    variance = 1 / (4 * math.pi * SEGMENT_SMOOTHING**2)
    if correlation is None:
        return math.sqrt(variance)
    y, x = np.indices(correlation.shape) - np.array(correlation.shape)[:, None, None] // 2
    overlap = np.exp(-(x**2 + y**2) / (4 * SEGMENT_SMOOTHING**2))
    return math.sqrt(variance * max(float(np.sum(correlation * overlap)), 1.0))


def _half_light_ellipse(observation, geometry: frame.Geometry, band: str) -> NDArray:
    """Pixels of `band` inside the (observed) half-light ellipse, as a bool array."""
    ny, nx = observation.image[band].shape
    x0, y0 = frame.pixel_centroid(observation, band, geometry.centroid)
    ellipse = elliptical_radius(observation, geometry, band) <= geometry.observed_half_light_radius
    ellipse[min(max(round(y0), 0), ny - 1), min(max(round(x0), 0), nx - 1)] = True
    return ellipse


def native_residuals(
    stamp: NDArray,
    geometry: frame.Geometry,
    observation: frame.Observation,
) -> dict[str, BandResidual]:
    """Compare a PSF-free stamp with an observation in native pixels.

    The stamp's flux is fitted as one number for all bands (inverse-variance weights, over the
    segments); its colours are its own.

    Parameters
    ----------
    stamp : ndarray (5, 64, 64)
        PSF-free canonical stamp.

    Raises
    ------
    galsim.GalSimValueError
        A band without noise (chi-square needs one; see `add_noise`).
    """
    for band, rms in observation.noise.items():
        if not rms > 0:
            raise galsim.GalSimValueError(f"Band {band} has no noise: use add_noise first", rms)
    segments = {band: _segment(observation, geometry, band) for band in observation.image}
    model = frame.to_native(stamp, geometry, observation)
    amplitude = _fit_amplitude(model, observation, segments)
    residuals = {}
    for band, data in observation.image.items():
        difference = data - amplitude * model[band]
        inside = segments[band]
        dof = max(inside.sum() - 1 / len(model), 1)
        chi_square = np.sum(difference[inside] ** 2) / observation.noise[band] ** 2 / dof
        core = _half_light_ellipse(observation, geometry, band) & observation.mask[band]
        flux = data[core].sum()
        if flux == 0:  # the band shows nothing of the galaxy
            continue
        residuals[band] = BandResidual(
            float(chi_square),
            float(np.abs(difference[core]).sum() / flux),
            float(difference[core].sum() / flux),
        )
    return residuals


def _fit_amplitude(
    model: dict[str, NDArray], observation: frame.Observation, segments: dict[str, NDArray]
) -> float:
    """Best single factor for the native images of a model, all bands together."""
    top = bottom = 0.0
    for band, inside in segments.items():
        weight = 1 / observation.noise[band] ** 2
        top += weight * float(np.sum(model[band][inside] * observation.image[band][inside]))
        bottom += weight * float(np.sum(model[band][inside] ** 2))
    return top / bottom if bottom > 0 else 0.0


def held_out(
    readers: Iterable[Reader], known: set[tuple[str, int]] | None = None
) -> Iterator[Source]:
    """Yield real galaxies that are usable and were not trained on.

    Parameters
    ----------
    readers : iterable of Reader
    known : set of (str, int), optional
        Source and row of those that are held out, of `training_file.read_held_out`; if absent,
        every fifth row of a reader is.
    """
    for reader in readers:
        for chunk in range(len(reader)):
            for source in reader.read(chunk):
                row = source.name, source.index
                chosen = is_validation(source.index) if known is None else row in known
                if chosen and not source.reason:
                    yield source


def as_batch(canonical: frame.Canonical) -> Batch:
    """Return one galaxy as networks are shown it."""
    image, psf, noise, area, mask = (
        getattr(canonical, name)[None] for name in ("image", "psf", "noise", "noise_area", "mask")
    )
    return Batch.from_arrays(image, psf, noise, area, mask, INFERENCE)


def reconstruct_one(
    source: Source,
    vae: VAE,
    rng: galsim.BaseDeviate,
    signal_to_noise: float | None = SIGNAL_TO_NOISE,
) -> tuple[Reconstruction | None, str]:
    """Infer a galaxy's latent and decode it; None, and why, if ingest would not accept it.

    Geometry is that of the galaxy as observed; noise is added afterwards, down to
    `signal_to_noise` (None: none), and encoder and `refine` see the noisy galaxy only.
    """
    observed, geometry, reason = measured(source, vae.config.canonical_frame)
    if observed is None or geometry is None or reason:
        return None, reason
    if signal_to_noise is not None:
        observed = add_noise(observed, geometry, signal_to_noise, rng)
    canonical, reason = in_frame(source, observed, geometry)
    if reason:
        return None, reason
    latent = refine(vae, as_batch(canonical), _STEPS, learning_rate=_LEARNING_RATE)
    with torch.no_grad():
        stamp = vae.decoder(latent)[0].numpy()
    residuals = native_residuals(stamp, geometry, observed)
    return Reconstruction(source, canonical, stamp, residuals), ""


def reconstruct_all(
    sources: Sequence[Source], vae: VAE, seed: int, signal_to_noise: float | None
) -> list[Reconstruction]:
    """Reconstruct galaxies; galaxy k has the noise of seed + k.

    Those that are left out are counted in the log, by the reason.
    """
    rows, left_out = [], Counter()
    for k, source in enumerate(tqdm(sources, unit="galaxy")):
        try:
            rng = galsim.BaseDeviate(seed + k)
            row, reason = reconstruct_one(source, vae, rng, signal_to_noise)
        except Exception as error:
            row, reason = None, failure(error)
        if row is None:
            left_out[reason] += 1
        else:
            rows.append(row)
    for reason, count in left_out.most_common():
        logger.warning("%d galaxies left out: %s", count, reason)
    return rows


def table(rows: list[Reconstruction]) -> Table:
    """One row a galaxy and band: source, index, band, chi_square, absolute, net."""
    lines = [
        (r.source.name, r.source.index, band, *misfit)
        for r in rows
        for band, misfit in r.residuals.items()
    ]
    names = ("source", "index", "band", *BandResidual._fields)
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
            error = bootstrap_error(np.median, values, random=random)
            line += [float(np.median(values)), float(error)]
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
        weight = mask / np.maximum(r.canonical.noise.astype(float), 1e-20)[:, None, None] ** 2
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


def write(
    readers: Iterable[Reader],
    vae: VAE,
    output: Path,
    known: set[tuple[str, int]] | None = None,
) -> Table:
    """Reconstruct the held-out galaxies at two levels of noise, and write tables and pictures.

    Parameters
    ----------
    readers : iterable of Reader
        Of real galaxies.
    vae : VAE
        The network.
    output : Path
        Folder.
    known : set of (str, int), optional
        See `held_out`.

    Returns
    -------
    Table
        See `medians`, with a column ``noise``: sn50 or native.

    Raises
    ------
    galsim.GalSimValueError
        There is no held-out galaxy that ingest accepts.
    """
    parts, sources = [], list(held_out(readers, known))
    for label, level in (("sn50", SIGNAL_TO_NOISE), ("native", None)):
        rows = reconstruct_all(sources, vae, 100, level)
        if not rows:
            raise galsim.GalSimValueError("No galaxy is held out and usable", len(rows))
        results = table(rows)
        write_whole(output / f"reconstruction_{label}.ecsv", results.write)
        finite = [r for r in rows if math.isfinite(float(r.stamp.sum()))]
        sheet(finite, output / f"reconstruction_{label}.png")
        part = medians(results)
        part.add_column(label, name="noise", index=0)
        parts.append(part)
    return vstack(parts)
