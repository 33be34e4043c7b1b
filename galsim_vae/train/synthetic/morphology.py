"""What a synthetic galaxy is made of: random structural parameters, given its conditions.

Lengths are px of the canonical stamp before its final rescaling, angles radians in the plane of
the disc, and R is the deprojected radius in units of the disc's half-light radius. The
dependences on magnitude and redshift are plain descriptions of what surveys find (late types,
clumpy and irregular galaxies rise faintward and with redshift: Abraham et al. 1996, MNRAS 279,
L47; Guo et al. 2015, ApJ 800, 39; bars in about 40 % of spirals: Masters et al. 2011, MNRAS 411,
2026). Bulges, clumps and lopsidedness were moved until Gini, M20, C, A, S and power were those of
HST galaxies of the same magnitude, size and |g| (docs/realism.md).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["CLUMPS", "NOISE_SHAPE", "Morphology", "draw_morphology"]

CLUMPS = 24  # most clumps a galaxy
NOISE_SHAPE = (16, 10)  # patches of the flocculent texture: angles, ln radii


class Morphology(NamedTuple):
    """Structural parameters of n galaxies; shape (n,) unless said.

    Attributes
    ----------
    spheroid : bool, no structure in the disc
    bulge_fraction : Tensor
        Share of the F814W light in the bulge.
    bulge_index, bulge_radius, bulge_q : Tensor
        Sersic index, sqrt(ab) half-light radius, axis ratio.
    bulge_angle : Tensor
        Position angle from the disc's.
    disc_index, disc_radius, disc_q, cos_i : Tensor
        The same for the disc (radius: major axis) and the cosine of its inclination.
    hand : Tensor
        +1 or -1, the way the arms wind.
    arms, cot_pitch, arm_strength, arm_sharp, arm_angle, arm_inner, arm_outer, arm_bend : Tensor
        Number, cotangent of the pitch angle, amplitude of ln(brightness), weight of the second
        harmonic, phase, R between which arms live, amplitude of their wander.
    arm_bias, arm_bias_angle : Tensor
        How unequal the arms are.
    patch_strength, patch_cot : Tensor
        Amplitude and winding of the flocculent texture.
    patches : tensor (n, angles, ln radii)
        Its noise.
    bar_fraction, bar_length, bar_ratio, bar_angle : Tensor
        Share of the disc's light, R, axis ratio.
    ring_strength, ring_radius, ring_width : Tensor
    break_radius, break_slope : Tensor
        R beyond which the disc steepens, and by how much, per R.
    lopsided, lopsided_angle : Tensor
    dust_arms, dust_diffuse, dust_lane : Tensor
        Optical depths at rest-frame 0.55 micron.
    lane_offset, lane_width : Tensor
        R towards the near side; px.
    clump_flux : tensor (n, CLUMPS)
        Share of all F814W light.
    clump_place : tensor (n, CLUMPS, 2)
        In the sky frame of the disc, R.
    clump_sigma : tensor (n, CLUMPS)
        Px.
    companion_flux, companion_place (n, 2; px), companion_radius : Tensor
        A second nucleus or merger.
    tilt : tensor (n, 4)
        Colour scatter (power of wavelength): bulge, disc, clumps, companion.
    sequence : tensor (n, 4)
        Place of each on the sequence of SEDs, 0 = E, 1 = Sbc, 2 = Scd, 3 = Im.
    """

    spheroid: Tensor
    bulge_fraction: Tensor
    bulge_index: Tensor
    bulge_radius: Tensor
    bulge_q: Tensor
    bulge_angle: Tensor
    disc_index: Tensor
    disc_radius: Tensor
    disc_q: Tensor
    cos_i: Tensor
    hand: Tensor
    arms: Tensor
    cot_pitch: Tensor
    arm_strength: Tensor
    arm_sharp: Tensor
    arm_angle: Tensor
    arm_inner: Tensor
    arm_outer: Tensor
    arm_bend: Tensor
    arm_bias: Tensor
    arm_bias_angle: Tensor
    patch_strength: Tensor
    patch_cot: Tensor
    patches: Tensor
    bar_fraction: Tensor
    bar_length: Tensor
    bar_ratio: Tensor
    bar_angle: Tensor
    ring_strength: Tensor
    ring_radius: Tensor
    ring_width: Tensor
    break_radius: Tensor
    break_slope: Tensor
    lopsided: Tensor
    lopsided_angle: Tensor
    dust_arms: Tensor
    dust_diffuse: Tensor
    dust_lane: Tensor
    lane_offset: Tensor
    lane_width: Tensor
    clump_flux: Tensor
    clump_place: Tensor
    clump_sigma: Tensor
    companion_flux: Tensor
    companion_place: Tensor
    companion_radius: Tensor
    tilt: Tensor
    sequence: Tensor


class _Type(NamedTuple):
    """Kinds of galaxies (bool); `plain` ones have no structure; `stage` of discs, 0 (S0) to 1."""

    spheroid: Tensor
    irregular: Tensor
    plain: Tensor
    stage: Tensor


class _Body(NamedTuple):
    """Bulge and disc, as in `Morphology`; `thin` is the thickness of the disc over its radius."""

    bulge_fraction: Tensor
    bulge_index: Tensor
    bulge_radius: Tensor
    bulge_q: Tensor
    disc_radius: Tensor
    disc_q: Tensor
    cos_i: Tensor
    thin: Tensor


class _Spiral(NamedTuple):
    """Arms, patches and bar, as in `Morphology`; `face` is 1 seen face on and 0 edge on."""

    face: Tensor
    arms: Tensor
    cot_pitch: Tensor
    arm_strength: Tensor
    arm_angle: Tensor
    arm_inner: Tensor
    patch_strength: Tensor
    patch_cot: Tensor
    barred: Tensor
    bar_fraction: Tensor
    bar_length: Tensor
    bar_angle: Tensor


class _Random:
    """Shorthand for n random numbers a time from one generator."""

    def __init__(self, n: int, generator: torch.Generator):
        self.n = n
        self.generator = generator

    def uniform(self, low: float = 0.0, high: float = 1.0, *shape: int) -> Tensor:
        u = torch.rand((self.n, *shape), generator=self.generator, device=self.generator.device)
        return low + (high - low) * u

    def normal(self, mean: float = 0.0, sigma: float = 1.0, *shape: int) -> Tensor:
        x = torch.randn((self.n, *shape), generator=self.generator, device=self.generator.device)
        return mean + sigma * x

    def angle(self, *shape: int) -> Tensor:
        return self.uniform(-math.pi, math.pi, *shape)

    def chance(self, p: Tensor | float) -> Tensor:
        return self.uniform() < p


def _axis_ratio(g: Tensor) -> Tensor:
    return (1 - g) / (1 + g)


def _ramp(x: Tensor, low: float, high: float) -> Tensor:
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def draw_morphology(conditions: Tensor, generator: torch.Generator) -> Morphology:
    """Draw structural parameters.

    Parameters
    ----------
    conditions : Tensor, (n, 4)
        In the order of `galsim_vae.conditions.NAMES`.
    generator : torch.Generator
        On the device of the conditions.

    Returns
    -------
    Morphology
    """
    mag, _, g, z = conditions.unbind(1)
    r = _Random(len(conditions), generator)
    kind = _draw_type(r, mag, g, z)
    body = _draw_body(r, kind, g, z)
    spiral = _draw_spiral(r, kind, body, mag)
    # Most discs are truncated at a few scalelengths (Pohlen & Trujillo 2006, A&A 454, 759).
    truncated = ~kind.spheroid & r.chance(0.7)
    ring = r.chance(0.12) & ~kind.irregular & ~kind.spheroid
    hand, clump_flux, clump_place, clump_sigma = _draw_clumps(r, kind, body, spiral, mag, z)
    # a companion inside the segment, or a second nucleus
    merging = r.chance(0.05 + 0.03 * z.clamp_max(3))
    companion_flux = merging * torch.exp(r.normal(math.log(0.2), 0.5)).clamp_max(0.33)
    towards = r.angle()
    apart = r.uniform(3.0, 13.0)
    companion_place = torch.stack((apart * torch.cos(towards), apart * torch.sin(towards)), -1)
    # dust
    dusty = (0.3 + 0.7 * kind.stage * (1.6 - kind.stage)) * ~kind.plain
    laned = r.chance(0.6) & (body.cos_i < 0.45)
    sequence, tilt = _draw_colours(r, kind, mag, z)
    return Morphology(
        spheroid=kind.spheroid,
        bulge_fraction=body.bulge_fraction,
        bulge_index=body.bulge_index,
        bulge_radius=body.bulge_radius,
        bulge_q=body.bulge_q,
        bulge_angle=r.normal(0, 0.12),
        disc_index=torch.exp(r.normal(-0.05, 0.18)).clamp(0.6, 1.4),
        disc_radius=body.disc_radius,
        disc_q=body.disc_q,
        cos_i=body.cos_i,
        hand=hand,
        arms=spiral.arms,
        cot_pitch=spiral.cot_pitch,
        arm_strength=spiral.arm_strength,
        arm_sharp=r.uniform(0.0, 0.4),
        arm_angle=spiral.arm_angle,
        arm_inner=spiral.arm_inner,
        arm_outer=r.uniform(1.6, 3.2),
        arm_bend=r.uniform(0.0, 0.5),
        arm_bias=r.uniform(0.0, 0.9),
        arm_bias_angle=r.angle(),
        patch_strength=spiral.patch_strength,
        patch_cot=spiral.patch_cot,
        patches=r.normal(0, 1, *NOISE_SHAPE),
        bar_fraction=spiral.bar_fraction,
        bar_length=spiral.bar_length,
        bar_ratio=r.uniform(0.2, 0.42),
        bar_angle=spiral.bar_angle,
        ring_strength=ring * r.uniform(0.3, 1.2) * spiral.face,
        ring_radius=torch.where(
            spiral.barred & r.chance(0.6), 1.05 * spiral.bar_length, r.uniform(0.6, 1.8)
        ),
        ring_width=r.uniform(0.12, 0.25),
        break_radius=r.uniform(1.1, 2.2),
        break_slope=truncated * r.uniform(0.5, 4.0),
        lopsided=_draw_lopsidedness(r, kind, mag),
        lopsided_angle=r.angle(),
        dust_arms=dusty * r.uniform(0, 0.9) * (spiral.arm_strength > 0.3),
        dust_diffuse=dusty * r.uniform(0, 0.6),
        dust_lane=laned * dusty * r.uniform(0.4, 2.2),
        lane_offset=r.uniform(-0.12, 0.12),
        lane_width=r.uniform(0.8, 1.3),
        clump_flux=clump_flux,
        clump_place=clump_place,
        clump_sigma=clump_sigma,
        companion_flux=companion_flux,
        companion_place=companion_place,
        companion_radius=r.uniform(2.0, 4.5),
        tilt=tilt,
        sequence=sequence,
    )


def _draw_type(r: _Random, mag: Tensor, g: Tensor, z: Tensor) -> _Type:
    """Draw spheroids (rarely flatter than q = 0.3), irregulars, and discs."""
    p_spheroid = (0.24 - 0.03 * (mag - 21)).clamp(0.08, 0.3) * ((0.6 - g) / 0.2).clamp(0, 1)
    spheroid = r.chance(p_spheroid)
    p_irregular = (0.03 + 0.03 * (mag - 21).clamp_min(0) + 0.07 * z.clamp_max(3)).clamp_max(0.35)
    irregular = r.chance(p_irregular) & ~spheroid
    stage = (r.uniform() ** 0.7 + 0.09 * (mag - 22)).clamp(0, 1)
    lenticular = r.chance(0.35 * (1 - 2.5 * stage).clamp_min(0)) & ~irregular
    return _Type(spheroid, irregular, spheroid | lenticular, stage)


def _draw_body(r: _Random, kind: _Type, g: Tensor, z: Tensor) -> _Body:
    """Draw bulge and disc whose light together has about |g|."""
    spheroid, irregular, _, stage = kind
    bt = 0.6 * (1 - stage) ** 1.1 * torch.exp(r.normal(0, 0.4)) * (1 + z) ** -0.4
    bt = torch.where(irregular, 0.1 * bt, bt).clamp(0, 0.6)
    bt = bt * (1 - 0.85 * _ramp(g, 0.3, 0.6))  # a large bulge would not be so flat
    bt = torch.where(spheroid, (1.15 - 0.5 * r.uniform()).clamp_max(1), bt)
    thickness = torch.where(spheroid, r.uniform(0.25, 0.4), r.uniform(0.08, 0.22))
    g_bulge_disc = 0.35 * g * r.uniform(0.3, 1.4)
    g_disc = ((g - bt * g_bulge_disc) / (1 - bt).clamp_min(0.3)).clamp(0, 0.84)
    g_disc = torch.where(spheroid, (g * r.uniform(0.8, 1.2)).clamp_max(0.8), g_disc)
    disc_q = _axis_ratio(g_disc)
    thin = torch.minimum(thickness, 0.8 * disc_q)
    cos_i = ((disc_q**2 - thin**2) / (1 - thin**2)).clamp_min(0).sqrt().clamp_min(0.12)
    disc_radius = 6.0 * (1 + 0.4 * bt) * disc_q**-0.5
    disc_radius = torch.where(spheroid, disc_radius * r.uniform(0.7, 1.3), disc_radius)
    small = disc_radius * disc_q**0.5 * torch.exp(r.normal(math.log(0.19), 0.35))
    index = torch.exp(r.normal(math.log(2.8), 0.35)).clamp_max(4) * (1 - 0.3 * stage)
    index = torch.where(spheroid, torch.exp(r.normal(math.log(3.8), 0.3)), index).clamp(0.8, 6.0)
    # A start that makes the half-light radius inside the stamp nearly right.
    start = 6.0 + 0.3 * (index - 1)
    bulge_radius = torch.where(spheroid, start, small.clamp_min(0.9))
    bulge_q = _axis_ratio(torch.where(spheroid, g, g_bulge_disc))
    return _Body(bt, index, bulge_radius, bulge_q, disc_radius, disc_q, cos_i, thin)


def _draw_spiral(r: _Random, kind: _Type, body: _Body, mag: Tensor) -> _Spiral:
    """Draw arms, flocculence and the patchiness of irregulars, and a bar."""
    spheroid, irregular, plain, stage = kind
    face = _ramp(body.cos_i, 0.18, 0.45)
    armed = ~plain & ~irregular & (r.uniform() > 0.3 * _ramp(mag, 22, 26))
    grand = r.chance(0.55)
    two = r.uniform()
    arms = 1.0 + (two > 0.06).float() + (two > 0.8).float() + (two > 0.92).float()
    pitch = torch.deg2rad((11 + 14 * stage + r.normal(0, 5)).clamp(8, 38))
    strength = torch.where(grand, r.uniform(0.5, 1.5), r.uniform(0.1, 0.7)) * face * armed
    patch = torch.where(irregular, _wildness(mag) * r.uniform(0.5, 1.2), r.uniform(0.1, 0.8))
    patch = patch * ~plain
    patch = patch * (0.25 + 0.75 * face)
    patch_cot = 1 / torch.tan(pitch + 0.1 * r.normal())
    patch_cot = torch.where(irregular, r.uniform(0.0, 1.0), patch_cot)
    # The arms of a barred galaxy start at the ends of its bar.
    barred = ~spheroid & r.chance(0.4) & (body.cos_i > 0.3)
    bar_length = r.uniform(0.35, 0.95)
    bar_angle = r.angle()
    bar_fraction = barred * r.uniform(0.05, 0.28) * (1 - 0.4 * stage)
    arm_inner = torch.where(barred, 0.9 * bar_length, r.uniform(0.15, 0.5))
    cot_pitch = 1 / torch.tan(pitch)
    at_bar = arms * (bar_angle - cot_pitch * torch.log(arm_inner))
    arm_angle = torch.where(barred & (arms == 2), at_bar, r.angle())
    return _Spiral(
        face, arms, cot_pitch, strength, arm_angle, arm_inner, patch, patch_cot, barred,
        bar_fraction, bar_length, bar_angle,
    )  # fmt: skip


def _draw_lopsidedness(r: _Random, kind: _Type, mag: Tensor) -> Tensor:
    """Draw the amplitude of ln(brightness) on one side of a disc; faint ones are less even."""
    disc = (0.35 + 0.15 * (mag - 22).clamp(0, 3)) * r.normal().abs() * ~kind.spheroid
    return torch.where(
        kind.irregular, _wildness(mag) * r.uniform(0.4, 1.2), disc.clamp_max(1.2)
    )


def _wildness(mag: Tensor) -> Tensor:
    """How uneven irregulars are, over the faint ones: bright ones are large, and smooth in HST."""
    return 0.45 + 0.55 * _ramp(mag, 20.5, 23.0)


def _draw_clumps(
    r: _Random, kind: _Type, body: _Body, spiral: _Spiral, mag: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw the way the arms wind, and flux, place and size of clumps, most of them on the arms.

    They are brighter in irregular, faint and distant galaxies.
    """
    arms = spiral.arms
    clumpy = 0.1 + 0.05 * (mag - 22).clamp_min(0) + 0.05 * z.clamp(0, 3)
    clumpy = torch.where(kind.irregular, 2 * clumpy + 0.06, clumpy * (0.3 + kind.stage))
    clumpy = clumpy * ~kind.plain
    clump_share = (clumpy * torch.exp(r.normal(-0.3, 0.8))).clamp_max(0.45)
    number = 2 + (CLUMPS - 2) * r.uniform()[:, None] ** 1.5
    exponential = -torch.log(r.uniform(1e-4, 1.0, CLUMPS) * r.uniform(1e-4, 1.0, CLUMPS)) / 1.68
    radius = exponential.clamp(0.15, 1.7)
    # dN/dL ~ L^-2 over a factor of 25, brighter inwards as the disc is
    luminosity = torch.exp(-1.2 * radius) / r.uniform(0.04, 1.0, CLUMPS)
    luminosity = luminosity * (torch.arange(CLUMPS, device=mag.device) < number)
    clump_flux = clump_share[:, None] * luminosity / luminosity.sum(1, keepdim=True)
    clump_flux = clump_flux.clamp_max(0.06)  # or adaptive moments settle on a single clump
    which = (r.uniform(0, 1, CLUMPS) * arms[:, None]).floor() * (2 * math.pi) / arms[:, None]
    along = spiral.arm_angle[:, None] / arms[:, None]
    along = along + spiral.cot_pitch[:, None] * torch.log(radius) + which
    along = along + r.normal(0, 0.25, CLUMPS)
    free = r.angle(CLUMPS)
    on_arm = (spiral.arm_strength[:, None] > 0.3) & (r.uniform(0, 1, CLUMPS) < 0.8)
    theta = torch.where(on_arm, along, free)
    height = body.thin[:, None] * r.normal(0, 0.4, CLUMPS)
    hand = torch.where(r.chance(0.5), 1.0, -1.0)
    clump_place = torch.stack(
        (
            radius * torch.cos(theta),
            hand[:, None] * radius * torch.sin(theta) * body.cos_i[:, None] + height,
        ),
        -1,
    )
    clump_sigma = torch.exp(r.normal(math.log(0.85), 0.35, CLUMPS)).clamp(0.4, 2.5)
    clump_sigma = clump_sigma * (1 + 12 * clump_flux)
    return hand, clump_flux, clump_place, clump_sigma


def _draw_colours(r: _Random, kind: _Type, mag: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Draw each component's place on the sequence E, Sbc, Scd, Im, and its tilt.

    The coefficients are fitted to the colours of HDF-N and CANDELS galaxies (docs/realism.md).
    At a given magnitude a nearby galaxy is a dwarf, hence blue; stars were younger then, the more
    so in what F814W, ever bluer, selects.
    """
    spheroid, irregular, plain, stage = kind
    dwarf = (mag - 22 - 5 * torch.log10(z / 0.5)).clamp(-3, 4)  # as it would be at z = 0.5
    early = (z - 0.4).clamp(0, 2.6)
    young = 0.25 * dwarf + 1.35 * early
    disc = 1.05 + 0.75 * stage + r.normal(0, 0.5) + young
    disc = torch.where(irregular, disc.clamp_min(2.0), disc)
    sequence = torch.stack(
        (
            0.25 + 0.5 * stage * ~spheroid + 0.3 * dwarf + 0.9 * early + r.normal(0, 0.3),
            torch.where(plain, 0.3 + 0.5 * young + r.normal(0, 0.3), disc),
            torch.full_like(mag, 3.0),
            0.5 + 2 * r.uniform() + 1.35 * early,
        ),
        1,
    ).clamp(0, 3)
    tilt = r.normal(0, 0.08, 4) + r.normal(0, 0.22)[:, None]
    # The late templates, extended by models, are too red in the near infrared.
    tilt -= 0.45 * ((sequence - 1) / 2).clamp(0, 1)
    return sequence, tilt
