"""The samples that are held against held-out galaxies: how each is made."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae import shapes
from galsim_vae.bands import HALF_LIGHT_PIXELS
from galsim_vae.conditions import NAMES
from galsim_vae.generator import GalaxyGenerator
from galsim_vae.geometry import rotation_matrix, shear_matrix
from galsim_vae.model import file as modelfile
from galsim_vae.model.likelihood import sample_posterior
from galsim_vae.render import sersic
from galsim_vae.stamps import Stamps
from galsim_vae.train.fit import constants, flow_constants
from galsim_vae.train.fit.autoencoder import Sources
from galsim_vae.train.fit.observe import RadialPSFTable, observe
from galsim_vae.train.synthetic.colours import colour_table

from . import frame
from .observables import Observing

__all__ = ["Context", "as_asked", "as_fitted", "as_table", "decode", "encode",
           "exactly_framed", "of_equal_flux", "sersic_fits", "uncorrected"]  # fmt: skip

# Radius of a fit over that of the training file, at the least and at most.
_LIKELY = (0.6, 1.5)


class Context:
    """What every piece needs: the generator, its networks, SEDs and PSF models."""

    def __init__(self, weights):
        self.generator = GalaxyGenerator(weights, device="cpu")
        model = modelfile.read(self.generator.path)
        self.vae = model.vae
        self.half_light_pixels = float(model.flows.half_light_pixels)
        self.frame = model.vae.config.canonical_frame
        self.sources = Sources(colour_table(), RadialPSFTable.hst(), frame=self.frame)


def as_table(conditions: NDArray, angle: NDArray, ids: NDArray) -> dict[str, NDArray]:
    """Return conditions (n, 4) and position angles as `GalaxyGenerator.sample` takes them."""
    magnitude, radius, g, redshift = conditions.T
    return {
        "magnitude": np.ma.masked_invalid(magnitude),
        "half_light_radius": np.ma.masked_invalid(radius),
        "g1": g * np.cos(2 * angle),
        "g2": g * np.sin(2 * angle),
        "redshift": np.ma.masked_invalid(redshift),
        "id": ids,
    }


def as_asked(drawn: Stamps, place: NDArray | None = None) -> Tensor:
    """Return stamps as the generator lays them on the sky, in the frame of `frame`.

    By their jacobians and offsets, less the position angle and the pixel scale.

    Parameters
    ----------
    drawn : Stamps
    place : ndarray (n, 2, 2), optional
        Where the frame lays them: maps from pixels in which the asked radius is 6 and the major
        axis lies along +x. If absent, that is the frame.
    """
    return exactly_framed(drawn, np.zeros(len(drawn)), place)


def exactly_framed(drawn: Stamps, taken: NDArray, place: NDArray | None = None) -> Tensor:
    """Return the same in a frame that takes out shears (n,): that of the networks, corrected."""
    matrix = np.linalg.inv(drawn.jacobian) @ _frame_of(drawn, HALF_LIGHT_PIXELS)
    if place is not None:
        matrix = matrix @ np.linalg.inv(place)
    matrix = matrix @ shear_matrix(taken, 0.0)
    matrix, offset = (torch.from_numpy(v).float() for v in (matrix, drawn.offset))
    return frame.resample(torch.from_numpy(drawn.array), matrix, offset)


def _frame_of(drawn: Stamps, pixels: float) -> NDArray:
    """Maps to the sky of stamps with the asked angle, and the asked radius in so many pixels."""
    angle, scale = drawn.conditions.angle, drawn.conditions.values[:, 1] / pixels
    return rotation_matrix(angle) * scale[:, None, None]


def uncorrected(drawn: Stamps, taken: NDArray, pixels: float) -> Stamps:
    """Return the same stamps as exact=False would lay them on the sky."""
    offset = np.zeros_like(drawn.offset)
    sheared = _frame_of(drawn, pixels) @ shear_matrix(taken, 0.0)
    jacobian = sheared @ _rotation_in(np.linalg.inv(sheared) @ drawn.jacobian)
    return Stamps(drawn.array, drawn.conditions, jacobian, offset, drawn.bands)


def _rotation_in(matrix: NDArray) -> NDArray:
    """Return the rotations (n, 2, 2) after which matrices are symmetric: how stamps are turned."""
    first, _, last = np.linalg.svd(matrix)
    return first @ last


def encode(
    stamps: Tensor,
    pixel_scale: Tensor,
    taken: Tensor,
    context: Context,
    random: torch.Generator,
) -> Tensor:
    """Return latents of galaxies seen as sharply and deeply as the flow's training sees them."""
    n = len(stamps)
    level = torch.full((n,), flow_constants.ENCODED_SIGNAL_TO_NOISE)
    sharp = torch.full((n,), constants.SHARPEST)
    seen = observe(stamps, pixel_scale, context.sources.psfs, random, level, True, sharp, taken)
    with torch.inference_mode():
        mean, log_variance = context.vae.encode(seen.image, seen.otf, seen.noise, seen.mask)
        return sample_posterior(mean, log_variance, random)


def decode(latent: Tensor, context: Context) -> Tensor:
    """Return decoded stamps (n, bands, 64, 64), in the frame of the networks."""
    return torch.from_numpy(context.generator.decode(latent.numpy()))


def sersic_fits(seen: Tensor, observing: Observing) -> Tensor:
    """Fit single-Sersic galaxies to observed ones: what simulators use today.

    Fitted to the band of structure, as for GalSim's COSMOS parametric catalogue; every other band
    gets the same profile with its own best flux.

    Returns
    -------
    tensor (n, bands, 64, 64), without PSF.
    """
    rows = torch.arange(len(seen))
    usable, otf = observing.mask[rows, observing.band], observing.otf[rows, observing.band, None]

    def one_band(stamps: Tensor) -> Tensor:
        return frame.see(stamps[:, None], otf)[:, 0] * usable

    parameters = sersic.fit(seen[rows, observing.band] * usable, one_band)
    stamps = sersic.stamps(parameters)[:, None].expand_as(seen)
    through = frame.see(stamps, observing.otf) * observing.mask
    flux = (through * seen).sum((2, 3)) / through.square().sum((2, 3)).clamp_min(1e-20)
    return stamps * flux.clamp_min(0)[:, :, None, None]


def as_fitted(
    fits: Tensor, observing: Observing, conditions: NDArray, ranges: dict[str, tuple[float, float]]
) -> tuple[NDArray, NDArray]:
    """Return radius and |g| of observed galaxies by the estimators that define these.

    A training file has them corrected for the PSF as if all were Gaussians, and with them its
    pixels: radii are some percent too large, galaxies too round. Here they are those of the Sersic
    fits without PSF.

    Parameters
    ----------
    fits : tensor (n, bands, 64, 64)
        From `sersic_fits`.
    observing : Observing
    conditions : ndarray (n, 4)
        Of the training file.
    ranges : dict
        Of the weights' conditions, which hold.

    Returns
    -------
    conditions : ndarray (n, 4)
        Those of galaxies that could not be measured are as they were.
    place : ndarray (n, 2, 2)
        For `as_asked`.
    """
    moments, radius, good = shapes.measure(fits[torch.arange(len(fits)), observing.band])
    ratio = torch.where(good, radius / HALF_LIGHT_PIXELS, 1.0).clamp(*_LIKELY).double().numpy()
    shape = torch.complex(moments.g1, moments.g2)
    g = torch.where(good, shape.abs(), 0.0).double().numpy()
    angle = torch.where(good, 0.5 * shape.angle(), 0.0).double().numpy()
    fitted = conditions.copy()
    known = good.numpy()
    fitted[:, NAMES.index("half_light_radius")] *= ratio
    fitted[known, NAMES.index("g")] = g[known]
    low, high = np.array([ranges[name] for name in NAMES]).T
    return np.clip(fitted, low, high), rotation_matrix(angle) * ratio[:, None, None]


def of_equal_flux(stamps: Tensor, seen: Tensor, observing: Observing) -> Tensor:
    """Scale stamps to the flux that was observed, through PSF and mask, in the structure's band."""
    rows = torch.arange(len(seen))
    mask = observing.mask[rows, observing.band]
    through = frame.see(stamps, observing.otf)[rows, observing.band]
    own = (seen[rows, observing.band] * mask).sum((1, 2))
    return stamps * (own / (through * mask).sum((1, 2)))[:, None, None, None]
