"""``galsim-vae evaluate`` from end to end, on few galaxies."""

import numpy as np
import pytest
from astropy.table import Table

from galsim_vae import bands, cli
from galsim_vae.frame import UPRIGHT
from galsim_vae.train import training_file as dataset
from galsim_vae.train.evaluate import run as evaluate
from galsim_vae.train.evaluate import scorecard
from galsim_vae.train.evaluate.compare import Context
from galsim_vae.train.evaluate.pieces import (
    LIMITS,
    Task,
    askable,
    join,
    real_pieces,
    synthetic_piece,
)

GALAXIES = 24


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Files of an evaluation of the shipped weights with a made training file."""
    folder = tmp_path_factory.mktemp("evaluate")
    data = folder / "real.h5"
    dataset.write(data, made_galaxies(120), band_maps={}, provenance="made for a test")
    arguments = ["evaluate", "candels", f"data={data}", f"galaxies={GALAXIES}"]
    assert cli.main([*arguments, f"output={folder / 'out'}", "-v", "3"]) == 0
    return folder, arguments


def made_galaxies(n: int) -> dataset.Dataset:
    """Gaussian galaxies in F606W and F814W, white noise; every fifth is held out."""
    random = np.random.default_rng(3)
    y, x = np.indices((64, 64)) - 31.5
    centred_y, centred_x = np.indices((64, 64)) - 32
    shape = (n, len(bands.BANDS), 64, 64)
    image, psf, mask = np.zeros(shape, "f4"), np.zeros(shape, "f4"), np.zeros(shape, bool)
    noise = np.full(shape[:2], 2e-5, "f4")
    g = random.uniform(0.1, 0.5, n)
    spread = np.exp(-0.5 * (centred_x**2 + centred_y**2) / 1.5**2)
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
    )  # fmt: skip


def test_all_files_are_written(results):
    folder, _ = results
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {
        "pieces", "synthetic.md", "synthetic_scorecard.ecsv", "synthetic_calibration.ecsv",
        "synthetic_lanusse.ecsv",
        "synthetic_features.png", "synthetic_power.png", "synthetic_calibration.png",
        "synthetic_galaxies.png", "real.md", "real_scorecard.ecsv", "real_lanusse.ecsv",
        "real_features.png", "real_power.png", "real_galaxies.png",
    }  # fmt: skip


def test_tables_say_what_they_are_of(results):
    folder, _ = results
    table = Table.read(folder / "out" / "synthetic_scorecard.ecsv")
    assert table.meta["held_out_galaxies"] == GALAXIES
    assert len(table.meta["sha256"]) == 64
    assert set(table["number"]) == set(range(1, 9))
    assert np.isfinite(table["model"]).all()
    real = Table.read(folder / "out" / "real_scorecard.ecsv")
    assert real.meta["held_out_galaxies"] == 24
    # Of two bands there is one colour.
    colours = {row["metric"]: row["model"] for row in real if "-F" in row["metric"]}
    assert [name for name, value in colours.items() if np.isfinite(value)] == [
        "W1/sigma68 F606W-F814W"
    ]


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
    context = Context("candels")
    rows = askable(galaxies, context.generator.ranges)
    assert rows.tolist() == list(range(2, len(galaxies)))
    measured = join(real_pieces(galaxies, rows, context, seed=1))
    assert "features/training" not in measured
    assert np.isfinite(measured["features/model"][:, 0]).mean() > 0.9
    lines = {row.number for row in scorecard.scorecard(measured, 1, lambda part: None)}
    assert lines == {1, 2, 3, 4, 5, 7, 8}  # 6 is the distance to the training set


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
