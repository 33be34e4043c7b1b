"""A map keeps neighbours together, shows what it is given, and refuses what it cannot show."""

import numpy as np
import pytest
import torch
from astropy.table import MaskedColumn, Table
from galsim.errors import GalSimValueError
from made_weights import untrained
from PIL import Image

from galsim_vae import cli
from galsim_vae.frame import ROUND
from galsim_vae.latents.table import read_latents, write_latents
from galsim_vae.model import file as modelfile
from galsim_vae.model import picture_file
from galsim_vae.plots import colour_image
from galsim_vae.train.latents import map as layout
from galsim_vae.train.latents.map_figures import draw_map


@pytest.fixture(scope="module")
def blobs():
    """Three groups in six dimensions, and which each point is of."""
    rng = np.random.default_rng(1)
    group = np.arange(45) % 3
    return 8 * np.eye(6)[group] + rng.normal(size=(45, 6)), group


@pytest.mark.parametrize("method", layout.METHODS)
def test_neighbours_stay_together_and_the_map_stays_the_same(method, blobs):
    latents, group = blobs
    places = layout.place(latents, method, 5)
    distance = np.linalg.norm(places[:, None] - places, axis=2) + 1e9 * np.eye(45)
    assert (group[distance.argmin(1)] == group).all()
    np.testing.assert_array_equal(places, layout.place(latents, method, 5))
    if method == "umap":
        assert not np.allclose(places, layout.place(latents, method, 6))


def test_what_cannot_be_laid_out(blobs):
    latents, _ = blobs
    with pytest.raises(GalSimValueError, match="Unknown method"):
        layout.place(latents, "sne", 1)
    for method, (fewest, _) in layout.METHODS.items():
        few = np.concatenate([latents[: fewest - 1], latents[:1]])
        with pytest.raises(GalSimValueError, match=f"{method} needs at least {fewest}"):
            layout.place(few, method, 1)
    with pytest.raises(GalSimValueError, match="leave 1 rows out.*3"):
        layout.place(np.where(np.arange(45)[:, None] == 3, np.nan, latents), "pca", 1)


def test_thumbnails_do_not_overlap():
    places = np.random.default_rng(1).uniform(size=(300, 2))
    chosen = layout.apart(places, 0.2)
    distance = np.abs(places[:, None] - places[chosen]).max(2)
    assert (distance[chosen] + np.eye(len(chosen)) >= 0.2).all()
    assert (distance.min(1) < 0.2).all()
    assert layout.apart(np.zeros((3, 2)), 1.0).tolist() == [0]


def test_colours(table):
    table["z"] = MaskedColumn([1, *range(95)], mask=[True] + [False] * 95)
    numbers = layout.colour(table, "z")
    assert np.isnan(numbers[0]) and numbers[-1] == 94.0
    table["kind"][0] = " "
    assert layout.colour(table, "kind")[:3].tolist() == ["", "edge_on", "spiral"]
    table["bright"] = np.arange(96) > 40
    assert set(layout.colour(table, "bright")) == {"False", "True"}
    table["unknown"] = np.full(96, np.nan)
    for column, says in (
        ("name", "more than 50 different texts"),
        ("unknown", "No galaxy has a value"),
        ("nosuch", "no column of this name"),
    ):
        with pytest.raises(GalSimValueError, match=says):
            layout.colour(table, column)


@pytest.mark.parametrize("values", [
    None, np.linspace(0, 1, 30), np.where(np.arange(30) % 4, np.arange(30.0), np.nan),
    np.array(["", "spiral", "edge_on"] * 10), np.arange(30).astype(str), np.ones(30),
])  # fmt: skip
def test_points_thumbnails_and_colours_are_drawn(values, tmp_path):
    places = np.random.default_rng(2).normal(size=(30, 2))
    red = np.zeros((30, 48, 48, 3), np.uint8)
    red[:, :24, :, 0] = 255  # the upper half
    draw_map(places, red, tmp_path / "a.png", values, "z")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    is_red = (pixels == [255, 0, 0]).all(2)
    row, column = np.argwhere(is_red)[0]
    assert is_red.sum() > 5000 and (pixels[row + 35, column] == 0).all()


def test_how_much_a_latent_tells(table):
    mean, width = (torch.from_numpy(np.array(table[k], float)) for k in ("mean", "width"))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, width), normal(0.0, 1.0)).mean(0)
    np.testing.assert_allclose(layout.divergence(table), expected, rtol=1e-6)


def test_samples_are_as_wide_as_the_encoder_says(table):
    table["width"] = np.full((96, 5), [0.01, 0.1, 1, 1, 1], np.float32)
    drawn = layout.samples(table, 3)
    np.testing.assert_array_equal(drawn, layout.samples(table, 3))
    assert (drawn != layout.samples(table, 4)).all()
    np.testing.assert_allclose((drawn - table["mean"]).std(0), table["width"][0], rtol=0.3)


def test_one_latent_moves_at_a_time():
    drawn = np.random.default_rng(1).normal([1, 2, 3], [0.1, 1, 2], (50, 3))
    moved = layout.traverse(drawn, np.array([2, 0]))
    assert moved.shape == (2, 7, 3)
    np.testing.assert_allclose(moved[:, 3], [drawn.mean(0)] * 2)
    away = (moved[0, :, 2] - drawn[:, 2].mean()) / drawn[:, 2].std()
    np.testing.assert_allclose(away, [-3, -2, -1, 0, 1, 2, 3], atol=1e-12)
    assert np.ptp(moved[0, :, :2], axis=0).max() == np.ptp(moved[1, :, 1:], axis=0).max() == 0


def test_pictures_are_decoded_by_their_own_weights(table):
    latents = np.asarray(table["mean"][:2], float)
    found = layout.decoder_of(table)(latents)
    decoder = picture_file.read(table.meta["WEIGHTS"]).vae.decoder
    expected = decoder(torch.from_numpy(latents).float())[1].clamp(0, 1).numpy()
    assert len(found) == 2 and found[0].shape == (64, 64, 3)
    np.testing.assert_allclose(found[1][0], expected[:, -1].T, atol=1e-6)


def test_galaxies_are_decoded_by_their_own_weights(table, tmp_path):
    path = untrained(tmp_path, ROUND)
    model = modelfile.read(path)
    table.meta |= {"KIND": "galaxies", "WEIGHTS": str(path), "SHA256": model.sha256}
    latents = np.random.default_rng(1).normal(size=(2, 8))
    found = layout.decoder_of(table)(latents)
    stamp = model.vae.decoder(torch.from_numpy(latents).float())[1].numpy()
    np.testing.assert_allclose(found[1], colour_image(stamp), atol=1e-5)


@pytest.mark.parametrize(("meta", "error", "says"), [
    ({"SHA256": "other"}, GalSimValueError, "others than those that made the latents"),
    ({"WEIGHTS": "nothere.safetensors"}, OSError, "nothere"),
    ({"WEIGHTS": None}, GalSimValueError, "do not name their weights"),
    ({"KIND": "sounds"}, GalSimValueError, "do not name their weights"),
])  # fmt: skip
def test_other_weights_are_refused(meta, error, says, table):
    table.meta |= meta
    with pytest.raises(error, match=says):
        layout.decoder_of(table)


def test_command(latents, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*keys):
        code = cli.main(["map", str(latents), "method=pca", *keys])
        return code, capsys.readouterr()

    assert run("colour=kind", "output=kinds.png")[0] == 0
    assert {p.name for p in tmp_path.iterdir()} == {
        "kinds.png", "kinds.ecsv", "kinds-prior.png", "kinds-traversals.png"
    }  # fmt: skip
    found = Table.read("kinds.ecsv")
    assert found.colnames == ["name", "map_x", "map_y", "kind"] and len(found) == 96
    assert found.meta["METHOD"] == "pca" and len(found.meta["SHA256"]) == 64
    (tmp_path / "kinds.png").unlink()
    code, said = run("output=kinds.png")
    assert code == 1 and "kinds.ecsv exists: give overwrite=true" in said.err
    assert run("output=kinds.png", "overwrite=true")[0] == 0
    assert Table.read("kinds.ecsv").colnames == ["name", "map_x", "map_y"]
    for keys, says in (
        (["colour=redshift"], "no column of this name"),
        (["colour=mean"], "more than one number a row"),
        (["method=magic"], "method is unknown"),
        (["seed=0"], "must be a positive number"),
        (["output=map.pdf"], "must end in .png"),
    ):
        code, said = run(*keys)
        assert code == 1 and says in said.err, said.err
    table = read_latents(latents)
    for column in ("thumbnail", "mean"):
        table.remove_column(column)
        write_latents("cut.fits", table)
        assert cli.main(["map", "cut.fits"]) == 1
        assert f"it has no {'mean, ' * (column == 'mean')}thumbnail" in capsys.readouterr().err
    assert not list(tmp_path.glob("map*"))
