"""A small made survey: two mosaics with known galaxies, a star and a blend; stamps."""

from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
import yaml
from astropy.io import fits
from astropy.table import Table
from scipy import ndimage

SCALE = 0.06
ZEROPOINTS = {"F814W": 25.947, "F160W": 25.946}
PSFS = {
    "F814W": galsim.Convolve(galsim.Gaussian(fwhm=0.09), galsim.Pixel(SCALE)),
    "F160W": galsim.Convolve(galsim.Gaussian(fwhm=0.18), galsim.Pixel(SCALE)),
}
PSF_CONFIGS = {
    "F814W": {"type": "Convolve", "items": [{"type": "Gaussian", "fwhm": 0.09},
                                            {"type": "Pixel", "scale": SCALE}]},
    "F160W": {"type": "Convolve", "items": [{"type": "Gaussian", "fwhm": 0.18},
                                            {"type": "Pixel", "scale": SCALE}]},
}  # fmt: skip
RMS = {"F814W": 0.004, "F160W": 0.006}  # as white noise; drizzling leaves less in one pixel
BLUR = 0.8  # pixels, correlates the noise of F160W
SHAPE = (560, 620)
STAR, EDGE, FAINT, PAIR = (500.3, 90.1), (614.0, 300.0), (90.0, 480.0), (330.0, 500.0)


@dataclass
class Survey:
    """Files of the made survey and its truth: x, y [0-based pixel], flux, radius, g of galaxies."""

    bands: dict[str, dict]
    truth: Table
    catalogue: Path


def galaxies(n=6, seed=4):
    """Isolated galaxies on a grid."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(n):
        x, y = 90 + 140 * (k % 3) + rng.uniform(-3, 3), 100 + 170 * (k // 3) + rng.uniform(-3, 3)
        rows.append((x, y, rng.uniform(30, 60), rng.uniform(0.3, 0.5), rng.uniform(0.1, 0.4),
                     rng.uniform(0, 180)))  # fmt: skip
    return Table(rows=rows, names=("x", "y", "flux", "radius", "g", "angle"))


def profile(row):
    disc = galsim.Exponential(half_light_radius=row["radius"], flux=row["flux"])
    return disc.shear(g=row["g"], beta=row["angle"] * galsim.degrees)


def draw(image, item, x, y, psf):
    """Add a profile at a 0-based pixel position."""
    seen = galsim.Convolve(item, psf)
    stamp = seen.drawImage(
        nx=241, ny=241, scale=SCALE, method="no_pixel",
        offset=(x - round(x), y - round(y)), center=galsim.PositionI(round(x) + 1, round(y) + 1),
    )  # fmt: skip
    bounds = stamp.bounds & image.bounds
    image[bounds] += stamp[bounds]


def header(name, wcs):
    made = fits.Header()
    made["ZPT_AB"], made["BUNIT"] = ZEROPOINTS[name], "ELECTRONS/S"
    if wcs:
        made["CTYPE1"], made["CTYPE2"] = "RA---TAN", "DEC--TAN"
        made["CRVAL1"], made["CRVAL2"] = 53.1, -27.8
        made["CRPIX1"], made["CRPIX2"] = 300.0, 280.0
        made["CD1_1"], made["CD2_2"] = -SCALE / 3600, SCALE / 3600
        made["CD1_2"] = made["CD2_1"] = 0.0
    else:
        made["PIXSCALE"] = SCALE
    return made


def mosaics(folder: Path, wcs=True, seed=7) -> Survey:
    """Write image and rms maps of both bands and a catalogue in CANDELS style."""
    truth, rng, bands = galaxies(), np.random.default_rng(seed), {}
    for name, psf in PSFS.items():
        image = galsim.ImageD(SHAPE[1], SHAPE[0])
        for row in truth:
            draw(image, profile(row), row["x"], row["y"], psf)
        small = galsim.Exponential(half_light_radius=0.35, flux=40.0)
        draw(image, small, *EDGE, psf)
        draw(image, small.withFlux(1.2), *FAINT, psf)
        draw(image, small, PAIR[0] - 6, PAIR[1], psf)
        draw(image, small, PAIR[0] + 6, PAIR[1], psf)
        draw(image, galsim.DeltaFunction(flux=40000.0), *STAR, psf)
        array = np.minimum(image.array, 900.0)
        noise = rng.normal(size=SHAPE)
        if name == "F160W":
            noise = ndimage.gaussian_filter(noise, BLUR)
        array += RMS[name] * noise + 0.2 * RMS[name]
        array[:, :5] = np.nan  # outside the survey
        path = folder / f"{name.lower()}.fits"
        planes = {"SCI": array, "RMS": np.full(SHAPE, RMS[name])}
        hdus = [
            fits.ImageHDU(plane.astype(np.float32), header(name, wcs), hdu)
            for hdu, plane in planes.items()
        ]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
        bands[name] = {"image": f"{path}[SCI]", "rms": f"{path}[RMS]", "psf": PSF_CONFIGS[name]}
    return Survey(bands, truth, catalogue(folder, truth, header("F814W", True)))


def catalogue(folder: Path, truth: Table, sky_header) -> Path:
    """Every object by sky position, with redshift and flags; the last row is not there."""
    places = [*zip(truth["x"], truth["y"], strict=True), STAR, EDGE, FAINT, (150.0, 300.0)]
    x, y = np.array(places).T
    wcs = galsim.FitsWCS(header=galsim.FitsHeader(sky_header))
    ra, dec = wcs.xyToradec(x + 1, y + 1, "deg")
    n = len(places)
    table = Table({"id": np.arange(n) + 101, "ra": ra, "dec": dec})
    table["z_best"] = np.where(np.arange(n) == 1, -99.0, 0.5 + 0.1 * np.arange(n))
    table["star_flag"] = (np.arange(n) == len(truth)).astype(int)
    table["use_phot"] = (np.arange(n) != 2).astype(int)
    path = folder / "catalogue.fits"
    table.write(path)
    return path


def stamps(folder: Path, n=5, **changes) -> Path:
    """Stamps in the .npz format, two bands of the 2MASS sort: r and F444W."""
    rng, size, truth = np.random.default_rng(3), 100, galaxies(n)
    psf = PSFS["F160W"]
    image = np.zeros((n, 2, size, size), np.float32)
    for k, row in enumerate(truth):
        drawn = galsim.Convolve(profile(row), psf).drawImage(
            nx=size, ny=size, scale=SCALE, method="no_pixel"
        )
        image[k] = drawn.array + 0.004 * rng.normal(size=(2, size, size))
    arrays = {
        "img": image, "bands": np.array(["r", "F444W"]),
        "x": np.full(n, 49.5), "y": np.full(n, 49.5),
        "stamp_scale": np.full(n, SCALE), "zp": np.array([22.5, 22.5]), "z": np.full(n, 0.03),
        "id": np.array([f"qso{k}" if k < 3 else f"other{k}" for k in range(n)]),
        "mask": np.zeros((n, size, size), np.uint8),
    }  # fmt: skip
    path = folder / "stamps.npz"
    np.savez(path, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return path


def config(folder: Path, output: Path, **inputs) -> Path:
    """Write a configuration file of galsim-vae ingest."""
    path = folder / "ingest.yaml"
    path.write_text(yaml.safe_dump({"output": str(output), "inputs": inputs}))
    return path
