"""Real galaxies of a training file, varied and re-noised each time that they are used."""

import math

import numpy as np
import torch
from torch import Tensor

from galsim_vae.conditions import NAMES
from galsim_vae.model.pose import FLATTEST
from galsim_vae.train.training_file import Dataset

from . import augment, constants
from .batch import APERTURE_AREA, AS_STATED, Batch, aperture
from .checkpoint import digest
from .observe import draw_signal_to_noise
from .turn import largest_turn

__all__ = ["RealGalaxies"]


class RealGalaxies:
    """Galaxies at unit flux, with what is known of them.

    Parameters
    ----------
    data : Dataset
    keep : bool array (n,)
        The galaxies taken.

    Attributes
    ----------
    observed : Batch
        With the noise that the file states.
    log_flux : tensor (n, bands)
        ln flux in a circle of two half-light radii; NaN where not detected.
    survey : integer tensor (n,)
        Who observed each.
    conditions : tensor (n, 4)
        In the order of `galsim_vae.conditions.NAMES`, radius in arcsec; NaN where missing.
    pixel_scale : tensor (n,)
        arcsec; NaN where the radius is missing.
    frame_g : tensor (n,)
        Shear along +x that the frame has taken out.
    most : tensor (n,)
        Largest angle of turning [radian].
    """

    def __init__(self, data: Dataset, keep: np.ndarray):
        chosen = data[keep]
        self.observed = Batch.from_training_file(chosen, AS_STATED)
        self.log_flux = _log_flux(self.observed)
        _, survey = np.unique(chosen.source, return_inverse=True)
        self.survey = torch.from_numpy(survey)
        table = np.stack([getattr(chosen, name) for name in NAMES], 1)
        self.conditions = torch.from_numpy(table.astype(np.float32))
        known = np.isfinite(chosen.half_light_radius)
        scale = np.where(known, chosen.pixel_scale, np.nan)
        self.pixel_scale = torch.from_numpy(scale.astype(np.float32))
        self.frame_g = torch.from_numpy(np.asarray(chosen.frame_g, np.float32))
        self.most = largest_turn(self.frame_g, chosen.frame)

    def __len__(self) -> int:
        return len(self.observed.image)

    def to(self, device: torch.device | str) -> "RealGalaxies":
        """Move every tensor to another device, in place, and return self."""
        self.observed = Batch(*(value.to(device) for value in self.observed))
        for name in ("log_flux", "survey", "conditions", "pixel_scale", "frame_g", "most"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def digest(self) -> str:
        """Return a digest of all galaxies."""
        known = {"conditions": self.conditions, "frame_g": self.frame_g}
        return digest(self.observed._asdict() | known)

    def batch(
        self,
        index: Tensor,
        generator: torch.Generator,
        signal_to_noise: Tensor | None = None,
        exchange: bool = False,
        any_turn: bool = False,
    ) -> Batch:
        """Vary at random (`augment.vary`), add white noise down to a drawn signal-to-noise ratio.

        Noise already there is never taken away: a galaxy that is noisier than the ratio drawn
        stays as it is.

        Parameters
        ----------
        index : tensor (n,) of int
            The galaxies wanted.
        generator : torch.Generator
            Of everything random.
        signal_to_noise : tensor (n,), optional
            Drawn with `draw_signal_to_noise` if absent.
        exchange : bool
            Give most of them the colours of others (`augment.exchange_colours`).
        any_turn : bool
            Turn by any angle all that `galsim_vae.model.pose` turns; else only those seen nearly
            face-on.

        Returns
        -------
        Batch
        """
        galaxies = Batch(*(value[index] for value in self.observed))
        if exchange:
            galaxies = self._with_other_colours(galaxies, index, generator)
        most = self.most[index]
        if any_turn:
            most = torch.where(self.frame_g[index] < FLATTEST, math.pi / 4, most)
        image, mask, otf, stretched = augment.vary(
            galaxies.image, galaxies.mask, galaxies.otf, most, generator
        )
        # Stretched by an area, noise of the same power per sky area is fainter per pixel.
        noise = galaxies.noise / stretched.sqrt()[:, None]
        varied = Batch(image, otf, noise, galaxies.noise_area, mask)
        if signal_to_noise is None:
            signal_to_noise = draw_signal_to_noise(len(index), generator)
        return _with_noise(varied, signal_to_noise, generator)

    def _with_other_colours(
        self, galaxies: Batch, index: Tensor, generator: torch.Generator
    ) -> Batch:
        """Give most galaxies the colours of others of their survey, at unit flux again."""
        factor = augment.exchange_colours(self.log_flux, self.survey, index, generator)
        flux = galaxies.image.sum((2, 3))
        factor = factor / flux.mul(factor).amax(1, keepdim=True)
        image = galaxies.image * factor[:, :, None, None]
        return galaxies._replace(image=image, noise=galaxies.noise * factor)


def _with_noise(galaxies: Batch, signal_to_noise: Tensor, generator: torch.Generator) -> Batch:
    """Add white noise down to signal-to-noise ratios, tensor (n,)."""
    image, own, area = galaxies.image, galaxies.noise, galaxies.noise_area
    target = 1 / (signal_to_noise * APERTURE_AREA**0.5)
    scatter = torch.randn(own.shape, generator=generator, device=generator.device)
    target = target[:, None] * torch.exp(constants.NOISE_SCATTER * scatter)
    added = (target.square() - own.square() * area).clamp(min=0).sqrt()
    added = torch.maximum(added, constants.LEAST_ADDED * target)
    image = image + added[:, :, None, None] * torch.randn(
        image.shape, generator=generator, device=generator.device
    )
    variance = own.square() + added.square()
    effective = own.square() * area + added.square()
    return galaxies._replace(
        image=image * galaxies.mask, noise=variance.sqrt(), noise_area=effective / variance
    )


def _log_flux(galaxies: Batch) -> Tensor:
    inside = aperture()
    flux = (galaxies.image * inside).sum((2, 3))
    pixels = (galaxies.mask & inside).sum((2, 3))
    error = galaxies.noise * (galaxies.noise_area * pixels).sqrt()
    return torch.where(flux > constants.DETECTED * error, flux, torch.nan).log()
