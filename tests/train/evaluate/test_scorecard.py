"""The estimators and distances of ``galsim-vae evaluate``, on cases with a known answer."""

import functools

import galsim
import numpy as np
import pytest
import torch

from galsim_vae import shapes
from galsim_vae.bands import BANDS
from galsim_vae.geometry import rotation_matrix
from galsim_vae.render import sersic
from galsim_vae.train.evaluate import (
    calibration,
    distances,
    frame,
    lanusse,
    observables,
    pairs,
    report,
    response,
    rows,
    samples,
    scorecard,
    two_samples,
)
from galsim_vae.train.evaluate.features import COLOURS, FEATURES, measure_features

SIZE = 64


def sersic_stamps(index: list[float], radius: float = 6.0, g: float = 0.0, size: int = SIZE):
    """GalSim's Sersic profiles through a Gaussian PSF, all bands alike: (n, bands, size, size)."""
    psf = galsim.Gaussian(sigma=1.0)
    images = []
    for n in index:
        galaxy = galsim.Sersic(n, half_light_radius=radius).shear(g1=g)
        image = galsim.Convolve(galaxy, psf).drawImage(
            nx=size, ny=size, scale=1.0, method="no_pixel"
        )
        images.append(image.array)
    return torch.from_numpy(np.stack(images))[:, None].repeat(1, len(BANDS), 1, 1)


def features(images: torch.Tensor, noise: float = 1e-7) -> dict[str, np.ndarray]:
    """Measure nearly noise-free images, every pixel usable."""
    n = len(images)
    table = measure_features(
        images, torch.full((n, len(BANDS)), noise), torch.ones_like(images, dtype=torch.bool)
    )
    return dict(zip(FEATURES, table.numpy().T, strict=True))


def noisy(images: torch.Tensor, rms: float, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return images + rms * torch.randn(images.shape, generator=generator)


def observing(images: torch.Tensor, sigma: float = 0.0, noise: float = 0.0, pixel_scale=1.0):
    """Observing through Gaussian PSFs of a width [pixel], in F814W, every pixel usable."""
    n, size = len(images), frame.PADDED
    k = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None])
    otf = torch.exp(-2 * (np.pi * sigma * k) ** 2).expand(n, len(BANDS), -1, -1)
    return observables.Observing(
        otf,
        torch.full((n, len(BANDS)), noise),
        torch.ones_like(images, dtype=torch.bool),
        torch.full((n,), BANDS.index("F814W")),
        torch.full((n,), pixel_scale),
    )


def lopsided() -> torch.Tensor:
    """A disc with a bright clump on one side, which is neither symmetric nor smooth."""
    image = sersic_stamps([1.0], g=0.2)
    x, y = np.meshgrid(np.arange(SIZE) - 40.0, np.arange(SIZE) - 37.0)
    clump = 0.1 * np.exp(-0.5 * (x**2 + y**2) / 1.5**2) / (2 * np.pi * 1.5**2)
    return image + torch.from_numpy(clump.astype(np.float32))


# -- features ----------------------------------------------------------------------------------


def test_shape_and_rho4_are_those_of_hsm():
    images = sersic_stamps([0.5, 1.0, 2.5, 4.0], g=0.3)
    found = features(images)
    for i, image in enumerate(images[:, 0].numpy()):
        hsm = galsim.hsm.FindAdaptiveMom(galsim.Image(image))
        shape = hsm.observed_shape
        assert found["g"][i] == pytest.approx(np.hypot(shape.g1, shape.g2), abs=3e-4)
        assert found["rho4"][i] == pytest.approx(hsm.moments_rho4, abs=1e-3)


def test_shape_and_rho4_are_those_of_hsm_in_noise():
    # As bright as a galaxy of 25 mag in CANDELS: its centre is 10 times the noise.
    images = sersic_stamps([0.5, 1.0, 2.5, 4.0], g=0.3).repeat(8, 1, 1, 1)
    rms = float(images[1, 0].max()) / 10
    images = noisy(images, rms)
    found = features(images, rms)
    hsm = lanusse.adaptive(images, observing(images))
    assert found["g"] == pytest.approx(hsm[:, 0], abs=5e-4)
    assert found["rho4"] == pytest.approx(hsm[:, 2], abs=2e-3)
    assert hsm[:, 2].std() > 0.05  # the noise is not negligible


def test_adaptive_moments_of_a_gaussian():
    image = galsim.Gaussian(sigma=5.0, flux=2.0).shear(g1=0.2).drawImage(
        nx=SIZE, ny=SIZE, scale=1.0, method="no_pixel"
    ).array  # fmt: skip
    images = torch.from_numpy(image)[None, None].repeat(2, len(BANDS), 1, 1)
    images[1] = 0
    found = lanusse.adaptive(images, observing(images, pixel_scale=0.03))
    assert found[0] == pytest.approx([0.2, 5 * 0.03, 2.0, 2.0], rel=2e-3)
    assert np.isnan(found[1]).all()


def test_gaussian_has_its_known_size_and_concentration():
    # Of a Gaussian, 1.5 Petrosian radii hold nearly all; r = sigma sqrt(-2 ln(1 - share)).
    sigma = 5.0
    image = galsim.Gaussian(sigma=sigma).shear(g1=0.0).drawImage(
        nx=SIZE, ny=SIZE, scale=1.0, method="no_pixel"
    ).array  # fmt: skip
    found = features(torch.from_numpy(image)[None, None].repeat(1, len(BANDS), 1, 1))
    assert found["size"][0] == pytest.approx(sigma * shapes.GAUSSIAN_HALF_LIGHT, rel=0.01)
    expected = 5 * np.log10(np.sqrt(np.log(0.2) / np.log(0.8)))
    assert found["C"][0] == pytest.approx(expected, abs=0.03)
    assert found["rho4"][0] == pytest.approx(2.0, abs=1e-3)
    assert found["A"][0] == pytest.approx(0.0, abs=2e-3)


def test_sersic_profiles_concentrate_with_their_index():
    found = features(sersic_stamps([0.5, 1.0, 2.0, 4.0], radius=4.0))
    assert np.all(np.diff(found["C"]) > 0.2)
    assert np.all(np.diff(found["gini"]) > 0.01)
    assert np.all(np.diff(found["m20"])[:2] < -0.05)  # it levels off, as statmorph's does
    assert np.all(np.abs(found["A"]) < 0.01)


def test_structure_is_that_of_statmorph():
    statmorph = pytest.importorskip("statmorph", reason="statmorph comes with the train extra")
    rms = 2e-6
    images = noisy(torch.cat([sersic_stamps([1.0, 3.0], g=0.25), lopsided()]), rms)
    found = features(images, rms)
    for i, image in enumerate(images[:, 2].numpy().astype(float)):
        segment = (shapes_radius(image) < 20).astype(int)
        known = statmorph.SourceMorphology(
            image, segment, label=1, weightmap=np.full_like(image, rms), cutout_extent=5
        )
        assert found["C"][i] == pytest.approx(known.concentration, abs=0.04)
        assert found["A"][i] == pytest.approx(known.asymmetry, abs=0.02)
        assert found["S"][i] == pytest.approx(known.smoothness, abs=0.01)
        assert found["m20"][i] == pytest.approx(known.m20, abs=0.06)
        assert found["gini"][i] == pytest.approx(known.gini, abs=0.03)


def shapes_radius(image: np.ndarray) -> np.ndarray:
    y, x = np.indices(image.shape) - (image.shape[0] - 1) / 2
    return np.hypot(x, y)


def test_noise_does_not_make_a_symmetric_galaxy_asymmetric():
    # The sky's part is taken off: the mean over many draws of the noise is near none.
    images = sersic_stamps([1.0]).repeat(64, 1, 1, 1)
    rms = float(images[0, 0].max()) / 60
    found = features(noisy(images, rms), rms)
    # The centre is where the noise happens to be least asymmetric, so the mean is below zero.
    assert -0.06 < found["A"].mean() < 0.01
    assert found["S"].mean() == pytest.approx(0.0, abs=0.02)


def test_colours_and_their_gradient():
    inner, outer = sersic_stamps([1.0], radius=3.0), sersic_stamps([1.0], radius=6.0)
    images = outer.clone()
    images[:, BANDS.index("F606W")] = 2 * inner[:, 0]
    found = features(images)
    assert found["F606W-F814W"][0] == pytest.approx(-2.5 * np.log10(2), abs=0.03)
    assert found["F814W-F125W"][0] == pytest.approx(0.0, abs=1e-4)
    # Twice as compact in F606W: blue inside.
    assert found["gradient"][0] < -0.5


def test_what_is_not_observed_is_nan():
    images = sersic_stamps([1.0, 1.0])
    mask = torch.ones_like(images, dtype=torch.bool)
    mask[1, BANDS.index("F125W")] = False
    images[0] = 0
    table = measure_features(images, torch.full((2, len(BANDS)), 1e-7), mask)
    assert torch.isnan(table[0]).all()
    missing = [name for name, v in zip(FEATURES, table[1], strict=True) if torch.isnan(v)]
    assert missing == ["F814W-F125W", "F125W-F160W"]


# -- frame and Sersic fits ---------------------------------------------------------------------


def test_canonical_stamps_are_canonical():
    parameters = torch.tensor(
        [[np.log(1.0), np.log(5.5), 0.25, 0.08, 0.6, -0.4]], dtype=torch.float32
    )
    stamps = sersic.stamps(parameters)[:, None].repeat(1, len(BANDS), 1, 1)
    before = frame.truth(stamps)
    after = frame.truth(frame.canonical(stamps, before, torch.zeros(len(stamps))))
    assert float(torch.hypot(after.x, after.y)) < 5e-3
    assert float(after.radius) == pytest.approx(6.0, rel=0.01)
    assert float(after.g2.abs()) < 1e-3
    assert float(after.g1) == pytest.approx(float(torch.hypot(before.g1, before.g2)), abs=2e-3)


@pytest.mark.parametrize("degrees", [0, 5, 45, 77, 90, 132, 180, -100])
def test_resampling_a_gaussian_gives_the_gaussian(degrees):
    """Turned by any angle: a galaxy that the generator turns is compared as it lies on the sky."""
    axis = torch.arange(SIZE, dtype=torch.float32) - (SIZE - 1) / 2

    def gaussian(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.exp(-0.5 * (x * x / 9 + y * y / 25 + x * y / 20))

    turn = torch.from_numpy(rotation_matrix(np.radians([float(degrees)]))[0]).float()
    matrix = turn @ torch.tensor([[1.15, -0.04], [0.06, 0.88]])
    offset = torch.tensor([0.3, -0.7])
    stamps = gaussian(axis[None], axis[:, None])[None, None]
    found = frame.resample(stamps, matrix[None], offset[None])[0, 0]
    x, y = (
        row[0] * axis[None] + row[1] * axis[:, None] + o
        for row, o in zip(matrix, offset, strict=True)
    )
    assert torch.allclose(found, gaussian(x, y) * torch.linalg.det(matrix), atol=1e-5)


def test_sersic_galaxies_have_each_band_s_flux():
    parameters = torch.tensor([[np.log(1.0), np.log(5.0), 0.1, 0.2, 0.4, -0.3]]).float()
    flux = torch.tensor([0.5, 0.8, 1.0, 1.3, 1.5])
    clean = sersic.stamps(parameters)[:, None] * flux[:, None, None]
    how = observing(clean, sigma=1.2)
    found = samples.sersic_fits(frame.see(clean, how.otf), how)
    assert torch.allclose(found, clean, atol=0.01 * float(clean.max()))
    assert torch.allclose(found.sum((2, 3)), clean.sum((2, 3)), rtol=1e-3)


# -- observables -------------------------------------------------------------------------------


def test_power_of_a_gaussian_is_known_as_far_as_its_psf_reaches():
    image = galsim.Gaussian(sigma=2.0, flux=3.0).drawImage(
        nx=SIZE, ny=SIZE, scale=1.0, method="no_pixel", dtype=float
    ).array  # fmt: skip
    images = torch.from_numpy(image)[None, None].repeat(1, len(BANDS), 1, 1)
    (found,) = observables.power_rings(images, observing(images, sigma=2.0))
    k = torch.fft.fftfreq(SIZE) * SIZE
    k = torch.hypot(k[:, None], k[None]).numpy()
    known = np.array([np.exp(-((2 * np.pi * k[k.round() == ring] * 2.0 / SIZE) ** 2)).mean()
                      for ring in range(1, 33)])  # fmt: skip
    reached = np.isfinite(found)
    assert found[reached] == pytest.approx(known[reached], rel=1e-3)
    # The PSF is as wide as the galaxy: its amplitude is the square root of this power.
    assert np.array_equal(reached, known > 0.05**2)


def test_each_galaxy_has_the_cut_off_of_its_own_psf():
    images = sersic_stamps([1.0, 1.0])
    sharp, wide = observing(images[:1], sigma=1.03), observing(images[1:], sigma=3.0)
    both = sharp._replace(
        otf=torch.cat([sharp.otf, wide.otf]), noise=sharp.noise.repeat(2, 1),
        mask=sharp.mask.repeat(2, 1, 1, 1), band=sharp.band.repeat(2),
    )  # fmt: skip
    reached = np.isfinite(observables.power_rings(images, both)).sum(1)
    # exp(-2 (pi sigma k / 64)^2) is 0.05 at k = 24.2 and 8.3.
    assert reached.tolist() == [24, 8]


@pytest.mark.parametrize("area", [None, 9.0])
def test_noise_is_taken_off_the_power_of_noisy_images(area):
    images = sersic_stamps([1.0]).repeat(200, 1, 1, 1)
    clean = observables.power_rings(images[:1], observing(images[:1]))[0]
    seen = observing(images, noise=2e-5)
    if area is not None:
        seen = seen._replace(area=torch.full_like(seen.noise, area))
    images = observables.add_noise(images, seen, torch.Generator().manual_seed(1))
    found = observables.power_rings(images, seen, noisy=True)
    compared = np.isfinite(found).all(0)
    assert 4 < compared.sum() < 32  # the rings beyond are noise
    assert found.mean(0)[compared] == pytest.approx(clean[compared], rel=0.1)


def test_galaxies_that_are_as_noisy_have_the_same_power():
    # Lumps that stand out of the noise in half of the galaxies.
    random = torch.Generator().manual_seed(2)
    lumps = torch.exp(1.5 * torch.randn(600, 1, 1, 1, generator=random)) * 3e-5
    images = sersic_stamps([1.0]).repeat(600, 1, 1, 1)
    images += lumps * torch.randn(images.shape, generator=random)
    seen = observing(images, noise=4e-5)
    noisy_power = observables.power_rings(
        observables.add_noise(images, seen, random), seen, noisy=True
    )
    clean = observables.power_rings(images, seen)
    first, second = noisy_power[:300], noisy_power[300:]
    rings = slice(11, 20)
    assert np.nanmedian(scorecard.power_ratio(first, second)[rings]) == pytest.approx(1, abs=0.15)
    # Only those of more power stand out, so what has no noise seems to have less.
    assert np.nanmedian(scorecard.power_ratio(first, clean[300:])[rings]) < 0.7


def test_flux_at_the_edge_of_a_flat_stamp_is_its_area():
    flat = torch.ones(1, len(BANDS), SIZE, SIZE)
    assert observables.edge_flux(flat) == pytest.approx(1 - (60 / 64) ** 2)


# -- distances ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three():
    """Two samples of one distribution, and one shifted by 0.3 sigma; (400, 6) each."""
    random = np.random.default_rng(4)
    first, second, third = random.normal(size=(3, 400, 6))
    return first, second, third + 0.3


def test_mmd_is_that_of_all_pairs(three):
    first, second = three[0][:40], three[2][:40]
    h = distances.mmd_kernel(first, second)
    assert distances.mmd_squared(h) == pytest.approx(h[~np.eye(40, dtype=bool)].mean())
    # Repeated rows are no pairs: three galaxies once each are those three alone.
    rows = np.array([3, 5, 9])
    assert distances.mmd_squared(h, rows) == pytest.approx(distances.mmd_squared(h[rows][:, rows]))


def test_mmd_finds_the_shift_and_nothing_else(three):
    random = np.random.default_rng(3)
    same, shifted = (distances.mmd_kernel(three[0], three[k]) for k in (1, 2))
    assert abs(distances.mmd_squared(same)) < 0.004 < distances.mmd_squared(shifted)
    assert distances.permutation_p(same, random) > 0.05
    assert distances.permutation_p(shifted, random) < 0.01


def test_permutation_p_is_uniform_for_samples_of_one_distribution():
    random = np.random.default_rng(8)
    chances = [
        distances.permutation_p(
            distances.mmd_kernel(*random.normal(size=(2, 60, 3))), random, permutations=100
        )
        for _ in range(60)
    ]
    # Kolmogorov-Smirnov: 1 % of uniform samples of 60 exceed 0.21.
    ranked = np.sort(chances)
    assert np.abs(ranked - (np.arange(60) + 0.5) / 60).max() < 0.21


def test_precision_and_recall_tell_what_is_missing(three):
    first, second, _ = three
    precision, recall = distances.precision_recall(first, second)
    assert min(precision, recall) > 0.9
    narrow = 0.3 * second
    precision, recall = distances.precision_recall(first, narrow)
    assert precision > 0.95
    assert recall < 0.3
    precision, recall = distances.precision_recall(first, second + 8)
    assert max(precision, recall) == 0


def test_classifier_guesses_at_the_floor_and_finds_the_shift(three):
    first, second, shifted = three
    assert distances.classifier_accuracy(first, second, 1) == pytest.approx(0.5, abs=0.06)
    assert distances.classifier_accuracy(first, shifted, 1) > 0.57


def test_network_guesses_at_the_floor_and_finds_structure():
    random = np.random.default_rng(5)
    first, second = random.normal(size=(2, 240, 32, 32)).astype(np.float16)
    floor = distances.network_accuracy(first, second, 1)
    assert floor == pytest.approx(0.5, abs=0.15)
    assert floor == distances.network_accuracy(first, second, 1)
    spot = sersic_stamps([1.0], size=32)[0, 0].numpy()
    spot = 3 * spot / spot.max()
    assert distances.network_accuracy(first, (second + spot).astype(np.float16), 1) > 0.85


def test_copies_are_near_the_training_set(three):
    training, held_out, _ = three
    near = distances.nearest_distance(training, training + 1e-3)
    assert np.median(near) < 0.05 * np.median(distances.nearest_distance(training, held_out))


# -- scores ------------------------------------------------------------------------------------


def comparison(shift: float, n: int = 300) -> dict[str, np.ndarray]:
    """A made-up comparison whose model is off by `shift` sigma in every feature."""
    random = np.random.default_rng(12)
    conditions = np.column_stack(
        [random.uniform(20, 25, n), random.uniform(0.1, 0.9, n), random.uniform(0, 0.7, n),
         random.uniform(0.1, 3, n)]
    )  # fmt: skip
    known, made, bad, training = random.normal(size=(4, n, len(FEATURES)))
    power = np.exp(random.normal(0, 0.1, (n, 32)))
    adaptive = random.uniform([0, 0.1, 2, 1], [0.8, 0.5, 3, 2], (n, 4))
    return {
        "conditions": conditions,
        "drawn": conditions[:, 1:3] * [np.exp(shift), 1 - 0.3 * shift],
        "sky/model": np.column_stack([random.normal(shift, 0.2, (n, 2)), conditions[:, 0]]),
        "sky/free": np.column_stack([np.zeros((n, 2)), conditions[:, 0] + 0.1 * shift]),
        "adaptive/held_out": adaptive,
        "adaptive/model": adaptive,
        "adaptive/free": adaptive * [1, 1 + shift, 1, 1 - shift] + [0.1 * shift, 0, shift, 0],
        "features/held_out": 5 + known,
        "features/model": 5 + made + shift,
        "features/free": 5 + made + shift,
        "features/sersic": 5 + bad + 0.6,
        "features/training": 5 + training,
        "power/held_out": power,
        "power/model": power * (1 - shift),
        "frame_power/held_out": power,
        "frame_power/model": power * (1 - 0.5 * shift),
        **responses(n, shift),
        "ends/held_out": np.full(n, 1e-3),
        "ends/model": np.full(40, 1e-3 * (1 + 10 * shift)),
        "edges/held_out": np.full(n, 5e-4),
        "edges/model": np.full(n, 5e-4 * (1 + shift)),
        "fluxes/held_out": np.ones((n, len(BANDS))),
        "fluxes/free": np.ones((n, len(BANDS))) * [1 + shift, 1, 1, 1, 1],
    }


def responses(n: int, shift: float) -> dict[str, np.ndarray]:
    """Galaxies whose response to shear is larger by a share of the shift, Sersic's by 0.04."""
    random = np.random.default_rng(2)
    own = np.column_stack([random.uniform(0.4, 0.6, n), np.ones(n)])
    factors = {"held_out": 1, "model": 1 + 0.1 * shift, "sersic": 1.04}
    return {
        f"response/{kind}/{name}": own * [factor, 1]
        for name, factor in factors.items() for kind in response.KINDS
    }  # fmt: skip


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Boosting and neighbours of few halves: they take long."""
    monkeypatch.setattr(two_samples, "few_repeats", lambda n: 2)


def rows_of(measured) -> dict[str, rows.Row]:
    return {row.metric: row for row in scorecard.scorecard(measured, 1, lambda part: None)}


@functools.cache
def rows_by_metric(shift: float, n: int = 300) -> dict[str, rows.Row]:
    return rows_of(comparison(shift, n))


def test_the_score_of_what_is_alike_is_the_floor_and_of_what_is_not_is_not():
    same, off = rows_by_metric(0.0), rows_by_metric(0.4)
    assert same["MMD^2 over Sersic's"].met
    assert same["gradient boosting"].values["model"].value < 0.56
    assert same["recall"].met
    largest = "largest of 2 to 20 cycles"
    for metric in ("gini", "MMD^2 over Sersic's", "gradient boosting", largest):
        assert not off[metric].met, metric
        assert abs(off[metric].values["model"].value) > abs(same[metric].values["model"].value)
    assert off[largest].values["model"].value == pytest.approx(0.4)
    framed = off[f"{largest}, in the frame of the networks"]
    assert framed.values["model"].value == pytest.approx(0.2) and framed.limit is None
    share = "share of these within two errors of the floor"
    assert same[share].values["model"].value > 0.8 > 0.3 > off[share].values["model"].value
    assert off["mean |g|, less held-out's"].values["model"].value == pytest.approx(0.4, abs=0.2)
    # 0.4 on the sky, with a scatter of 0.2 and 300 galaxies, is 35 sigma.
    assert off["mean g1, in sigma"].values["model"].value == pytest.approx(35, abs=5)
    assert abs(same["mean g1, in sigma"].values["model"].value) < 4


def test_the_margin_is_held_against_that_of_held_out_galaxies():
    metric = "flux in the outer 2 px (under floor: that of held-out)"
    same, off = (rows_by_metric(shift)[metric] for shift in (0.0, 0.4))
    assert same.met and off.met is False
    unknown = {k: v for k, v in comparison(0.4, 100).items() if k != "edges/held_out"}
    assert rows_of(unknown)[metric].limit is None


def test_response_and_ends_are_judged():
    same, off = rows_by_metric(0.0), rows_by_metric(0.4)
    for kind in response.KINDS.values():
        assert same[kind].met and not off[kind].met
        # Pairs that are alike but for the factor tell it exactly.
        assert off[kind].values["model"].value == pytest.approx(0.04)
        assert off[kind].values["model"].error < 1e-9
        assert off[kind].limit == pytest.approx(0.02)
        assert abs(off[kind].values["floor"].value) < 0.01 < off[kind].values["floor"].error + 0.01
    median = "median (under floor: that of held-out)"
    assert same[median].met and not off[median].met
    assert off[median].values["model"].value == pytest.approx(5e-3)
    assert off[median].values["floor"].value == pytest.approx(1e-3)


def test_the_floor_is_that_of_halves():
    """W1 of two normal samples of 150, over sigma68: some 0.11 with a scatter of 0.04."""
    floor = rows_by_metric(0.0)["gini"].values["floor"]
    assert floor.value == pytest.approx(0.11, abs=0.04)
    assert floor.error == pytest.approx(0.035, abs=0.02)
    halves = pairs.Pairs(comparison(0.0), np.random.default_rng(1)).splits
    assert len(halves) == 50
    assert all(len(np.intersect1d(*rows)) == 0 and len(rows[0]) == 150 for rows in halves)


def test_an_outlier_does_not_rule_a_row():
    measured = comparison(0.0)
    column = FEATURES.index("F606W-F814W")
    before = rows_by_metric(0.0)["F606W-F814W"].values["model"].value
    measured["features/model"][0, column] = 1e4
    found = shifts_of(measured)
    assert found["F606W-F814W"].values["model"].value == pytest.approx(before, abs=0.02)
    # A colour that hardly scatters is told to 0.05 mag.
    for name in ("held_out", "model"):
        measured[f"features/{name}"][:, column] = 1 + 1e-4 * measured[f"features/{name}"][:, 0]
    assert shifts_of(measured)["F606W-F814W"].values["model"].value < 0.01


def shifts_of(measured) -> dict[str, rows.Row]:
    random = np.random.default_rng(1)
    return {row.metric: row for row in scorecard.shifts(pairs.Pairs(measured, random), random)}


def test_the_score_finds_copies_of_training_galaxies():
    measured = comparison(0.0, 100)
    other = np.random.default_rng(6).normal(size=measured["features/training"].shape)
    for made, met in ((measured["features/training"] + 1e-3, False), (5 + other, True)):
        measured["features/model"] = made
        random = np.random.default_rng(1)
        (line,) = two_samples.copies(pairs.Pairs(measured, random), random, 1)
        assert line.met == met
    assert line.values["model"].value == pytest.approx(1, abs=0.15)


def test_real_galaxies_are_to_be_nearer_than_sersic_profiles():
    values = {"model": rows.Estimate(0.2, 0.01), "sersic": rows.Estimate(0.3, 0.02)}
    lines = [
        rows.Row(3, "C", values, 0.05),
        rows.Row(5, "MMD^2 over Sersic's", values, 0.25),
        rows.Row(6, "gradient boosting", values, 0.55),
        rows.Row(10, "recall", values, 0.9, at_least=True),
        rows.Row(5, "MMD^2", values),
        rows.Row(3, "share of these within two errors of the floor", values, at_least=True),
    ]
    found = rows.against_sersic(lines)
    assert [row.limit for row in found] == [0.3, 0.35, 0.65, 0.3, None, 0.8]
    assert [row.met for row in found] == [True, True, True, False, None, False]


@pytest.mark.parametrize(
    ("model", "met"), [(0.005, True), (-0.005, True), (0.018, None), (0.023, None), (0.04, False)]
)
def test_a_response_is_judged_only_where_errors_allow_it(model, met):
    values = {"model": rows.Estimate(model, 0.003), "sersic": rows.Estimate(-0.04, 0.004)}
    (row,) = rows.against_sersic([rows.Row(1, "LSST i, REGAUSS", values, 0.02)])
    assert row.met is met
    facts = {"weights": "w", "sha256": "0" * 64, "held_out_galaxies": 5, "seed": 1}
    line = report.printed("real", [row], facts).splitlines()[-1]
    assert line.endswith({True: "yes", False: "NO", None: "unclear"}[met])


def test_what_is_encoded_is_judged_by_what_comes_out():
    values = {"model": rows.Estimate(0.3), "rebuilt": rows.Estimate(0.05)}
    assert rows.Row(7, "largest", values, 0.1, judged="rebuilt").met
    assert rows.Row(7, "largest", values, 0.1).met is False
    assert rows.Row(7, "largest", {"model": values["model"]}, 0.1, judged="rebuilt").met is None


def test_the_printed_scorecard_has_a_line_a_metric():
    lines = list(rows_by_metric(0.0).values())
    facts = {"weights": "w", "sha256": "0" * 64, "held_out_galaxies": 300, "seed": 1}
    text = report.printed("synthetic", lines, facts).splitlines()
    shown = {row.number for row in lines}
    assert len(text) == 2 + len(lines) + len(shown)
    assert max(map(len, text)) <= 120
    assert all(any(title == line for line in text)
               for number, title in rows.GROUPS.items() if number in shown)  # fmt: skip


def test_the_scores_of_a_seed_are_the_same():
    first, second = (rows.as_table(list(rows_of(comparison(0.2, 60)).values())) for _ in "ab")
    for name in first.colnames:
        assert np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f")


def test_calibration_finds_biases():
    for shift, wanted in ((0.0, True), (0.4, False)):
        bins = calibration.calibration(comparison(shift), 1)
        for quantity in ("magnitude [mag]", "ln half_light_radius", "slope of |g|, less 1",
                         "median F435W-F606W [mag]"):  # fmt: skip
            part = [b for b in bins if b.quantity == quantity]
            assert part and all(b.met == wanted for b in part), quantity
    sizes = [b for b in bins if b.quantity == "ln half_light_radius"]
    assert [b.bias for b in sizes] == pytest.approx([0.4] * len(sizes))
    (slope,) = [b for b in bins if b.quantity == "slope of |g|, less 1"]
    assert slope.bias == pytest.approx(-0.12)


def test_redshift_is_regressed_from_colours():
    measured = comparison(0.0, 600)
    columns = [FEATURES.index(name) for name in COLOURS]
    redshift = measured["conditions"][:, 3]
    colours = np.column_stack([redshift, -redshift, redshift**2, np.sqrt(redshift)])
    measured["features/held_out"][:, columns] = colours
    for factor in (1.0, 1.2):  # galaxies with the colours of those 1.2 times as far
        far = factor * redshift
        made = np.column_stack([far, -far, far**2, np.sqrt(far)])
        measured["features/free"][:, columns] = made
        bins = calibration.calibration(measured, 1)
        part = [b for b in bins if b.quantity.startswith("ln(1 + z)") and b.high < 2.5]
        middle = np.array([(b.low + b.high) / 2 for b in part])
        wanted = np.log1p(factor * middle) - np.log1p(middle)
        assert [b.bias for b in part] == pytest.approx(wanted, abs=0.03)


# -- against Lanusse et al. ------------------------------------------------------------------------


def test_what_lanusse_measured_is_found():
    shift = 0.2
    measured = comparison(shift, 1000)
    for name, factor in (("model", 1), ("free", 1 - 0.1 * shift)):
        measured[f"features/{name}"] = factor * measured["features/held_out"]
    lines = lanusse.against(measured, 1)
    known = {
        "mean abs(g), less held-out's": 0.1 * shift,
        "mean sigma over held-out's, less 1": shift,
        "mean half-light radius over held-out's, less 1": -0.1 * shift,
        "median sigma over held-out's, less 1": shift,
        "median flux over held-out's, less 1": -shift,
        "median magnitude on the sky, less asked": 0.1 * shift,
        "mean rho4, less held-out's": shift,
    }
    assert {line.quantity for line in lines} == set(known)
    for line in lines:
        assert line.found["model"].value == pytest.approx(0)
        assert line.better("model") == "yes"
        assert line.found["free"].value == pytest.approx(known[line.quantity])
    better = {line.quantity: line.better("free") for line in lines}
    assert [name for name, verdict in better.items() if verdict != "no"] == [
        "median magnitude on the sky, less asked"
    ]
    sizes = [(line.low, line.high) for line in lines if line.asked == "half_light_radius"]
    assert all(low < radius < high for (low, high), radius in zip(
        sizes, (0.11, 0.15, 0.2, 0.26), strict=True))  # fmt: skip


def test_what_lanusse_measured_is_of_the_galaxies_asked_for():
    measured = comparison(0.0, 1000)
    small = measured["conditions"][:, 1] < 0.13
    measured["adaptive/free"][small, 1] *= 1.5
    measured["adaptive/free"][0] = np.nan  # not measured: neither is its counterpart
    lines = lanusse.against(measured, 1)
    sizes = [ln.found["free"].value for ln in lines if ln.asked == "half_light_radius"]
    assert sizes == pytest.approx([0.5, 0, 0, 0])
    (every,) = (ln for ln in lines if ln.quantity == "mean sigma over held-out's, less 1")
    assert every.galaxies == 999


def test_of_real_galaxies_means_are_compared():
    measured = comparison(0.2)
    del measured["fluxes/held_out"]
    lines = lanusse.against(measured, 1)
    assert {line.asked for line in lines} == {""}
    found = [line.found["free"].value for line in lines if "half" not in line.quantity]
    assert found == pytest.approx([0.02, 0.2, 0.2])
    assert all(line.galaxies == 300 for line in lines)


@pytest.mark.parametrize(
    ("value", "error", "verdict"),
    [(0.03, 0.009, "yes"), (-0.03, 0.011, "unclear"), (0.06, 0.011, "no")],
)
def test_better_is_better_by_twice_the_error(value, error, verdict):
    found = {"model": rows.Estimate(value, error)}
    assert lanusse.Line("", "", 0, 1, 50, -0.05, found).better("model") == verdict
