"""Make a PNG of FITS images: grey from one image, colour from three (red, green, blue).

    python plot_demo.py OUTPUT.png IMAGE.fits
    python plot_demo.py OUTPUT.png RED.fits GREEN.fits BLUE.fits

Also the grey picture of a focal plane, row by row, the lowest one first:

    python plot_demo.py --columns 3 --gap 24 OUTPUT.png CCD1.fits CCD2.fits ...

All use an arcsinh stretch in units of each image's own noise; the colour one is that of Lupton et
al. (2004, PASP 116, 133).
"""

import argparse
from collections.abc import Sequence

import galsim
import matplotlib.image
import numpy as np
from astropy.visualization import make_lupton_rgb


def in_noise_units(array: np.ndarray) -> np.ndarray:
    """Subtract the median and divide by the noise.

    Parameters
    ----------
    array : ndarray of shape (ny, nx)
        An image in any linear unit.

    Returns
    -------
    ndarray of shape (ny, nx)
        The image in units of its noise: the standard deviation of a normal distribution with the
        image's median absolute deviation.
    """
    residual = array - np.median(array)
    return residual / (1.4826 * np.median(np.abs(residual)))


def grey(array: np.ndarray, *, faint: float = -2.0, bright: float = 100.0) -> np.ndarray:
    """Return an arcsinh stretch of an image in noise units, from 0 (black) to 1 (white)."""
    low, high = np.arcsinh(faint), np.arcsinh(bright)
    return np.clip((np.arcsinh(array) - low) / (high - low), 0, 1)


def colour(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Return the Lupton colour image, uint8 of shape (ny, nx, 3), of three in noise units."""
    return make_lupton_rgb(red, green, blue, minimum=-1, stretch=10, Q=8)


def plot(output: str, file_names: list[str]) -> None:
    """Write ``output``, a PNG of one FITS image or of three."""
    arrays = [in_noise_units(galsim.fits.read(name).array) for name in file_names]
    pixels = grey(arrays[0]) if len(arrays) == 1 else colour(*arrays)
    matplotlib.image.imsave(output, pixels, cmap="gray", vmin=0, vmax=1, origin="lower")


def mosaic(arrays: Sequence[np.ndarray], columns: int, gap: int) -> np.ndarray:
    """Put images of one size side by side.

    Parameters
    ----------
    arrays : sequence of ndarray of shape (ny, nx)
        Row by row, the lowest one first.
    columns : int
        Images in a row.
    gap : int
        Pixels between them.

    Returns
    -------
    ndarray
        One image, NaN in the gaps.
    """
    ny, nx = arrays[0].shape
    rows = -(-len(arrays) // columns)
    full = np.full((rows * (ny + gap) - gap, columns * (nx + gap) - gap), np.nan)
    for k, array in enumerate(arrays):
        y, x = (k // columns) * (ny + gap), (k % columns) * (nx + gap)
        full[y : y + ny, x : x + nx] = array
    return full


def plot_mosaic(output: str, file_names: list[str], columns: int, gap: int) -> None:
    """Write ``output``, a PNG of the FITS images of a focal plane; see `mosaic`."""
    arrays = [grey(in_noise_units(galsim.fits.read(name).array)) for name in file_names]
    pixels = np.nan_to_num(mosaic(arrays, columns, gap))
    matplotlib.image.imsave(output, pixels, cmap="gray", vmin=0, vmax=1, origin="lower")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a PNG of FITS images.")
    parser.add_argument("output", help="the PNG to write")
    parser.add_argument("images", nargs="+", help="one FITS image, or red, green and blue")
    parser.add_argument("--columns", type=int, help="of a focal plane: images in a row")
    parser.add_argument("--gap", type=int, default=0, help="pixels between them")
    args = parser.parse_args()
    if args.columns:
        plot_mosaic(args.output, args.images, args.columns, args.gap)
        return
    if len(args.images) not in (1, 3):
        parser.error(f"give 1 image, or 3 (red, green, blue); got {len(args.images)}")
    plot(args.output, args.images)


if __name__ == "__main__":
    main()
