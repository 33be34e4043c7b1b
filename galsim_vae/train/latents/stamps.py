"""Stamps that ``galsim-vae draw`` wrote, in the canonical frame."""

from pathlib import Path
from typing import Any

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table
from tqdm import tqdm

from galsim_vae.bands import BANDS, CANDELS_NOISE, ZEROPOINTS, hst_psf
from galsim_vae.frame import canonical
from galsim_vae.frame.frames import Frame
from galsim_vae.frame.observation import Observation
from galsim_vae.train.training_file import Dataset, is_validation

__all__ = ["canonical_stamps"]

def canonical_stamps(path: Path, frame: Frame, progress: bool = False) -> Dataset:
    """Bring the stamps of a file of ``galsim-vae draw`` to the canonical frame.

    One HDU a band, (n, m, m) e-/s at the ``PIXSCALE`` of its header, through the PSF and with the
    noise of CANDELS, and the table ``CATALOG``. What cannot be measured is left out.

    Parameters
    ----------
    path : Path
        The FITS file.
    frame : Frame
        Of the weights.
    progress : bool
        Show a bar.

    Returns
    -------
    Dataset
        Shapes and sizes as measured; magnitude and redshift of the table, if it has them.

    Raises
    ------
    OSError
        The file has no band and no table.
    galsim.GalSimValueError
        None of its galaxies can be measured.
    """
    try:
        with fits.open(path) as hdus:
            names = {hdu.name for hdu in hdus}
            bands = [band for band in BANDS if band in names]
            if not bands or "CATALOG" not in names:
                raise OSError("it has no HDU of a band, or no CATALOG")
            images = {b: np.asarray(hdus[b].data, float) for b in bands}  # pyright: ignore
            scale = {b: float(hdus[b].header.get("PIXSCALE", 0.06)) for b in bands}
            catalogue = Table(hdus["CATALOG"].data)  # pyright: ignore
    except (OSError, KeyError) as error:
        raise OSError(f"{path} is not a file of galsim-vae draw: {error}") from error
    psfs = {band: hst_psf(band) for band in bands}
    # Fluxes are divided by their zero-point's, so that all bands have one unit of f_nu.
    unit = {band: 10 ** (-0.4 * (ZEROPOINTS[band] - 25)) for band in bands}
    rows, found = [], []
    for row in tqdm(range(len(catalogue)), "stamps", unit="galaxy", disable=not progress):
        observation = Observation(
            {band: images[band][row] * unit[band] for band in bands}, scale, psfs,
            {band: CANDELS_NOISE[band] * unit[band] for band in bands},
        )  # fmt: skip
        try:
            geometry = canonical.measure(observation, frame=frame)
        except (galsim.GalSimError, galsim.GalSimHSMError):
            continue
        rows.append(row)
        found.append((geometry, canonical.to_canonical(observation, geometry)))
    if not rows:
        raise galsim.GalSimValueError(f"{path}: no galaxy can be measured", len(catalogue))
    return _dataset(np.array(rows), found, catalogue, path.stem, frame)


def _dataset(rows, found, catalogue: Table, source: str, frame: Frame) -> Dataset:
    def column(name: str):
        known = name in catalogue.colnames
        return np.asarray(catalogue[name], float)[rows] if known else np.full(len(rows), np.nan)

    stacked: dict[str, Any] = {
        name: np.stack([getattr(c, name) for _, c in found])
        for name in ("image", "psf", "mask", "noise", "noise_area", "pixel_scale", "frame_g",
                     "angle")
    }  # fmt: skip
    return Dataset(
        **stacked,
        magnitude=column("magnitude"),
        half_light_radius=np.array([g.half_light_radius for g, _ in found]),
        g=np.array([g.g for g, _ in found]),
        redshift=column("redshift"),
        flux_scale=np.ones(len(rows)),
        source=np.full(len(rows), source),
        source_index=rows,
        valid=is_validation(rows),
        frame=frame,
    )
