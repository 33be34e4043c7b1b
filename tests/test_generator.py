"""The shipped weights through the generator: exact truth, population, reproducibility, errors."""

import pickle

import galsim
import numpy as np
import pytest
import torch
from scipy.optimize import brentq

import galsim_vae
from galsim_vae import shapes
from galsim_vae.bands import BANDS, REFERENCE
from galsim_vae.conditions import NAMES
from galsim_vae.deviates import draw_seed
from galsim_vae.frame.frames import DEFAULT
from galsim_vae.geometry import sheared_shape

REFERENCE_INDEX = BANDS.index(REFERENCE)


@pytest.fixture(scope="module")
def gen():
    return galsim_vae.GalaxyGenerator("candels", device="cpu")


@pytest.fixture(scope="module")
def table(gen):
    return gen.sample_conditions(64, galsim.BaseDeviate(99))


def conditions_across_ranges(gen, n, seed, g_max=0.6):
    """Conditions drawn independently and uniformly (radius: in its logarithm)."""
    rng = np.random.default_rng(seed)
    low, high = np.array([gen.ranges[name] for name in NAMES]).T
    g = rng.uniform(0, min(g_max, high[2]), n)
    angle = rng.uniform(0, np.pi, n)
    return {
        "magnitude": rng.uniform(low[0], high[0], n),
        "half_light_radius": np.exp(rng.uniform(np.log(low[1]), np.log(high[1]), n)),
        "g1": g * np.cos(2 * angle),
        "g2": g * np.sin(2 * angle),
        "redshift": rng.uniform(low[3], high[3], n),
    }


def half_light_radius(image, shape, centre):
    """sqrt(ab) of the ellipse with half the flux [pixel], by root-finding on a fine image.

    A pixel on the edge counts by how far the ellipse reaches into it.
    """
    y, x = np.indices(image.shape)
    q = (1 - shape.g) / (1 + shape.g)
    cos, sin = np.cos(shape.beta.rad), np.sin(shape.beta.rad)
    dx, dy = x - centre[0], y - centre[1]
    radius = np.hypot((dx * cos + dy * sin) * np.sqrt(q), (dy * cos - dx * sin) / np.sqrt(q))
    half = 0.5 * image.sum()
    return brentq(
        lambda r: np.vdot(np.clip(r - radius + 0.5, 0, 1), image) - half, 1.0, 100.0, xtol=1e-3
    )


def adaptive_moments(image, meant):
    """HSM's of a Gaussian about as wide as `meant` [pixel^2], or as near as any start leads.

    The moments of a bright core in a wide halo, or of a disc with a companion, have two solutions,
    and from some starts HSM comes to none. Which one is meant its width says: the shape, which is
    tested, has no part in it. Of a flat galaxy of many clumps HSM's iteration may leap away from
    every start; and where its starts, which are round, lead to the disc and its companion, the disc
    alone must at least be a solution to stay at.

    Returns
    -------
    shape : galsim.Shear
    centre : galsim.PositionD
        From the middle of the pixel [1, 1].
    """
    width = np.linalg.det(meant) ** 0.25
    params = galsim.hsm.HSMParams(max_mom2_iter=2000)
    found = []
    for start in (20, width, 12, 8, 2 * width):
        one = galsim.hsm.FindAdaptiveMom(image, guess_sig=start, hsmparams=params, strict=False)
        if not one.error_message:
            found.append(one)
            if abs(one.moments_sigma / width - 1) < 0.02:
                break
    if not found:
        return slow_moments(image, np.diag([width**2] * 2))
    best = min(found, key=lambda one: abs(one.moments_sigma - width))
    if abs(best.moments_sigma / width - 1) > 0.1:
        return slow_moments(image, meant)
    return best.observed_shape, best.moments_centroid - galsim.PositionD(1, 1)


def slow_moments(image, moments):
    """The same by short steps, in which nothing can leap."""
    y, x = np.indices(image.array.shape, dtype=float)
    centre = image.true_center - galsim.PositionD(1, 1)
    for _ in range(300):
        offset = np.stack([x - centre.x, y - centre.y])
        weight = np.einsum("iyx,ij,jyx->yx", offset, np.linalg.inv(moments), offset)
        weighted = image.array * np.exp(-0.5 * weight)
        step = (weighted * offset).sum((1, 2)) / weighted.sum()
        second = np.einsum("yx,iyx,jyx->ij", weighted, offset, offset) / weighted.sum()
        centre += 0.6 * galsim.PositionD(*step)
        moments = moments + 0.3 * (2 * second - moments)
    (xx, xy), (_, yy) = moments
    scale = xx + yy + 2 * np.sqrt(np.linalg.det(moments))
    return galsim.Shear(g1=(xx - yy) / scale, g2=2 * xy / scale), centre


def test_exact_truth_over_the_valid_ranges(gen):
    """Flux to 1e-6, radius to 0.4 %, ellipticity to 0.001, on finely drawn images."""
    n = 1000
    asked = conditions_across_ranges(gen, n, seed=5, g_max=0.7)
    stamps = gen.sample(asked, galsim.BaseDeviate(17), exact=True)
    measured = shapes.measure(torch.from_numpy(stamps.array[:, REFERENCE_INDEX])).moments
    flux_error, size_error, shape_error = np.zeros((3, n))
    for i in range(n):
        galaxy = stamps.galaxy(i, zeropoint=25.94)
        flux = 10 ** (-0.4 * (asked["magnitude"][i] - 25.94))
        radius = asked["half_light_radius"][i]
        scale = radius / 20
        # Its radius is that of half of all its light: of a flat galaxy, 9 radii hold 98 %.
        size = 2 * int(np.ceil(35 * np.linalg.norm(stamps.jacobian[i], ord=2) / scale))
        image = galaxy.drawImage(nx=size, ny=size, scale=scale, method="no_pixel", dtype=float)
        # The Gaussian that the generator's moments match, begun with one of 5 px of the stamp.
        root = galsim.Shear(g1=float(measured.g1[i]), g2=float(measured.g2[i])).getMatrix()
        root = stamps.jacobian[i] @ root * float(measured.sigma[i]) / scale
        shape, centre = adaptive_moments(image, root @ root.T)
        found_radius = half_light_radius(image.array, shape, (centre.x, centre.y)) * scale
        flux_error[i] = galaxy.flux / flux - 1
        size_error[i] = found_radius / radius - 1
        shape_error[i] = abs(
            complex(shape.g1, shape.g2) - complex(asked["g1"][i], asked["g2"][i])
        )
    assert np.abs(flux_error).max() <= 1e-6
    assert np.abs(size_error).max() <= 0.004
    assert np.quantile(shape_error, 0.99) <= 0.0002 and shape_error.max() <= 0.001


def test_drawn_flux_is_the_asked_flux(gen):
    asked = conditions_across_ranges(gen, 20, seed=6, g_max=0.3)
    stamps = gen.sample(asked, galsim.BaseDeviate(3))
    for i in range(20):
        galaxy = stamps.galaxy(i, zeropoint=30.0)
        image = galaxy.drawImage(nx=400, ny=400, scale=asked["half_light_radius"][i] / 6)
        assert image.array.sum() == pytest.approx(galaxy.flux, rel=2e-3)


def test_no_preferred_direction(gen):
    table = gen.sample_conditions(20_000, galsim.BaseDeviate(2))
    for name in ("g1", "g2"):
        values = np.asarray(table[name])
        assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))


def test_no_preferred_direction_in_what_the_network_draws(gen):
    table = gen.sample_conditions(2000, galsim.BaseDeviate(31))
    stamps = gen.sample(table, galsim.BaseDeviate(32), exact=False)
    moments = shapes.adaptive_moments(torch.from_numpy(stamps.array[:, REFERENCE_INDEX]))
    shape = moments.g1.numpy() + 1j * moments.g2.numpy()
    shape = shape * np.exp(2j * stamps.conditions.angle)
    for values in (shape.real, shape.imag):
        assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))


def on_the_sky(images, g, frame):
    """|g| of stamps (n, 64, 64) with the shear put back that the frame took out of |g|."""
    moments = shapes.adaptive_moments(images)
    found = sheared_shape(torch.complex(moments.g1, moments.g2), frame.shear(g)).abs()
    return found[moments.converged].numpy()


def measured_g(gen, stamps):
    images = torch.from_numpy(stamps.array[:, REFERENCE_INDEX])
    return on_the_sky(images, torch.from_numpy(stamps.conditions.values[:, 2]), gen.frame)


def test_not_only_round_galaxies(gen):
    """Without the exactness corrections the flow itself follows the asked ellipticity."""
    table = gen.sample_conditions(2000, galsim.BaseDeviate(12))
    asked = np.hypot(table["g1"], table["g2"])
    stamps = gen.sample(table, galsim.BaseDeviate(13), exact=False)
    slope, _ = np.polyfit(asked, measured_g(gen, stamps), 1)
    assert 0.9 <= slope <= 1.1


def test_sizes_are_right_without_corrections(gen):
    """Stamps fade at their ends, so decoded galaxies are smaller than six pixels."""
    table = gen.sample_conditions(2000, galsim.BaseDeviate(12))
    stamps = gen.sample(table, galsim.BaseDeviate(13), exact=False)
    images = torch.from_numpy(stamps.array[:, REFERENCE_INDEX])
    pixels = shapes.half_light_radius(images, shapes.adaptive_moments(images)).numpy()
    found = pixels * np.sqrt(np.linalg.det(stamps.jacobian))
    ratio = found / np.asarray(table["half_light_radius"])
    assert np.median(ratio) == pytest.approx(1, abs=0.01)


def test_population_has_the_training_ellipticities(gen):
    from scipy.stats import wasserstein_distance

    from galsim_vae.train.synthetic import galaxies as synthetic
    from galsim_vae.train.synthetic import population
    from galsim_vae.train.synthetic.colours import colour_table

    generator = torch.Generator().manual_seed(41)
    conditions = population.sample(2000, generator)
    stamps = torch.cat(
        [synthetic.sample(c, generator, colour_table()).stamps for c in conditions.split(500)]
    )
    training = on_the_sky(stamps[:, REFERENCE_INDEX], conditions[:, 2], DEFAULT)
    table = gen.sample_conditions(2000, galsim.BaseDeviate(12))
    assert wasserstein_distance(training, np.hypot(table["g1"], table["g2"])) <= 0.03
    stamps = gen.sample(table, galsim.BaseDeviate(13), exact=False)
    assert wasserstein_distance(training, measured_g(gen, stamps)) <= 0.03


def test_colours_follow_the_asked_redshift(gen):
    """As those of the galaxies trained on do: up to the 4000 A break's passage, and down again."""
    from galsim_vae.train.synthetic import galaxies as synthetic
    from galsim_vae.train.synthetic import population
    from galsim_vae.train.synthetic.colours import colour_table

    generator = torch.Generator().manual_seed(44)
    conditions = population.sample(1600, generator)
    colours = colour_table()
    parts = [synthetic.sample(c, generator, colours).stamps for c in conditions.split(200)]
    trained = torch.cat([part.sum((2, 3)) for part in parts]).numpy()
    magnitude, radius, g, redshift = conditions.double().numpy().T
    asked = {"magnitude": magnitude, "half_light_radius": radius, "redshift": redshift}
    limits = {name: gen.ranges[name] for name in asked}
    inside = np.all([(limits[k][0] < v) & (v < limits[k][1]) for k, v in asked.items()], axis=0)
    asked = {name: values[inside] for name, values in asked.items()}
    asked |= {"g1": g[inside], "g2": np.zeros(inside.sum())}
    drawn = gen.sample(asked, galsim.BaseDeviate(45), exact=False).array.sum((2, 3))
    # F606W - F814W; a stamp's sum is its flux in f_nu over that in F814W.
    trained, drawn = (-2.5 * np.log10(flux[:, 1]) for flux in (trained[inside], drawn))
    edges = [0.2, 0.5, 0.7, 0.9, 1.2, 1.6, 2.2, 3.0]
    number = np.digitize(asked["redshift"], edges)
    medians = np.array(
        [[np.median(c[number == k]) for c in (trained, drawn)] for k in range(1, len(edges))]
    )
    assert np.ptp(medians[:, 0]) > 0.5
    assert np.abs(medians[:, 1] - medians[:, 0]).max() < 0.15


def test_same_seed_same_galaxies_whatever_the_batch(gen, table):
    whole = gen.sample(table, galsim.BaseDeviate(5))
    part = gen.sample(table[40:47], galsim.BaseDeviate(5))
    backward = gen.sample(table[::-1], galsim.BaseDeviate(5))
    for name in ("array", "jacobian", "offset"):
        assert np.array_equal(getattr(whole, name)[40:47], getattr(part, name))
        assert np.array_equal(getattr(whole, name)[::-1], getattr(backward, name))
    other = gen.sample(table, galsim.BaseDeviate(6))
    assert not np.array_equal(whole.array, other.array)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_galaxies_have_the_bits_of_many(gen, table, n):
    """Few are computed in a smaller batch: all rows, one after the other, population too."""
    asked = {name: table[name] for name in ("magnitude", "g1", "g2", "id")}
    whole = gen.sample(asked, galsim.BaseDeviate(5))
    for start in range(0, 40, n):
        rows = slice(start, start + n)
        few = gen.sample({k: v[rows] for k, v in asked.items()}, galsim.BaseDeviate(5))
        for name in ("array", "jacobian", "offset"):
            assert np.array_equal(getattr(whole, name)[rows], getattr(few, name))
        assert all(few.table == whole.table[rows])


def test_few_galaxies_are_computed_in_a_smaller_batch(monkeypatch):
    """So that the test above tests something: this processor's products allow it."""
    gen = galsim_vae.GalaxyGenerator("candels", device="cpu")
    asked = {"magnitude": np.full(1, 22.0)}
    gen.sample(asked, galsim.BaseDeviate(5))
    monkeypatch.setattr(gen._decoder, "function", decoded := Counted(gen._decoder.function))
    gen.sample(asked, galsim.BaseDeviate(5))
    assert decoded.sizes == [1]


class Counted:
    """A function of batches that notes their sizes."""

    def __init__(self, function):
        self.function, self.sizes = function, []

    def __call__(self, *tensors):
        self.sizes.append(len(tensors[0]))
        return self.function(*tensors)


def test_a_pickle_makes_the_same_galaxies(gen):
    other = pickle.loads(pickle.dumps(gen))
    assert repr(other) == repr(gen)
    found, expected = (
        g.sample({"magnitude": [22.0]}, galsim.BaseDeviate(5)).array for g in (other, gen)
    )
    assert np.array_equal(found, expected)


def test_each_of_a_seed_of_its_own(gen, table):
    seeds = [draw_seed(galsim.BaseDeviate(100 + i)) for i in range(6)]
    rows = {name: table[name][:6] for name in ("magnitude", "half_light_radius", "id")}
    together = gen.sample_each(rows, seeds)
    for i in range(6):
        one = {name: column[i : i + 1] for name, column in rows.items()}
        alone = gen.sample(one, galsim.BaseDeviate(100 + i))
        for name in ("array", "jacobian", "offset"):
            assert np.array_equal(getattr(together, name)[i], getattr(alone, name)[0])


def test_a_text_is_no_yes_or_no(gen):
    for name in ("exact", "extrapolate"):
        with pytest.raises(galsim.GalSimValueError, match=f"{name} must be True or False"):
            gen.sample({"magnitude": 23.0}, galsim.BaseDeviate(1), **{name: "no"})
        with pytest.raises(galsim.GalSimValueError, match=f"{name} must be True or False"):
            galsim_vae.GalaxyGenerator("candels", device="cpu", **{name: "no"})


def test_each_needs_as_many_seeds_as_rows(gen):
    with pytest.raises(galsim.GalSimIncompatibleValuesError, match="2 rows; give as many seeds"):
        gen.sample_each({"magnitude": [22.0, 23.0]}, [1])


def test_same_pixels_whatever_the_number_of_threads(gen, table):
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(gen.sample(table[:20], galsim.BaseDeviate(5)))
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(results[0].array, results[1].array)
    assert np.array_equal(results[0].jacobian, results[1].jacobian)


def test_missing_conditions_are_drawn_given_those_present(gen):
    bright = gen.sample({"magnitude": np.full(400, 20.0)}, galsim.BaseDeviate(1))
    faint = gen.sample({"magnitude": np.full(400, 25.0)}, galsim.BaseDeviate(1))
    assert np.all(np.asarray(bright.table["magnitude"]) == 20.0)
    radius = [np.median(np.asarray(s.table["half_light_radius"])) for s in (bright, faint)]
    redshift = [np.median(np.asarray(s.table["redshift"])) for s in (bright, faint)]
    assert radius[0] > 1.5 * radius[1]
    assert redshift[0] < redshift[1]


def test_asked_band_magnitudes_are_kept(gen, table):
    few = table[:5].copy()
    few["mag_F606W"] = np.asarray(few["magnitude"]) + 0.7
    stamps = gen.sample(few, galsim.BaseDeviate(5))
    plain = gen.sample(table[:5], galsim.BaseDeviate(5))
    assert stamps.magnitude("F606W") == pytest.approx(np.asarray(few["mag_F606W"]), abs=1e-5)
    ratio = stamps.array[:, 1].sum((1, 2)) / plain.array[:, 1].sum((1, 2))
    np.testing.assert_allclose(
        stamps.array[:, 1], ratio[:, None, None] * plain.array[:, 1], rtol=1e-4, atol=1e-12
    )


def test_stamps_are_not_negative_and_have_unit_flux(gen, table):
    array = gen.sample(table, galsim.BaseDeviate(5)).array
    assert array.min() >= 0
    assert array[:, REFERENCE_INDEX].sum((1, 2)) == pytest.approx(1, abs=1e-5)


def test_encode_then_decode_returns_the_galaxy(gen, table):
    stamps = gen.sample(table[:32], galsim.BaseDeviate(5)).array
    psf = np.zeros_like(stamps)
    psf[:, :, 32, 32] = 1.0
    noise = np.full((32, len(BANDS)), 1e-5)
    mean, _ = gen.encode(stamps, psf, noise)
    back = gen.decode(mean)
    error = np.abs(back - stamps)[:, REFERENCE_INDEX].sum((1, 2))
    assert np.median(error) < 0.1


@pytest.mark.parametrize(
    ("change", "text"),
    [({"images": (2, 4, 64, 64)}, "images"), ({"noise": (2, 4)}, "noise")],
)
def test_encode_names_the_array_of_the_wrong_shape(gen, change, text):
    arrays = {"images": (2, 5, 64, 64), "psfs": (2, 5, 64, 64), "noise": (2, 5)} | change
    with pytest.raises(galsim.GalSimValueError, match=text):
        gen.encode(**{name: np.ones(shape) for name, shape in arrays.items()})


@pytest.mark.parametrize("device", ["cuda:93", "warp", "meta", None])
def test_no_such_device(device):
    with pytest.raises(galsim.GalSimValueError, match="cannot use this device"):
        galsim_vae.GalaxyGenerator("candels", device=device)


def test_out_of_range_names_column_value_and_range(gen):
    with pytest.raises(galsim.GalSimRangeError, match="magnitude"):
        gen.sample({"magnitude": [40.0]}, galsim.BaseDeviate(1))
    with pytest.warns(galsim.GalSimWarning, match="magnitude"):
        gen.sample({"magnitude": [27.0]}, galsim.BaseDeviate(1), extrapolate=True)


@pytest.mark.parametrize("n", [-1])
def test_a_negative_number_of_galaxies(gen, n):
    with pytest.raises(galsim.GalSimRangeError, match="must not be negative"):
        gen.sample_conditions(n, galsim.BaseDeviate(1))


def test_no_galaxies_is_no_error(gen):
    table = gen.sample_conditions(0, galsim.BaseDeviate(1))
    assert len(gen.sample(table, galsim.BaseDeviate(1))) == 0


@pytest.mark.parametrize("magnitude", [-99.0, 99.0, -999.0])
def test_sentinel_band_magnitudes_are_refused(gen, magnitude):
    with pytest.raises(galsim.GalSimRangeError, match="mag_F606W"):
        gen.sample({"magnitude": [23.0], "mag_F606W": [magnitude]}, galsim.BaseDeviate(1))


def test_ellipticity_must_be_a_shear(gen):
    with pytest.raises(galsim.GalSimValueError, match="ellipticity"):
        gen.galaxy(ellipticity=(0.1, 0.2), rng=galsim.BaseDeviate(1))


def test_masked_pixels_may_be_anything_and_others_not(gen):
    images = np.random.default_rng(1).random((1, 5, 64, 64))
    psfs, noise = np.ones_like(images) / 4096, np.ones((1, 5))
    mask = np.ones(images.shape, bool)
    mask[0, 1, 3, 4] = False
    expected = gen.encode(images, psfs, noise, mask)
    images[0, 1, 3, 4] = np.nan
    assert np.array_equal(gen.encode(images, psfs, noise, mask), expected)
    with pytest.raises(galsim.GalSimValueError, match="images must be finite"):
        gen.encode(images, psfs, noise)
    with pytest.raises(galsim.GalSimValueError, match="noise must not be negative"):
        gen.encode(images, psfs, -noise, mask)


def failing(times):
    """adaptive_moments that says for its first calls that nothing converged."""
    original, calls = shapes.adaptive_moments, []

    def measure(images, *args, **kwargs):
        calls.append(1)
        moments = original(images, *args, **kwargs)
        if len(calls) <= times:
            moments = moments._replace(converged=torch.zeros(len(images), dtype=torch.bool))
        return moments

    return measure


def test_a_stamp_whose_moments_do_not_converge_is_drawn_again(gen, monkeypatch):
    plain = gen.sample({"magnitude": [23.0]}, galsim.BaseDeviate(1))
    monkeypatch.setattr(shapes, "adaptive_moments", failing(3))  # from each of three starts
    again = gen.sample({"magnitude": [23.0]}, galsim.BaseDeviate(1))
    assert not np.array_equal(plain.array, again.array)
    assert again.magnitude()[0] == pytest.approx(23.0)


def test_moments_that_never_converge_are_reported(gen, monkeypatch):
    monkeypatch.setattr(shapes, "adaptive_moments", failing(100))
    with pytest.raises(galsim.GalSimError, match=r"no usable stamp .* of row 0 \(2 of 2 rows\)"):
        gen.sample({"magnitude": [23.0, 23.0]}, galsim.BaseDeviate(1))


def test_one_galaxy(gen):
    shape = galsim.Shear(g1=0.1)
    galaxy = gen.galaxy(
        magnitude=24, half_light_radius=0.4, ellipticity=shape, redshift=0.8, zeropoint=25.94,
        rng=galsim.BaseDeviate(1),
    )  # fmt: skip
    assert isinstance(galaxy, galsim_vae.VAEGalaxy)
    assert galaxy.flux == pytest.approx(10 ** (-0.4 * (24 - 25.94)), rel=1e-6)
    assert galaxy.redshift == 0.8


def test_one_galaxy_as_sample_draws_it(gen):
    asked = {"magnitude": 22.0, "half_light_radius": 0.5, "redshift": 0.8}
    table = {name: [value] for name, value in asked.items()}
    for exact in (True, False):
        galaxy = gen.galaxy(**asked, rng=galsim.BaseDeviate(1), exact=exact)
        stamps = gen.sample(table, galsim.BaseDeviate(1), exact=exact)
        assert galaxy == stamps.galaxy(0)
    assert galaxy != gen.galaxy(**asked, rng=galsim.BaseDeviate(1))
    with pytest.warns(galsim.GalSimWarning, match="1 of 1 galaxies .*magnitude 28") as caught:
        galaxy = gen.galaxy(magnitude=28, redshift=9, rng=galsim.BaseDeviate(1), extrapolate=True)
    assert len(caught) == 1 and galaxy.redshift == 9


@pytest.mark.parametrize(
    "asked",
    [
        {"magnitude": 30},
        {"half_light_radius": 10.0},
        {"redshift": -1},
        {"ellipticity": galsim.Shear(g1=0.9)},
        {"magnitude": np.nan},
        {"magnitude": "bright"},
        {"redshift": [1.0, 2.0]},
        {"ellipticity": 0.3},
    ],
)
def test_an_error_of_one_galaxy_names_its_argument(gen, asked):
    with pytest.raises((galsim.GalSimValueError, galsim.GalSimRangeError)) as error:
        gen.galaxy(**asked, rng=galsim.BaseDeviate(1))
    assert str(error.value).startswith(next(iter(asked)))
    assert "row" not in str(error.value) and "olumn" not in str(error.value)


def power_by_radius(images):
    """Mean power spectrum in rings of spatial frequency, along both axes and the diagonal."""
    power = np.abs(np.fft.fft2(images)) ** 2
    power = (power / power[:, :1, :1]).mean(0)
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(64) * 64, np.fft.fftfreq(64) * 64))
    rings = np.array([power[(k >= r - 0.5) & (k < r + 0.5)].mean() for r in range(33)])
    return rings, power[0, :33], power[:33, 0], np.diagonal(power)[:33]


def test_decoded_stamps_are_band_limited(gen):
    """No power peak at the upsampling frequencies (1/8, 1/4 and 1/2 cycles a pixel).

    A spectrum may bend, so it is compared with the cubic through ln(power) 2 and 4 bins away.
    """
    table = gen.sample_conditions(4096, galsim.BaseDeviate(21))  # fewer scatter by 3 %
    stamps = gen.sample(table, galsim.BaseDeviate(22), exact=False)
    for spectrum in power_by_radius(stamps.array[:, REFERENCE_INDEX]):
        log = np.log(spectrum)
        for k in (8, 16):
            smooth = (4 * (log[k - 2] + log[k + 2]) - (log[k - 4] + log[k + 4])) / 6
            assert log[k] - smooth <= np.log(1.18)
        assert spectrum[32] <= spectrum[30]


def test_power_falls_as_that_of_the_training_galaxies(gen):
    from galsim_vae.train.synthetic import galaxies as synthetic
    from galsim_vae.train.synthetic import population
    from galsim_vae.train.synthetic.colours import colour_table

    generator = torch.Generator().manual_seed(4)
    made = synthetic.sample(population.sample(512, generator), generator, colour_table()).stamps
    table = gen.sample_conditions(512, galsim.BaseDeviate(21))
    stamps = gen.sample(table, galsim.BaseDeviate(22), exact=False)
    ours, *_ = power_by_radius(stamps.array[:, REFERENCE_INDEX])
    training, *_ = power_by_radius(made[:, REFERENCE_INDEX].numpy())
    assert np.all(np.diff(np.log(ours[1:30])) < 0.1)
    ratio = ours[1:16] / training[1:16]
    assert np.all((ratio > 0.3) & (ratio < 2.0))


def test_what_is_no_deviate_is_refused():
    with pytest.raises(galsim.GalSimValueError, match="must be a galsim.BaseDeviate"):
        draw_seed(1234)


# Magnitudes in filters.


def test_a_magnitude_in_a_filter_alone(gen):
    """Exact, and the flow is conditioned on the F814W magnitude that comes out."""
    table = {"mag_LSST_r": np.linspace(22, 25, 200), "redshift": np.full(200, 0.7)}
    stamps = gen.sample(table, galsim.BaseDeviate(5))
    np.testing.assert_allclose(stamps.magnitude("LSST_r"), table["mag_LSST_r"], atol=1e-6)
    magnitude = stamps.magnitude("F814W")
    np.testing.assert_allclose(magnitude, stamps.conditions.values[:, 0], atol=1e-6)
    # Asked for by that magnitude, the same noise gives nearly the same colours.
    again = gen.sample({"magnitude": magnitude, "redshift": table["redshift"]},
                       galsim.BaseDeviate(5))  # fmt: skip
    difference = np.abs(again.magnitude("LSST_r") - table["mag_LSST_r"])
    assert np.quantile(difference, 0.98) < 0.01
    assert np.quantile(difference, 0.995) < 0.02  # where the colour jumps with the magnitude
    np.testing.assert_allclose(stamps.array.sum((2, 3))[:, 2], 1, rtol=1e-5)
    alone = gen.sample({name: column[7:8] for name, column in table.items()} | {"id": [7]},
                       galsim.BaseDeviate(5))  # fmt: skip
    np.testing.assert_array_equal(alone.array[0], stamps.array[7])
    assert alone.galaxy(0, "LSST_r", 30) == stamps.galaxy(7, "LSST_r", 30)


def test_magnitudes_in_several_filters(gen):
    first = gen.sample({"magnitude": np.full(6, 23.0)}, galsim.BaseDeviate(5))
    wanted = {f"mag_{n}": first.magnitude(n) + d for n, d in
              (("LSST_g", 0.2), ("LSST_r", 0.0), ("H158", -0.1))}  # fmt: skip
    for table in (wanted, wanted | {"magnitude": np.full(6, 22.95)}):
        stamps = gen.sample(table, galsim.BaseDeviate(5))
        for name, mag in wanted.items():
            np.testing.assert_allclose(stamps.magnitude(name[4:]), mag, atol=5e-6)
        if "magnitude" in table:
            np.testing.assert_array_equal(stamps.conditions.values[:, 0], 22.95)


def test_magnitudes_that_lead_out_of_the_range(gen):
    with pytest.raises(galsim.GalSimRangeError, match=r"F814W magnitude that follows.*of row 1"):
        gen.sample({"mag_LSST_r": [23.0, 30.0]}, galsim.BaseDeviate(5))
    with pytest.raises(galsim.GalSimIncompatibleValuesError, match="contradict"):
        gen.sample({"mag_LSST_i": [22.0], "mag_HSC_i": [23.0]}, galsim.BaseDeviate(5))


def test_galaxies_are_turned_by_any_angle_and_of_either_hand(gen):
    n = 400
    table = {"magnitude": np.full(n, 22.0), "half_light_radius": np.full(n, 0.5),
             "g1": np.full(n, 0.2), "g2": np.zeros(n), "redshift": np.full(n, 0.6)}  # fmt: skip
    latent, posed = gen.latents(table, galsim.BaseDeviate(8))
    turn, hand = np.asarray(posed["turn"]), np.asarray(posed["hand"])
    assert set(hand) == {-1.0, 1.0}
    assert abs(hand.mean()) < 4 / np.sqrt(n)
    # In each of eight parts of the circle there are some, and half of them half a turn away.
    count = np.histogram(turn, 8, (0, 2 * np.pi))[0]
    assert count.sum() == n and count.min() > n / 32
    assert abs(count[:4].sum() - n / 2) < 2 * np.sqrt(n)
    stamps = gen.sample(table, galsim.BaseDeviate(8), exact=False)
    decoded = gen.decode(latent)
    np.testing.assert_array_equal(stamps.array[hand > 0, 2], decoded[hand > 0, 2])
    np.testing.assert_array_equal(stamps.array[hand < 0, 2], decoded[hand < 0, 2, ::-1])
    lies = np.arctan2(stamps.jacobian[:, 1, 0], stamps.jacobian[:, 1, 1])
    np.testing.assert_allclose(np.angle(np.exp(1j * (lies - hand * turn))), 0, atol=1e-9)


def test_flat_galaxies_are_not_turned(gen):
    table = {"magnitude": [22.0], "half_light_radius": [0.5], "g1": [0.7], "g2": [0.0]}
    _, posed = gen.latents(table, galsim.BaseDeviate(8))
    assert float(posed["turn"][0]) == 0
