"""The training file: canonical galaxies in HDF5, and the list of those that were rejected."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import h5py
import numpy as np
from galsim.errors import GalSimValueError
from numpy.typing import NDArray

from galsim_vae.bands import BANDS, STAMP_SIZE
from galsim_vae.files import input_file, write_whole
from galsim_vae.frame.frames import DEFAULT, FRAMES, Frame

__all__ = [
    "FORMAT_VERSION",
    "PICTURE",
    "Dataset",
    "Rejected",
    "check_frame",
    "is_validation",
    "read",
    "read_header",
    "read_held_out",
    "read_places",
    "read_rejected",
    "read_sources",
    "write",
]

FORMAT_VERSION = 3
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
    "frame_g": ((), np.float32),
    "angle": ((), np.float32),
    "flux_scale": ((), np.float32),
    "source": ((), np.str_),
    "source_index": ((), np.int64),
    "valid": ((), np.bool_),
    "filters": ((len(BANDS),), np.str_),
    "identifier": ((), np.str_),
}
_NEVER_MISSING = ("image", "psf", "noise", "noise_area", "pixel_scale", "frame_g", "angle")
# Side of the picture that is kept of a rejected object [pixel].
PICTURE = 64
_REJECTED = {
    "source": ((), np.str_),
    "source_index": ((), np.int64),
    "identifier": ((), np.str_),
    "reason": ((), np.str_),
    "picture": ((PICTURE, PICTURE, 3), np.uint8),
}
_TEXT = h5py.string_dtype()


@dataclass
class Dataset:
    """Galaxies in the canonical frame, bands in the order of `BANDS`.

    Attributes
    ----------
    image : ndarray (n, 5, 64, 64) float32
        PSF and canonical pixel in it, any linear unit proportional to f_nu, brightest band summing
        to about 1; zero where unobserved.
    psf : ndarray (n, 5, 64, 64) float32
        Sum 1, centre at index [32, 32].
    mask : ndarray (n, 5, 64, 64) bool
        True where usable; all False for an unobserved band.
    noise : ndarray (n, 5) float32
        Rms per canonical pixel; 0 where the image is noise free.
    noise_area : ndarray (n, 5) float32
        Correlation area of the noise [canonical pixel^2]; 1 is white.
    magnitude, half_light_radius [arcsec], g, redshift : ndarray (n,) float32
        NaN where missing.
    pixel_scale : ndarray (n,) float32
        Arcsec, of a square of a canonical pixel's area.
    frame_g : ndarray (n,) float32
        Shear along +x that the frame has taken out; never missing.
    angle : ndarray (n,) float32
        Position angle of +x [radian]; never missing.
    flux_scale : ndarray (n,) float32
        What the native fluxes were divided by.
    source : ndarray (n,) str
        Name of the source.
    source_index : ndarray (n,) int64
        Row in the source's own file.
    valid : ndarray (n,) bool
        Held out for validation: source_index % 5 == 4, and what else shows the galaxies of these
        rows.
    filters : ndarray (n, 5) str
        The survey's filter that stands for each band, '' if none.
    identifier : ndarray (n,) str
        Of the survey.
    catalogue : dict
        Further columns to (n,) float; NaN where a source does not have them.
    frame : Frame
        The canonical frame of all of them.
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
    frame_g: NDArray
    angle: NDArray
    flux_scale: NDArray
    source: NDArray
    source_index: NDArray
    valid: NDArray
    filters: NDArray = field(default_factory=lambda: np.zeros((0, len(BANDS)), np.str_))
    identifier: NDArray = field(default_factory=lambda: np.zeros(0, np.str_))
    catalogue: dict[str, NDArray] = field(default_factory=dict)
    frame: Frame = DEFAULT

    def __post_init__(self):
        if len(self.filters) != len(self.image):
            self.filters = np.full((len(self.image), len(BANDS)), "")
        if len(self.identifier) != len(self.image):
            self.identifier = np.full(len(self.image), "")

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index) -> "Dataset":
        """Return the galaxies chosen by a slice, an index array or a bool array."""
        columns = {
            f.name: getattr(self, f.name)[index]
            for f in fields(self)
            if f.name not in ("catalogue", "frame")
        }
        catalogue = {name: column[index] for name, column in self.catalogue.items()}
        return Dataset(**columns, catalogue=catalogue, frame=self.frame)


@dataclass
class Rejected:
    """Objects that were not taken.

    Attributes
    ----------
    source, identifier, reason : ndarray (n,) str
        Name of the source, the survey's name of the object, and why it was left out.
    source_index : ndarray (n,) int64
        Row in the source's own file.
    picture : ndarray (n, 64, 64, 3)
        Uint8, native pixels, as far as they could be cut out.
    """

    source: NDArray
    source_index: NDArray
    identifier: NDArray
    reason: NDArray
    picture: NDArray

    def __len__(self) -> int:
        return len(self.source)


def check_frame(data: Dataset, frame: Frame) -> None:
    """Refuse galaxies of another canonical frame than that which is needed.

    Parameters
    ----------
    data : Dataset
        The galaxies.
    frame : Frame
        That which is needed.

    Raises
    ------
    galsim.GalSimValueError
        They are of another frame.
    """
    if data.frame != frame:
        raise GalSimValueError(
            f"The training file is of the {data.frame.name} frame, and one of the {frame.name} "
            f"frame is needed: make it with galsim-vae ingest and frame={frame.name}",
            data.frame.name,
            [frame.name],
        )


def is_validation(source_index) -> NDArray:
    """Tell which rows of a source are held out, whatever other stamps there are.

    Parameters
    ----------
    source_index : array_like (n,) int
        Rows in the catalogue of the source.

    Returns
    -------
    ndarray (n,) bool
        True for held-out rows.
    """
    return np.asarray(source_index) % VALIDATION_STRIDE == VALIDATION_STRIDE - 1


def write(
    path,
    parts: Dataset | Iterable[tuple[Dataset | None, Rejected | None]],
    *,
    band_maps: Mapping[str, str],
    provenance: str,
    frame: Frame = DEFAULT,
) -> None:
    """Write a training file; it appears under `path` only when complete.

    Parameters
    ----------
    path : str or Path
        File to write.
    parts : Dataset or Iterable[(Dataset or None, Rejected or None])
        The galaxies, or an iterable of galaxies and rejected objects, written one after the other
        so that they need not be in memory together.
    band_maps : dict of str to str
        Source name to its band map, e.g. ``{"jwst_ceers": "F115W>F125W F150W>F160W"}``.
    provenance : str
        Where the galaxies come from.
    frame : Frame
        The canonical frame of all galaxies, where they are an iterable.

    Raises
    ------
    ValueError
        An array of the wrong shape, or a non-finite image, PSF or noise.
    """
    if isinstance(parts, Dataset):
        frame, parts = parts.frame, [(parts, None)]
    def save(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            _write_parts(file, parts, frame)
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs["bands"] = list(BANDS)
            file.attrs["frame"] = frame.name
            file.attrs["provenance"] = provenance
            for source, text in band_maps.items():
                file.attrs[f"band_map_{source}"] = text

    write_whole(path, save)


def _write_parts(
    file: h5py.File, parts: Iterable[tuple[Dataset | None, Rejected | None]], frame: Frame
) -> None:
    """Write galaxies and rejected objects one after the other."""
    _create(file, _LAYOUT)
    _create(file.create_group("rejected"), _REJECTED)
    file.create_group("catalogue")
    for galaxies, rejected in parts:
        if galaxies is not None:
            if galaxies.frame != frame:
                raise ValueError(f"galaxies in the {galaxies.frame.name} frame")
            _append_catalogue(file, galaxies)
            _append(file, _LAYOUT, galaxies)
        if rejected is not None:
            _append(file["rejected"], _REJECTED, rejected)


def _create(group, layout) -> None:
    for name, (shape, kind) in layout.items():
        big = len(shape) > 1
        group.create_dataset(
            name, (0, *shape), _TEXT if kind is np.str_ else kind, maxshape=(None, *shape),
            chunks=(1, *shape) if big else None, compression="lzf" if big else None,
        )  # fmt: skip


def _append(group, layout, rows) -> None:
    n = len(rows)
    for name in layout:
        values = _column(name, layout[name], getattr(rows, name), n)
        data = group[name]
        data.resize(len(data) + n, axis=0)
        if n:
            data[-n:] = values


def _append_catalogue(file, galaxies: Dataset) -> None:
    """Append the catalogue columns; those that are new or absent are NaN for other galaxies."""
    before, n = len(file["image"]), len(galaxies)
    group = file["catalogue"]
    for name in galaxies.catalogue:
        if name not in group:
            group.create_dataset(
                name, (before,), np.float64, maxshape=(None,), fillvalue=np.nan, chunks=(1024,)
            )
    for name, data in group.items():
        data.resize(before + n, axis=0)
        if name in galaxies.catalogue and n:
            data[before:] = galaxies.catalogue[name]


def _column(name: str, layout, values, n: int) -> NDArray:
    """Check one column and bring it to the type it has in the file."""
    shape, kind = layout
    values = np.asarray(values)
    if values.shape != (n, *shape):
        raise ValueError(f"{name} has shape {values.shape}; it must be {(n, *shape)}")
    if name in _NEVER_MISSING and not np.all(np.isfinite(values)):
        raise ValueError(f"{name} holds NaN or infinity (of pixels: mask them, set them to 0)")
    return values.astype(object if kind is np.str_ else kind)


def read(path) -> Dataset:
    """Read the galaxies of a training file.

    Parameters
    ----------
    path : str or Path
        The training file.

    Returns
    -------
    Dataset
        All galaxies, the held-out ones too.

    Raises
    ------
    OSError
        No such file, not a training file, truncated, or of another format version or bands.
    """
    with _open(path) as file:
        columns = _read(path, file, _LAYOUT)
        catalogue = {name: np.asarray(data) for name, data in file["catalogue"].items()}
        frame = _frame(path, file)
    return Dataset(**columns, catalogue=catalogue, frame=frame)


def read_sources(path) -> NDArray:
    """Read the source of each galaxy only.

    Parameters
    ----------
    path : str or Path
        The training file.

    Returns
    -------
    ndarray (n,) str
        Name of each galaxy's source.

    Raises
    ------
    OSError
        As from `read`.
    """
    with _open(path) as file:
        return file["source"].asstr()[()].astype(np.str_)


def read_held_out(path) -> set[tuple[str, int]]:
    """Read which galaxies are held out.

    Parameters
    ----------
    path : str or Path
        The training file.

    Returns
    -------
    set of (str, int)
        Source and row in it.

    Raises
    ------
    OSError
        As from `read`.
    """
    with _open(path) as file:
        chosen = file["valid"][()]
        names, rows = file["source"].asstr()[()][chosen], file["source_index"][()][chosen]
    return set(zip(map(str, names), map(int, rows), strict=True))


def read_places(path) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Read the source, row and position of each galaxy only.

    Parameters
    ----------
    path : str or Path
        The training file.

    Returns
    -------
    source : ndarray (n,) str
        Name of the source.
    source_index : ndarray (n,) int64
        Row in its catalogue.
    ra, dec : ndarray (n,) float
        Degrees; NaN where unknown.

    Raises
    ------
    OSError
        As from `read`.
    """
    with _open(path) as file:
        source = file["source"].asstr()[()].astype(np.str_)
        unknown = np.full(len(source), np.nan)
        ra, dec = (np.asarray(file["catalogue"].get(name, unknown)) for name in ("ra", "dec"))
        return source, file["source_index"][()], ra, dec


def read_rejected(path) -> Rejected:
    """Read the rejected objects of a training file.

    Parameters
    ----------
    path : str or Path
        The training file.

    Returns
    -------
    Rejected
        Source, index, reason and picture of each.

    Raises
    ------
    OSError
        As from `read`.
    """
    with _open(path) as file:
        return Rejected(**_read(path, file["rejected"], _REJECTED))


def read_header(path) -> dict[str, str]:
    """Read provenance, frame and band maps of a training file.

    Parameters
    ----------
    path : str or Path
        The training file.

    Returns
    -------
    dict of str to str
        ``provenance``, and ``band_map_<source>`` of each source.

    Raises
    ------
    OSError
        As from `read`.
    """
    with _open(path) as file:
        return {
            name: str(text)
            for name, text in file.attrs.items()
            if name in ("provenance", "frame") or name.startswith("band_map_")
        }


def _open(path) -> h5py.File:
    """Open a training file and check what it is."""
    path = input_file(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise OSError(f"{path} is not a training file, or is truncated: {error}") from error
    version = file.attrs.get("format_version")
    if version != FORMAT_VERSION:
        file.close()
        raise OSError(
            f"{path}: format version {version}; this code reads {FORMAT_VERSION}. "
            "Make the file again with galsim-vae ingest"
        )
    bands = tuple(file.attrs.get("bands", ()))
    if bands != tuple(BANDS):
        file.close()
        raise OSError(f"{path}: bands {bands}; this code has {BANDS}")
    return file


def _frame(path, file) -> Frame:
    name = str(file.attrs.get("frame"))
    if name not in FRAMES:
        raise OSError(f"{path}: frame {name}; this code has {', '.join(FRAMES)}")
    return FRAMES[name]


def _read(path, group, layout) -> dict[str, NDArray]:
    """Read the columns of a layout and check their shapes."""
    columns = {}
    for name, (shape, kind) in layout.items():
        if name not in group:
            raise OSError(f"{path}: not a complete training file (no {name})")
        data = group[name]
        columns[name] = data.asstr()[()].astype(np.str_) if kind is np.str_ else data[()]
        if columns[name].shape != (len(next(iter(columns.values()))), *shape):
            raise OSError(f"{path}: {name} has shape {columns[name].shape}, not (n, *{shape})")
    return columns
