"""Structure of observed stamps, measured for a whole batch at once.

Definitions are those of statmorph (Rodriguez-Gomez et al. 2019, MNRAS 483, 4140) and of GalSim's
HSM (Hirata & Seljak 2003, MNRAS 343, 459). statmorph itself takes 0.2 s a galaxy, a hundred times
more; it is the oracle of the tests. The differences, all the same for every sample compared:

- ellipses are those of the adaptive moments (statmorph: moments inside a segmentation map);
- the image is turned about a point between pixels by a shift in Fourier space (statmorph:
  bilinearly, which smooths the noise), and its centre is searched for on steps of 1/8 pixel;
- what the sky adds to asymmetry and smoothness follows from the known noise (statmorph: from a
  corner of the image).
"""

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from galsim_vae import shapes
from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.train.statistics import gini

__all__ = ["COLOURS", "FEATURES", "measure_features"]

#: Colours, and the gradient's: bands of the first and second magnitude.
COLOURS = {
    "F435W-F606W": ("F435W", "F606W"),
    "F606W-F814W": ("F606W", "F814W"),
    "F814W-F125W": ("F814W", "F125W"),
    "F125W-F160W": ("F125W", "F160W"),
}
_GRADIENT = "F606W-F814W"
#: What `measure_features` returns, in its order.
FEATURES = ("g", "size", "rho4", "gini", "m20", "C", "A", "S", *COLOURS, "gradient")

_ETA = 0.2  # of the Petrosian radius: surface brightness over that inside
_EXTENT = 1.5  # of apertures, in Petrosian radii
_FRACTION_GINI, _FRACTION_CAS = 0.2, 0.25  # smoothing lengths, in Petrosian radii
_STEP = 0.25  # of growth curves [pixel]
_CENTRE_STEPS = (1.0, 0.5, 0.25, 0.125)  # of the search for the centre of asymmetry [pixel]


def measure_features(
    image: Tensor, noise: Tensor, mask: Tensor, band: Tensor | None = None
) -> Tensor:
    """Measure `FEATURES` of observed galaxies.

    Parameters
    ----------
    image : tensor (n, bands, size, size)
        PSF and noise in it.
    noise : tensor (n, bands)
        Rms per pixel.
    mask : Tensor
        Bool tensor (n, bands, size, size), True where usable; a band without any is unobserved.
    band : tensor (n,) of int
        The band that structure is measured in; F814W if absent.

    Returns
    -------
    tensor (n, features)
        |g|; size, the sqrt(ab) of the half-light ellipse of the flux inside 1.5 elliptical
        Petrosian radii [pixel]; rho4, the weighted radial fourth moment (2 for a Gaussian); Gini,
        M20, C, A, S; colours of that flux [mag], and the F606W-F814W colour inside the half-light
        ellipse less that outside. NaN where bands are missing, and throughout a row whose
        adaptive moments do not converge. A flux below its noise counts as its noise.
    """
    n = len(image)
    if band is None:
        band = torch.full((n,), BANDS.index(REFERENCE))
    rows = torch.arange(n)
    image = image * mask
    one, usable, sigma = image[rows, band], mask[rows, band].float(), noise[rows, band]
    moments = shapes.adaptive_moments(one, tolerance=1e-4, iterations=60)
    good = moments.converged
    # Harmless numbers where there are none; these rows become NaN in the end.
    x, y, g1, g2 = (torch.where(good, v, 0.0) for v in moments[:4])
    moments = shapes.Moments(x, y, g1, g2, torch.where(good, moments.sigma, 1.0), good)
    ellipse = shapes.elliptical_radius(one, moments)
    growth, area = _growth(ellipse, one, usable)
    petrosian = _petrosian(growth, area)
    total = _at(growth, _EXTENT * petrosian)
    half = _radius_of(growth, 0.5 * total)
    g = torch.hypot(moments.g1, moments.g2)
    major = petrosian * ((1 + g) / (1 - g)).sqrt()
    gini_m20 = _gini_m20(one, usable, ellipse, petrosian, major)
    cas = _cas(one, usable, sigma, moments)
    colours = _colours(image, noise, mask, ellipse, half, _EXTENT * petrosian)
    columns = [g, half, _rho4(one, moments), *gini_m20, *cas, *colours]
    return torch.where(good[:, None], torch.stack(columns, 1), torch.nan)


def _grid(image: Tensor) -> tuple[Tensor, Tensor]:
    axis = torch.arange(image.shape[-1], device=image.device) - (image.shape[-1] - 1) / 2
    return axis[None, :], axis[:, None]


def _rho4(image: Tensor, moments: shapes.Moments) -> Tensor:
    """HSM's ``moments_rho4``: <rho^4> with the weight exp(-rho^2 / 2) of the adaptive moments."""
    rho2 = (shapes.elliptical_radius(image, moments) / moments.sigma[:, None, None]).square()
    weighted = torch.exp(-0.5 * rho2.clamp_max(120)) * image
    return (weighted * rho2 * rho2).sum((1, 2)) / weighted.sum((1, 2))


def _growth(radius: Tensor, *images: Tensor) -> list[Tensor]:
    """Sums of each image's pixels inside radii 0, `_STEP`, ... (n, radii).

    A pixel enters over a ramp of one pixel; the sum of ramps is the double running sum of their
    kinks, shared out to the grid.
    """
    size = radius.shape[-1]
    count = int(size / math.sqrt(2) / _STEP) + 3
    sums = [radius.new_zeros(len(radius), count) for _ in images]
    r = radius.flatten(1).clamp_min(0.5)
    for kink, sign in ((r - 0.5, 1.0), (r + 0.5, -1.0)):
        place = (kink / _STEP).clamp(0, count - 1.001)
        low = place.long()
        share = place - low
        for total, image in zip(sums, images, strict=True):
            flux = sign * image.flatten(1)
            upper = flux * share
            total.scatter_add_(1, low, flux - upper)
            total.scatter_add_(1, low + 1, upper)
    # In double precision, as what was added and taken away must cancel.
    slopes = [total[:, :-1].double().cumsum(1) for total in sums]
    return [
        torch.nn.functional.pad(slope.cumsum(1) * _STEP, (1, 0)).to(radius.dtype)
        for slope in slopes
    ]


def _at(curve: Tensor, radius: Tensor) -> Tensor:
    """Growth curves (n, radii) at one radius each (n,)."""
    place = (radius / _STEP).clamp(0, curve.shape[1] - 1.001)[:, None]
    low = place.long()
    below, above = curve.gather(1, low), curve.gather(1, low + 1)
    return (below + (place - low) * (above - below))[:, 0]


def _radius_of(curve: Tensor, level: Tensor) -> Tensor:
    """First radius at which a growth curve reaches a level (n,)."""
    reached = curve >= level[:, None]
    high = reached.float().argmax(1).clamp_min(1)[:, None]
    below, above = curve.gather(1, high - 1), curve.gather(1, high)
    part = ((level[:, None] - below) / (above - below).clamp_min(1e-20)).clamp(0, 1)
    return ((high - 1 + part) * _STEP)[:, 0]


def _petrosian(growth: Tensor, area: Tensor) -> Tensor:
    """Radius where the mean over a ring of one pixel is 0.2 of that inside, (n,)."""
    wide = round(0.5 / _STEP)
    inner, outer = slice(None, -2 * wide), slice(2 * wide, None)
    middle = slice(wide, -wide)
    ring = (growth[:, outer] - growth[:, inner]) / (area[:, outer] - area[:, inner]).clamp_min(0.5)
    inside = growth[:, middle] / area[:, middle].clamp_min(0.1)
    excess = torch.where(inside > 0, ring / inside.clamp_min(1e-20), 0.0) - _ETA
    excess[:, : round(1 / _STEP) - wide] = 1.0  # not within the first pixel
    below = excess < 0
    high = torch.where(below.any(1), below.float().argmax(1), below.shape[1] - 1)[:, None]
    before, after = excess.gather(1, high - 1), excess.gather(1, high)
    part = (before / (before - after).clamp_min(1e-9)).clamp(0, 1)
    return ((high - 1 + wide + part) * _STEP)[:, 0]


def _inside(radius: Tensor, limit: Tensor) -> Tensor:
    """Share of each pixel inside an aperture: a ramp over one pixel."""
    return (limit[:, None, None] - radius + 0.5).clamp(0, 1)


def _gini_m20(image: Tensor, usable: Tensor, ellipse: Tensor, petrosian: Tensor, major: Tensor):
    """Gini and M20 (Lotz, Primack & Madau 2004, AJ 128, 163, eqs. 6 to 8) in their segment."""
    smooth = _blur(image, _FRACTION_GINI * major)
    ring = _inside(ellipse, petrosian + 0.5) - _inside(ellipse, petrosian - 0.5)
    threshold = (ring * smooth).sum((1, 2)) / ring.sum((1, 2)).clamp_min(1e-9)
    above = (smooth >= threshold[:, None, None]) & (usable > 0)
    segment = torch.from_numpy(_brightest_region(smooth.numpy(), above.numpy()))
    flux = torch.where(segment, image, 0.0)


    x, y = _grid(image)
    total = flux.sum((1, 2))
    xc, yc = ((flux * axis).sum((1, 2)) / total for axis in (x, y))
    moment = flux * ((x - xc[:, None, None]).square() + (y - yc[:, None, None]).square())
    ranked, order = flux.flatten(1).sort(1, descending=True)
    # From the brightest down, until a fifth of the flux is reached.
    brightest = (ranked.cumsum(1) - ranked) < 0.2 * total[:, None]
    bright = (moment.flatten(1).gather(1, order) * brightest).sum(1)
    ratio = bright / moment.sum((1, 2))
    m20 = torch.where(ratio > 0, ratio, torch.nan).log10()
    return gini(image.flatten(1), segment.flatten(1)), m20


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Convolve each image with a Gaussian of its own width."""
    size = image.shape[-1]
    ky, kx = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)
    power = -2 * math.pi**2 * (kx * kx + ky * ky)
    transfer = torch.exp(power * sigma[:, None, None].square())
    return torch.fft.irfft2(torch.fft.rfft2(image) * transfer, s=(size, size))


def _brightest_region(smooth: np.ndarray, above: np.ndarray) -> np.ndarray:
    """The connected region above the threshold that holds the brightest pixel, (n, size, size)."""
    structure = np.ones((3, 3))
    result = np.empty_like(above)
    for i, region in enumerate(above):
        labels, count = ndimage.label(region, structure)
        if count > 1:
            peak = np.argmax(np.where(region, smooth[i], -np.inf))
            region = labels == labels.flat[peak]
        result[i] = region
    return result


def _cas(image: Tensor, usable: Tensor, sigma: Tensor, moments: shapes.Moments):
    """Concentration, asymmetry and smoothness (Conselice 2003, ApJS 147, 1, as statmorph has them).

    Lotz, Primack & Madau 2004, eqs. 9 to 11; each (n,).
    """
    x0, y0 = moments.x, moments.y
    radius = _distance(image, x0, y0)
    petrosian = _petrosian(*_growth(radius, image, usable))
    aperture = _inside(radius, _EXTENT * petrosian)
    turned = _Turned(image, usable)
    x0, y0 = _centre_of_symmetry(turned, aperture, x0, y0)

    radius = _distance(image, x0, y0)
    difference, both = turned.difference(x0, y0)
    inside = _inside(radius, _EXTENT * petrosian) * both
    # |difference of two normal deviates| has the mean 2 / sqrt(pi).
    sky = 2 / math.sqrt(math.pi) * sigma * inside.sum((1, 2))
    asymmetry = ((difference * inside).sum((1, 2)) - sky) / (image.abs() * inside).sum((1, 2))

    growth, area = _growth(radius, image, usable)
    petrosian = _petrosian(growth, area)
    total = _at(growth, _EXTENT * petrosian)
    r20, r80 = (_radius_of(growth, share * total) for share in (0.2, 0.8))
    concentration = 5 * torch.log10(r80 / r20.clamp_min(0.1))
    smoothness = _smoothness(image, sigma, radius, petrosian)
    return concentration, asymmetry, smoothness


def _distance(image: Tensor, x0: Tensor, y0: Tensor) -> Tensor:
    x, y = _grid(image)
    return torch.hypot(x - x0[:, None, None], y - y0[:, None, None])


class _Turned:
    """Images turned by 180 degrees about any points, and where they are usable before and after."""

    def __init__(self, image: Tensor, usable: Tensor):
        self.image, self.usable = image, usable
        self.spectrum = torch.fft.rfft2(image.flip(1, 2))
        masked = bool((usable == 0).any())
        self.mask_spectrum = torch.fft.rfft2(usable.flip(1, 2)) if masked else None

    def difference(self, x0: Tensor, y0: Tensor) -> tuple[Tensor, Tensor]:
        """|image less itself turned about a point|, and where both are usable."""
        size = self.image.shape[-1]
        ky, kx = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
        along_x, along_y = kx * x0[:, None, None], ky * y0[:, None, None]
        wave = _wave(along_x) * _wave(along_y)
        turned = torch.fft.irfft2(self.spectrum * wave, s=(size, size))
        both = self.usable
        if self.mask_spectrum is not None:
            both = both * (torch.fft.irfft2(self.mask_spectrum * wave, s=(size, size)) > 0.5)
        return (self.image - turned).abs(), both


def _wave(cycles: Tensor) -> Tensor:
    """exp(-4 pi i cycles): twice the shift, as the image is turned about its own middle first."""
    phase = 4 * math.pi * cycles
    return torch.complex(phase.cos(), -phase.sin())


def _centre_of_symmetry(turned: _Turned, aperture: Tensor, x: Tensor, y: Tensor):
    """Point about which the image is least asymmetric, by steps along either axis."""
    brightness = turned.image.abs()

    def asymmetry(x: Tensor, y: Tensor) -> Tensor:
        difference, both = turned.difference(x, y)
        weight = aperture * both
        return (difference * weight).sum((1, 2)) / (brightness * weight).sum((1, 2))

    best = asymmetry(x, y)
    for step in _CENTRE_STEPS:
        for dx, dy in ((step, 0), (-step, 0), (0, step), (0, -step)):
            value = asymmetry(x + dx, y + dy)
            better = value < best
            best = torch.where(better, value, best)
            x, y = torch.where(better, x + dx, x), torch.where(better, y + dy, y)
    return x, y


def _smoothness(image: Tensor, sigma: Tensor, radius: Tensor, petrosian: Tensor) -> Tensor:
    smooth = torch.empty_like(image)
    width = (_FRACTION_CAS * petrosian).long().clamp_min(1)
    for w in width.unique().tolist():
        rows = width == w
        low = w // 2
        padded = torch.nn.functional.pad(image[rows, None], (low, w - 1 - low) * 2)
        smooth[rows] = torch.nn.functional.avg_pool2d(padded, w, stride=1)[:, 0]
    ring = _inside(radius, _EXTENT * petrosian) - _inside(radius, _FRACTION_CAS * petrosian)
    excess = (image - smooth).clamp_min(0)
    # The positive part of a normal deviate has the mean 1 / sqrt(2 pi).
    rms = sigma * (1 - 1 / width.float() ** 2).sqrt()
    sky = rms / math.sqrt(2 * math.pi) * ring.sum((1, 2))
    return ((excess * ring).sum((1, 2)) - sky) / (image * ring).sum((1, 2))


def _colours(
    image: Tensor, noise: Tensor, mask: Tensor, ellipse: Tensor, half: Tensor, total: Tensor
) -> list[Tensor]:
    """Colours inside the aperture, and inside less outside the half-light ellipse."""
    inner, whole = _inside(ellipse, half), _inside(ellipse, total)
    observed = mask.flatten(2).any(2)

    def magnitudes(weight: Tensor) -> Tensor:
        flux = torch.einsum("nbyx,nyx->nb", image, weight)
        limit = noise * weight.square().sum((1, 2)).sqrt()[:, None]
        flux = torch.maximum(flux, limit.clamp_min(1e-12))
        return torch.where(observed, -2.5 * torch.log10(flux), torch.nan)

    full, inside, outside = (magnitudes(w) for w in (whole, inner, (whole - inner).clamp_min(0)))
    pairs = {name: (BANDS.index(a), BANDS.index(b)) for name, (a, b) in COLOURS.items()}
    colours = [full[:, a] - full[:, b] for a, b in pairs.values()]
    a, b = pairs[_GRADIENT]
    return [*colours, (inside[:, a] - inside[:, b]) - (outside[:, a] - outside[:, b])]
