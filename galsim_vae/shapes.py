"""Shape and size of noise-free stamps, measured for a whole batch at once.

These are the estimators that define what `ellipticity` and `half_light_radius` mean: the labels
that train the flow and the exactness corrections of the generator both use them.
"""

import functools
import math
from typing import NamedTuple

import galsim
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import geometry

__all__ = [
    "GAUSSIAN_HALF_LIGHT",
    "Measured",
    "Moments",
    "adaptive_moments",
    "as_drawn",
    "elliptical_radius",
    "half_light_radius",
    "measure",
    "upsample",
]

# Half-light radius of a round Gaussian in units of its sigma.
GAUSSIAN_HALF_LIGHT = math.sqrt(2 * math.log(2))
# Of the moments y^j x^i, element 5 j + i each: those of the log of an elliptical Gaussian, x, y,
# x^2, x y, y^2, and of their products.
_FIRST = [1, 5, 2, 6, 10]
_SECOND = [[a + b for b in _FIRST] for a in _FIRST]
# The covariance of x^2, x y, y^2 in a Gaussian of matrix m = (xx, xy, yy) is m_a m_b + m_c m_d.
_A = [[0, 0, 1], [0, 0, 1], [1, 1, 2]]
_B = [[0, 1, 1], [1, 2, 2], [1, 2, 2]]
_C = [[0, 0, 1], [0, 1, 1], [1, 1, 2]]
_D = [[0, 1, 1], [1, 1, 2], [1, 2, 2]]
# Largest relative change of the moments in one step; below 1 the weight stays an ellipse.
_LARGEST_STEP = 0.7
# Apertures are last evaluated on a grid finer by this factor.
_FINER = 2


class Moments(NamedTuple):
    """Adaptive moments of a batch of images, each a tensor of shape (n,).

    Attributes
    ----------
    x, y : tensor (n,)
        Centroid from the centre of the stamp [pixel].
    g1, g2 : tensor (n,)
        Reduced shear of the matched Gaussian, (a - b) / (a + b) along its position angle.
    sigma : tensor (n,)
        Geometric mean of the Gaussian's two axes, det(M)^(1/4) [pixel].
    converged : bool tensor (n,)
        Whether the iteration settled on a positive definite matrix.
    """

    x: Tensor
    y: Tensor
    g1: Tensor
    g2: Tensor
    sigma: Tensor
    converged: Tensor


class Measured(NamedTuple):
    """What is measured of a batch of images.

    Attributes
    ----------
    moments : Moments
    radius : tensor (n,)
        Half-light radius, sqrt(a b) [pixel].
    good : bool tensor (n,)
        Whether both could be measured.
    """

    moments: Moments
    radius: Tensor
    good: Tensor


def measure(
    images: Tensor, sigma: float = 5.0, iterations: int = 100, drawn: bool = True
) -> Measured:
    """Measure shape, centre and size by the estimators that define them.

    Parameters
    ----------
    images : tensor (n, size, size)
        Noise-free surface brightness.
    sigma : float
        As in `adaptive_moments`; half and twice of it are tried after it.
    iterations : int
        As in `adaptive_moments`.
    drawn : bool
        Measure what GalSim draws of stamps, see `as_drawn`; else the samples as they are.

    Returns
    -------
    Measured
    """
    images = as_drawn(images) if drawn else images
    moments = adaptive_moments(images, sigma, iterations=iterations)
    for start in (0.5 * sigma, 2 * sigma):  # from one start in some thousands Newton leaps away
        if bool(moments.converged.all()):
            break
        again = adaptive_moments(images, start, iterations=iterations)
        moments = Moments(*(
            torch.where(moments.converged, first, second)
            for first, second in zip(moments, again, strict=True)
        ))  # fmt: skip
    radius = half_light_radius(images, moments)
    return Measured(moments, radius, moments.converged & torch.isfinite(radius))


def as_drawn(images: Tensor) -> Tensor:
    """Return samples of what GalSim draws of stamps, up to Nyquist's k.

    Its quintic interpolation goes through the samples, but damps the shortest waves that they
    have: the shape of a bright core, of sigma 2 pixels or less, is else wrong by up to 0.006. What
    it adds beyond Nyquist's k the moments do not see.

    Parameters
    ----------
    images : tensor (n, size, size)

    Returns
    -------
    tensor (n, size, size)
    """
    matrix = torch.from_numpy(_quintic(images.shape[-1])).to(images)
    return matrix @ images @ matrix  # symmetric


@functools.cache
def _quintic(size: int) -> NDArray:
    """Matrix (size, size) of GalSim's quintic kernel, periodic and cut at Nyquist's k."""
    waves = 2 * math.pi * np.fft.rfftfreq(size)
    kernel = np.fft.irfft(galsim.Quintic().kval(waves), size)
    place = np.arange(size)
    return kernel[(place - place[:, None]) % size]


def _axis(size: int, like: Tensor, finer: int = 1) -> Tensor:
    """Pixel centres from the centre of a stamp, or `finer` times as many from the first."""
    return torch.arange(size * finer, dtype=like.dtype, device=like.device) / finer - (size - 1) / 2


def _powers(axis: Tensor, centre: Tensor, unit: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Powers 0 to count - 1, at most 5, of distances in x and in y, two (n, count, points).

    From centres (n, 2), in units (n,).
    """
    distance = (axis - centre[:, :, None]) / unit[:, None, None]
    square = distance * distance
    powers = [torch.ones_like(square), distance, square]
    if count > 3:
        powers += [square * distance, square * square]
    x, y = torch.stack(powers, 2).unbind(1)
    return x, y


def _quadratic_form(x: Tensor, y: Tensor, xx: Tensor, xy: Tensor, yy: Tensor) -> Tensor:
    """Images of xx x^2 + 2 xy x y + yy y^2 for `_powers` x and y, coefficients (n,)."""
    rows = torch.stack([yy, 2 * xy, xx], 1)[:, :, None] * x[:, :3]
    return y[:, :3].mT @ rows.flip(1)


def adaptive_moments(
    images: Tensor, sigma: float = 5.0, tolerance: float = 1e-3, iterations: int = 100
) -> Moments:
    """Measure adaptive second moments: the elliptical Gaussian weight that matches the object.

    Newton's method seeks the weight that has the weighted image's centroid and twice its second
    moments. The result follows a shear of the image exactly, which is why it defines
    `ellipticity` here.

    Parameters
    ----------
    images : tensor (n, size, size)
        Noise-free surface brightness.
    sigma : float
        Size of the round starting weight [pixel].
    tolerance : float
        Relative change of the moments at which the iteration stops; as each step squares the
        error, that of the result is about the square of this.
    iterations : int
        Most iterations.

    Returns
    -------
    Moments

    References
    ----------
    Bernstein & Jarvis 2002 (AJ 123, 583), section 3.1; Hirata & Seljak 2003
    (MNRAS 343, 459), equations 4 and 5.
    """
    n, size, _ = images.shape
    axis = _axis(size, images)
    newton = _Newton(images.device)
    centre = images.new_zeros(n, 2, dtype=torch.float64)
    matrix = centre.new_tensor([sigma**2, 0.0, sigma**2]).repeat(n, 1)  # xx, xy, yy
    converged = torch.zeros(n, dtype=torch.bool, device=images.device)
    for _ in range(iterations):
        area = _determinant(matrix).sqrt()
        unit, area = area.sqrt(), area[:, None]
        scaled = matrix / area
        sums = _weighted_moments(images, axis, centre, unit, scaled)
        shift, growth, change = newton.step(sums / sums[:, :1], scaled)
        moving = ~converged[:, None]  # a settled galaxy does not depend on its batch
        centre = torch.where(moving, centre + shift * unit[:, None], centre)
        matrix = torch.where(moving, matrix + growth * area, matrix)
        converged = converged | (change < tolerance)
        if bool((converged | ~torch.isfinite(change)).all()):
            break
    (x, y), (xx, xy, yy) = centre.to(images).unbind(1), matrix.to(images).unbind(1)
    det = xx * yy - xy * xy
    root = det.clamp(min=0).sqrt()
    scale = xx + yy + 2 * root
    good = converged & (det > 0) & (x.abs() < size / 2) & (y.abs() < size / 2)
    return Moments(x, y, (xx - yy) / scale, 2 * xy / scale, root.sqrt(), good)


def _determinant(matrix: Tensor) -> Tensor:
    xx, xy, yy = matrix.unbind(1)
    return xx * yy - xy * xy


def _weighted_moments(
    images: Tensor, axis: Tensor, centre: Tensor, unit: Tensor, matrix: Tensor
) -> Tensor:
    """Sums (n, 25) of image * weight * y^j x^i from the centre; lengths in units of `unit`."""
    x, y = _powers(axis, centre.to(axis), unit.to(axis), 5)
    xx, xy, yy = matrix.to(axis).unbind(1)  # of determinant 1
    exponent = _quadratic_form(x, y, -0.5 * yy, 0.5 * xy, -0.5 * xx)
    weighted = exponent.clamp_(min=-60.0).exp_().mul_(images)  # no denormals
    return (y @ weighted @ x.mT).flatten(1).double()


class _Newton:
    """Newton's step to the weight that matches an image.

    The logarithm of the weight changes by t . f, f = (x, y, x^2, x y, y^2), and the weighted mean
    of f by cov(f, f) t. Were it matched, the mean would be K t farther from where it is, with K
    half the covariance of f in the weight (that of x and y: the whole). So (K - cov) t is what the
    mean lacks. Where K - cov is not positive definite there is no solution near, and Newton's step
    may lead away; take one of the iteration of plain moments (Hirata & Seljak 2003), t with K t
    what the mean lacks.
    """

    def __init__(self, device: torch.device):
        self.first, self.second = (torch.tensor(i, device=device) for i in (_FIRST, _SECOND))
        self.products = [torch.tensor(i, device=device) for i in (_A, _B, _C, _D)]
        self.square = torch.tensor([[0, 1], [1, 2]], device=device)

    def step(self, moments: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Change of centre (n, 2) and matrix (n, 3) of the weight, and how large it is, (n,).

        Of moments (n, 25), divided by the first, and the matrix (n, 3) of the weight.
        """
        mean = moments[:, self.first]
        covariance = moments[:, self.second] - mean[:, :, None] * mean[:, None]
        a, b, c, d = (matrix[:, index] for index in self.products)
        own = torch.zeros_like(covariance)
        own[:, :2, :2] = matrix[:, self.square]
        own[:, 2:, 2:] = 0.5 * (a * b + c * d)
        lacks = mean.clone()
        lacks[:, 2:] -= 0.5 * matrix
        factor, failed = torch.linalg.cholesky_ex(own - covariance)
        if bool(failed.any()):
            plain, _ = torch.linalg.cholesky_ex(own)
            factor = torch.where((failed > 0)[:, None, None], plain, factor)
        step = torch.cholesky_solve(lacks[:, :, None], factor)
        moved = own @ step
        change = 2 * (step * moved).sum((1, 2)).clamp(min=0).sqrt()
        moved = moved[:, :, 0] * (_LARGEST_STEP / change).clamp(max=1)[:, None]
        return moved[:, :2], 2 * moved[:, 2:], change


def half_light_radius(images: Tensor, moments: Moments) -> Tensor:
    """Measure the sqrt(a b) of the ellipse that holds half of each stamp's flux.

    The ellipse has the shape and centre of `moments`; flux is counted over the whole stamp. A pixel
    that the ellipse cuts counts by about the share inside. The radius found on the stamp's own
    pixels is improved on a grid of half the step, by band-limited interpolation.

    Parameters
    ----------
    images : tensor (n, size, size)
        Noise-free surface brightness.
    moments : Moments
        From `adaptive_moments` of the same images.

    Returns
    -------
    tensor (n,)
        Half-light radius [pixel].
    """
    size = images.shape[-1]
    start = moments.sigma * GAUSSIAN_HALF_LIGHT
    limits = torch.full_like(start, 0.1), torch.full_like(start, float(size))
    share = math.log(2) / start  # of a Gaussian's flux, per pixel of radius
    coarse, share = _solve_radius(
        images, _axis(size, images), moments, (start, share), limits, 1.0, 1e-2
    )
    fine, axis = upsample(images, _FINER), _axis(size, images, _FINER)
    limits = 0.8 * coarse, 1.2 * coarse
    radius, _ = _solve_radius(fine, axis, moments, (coarse, share), limits, 1.0 / _FINER, 1e-4)
    return radius


def upsample(images: Tensor, factor: int) -> Tensor:
    """Return images on a grid finer by a factor, interpolated as band-limited.

    By the periodic sinc function, as two matrix products: on a CPU these are faster than FFTs.

    Parameters
    ----------
    images : tensor (n, size, size)
    factor : int

    Returns
    -------
    tensor (n, factor * size, factor * size)
    """
    size = images.shape[-1]
    apart = torch.arange(factor * (1 - size), factor * size, dtype=torch.float64) / factor
    kernel = torch.sinc(apart) / torch.sinc(apart / size) * torch.cos(math.pi / size * apart)
    matrix = kernel.to(images).unfold(0, factor * size, factor).flip(0)  # of apart = new - old
    return (images.mT.contiguous() @ matrix).mT.contiguous() @ matrix


def _solve_radius(
    images: Tensor,
    axis: Tensor,
    moments: Moments,
    start: tuple[Tensor, Tensor],
    limits: tuple[Tensor, Tensor],
    step: float,
    tolerance: float,
    iterations: int = 30,
) -> tuple[Tensor, Tensor]:
    """Find the elliptical radius inside which half of the flux lies, by safeguarded secants.

    Parameters
    ----------
    images : tensor (n, points, points)
        Surface brightness.
    axis : tensor (points,)
        Coordinates of the points.
    start : two tensors (n,)
        First guesses of the radius [pixel] and of the share of the flux that a pixel of radius
        adds.
    limits : two tensors (n,)
        Radii that the solution lies between [pixel].
    step : float
        Distance of the points [pixel]: the width of the ramp that softens the edge.
    tolerance : float
        Relative change of the radius at which the iteration stops.

    Returns
    -------
    radius, share : tensor (n,)
        Improved guesses.
    """
    edge, slope = _edges(axis, moments, step)
    flat = images.flatten(1)
    total = flat.sum(1)
    (radius, share), (low, high) = start, limits
    last_radius, last_excess = radius, torch.full_like(radius, torch.nan)
    done = torch.zeros_like(radius, dtype=torch.bool)
    inside = torch.empty_like(edge)
    for _ in range(iterations):
        torch.addcmul(edge, slope, radius[:, None], out=inside)
        excess = inside.clamp_(0, 1).mul_(flat).sum(1) / total - 0.5
        secant = (excess - last_excess) / (radius - last_radius)
        better = (secant > 0) & ~done  # false where it is NaN; a settled one must not learn more
        share = torch.where(better, secant, share)
        low = torch.where(excess < 0, torch.maximum(low, radius), low)
        high = torch.where(excess > 0, torch.minimum(high, radius), high)
        new = radius - excess / share
        new = torch.where((new >= low) & (new <= high), new, 0.5 * (low + high))
        new = torch.where(done, radius, new)
        last_radius, last_excess, radius = radius, excess, new
        done = done | ((radius - last_radius).abs() < tolerance * radius)
        if bool(done.all()):
            break
    return radius, share


def elliptical_radius(images: Tensor, moments: Moments) -> Tensor:
    """Distance of every pixel from a galaxy's centre, as sqrt(ab) of its ellipse there [pixel].

    Parameters
    ----------
    images : tensor (n, size, size)
        Of which only the size counts.
    moments : Moments
        Of each, from `adaptive_moments`.

    Returns
    -------
    tensor (n, size, size); NaN where the moments are.
    """
    axis = _axis(images.shape[-1], images)
    moments = Moments(*(value[:, None, None] for value in moments))
    yy, minus_xy, xx = _unit_area(moments)
    x, y = axis - moments.x, axis[:, None] - moments.y
    return geometry.elliptical_radius(x, y, xx, -minus_xy, yy)


def _unit_area(moments: Moments) -> tuple[Tensor, Tensor, Tensor]:
    """Elements xx, xy, yy of A = M^-1 sqrt(det M), (n,): r^2 = d^T A d has the ellipse's area."""
    g_squared = moments.g1**2 + moments.g2**2
    a = (1 + g_squared - 2 * moments.g1) / (1 - g_squared)
    b = -2 * moments.g2 / (1 - g_squared)
    c = (1 + g_squared + 2 * moments.g1) / (1 - g_squared)
    return a, b, c


def _edges(axis: Tensor, moments: Moments, step: float) -> tuple[Tensor, Tensor]:
    """Edge and slope (n, points^2): a point's share inside a radius is edge + slope * radius.

    Clamped to 0 to 1, it falls over one step across the ellipse of that radius.
    """
    centre = torch.stack([moments.x, moments.y], 1)
    x, y = _powers(axis, centre, torch.ones_like(moments.x), 3)
    a, b, c = _unit_area(moments)
    # The gradient of r is |A d| / r.
    square = _quadratic_form(x, y, a, b, c).flatten(1).clamp_(min=1e-6)
    twice = (step**2 * k for k in (a * a + b * b, a * b + b * c, b * b + c * c))
    inverse = _quadratic_form(x, y, *twice).flatten(1).clamp_(min=1e-6).rsqrt_()
    edge = (square * inverse).neg_().add_(0.5)
    return edge, square.sqrt_().mul_(inverse)
