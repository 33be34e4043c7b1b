"""Cutouts as pictures: read from a folder or an .npz file, and stretched for the network.

A picture is what a survey's viewer shows: a few bands, 8 bits, already stretched. `stretch` brings
pictures of different surveys to one level, since their sky and their brightest pixels differ.
"""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from galsim.errors import GalSimValueError
from numpy.typing import NDArray
from tqdm import tqdm

from galsim_vae.files import input_file

__all__ = ["ENDINGS", "Pictures", "read_pictures", "stretch"]

#: Of the files that a folder is searched for.
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_SMALLEST = 32  # pixel
# Of the stretch: width of the border that shows the sky, and the percentile that becomes 1.
_BORDER, _PEAK = 3, 99.5
# Least peak over the sky: a blank picture is not blown up to its noise.
_FAINTEST = 0.1
_RANGE = (-0.25, 1.5)


@dataclass
class Pictures:
    """Pictures of one size.

    Attributes
    ----------
    array : ndarray (n, side, side, bands) uint8
        The pixels, first row as in the file.
    names : ndarray (n,) str
        Of the files without their ending, or ``name`` or the row in an .npz file.
    group : ndarray (n,) int
        Pictures of one group are never parted between training and held-out rows.
    columns : dict of str to ndarray (n,)
        What else the file knows of each.
    """

    array: NDArray
    names: NDArray
    group: NDArray = field(default_factory=lambda: np.zeros(0, int))
    columns: dict[str, NDArray] = field(default_factory=dict)

    def __post_init__(self):
        if not len(self.group):
            self.group = np.arange(len(self.array))

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows) -> "Pictures":
        """Return the pictures chosen by a slice, an index array or a bool array."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Pictures(self.array[rows], self.names[rows], self.group[rows], columns)


def read_pictures(path: str | os.PathLike, progress: bool = False) -> Pictures:
    """Read the pictures of a folder (.png, .jpg, .tif, by name), or of an .npz file.

    An .npz file has ``img`` (n, side, side) or (n, side, side, bands) of uint8, or ``jpeg``, the
    bytes of all files one after the other, and ``jpeg_offset`` (n + 1,); ``name`` and ``group`` are
    used if there, and every other array of n numbers or texts is a column.

    Parameters
    ----------
    path : str or path
        Of the folder or the file.
    progress : bool
        Show a bar.

    Returns
    -------
    Pictures
        Of grey ones the one band.

    Raises
    ------
    OSError
        No such file, nothing in the folder, or a file that is no picture.
    galsim.GalSimValueError
        Pictures that are not square, too small, not of 8 bits, or of different sizes or bands.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _read_folder(path, progress)
    path = input_file(path)
    if path.suffix != ".npz":
        raise OSError(f"{path} is no folder of pictures and no .npz file")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except ValueError as error:
        raise OSError(f"{path} is not an .npz file of plain arrays: {error}") from error
    return _from_arrays(path, arrays, progress)


def _read_folder(path: Path, progress: bool) -> Pictures:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
    if not files:
        raise OSError(f"{path} holds no pictures ({', '.join(ENDINGS)})")
    bar = tqdm(files, "pictures", unit="file", disable=not progress)
    found = [_decode(file, file.read_bytes()) for file in bar]
    return Pictures(_together(found, files), np.array([file.stem for file in files]))


def _from_arrays(path: Path, arrays: dict[str, NDArray], progress: bool) -> Pictures:
    if "img" in arrays:
        array = arrays.pop("img")
        if array.ndim == 3:
            array = array[..., None]
        if array.ndim != 4:
            raise GalSimValueError(f"{path}: img must be (n, side, side, bands)", array.shape)
        _check(f"{path}: img", array[:1])
    elif "jpeg" in arrays and "jpeg_offset" in arrays:
        raw, offset = arrays.pop("jpeg"), arrays.pop("jpeg_offset")
        rows = tqdm(range(len(offset) - 1), "pictures", unit="picture", disable=not progress)
        names = [f"{path}[{k}]" for k in range(len(offset) - 1)]
        array = _together(
            [_decode(names[k], raw[offset[k] : offset[k + 1]].tobytes()) for k in rows], names
        )
    else:
        raise OSError(f"{path} has neither img nor jpeg and jpeg_offset; it has {list(arrays)}")
    n = len(array)
    columns = {
        name: value for name, value in arrays.items()
        if value.shape == (n,) and value.dtype.kind in "biufU"
    }  # fmt: skip
    names = columns.pop("name", np.arange(n)).astype(str)
    group = columns.pop("group", np.arange(n)).astype(int)
    return Pictures(array, names, group, columns)


def _decode(name, raw: bytes) -> NDArray:
    """Pixels (side, side, bands) of the bytes of a picture; one cut short has a grey end."""
    from PIL import Image, ImageFile, UnidentifiedImageError

    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        with Image.open(io.BytesIO(raw)) as picture:
            grey = picture.mode in ("L", "1", "LA")
            if picture.mode[:1] in "IF":
                raise GalSimValueError(
                    f"{name} must be of 8 bits: stretch linear images first", picture.mode
                )
            array = np.asarray(picture.convert("L" if grey else "RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise OSError(f"{name} is not a picture: {error}") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
    return array[..., None] if grey else array


def _together(found: list[NDArray], names) -> NDArray:
    for name, array in zip(names, found, strict=True):
        _check(name, array[None])
        if array.shape != found[0].shape:
            raise GalSimValueError(
                f"{name} is of another size (rows, columns, bands) than {names[0]}: cut all "
                "pictures of a set to one size", array.shape, [found[0].shape],
            )  # fmt: skip
    return np.stack(found)


def _check(name, array: NDArray) -> None:
    _, rows, columns, bands = array.shape if len(array) else (0, 64, 64, 1)
    if array.dtype != np.uint8:
        raise GalSimValueError(f"{name} must be of 8 bits: stretch linear images first",
                               str(array.dtype))  # fmt: skip
    if rows != columns or rows < _SMALLEST or bands > 4:
        raise GalSimValueError(
            f"{name} must be square, of at least {_SMALLEST} pixels and at most 4 bands "
            "(rows, columns, bands)", (rows, columns, bands),
        )  # fmt: skip


def stretch(array: NDArray, size: int, bands: int) -> NDArray:
    """Bring pictures to the network's size, sky to 0 and the bright end to 1.

    ``x = (v - sky) / max(peak, 0.1)``, clipped to -0.25 to 1.5, with v = pixel / 255; the sky is
    the median of the outer 3 pixels of each band, and the peak the 99.5th percentile of the mean
    over the bands, above the sky. Colours are kept. Pixels are averaged over their area.

    Parameters
    ----------
    array : ndarray (n, side, side, bands) uint8
        One band stands for all.
    size : int
        Side of the result [pixel].
    bands : int
        Number of bands of the result.

    Returns
    -------
    ndarray (n, bands, size, size) float32

    Raises
    ------
    galsim.GalSimValueError
        Another number of bands.
    """
    if array.shape[-1] not in (1, bands):
        raise GalSimValueError(
            "Pictures of another number of bands than the weights", array.shape[-1], [1, bands]
        )
    weights = _area_weights(array.shape[1], size)
    whole = np.empty((len(array), bands, size, size), np.float32)
    for start in range(0, len(array), 256):  # as float, all would take much memory
        part = array[start : start + 256].transpose(0, 3, 1, 2).astype(np.float32) / 255
        whole[start : start + 256] = _level(weights @ part @ weights.T)
    return whole


def _level(v: NDArray) -> NDArray:
    """Sky to 0, bright end to 1, of pictures (n, bands, size, size)."""
    edge = np.ones(v.shape[-2:], bool)
    edge[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    v = v - np.median(v[:, :, edge], axis=2)[:, :, None, None]
    peak = np.percentile(v.mean(1), _PEAK, axis=(1, 2))
    return np.clip(v / np.maximum(peak, _FAINTEST)[:, None, None, None], *_RANGE)


def _area_weights(old: int, new: int) -> NDArray:
    """Matrix (new, old) that averages pixels over the area of new ones."""
    edges = np.linspace(0, old, new + 1)
    pixel = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.clip(overlap, 0, None) * (new / old)).astype(np.float32)
