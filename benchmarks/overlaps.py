"""Galaxies of several surveys, as ingest reads them: python -m benchmarks.overlaps LABELS FOLDER

LABELS is the folder of labelled sets. FOLDER gets the COSMOS fields as mosaics, the nearby galaxies
as stamps, and fields.yaml and nearby.yaml, for ``galsim-vae check pairs``.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import sep
import yaml
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

# AB zero-points of what is in e-/s; the others have one unit in all filters of an instrument.
ZEROPOINTS = {"F606W": 26.49, "F814W": 25.94, "F125W": 26.23, "F160W": 25.95}
#: The filters near those of the weights, by instrument: those of one are on one grid.
INSTRUMENTS = {
    "hst": ("HST|F606W", "HST|F125W", "HST|F160W"),
    "acs": ("HST|F814W",),
    "jwst": ("JWST|F090W", "JWST|F115W", "JWST|F150W"),
    "hsc": ("ground|HSC-G", "ground|HSC-R", "ground|HSC-I"),
    "uvista": ("ground|UVISTA-J", "ground|UVISTA-H"),
}
PIVOTS = {"G": 477.4, "R": 621.0, "I": 772.7, "J": 1252.5, "H": 1645.8}
#: The sharpest image of a field is searched for galaxies.
SHARPEST = ("JWST|F150W", "HST|F814W")
#: Sets of the nearby galaxies: bands of the file, the filter whose place each takes [nm], FWHM
#: [arcsec].
NEARBY = {
    "dss": ({"dss_dss2red": 620.0}, 3.0),
    "twomass": ({"2mass_j": 1252.5, "2mass_k": 1645.8}, 2.8),
    "wise": ({"wise_1": 1645.8}, 6.1),
}


def header(scale: float, matrix, centre, field: str) -> fits.Header:
    """Header of an image whose pixel `centre` (0-based x, y) lies where the field's name says."""
    ra, dec = field.removeprefix("COSJ").split("+")
    degrees = [sum(int(t[k : k + 2]) / 60 ** (k / 2) for k in (0, 2, 4)) for t in (ra, dec)]
    matrix = np.array(matrix, float)
    matrix *= scale / 3600 / np.sqrt(abs(np.linalg.det(matrix)))
    found = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    for i, at in enumerate((15 * degrees[0], degrees[1])):
        found[f"CRVAL{i + 1}"], found[f"CRPIX{i + 1}"] = at, float(centre[i]) + 1
        for j in (0, 1):
            found[f"CD{i + 1}_{j + 1}"] = matrix[i, j]
    return found


def fields(labels: Path, folder: Path) -> dict[str, Any]:
    """Write the COSMOS fields; returns readers."""
    with np.load(labels / "cosmos_ground_hst_jwst_fields.npz") as file:
        data = {name: file[name] for name in file.files}
    row = {str(key): k for k, key in enumerate(data["table_key"])}
    column = {name[6:]: values for name, values in data.items() if name.startswith("table_")}
    inputs = {}
    for field in sorted({key.split("|")[0] for key in row}):
        catalogue = folder / f"{field}.ecsv"
        for instrument, members in INSTRUMENTS.items():
            bands = {}
            for key in (f"{field}|{member}" for member in members):
                if key not in row:
                    continue
                k, name = row[key], key.split("|")[2].split("-")[-1]
                scale, sampled = column["pixel_scale"][k], column["psf_pixel_scale"][k]
                matrix = yaml.safe_load(str(column["cd_arcsec"][k]))
                where = header(scale, matrix, column["centre_xy"][k], field)
                image, path = data[key].astype(np.float32), folder / f"{field}-{instrument}-{name}"
                sigma = np.float32(column["sigma"][k])
                fits.writeto(f"{path}.fits", image * sigma, where, overwrite=True)
                fits.writeto(f"{path}-rms.fits", 0 * image + sigma, where, overwrite=True)
                seen = data[f"psf|{key}"].astype(np.float32)
                fits.writeto(f"{path}-psf.fits", seen, overwrite=True)
                psf: dict = {"type": "InterpolatedImage", "image": f"{path}-psf.fits",
                             "scale": float(sampled)}  # fmt: skip
                if sampled < 0.75 * scale:  # two by two pixels have the second moments of this one
                    block = {"type": "Pixel", "scale": float(scale * 0.75**0.5)}
                    psf = {"type": "Convolve", "items": [psf, block]}
                bands[name] = {"image": f"{path}.fits", "rms": f"{path}-rms.fits", "psf": psf,
                               "zeropoint": ZEROPOINTS.get(name, 27.0)}  # fmt: skip
                if key.split("|", 1)[1] in SHARPEST:
                    objects = sep.extract(image.astype(float), 1.5, minarea=12, deblend_cont=0.1)
                    sky = WCS(where).pixel_to_world(objects["x"], objects["y"])
                    Table({"ra": sky.ra.deg, "dec": sky.dec.deg}).write(catalogue, overwrite=True)
            if bands:
                pivot = {name: PIVOTS[name] for name in bands if name in PIVOTS}
                inputs[f"{instrument}_{field[-6:]}"] = {
                    "type": "mosaic", "bands": bands, "pivot": pivot,
                    "catalogue": {"file_name": str(catalogue)},
                }  # fmt: skip
    return inputs


def nearby(labels: Path, folder: Path) -> dict[str, Any]:
    """Write the nearby galaxies, an .npz file a survey; returns readers."""
    with np.load(labels / "multisurvey_nearby77.npz") as file:
        data = {name: file[name] for name in file.files}
    names, inputs = data["bands"].tolist(), {}
    scale = data["pixel_scale"].astype(float)
    for survey, (bands, fwhm) in NEARBY.items():
        k = [names.index(band) for band in bands]
        image = data["img_over_sigma"][:, k].astype(np.float32) * data["sigma"][:, k, None, None]
        middle = (image.shape[-1] - 1) / 2 + data["centre_offset_px"].astype(float)
        path = folder / f"nearby-{survey}.npz"
        np.savez(
            path, img=image, bands=list(bands), x=middle[:, 0], y=middle[:, 1], stamp_scale=scale,
            mask=(~np.isfinite(image).all(1)).astype(np.uint8), ra=data["ra"], dec=data["dec"],
        )  # fmt: skip
        seeing = {"type": "Moffat", "fwhm": fwhm, "beta": 3}
        psf = {"type": "Convolve", "items": [seeing, {"type": "Pixel", "scale": float(scale[0])}]}
        inputs[survey] = {"type": "stamps", "file_name": str(path), "structure_only": True,
                          "pivot": bands, "psf": psf}  # fmt: skip
    return inputs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, write in (("fields", fields), ("nearby", nearby)):
        config = {"output": str(options.folder / f"{name}.h5"),
                  "inputs": write(options.labels, options.folder)}  # fmt: skip
        (options.folder / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


if __name__ == "__main__":
    main()
