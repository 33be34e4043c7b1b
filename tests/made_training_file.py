"""A training file of one made-up galaxy, many times."""

import numpy as np

from galsim_vae.bands import BANDS
from galsim_vae.frame import ROUND
from galsim_vae.train import training_file as dataset


def training_file(path, n=10, frame=ROUND):
    rng = np.random.default_rng(1)
    y, x = np.indices((64, 64)) - 31.5
    galaxy = np.exp(-np.hypot(x, 2 * y) / 4)
    image = np.zeros((n, 5, 64, 64), np.float32)
    image[:, 2] = galaxy / galaxy.sum() + 1e-5 * rng.normal(size=(n, 64, 64))
    psf = np.zeros_like(image)
    psf[:, 2, 32, 32] = 1
    mask = np.zeros(image.shape, bool)
    mask[:, 2] = True
    noise = np.where(np.arange(len(BANDS)) == 2, 1e-5, 0) * np.ones((n, 1))
    nan = np.full(n, np.nan)
    row = np.arange(n)
    galaxies = dataset.Dataset(
        image=image, psf=psf, mask=mask, noise=noise, noise_area=np.ones((n, 5)), magnitude=nan,
        half_light_radius=nan, g=np.full(n, 1 / 3), redshift=nan, pixel_scale=np.full(n, 0.05),
        frame_g=np.zeros(n), angle=np.zeros(n),
        flux_scale=np.ones(n), source=np.array(["x"] * n), source_index=row,
        valid=dataset.is_validation(row), frame=frame,
    )  # fmt: skip
    dataset.write(path, galaxies, band_maps={"x": "F814W>F814W"}, provenance="made up")
    return galaxies
