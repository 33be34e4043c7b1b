"""Coupling layers of monotonic rational-quadratic splines, lean on a CPU and safe in float32."""

from __future__ import annotations

import math

import torch
from nflows.transforms.coupling import PiecewiseRationalQuadraticCouplingTransform
from torch import Tensor
from torch.nn import functional as F

__all__ = ["SplineCoupling", "bins_of", "inverse_spline", "spline"]


class SplineCoupling(PiecewiseRationalQuadraticCouplingTransform):
    """nflows' coupling transform with linear tails, its splines evaluated by this module.

    nflows sorts the elements inside the bound from those outside, which moves all spline parameters
    about in memory, and stops at the first element whose inverse fails by rounding. The least width
    of a bin is its least height, too.
    """

    def _piecewise_cdf(
        self, inputs: Tensor, transform_params: Tensor, inverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        bins = self._bins(transform_params.to(inputs.dtype))
        return (inverse_spline if inverse else spline)(inputs, *bins, self.tail_bound)

    def _bins(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Knots and slopes of parameters (n, features, 3 bins - 1), as `bins_of` returns them."""
        # Bins first: loops over a handful of neighbours in memory are not vectorised.
        # Knots are sums of widths, too fine for the half precision of a network in training.
        parameters = parameters.movedim(-1, 0).contiguous()
        shape, slopes = parameters.tensor_split([2 * self.num_bins])
        shape = shape.unflatten(0, (2, self.num_bins))
        shape = shape / math.sqrt(self.transform_net.hidden_features)
        return bins_of(shape, slopes, self.tail_bound, self.min_bin_width, self.min_derivative)

    def undo(self, outputs: Tensor, context: Tensor) -> Tensor:
        """Return what `inverse` does, without the determinant, and in another order.

        Parameters
        ----------
        outputs : tensor (n, features)
            Of the layer.
        context : tensor (n, context)

        Returns
        -------
        tensor (n, features)
            First those that the layer leaves as they are, then those that it transforms.
        """
        kept = outputs.index_select(1, self.identity_features)
        moved = outputs.index_select(1, self.transform_features)
        parameters = self.transform_net(kept, context).to(outputs.dtype)
        bins = self._bins(parameters.unflatten(1, (moved.shape[1], -1)))
        return torch.cat([kept, _solved(moved, *bins, self.tail_bound)[0]], 1)


def bins_of(
    shape: Tensor, slopes: Tensor, bound: float, least_width: float, least_slope: float
) -> tuple[Tensor, Tensor]:
    """Knots and slopes of splines on [-bound, bound] from unconstrained parameters.

    Parameters
    ----------
    shape : tensor (2, bins, ...)
        Logits of the bins' widths, and of their heights.
    slopes : tensor (bins - 1, ...)
        The slopes at the inner knots are their softplus.
    bound : float
        The spline is the identity beyond.
    least_width : float
        Smallest width and height of a bin, as a share of the range.
    least_slope : float
        Smallest slope at a knot.

    Returns
    -------
    knots : tensor (2, bins + 1, ...)
        x and y.
    slopes : tensor (bins + 1, ...)
    """
    least = 2 * bound * least_width
    share = F.softmax(shape, dim=1) * (2 * bound - least * shape.shape[1]) + least
    first = torch.full_like(share[:, :1], -bound)
    ends = torch.ones_like(slopes[:1])
    knots = torch.cat([first, share], 1).cumsum(1)
    return knots, torch.cat([ends, F.softplus(slopes) + least_slope, ends])


def spline(x: Tensor, knots: Tensor, slopes: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Value of the spline of `bins_of` at each x (...), and the log of its derivative there."""
    clamped = x.clamp(-bound, bound)
    x0, width, y0, height, d0, d1 = _bins_at(clamped, 0, knots, slopes)
    rise, log_slope = _curve((clamped - x0) / width, height / width, d0, d1)
    inside = clamped == x
    return torch.where(inside, y0 + height * rise, x), torch.where(inside, log_slope, 0.0)


def inverse_spline(y: Tensor, knots: Tensor, slopes: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Where the spline of `bins_of` is y (...), and the log of its inverse's derivative there.

    Durkan et al. 2019 (arXiv:1906.04032), equations 6 to 8. Of the two ways to write the root of
    the quadratic equation, that is taken in which nothing cancels, and what rounding makes of a
    discriminant of zero is no error: so it holds in float32 however far out.
    """
    x, part, s, d0, d1, inside = _solved(y, knots, slopes, bound)
    _, log_slope = _curve(part, s, d0, d1)
    return x, torch.where(inside, -log_slope, 0.0)


def _solved(y: Tensor, knots: Tensor, slopes: Tensor, bound: float) -> tuple[Tensor, ...]:
    """Where the spline is y; the part of its bin that this is, and the arguments of `_curve`."""
    clamped = y.clamp(-bound, bound)
    x0, width, y0, height, d0, d1 = _bins_at(clamped, 1, knots, slopes)
    s = height / width
    risen = (clamped - y0) / height
    bend = risen * (d0 + d1 - 2 * s)
    a, b, c = s - d0 + bend, d0 - bend, -s * risen
    q = 0.5 * (b.abs() + (b * b - 4 * a * c).clamp(min=0).sqrt())
    up = b >= 0
    part = (torch.where(up, -c, q) / torch.where(up, q, a)).clamp(0, 1)
    inside = clamped == y
    return torch.where(inside, x0 + width * part, y), part, s, d0, d1, inside


def _bins_at(values: Tensor, axis: int, knots: Tensor, slopes: Tensor) -> tuple[Tensor, ...]:
    """Bins that hold values of x (axis 0) or y (axis 1): x, width, y, height, both ends' slopes."""
    index = (values >= knots[axis, 1:-1]).sum(0)
    ends = torch.stack([index, index + 1])
    (x0, x1), (y0, y1) = knots.gather(1, ends.expand(2, *ends.shape))
    return x0, x1 - x0, y0, y1 - y0, *slopes.gather(0, ends)


def _curve(part: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    """Share of a bin's height risen over a part of its width, and the log of the derivative.

    Durkan et al. 2019, equations 4 and 5; s is the bin's mean slope, d0 and d1 those at its ends.
    """
    mixed = part * (1 - part)
    denominator = s + (d0 + d1 - 2 * s) * mixed
    rise = (s * part.square() + d0 * mixed) / denominator
    slope = d1 * part.square() + 2 * s * mixed + d0 * (1 - part).square()
    return rise, slope.log() + 2 * (s / denominator).log()
