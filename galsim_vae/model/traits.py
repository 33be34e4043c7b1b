"""Traits of a galaxy: a few numbers that sum up its stamp, of which the latent flow is told.

How bright a core is, how strong arms are and how tightly they wind, is made by hundreds of latents
together; a flow of these spreads it. A flow of the traits alone soon draws them as they are
distributed, and the latents are then drawn given them.
"""

import torch
from torch import Tensor, nn

from galsim_vae.bands import BANDS, HALF_LIGHT_PIXELS, REFERENCE

from .rings import ring_means
from .spirals import ARMS, WINDING_STEP, strongest

__all__ = ["FINEST", "NEARLY", "STEPS", "TRAITS", "TraitContext", "measure_traits", "spread"]

_INSIDE = {"core": 2.5, "inner": 4.0, "half": HALF_LIGHT_PIXELS}  # [pixel]
_BEYOND = {"halo": 12.0, "outskirts": 18.0}  # [pixel]
_RINGS = ((3, 5), (6, 10), (10, 14), (14, 18), (18, 24))  # cycles a stamp
_POWERS = tuple(f"power {low}-{high}" for low, high in _RINGS)
_COLOURED = tuple(band for band in BANDS if band != REFERENCE)
_GRADIENT = ("F606W", "F814W")
#: On the reference band's stamp, of flux 1: logarithms of the light within 2.5, 4 and 6 pixels and
#: beyond 12 and 18, of the power in rings of frequency, and of the difference to the stamp turned
#: by half a turn within 20 pixels; of the strongest spiral the logarithm of its amplitude, the
#: logit of its share of all contrast, its winding and the number of its arms (`Spiral`). On several
#: bands: ln F606W/F814W inside the half-light radius less that from there to 20 pixels, and ln flux
#: over the reference's.
TRAITS = (
    *(*_INSIDE, *_BEYOND, *_POWERS, "asymmetry"),
    *("amplitude", "share", "winding", "arms", "gradient", *_COLOURED),
)
_WITHIN = 20.0  # of asymmetry and gradient [pixel]
# Of what logarithms are taken, at least: light, asymmetry and amplitude, power, share.
_LEAST_LIGHT, _LEAST, _LEAST_POWER, _LEAST_SHARE = 1e-5, 1e-3, 1e-10, 1e-3
_FARTHEST = 8.0  # of a logarithm of colours, as the decoder's
_BUMPS = 12  # over the range of a trait; as of conditions
_ENDS = 0.001  # share of galaxies beyond either end of a trait's range
_STRONG = 0.3  # amplitude of strong arms
#: Traits of structure that is finer than the decoder makes it.
FINEST = ("power 14-18", "power 18-24")
#: Traits that the latent flow follows nearly, much alike for galaxies of a magnitude. Colours it
#: follows wholly.
NEARLY = (*_INSIDE, *_BEYOND, *_POWERS, "asymmetry", "amplitude", "gradient")
_SHIFTED_AT = (20.0, 22.0, 24.0, 26.0)  # magnitudes, evenly apart
#: Traits that come in steps, and these.
STEPS = {"winding": WINDING_STEP, "arms": 1.0}


@torch.no_grad()
def measure_traits(stamps: Tensor) -> Tensor:
    """Measure `TRAITS` of stamps.

    Parameters
    ----------
    stamps : tensor (n, bands, size, size)
        Decoded: without PSF and noise, in the frame.

    Returns
    -------
    tensor (n, traits)
    """
    flux = stamps.sum((2, 3), keepdim=True)
    image = (stamps / flux)[:, BANDS.index(REFERENCE)]
    radius = _radius(image)
    spiral = strongest(image)
    columns = [
        *(_log_light(image, radius < end) for end in _INSIDE.values()),
        *(_log_light(image, radius > end) for end in _BEYOND.values()),
        *_log_powers(image),
        _log_asymmetry(image, radius < _WITHIN),
        (spiral.amplitude + _LEAST).log(),
        spiral.share.logit(_LEAST_SHARE),
        spiral.winding,
        spiral.arms.to(image.dtype),
        _gradient(stamps, radius),
        *_log_ratio(flux[:, _indices(_COLOURED), 0, 0], flux[:, _indices([REFERENCE]), 0, 0]).T,
    ]
    return torch.stack(columns, 1)


def spread(traits: Tensor, generator: torch.Generator) -> Tensor:
    """Spread the traits that come in steps, winding and number of arms, evenly over a step.

    A flow is of continuous numbers (Theis et al. 2016, arXiv:1511.01844, section 3.1).
    """
    moved = traits.clone()
    for name, step in STEPS.items():
        moved[:, TRAITS.index(name)] += step * (
            torch.rand(len(traits), generator=generator, device=traits.device) - 0.5
        )
    return moved


class TraitContext(nn.Module):
    """Traits as the latent flow sees them.

    Attributes
    ----------
    limits : tensor (2, traits)
        The ends of each one's range: in bumps, those beyond count as these.
    shift : tensor (magnitudes, traits)
        What `shift_at` interpolates.
    size : int
        Numbers of a galaxy.
    """

    limits: Tensor
    shift: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.zeros(len(_SHIFTED_AT), len(TRAITS)))
        self.register_buffer("limits", torch.tensor([[0.0], [1.0]]).repeat(1, len(TRAITS)))
        self.size = 1 + len(TRAITS) * (1 + _BUMPS) + len(ARMS) * (1 + _BUMPS)

    def fit(self, traits: Tensor) -> None:
        """Take the ranges from a sample (n, traits)."""
        ends = traits.new_tensor([_ENDS, 1 - _ENDS])
        self.limits.copy_(torch.stack([torch.quantile(t, ends) for t in traits.unbind(1)], 1))

    def shift_at(self, magnitude: Tensor) -> Tensor:
        """What is added to drawn traits before the latent flow is told of them.

        It does nearly as it is told.

        Parameters
        ----------
        magnitude : tensor (n,)

        Returns
        -------
        tensor (n, traits), linear between the magnitudes of `shift`, and beyond these as there
        """
        place = self.place(magnitude)[:, None]
        number = torch.arange(len(_SHIFTED_AT), dtype=place.dtype, device=place.device)
        shares = (1 - (place - number).abs()).clamp(min=0)
        return (shares[:, :, None] * self.shift).sum(1)

    def place(self, magnitude: Tensor) -> Tensor:
        """Place of galaxies (n,) among the magnitudes of `shift`: 0 at the first, 1 at the next."""
        first, step = _SHIFTED_AT[0], _SHIFTED_AT[1] - _SHIFTED_AT[0]
        return ((magnitude - first) / step).clamp(0, len(_SHIFTED_AT) - 1)

    def forward(self, traits: Tensor) -> Tensor:
        """Numbers (n, size) of traits (n, traits); all zero where these are NaN.

        That they are told; each in [-1, 1]; Gaussian bumps of each; which number of arms; and
        bumps of the winding for each number of arms, by how strong these are.
        """
        told = torch.isfinite(traits).all(1, keepdim=True)
        traits = torch.where(told, traits, self.limits[:1])
        unit = ((traits - self.limits[0]) / (self.limits[1] - self.limits[0])).clamp(0, 1)
        centres = torch.linspace(0, 1, _BUMPS, dtype=unit.dtype, device=unit.device)
        bumps = torch.exp(-0.5 * ((unit[:, :, None] - centres) * (_BUMPS - 1)).square())
        arms = traits[:, TRAITS.index("arms"), None].round().clamp(ARMS[0], ARMS[-1])
        which = (arms == arms.new_tensor(ARMS)).to(unit.dtype)
        wound = which[:, :, None] * bumps[:, TRAITS.index("winding"), None]
        strong = traits[:, TRAITS.index("amplitude"), None, None].expand_as(wound)
        # Of whole registers of the processor, see `Batches`.
        wound = wound * (strong.contiguous().exp().clamp(max=1) / _STRONG)
        seen = [torch.ones_like(unit[:, :1]), 2 * unit - 1, bumps.flatten(1), which,
                wound.flatten(1)]  # fmt: skip
        return torch.cat(seen, 1) * told


def _radius(image: Tensor) -> Tensor:
    axis = torch.arange(image.shape[-1], device=image.device) - (image.shape[-1] - 1) / 2
    return torch.hypot(axis, axis[:, None])


def _indices(bands) -> list[int]:
    return [BANDS.index(band) for band in bands]


def _log_light(image: Tensor, inside: Tensor) -> Tensor:
    return (image * inside).sum((1, 2)).clamp(min=_LEAST_LIGHT).log()


def _log_powers(image: Tensor) -> Tensor:
    """Logarithm of the mean power in each of `_RINGS`, (rings, n)."""
    power = torch.fft.rfft2(image).abs().square()
    each = ring_means(power, range(_RINGS[-1][1] + 1))
    means = [each[:, low : high + 1].mean(1) for low, high in _RINGS]
    return (torch.stack(means) + _LEAST_POWER).log()


def _log_asymmetry(image: Tensor, inside: Tensor) -> Tensor:
    return ((image - image.flip(1, 2)).abs() * inside).sum((1, 2)).add(_LEAST).log()


def _gradient(stamps: Tensor, radius: Tensor) -> Tensor:
    blue, red = (stamps[:, index] for index in _indices(_GRADIENT))
    inside = radius < HALF_LIGHT_PIXELS
    ratio = [_log_ratio((blue * part).sum((1, 2)), (red * part).sum((1, 2)))
             for part in (inside, (radius < _WITHIN) & ~inside)]  # fmt: skip
    return ratio[0] - ratio[1]


def _log_ratio(one: Tensor, other: Tensor) -> Tensor:
    small = torch.finfo(one.dtype).tiny
    return (one.clamp(min=small).log() - other.clamp(min=small).log()).clamp(-_FARTHEST, _FARTHEST)
