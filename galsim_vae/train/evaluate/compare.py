"""Held-out galaxies and the samples that are held against them.

All have the conditions, PSF, pixel scale and noise of the held-out galaxies:

======== =====================================================================================
held_out the galaxies themselves
model    the generator as it is used (exact=True)
free     the same stamps without the corrections to size, shape and centre (exact=False)
rebuilt  the held-out galaxies encoded, as for the flow's training, and decoded: without the flow
sersic   single-Sersic fits to the held-out galaxies
normal   the decoder with standard normal latents instead of the flow's
training other galaxies, of the kind that was trained on
======== =====================================================================================
"""

from typing import NamedTuple

import galsim
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae import shapes
from galsim_vae.bands import HALF_LIGHT_PIXELS, REFERENCE, ZEROPOINTS
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

from . import frame, lanusse
from .observables import (
    Observing,
    edge_flux,
    observed_features,
    power_rings,
    stretched_images,
)

__all__ = ["Context", "HeldOut", "compare", "sersic_fits"]

# Images on the sky: pixels, and arcsec a pixel for galaxies below and above a radius [arcsec].
_SKY_SIZE, _SKY_SCALE, _LARGE_SCALE, _LARGE = 96, 0.06, 0.48, 0.4


class Context:
    """What every piece needs: the generator, its networks, SEDs and PSF models."""

    def __init__(self, weights):
        self.generator = GalaxyGenerator(weights, device="cpu")
        model = modelfile.read(self.generator.path)
        self.vae = model.vae
        self.half_light_pixels = float(model.flows.half_light_pixels)
        frame = model.vae.config.canonical_frame
        self.sources = Sources(colour_table(), RadialPSFTable.hst(), frame=frame)


class HeldOut(NamedTuple):
    """Galaxies that samples are held against.

    Attributes
    ----------
    conditions : ndarray (n, 4)
        Asked: columns of `galsim_vae.conditions.NAMES`, radius in arcsec; NaN is drawn.
    seen : tensor (n, bands, 64, 64)
        As observed.
    observing : Observing
        How they were.
    stamps : tensor (n, bands, 64, 64), optional
        Without PSF, F814W = 1; None where nobody knows them.
    framed : tensor (n, bands, 64, 64), optional
        The same in the frame of the networks.
    """

    conditions: NDArray
    seen: Tensor
    observing: Observing
    stamps: Tensor | None = None
    framed: Tensor | None = None


def compare(
    galaxies: HeldOut,
    ids: NDArray,
    context: Context,
    random: torch.Generator,
    baselines: bool = True,
    images: bool = True,
) -> dict[str, NDArray]:
    """Measure held-out galaxies and everything that is held against them.

    Parameters
    ----------
    galaxies : HeldOut
    ids : ndarray (n,) of int
        Of the galaxies that are generated.
    context : Context
    random : torch.Generator
    baselines, images : bool
        Whether the samples that are slow to make, and images, are wanted.

    Returns
    -------
    dict of array, by name or name/sample:
        ``conditions`` (n, 4), complete.

        ``features`` (n, features), sizes in units of the pixel scale.

        ``power`` (n, 32), power in the band of structure at 1, 2, ... cycles a stamp, without
        noise; NaN beyond the PSF.

        ``edges`` (n,), share of the F814W flux in the outer two pixels of the PSF-free stamp.

        ``fluxes`` (n, bands), drawn through the PSF without noise.

        ``images`` (n, 64, 64) float16, the band of structure over its noise, arcsinh-stretched.

        ``drawn`` (n, 2), radius [arcsec] and abs(g) of the stamps of ``free``.

        ``sky`` (n, 3), g1, g2 and F814W magnitude of galaxies of ``model`` and ``free``, drawn on
        the sky through a round PSF.

        ``adaptive`` (n, 4) of ``held_out``, ``model`` and ``free``, see `lanusse.adaptive`.
    """
    conditions, seen, observing, held_out, framed = galaxies
    n = len(seen)
    angle = np.pi * torch.rand(n, generator=random).numpy().astype(float)
    rng = galsim.BaseDeviate(int(torch.randint(1, 2**31, (1,), generator=random)))
    drawn = context.generator.sample(_table(conditions, angle, ids), rng, exact=True)
    taken = context.sources.frame.shear(drawn.conditions.values[:, NAMES.index("g")])
    free = _uncorrected(drawn, taken, context.half_light_pixels)
    stamps = {"held_out": held_out, "model": _as_asked(drawn), "free": _as_asked(free)}
    result = {
        "conditions": drawn.conditions.values,
        "drawn": _measured(stamps["free"], drawn),
        "sky/model": _on_the_sky(drawn),
        "sky/free": _on_the_sky(free),
    }
    if baselines:
        latent = torch.randn(n, context.vae.config.latent, generator=random)
        shear = torch.from_numpy(taken).float()
        stamps["normal"] = _decode(latent, shear, context)
        if framed is not None:
            latent = _encode(framed, observing.pixel_scale, shear, context, random)
            stamps["rebuilt"] = _decode(latent, shear, context)
        stamps["sersic"] = sersic_fits(seen, observing)
    for name, clean in stamps.items():
        observed = seen
        if clean is not None:
            if held_out is None and name != "sersic":
                clean = _of_equal_flux(clean, seen, observing)
            through = frame.see(clean, observing.otf)
            result[f"edges/{name}"] = edge_flux(clean)
            result[f"fluxes/{name}"] = through.sum((2, 3)).numpy()
            result[f"power/{name}"] = power_rings(through, observing)
            if name != "held_out":
                observed = frame.add_noise(through, observing.noise, random)
        else:
            result[f"power/{name}"] = power_rings(seen, observing, noisy=True)
        result[f"features/{name}"] = observed_features(observed, observing)
        if name in ("held_out", *lanusse.SAMPLES):
            result[f"adaptive/{name}"] = lanusse.adaptive(observed, observing)
        if images and name in ("held_out", "model", "sersic"):
            result[f"images/{name}"] = stretched_images(observed, observing)
    return result


def _table(conditions: NDArray, angle: NDArray, ids: NDArray) -> dict[str, NDArray]:
    """Conditions (n, 4) and position angles as `GalaxyGenerator.sample` takes them."""
    magnitude, radius, g, redshift = conditions.T
    return {
        "magnitude": np.ma.masked_invalid(magnitude),
        "half_light_radius": np.ma.masked_invalid(radius),
        "g1": g * np.cos(2 * angle),
        "g2": g * np.sin(2 * angle),
        "redshift": np.ma.masked_invalid(redshift),
        "id": ids,
    }


def _as_asked(drawn: Stamps) -> Tensor:
    """The stamps as the generator lays them on the sky, in the canonical frame that was asked for.

    Their jacobians and offsets, less the position angle and the pixel scale.
    """
    matrix = np.linalg.inv(drawn.jacobian) @ _frame_of(drawn, HALF_LIGHT_PIXELS)
    matrix, offset = (torch.from_numpy(v).float() for v in (matrix, drawn.offset))
    return frame.resample(torch.from_numpy(drawn.array), matrix, offset)


def _frame_of(drawn: Stamps, pixels: float) -> NDArray:
    """Maps to the sky of stamps with the asked angle, and the asked radius in so many pixels."""
    angle, scale = drawn.conditions.angle, drawn.conditions.values[:, 1] / pixels
    return rotation_matrix(angle) * scale[:, None, None]


def _uncorrected(drawn: Stamps, taken: NDArray, pixels: float) -> Stamps:
    """The same stamps as exact=False would lay them on the sky."""
    offset = np.zeros_like(drawn.offset)
    jacobian = _frame_of(drawn, pixels) @ shear_matrix(taken, 0.0)
    return Stamps(drawn.array, drawn.conditions, jacobian, offset, drawn.bands)


def _encode(
    stamps: Tensor,
    pixel_scale: Tensor,
    taken: Tensor,
    context: Context,
    random: torch.Generator,
) -> Tensor:
    """Latents of galaxies seen as sharply and deeply as those that the flow is trained on."""
    n = len(stamps)
    level = torch.full((n,), flow_constants.ENCODED_SIGNAL_TO_NOISE)
    sharp = torch.full((n,), constants.SHARPEST)
    seen = observe(stamps, pixel_scale, context.sources.psfs, random, level, True, sharp, taken)
    with torch.inference_mode():
        mean, log_variance = context.vae.encoder(seen.image, seen.otf, seen.noise, seen.mask)
        return sample_posterior(mean, log_variance, random)


def _decode(latent: Tensor, taken: Tensor, context: Context) -> Tensor:
    """Decoded stamps with the shear that the frame has taken out."""
    return frame.put_back(torch.from_numpy(context.generator.decode(latent.numpy())), taken)


def _measured(stamps: Tensor, drawn: Stamps) -> NDArray:
    """Radius [arcsec] and |g| of stamps in the canonical frame that was asked for: (n, 2)."""
    measured = frame.truth(stamps)
    scale = drawn.conditions.values[:, 1] / HALF_LIGHT_PIXELS
    g = torch.hypot(measured.g1, measured.g2).numpy()
    values = np.stack((measured.radius.numpy() * scale, g), 1)
    return np.where(measured.good.numpy()[:, None], values, np.nan)


def _on_the_sky(drawn: Stamps) -> NDArray:
    """g1, g2 and magnitude of galaxies drawn on the sky, NaN where moments fail: (n, 3)."""
    values = np.empty((len(drawn), 3))
    large = drawn.conditions.values[:, NAMES.index("half_light_radius")] > _LARGE
    for rows, scale in ((~large, _SKY_SCALE), (large, _LARGE_SCALE)):
        if not rows.any():
            continue
        psf = galsim.Gaussian(fwhm=2 * scale)
        images = drawn[rows].render(psf, nx=_SKY_SIZE, ny=_SKY_SIZE, scale=scale, device="cpu")
        moments = shapes.adaptive_moments(torch.from_numpy(images[:, 0]), tolerance=1e-4)
        flux = np.maximum(images[:, 0].sum((1, 2), dtype=np.float64), 1e-30)
        magnitude = ZEROPOINTS[REFERENCE] - 2.5 * np.log10(flux)
        found = np.column_stack([moments.g1.numpy(), moments.g2.numpy(), magnitude])
        values[rows] = np.where(moments.converged.numpy()[:, None], found, np.nan)
    return values


def sersic_fits(seen: Tensor, observing: Observing) -> Tensor:
    """Single-Sersic galaxies fitted to observed ones: what simulators use today.

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


def _of_equal_flux(stamps: Tensor, seen: Tensor, observing: Observing) -> Tensor:
    """Scale stamps to the flux that was observed, through PSF and mask, in the structure's band."""
    rows = torch.arange(len(seen))
    mask = observing.mask[rows, observing.band]
    through = frame.see(stamps, observing.otf)[rows, observing.band]
    own = (seen[rows, observing.band] * mask).sum((1, 2))
    return stamps * (own / (through * mask).sum((1, 2)))[:, None, None, None]
