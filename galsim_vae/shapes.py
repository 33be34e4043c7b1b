"""Shape and size of noise-free stamps, measured for a whole batch at once.

These are the estimators that define what `ellipticity` and `half_light_radius` mean: the labels
that train the flow and the exactness corrections of the generator both use them.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Half-light radius of a round Gaussian in units of its sigma.
GAUSSIAN_HALF_LIGHT = math.sqrt(2 * math.log(2))
# Over-relaxation of the moments' fixed point: 2 is Newton's step for a Gaussian, whose weighted
# moments follow half of a change of the weight; they follow more of it in wider-winged galaxies,
# which 2.5 suits best (3 oscillates).
_STEP = 2.5
# Apertures are last evaluated on a grid finer by this factor.
_FINER = 2


class Moments(NamedTuple):
    """Adaptive moments of a batch of images, each a tensor of shape (n,).

    Attributes
    ----------
    x, y : centroid from the centre of the stamp [pixel].
    g1, g2 : reduced shear of the matched Gaussian, (a - b) / (a + b) along its position angle.
    sigma : geometric mean of the Gaussian's two axes, det(M)^(1/4) [pixel].
    converged : bool, whether the iteration settled on a positive definite matrix.
    """

    x: Tensor
    y: Tensor
    g1: Tensor
    g2: Tensor
    sigma: Tensor
    converged: Tensor


def _polynomials(size: int, like: Tensor, finer: int = 1) -> Tensor:
    """Values of 1, x, y, x^2, x*y, y^2 from the centre of a stamp, tensor (6, points).

    The points are the pixel centres, or `finer` times as many in each direction from the first.
    """
    axis = torch.arange(size * finer, dtype=like.dtype, device=like.device) / finer
    axis = axis - (size - 1) / 2
    y, x = (a.reshape(-1) for a in torch.meshgrid(axis, axis, indexing="ij"))
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y])


def _quadratic_form(x0, y0, a, b, c) -> Tensor:
    """Coefficients (n, 6) of a (x-x0)^2 + 2 b (x-x0)(y-y0) + c (y-y0)^2 in `_polynomials`."""
    return torch.stack(
        [
            a * x0 * x0 + 2 * b * x0 * y0 + c * y0 * y0,
            -2 * (a * x0 + b * y0),
            -2 * (b * x0 + c * y0),
            a,
            2 * b,
            c,
        ],
        dim=1,
    )


def adaptive_moments(
    images: Tensor, sigma: float = 5.0, tolerance: float = 1e-5, iterations: int = 100
) -> Moments:
    """Measure adaptive second moments: the elliptical Gaussian weight that matches the object.

    The weight is iterated until twice the weighted second moments equal its own. The result
    follows a shear of the image exactly, which is why it defines `ellipticity` here.

    Parameters
    ----------
    images : tensor (n, size, size), noise-free surface brightness.
    sigma : size of the round starting weight [pixel].
    tolerance : largest relative change of the moments at which the iteration stops.
    iterations : most iterations.

    Returns
    -------
    Moments

    References
    ----------
    Bernstein & Jarvis 2002 (AJ 123, 583), section 3.1; Hirata & Seljak 2003
    (MNRAS 343, 459), equations 4 and 5.
    """
    n, size, _ = images.shape
    basis = _polynomials(size, images)
    flat = images.reshape(n, -1)
    x0 = images.new_zeros(n)
    y0 = images.new_zeros(n)
    mxx = images.new_full((n,), sigma**2)
    myy = mxx.clone()
    mxy = torch.zeros_like(mxx)
    converged = torch.zeros(n, dtype=torch.bool, device=images.device)
    for _ in range(iterations):
        det = mxx * myy - mxy * mxy
        form = _quadratic_form(x0, y0, myy / det, -mxy / det, mxx / det)
        weighted = torch.exp((-0.5 * form @ basis).clamp_(min=-60.0)).mul_(flat)  # no denormals
        sums = weighted @ basis.T
        total = sums[:, 0]
        x1, y1 = sums[:, 1] / total, sums[:, 2] / total
        nxx = 2 * (sums[:, 3] / total - x1 * x1)
        nxy = 2 * (sums[:, 4] / total - x1 * y1)
        nyy = 2 * (sums[:, 5] / total - y1 * y1)
        x1, y1 = x0 + _STEP * (x1 - x0), y0 + _STEP * (y1 - y0)
        nxx, nxy, nyy = (m + _STEP * (k - m) for k, m in ((nxx, mxx), (nxy, mxy), (nyy, myy)))
        trace = mxx + myy
        safe = (nxx * nyy - nxy * nxy > 0.05 * det) & (nxx + nyy > 0.2 * trace)
        nxx, nxy, nyy = (
            torch.where(safe, k, m + (k - m) / _STEP)
            for k, m in ((nxx, mxx), (nxy, mxy), (nyy, myy))
        )
        change = torch.stack([nxx - mxx, nxy - mxy, nyy - myy]).abs().amax(0) / (mxx + myy)
        change = torch.maximum(change, torch.hypot(x1 - x0, y1 - y0) / (mxx + myy).sqrt())
        step = torch.where(converged, 0.0, 1.0)  # a settled galaxy does not depend on its batch
        x0, y0 = x0 + step * (x1 - x0), y0 + step * (y1 - y0)
        mxx, mxy, myy = (m + step * (k - m) for m, k in ((mxx, nxx), (mxy, nxy), (myy, nyy)))
        converged = converged | (change < tolerance)
        if bool(converged.all()):
            break
    det = mxx * myy - mxy * mxy
    scale = mxx + myy + 2 * det.clamp(min=0).sqrt()
    good = converged & (det > 0) & (x0.abs() < size / 2) & (y0.abs() < size / 2)
    return Moments(x0, y0, (mxx - myy) / scale, 2 * mxy / scale, det.clamp(min=0) ** 0.25, good)


def half_light_radius(images: Tensor, moments: Moments) -> Tensor:
    """Measure the sqrt(a b) of the ellipse that holds half of each stamp's flux.

    The ellipse has the shape and centre of `moments`; flux is counted over the whole stamp. A pixel
    that the ellipse cuts counts by about the share inside. The radius found on the stamp's own
    pixels is improved on a grid of half the step, interpolated in Fourier space.

    Parameters
    ----------
    images : tensor (n, size, size), noise-free surface brightness.
    moments : from `adaptive_moments` of the same images.

    Returns
    -------
    tensor (n,), half-light radius [pixel]
    """
    size = images.shape[-1]
    start = moments.sigma * GAUSSIAN_HALF_LIGHT
    grid = _polynomials(size, images)
    low, high = torch.full_like(start, 0.1), torch.full_like(start, float(size))
    coarse = _solve_radius(images.flatten(1), grid, moments, start, (low, high), 1.0, 1e-3)
    grid = _polynomials(size, images, _FINER)
    fine = _upsample(images, _FINER).flatten(1)
    limits = (0.8 * coarse, 1.2 * coarse)
    return _solve_radius(fine, grid, moments, coarse, limits, 1.0 / _FINER, 1e-4)


def _upsample(images: Tensor, factor: int) -> Tensor:
    """Band-limited interpolation of (n, size, size) to (n, factor * size, factor * size)."""
    n, size, _ = images.shape
    spectrum = torch.fft.rfft2(images)
    padded = spectrum.new_zeros((n, factor * size, factor * size // 2 + 1))
    half = size // 2
    padded[:, :half, : half + 1] = spectrum[:, :half]
    padded[:, -half:, : half + 1] = spectrum[:, half:]
    return torch.fft.irfft2(padded, s=(factor * size, factor * size)) * factor**2


def _solve_radius(
    flat: Tensor,
    grid: Tensor,
    moments: Moments,
    start: Tensor,
    limits: tuple[Tensor, Tensor],
    step: float,
    tolerance: float,
    iterations: int = 30,
) -> Tensor:
    """Find the elliptical radius inside which half of the flux lies, by safeguarded Newton steps.

    Parameters
    ----------
    flat : tensor (n, points), surface brightness.
    grid : tensor (6, points), `_polynomials` of the same points.
    start : tensor (n,), first guess [pixel].
    limits : tensors (n,), radii that the solution lies between [pixel].
    step : distance of the points [pixel]: the width of the ramp that softens the edge.
    tolerance : relative change of the radius at which the iteration stops.
    """
    g_squared = moments.g1**2 + moments.g2**2
    # Normalised to unit area: r^2 = x^T M^-1 x sqrt(det M).
    a = (1 + g_squared - 2 * moments.g1) / (1 - g_squared)
    b = -2 * moments.g2 / (1 - g_squared)
    c = (1 + g_squared + 2 * moments.g1) / (1 - g_squared)
    r = (_quadratic_form(moments.x, moments.y, a, b, c) @ grid).clamp(min=1e-6).sqrt()
    dx = grid[1] - moments.x[:, None]
    dy = grid[2] - moments.y[:, None]
    gradient = torch.hypot(a[:, None] * dx + b[:, None] * dy, b[:, None] * dx + c[:, None] * dy)
    slope = r / (step * gradient).clamp(min=1e-3)
    half = 0.5 * flat.sum(1)
    radius = start
    low, high = limits
    done = torch.zeros_like(radius, dtype=torch.bool)
    for _ in range(iterations):
        share = (radius[:, None] - r).mul_(slope).add_(0.5)
        inside = share.clamp(0, 1)
        excess = torch.linalg.vecdot(inside, flat) - half
        on_edge = torch.where(share == inside, slope, 0.0)
        rate = torch.linalg.vecdot(on_edge, flat)
        low = torch.where(excess < 0, torch.maximum(low, radius), low)
        high = torch.where(excess > 0, torch.minimum(high, radius), high)
        new = radius - excess / rate.clamp(min=1e-12)
        new = torch.where((new > low) & (new < high), new, 0.5 * (low + high))
        change = (new - radius).abs()
        radius = torch.where(done, radius, new)
        done = done | (change < tolerance * radius)
        if bool(done.all()):
            break
    return radius
