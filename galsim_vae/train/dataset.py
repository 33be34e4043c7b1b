"""The training file: canonical galaxies in HDF5."""

import os
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..bands import BANDS, STAMP_SIZE

FORMAT_VERSION = 1
# Every 5th galaxy of each source is held out.
VALIDATION_STRIDE = 5
_STAMP = (len(BANDS), STAMP_SIZE, STAMP_SIZE)
_LAYOUT = {
    "image": (_STAMP, np.float32),
    "psf": (_STAMP, np.float32),
    "mask": (_STAMP, np.bool_),
    "noise": ((len(BANDS),), np.float32),
    "noise_area": ((len(BANDS),), np.float32),
    "magnitude": ((), np.float32),
    "half_light_radius": ((), np.float32),
    "g": ((), np.float32),
    "redshift": ((), np.float32),
    "pixel_scale": ((), np.float32),
    "flux_scale": ((), np.float32),
    "source": ((), np.str_),
    "source_index": ((), np.int64),
    "valid": ((), np.bool_),
}


@dataclass
class Dataset:
    """Galaxies in the canonical frame, bands in the order of `BANDS`.

    Attributes
    ----------
    image : (n, 5, 64, 64) float32, PSF and canonical pixel in it, any linear unit proportional to
        f_nu, brightest band summing to about 1; zero where unobserved.
    psf : (n, 5, 64, 64) float32, sum 1, centre at index [32, 32].
    mask : (n, 5, 64, 64) bool, True where usable; all False for an unobserved band.
    noise : (n, 5) float32, rms per canonical pixel; 0 where the image is noise free.
    noise_area : (n, 5) float32, correlation area of the noise [canonical pixel^2]; 1 is white.
    magnitude, half_light_radius [arcsec], g, redshift : (n,) float32; NaN where missing.
    pixel_scale : (n,) float32, arcsec.
    flux_scale : (n,) float32, what the native fluxes were divided by.
    source : (n,) str; source_index : (n,) int64, row in the source's own file.
    valid : (n,) bool, held out for validation: source_index % 5 == 4.
    """

    image: NDArray
    psf: NDArray
    mask: NDArray
    noise: NDArray
    noise_area: NDArray
    magnitude: NDArray
    half_light_radius: NDArray
    g: NDArray
    redshift: NDArray
    pixel_scale: NDArray
    flux_scale: NDArray
    source: NDArray
    source_index: NDArray
    valid: NDArray

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index) -> "Dataset":
        """Return the galaxies chosen by a slice, an index array or a bool array."""
        return Dataset(*(getattr(self, f.name)[index] for f in fields(self)))


def is_validation(source_index) -> NDArray:
    """Tell which rows of a source are held out."""
    return np.asarray(source_index) % VALIDATION_STRIDE == VALIDATION_STRIDE - 1


def write(path, dataset: Dataset, *, band_maps: dict[str, str], provenance: str) -> None:
    """Write a training file; it appears under `path` only when complete.

    Parameters
    ----------
    band_maps : source name to its band map, e.g. ``{"jwst_ceers": "F115W>F125W F150W>F160W"}``.
    provenance : where the galaxies come from.

    Raises
    ------
    ValueError : an array of the wrong shape, or a non-finite image, PSF or noise.
    """
    n = len(dataset)
    columns = {name: _column(name, getattr(dataset, name), n) for name in _LAYOUT}
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    try:
        with h5py.File(temporary, "w") as file:
            for name, values in columns.items():
                big = values.ndim > 2
                chunks = (1, *_STAMP) if big and n else None
                file.create_dataset(
                    name, data=values, chunks=chunks, compression="lzf" if chunks else None
                )
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs["bands"] = list(BANDS)
            file.attrs["provenance"] = provenance
            for source, text in band_maps.items():
                file.attrs[f"band_map_{source}"] = text
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _column(name: str, values, n: int) -> NDArray:
    """Check one column and bring it to the type it has in the file."""
    shape, kind = _LAYOUT[name]
    values = np.asarray(values)
    if values.shape != (n, *shape):
        raise ValueError(f"{name} has shape {values.shape}; it must be {(n, *shape)}")
    if name in ("image", "psf", "noise", "noise_area") and not np.all(np.isfinite(values)):
        raise ValueError(f"{name} holds NaN or infinity: mask those pixels, set them to 0")
    return values.astype("S" if kind is np.str_ else kind)


def read(path) -> Dataset:
    """Read a training file.

    Raises
    ------
    OSError : no such file, not a training file, truncated, or of another format version or bands.
    """
    try:
        with h5py.File(path, "r") as file:
            version = file.attrs.get("format_version")
            if version != FORMAT_VERSION:
                raise OSError(
                    f"{path}: format version {version}; this code reads {FORMAT_VERSION}. "
                    "Make the file again with galsim_vae.train"
                )
            if tuple(file.attrs["bands"]) != tuple(BANDS):
                raise OSError(f"{path}: bands {file.attrs['bands']}; this code has {BANDS}")
            columns = {name: np.asarray(file[name]) for name in _LAYOUT}
    except KeyError as error:
        raise OSError(f"{path}: not a complete training file ({error})") from error
    columns["source"] = columns["source"].astype(np.str_)
    n = len(columns["image"])
    for name, (shape, _) in _LAYOUT.items():
        if columns[name].shape != (n, *shape):
            raise OSError(f"{path}: {name} has shape {columns[name].shape}, not {(n, *shape)}")
    return Dataset(**columns)
