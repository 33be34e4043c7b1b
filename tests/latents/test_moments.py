"""Moments do not change when a picture is turned or mirrored, and tell kinds apart."""

import numpy as np
from made_pictures import pictures

from galsim_vae.latents.moments import moments
from galsim_vae.latents.pictures import stretch


def spread(values):
    return np.maximum(values.std(0), 1e-3)


def test_turned_and_mirrored():
    images = stretch(pictures(30)[0], 64, 3)
    plain = moments(images)
    assert np.isfinite(plain).all()
    for changed in (np.rot90(images, 1, (2, 3)), images[..., ::-1], images[..., ::-1, :]):
        apart = np.abs(moments(changed) - plain) / spread(plain)
        assert np.median(apart) < 1e-3
        assert np.mean(apart > 0.3) < 0.02


def test_kinds_are_told_apart():
    images, kind = pictures(60)
    values = moments(stretch(images, 64, 3))
    values = (values - values.mean(0)) / spread(values)
    distance = np.linalg.norm(values[:, None] - values, axis=2)
    distance[np.diag_indices(60)] = np.inf
    assert np.mean(kind[distance.argmin(1)] == kind) > 0.95


def test_edges():
    assert moments(np.zeros((0, 3, 64, 64), np.float32)).shape[0] == 0
    assert np.isfinite(moments(np.zeros((2, 3, 64, 64), np.float32))).all()
    assert len(moments(np.zeros((2, 1, 32, 32), np.float32))[0]) > 100
