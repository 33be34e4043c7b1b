"""Size and shape of PSFs from their transforms."""

import math

import torch
from torch import Tensor

__all__ = ["psf_shape"]

_SMALLEST = 1e-3  # pixel: of PSFs that are not there


def psf_shape(otf: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return size and shape of each PSF from the second moments of k under its power.

    That of a Gaussian of covariance C is exp(-k C k), whose second moments are (2 C)^-1.

    Parameters
    ----------
    otf : complex or real tensor
        (..., size, size // 2 + 1), `rfft2` of PSFs of unit sum.

    Returns
    -------
    ln sigma, e1, e2 : tensors (...)
        Geometric mean of the axes of C [ln pixel], and (C_xx - C_yy, 2 C_xy) / (C_xx + C_yy).
    """
    size = otf.shape[-2]
    ky = 2 * math.pi * torch.fft.fftfreq(size, device=otf.device)[:, None]
    kx = 2 * math.pi * torch.fft.rfftfreq(size, device=otf.device)
    power = otf.abs().square()
    # k and -k are one wave; the Nyquist frequency has no sign.
    count = torch.where(kx > 0, 2.0, 1.0) * (ky > -math.pi) * (kx < math.pi)
    power = power * count
    whole = power.sum((-2, -1)).clamp(min=1e-12)
    xx, xy, yy = ((power * k).sum((-2, -1)) / whole for k in (kx * kx, kx * ky, ky * ky))
    determinant = (xx * yy - xy * xy).clamp(min=1e-12)
    trace = (xx + yy).clamp(min=1e-6)
    log_sigma = -0.25 * torch.log(4 * determinant)
    return log_sigma.clamp(min=math.log(_SMALLEST)), (yy - xx) / trace, -2 * xy / trace
