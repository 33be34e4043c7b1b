"""One galaxy in two surveys: pairs are found, and what is apart is measured as it is."""

import galsim
import numpy as np
import pytest
import torch
from made_observation import BAND, galaxy, observe
from made_weights import TINY

from galsim_vae.frame.frames import DEFAULT
from galsim_vae.model.vae import VAE
from galsim_vae.train.check import pairs
from galsim_vae.train.readers import Source

SHARP, BLURRED = galsim.Gaussian(fwhm=0.1), galsim.Gaussian(fwhm=0.4)


class Survey:
    """Four galaxies a third of an arcminute apart, each seen as it lies in this survey."""

    def __init__(self, name, psf, mirrored=False, shift=0.0):
        self.name, self.psf, self.mirrored, self.shift = name, psf, mirrored, shift

    def __len__(self):
        return 1

    def read(self, chunk):
        for k in range(4):
            profile = galaxy(shear=0.1 + 0.1 * k, angle=20.0 + 30 * k) + galsim.Gaussian(
                fwhm=0.3, flux=0.02 * k
            ).shift(0.4, 0.1 * k)
            if self.mirrored:
                profile = profile.transform(-1, 0, 0, 1)
            seen = observe(profile, psf=self.psf, noise={BAND: 1e-5})
            place = {"ra": 150 + (20 * k + self.shift) / 3600, "dec": 0.0}
            yield Source(self.name, k, seen, {BAND: BAND}, segment_only=True,
                         catalogue=place)  # fmt: skip


@pytest.fixture(scope="module")
def found():
    surveys = [Survey("sharp", SHARP), Survey("other", BLURRED, mirrored=True, shift=0.2)]
    return pairs.find(surveys, [], DEFAULT)


def test_one_galaxy_of_two_surveys_is_found_and_brought_to_one_frame(found):
    assert [pair.names for pair in found] == [("sharp", "other")] * 4
    assert all(pair.is_resolved for pair in found)
    for pair in found:
        first, second = pair.stamps
        assert first.pixel_scale == second.pixel_scale and first.frame_g == second.frame_g


def test_positions_and_a_table_tell(monkeypatch):
    sharp, far = Survey("sharp", SHARP), Survey("far", SHARP, shift=0.5)
    monkeypatch.setattr(pairs.frame, "to_canonical", lambda *_: None)
    assert pairs.find([sharp, far], [], DEFAULT) == []
    # Positions tell nothing of two stamps of one reader, but a table may.
    listed = pairs.find([sharp], [(("sharp", 0), ("sharp", 2))], DEFAULT)
    assert [sorted(pair.rows) for pair in listed] == [[0, 2]]


def test_mirror_images_are_no_distance():
    surveys = [Survey("one", SHARP), Survey("mirrored", SHARP, mirrored=True)]
    torch.manual_seed(3)
    table = pairs.compare(VAE(TINY), pairs.find(surveys, [], DEFAULT))
    assert list(table["surveys"]) == ["one and mirrored", "all"] * 2
    assert list(table["given"]) == ["yes"] * 2 + ["no"] * 2 and set(table["pairs"]) == {4}
    for kind in ("latents", "decoded"):
        assert (table[f"{kind}_ratio"] < 0.1).all() and (table[f"{kind}_strangers"] > 0).all()


def test_ratio_by_hand():
    distance = np.array([[1.0, 4.0, 5.0], [4.0, 2.0, 5.0], [9.0, 9.0, 3.0]])
    assert pairs.ratio(distance, np.arange(3))[:2] == (2.0, 5.0)
    # Of the first two, which show one galaxy, neither is the other's stranger.
    same, strangers, error = pairs.ratio(distance, np.array([0, 0, 1]))
    assert (same, strangers) == (2.0, 7.0) and error > 0


def test_the_nearest_image_counts():
    first = np.array([[0.0, 0.0], [3.0, 4.0]])
    images = np.stack([first + 100, first + 50, first, first - 70])
    np.testing.assert_allclose(pairs.distances(first, images), [[0, 5], [5, 0]])


def test_a_picture_and_too_few_galaxies(found, tmp_path):
    pairs.draw(VAE(TINY), found, tmp_path / "pairs.png", most=3)
    assert (tmp_path / "pairs.png").stat().st_size > 0
    with pytest.raises(galsim.GalSimValueError, match="Fewer than 3 galaxies"):
        pairs.compare(VAE(TINY), found[:2])
    with pytest.raises(galsim.GalSimValueError, match="Fewer than 3 galaxies"):
        pairs.compare(VAE(TINY), [])
