"""Single-Sersic fits to a batch of observed galaxies: what simulators use today.

A damped least-squares fit (Marquardt 1963, J. SIAM 11, 431) of index, radius, shape and centre to
one band, as for GalSim's COSMOS parametric catalogue; every other band gets the same profile with
its own best flux.
"""

import math

import torch
from torch import Tensor

from galsim_vae.bands import HALF_LIGHT_PIXELS
from galsim_vae.train.synthetic import sersic
from galsim_vae.train.synthetic.galaxies import SMOOTHING

__all__ = ["fit", "profile"]

ITERATIONS = 8
# ln index, ln radius [pixel], g1, g2, x, y [pixel]
_START = (math.log(1.5), math.log(HALF_LIGHT_PIXELS), 0.05, 0.0, 0.0, 0.0)
_LOW = (math.log(0.5), math.log(0.8), -0.84, -0.84, -6.0, -6.0)
_HIGH = (math.log(6.2), math.log(25.0), 0.84, 0.84, 6.0, 6.0)
_STEPS = (0.02, 0.01, 0.01, 0.01, 0.05, 0.05)  # of the finite differences
_MAX_G = 0.85


def profile(parameters: Tensor) -> Tensor:
    """PSF-free canonical stamps of unit-flux Sersic profiles.

    Parameters
    ----------
    parameters : tensor (n, 6), ln index, ln radius (sqrt(ab) [pixel]), g1, g2, x, y [pixel].

    Returns
    -------
    tensor (n, 64, 64)
    """
    index, radius, g1, g2, x, y = parameters.unbind(1)
    g1, g2 = (g * (_MAX_G / torch.hypot(g1, g2).clamp_min(_MAX_G)) for g in (g1, g2))
    shear = torch.stack((1 + g1, g2, g2, 1 - g1), 1).view(-1, 2, 2)
    size = radius.exp() / (1 - g1 * g1 - g2 * g2).sqrt()
    matrix = shear * size[:, None, None]
    return sersic.render(index.exp(), matrix, torch.stack((x, y), 1), SMOOTHING)


def fit(image: Tensor, otf: Tensor, mask: Tensor, band: Tensor, see) -> tuple[Tensor, Tensor]:
    """Fit one band of each galaxy and give the profile each band's best flux.

    Parameters
    ----------
    image, mask : tensors (n, bands, 64, 64), observed.
    otf : PSFs, as `see` takes them.
    band : tensor (n,) of int, the band that is fitted.
    see : function (stamps (n, k, 64, 64), otf (n, k, ...)) to observed, noise-free stamps.

    Returns
    -------
    stamps : tensor (n, bands, 64, 64), PSF-free.
    parameters : tensor (n, 6), as in `profile`.
    """
    rows = torch.arange(len(image))
    data, usable = image[rows, band], mask[rows, band]
    data, transfer = data * usable, otf[rows, band][:, None]

    def model(parameters: Tensor) -> Tensor:
        return see(profile(parameters)[:, None], transfer)[:, 0] * usable

    parameters = _minimise(model, data)
    stamps = profile(parameters)[:, None].expand_as(image)
    seen = see(stamps, otf) * mask
    flux = (seen * image).sum((2, 3)) / seen.square().sum((2, 3)).clamp_min(1e-20)
    return stamps * flux.clamp_min(0)[:, :, None, None], parameters


def _minimise(model, data: Tensor) -> Tensor:
    """Least squares of data - flux * model(parameters), rows apart; the flux is solved for."""
    low, high, steps = (data.new_tensor(v) for v in (_LOW, _HIGH, _STEPS))
    best = data.new_tensor(_START).repeat(len(data), 1)
    shape, cost, flux = _residual(model, best, data)
    damping = data.new_full((len(data),), 1e-2)
    for _ in range(ITERATIONS):
        slopes = [shape]
        for k, step in enumerate(steps):
            moved = best.clone()
            moved[:, k] += step
            slopes.append(flux[:, None, None] * (model(moved) - shape) / step)
        jacobian = torch.stack(slopes, 1).flatten(2).double()
        error = (data - flux[:, None, None] * shape).flatten(1).double()
        normal = jacobian @ jacobian.mT
        diagonal = normal.diagonal(dim1=1, dim2=2)
        ridge = damping[:, None] * diagonal + 1e-9 * diagonal.amax(1, keepdim=True)
        right = (jacobian @ error[..., None])[..., 0]
        change = torch.linalg.solve(normal + torch.diag_embed(ridge), right)[:, 1:]
        trial = torch.minimum(torch.maximum(best + change.to(best.dtype), low), high)
        new_shape, new_cost, new_flux = _residual(model, trial, data)
        better = new_cost < cost
        best = torch.where(better[:, None], trial, best)
        shape = torch.where(better[:, None, None], new_shape, shape)
        cost, flux = torch.where(better, new_cost, cost), torch.where(better, new_flux, flux)
        damping = (damping * torch.where(better, 0.2, 5.0)).clamp(1e-6, 1e4)
    return best


def _residual(model, parameters: Tensor, data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The model, the sum of squared residuals and the best flux."""
    shape = model(parameters)
    flux = (shape * data).sum((1, 2)) / shape.square().sum((1, 2)).clamp_min(1e-20)
    return shape, (data - flux[:, None, None] * shape).square().sum((1, 2)), flux
