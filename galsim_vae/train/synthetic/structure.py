"""Structure of discs on the pixel grid: arms, flocculence, bars, rings, dust, clumps."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .morphology import NOISE_SHAPE, Morphology

__all__ = ["Plane", "clumps", "fade", "fields", "plane"]

# Patterns finer than this (sigma, px) are faded out: what the pixels cannot carry is not drawn.
_FADE = 0.75
_LN_R = (-2.2, 1.3)  # range of ln R covered by the flocculent texture


class Plane(NamedTuple):
    """Coordinates of the pixels in the discs' planes, each (n, size, size).

    Attributes
    ----------
    u, v : Tensor
        Major and deprojected minor axis, R.
    w : Tensor
        Minor axis on the sky, R.
    radius, ln_radius, theta : Tensor
        Polar form of u, v.
    wave : Tensor
        Wavenumber in the stamp [1/px] of a radial pattern exp(i ln R).
    area : tensor (n,)
        Of a pixel in the disc's plane.
    """

    u: Tensor
    v: Tensor
    w: Tensor
    radius: Tensor
    ln_radius: Tensor
    theta: Tensor
    wave: Tensor
    area: Tensor


def _c(x: Tensor) -> Tensor:
    return x[:, None, None]


def fade(square: Tensor, power: float = -0.5) -> Tensor:
    """exp(power * square), in place; no smaller than 1e-13, since underflow is 100 times slower."""
    return square.mul_(power).clamp_(min=-30.0).exp_()


def plane(m: Morphology, affine: Tensor, centre: Tensor, x: Tensor) -> Plane:
    """Find the disc-plane coordinates of the pixels.

    Parameters
    ----------
    m : Morphology
    affine : Tensor, (n, 2, 2)
        Galaxy frame to stamp, both px.
    centre : Tensor, (n, 2)
        x, y from the stamp's centre, px.
    x : Tensor, (size,)
        Pixel positions along either axis, px from the stamp's centre.
    """
    inverse = torch.linalg.inv(affine) / m.disc_radius[:, None, None]
    dx = x - centre[:, 0, None]
    dy = x - centre[:, 1, None]
    i = inverse[..., None]
    u = (i[:, 0, 0] * dx)[:, None, :] + (i[:, 0, 1] * dy)[:, :, None]
    w = (i[:, 1, 0] * dx)[:, None, :] + (i[:, 1, 1] * dy)[:, :, None]
    v = w * _c(m.hand / m.cos_i)
    u2, v2 = u * u, v * v
    r2 = (u2 + v2).clamp_min_(1e-4)
    ln_radius = 0.5 * torch.log(r2)
    area = torch.linalg.det(inverse).abs()
    # Gradient of ln R in the stamp, times R^2.
    deeper = v * _c(m.hand / m.cos_i)
    along, across = (torch.addcmul(u * i[:, 0, k, None], deeper, i[:, 1, k, None]) for k in (0, 1))
    wave = torch.hypot(along, across).div_(r2)
    return Plane(u, v, w, r2.sqrt(), ln_radius, torch.atan2(v, u), wave, area / m.cos_i)


def _patches(m: Morphology, p: Plane) -> Tensor:
    """Noise on a grid of (angle, ln R), wound along a logarithmic spiral."""
    na, nr = NOISE_SHAPE
    fine = F.pad(m.patches[:, None], (0, 0, 3, 3), mode="circular")
    fine = F.interpolate(fine, scale_factor=3, mode="bicubic")[:, 0, 9:-8]  # one wrapped row more
    turn = torch.addcmul(p.theta, p.ln_radius, _c(-m.patch_cot)).mul_(1 / (2 * math.pi))
    turn = turn.sub_(turn.floor()).mul_(2).sub_(1)
    out = (p.ln_radius - _LN_R[0]).mul_(2 / (_LN_R[1] - _LN_R[0])).sub_(1)
    grid = torch.stack((out, turn), -1)
    value = F.grid_sample(
        fine[:, None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )[:, 0]
    # Fade where a patch gets smaller than the pixels resolve.
    cells = na / (2 * math.pi) * torch.sqrt(1 + m.patch_cot**2) + nr / (_LN_R[1] - _LN_R[0])
    return value.mul_(fade((p.wave * _c(cells * _FADE)).square_()))


def fields(m: Morphology, p: Plane) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Evaluate the disc's structure.

    Returns
    -------
    log_disc, arms, dust, bar : tensor (n, size, size)
        Grey modulation of the disc (natural log), modulation by young stars (natural log, for
        contrast 1), optical depth at 0.55 micron, and the bar (flux 1).
    """
    phase = torch.addcmul(p.theta, p.ln_radius, _c(-m.cot_pitch)).mul_(_c(m.arms))
    wander = torch.sin(torch.add(p.theta, p.ln_radius, alpha=2.1).add_(_c(m.arm_bias_angle)))
    phase = phase.sub_(_c(m.arm_angle)).addcmul_(wander, _c(m.arm_bend))
    cos = torch.cos(phase)
    envelope = torch.sigmoid((p.radius - _c(m.arm_inner)).mul_(12.0))
    envelope.mul_(fade((p.radius / _c(m.arm_outer)).square_().square_(), -1.0))
    density = p.wave * _c(m.arms * torch.sqrt(1 + m.cot_pitch**2) * _FADE)
    envelope.mul_(fade(density.square_()))
    bias = 1 + _c(m.arm_bias) * torch.cos(p.theta - _c(m.arm_bias_angle))
    arms = torch.addcmul(cos, (2 * cos.square()).sub_(1), _c(m.arm_sharp))
    arms = arms.mul_(envelope).mul_(bias).mul_(_c(m.arm_strength))
    arms = arms.addcmul_(_patches(m, p), _c(m.patch_strength))
    ring = fade(((p.radius - _c(m.ring_radius)) * _c(1 / m.ring_width)).square_())
    arms.addcmul_(ring, _c(m.ring_strength))

    side = torch.cos(p.theta - _c(m.lopsided_angle)).mul_((p.radius / 1.5).clamp_max_(1.3))
    beyond = F.softplus((p.radius - _c(m.break_radius)).mul_(6.0)).div_(6.0).clamp_max_(5.0)
    log_disc = side.mul_(_c(m.lopsided)).addcmul_(beyond, _c(m.break_slope), value=-1)

    # Dust lies on the inner (trailing) edge of the arms, a quarter turn behind the crest.
    edge = torch.exp(torch.cos(phase + 1.0).sub_(1).mul_(2.5)).mul_(envelope)
    dust = fade(p.radius.clone(), -0.9).mul_(_c(m.dust_diffuse))
    dust.addcmul_(edge, _c(m.dust_arms))
    depth = p.w - _c(m.lane_offset * (m.disc_q + 0.1))
    lane = (depth * _c(m.disc_radius / m.lane_width)).square_()
    lane = fade(lane.addcmul_(p.u, p.u, value=0.7))
    dust.addcmul_(lane, _c(m.dust_lane))

    return log_disc, arms, dust, _bar(m, p)


def _bar(m: Morphology, p: Plane) -> Tensor:
    """A boxy bar in the disc's plane: exp(-x^4 - y^2), x and y in units of its half-axes."""
    c, s = _c(torch.cos(m.bar_angle)), _c(torch.sin(m.bar_angle))
    width = torch.maximum(m.bar_length * m.bar_ratio, 1.1 / (m.disc_radius * m.cos_i))
    x = torch.addcmul(p.u * c, p.v, s).mul_(_c(1 / m.bar_length)).square_()
    y = torch.addcmul(p.v * c, p.u, s, value=-1).mul_(_c(1 / width)).square_()
    bar = fade(torch.addcmul(y, x, x), -1.0)
    flux = 2 * math.gamma(1.25) * math.sqrt(math.pi) * m.bar_length * width
    return bar.mul_(_c(p.area / flux))


def _blobs(x: Tensor, centre: Tensor, sigma: Tensor, flux: Tensor) -> Tensor:
    """Sum of Gaussians, separable in x and y: (n, size, size) of (n, k, ...), sigma (n, k, 2)."""
    gx, gy = (
        fade(((x - centre[..., i, None]) / sigma[..., i, None]).square_()) for i in (0, 1)
    )
    return (gy * (flux / (2 * math.pi * sigma.prod(-1)))[..., None]).mT @ gx


def _slanted_blobs(
    x: Tensor, centre: Tensor, sigma: Tensor, flux: Tensor, lies: Tensor
) -> Tensor:
    """The same, their axes along the columns of `lies` (n, 2, 2), which is orthogonal."""
    y, x = torch.meshgrid(x, x, indexing="ij")
    total = torch.zeros(len(centre), *x.shape, device=x.device)
    for k in range(flux.shape[1]):
        dx, dy = (_c(-centre[:, k, i]) + v for i, v in ((0, x), (1, y)))
        along, across = (
            (_c(lies[:, 0, i]) * dx + _c(lies[:, 1, i]) * dy) / _c(sigma[:, k, i]) for i in (0, 1)
        )
        blob = fade(along.square() + across.square())
        total += blob * _c(flux[:, k] / (2 * math.pi * sigma[:, k].prod(-1)))
    return total


def clumps(
    m: Morphology, affine: Tensor, centre: Tensor, taken: Tensor, x: Tensor, smoothing: float,
    lies: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Draw star-forming clumps and the companion, smoothed by a Gaussian of that sigma.

    They are round but for a shear, (n,), that is taken out of them, along x or, if `lies` is given,
    along what that (n, 2, 2) makes of the x axis.

    Returns
    -------
    Tensor, (n, 2, size, size)
        Clumps, companion; flux in units of the galaxy's.
    """
    place = m.clump_place * m.disc_radius[:, None, None]
    place = place @ affine.mT + centre[:, None]
    ratio = torch.sqrt((1 + taken) / (1 - taken))[:, None]

    def widths(sigma: Tensor) -> Tensor:
        axes = torch.stack((sigma / ratio, sigma * ratio), -1)
        return (axes.square() + smoothing**2).sqrt()

    def blobs(there: Tensor, sigma: Tensor, flux: Tensor) -> Tensor:
        if lies is None:
            return _blobs(x, there, sigma, flux)
        return _slanted_blobs(x, there, sigma, flux, lies)

    first = blobs(place, widths(m.clump_sigma), m.clump_flux)
    # An exponential-like companion of three Gaussians (after Hogg & Lang 2013, PASP 125, 719).
    width = m.companion_radius[:, None] * place.new_tensor([0.35, 0.8, 1.5])
    share = m.companion_flux[:, None] * place.new_tensor([0.2, 0.5, 0.3])
    there = (m.companion_place[:, None] @ affine.mT + centre[:, None]).expand(-1, 3, -1)
    second = blobs(there, widths(width), share)
    return torch.stack((first, second), 1)
