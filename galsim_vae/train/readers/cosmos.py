"""Galaxies of a `galsim.RealGalaxyCatalog`, such as GalSim's COSMOS sample."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import galsim
import numpy as np
from astropy.table import Table

from galsim_vae.frame.observation import Observation

from . import detection, sky
from .catalogue import column, finite, numbers
from .filters import map_filters
from .psf import build_psf
from .source import Source, guarded

__all__ = ["CosmosReader"]

CHUNK = 64
DEBLEND = 0.05  # sep's contrast between a neighbour and the galaxy
# Lags of the noise correlation kept [pixel]: it has died out there.
REACH = 8


class CosmosReader:
    """A `galsim.RealGalaxyCatalog`: images, PSFs, noise correlation, photo-z if there are any.

    Parameters
    ----------
    name : str
        Of the set.
    file_name : str
        The catalogue. A file beside it whose name ends in ``_fits.fits``, as COSMOS has, gives the
        redshifts.
    dir : str, optional
        Where the catalogue and its images are.
    redshift : str, optional
        Column of the redshift in either file.
    """

    def __init__(self, name: str, file_name: str, dir: str = ".", redshift: str = "zphot",
                 provenance: str = ""):  # fmt: skip
        self.name, self.provenance = name, provenance
        self.path = Path(dir) / file_name
        self.dir, self.redshift = dir, redshift
        self._catalogue: galsim.RealGalaxyCatalog | None = None
        self._table: Table | None = None
        self.filters = map_filters(["F814W"], None, False)

    @property
    def catalogue(self) -> galsim.RealGalaxyCatalog:
        """The catalogue, opened at the first use."""
        if self._catalogue is None:
            self._catalogue = galsim.RealGalaxyCatalog(self.path.name, dir=str(self.path.parent))
        return self._catalogue

    @property
    def table(self) -> Table:
        """IDENT, RA, DEC, MAG, BAND of the catalogue, and the columns of the fits file."""
        if self._table is None:
            table = Table.read(self.path, hdu=1)
            extra = self.path.with_name(self.path.stem + "_fits.fits")
            if extra.exists():
                self._add(table, Table.read(extra, hdu=1), extra)
            self._table = table
        return self._table

    def _add(self, table: Table, extra: Table, path: Path) -> None:
        """Add the columns of a second table of the same galaxies."""
        ours, theirs = (np.asarray(column(t, "IDENT", path)) for t in (table, extra))
        order = {ident: i for i, ident in enumerate(theirs.tolist())}
        missing = [ident for ident in ours.tolist() if ident not in order]
        if missing:
            raise galsim.GalSimValueError(f"{path} lacks galaxies of {self.path}", missing[:5])
        rows = [order[ident] for ident in ours.tolist()]
        for name in extra.colnames:
            values = extra[name][rows]
            if name not in table.colnames and values.ndim == 1 and values.dtype.kind in "fi":
                table[name] = values

    def check(self) -> None:
        """Raise if a file or a column is missing, or a galaxy is in another band."""
        for name in ("IDENT", "RA", "DEC", "MAG", "BAND"):
            column(self.table, name, self.path)
        numbers(self.table, self.redshift, self.path)
        others = set(np.char.strip(np.asarray(self.table["BAND"]).astype(str))) - {"F814W"}
        if others:
            raise galsim.GalSimValueError(f"{self.path}: galaxies not in F814W", sorted(others))
        c = self.catalogue
        for file in {*c.gal_file_name, *c.psf_file_name, *(c.noise_file_name or ())}:
            if not Path(file).is_file():
                raise FileNotFoundError(f"{file}: no such file")
        galsim.RealGalaxy(self.catalogue, index=0)

    def __len__(self) -> int:
        return math.ceil(len(self.table) / CHUNK)

    def read(self, chunk: int) -> Iterator[Source]:
        """Read galaxies CHUNK * chunk to CHUNK * (chunk + 1) - 1."""
        for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self.table))):
            yield guarded(self.name, i, partial(self._source, i))

    def _source(self, i: int) -> Source:
        noise_image, scale, variance = self.catalogue.getNoiseProperties(i)
        image = self.catalogue.getGalImage(i).array.astype(float)
        psf_image = self.catalogue.getPSFImage(i)
        seen = sky.exposed(image)
        image = np.where(seen, image, 0.0)
        show = sky.pixels(image, seen)
        rms = sky.noise(image, show) if show.any() else math.sqrt(variance)
        row = self.table[i]
        return Source(
            self.name,
            i,
            Observation(
                {"F814W": image},
                {"F814W": scale},
                {"F814W": build_psf(psf_image.array, "F814W", scale)},
                {"F814W": rms},
                {"F814W": seen & ~_neighbours(image, seen)},
                correlation={} if noise_image is None else {"F814W": _correlation(noise_image)},
            ),
            {"F814W": "F814W"},
            magnitude=finite(row["MAG"]),
            redshift=finite(numbers(self.table, self.redshift, self.path)[i], low=0.0),
            identifier=str(row["IDENT"]),
            catalogue={"ra": float(row["RA"]), "dec": float(row["DEC"])},
        )


def _neighbours(image: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Pixels of all objects but the one at the centre, and near them.

    The galaxy is at the centre of its stamp, so that no neighbour can be taken for it.
    """
    _, labels = detection.find(image, seen, DEBLEND)
    ny, nx = image.shape
    own = labels[ny // 2, nx // 2]
    if own == 0:
        return np.zeros_like(seen)
    names = np.unique(labels)
    return detection.grown(labels, names[(names > 0) & (names != own)]) & (labels != own)


def _correlation(noise_image: galsim.Image) -> np.ndarray:
    """Correlation function, 1 at its centre, of the noise that GalSim's file describes."""
    array = noise_image.array
    y, x = np.unravel_index(np.argmax(array), array.shape)
    cut = array[y - REACH : y + REACH + 1, x - REACH : x + REACH + 1]
    return cut / cut[REACH, REACH]
