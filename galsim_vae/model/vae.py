"""The variational autoencoder: observed canonical stamps <-> latent vector -> PSF-free stamps."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from galsim_vae.bands import BANDS, REFERENCE, STAMP_SIZE
from galsim_vae.frame.frames import DEFAULT, Frame, find_frame
from galsim_vae.frame.psf_shape import psf_shape

from . import likelihood
from .beginning import begin_with_components, begin_with_signal, straight_path
from .blocks import LEAK, ResidualBlock, Trunk, double
from .lent import LentColours
from .look import FAINT, SEEN, Look, in_units_of_noise

__all__ = ["VAE", "Decoder", "Encoder", "VAEConfig", "contrast", "mean_profile"]

# Brings images of unit flux to values of order one where the galaxy is brighter than the sky.
_STRETCH = 200.0
# Range of brightness over the mean profile, times ln 2, that the first components are made of.
_BEGINNING = 0.01, 20.0
_NOTHING = 1e-12
_CONDITION_WIDTH = 96
_PSF_NUMBERS = 3  # of `psf_shape`
# Of colours, as natural logarithms of flux ratios: width of their distribution, and their error
# where an untrained encoder begins.
_COLOUR_WIDTH, _COLOUR_ERROR = 0.5, 0.02
# Newton's method for the colours of a galaxy: its steps, and the longest.
_NEWTON_STEPS, _LONGEST_STEP = 4, 1.0
_LEAST_SLOPE = 1e-6  # squared, of a colour by a latent
_FAINTEST = -40.0  # least logarithm of a pixel's brightness before the envelope


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of the network.

    Attributes
    ----------
    bands : int
        Number of bands.
    reference : int
        Index of the reference band, the one that has unit flux.
    size : int
        Side of the stamp [pixel], a multiple of 16.
    latent : int
        Number of latent dimensions, at least bands - 1.
    widths : (int, int)
        Channels of the decoder at 1/4 and at 1/8 of the stamp's resolution.
    fine_widths : (int, int)
        Channels of the decoder at 1/2 and at full resolution.
    encoder_widths : (int, int)
        Channels of the encoder at 1/4 and at 1/8 of the resolution and below; it may be the larger
        one, since only the decoder runs when galaxies are drawn.
    look_widths : (int, int)
        The same of the network that looks again.
    looks : int
        How often the encoder's latent is corrected by what its reconstruction lacks.
    frame : str
        Name of the canonical frame, see `galsim_vae.frame`.
    """

    bands: int = len(BANDS)
    reference: int = BANDS.index(REFERENCE)
    size: int = STAMP_SIZE
    latent: int = 256
    widths: tuple[int, int] = (64, 128)
    fine_widths: tuple[int, int] = (32, 16)
    encoder_widths: tuple[int, int] = (96, 192)
    look_widths: tuple[int, int] = (48, 96)
    looks: int = 2
    frame: str = DEFAULT.name

    def __post_init__(self):
        find_frame(self.frame)

    @property
    def canonical_frame(self) -> Frame:
        """The frame that stamps are in."""
        return find_frame(self.frame)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "VAEConfig":
        """Return what `to_dict` made."""
        names = ("widths", "fine_widths", "encoder_widths", "look_widths")
        pairs: dict[str, Any] = {name: tuple(values[name]) for name in names}
        return cls(**{**values, **pairs})


class Encoder(nn.Module):
    """Observed canonical stamps, their PSFs and noise -> mean and log-variance of the latent."""

    window: Tensor
    profile: Tensor
    is_colour: Tensor

    def __init__(self, config: VAEConfig):
        super().__init__()
        facts = (4 + _PSF_NUMBERS) * config.bands
        self.condition = nn.Sequential(
            nn.Linear(facts, _CONDITION_WIDTH), nn.SiLU(),
            nn.Linear(_CONDITION_WIDTH, _CONDITION_WIDTH), nn.SiLU(),
        )  # fmt: skip
        self.trunk = Trunk(3 * config.bands, config.encoder_widths, _CONDITION_WIDTH)
        pooled = config.encoder_widths[1] * (config.size // 16) ** 2
        self.head = nn.Linear(pooled + _CONDITION_WIDTH + facts, 2 * config.latent)
        self.straight = straight_path(config.size**2, config.latent, bias=False)
        self.register_buffer("window", _window(config.size), persistent=False)
        self.register_buffer("profile", mean_profile(config.size), persistent=False)
        is_colour = (torch.arange(config.latent) < config.bands - 1).repeat(2)
        self.register_buffer("is_colour", is_colour, persistent=False)

    def forward(
        self, images: Tensor, otf: Tensor, noise: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Look at a galaxy for the first time; `VAE.infer` looks again.

        Parameters
        ----------
        images : tensor (n, bands, size, size)
            In any linear unit, the same in all bands of a galaxy.
        otf : tensor (n, bands, size, size // 2 + 1)
            `rfft2` of the PSFs, their centres at index [0, 0].
        noise : tensor (n, bands)
            Rms per pixel, in the unit of ``images``.
        mask : bool tensor (n, bands, size, size)
            True where a pixel was observed and is clean.

        Returns
        -------
        condition : tensor (n, width)
            What is told beside pixels.
        mean, log_variance : tensor (n, latent)
        """
        images = images * mask
        scale = images.sum((2, 3)).amax(1).clamp(min=1e-12)
        observed = mask.flatten(2).any(2)
        flux = scale[:, None, None, None]
        pixels = torch.asinh(images * (_STRETCH / flux))
        level = torch.log(_STRETCH * noise / scale[:, None] + 1e-3)
        # Colours are a small part of what pixels say and a large part of what a galaxy is, so
        # the fluxes, whole and of the centre, are given beside the pixels, with a straight path
        # into the latent and, in the decoder, out of it.
        fluxes = (_log_ratio(f.sum((2, 3)), scale) for f in (images, images * self.window))
        columns = (*psf_shape(otf), level, torch.ones_like(level), *fluxes)
        features = torch.cat([f * observed for f in columns], 1)
        c = self.condition(features)
        faint = in_units_of_noise(images / flux, noise / scale[:, None])
        channels = [pixels, mask.to(pixels.dtype), faint]
        pooled = self.trunk(torch.cat(channels, 1), c)
        mean, log_variance = self._latents(pooled, torch.cat([c, features], 1))
        seen = self._contrast(images, noise, mask)
        return c, mean + self.straight(seen.flatten(1)).float(), log_variance

    def _contrast(self, images: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
        """Contrast of all bands together, weighted by their signal to noise, (n, size, size)."""
        flux = images.sum((2, 3)).clamp(min=_NOTHING)
        weight = (flux / noise.clamp(min=_NOTHING)).square()[:, :, None, None] * mask
        total = weight.sum(1).clamp(min=_NOTHING)
        image = (weight * images / flux[:, :, None, None]).sum(1) / total
        return contrast(image, self.profile, total.rsqrt()) * mask.any(1)

    def _latents(self, pooled: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of what convolutions found and of what is told beside pixels.

        Colours do not train the convolutions: they are told, and errors of theirs, many times what
        a flux can be known to, would rule what convolutions learn of structure.
        """
        found = self.head(torch.cat([pooled, told], 1)).float()
        if torch.is_grad_enabled():
            fixed = self.head(torch.cat([pooled.detach(), told], 1)).float()
            found = torch.where(self.is_colour, fixed, found)
        mean, log_variance = found.chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 6.0)


class Decoder(nn.Module):
    """Latent -> PSF-free canonical stamps, non-negative, unit flux in the reference band."""

    envelope: Tensor
    taper: Tensor

    def __init__(self, config: VAEConfig):
        super().__init__()
        wide, wider = config.widths
        fine, finest = config.fine_widths
        c = _CONDITION_WIDTH
        self.config = config
        self.condition = nn.Sequential(
            nn.Linear(config.latent, 2 * c), nn.SiLU(), nn.Linear(2 * c, c), nn.SiLU()
        )
        self.colour = nn.Linear(c + config.latent, config.bands)
        self.stem = nn.Linear(config.latent, wider * (config.size // 8) ** 2)
        self.blocks1 = nn.ModuleList(ResidualBlock(wider, c) for _ in range(1))
        self.up1 = nn.Conv2d(wider, wide, 3, padding=1)
        self.blocks2 = nn.ModuleList(ResidualBlock(wide, c) for _ in range(2))
        self.up2 = nn.Conv2d(wide, fine, 3, padding=1)
        self.blocks3 = nn.ModuleList(ResidualBlock(fine, c) for _ in range(1))
        self.up3 = nn.Conv2d(fine, 4 * finest, 3, padding=1)
        self.out = nn.Conv2d(finest, config.bands, 3, padding=1)
        self.straight = straight_path(config.latent, config.size**2)
        self.register_buffer("envelope", _envelope(config.size), persistent=False)
        window = config.canonical_frame.taper(config.size)
        self.register_buffer("taper", window, persistent=False)

    def forward(self, latent: Tensor) -> Tensor:
        """Decode.

        Parameters
        ----------
        latent : tensor (n, latent)

        Returns
        -------
        tensor (n, bands, size, size)
            The reference band sums to 1, every other band to its f_nu flux relative to it.
        """
        side = self.config.size // 8
        c = self.condition(latent)
        x = self.stem(latent).reshape(len(latent), -1, side, side)
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks1:
            x = block(x, c)
        x = double(self.up1(x))
        for block in self.blocks2:
            x = block(x, c)
        x = double(self.up2(x))
        for block in self.blocks3:
            x = block(x, c)
        x = F.leaky_relu_(F.pixel_shuffle(self.up3(F.leaky_relu_(x, LEAK)), 2), LEAK)
        # In half precision, as in training, pixels would be rounded to 0.3 %.
        with torch.autocast(x.device.type, enabled=False):
            straight = self.straight(latent.float()).reshape(len(latent), 1, *x.shape[2:])
            level = self.out(x.float()) + straight
        # Fainter pixels would be denormal numbers, with which a processor is slow.
        level = level.contiguous().clamp_(min=_FAINTEST)
        stamps = F.softplus(level) * self.envelope
        # The kernel is positive, and zero at the Nyquist frequency, where upsampling leaves a
        # checkerboard that GalSim would see as structure.
        stamps = _smooth(stamps) * self.taper
        ratio = torch.exp(self._colours(c, latent)) / stamps.sum((2, 3))
        return stamps * ratio[:, :, None, None]

    def colours(self, latent: Tensor) -> Tensor:
        """Return ln f_nu flux relative to the reference band, (n, bands), of what is decoded."""
        return self._colours(self.condition(latent), latent)

    def recoloured(self, first: Tensor, rest: Tensor, wanted: Tensor) -> Tensor:
        """Return latents that decode to some colours, by Newton's method.

        Parameters
        ----------
        first : tensor (n, bands - 1)
            Where the latents begin that are mostly colours.
        rest : tensor (n, latent - bands + 1)
            The others, which stay.
        wanted : tensor (n, bands)
            ln f_nu flux, in any unit.

        Returns
        -------
        tensor (n, latent)
        """
        if not len(first):  # torch cannot map a function over no galaxies
            return torch.cat([first, rest], 1)
        reference = self.config.reference
        bands = [band for band in range(self.config.bands) if band != reference]
        wanted = (wanted - wanted[:, reference, None])[:, bands]

        def colours(first: Tensor, rest: Tensor) -> Tensor:
            return self.colours(torch.cat([first, rest])[None])[0, bands]

        slope = torch.func.vmap(torch.func.jacfwd(colours))
        for _ in range(_NEWTON_STEPS):
            missing = wanted - self.colours(torch.cat([first, rest], 1))[:, bands]
            step = _least_squares(slope(first, rest), missing)
            first = first + step.clamp(-_LONGEST_STEP, _LONGEST_STEP)
        return torch.cat([first, rest], 1)

    def _colours(self, condition: Tensor, latent: Tensor) -> Tensor:
        colour = self.colour(torch.cat([condition, latent], 1)).float().clamp(-8.0, 8.0)
        return colour - colour[:, self.config.reference, None]


def _least_squares(matrix: Tensor, values: Tensor) -> Tensor:
    """Solve matrix x = values, (n, k, k) and (n, k), also where a row or column is zero.

    Not by `torch.linalg.lstsq`, whose bits depend on the place in a batch.
    """
    unit = torch.eye(matrix.shape[-1], device=matrix.device)
    square = matrix.mT @ matrix + _LEAST_SLOPE * unit
    return torch.linalg.solve(square, matrix.mT @ values[:, :, None])[:, :, 0]


class VAE(nn.Module):
    """Encoder and decoder of one configuration."""

    def __init__(self, config: VAEConfig | None = None):
        super().__init__()
        self.config = config or VAEConfig()
        if self.config.latent < self.config.bands - 1:
            raise ValueError(
                f"latent is {self.config.latent}; it must be at least {self.config.bands - 1}, "
                "as the first latents begin as colours"
            )
        self.encoder = Encoder(self.config)
        self.look = Look(self.config.bands, self.config.size, self.config.latent,
                         self.config.look_widths, _CONDITION_WIDTH)  # fmt: skip
        self.decoder = Decoder(self.config)
        # Stamps begin as the envelope.
        begin_with_signal(self, self.encoder.head, self.decoder.out, LEAK)
        self._begin_with_colours()
        self.lent = LentColours(self.config.bands)

    def encode(
        self, images: Tensor, otf: Tensor, noise: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode; what was not observed has the colours that `lent` predicts.

        Parameters
        ----------
        images, otf, noise, mask : Tensor
            As for `Encoder.forward`.

        Returns
        -------
        mean, log_variance : tensor (n, latent)
            The latter of what was inferred, before colours were lent.
        """
        mean, log_variance = self.infer(images, otf, noise, mask)
        with torch.autocast(mean.device.type, enabled=False):
            return self._completed(mean, mask.flatten(2).any(2)), log_variance

    @torch.no_grad()
    def _completed(self, mean: Tensor, observed: Tensor) -> Tensor:
        """Move the first latents until unobserved bands have the colours that are lent to them."""
        whole = observed.all(1)
        if whole.all():
            return mean
        count = self.config.bands - 1
        wanted = self.lent(self.decoder.colours(mean), observed)
        latent = self.decoder.recoloured(mean[:, :count], mean[:, count:], wanted)
        return torch.where(whole[:, None], mean, latent)

    def infer(
        self, images: Tensor, otf: Tensor, noise: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode, and correct the mean by what its reconstruction lacks: what is trained.

        Slopes are not followed through these reconstructions: training would take twice as long.

        Parameters
        ----------
        images, otf, noise, mask : Tensor
            As for `Encoder.forward`.

        Returns
        -------
        mean, log_variance : tensor (n, latent)
        """
        condition, mean, log_variance = self.encoder(images, otf, noise, mask)
        for _ in range(self.config.looks):
            with torch.no_grad():
                model = likelihood.convolve(self.decoder(mean), otf)
            mean = mean + self.look(images, model, noise, mask, condition, mean)
        return mean, log_variance

    @torch.no_grad()
    def begin_with_components(self, stamps: Tensor) -> None:
        """Let latents begin as the principal components of galaxies, on the straight paths.

        What convolutions learn of structure in an hour the components know at once: encoded and
        decoded galaxies are correlated with what they were made of by 0.9 to 12 cycles a stamp.
        Convolutions begin as a small addition.

        Parameters
        ----------
        stamps : tensor (m, size, size)
            Galaxies of unit flux without PSF and noise, more than there are latents.
        """
        encoder, decoder = self.encoder, self.decoder
        seen = contrast(stamps, encoder.profile).flatten(1)
        ratio = (math.log(2) * stamps / encoder.profile).flatten(1).clamp(*_BEGINNING)
        level = ratio + torch.log(-torch.expm1(-ratio))  # what softplus makes this ratio of
        begin_with_components(
            encoder.straight, encoder.head, decoder.straight, seen, level, self.config.bands - 1
        )
        self.look.straight.weight.copy_(encoder.straight.weight)

    @torch.no_grad()
    def _begin_with_colours(self) -> None:
        """Let the first latents begin as the colours that the encoder is given.

        Training finds this path late, as structure weighs more, and colours stay imprecise until
        it does.
        """
        config, head, colour = self.config, self.encoder.head, self.decoder.colour
        others = [band for band in range(config.bands) if band != config.reference]
        n, flux = len(others), head.in_features - 2 * config.bands  # column of the first flux
        for part in (head.weight[:n], head.weight[config.latent :][:n], head.bias[:n]):
            part.zero_()
        head.bias[config.latent :][:n] = 2 * math.log(_COLOUR_ERROR / _COLOUR_WIDTH)
        colour.weight.zero_()
        colour.bias.zero_()
        for row, band in enumerate(others):
            head.weight[row, flux + band] = 1 / _COLOUR_WIDTH
            head.weight[row, flux + config.reference] = -1 / _COLOUR_WIDTH
            colour.weight[band, _CONDITION_WIDTH + row] = _COLOUR_WIDTH


def _log_ratio(flux: Tensor, scale: Tensor) -> Tensor:
    """Logarithm of fluxes (n, bands) over a scale (n,), for noise's sake not below 1e-2."""
    return torch.log((flux / scale[:, None]).clamp(min=1e-2))


def _window(size: int) -> Tensor:
    """Gaussian aperture of about the half-light radius."""
    axis = (torch.arange(size) - (size - 1) / 2) / (size / 8)
    return torch.exp(-0.5 * (axis[:, None].square() + axis.square()))


def _envelope(size: int) -> Tensor:
    """Mean profile that the network modulates: exponential with a core and faint wide wings."""
    axis = torch.arange(size) - (size - 1) / 2
    r = torch.hypot(axis[:, None], axis[None, :]) * (STAMP_SIZE / size)
    return torch.exp(-r / 4.0) + 0.02 * torch.exp(-r / 10.0) + 2.0 * torch.exp(-r / 1.2)


def mean_profile(size: int) -> Tensor:
    """Return what galaxies are like on average, of unit flux, (size, size)."""
    envelope = _envelope(size)
    return envelope / envelope.sum()


def contrast(image: Tensor, profile: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Contrast of images of unit flux to a profile, little where there is less light than noise."""
    return torch.asinh((image - profile) / (profile + SEEN * noise + FAINT))


def _smooth(stamps: Tensor) -> Tensor:
    """Convolve with (1, 2, 1) in x and in y; slices are much faster than a convolution."""
    padded = F.pad(stamps, (1, 1, 1, 1))
    rows = (padded[..., :-2] + padded[..., 2:]).add_(padded[..., 1:-1], alpha=2)
    return (rows[..., :-2, :] + rows[..., 2:, :]).add_(rows[..., 1:-1, :], alpha=2)
