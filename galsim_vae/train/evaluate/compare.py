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
from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, ZEROPOINTS
from galsim_vae.conditions import NAMES
from galsim_vae.frame.frames import UPRIGHT
from galsim_vae.model import spirals
from galsim_vae.stamps import Stamps

from . import frame, lanusse
from .observables import (
    Observing,
    add_noise,
    edge_flux,
    observed_features,
    power_rings,
    stretched_images,
)
from .samples import (
    Context,
    as_asked,
    as_table,
    decode,
    encode,
    exactly_framed,
    of_equal_flux,
    sersic_fits,
    uncorrected,
)

__all__ = ["HeldOut", "InFrame", "compare"]

# Images on the sky: pixels, and arcsec a pixel for galaxies below and above a radius [arcsec].
_SKY_SIZE, _SKY_SCALE, _LARGE_SCALE, _LARGE = 96, 0.06, 0.48, 0.4


class InFrame(NamedTuple):
    """Galaxies in the frame of the networks.

    Attributes
    ----------
    image : tensor (n, bands, 64, 64)
        Without PSF, F814W = 1, or as observed.
    observing : Observing
        How they are observed.
    taken : tensor (n,)
        Shears along +x that the frame has taken out.
    noisy : bool
        Whether they are as observed.
    """

    image: Tensor
    observing: Observing
    taken: Tensor
    noisy: bool = False


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
    framed : InFrame, optional
        In the frame of the networks; None where they are not known in it.
    fits : tensor (n, bands, 64, 64), optional
        Sersic fits, of `samples.sersic_fits`; made if absent.
    place : ndarray (n, 2, 2), optional
        See `samples.as_asked`.
    arcsec : tensor (n,), optional
        Pixel scale on the sky, if ``observing.pixel_scale`` is not.
    """

    conditions: NDArray
    seen: Tensor
    observing: Observing
    stamps: Tensor | None = None
    framed: InFrame | None = None
    fits: Tensor | None = None
    place: NDArray | None = None
    arcsec: Tensor | None = None


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

        ``power`` (n, 32), power in the band of structure at 1, 2, ... cycles a stamp; NaN beyond
        the PSF. Noise is taken off, if what is held out has noise; then from all samples, and NaN
        where there is no more than that.

        ``edges`` (n,), share of the F814W flux in the outer two pixels of the PSF-free stamp.

        ``fluxes`` (n, bands), drawn through the PSF without noise.

        ``images`` (n, 64, 64) float16, the band of structure over its noise, arcsinh-stretched.

        ``frame_power`` (n, 32), the same in the frame of the networks, if that is another one.

        ``arms`` (n,), 1 for galaxies with clear arms, in that frame, if their truth is known.

        ``drawn`` (n, 2), radius [arcsec] and abs(g) of the stamps of ``free``.

        ``sky`` (n, 3), g1, g2 and F814W magnitude of galaxies of ``model`` and ``free``, drawn on
        the sky through a round PSF.

        ``adaptive`` (n, 4) of ``held_out``, ``model`` and ``free``, see `lanusse.adaptive`.
    """
    conditions, seen, observing, held_out, framed, fits, place, _ = galaxies
    n = len(seen)
    angle = np.pi * torch.rand(n, generator=random).numpy().astype(float)
    rng = galsim.BaseDeviate(int(torch.randint(1, 2**31, (1,), generator=random)))
    drawn = context.generator.sample(as_table(conditions, angle, ids), rng, exact=True)
    taken = context.frame.shear(drawn.conditions.values[:, NAMES.index("g")])
    free = uncorrected(drawn, taken, context.half_light_pixels)
    stamps = {"held_out": held_out, "model": as_asked(drawn, place)}
    stamps["free"] = as_asked(free, place)
    result = {
        "conditions": drawn.conditions.values,
        "drawn": _measured(as_asked(free), drawn),
        "sky/model": _on_the_sky(drawn),
        "sky/free": _on_the_sky(free),
    }
    decoded = {}
    if baselines:
        latent = torch.randn(n, context.vae.config.latent, generator=random)
        decoded["normal"] = decode(latent, context)
        if held_out is not None and framed is not None:
            latent = encode(framed.image, observing.pixel_scale, framed.taken, context, random)
            decoded["rebuilt"] = decode(latent, context)
        shear = torch.from_numpy(taken).float()
        stamps |= {name: frame.put_back(image, shear) for name, image in decoded.items()}
        stamps["sersic"] = sersic_fits(seen, observing) if fits is None else fits
    for name, clean in stamps.items():
        observed = seen
        if clean is not None:
            if held_out is None and name != "sersic":
                clean = of_equal_flux(clean, seen, observing)
            through = frame.see(clean, observing.otf)
            result[f"edges/{name}"] = edge_flux(clean)
            result[f"fluxes/{name}"] = through.sum((2, 3)).numpy()
            if name != "held_out":
                observed = add_noise(through, observing, random)
            alike = observed if held_out is None else through
        else:
            alike = seen
        result[f"power/{name}"] = power_rings(alike, observing, noisy=held_out is None)
        result[f"features/{name}"] = observed_features(observed, observing)
        if name in ("held_out", *lanusse.SAMPLES):
            result[f"adaptive/{name}"] = lanusse.adaptive(observed, observing)
        if images and name in ("held_out", "model", "sersic"):
            result[f"images/{name}"] = stretched_images(observed, observing)
    if framed is not None and context.frame != UPRIGHT:
        shears = framed.taken.double().numpy()
        decoded["model"] = exactly_framed(drawn, shears, place)
        decoded["free"] = exactly_framed(free, shears, place)
        result |= _in_frame(framed, decoded, random)
    return result


def _arms(stamps: Tensor) -> NDArray:
    """Whether galaxies (n, bands, 64, 64) have clear arms, (n,) as numbers."""
    image = stamps[:, BANDS.index(REFERENCE)]
    return spirals.has_arms(spirals.strongest(image)).numpy().astype(float)


def _in_frame(
    framed: InFrame, decoded: dict[str, Tensor], random: torch.Generator
) -> dict[str, NDArray]:
    """``frame_power`` and ``arms``; of Sersic fits they are not known."""
    image, observing, _, noisy = framed
    result = {}
    if noisy:
        result["frame_power/held_out"] = power_rings(image, observing, noisy=True)
    else:
        decoded = decoded | {"held_out": image}
    for name, clean in decoded.items():
        if noisy:
            clean = of_equal_flux(clean, image, observing)
        else:
            result[f"arms/{name}"] = _arms(clean)
        seen = frame.see(clean, observing.otf)
        if noisy:
            seen = add_noise(seen, observing, random)
        result[f"frame_power/{name}"] = power_rings(seen, observing, noisy=noisy)
    return result


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
