"""A PSF in k, as the batched renderer needs it: sampled, with the pixel, where it has power."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import galsim
import numpy as np
import scipy.fft
from galsim.errors import GalSimRangeError
from numpy.typing import NDArray

__all__ = ["PSFTransform", "sample_psf"]

# Wave vectors that hold less than this of the sum of |PSF x pixel| are left out; so is no more
# than this of a star's peak, and less of a galaxy's, whose own transform falls.
_NEGLECTED = 2e-6
# Where |PSF| in k is below this of its flux it is not sampled.
_FAINT, _SEARCH = 1e-6, 1.25
# A PSF is known well enough about its period when it has fallen to this of its peak at the edge.
_EDGE = 2e-7
_MAX_PADDING = 8
# GalSim's largest Fourier transform: 1 GiB. A period that wide is far beyond the wings anyway.
_MAX_SIZE = 8192
# Numbers of wave vectors are multiples of this, so that galaxies of unlike PSFs share a batch.
_ROUND = 4
_MAX_WAVES = _MAX_SIZE // 2


class PSFTransform(NamedTuple):
    """Transform of PSF and pixel on the wave vectors of one period.

    Attributes
    ----------
    values : ndarray (m + 1, 2 m + 1) complex128
        At k_x = 0 ... m and k_y = -m ... m times ``step``. Zero where it is neglected, and
        normalised so that its sum with F gives counts a pixel.
    step : float
        2 pi / period, 1 / arcsec.
    """

    values: NDArray
    step: float

    @property
    def waves(self) -> int:
        """Number m of positive wave numbers along an axis."""
        return len(self.values) - 1


@functools.lru_cache(maxsize=64)
def sample_psf(
    psf: galsim.GSObject, period: float, scale: float, pixel: bool = True
) -> PSFTransform:
    """Sample a PSF, and a square pixel, in k.

    The PSF is cut at the edges of the period instead of being folded into it, so that its far
    wings do not come back on the other side.

    Parameters
    ----------
    psf : galsim.GSObject
    period : float
        Of the image, arcsec.
    scale : float
        Of a pixel, arcsec.
    pixel : bool
        Whether the pixel's response is still to be added to the PSF.

    Raises
    ------
    galsim.GalSimRangeError
        The PSF is too sharp for the period.
    """
    step = 2 * np.pi / period
    psf = psf.withGSParams(maxk_threshold=_FAINT, kvalue_accuracy=_FAINT / 10)
    half = scipy.fft.next_fast_len(_extent(psf, step))
    values = _cut(psf, step, half)
    wave = np.arange(-half, half)
    if pixel:
        response = np.sinc(wave * step * scale / (2 * np.pi))
        values *= response * response[:, None]
    square = wave**2 + wave[:, None] ** 2
    rings = np.bincount(square.ravel(), np.abs(values).ravel())
    outside = np.cumsum(rings[::-1])
    last = len(rings) - 1 - int(np.searchsorted(outside, _NEGLECTED * outside[-1]))
    values[square > last] = 0
    largest = math.sqrt(last)
    waves = _ROUND * math.ceil(min(largest, half - 1) / _ROUND)
    transform = np.zeros((waves + 1, 2 * waves + 1), dtype=np.complex128)
    have = min(waves, half - 1)
    transform[: have + 1, waves - have : waves + have + 1] = values[
        half - have : half + have + 1, half : half + have + 1
    ].T
    return PSFTransform(transform * (scale / period) ** 2, step)


def _extent(psf: galsim.GSObject, step: float) -> int:
    """Steps to where the PSF's transform is faint, or, from its maxk on, no longer falls.

    Its maxk is where the search begins and no more. That of a convolution is the least of its
    parts', and their product may have ended well before: HST's in F435W at 0.6 of it. An object
    that has been drawn before keeps the maxk of its old GSParams (GalSim 2.8). That of an
    interpolated image never ends.
    """
    largest, before = psf.maxk, np.inf
    # Inwards only past what is fainter still, as these rings are wide.
    while _ring(psf, largest / _SEARCH) <= _FAINT / 10:
        largest /= _SEARCH
    while largest < _MAX_WAVES * step:
        amplitude = _ring(psf, largest)
        if amplitude > before / 2:
            return math.ceil(largest / _SEARCH / step) + 1
        if amplitude <= _FAINT:
            return math.ceil(largest / step) + 1
        largest, before = _SEARCH * largest, amplitude
    raise GalSimRangeError(
        f'The PSF has structure too fine for a period of {2 * np.pi / step:.3g}": in k it reaches',
        largest,
        0,
        _MAX_WAVES * step,
    )


def _ring(psf: galsim.GSObject, k: float) -> float:
    """Largest |PSF|, as a share of its flux, from k to 1.25 k."""
    radii = k * np.linspace(1, _SEARCH, 3)
    angles = np.linspace(0, np.pi, 12, endpoint=False)
    values = [psf.kValue(r * np.cos(a), r * np.sin(a)) for r in radii for a in angles]
    return float(np.abs(values).max() / abs(psf.flux))


def _cut(psf: galsim.GSObject, step: float, half: int) -> NDArray:
    """Transform of the PSF cut to one period, (2 half, 2 half) indexed [k_y, k_x], 0 at half."""
    padding = 1
    while True:
        size = 2 * half * padding
        wide = psf.drawKImage(nx=size, ny=size, scale=step / padding).array
        wide = scipy.fft.fftshift(scipy.fft.ifft2(scipy.fft.ifftshift(wide), overwrite_x=True))
        edge = np.abs(np.concatenate([wide[0], wide[:, 0]])).max()
        enough = edge <= _EDGE * np.abs(wide).max()
        if enough or padding == _MAX_PADDING or 2 * size > _MAX_SIZE:
            break
        padding *= 2
    inside = slice(half * (padding - 1), half * (padding + 1))
    cut = scipy.fft.ifftshift(wide[inside, inside])
    return scipy.fft.fftshift(scipy.fft.fft2(cut, overwrite_x=True))
