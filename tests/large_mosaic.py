"""Read six galaxies out of mosaics of 20,000 x 20,000 pixels (sparse files in the folder given).

Prints how many were taken and how much memory that needed at most [MiB].
"""

import resource
import sys
from pathlib import Path

import made_survey
import numpy as np
from astropy.io import fits
from astropy.table import Table

from galsim_vae.train.ingest.run import galaxy_row
from galsim_vae.train.readers.mosaic import MosaicReader

SIDE, X, Y = 20000, 15000, 1500


def enlarge(data, header, path: Path) -> str:
    """Write an image as a part of a sparse file of SIDE x SIDE pixels."""
    keys = {"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": SIDE, "NAXIS2": SIDE}
    full = fits.Header([*keys.items(), *((k, header[k]) for k in ("ZPT_AB", "PIXSCALE", "BUNIT"))])
    text = full.tostring().encode()
    with open(path, "wb") as file:
        file.write(text)
        file.truncate(len(text) + -(-4 * SIDE**2 // 2880) * 2880)
        for row, values in enumerate(data.astype(">f4")):
            file.seek(len(text) + 4 * ((Y + row) * SIDE + X))
            file.write(values.tobytes())
    return str(path)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(folder: Path) -> None:
    small = made_survey.mosaics(folder, wcs=False)
    bands = {}
    for name, band in small.bands.items():
        with fits.open(folder / f"{name.lower()}.fits") as hdus:
            files = {
                key: enlarge(hdus[hdu].data, hdus[hdu].header, folder / f"{name}_{hdu}.fits")
                for key, hdu in (("image", "SCI"), ("rms", "RMS"))
            }
        bands[name] = files | {"psf": band["psf"]}
    place = {"x": small.truth["x"] + X + 1, "y": small.truth["y"] + Y + 1}
    Table(place).write(folder / "large.fits")
    before = peak()
    reader = MosaicReader("large", bands, {"file_name": str(folder / "large.fits")})
    reader.check()
    found = [galaxy_row(s, 1)[1] for k in range(len(reader)) for s in reader.read(k)]
    print(found.count(""), np.ceil(peak() - before))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
