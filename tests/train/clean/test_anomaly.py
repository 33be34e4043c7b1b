"""The anomaly score, the artefacts that are planted to measure it, and the measurement."""

from dataclasses import replace

import galsim
import numpy as np
import pytest
import torch
from astropy.table import Table
from scipy import ndimage

from galsim_vae import cli
from galsim_vae.frame import ROUND
from galsim_vae.model import file as modelfile
from galsim_vae.model import likelihood
from galsim_vae.train import training_file as dataset
from galsim_vae.train.clean import anomaly, artefacts, measures, usual
from galsim_vae.train.clean import planted as anomaly_check
from galsim_vae.train.clean.native import native
from galsim_vae.train.fit.batch import Batch


@pytest.fixture(scope="module")
def galaxies():
    """A training file of two dozen synthetic galaxies, with white noise."""
    made = anomaly_check.synthetic_file(24, seed=5, frame=ROUND)
    draws = np.random.default_rng(5).standard_normal(made.image.shape)
    noisy = made.image + made.noise[:, :, None, None] * draws
    return replace(made, image=np.where(made.mask, noisy, 0).astype(np.float32))


@pytest.fixture(scope="module")
def model():
    return modelfile.read(modelfile.find("candels"))


def explained(residual, model=None):
    """One band of unit noise with a Gaussian PSF of sigma 1.5 px and a given residual."""
    axis = torch.arange(64.0) - 32
    psf = torch.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / 1.5**2)
    otf = torch.fft.rfft2(torch.fft.ifftshift(psf / psf.sum()))[None, None]
    image = torch.zeros(1, 1, 64, 64) if model is None else model
    one, mask = torch.ones(1, 1), torch.ones(1, 1, 64, 64, dtype=torch.bool)
    batch = Batch(image + residual, otf, one, one, mask)
    return measures.Explained(batch, torch.zeros(1, 2), image, image)


def gaussian(x0=0.0, y0=0.0, sigma=6.0, q=1.0):
    y, x = torch.meshgrid(*2 * [torch.arange(64.0) - 31.5], indexing="ij")
    return torch.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2 / q**2) / sigma**2)[None, None]


def test_a_hit_is_sharper_than_a_point_source():
    hit = torch.zeros(1, 1, 64, 64)
    hit[0, 0, 20, 40] = 30.0
    point = likelihood.convolve(hit, explained(hit).batch.otf)
    point = point * (30.0 / point.max())
    assert measures.sharp_residual(explained(hit)) > 25
    assert measures.sharp_residual(explained(point)) < 0.6 * measures.sharp_residual(explained(hit))


def test_a_faint_line_stands_out_and_a_bright_knot_does_not():
    noise = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    empty = measures.straight_residual(explained(noise))
    line = measures.straight_residual(explained(noise + 2.0 * (gaussian(q=1e3, sigma=1.0) > 0.5)))
    knot = measures.straight_residual(explained(noise + 100.0 * gaussian(10, 10, sigma=1.0)))
    assert empty < 5 and line > 15
    assert knot < 0.6 * line


def test_a_galaxy_fades_before_its_stamp_ends_and_a_trail_does_not():
    galaxy = gaussian(q=0.5)
    trail = galaxy + 0.5 * gaussian(q=1e3, sigma=1.5)
    assert measures.cut_off(explained(galaxy)) < 1e-5
    # Two ends of a line 3.8 pixels wide, half as bright as the centre, among 64 * 4 pixels.
    assert measures.cut_off(explained(trail)) == pytest.approx(3.8 / 256, rel=0.2)
    nothing = explained(galaxy)
    nothing.batch.mask[:] = False
    assert measures.cut_off(nothing) == 0


def test_model_error_excuses_residuals_where_the_galaxy_is_bright():
    galaxy = 1000 * gaussian()
    assert measures.misfit(explained(0.05 * galaxy, galaxy)) < 0.3
    assert measures.misfit(explained(0.05 * galaxy)) > 10


def test_ellipses_are_regular_and_two_nuclei_are_not():
    regular = measures.irregularity(explained(torch.zeros(1), gaussian(1.0, -2.0, q=0.5)))
    double = measures.irregularity(
        explained(torch.zeros(1), gaussian(-8, sigma=3.0) + gaussian(8, sigma=3.0))
    )
    assert regular < 0.1 < 0.3 < double


def test_second_peak_is_measured_from_its_saddle():
    alone = gaussian(4.0, -3.0, q=0.5)
    assert measures.peaks(explained(torch.zeros(1), alone)) < 1e-6
    # Far apart, with nothing between them: as high as it is. Both are smoothed alike.
    pair = gaussian(-15.0, sigma=4.0) + 0.4 * gaussian(15.0, sigma=4.0)
    assert measures.peaks(explained(torch.zeros(1), pair)) == pytest.approx(0.4, abs=0.005)
    near = gaussian(-6.0, sigma=4.0) + 0.4 * gaussian(6.0, sigma=4.0)
    line = ndimage.gaussian_filter(near[0, 0].double().numpy(), 1.0)[31]
    height = (line[36:40].max() - line[30:37].min()) / line.max()
    assert 0.01 < height < 0.05
    assert measures.peaks(explained(torch.zeros(1), near)) == pytest.approx(height, rel=0.01)
    assert measures.peaks(explained(torch.zeros(1), torch.zeros(1, 1, 64, 64))) == 0


def test_score_counts_the_two_measures_of_a_blend_together():
    odd = np.zeros((3, len(measures.REASONS)))
    odd[0, list(measures.REASONS).index("irregular")] = 1
    odd[0, list(measures.REASONS).index("second_peak")] = 1
    odd[1, list(measures.REASONS).index("misfit")] = 1
    odd[1, list(measures.REASONS).index("cut_off")] = 1
    assert anomaly.combine(odd).tolist() == [6, 4, 0]


def test_oddness_is_the_tail_probability():
    random = np.random.default_rng(3)
    ratio = np.exp(random.uniform(3, 7, 4000))
    value = random.exponential(size=4000) + 0.8 * np.log(ratio)
    one = np.full(4000, "a")
    found = usual.Usual.of(value, ratio, one)
    assert found.slope == pytest.approx(0.8, abs=0.05)
    at = np.array([1.0, 3.0, 6.0])
    odd = found.oddness(at + 0.8 * np.log(100.0), np.full(3, 100.0), one[:3])
    assert odd == pytest.approx(at / np.log(10), rel=0.15)
    # Three per cent of artefacts in the set change little.
    value[:120] += 50
    spoilt = usual.Usual.of(value, ratio, one)
    again = spoilt.oddness(at + 0.8 * np.log(100.0), np.full(3, 100.0), one[:3])
    assert again == pytest.approx(odd, rel=0.3)


def test_what_is_odd_in_one_source_is_usual_in_another():
    random = np.random.default_rng(4)
    source = np.repeat(["field", "spirals"], 200)
    value = random.standard_normal(400) + np.where(source == "spirals", 5.0, 0.0)
    ratio = np.full(400, 100.0)
    found = usual.Usual.of(value, ratio, source)
    assert found.offsets["spirals"] - found.offsets["field"] == pytest.approx(5.0, abs=0.4)
    odd = found.oddness(np.full(3, 5.0), np.full(3, 100.0), np.array(["field", "spirals", "new"]))
    assert odd[0] > 3 and odd[1] < 0.7
    assert odd[1] < odd[2] < odd[0]


def test_what_hardly_ever_happens_is_not_odd_without_limit():
    value = np.zeros(100)
    value[:3] = 0.1
    ratio, source = np.full(100, 50.0), np.full(100, "a")
    found = usual.Usual.of(value, ratio, source)
    assert 1 < found.oddness(np.array([0.1]), ratio[:1], source[:1])[0] < 10


def test_few_galaxies_have_no_usual():
    few = {name: np.zeros(19) for name in (*measures.REASONS, "signal_to_noise", "source")}
    with pytest.raises(galsim.GalSimValueError, match="at least 20"):
        anomaly.calibrate(few)


def test_bleeding_keeps_the_charge_of_a_column():
    image = np.zeros((41, 9))
    image[20, 4], image[:, 2] = 70.0, 5.0
    out = artefacts.bleed(image, 10.0)
    assert out.max() <= 10.0
    assert out.sum(0) == pytest.approx(image.sum(0))
    assert np.flatnonzero(out[:, 4]).tolist() == list(range(17, 24))
    full = artefacts.bleed(np.full((5, 1), 20.0), 10.0)
    assert (full == 10.0).all()


def test_a_galaxy_left_alone_comes_back_as_it_was(galaxies):
    good = galaxies[np.argsort(galaxies.noise.max(1))[:4]]
    again = artefacts.plant(good, None, seed=2)
    both = good.mask & again.mask
    flux = [(d.image * both).sum((1, 2, 3)) for d in (good, again)]
    assert np.median(np.abs(flux[1] / flux[0] - 1)) < 0.05
    assert np.median(np.abs(again.g - good.g)) < 0.05
    assert np.median(np.abs(again.pixel_scale / good.pixel_scale - 1)) < 0.15


def test_planting_is_reproducible_row_by_row(galaxies):
    first = artefacts.plant(galaxies[:2], "cosmic rays", seed=4)
    again = artefacts.plant(galaxies[:1], "cosmic rays", seed=4)
    assert np.array_equal(first.image[:1], again.image)
    other = artefacts.plant(galaxies[:1], "cosmic rays", seed=5)
    assert not np.array_equal(first.image[:1], other.image)
    with pytest.raises(galsim.GalSimValueError, match="Unknown artefact"):
        artefacts.plant(galaxies, "ghost", seed=1)


def test_noise_only_has_the_noise_that_is_stated(galaxies):
    empty = artefacts.plant(galaxies[:3], "noise only", seed=6)
    seen = empty.mask.sum((2, 3)) > 500
    rms = [empty.image[i, b][empty.mask[i, b]].std() for i, b in np.argwhere(seen)]
    assert np.median(rms / empty.noise[seen]) == pytest.approx(1.0, abs=0.1)


def test_a_blend_adds_a_galaxy_of_the_ratio_stated(galaxies):
    low, high = artefacts.BLEND_RATIO
    for row in range(3):
        random = np.random.default_rng(row)
        galaxy = native(galaxies, row, random)
        before, after = galaxy.observation, artefacts.blend(galaxy, random).observation
        light = max(after.image[b].sum() - before.image[b].sum() for b in after.image)
        flux = (galaxies.image[row] * galaxies.mask[row]).sum((1, 2)).max()
        # The stamp may cut some of the second galaxy off.
        assert 0.5 * low < light / flux < 1.2 * high
        assert all(after.noise[b] >= before.noise[b] for b in after.noise)


def test_artefacts_are_listed_first(galaxies, model, tmp_path):
    """Through the command: a star and an empty stamp among two dozen galaxies, some irregular."""
    spoilt = {0: "saturated star", 7: "noise only"}
    parts = [galaxies[8:], galaxies[1:7]]
    parts += [artefacts.plant(galaxies[[i]], kind, seed=8) for i, kind in spoilt.items()]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in vars(galaxies)
        if name not in ("catalogue", "frame")
    }
    mixed = dataset.Dataset(**columns, frame=galaxies.frame)
    dataset.write(tmp_path / "mixed.h5", mixed, band_maps={}, provenance="test")
    file = str(tmp_path / "mixed.h5")
    assert cli.main(["clean", file, f"output={tmp_path}", "worst=4", "-v", "3"]) == 0
    listed = Table.read(tmp_path / "anomaly.ecsv")
    assert len(listed) == len(mixed)
    assert set(listed["source_index"][:5]) >= set(spoilt)
    assert (np.diff(listed["score"]) <= 0).all()
    assert set(listed["reason"]) <= set(measures.REASONS)
    assert (tmp_path / "anomaly.png").stat().st_size > 10_000


def test_score_of_a_galaxy_does_not_depend_on_its_batch(galaxies, model):
    whole = measures.measure_oddities(model, galaxies[:3])
    alone = measures.measure_oddities(model, galaxies[1:2])
    for name in measures.REASONS:
        assert alone[name][0] == pytest.approx(whole[name][1], rel=1e-2)


def test_noise_free_and_fully_masked_galaxies_can_be_scored(galaxies, model):
    free = replace(galaxies[:2], noise=np.zeros_like(galaxies.noise[:2]))
    free.mask[1] = False
    measured = measures.measure_oddities(model, free)
    assert all(np.isfinite(measured[name]).all() for name in measures.REASONS)
    assert measured["unlikely_latent"][1] == 1e6


def test_auc_of_separated_and_of_equal_sets():
    random = np.random.default_rng(1)

    def measured(shift):
        values = {name: random.standard_normal(60) for name in measures.REASONS}
        values["misfit"] = values["misfit"] + shift
        return values | {"signal_to_noise": np.full(60, 100.0), "source": np.full(60, "a")}

    table = anomaly_check.results("x", measured(0), {"a": measured(12), "b": measured(0)}, seed=1)
    assert table["auc"][0] > 0.98 and table["completeness"][0] > 0.95
    assert table["auc"][1] == pytest.approx(0.5, abs=4 * table["auc_error"][1])
    assert 0.02 < table["auc_error"][1] < 0.1
