"""Synthetic galaxies without limit: bulge, disc, arms, bars, rings, clumps, dust, companions.

Galaxies are made directly in a canonical frame (64 px, F814W flux 1, half-light radius 6 px,
major axis along +x, without the shear that the frame takes out), free of any PSF but smoothed by a
Gaussian that is round in the frame, which limits their band.
Smooth parts are Sersic profiles made in k space (`galsim_vae.render.sersic`); structure
multiplies the disc in coordinates of its own plane (`structure`); each part has its own SED, so
that bands differ. Random parameters come from `morphology`.

Only torch is needed here; GalSim only for the table of colours.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from galsim_vae import shapes
from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, STAMP_SIZE
from galsim_vae.bands import REFERENCE as REFERENCE_BAND
from galsim_vae.conditions import DEFAULT_RANGES, NAMES
from galsim_vae.frame.frames import DEFAULT, Frame
from galsim_vae.geometry import sheared_shape
from galsim_vae.render import sersic

from . import population
from .colours import ColourTable
from .morphology import Morphology, draw_morphology
from .structure import clumps, fields, plane

__all__ = [
    "REFERENCE",
    "Synthetic",
    "broaden",
    "canonical_pixel_scale",
    "fresh_conditions",
    "fresh_galaxies",
    "sample",
]

REFERENCE = BANDS.index(REFERENCE_BAND)
_FIRST_STEP = 2  # px between samples in the first pass: moments need no more
_MAX_SHEAR = 0.35  # of the correction to the asked |g|
# Milky-Way-like dust in the optical (Charlot & Fall 2000, ApJ 539, 718): lambda^-0.7.
_DUST_POWER = -0.7
_DUST_PIVOT = 0.55


class _Drawing(NamedTuple):
    """How galaxies were drawn: parameters of `_draw`."""

    affine: Tensor
    centre: Tensor
    taken: Tensor
    sed: Tensor
    waves: Tensor


class Synthetic(NamedTuple):
    """Canonical galaxies.

    Attributes
    ----------
    stamps : Tensor, (n, 5, 64, 64)
        float32, non-negative, F814W sums to 1, other bands to f_nu(band) / f_nu(F814W).
    morphology : Morphology
        What they were made of.
    drawing : tuple
        How they lie in their stamps.
    frame : Frame
    """

    stamps: Tensor
    morphology: Morphology
    drawing: _Drawing
    frame: Frame

    def laid(self, lies: Tensor) -> Tensor:
        """Draw the same galaxies turned or mirrored, without any resampling.

        Parameters
        ----------
        lies : tensor (n, 2, 2)
            Orthogonal, from the frame to the new stamps.

        Returns
        -------
        tensor (n, bands, 64, 64)
        """
        affine, centre, taken, sed, waves = self.drawing
        with torch.no_grad():
            turned = lies @ affine, (lies @ centre[..., None])[..., 0]
            stamps = _draw(self.morphology, *turned, taken, sed, waves, 1, lies)
            return _finished(stamps, self.frame)


def sample(
    conditions: Tensor,
    generator: torch.Generator,
    colours: ColourTable,
    *,
    frame: Frame = DEFAULT,
    device: str | torch.device = "cpu",
    lies: Tensor | None = None,
) -> Synthetic:
    """Make one random galaxy for each row of conditions.

    A first pass draws F814W and measures centroid, shape and half-light radius; the second
    corrects them by an affine change of coordinates (with a shear of at most 0.35, so that |g|
    comes out as asked) and draws all bands. The stamps then fade at their ends, as decoded ones do
    (`galsim_vae.frame.frames.Frame.taper`): what reaches them comes out a little smaller.

    Parameters
    ----------
    conditions : Tensor, (n, 4)
        In the order of `galsim_vae.conditions.NAMES`, half-light radius in arcsec.
    generator : torch.Generator
        Source of all randomness, on ``device``.
    colours : ColourTable
        From `colours.colour_table`.
    frame : Frame
        Of the stamps.
    device : str or torch.device
    lies : tensor (n, 2, 2), optional
        Orthogonal, from the frame to the stamps, which are the frame if absent.

    Returns
    -------
    Synthetic
    """
    conditions = conditions.to(device=device, dtype=torch.float32)
    colours = colours.to(device)
    with torch.no_grad():
        m = draw_morphology(conditions, generator)
        n = len(conditions)
        taken = frame.shear(conditions[:, 2])
        affine = _stretch(-taken)
        centre = conditions.new_zeros(n, 2)
        sed = component_colours(m, conditions[:, 3], colours)
        waves = colours.wavelength / (1 + conditions[:, 3, None])
        one = [REFERENCE]
        first = _draw(m, affine, centre, taken, sed[..., one], waves[:, one], _FIRST_STEP)[:, 0]
        affine, centre = _correction(first, conditions[:, 2], taken, m.bulge_fraction)
        made = Synthetic(torch.empty(0), m, _Drawing(affine, centre, taken, sed, waves), frame)
        if lies is not None:
            return made._replace(stamps=made.laid(lies))
        stamps = _finished(_draw(m, affine, centre, taken, sed, waves, 1), frame)
    return made._replace(stamps=stamps)


def _finished(stamps: Tensor, frame: Frame) -> Tensor:
    """Let stamps fade at their ends, as decoded ones do, and give F814W unit flux.

    Without the fading the decoder would add light inside.
    """
    stamps = stamps * frame.taper(STAMP_SIZE).to(stamps.device)
    return stamps / stamps[:, REFERENCE].sum((1, 2))[:, None, None, None]


def fresh_galaxies(
    n: int,
    colours: ColourTable,
    generator: torch.Generator,
    wide: bool = True,
    frame: Frame = DEFAULT,
) -> tuple[Tensor, Tensor]:
    """Draw galaxies of the population.

    Parameters
    ----------
    n : int
        How many.
    colours : ColourTable
    generator : torch.Generator
    wide : bool
        Spread the conditions with `broaden`.
    frame : Frame
        Of the stamps.

    Returns
    -------
    conditions : Tensor, (n, 4)
    stamps : Tensor, (n, bands, 64, 64)
        Without PSF and noise.
    """
    conditions = fresh_conditions(n, generator, wide)
    made = sample(conditions, generator, colours, frame=frame, device=generator.device)
    return conditions, made.stamps


def fresh_conditions(n: int, generator: torch.Generator, wide: bool = True) -> Tensor:
    """Draw conditions (n, 4) of the population, spread with `broaden` if wide."""
    conditions = population.sample(n, generator)
    return broaden(conditions, generator) if wide else conditions


def broaden(conditions: Tensor, generator: torch.Generator) -> Tensor:
    """Scatter population conditions so that every condition that can be asked for is trained.

    Half of the galaxies stay as drawn; the other half get a magnitude uniform over the range, a
    size scattered by a factor exp(0.6), |g| uniform, and a redshift scattered by 30 % or, for half
    of these, uniform in its logarithm.

    Parameters
    ----------
    conditions : Tensor, (n, 4)
        From `population.sample`.
    generator : torch.Generator

    Returns
    -------
    Tensor, (n, 4)
        Within `galsim_vae.conditions.DEFAULT_RANGES`.
    """
    n = len(conditions)
    low, high = conditions.new_tensor([DEFAULT_RANGES[name] for name in NAMES]).T

    def rand() -> Tensor:
        return torch.rand(n, generator=generator, device=generator.device)

    wide = conditions.clone()
    wide[:, 0] = low[0] + (high[0] - low[0]) * rand()
    scatter = torch.randn(n, generator=generator, device=generator.device)
    wide[:, 1] *= torch.exp(0.6 * scatter)
    wide[:, 2] = high[2] * rand()
    anywhere = low[3] * (high[3] / low[3]) ** rand()
    wide[:, 3] *= torch.exp(0.6 * (rand() - 0.5))
    wide[:, 3] = torch.where(rand() < 0.5, anywhere, wide[:, 3])
    wide = torch.minimum(torch.maximum(wide, low), high)
    return torch.where((rand() < 0.5)[:, None], wide, conditions)


def canonical_pixel_scale(conditions: Tensor) -> Tensor:
    """Return the pixel of the canonical frame of galaxies with these conditions.

    Parameters
    ----------
    conditions : Tensor, (n, 4)
        In the order of `galsim_vae.conditions.NAMES`.

    Returns
    -------
    Tensor, (n,)
        arcsec.
    """
    return conditions[:, NAMES.index("half_light_radius")] / HALF_LIGHT_PIXELS


def component_colours(m: Morphology, redshift: Tensor, colours: ColourTable) -> Tensor:
    """f_nu / f_nu(F814W) of bulge, disc, clumps and companion.

    Neighbouring templates are mixed linearly in F814W light, then tilted by a power of wavelength.

    Returns
    -------
    Tensor, (n, 4, bands)
    """
    ratio = colours.at(redshift)
    types = torch.arange(ratio.shape[1], device=ratio.device)
    weight = (1 - (m.sequence.clamp_max(3)[..., None] - types).abs()).clamp_min(0)
    tilt = torch.log(colours.wavelength / colours.wavelength[REFERENCE])
    return (weight @ ratio) * torch.exp(m.tilt[..., None] * tilt)


def _ellipse(radius: Tensor, q: Tensor, angle: Tensor | None = None) -> Tensor:
    """(n, 2, 2) matrix of a half-light ellipse with semi-major axis ``radius``."""
    diagonal = torch.diag_embed(torch.stack((radius, radius * q), 1))
    if angle is None:
        return diagonal
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.stack((torch.stack((c, -s), 1), torch.stack((s, c), 1)), 1) @ diagonal


def _stretch(g: Tensor) -> Tensor:
    """Matrices (n, 2, 2) of shears along x."""
    return torch.diag_embed(torch.stack((1 + g, 1 - g), 1) / (1 - g * g).sqrt()[:, None])


def _draw(
    m: Morphology,
    affine: Tensor,
    centre: Tensor,
    taken: Tensor,
    sed: Tensor,
    waves: Tensor,
    step: int,
    lies: Tensor | None = None,
) -> Tensor:
    """Draw every ``step``-th pixel in some bands: (n, bands, 64 / step, 64 / step).

    Clumps are round on the sky, and streaks where a shear was ``taken`` out.
    """
    n = len(centre)
    bulge_radius = m.bulge_radius * m.bulge_q**-0.5
    smooth = sersic.render(
        torch.cat((m.bulge_index, m.disc_index)),
        torch.cat(
            (
                affine @ _ellipse(bulge_radius, m.bulge_q, m.bulge_angle),
                affine @ _ellipse(m.disc_radius, m.disc_q),
            )
        ),
        centre.repeat(2, 1),
        step,
    ).clamp_min_(0)
    bulge, disc = smooth[:n], smooth[n:]
    x = sersic.pixels(centre.device, step)
    log_disc, arms, dust, bar = fields(m, plane(m, affine, centre, x))
    # clumps and companion
    extra = clumps(m, affine, centre, taken, x, sersic.SMOOTHING, lies)

    tau = (waves.clamp_min(0.15) / _DUST_PIVOT) ** _DUST_POWER
    contrast = (waves.clamp(0.2, 2.0) / 0.45) ** -0.35  # arms fade in red light
    old = (m.bulge_fraction[:, None] * sed[:, 0])[..., None, None]
    rest = 1 - m.bulge_fraction
    in_disc = (rest * (1 - m.bar_fraction))[:, None] * sed[:, 1]
    in_bar = (rest * m.bar_fraction)[:, None] * 0.5 * (sed[:, 0] + sed[:, 1])
    images = []
    for b in range(sed.shape[2]):
        screen = torch.exp(dust * -tau[:, b, None, None])
        young = torch.exp(torch.addcmul(log_disc, arms, contrast[:, b, None, None]))
        total = young.mul_(disc).mul_(in_disc[:, b, None, None])
        total.addcmul_(bulge, old[:, b]).addcmul_(bar, in_bar[:, b, None, None])
        total.mul_(screen)
        total.addcmul_(extra[:, 0], sed[:, 2, b, None, None])
        images.append(total.addcmul_(extra[:, 1], sed[:, 3, b, None, None]))
    return torch.stack(images, 1)


def _correction(
    image: Tensor, g: Tensor, taken: Tensor, wings: Tensor
) -> tuple[Tensor, Tensor]:
    """Affine map and new centre that make a measured galaxy canonical, with the asked |g|.

    The image, and the galaxy that comes out, are without the shear that is ``taken``.
    """
    moments, radius, good = shapes.measure(image, 5.0 / _FIRST_STEP, iterations=30, drawn=False)
    radius = radius * _FIRST_STEP
    on_sky = sheared_shape(torch.complex(moments.g1, moments.g2), taken)
    angle, have = 0.5 * on_sky.angle(), on_sky.abs()
    # On the major axis shears compose as velocities do: eta = 2 atanh g adds.
    more = ((g - have) / (1 - g * have)).clamp(-_MAX_SHEAR, _MAX_SHEAR)
    # The wings of a spheroid leave the stamp as it grows, so that its radius there lags behind.
    scale = (HALF_LIGHT_PIXELS / radius).clamp(0.4, 2.5) ** (1 + 0.35 * wings)
    c, s = torch.cos(angle), torch.sin(angle)
    turn = torch.stack((torch.stack((c, s), 1), torch.stack((-s, c), 1)), 1)
    first = _stretch(-taken)
    affine = first @ _stretch(more) @ turn * scale[:, None, None]
    shift = torch.stack((moments.x, moments.y), 1) * _FIRST_STEP
    good = good & (shift.norm(dim=1) < 12)
    affine = torch.where(good[:, None, None], affine, first)
    shift = (_stretch(taken) @ shift[..., None])[..., 0]
    centre = -(affine @ shift[..., None])[..., 0]
    return affine, torch.where(good[:, None], centre, 0.0)
