"""Turning galaxies so that their strongest arm crosses +x."""

import math

import pytest
import torch

from galsim_vae.model import likelihood
from galsim_vae.train.fit.batch import Batch
from galsim_vae.train.fit.posed import Pose, find_pose, lay

AXIS = torch.arange(64) - 31.5


def spirals(arms, winding, crest, brighter=None):
    """Exponential discs (n, 5, 64, 64) with arms that cross 6 px at an angle `crest`."""
    radius = torch.hypot(AXIS, AXIS[:, None]).clamp(min=0.5)
    theta = torch.atan2(AXIS[:, None].expand(64, 64), AXIS.expand(64, 64))
    stamps = []
    for row, angle in enumerate(crest):
        wave = torch.cos(arms * (theta - angle) + winding * (radius / 6).log())
        side = 0 if brighter is None else 0.1 * torch.cos(theta - brighter[row])
        stamp = torch.exp(-radius / 3.6) * (1 + 0.4 * wave + side)
        stamps.append(stamp / stamp.sum())
    return torch.stack(stamps)[:, None].expand(-1, 5, -1, -1).clone()


def batch_of(stamps, wide=1.2):
    """Them as seen through a PSF that is wider along x."""
    ky = torch.fft.fftfreq(64)[:, None] * 2 * math.pi
    kx = torch.fft.rfftfreq(64) * 2 * math.pi
    otf = torch.exp(-0.5 * (0.8 * ky.square() + wide * kx.square())).expand(len(stamps), 5, 64, 33)
    seen = likelihood.convolve(stamps, otf)
    ones = torch.ones(len(stamps), 5)
    return Batch(seen, otf, ones, ones, torch.ones_like(seen, dtype=torch.bool))


@pytest.mark.parametrize("arms", [2, 3, 4])
@pytest.mark.parametrize("winding", [5.0, -5.0])
def test_crest_and_hand_are_found(arms, winding):
    crest = torch.linspace(-1, 1, 9) * 0.95 * math.pi / arms
    pose = find_pose(spirals(arms, winding, crest, crest), torch.zeros(9))
    hand = math.copysign(1, winding)
    assert pose.hand.tolist() == [hand] * 9
    torch.testing.assert_close(pose.turn, hand * crest, atol=0.05, rtol=0)


def test_of_equal_crests_the_one_on_the_brighter_side_is_taken():
    pose = find_pose(spirals(2, 4.0, [0.3, 0.3], [0.5, 3.5]), torch.zeros(2))
    turn = torch.remainder(pose.turn, 2 * math.pi)
    torch.testing.assert_close(turn, torch.tensor([0.3, 0.3 + math.pi]), atol=0.05, rtol=0)


def test_flat_galaxies_are_not_turned():
    pose = find_pose(spirals(2, 4.0, [0.8]), torch.tensor([0.7]))
    assert pose.turn.tolist() == [0.0]


@pytest.mark.parametrize("winding", [4.0, -4.0])
def test_laid_galaxies_lie_alike_whatever_way_they_lay(winding):
    crest = torch.tensor([-2.9, -1.7, -0.4, 0.0, 0.5, 1.2, 2.2, 3.1])
    stamps = spirals(2, winding, crest, crest)
    pose = find_pose(stamps, torch.zeros(8))
    laid = lay(batch_of(stamps, wide=0.8), pose)
    wanted = batch_of(spirals(2, 4.0, [0.0], [0.0]), wide=0.8).image
    inside = torch.hypot(AXIS, AXIS[:, None]) < 24
    difference = ((laid.image - wanted) * inside).abs().amax((1, 2, 3))
    assert difference.max() < 0.05 * wanted.max()


def test_psfs_are_turned_as_their_galaxies():
    stamps = spirals(2, 4.0, [0.0, 0.0, 0.0])
    batch = batch_of(stamps, wide=3.0)
    pose = Pose(torch.tensor([math.pi / 2, -math.pi / 3, torch.nan]), torch.ones(3))
    laid = lay(batch, pose)
    assert torch.equal(laid.image[2], batch.image[2])
    # A quarter of a turn exchanges the axes: wide along y.
    along = laid.otf.abs()[:, 0, 0, 6], laid.otf.abs()[:, 0, 6, 0]
    assert along[0][0] > 1.3 * along[1][0]
    assert along[0][2] < along[1][2] / 1.3


def test_laying_undoes_itself():
    stamps = spirals(2, -4.0, [0.7], [0.7])
    batch = batch_of(stamps, wide=0.8)
    pose = find_pose(stamps, torch.zeros(1))
    laid = lay(batch, pose)
    back = lay(laid, Pose(-pose.turn, torch.ones(1))).image.flip(2)
    inside = torch.hypot(AXIS, AXIS[:, None]) < 22
    assert ((back - batch.image) * inside).abs().max() < 0.03 * batch.image.max()
