"""How well the flux of a band that the encoder never saw is predicted from the others."""


import galsim
import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray

from galsim_vae.bands import BANDS
from galsim_vae.model import likelihood
from galsim_vae.model.vae import VAE
from galsim_vae.train.fit import constants
from galsim_vae.train.fit.batch import INFERENCE, Batch, aperture
from galsim_vae.train.statistics import bootstrap_error
from galsim_vae.train.training_file import Dataset, check_frame

__all__ = ["aperture_fluxes", "colour_guess", "magnitude_errors", "predict"]

HIDDEN = ("F606W", "F125W")
_CHUNK = 32


def aperture_fluxes(data: Dataset) -> NDArray:
    """Flux of every band in a circle of two half-light radii, (n, bands); NaN if unobserved."""
    flux = (data.image * data.mask)[..., aperture().numpy()].sum(-1)
    return np.where(data.mask.any((2, 3)) & (flux > 0), flux, np.nan)


def predict(vae: VAE, batch: Batch, band: int) -> tuple[NDArray, NDArray]:
    """Error of the predicted magnitude of a band hidden from the encoder, and what of it is noise.

    The latent is the encoder's mean, with the colours that `galsim_vae.model.lent` lends. The flux
    observed in that band is the best amplitude of its own predicted image.

    Returns
    -------
    magnitude : array (n,), predicted less observed.
    error : array (n,), rms of the same by noise.
    """
    hidden = torch.zeros(batch.mask.shape[:2], dtype=torch.bool)
    hidden[:, band] = True
    mask = batch.mask & ~hidden[:, :, None, None]
    with torch.no_grad():
        latent, _ = vae.encode(batch.image * mask, batch.otf, batch.noise, mask)
        model = likelihood.convolve(vae.decoder(latent), batch.otf)
    weight = likelihood.inverse_variance(batch.noise, batch.noise_area, batch.mask)
    magnitude, error = likelihood.magnitude_error(batch.image, model, weight, hidden)
    return magnitude.numpy(), error.numpy()


def colour_guess(data: Dataset, flux: NDArray, rows: NDArray, band: int) -> NDArray:
    """The same error for a guess: nearest band's flux times the set's median colour.

    The median is over the training galaxies of the same source.
    """
    errors = np.full(len(rows), np.nan)
    magnitude = -2.5 * np.log10(flux)
    for number, row in enumerate(rows):
        others = [b for b in range(len(BANDS)) if b != band and np.isfinite(flux[row, b])]
        near = min(others, key=lambda b: abs(b - band))
        same = ~data.valid & (data.source == data.source[row])
        colour = np.nanmedian((magnitude[:, band] - magnitude[:, near])[same])
        errors[number] = magnitude[row, near] + colour - magnitude[row, band]
    return errors


def magnitude_errors(vae: VAE, data: Dataset) -> Table:
    """Median absolute error [mag] of the model and of the guess, with bootstrap errors.

    Of held-out galaxies that were observed in the band and in at least one other: all of them, and
    those whose noise lets it be known to `constants.KNOWN`.

    Raises
    ------
    galsim.GalSimValueError
        There is none, or the galaxies are in another frame than the network's.
    """
    check_frame(data, vae.config.canonical_frame)
    flux = aperture_fluxes(data)
    table = Table(
        names=("band", "of", "galaxies", "model", "model_error", "guess", "guess_error"),
        dtype=("U5", "U8", int, float, float, float, float),
    )
    rng = np.random.default_rng(1)
    seen = np.isfinite(flux)
    for name in HIDDEN:
        band = BANDS.index(name)
        rows = np.flatnonzero(data.valid & seen[:, band] & (seen.sum(1) > 1))
        if not len(rows):
            continue
        parts = [
            predict(vae, Batch.from_training_file(data[rows[i : i + _CHUNK]], INFERENCE), band)
            for i in range(0, len(rows), _CHUNK)
        ]
        model, error = (np.concatenate(values) for values in zip(*parts, strict=True))
        guess = colour_guess(data, flux, rows, band)
        for label, chosen in (("all", np.isfinite(model)), ("measured", error < constants.KNOWN)):
            if not chosen.any():
                continue
            line: list = [name, label, int(chosen.sum())]
            for errors in (np.abs(model[chosen]), np.abs(guess[chosen])):
                error = bootstrap_error(np.median, errors, random=rng)
                line += [float(np.median(errors)), float(error)]
            table.add_row(line)
    if not len(table):
        raise galsim.GalSimValueError("No held-out galaxy was observed in one of", HIDDEN)
    return table
