"""Pictures of galaxies."""

import numpy as np

from galsim_vae import plots


def test_stretch_runs_from_black_to_white():
    stamp = np.zeros((5, 8, 8))
    stamp[:] = np.array([0.2, 1 / 1.8, 1.0, 1 / 0.55, 3.0])[:, None, None]
    stamp[:, 0] *= -1
    picture = plots.colour_image(stamp, peak=1.0)
    assert np.allclose(picture[1:], 1.0)
    assert np.all(picture[0] == 0)


def test_nothing_to_see_is_black():
    assert np.all(plots.colour_image(np.zeros((5, 8, 8))) == 0)


def test_one_band_is_grey():
    stamp = np.zeros((5, 8, 8))
    stamp[1] = np.random.default_rng(1).random((8, 8))
    picture = plots.colour_image(stamp)
    assert np.allclose(picture[..., 0], picture[..., 2]) and picture.max() > 0.5


def test_contact_sheet_is_written(tmp_path):
    pictures = [np.full((4, 4), 0.5), np.zeros((4, 4, 3))]
    plots.contact_sheet([pictures, pictures[:1]], tmp_path / "sheet.png", titles=["a", "b"])
    assert (tmp_path / "sheet.png").stat().st_size > 0
