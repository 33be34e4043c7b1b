"""``galsim-vae evaluate`` from end to end, on few galaxies."""

import re
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from made_weights import untrained

from galsim_vae import bands, cli
from galsim_vae.frame import ROUND, UPRIGHT
from galsim_vae.train import training_file as dataset
from galsim_vae.train.evaluate import ends, scorecard, two_samples
from galsim_vae.train.evaluate import run as evaluate
from galsim_vae.train.evaluate.pieces import join
from galsim_vae.train.evaluate.real_pieces import askable, known_features, real_piece, real_tasks
from galsim_vae.train.evaluate.samples import Context
from galsim_vae.train.evaluate.synthetic_pieces import LIMITS, Task, synthetic_piece

GALAXIES = 24


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Files of an evaluation of the shipped weights with a made training file."""
    folder = tmp_path_factory.mktemp("evaluate")
    data = folder / "real.h5"
    dataset.write(data, made_galaxies(120), band_maps={}, provenance="made for a test")
    arguments = ["evaluate", "candels", f"data={data}", f"galaxies={GALAXIES}", "sheared=3",
                 "draws=1"]  # fmt: skip
    with pytest.MonkeyPatch.context() as hasty:
        hasty.setattr(two_samples, "few_repeats", lambda n: 2)
        hasty.setattr(ends, "DRAWS", 40)
        assert cli.main([*arguments, f"output={folder / 'out'}", "-v", "3"]) == 0
        yield folder, arguments


def made_galaxies(n: int, round_: bool = False) -> dataset.Dataset:
    """Gaussian galaxies in F606W and F814W, white noise; every fifth is held out."""
    random = np.random.default_rng(3)
    y, x = np.indices((64, 64)) - 31.5
    centred_y, centred_x = np.indices((64, 64)) - 32
    shape = (n, len(bands.BANDS), 64, 64)
    image, psf, mask = np.zeros(shape, "f4"), np.zeros(shape, "f4"), np.zeros(shape, bool)
    noise = np.full(shape[:2], 2e-5, "f4")
    g = random.uniform(0.1, 0.5, n)
    spread = np.exp(-0.5 * (centred_x**2 + centred_y**2) / 1.5**2)
    if round_:
        g[:] = 0
    for i in range(n):
        form = x**2 * (1 - g[i]) / (1 + g[i]) + y**2 * (1 + g[i]) / (1 - g[i])
        galaxy = np.exp(-0.5 * form / 5.1**2)
        for band in (1, 2):
            image[i, band] = galaxy / galaxy.sum() + random.normal(0, 2e-5, (64, 64))
            psf[i, band], mask[i, band] = spread / spread.sum(), True
    nothing = np.full(n, np.nan, "f4")
    return dataset.Dataset(
        image=image, psf=psf, mask=mask, noise=noise, noise_area=np.ones_like(noise),
        magnitude=nothing, half_light_radius=np.full(n, 0.3, "f4"), g=g.astype("f4"),
        redshift=nothing, pixel_scale=np.full(n, 0.05, "f4"),
        frame_g=np.zeros(n, "f4"), angle=np.zeros(n, "f4"), flux_scale=np.ones(n, "f4"),
        source=np.full(n, "made"), source_index=np.arange(n),
        valid=dataset.is_validation(np.arange(n)), frame=UPRIGHT,
        filters=np.tile(["", "F606W", "F814W", "", ""], (n, 1)),
    )  # fmt: skip


def test_all_files_are_written(results):
    folder, _ = results
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {
        "pieces", "synthetic.md", "synthetic_scorecard.ecsv", "synthetic_calibration.ecsv",
        "synthetic_lanusse.ecsv",
        "synthetic_features.png", "synthetic_power.png", "synthetic_calibration.png",
        "synthetic_galaxies.png", "synthetic_ends.png",
        "real.md", "real_scorecard.ecsv", "real_lanusse.ecsv", "real_features.png",
        "real_power.png", "real_galaxies.png",
    }  # fmt: skip
    for name in ("synthetic", "real"):
        text = (folder / "out" / f"{name}.md").read_text()
        pictures = re.findall(r"!\[.*\]\((.*)\)", text)
        assert len(pictures) == (5 if name == "synthetic" else 3)
        assert all((folder / "out" / picture).is_file() for picture in pictures)


def test_tables_say_what_they_are_of(results):
    folder, _ = results
    table = Table.read(folder / "out" / "synthetic_scorecard.ecsv")
    assert table.meta["held_out_galaxies"] == GALAXIES
    assert len(table.meta["sha256"]) == 64
    assert set(table["number"]) == set(range(1, 12))
    judged = [row["model"] for row in table if "frame" not in row["metric"]]
    assert np.isfinite(judged).all()
    real = Table.read(folder / "out" / "real_scorecard.ecsv")
    assert real.meta["held_out_galaxies"] == 24
    # Of two bands there is one colour.
    colours = {row["metric"]: row["model"] for row in real if "-F" in row["metric"]}
    assert [name for name, value in colours.items() if np.isfinite(value)] == ["F606W-F814W"]
    assert np.isfinite(real["sersic"][real["number"] == 1]).any()


def test_it_goes_on_from_its_pieces_and_ends_the_same(results, monkeypatch):
    folder, arguments = results
    before = (folder / "out" / "synthetic_scorecard.ecsv").read_text()
    monkeypatch.setattr(evaluate, "synthetic_piece", None)  # would fail if it were called
    again = [a for a in arguments if not a.startswith("data=")]
    work = f"work={folder / 'out' / 'pieces'}"
    assert cli.main([*again, work, f"output={folder / 'again'}", "-v", "3"]) == 0
    assert (folder / "again" / "synthetic_scorecard.ecsv").read_text() == before


def test_real_galaxies_that_cannot_be_compared_stop_it_before_the_synthetic_ones(
    tmp_path, capsys, monkeypatch
):
    """The synthetic part takes hours."""
    monkeypatch.setattr(evaluate, "synthetic_piece", None)  # would fail if it were called
    galaxies = made_galaxies(60)
    galaxies.mask[galaxies.valid.argmax()] = False
    data = tmp_path / "real.h5"
    dataset.write(data, galaxies, band_maps={}, provenance="made for a test")
    arguments = ["evaluate", "candels", f"data={data}", "galaxies=24"]
    assert cli.main([*arguments, f"output={tmp_path / 'out'}", "-v", "2"]) == 1
    errors = capsys.readouterr().err
    assert "Too few held-out galaxies" in errors
    assert not (tmp_path / "out").exists()


def test_a_file_without_training_rows_is_evaluated():
    galaxies = made_galaxies(160)
    galaxies = galaxies[galaxies.valid]
    galaxies.mask[0] = False  # nothing to see of it
    galaxies.g[1] = np.nan
    galaxies.filters[2] = "r"  # from the ground
    context = Context("candels")
    rows = askable(galaxies, context.generator.ranges)
    assert rows.tolist() == list(range(3, len(galaxies)))
    assert known_features(galaxies, 1) is None
    measured = compared(galaxies, rows, context)
    assert np.isfinite(measured["features/model"][:, 0]).mean() > 0.9
    lines = {row.number for row in scorecard.scorecard(measured, 1, lambda part: None)}
    assert lines == {3, 4, 5, 6, 7, 9, 10}  # 8 is the distance to the training set


def test_round_weights_and_round_galaxies_are_compared_in_the_upright_frame(tmp_path):
    context = Context(untrained(tmp_path, ROUND))
    n = 15
    galaxies = replace(
        made_galaxies(5 * n, round_=True), frame=ROUND, frame_g=np.full(5 * n, 0.3, "f4"),
        g=np.full(5 * n, 0.3, "f4"), valid=np.arange(5 * n) < n,
    )  # fmt: skip
    found = real_piece(real_tasks(np.arange(n), 1, 0)[0], galaxies, context)
    # |g| is that on the sky, of galaxies that are round in their stamps.
    assert np.nanmedian(found["features/held_out"][:, 0]) == pytest.approx(0.29, abs=0.02)
    assert np.nanmedian(found["features/model"][:, 0]) == pytest.approx(0.29, abs=0.03)
    for name in ("held_out", "model", "free", "normal"):
        assert np.isfinite(found[f"frame_power/{name}"][:, 1]).all()
    # Galaxies of the other frame have no power in this one.
    upright = real_piece(real_tasks(np.arange(n), 1, 0)[0], made_galaxies(5 * n), context)
    assert "frame_power/model" not in upright and "power/model" in upright


def test_synthetic_galaxies_of_round_weights_have_power_in_both_frames(tmp_path):
    context = Context(untrained(tmp_path, ROUND))
    piece = synthetic_piece(Task(0, 1, size=8, responses=2), context)
    held_out, framed = (piece[f"{kind}power/held_out"] for kind in ("", "frame_"))
    flat = piece["conditions"][:, 2] > 0.3
    assert not np.allclose(held_out[flat, 3], framed[flat, 3], rtol=0.05)
    assert np.isfinite(piece["response/LSST i/second moments/sersic"][:2]).all()
    assert np.isnan(piece["response/LSST i/second moments/model"][2:]).all()
    assert (piece["ends/held_out"] > 0).all()


def compared(galaxies, rows, context, draws=0):
    tasks = real_tasks(rows, seed=1, draws=draws)
    return join([real_piece(task, galaxies, context) for task in tasks])


def test_a_piece_depends_on_seed_and_number_alone():
    context = Context("candels")
    first, second, other = (
        synthetic_piece(Task(number, 5, size=4), context) for number in (2, 2, 3)
    )
    assert all(np.array_equal(first[k], second[k], equal_nan=True) for k in first)
    assert not np.array_equal(first["conditions"], other["conditions"])
    for column, (low, high) in enumerate(LIMITS.values()):
        values = first["conditions"][:, column]
        # Radii are measured after they were drawn within the limits.
        assert np.all((values > 0.7 * low) & (values < 1.3 * high))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give one weights file"),
        (["candels", "galaxies=3"], "Too few galaxies"),
        (["candels", "galaxies=many"], "galaxies must be a whole number"),
        (["candels", "seed=-1"], "seed must not be negative"),
        (["candels", "sheared=-1"], "sheared must not be negative"),
        (["candels", "draws=x"], "draws must be a whole number"),
        (["candels", "rows=3"], "Unknown key"),
        (["no_such_weights"], "no_such_weights"),
        (["candels", "data=no_such_file.h5"], "no_such_file.h5"),
    ],
)
def test_errors_say_what_to_do(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
