"""Held-out, drawn and Sersic galaxies of the same conditions, whose shear response is compared."""

from dataclasses import replace

import galsim
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE, STAMP_SIZE, ZEROPOINTS
from galsim_vae.conditions import NAMES, Conditions
from galsim_vae.frame.frames import UPRIGHT
from galsim_vae.geometry import shear_matrix
from galsim_vae.render import sersic
from galsim_vae.shear.twins import in_one_band
from galsim_vae.stamps import Stamps

from . import frame, response
from .compare import HeldOut
from .observables import Observing, add_noise
from .samples import Context, as_asked, as_table, of_equal_flux

__all__ = ["as_observed", "real", "synthetic"]

_REFERENCE = BANDS.index(REFERENCE)
# Between the ids of galaxies of two draws.
_STRIDE = 10_000_000


def synthetic(
    galaxies: HeldOut, ids: NDArray, context: Context, random: torch.Generator
) -> dict[str, NDArray]:
    """Measure galaxies without noise, drawn ones, and Sersic fits to them in F814W.

    Parameters
    ----------
    galaxies : HeldOut
        Known without PSF, in the frame of the networks.
    ids : ndarray (n,) of int
        Of the galaxies that are drawn.
    context : Context
    random : torch.Generator

    Returns
    -------
    dict of ndarray (n, 2)
        By ``response/``, the kind (see `response.KINDS`) and the sample.
    """
    assert galaxies.framed is not None
    image, taken = galaxies.framed.image, galaxies.framed.taken
    drawn = _draw(galaxies.conditions, ids, context, random)
    scale = drawn.conditions.values[:, NAMES.index("half_light_radius")] / HALF_LIGHT_PIXELS
    jacobian = scale[:, None, None] * shear_matrix(taken.double().numpy(), 0.0)
    fits = sersic.stamps(sersic.fit(image[:, _REFERENCE])) * context.frame.taper(STAMP_SIZE)
    fits = fits / fits.sum((1, 2), keepdim=True)
    fits = fits[:, None] * image.sum((2, 3))[:, :, None, None]
    samples = {"model": drawn}
    for name, stamps in (("held_out", image), ("sersic", fits)):
        array = np.ascontiguousarray(stamps.numpy())
        offset = np.zeros((len(array), 2))
        samples[name] = Stamps(array, drawn.conditions, jacobian, offset, BANDS)
    result = {}
    for name, stamps in samples.items():
        for place, view in response.views().items():
            found = response.measure(in_one_band(stamps, view.band), view, place)
            result |= {f"response/{kind}/{name}": values for kind, values in found.items()}
    return result


def real(
    galaxies: HeldOut, ids: NDArray, context: Context, random: torch.Generator, draws: int
) -> dict[str, NDArray]:
    """Measure observed galaxies, and drawn ones and Sersic fits through the same PSF and noise.

    What is sheared is what was observed, PSF and noise in it: of all alike.

    Parameters
    ----------
    galaxies : HeldOut
    ids : ndarray (n,) of int
        Of the galaxies that are drawn.
    context : Context
    random : torch.Generator
    draws : int
        Of each galaxy, and of the noise of its Sersic fit.

    Returns
    -------
    dict of ndarray (n, 2)
        As `synthetic` gives them, means over the draws.
    """
    seen, observing, fits = galaxies.seen, galaxies.observing, galaxies.fits
    assert galaxies.arcsec is not None and fits is not None
    found: dict[str, list[dict[str, NDArray]]] = {"model": [], "sersic": []}
    drawn = None
    for k in range(draws):
        drawn = _draw(galaxies.conditions, ids + k * _STRIDE, context, random)
        model = of_equal_flux(as_asked(drawn, galaxies.place), seen, observing)
        clean = {"model": model, "sersic": fits}
        for name, stamps in clean.items():
            noisy = add_noise(frame.see(stamps, observing.otf), observing, random)
            observed = as_observed(noisy, observing, galaxies.arcsec, drawn.conditions)
            found[name].append(_measured(observed))
    if drawn is None:
        return {}
    held_out = as_observed(seen, observing, galaxies.arcsec, drawn.conditions)
    found["held_out"] = [_measured(held_out)]
    return {
        f"response/{kind}/{name}": _mean([each[kind] for each in draws_of])
        for name, draws_of in found.items()
        for kind in response.KINDS
    }


def _draw(
    conditions: NDArray, ids: NDArray, context: Context, random: torch.Generator
) -> Stamps:
    rng = galsim.BaseDeviate(int(torch.randint(1, 2**31, (1,), generator=random)))
    return context.generator.sample(as_table(conditions, np.zeros(len(ids)), ids), rng, exact=True)


def as_observed(
    image: Tensor, observing: Observing, arcsec: Tensor, conditions: Conditions
) -> Stamps:
    """Return observed images in the band of structure as stamps, which fade at their ends.

    Parameters
    ----------
    image : tensor (n, bands, 64, 64)
    observing : Observing
    arcsec : tensor (n,)
        A pixel's width.
    conditions : Conditions
        Magnitudes do not matter.

    Returns
    -------
    Stamps
        Of one band, F814W by name.
    """
    rows = torch.arange(len(image))
    one = image[rows, observing.band] * observing.mask[rows, observing.band]
    array = (one * UPRIGHT.taper(STAMP_SIZE)).numpy()[:, None]
    jacobian = arcsec.double().numpy()[:, None, None] * np.eye(2)
    # Whatever their magnitudes, all are drawn as bright: those of some are drawn anew each time.
    values = conditions.values.copy()
    values[:, NAMES.index("magnitude")] = ZEROPOINTS[REFERENCE]
    conditions = replace(conditions, values=values)
    return Stamps(array, conditions, jacobian, np.zeros((len(array), 2)), (REFERENCE,))


def _measured(stamps: Stamps) -> dict[str, NDArray]:
    """Responses of observed galaxies, whose flux is 1 but for the noise that was added."""
    result = {}
    for place, view in response.views().items():
        result |= response.measure(stamps, view, place, flux=1.0)
    return result


def _mean(draws: list[NDArray]) -> NDArray:
    """Mean over the draws that could be measured, NaN if there is none."""
    values = np.array(draws)
    known = np.isfinite(values).all(2, keepdims=True)
    count = known.sum(0)
    total = np.where(known, values, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
