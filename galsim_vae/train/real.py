"""Real galaxies for training: readers of three public sets, and the file they become.

    python -m galsim_vae.train.real --shared ../shared/data --output real.h5

Each reader yields `Source`s, one a galaxy. `ingest` measures each, rejects what is not one
well-measured galaxy (with the reason), and brings the rest to the canonical frame.
"""

import argparse
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from scipy import ndimage
from tqdm import tqdm

from ..bands import BANDS, CANDELS_NOISE, PIVOT, REFERENCE, hst_psf
from . import dataset, estimate, frame
from .reconstruct import aperture_noise

# A filter stands for a band of ours if their pivots are this close in ln(wavelength).
MAX_BAND_DISTANCE = 0.1
PIVOTS_NM = {
    # NIRCam: JWST user documentation; SDSS r: SVO filter profile service.
    "F115W": 1154.0, "F150W": 1501.0, "F200W": 1988.0, "F277W": 2776.0,
    "F356W": 3565.0, "F410M": 4084.0, "F444W": 4402.0, "r": 617.6,
}  # fmt: skip
# Empirical PSFs of the CEERS 30 mas mosaics: Finkelstein et al. 2023, ApJL 946, L13. The set's own
# note says 0.04" for F115W, which is the telescope's, before drizzling.
CEERS_FWHM = {"F115W": 0.066, "F150W": 0.070}
# Sky noise in the CANDELS stamps, e-/s per pixel. ACS: median of the high-pass rms in the faint
# parts of 139 segments. Drizzling correlates WFC3/IR's so much that this says little there (it
# gives 0.0017): the published depth instead.
CANDELS_SKY = {"F606W": 0.0049, "F814W": 0.0028, "F125W": CANDELS_NOISE["F125W"]}
# Limits of what is taken as one well-measured galaxy. Lengths are in observed half-light radii of
# the reference band unless stated.
MAX_OFF_CENTRE = 1.0  # centroid from the stamp's centre
MAX_BAND_OFFSET = 0.3  # centroid between the bluest and the reddest band
MIN_SIZE = 1.8  # half-light radius over the PSF's
MIN_SIGNAL_TO_NOISE = 20.0  # of the flux in an aperture of two half-light radii
MAX_SECOND_SEGMENT = 0.05  # flux of the second largest segment over the total
MERGER_PEAK = 0.4  # a second nucleus is at least so bright, relative to the first,
MERGER_DIP = 0.6  # and the saddle between them at most so bright, relative to the second
MIN_COVER = 0.8  # usable share of the canonical pixels within one half-light radius
SEED = 20240229


@dataclass
class Source:
    """One galaxy as a reader found it, with what its catalogue says (NaN where nothing)."""

    name: str
    index: int
    observation: frame.Observation
    magnitude: float = math.nan
    redshift: float = math.nan
    sized: bool = True
    reason: str = ""


def nearest_band(pivot: float) -> str | None:
    """Return the band of ours nearest to a pivot wavelength [nm], or None if none is near."""
    distance = {band: abs(math.log(pivot / PIVOT[band])) for band in BANDS}
    band = min(distance, key=lambda b: distance[b])
    return band if distance[band] <= MAX_BAND_DISTANCE else None


def band_map(filters: Iterable[str]) -> dict[str, str]:
    """Map a survey's filters to our bands; those far from any are left out."""
    near = {name: nearest_band(PIVOTS_NM[name]) for name in filters}
    return {name: band for name, band in near.items() if band}


def candels(shared: Path) -> Iterator[Source]:
    """CANDELS GOODS-S: F606W, F814W, F125W at 0.06", native PSF, no redshift.

    Pixels outside the galaxy's segment are 0, and negative ones were clipped, so only the segment
    is used. Inside it the sky noise is still there: `CANDELS_SKY`.
    """
    bands = ("F606W", "F814W", "F125W")
    with fits.open(shared / "candels_goodss" / "stamps_60mas.fits.gz") as hdus:
        catalogue = hdus["CATALOG"].data
        scale = hdus[REFERENCE].header["PIXSCALE"]
        # To one f_nu unit: e-/s at the reference band's zero-point.
        zero = hdus[REFERENCE].header["ZPT_AB"]
        to_reference = {b: 10 ** (-0.4 * (hdus[b].header["ZPT_AB"] - zero)) for b in bands}
        cube = {b: hdus[b].data.astype(float) * to_reference[b] for b in bands}
    for i in range(len(catalogue)):
        image = {b: cube[b][i] for b in bands}
        mask, reason = _segment(np.max(list(image.values()), axis=0))
        observation = frame.Observation(
            image,
            dict.fromkeys(bands, scale),
            {b: hst_psf(b) for b in bands},
            {b: CANDELS_SKY[b] * to_reference[b] for b in bands},
            mask={b: mask for b in bands},
        )
        magnitude = float(catalogue["mag814"][i])
        yield Source("candels_goodss", i, observation, magnitude=magnitude, reason=reason)


def _segment(image) -> tuple[np.ndarray, str]:
    """Main segment of an image that is 0 elsewhere, and why it is no good, if so."""
    # Holes are clipped negative pixels of the galaxy; opening drops lone pixels and threads.
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(image > 0))
    labels, count = ndimage.label(ndimage.binary_opening(filled))
    if count == 0:
        return np.zeros(image.shape, dtype=bool), "no segment"
    flux = ndimage.sum_labels(image, labels, np.arange(1, count + 1))
    order = np.argsort(flux)[::-1]
    mask = labels == order[0] + 1
    if count > 1 and flux[order[1]] > MAX_SECOND_SEGMENT * image.sum():
        return mask, "several segments"
    if mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any():
        return mask, "cut by the stamp's edge"
    return mask, ""


def ceers(shared: Path) -> Iterator[Source]:
    """JWST CEERS, F115W as F125W and F150W as F160W at 0.03", with redshifts 1 to 5.

    MJy/sr is a common f_nu unit. No F814W, so no magnitude.
    """
    data = np.load(shared / "more" / "jwst_ceers_7band.npz")
    psf = {name: _jwst_psf(name) for name in CEERS_FWHM}
    filters = list(data["bands"])
    for i in range(len(data["img"])):
        used = {n: b for n, b in band_map(filters).items() if data["bandok"][i, filters.index(n)]}
        if not used:
            continue
        at = {b: filters.index(n) for n, b in used.items()}
        yield Source(
            "jwst_ceers",
            i,
            frame.Observation(
                {b: data["img"][i, k] for b, k in at.items()},
                dict.fromkeys(at, float(data["stamp_scale"][i])),
                {b: psf[n] for n, b in used.items()},
                {b: float(data["sig_native"][i, k] * data["rebin"][i]) for b, k in at.items()},
                {b: data["mask"][i] == 0 for b in at},
                dict.fromkeys(at, (float(data["x"][i]), float(data["y"][i]))),
            ),
            redshift=float(data["z"][i]),
            reason="" if data["quality"][i] >= 1 else "quality",
        )


def _jwst_psf(name: str) -> galsim.GSObject:
    """Effective NIRCam PSF: Airy pattern and pixels, blurred to the FWHM of the mosaics."""
    optics = galsim.OpticalPSF(lam=PIVOTS_NM[name], diam=6.5, obscuration=0.2)
    # Detector pixel 0.031", mosaic pixel 0.03"; the FWHMs of the parts add nearly in squares.
    sharp = math.hypot(1.02 * PIVOTS_NM[name] * 1e-9 / 6.5 * 206265, 0.031 * 0.9, 0.03 * 0.9)
    blur = galsim.Gaussian(fwhm=math.sqrt(max(CEERS_FWHM[name] ** 2 - sharp**2, 0.01**2)))
    return galsim.Convolve(optics, galsim.Pixel(0.031), galsim.Pixel(0.03), blur)


def sdss(shared: Path) -> Iterator[Source]:
    """SDSS r spirals, as F606W: structure only.

    Nearby galaxies stand in for distant ones, so magnitude, size and redshift are missing.
    """
    data = np.load(shared / "more" / "sdss_r_spirals.npz")
    band = band_map(["r"])["r"]
    for i in range(len(data["img"])):
        native = float(data["native_pixscale_arcsec"])
        rebin = int(data["rebin"][i])
        yield Source(
            "sdss_r",
            i,
            frame.Observation(
                {band: data["img"][i, 0]},
                {band: float(data["stamp_scale"][i])},
                {band: _block_psf(data["psf"][i], native, rebin)},
                {band: float(data["sig_native"][i, 0]) * rebin},
                {band: data["mask"][i] == 0},
                {band: (float(data["x"][i]), float(data["y"][i]))},
            ),
            sized=False,
            reason="" if data["quality"][i] >= 1 else "quality",
        )


def _block_psf(image, pixel_scale: float, rebin: int) -> galsim.GSObject:
    """Effective PSF of native pixels summed in blocks of `rebin` x `rebin`."""
    image = np.array(image, dtype=float)
    psf = galsim.InterpolatedImage(galsim.ImageD(image), scale=pixel_scale, flux=1.0)
    shifts = (np.arange(rebin) - (rebin - 1) / 2) * pixel_scale
    return galsim.Sum([psf.shift(dx, dy) for dx in shifts for dy in shifts]) / rebin**2


def reject(source: Source, geometry: frame.Geometry) -> str:
    """Return why a measured galaxy should not be used, or ''."""
    observation, band = source.observation, geometry.band
    scale = math.sqrt(observation.wcs[band].pixelArea())
    radius = geometry.observed_half_light_radius
    if geometry.flux[band] <= MIN_SIGNAL_TO_NOISE * aperture_noise(observation, geometry):
        return "too noisy"
    if math.hypot(*geometry.centroid) > MAX_OFF_CENTRE * radius:
        return "off centre"
    if radius < MIN_SIZE * estimate.psf_size(observation.psf[band], scale)[1]:
        return "unresolved"
    ends = [b for b in BANDS if b in observation.image]
    first, last = (_centroid(observation, b, geometry) for b in (ends[0], ends[-1]))
    if source.name == "candels_goodss" and math.dist(first, last) > MAX_BAND_OFFSET * radius:
        return "bands disagree on the centre"
    if has_two_nuclei(observation, geometry):
        return "two nuclei"
    return ""


def _centroid(observation, band, geometry) -> tuple[float, float]:
    """Centroid of the flux inside two half-light radii, from the observation's centre [arcsec]."""
    x0, y0 = frame.pixel_centroid(observation, band, geometry.centroid)
    scale = math.sqrt(observation.wcs[band].pixelArea())
    image = observation.image[band] * observation.mask[band]
    y, x = np.indices(image.shape)
    near = np.hypot(x - x0, y - y0) < 2 * geometry.observed_half_light_radius / scale
    flux = image[near].sum()
    return (x - x0)[near] @ image[near] / flux * scale, (y - y0)[near] @ image[near] / flux * scale


def has_two_nuclei(observation: frame.Observation, geometry: frame.Geometry) -> bool:
    """Tell whether the reference band has a second bright peak behind a deep saddle.

    The image is smoothed with a Gaussian of a quarter of the half-light radius, and peaks count if
    a half-light radius apart. The saddle spares arms, clumps and edge-on discs.
    """
    band = geometry.band
    radius = geometry.observed_half_light_radius / math.sqrt(observation.wcs[band].pixelArea())
    image = observation.image[band] * observation.mask[band]
    smooth = ndimage.gaussian_filter(image, radius / 4)
    x0, y0 = frame.pixel_centroid(observation, band, geometry.centroid)
    y, x = np.nonzero((smooth == ndimage.maximum_filter(smooth, 5)) & (smooth > 0))
    near = np.hypot(x - x0, y - y0) < 3 * radius
    x, y = x[near], y[near]
    if x.size == 0:
        return False
    height = smooth[y, x]
    top = int(np.argmax(height))
    for i in np.flatnonzero(height > MERGER_PEAK * height[top]):
        if math.hypot(x[i] - x[top], y[i] - y[top]) < radius:
            continue
        share = np.linspace(0, 1, 50)
        path = [y[top] + share * (y[i] - y[top]), x[top] + share * (x[i] - x[top])]
        if ndimage.map_coordinates(smooth, path, order=1).min() < MERGER_DIP * height[i]:
            return True
    return False


def ingest(sources: Iterable[Source], rng: galsim.BaseDeviate):
    """Bring galaxies to the canonical frame.

    Returns
    -------
    `dataset.Dataset`, and a list of (source name, index, reason or '') for every galaxy.
    """
    rows: list[dict] = []
    log: list[tuple[str, int, str]] = []
    for source in sources:
        row, reason = _canonical_row(source, rng)
        log.append((source.name, source.index, reason))
        if row:
            rows.append(row)
    if not rows:
        raise galsim.GalSimValueError("No galaxy was accepted", Counter(r for _, _, r in log))
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    columns["valid"] = dataset.is_validation(columns["source_index"])
    return dataset.Dataset(**columns), log


def _canonical_row(source: Source, rng) -> tuple[dict | None, str]:
    """One row of the training file, or None and the reason."""
    if source.reason:
        return None, source.reason
    try:
        geometry = frame.measure(source.observation)
    except galsim.GalSimError as error:
        return None, f"not measurable ({type(error).__name__})"
    reason = reject(source, geometry)
    if reason:
        return None, reason
    canonical = frame.to_canonical(source.observation, geometry, rng)
    if cover(canonical.mask) < MIN_COVER:
        return None, "too little usable area"
    scale = max(geometry.flux.values())
    row = {
        "image": canonical.image / scale,
        "psf": canonical.psf,
        "mask": canonical.mask,
        "noise": canonical.noise / scale,
        "noise_area": canonical.noise_area,
        "magnitude": source.magnitude,
        "half_light_radius": geometry.half_light_radius if source.sized else math.nan,
        "g": geometry.g,
        "redshift": source.redshift,
        "pixel_scale": canonical.pixel_scale,
        "flux_scale": scale,
        "source": source.name,
        "source_index": source.index,
    }
    return row, ""


def cover(mask) -> float:
    """Usable share, in the worst observed band, of a disc of a half-light radius."""
    y, x = np.indices(mask.shape[1:]) - (mask.shape[1] - 1) / 2
    disc = np.hypot(x, y) < frame.HALF_LIGHT_PIXELS
    return min(float(m[disc].mean()) for m in mask if m.any()) if mask.any() else 0.0


READERS: dict[str, Callable[[Path], Iterator[Source]]] = {
    "candels_goodss": candels,
    "jwst_ceers": ceers,
    "sdss_r": sdss,
}
BAND_MAPS = {
    "candels_goodss": "F606W>F606W F814W>F814W F125W>F125W",
    "jwst_ceers": "F115W>F125W F150W>F160W",
    "sdss_r": "r>F606W",
}
PROVENANCE = (
    "candels_goodss: CANDELS GOODS-S stamps, github bpRsh/a1_data, MIT. "
    "jwst_ceers: CEERS stamps, github itzliquauhtli/finding_disk_galaxies_research, public JWST "
    "data. sdss_r: SDSS r spirals, github tingard/gzbuilder_data_prep, public SDSS data."
)


def main(arguments: list[str] | None = None) -> None:
    """Read the three sets, write one training file, print what was rejected and why."""
    parser = argparse.ArgumentParser(description="Make a training file from real galaxies.")
    parser.add_argument("--shared", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--output", type=Path, required=True, help="HDF5 file to write")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", fits.verify.VerifyWarning)
    sources = (s for reader in READERS.values() for s in reader(options.shared))
    data, log = ingest(tqdm(sources, unit="galaxy"), galsim.BaseDeviate(SEED))
    dataset.write(options.output, data, band_maps=BAND_MAPS, provenance=PROVENANCE)
    for name in READERS:
        reasons = Counter(reason for n, _, reason in log if n == name)
        print(f"{name}: {reasons.pop('', 0)} accepted of {sum(1 for n, _, _ in log if n == name)}")
        for reason, count in reasons.most_common():
            rows = [i for n, i, r in log if n == name and r == reason]
            print(f"    {count:3d} {reason}: {rows}")


if __name__ == "__main__":
    main()
