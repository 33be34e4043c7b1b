"""What a reader of survey data gives: sources, one a galaxy, in chunks."""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import galsim
import numpy as np

from galsim_vae.bands import FILTER_PIVOT, band_map, hst_psf
from galsim_vae.frame import moments as estimate
from galsim_vae.frame.observation import Observation

__all__ = ["Reader", "Source", "block_psf", "build_psf", "map_filters"]

# PSFs are held as images with so many samples per native pixel, on so many of these.
PSF_SAMPLING, PSF_SIDE = 4, 321


@dataclass
class Source:
    """One galaxy as a reader found it, with what its catalogue says (NaN where nothing).

    Attributes
    ----------
    name : of the reader; index : row in the reader's catalogue, the same in every run.
    observation : stamps, PSFs, noise; None where `reason` says why there are none.
    filters : dict of band name to the survey's filter that stands for it.
    magnitude : AB in F814W.
    sized : its size on the sky is that of a distant galaxy (not so for nearby ones that enter as
        structure).
    segment_only : only the galaxy's own segment is usable, so that what is masked around it does
        not tell of neighbours.
    identifier : of the survey.
    catalogue : further columns of the survey's catalogue.
    zeropoint : AB, of the observation's flux unit; it gives the magnitude where none is known.
    reason : why the reader itself rejects it, or ''.
    """

    name: str
    index: int
    observation: Observation | None
    filters: dict[str, str] = field(default_factory=dict)
    magnitude: float = math.nan
    redshift: float = math.nan
    zeropoint: float = math.nan
    sized: bool = True
    segment_only: bool = False
    identifier: str = ""
    catalogue: dict[str, float] = field(default_factory=dict)
    reason: str = ""


class Reader(Protocol):
    """A set of galaxies, read in chunks that do not depend on each other.

    Attributes
    ----------
    name : of the set, as the training file calls it.
    filters : dict of the survey's filters to the bands they stand for.
    provenance : where the data come from, and their licence.
    """

    name: str
    filters: dict[str, str]
    provenance: str

    def check(self) -> None:
        """Look at all input without working on it.

        Raises
        ------
        galsim.GalSimError : something is missing or wrong; the message names it.
        """
        ...

    def __len__(self) -> int:
        """Count the chunks."""
        ...

    def read(self, chunk: int) -> Iterator[Source]:
        """Read the galaxies of one chunk."""
        ...


def map_filters(filters, pivots: Mapping[str, float] | None, structure_only: bool):
    """`bands.band_map` of filters by name; `pivots` [nm] adds to those that are known.

    Raises
    ------
    galsim.GalSimConfigValueError : a filter of unknown pivot wavelength.
    galsim.GalSimConfigError : no filter is near any of our bands.
    """
    known = FILTER_PIVOT | dict(pivots or {})
    for name in filters:
        if name not in known:
            raise galsim.GalSimConfigValueError(
                f"Filter {name} is unknown: give its wavelength in nm with pivot.{name}=... Known",
                name,
                list(known),
            )
    chosen = band_map({name: known[name] for name in filters}, structure_only)
    if not chosen:
        raise galsim.GalSimConfigError(
            f"None of the filters {list(filters)} is near a band of the model; "
            "with structure_only=true the nearest is used"
        )
    return chosen


def build_psf(spec, filter_name: str, pixel_scale: float) -> galsim.GSObject:
    """Build an effective PSF (native pixel in it), centred on its own adaptive moments.

    Parameters
    ----------
    spec : ``"HST"`` for `bands.hst_psf`; the name of a FITS image or an array, sampled at the
        survey's pixels; or a GalSim config object such as ``{type: Moffat, fwhm: 1.1, beta: 3}``.
    pixel_scale : of the survey [arcsec].

    Raises
    ------
    galsim.GalSimError : GalSim cannot build it, or it has no centre.
    """
    if isinstance(spec, str) and spec == "HST":
        psf = hst_psf(filter_name)
    elif isinstance(spec, Mapping):
        psf, _ = galsim.config.BuildGSObject({"psf": copy.deepcopy(dict(spec))}, "psf")
    else:
        image = galsim.fits.read(spec) if isinstance(spec, str) else galsim.ImageD(np.array(spec))
        psf = galsim.InterpolatedImage(image, scale=pixel_scale, flux=1.0)
    return _centred(psf.withFlux(1.0), pixel_scale)


def _centred(psf: galsim.GSObject, pixel_scale: float) -> galsim.GSObject:
    """Sample a PSF four times per pixel, its adaptive moments centred on the origin.

    One image draws up to 25 times faster than diffraction patterns convolved with pixels, and is
    the same to 1e-3 of the peak.
    """
    scale = pixel_scale / PSF_SAMPLING
    draw = {"nx": PSF_SIDE, "ny": PSF_SIDE, "scale": scale, "method": "no_pixel", "dtype": float}
    image = psf.drawImage(**draw).array
    middle = (PSF_SIDE - 1) / 2
    x, y, _ = estimate.adaptive_moments(image, (middle, middle))
    image = psf.shift((middle - x) * scale, (middle - y) * scale).drawImage(**draw)
    return galsim.InterpolatedImage(image, scale=scale, flux=1.0)


def block_psf(psf: galsim.GSObject, pixel_scale: float, rebin: int) -> galsim.GSObject:
    """Effective PSF of native pixels summed in blocks of `rebin` x `rebin`."""
    if rebin == 1:
        return psf
    # A sum of rebin^2 shifted profiles is slow to draw: they are summed as one fine image, in which
    # all shifts are whole pixels, since PSF_SAMPLING is even.
    scale = pixel_scale / PSF_SAMPLING
    side = PSF_SIDE + PSF_SAMPLING * rebin
    fine = psf.drawImage(nx=side, ny=side, scale=scale, method="no_pixel", dtype=float).array
    half = PSF_SAMPLING * (rebin - 1) // 2
    shifts = range(-half, half + 1, PSF_SAMPLING)
    blocks = sum(np.roll(fine, (dy, dx), (0, 1)) for dy in shifts for dx in shifts)
    return galsim.InterpolatedImage(galsim.ImageD(blocks), scale=scale, flux=1.0)
