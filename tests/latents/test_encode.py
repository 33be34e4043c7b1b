"""Tables of latents hold what networks say, and are found again."""

import numpy as np
import pytest
import torch
from astropy.table import Table
from galsim.errors import GalSimValueError
from made_pictures import pictures
from made_training_file import training_file

from galsim_vae import GalaxyGenerator
from galsim_vae.latents.encode import encode_galaxies, encode_pictures
from galsim_vae.latents.pictures import Pictures, stretch
from galsim_vae.latents.table import (
    column_of,
    features,
    key_of,
    labels_of,
    read_latents,
    write_latents,
)
from galsim_vae.model import file as modelfile
from galsim_vae.model import picture_file
from galsim_vae.model.flow import FlowConfig, Flows
from galsim_vae.model.vae import VAE, VAEConfig
from galsim_vae.train.fit.batch import INFERENCE, Batch

TINY = VAEConfig(latent=4, widths=(8, 8), fine_widths=(8, 4), encoder_widths=(8, 8))


@pytest.fixture(scope="module")
def table(picture_model):
    array, kind = pictures(9)
    made = Pictures(array, np.array([f"g{k}" for k in range(9)]), columns={"kind": kind})
    return encode_pictures(picture_model, made)


def test_pictures(picture_model, table):
    images = torch.from_numpy(stretch(pictures(9)[0], 64, 3))
    mean, log_variance = picture_model.vae.encoder(images)
    np.testing.assert_allclose(table["mean"], mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(table["width"], np.exp(0.5 * log_variance.numpy()), rtol=1e-4)
    density = picture_model.flow.log_prob(mean, torch.zeros(9, 1))
    np.testing.assert_allclose(table["log_density"], density.numpy(), atol=1e-3)
    assert table["thumbnail"].shape == (9, 48, 48, 3)
    assert list(table["kind"]) == [0, 1, 2] * 3
    assert features(table).shape == (9, 5 + table["moments"].shape[1])


def test_a_picture_does_not_depend_on_its_neighbours(picture_model, table):
    array, _ = pictures(9)
    alone = encode_pictures(picture_model, Pictures(array[4:5], np.array(["x"])))
    np.testing.assert_array_equal(alone["mean"][0], table["mean"][4])


def test_reduced_chi_square_is_one_for_white_noise(picture_model, monkeypatch):
    rng = np.random.default_rng(1)
    noise = torch.from_numpy(0.2 * rng.normal(size=(4, 3, 64, 64)).astype(np.float32))
    monkeypatch.setattr("galsim_vae.latents.encode.stretch", lambda *_: noise.numpy())
    monkeypatch.setattr(picture_model.vae.decoder, "forward",
                        lambda z: torch.zeros(len(z), 3, 64, 64))  # fmt: skip
    found = encode_pictures(picture_model, Pictures(pictures(4)[0], np.array(list("abcd"))))
    np.testing.assert_allclose(found["reduced_chi_square"], 1, atol=0.1)


def test_galaxies(tmp_path):
    torch.manual_seed(2)
    flow = FlowConfig(layers=2, hidden=8)
    ranges = {"magnitude": (18.0, 26.0), "half_light_radius": (0.1, 3.0), "g": (0.0, 0.8),
              "redshift": (0.1, 5.0)}  # fmt: skip
    vae = VAE(TINY).eval().requires_grad_(False)
    flows = Flows(4, ranges, flow).eval().requires_grad_(False)
    model = modelfile.Model(vae, flows, ranges, {}, flow)
    modelfile.write(tmp_path / "tiny.safetensors", model)
    data = training_file(tmp_path / "a.h5", 7)
    batch = Batch.from_training_file(data, INFERENCE)
    known = np.full((7, 4), np.nan)
    known[:, 0], known[:, 2] = 22.0, 1 / 3
    found = encode_galaxies(model, batch, known, np.full(7, np.pi / 4))
    generator = GalaxyGenerator(tmp_path / "tiny.safetensors", device="cpu")
    mean, log_variance = generator.encode(data.image, data.psf, data.noise, data.mask)
    np.testing.assert_allclose(found["mean"], mean, atol=1e-4)
    np.testing.assert_allclose(found["width"], np.exp(0.5 * log_variance), rtol=1e-3)
    np.testing.assert_allclose(found["g2"], 1 / 3, rtol=1e-5)
    assert np.isnan(found["redshift"]).all() and np.isfinite(found["log_density"]).all()
    # By hand: the decoded mean at its best flux, over the pixels that were observed.
    decoded = model.vae.decoder(torch.from_numpy(np.asarray(found["mean"])))[:, 2].numpy()
    image, noise = batch.image[:, 2].numpy(), batch.noise[:, 2].numpy()
    flux = (decoded * image).sum((1, 2)) / (decoded**2).sum((1, 2))
    residual = (image - flux[:, None, None] * decoded) / noise[:, None, None]
    by_hand = (residual**2).mean((1, 2))
    np.testing.assert_allclose(found["reduced_chi_square"], by_hand, rtol=1e-3)
    with pytest.raises(GalSimValueError, match="conditions must have the shape"):
        encode_galaxies(model, batch, known[:3])


def test_a_table_comes_back(table, tmp_path):
    table["class7"] = np.array([-1, 0, 1, 2, 3, 4, 5, 6, 0], np.int8)
    write_latents(tmp_path / "l.fits", table)
    back = read_latents(tmp_path / "l.fits")
    np.testing.assert_array_equal(back["class7"], table["class7"])
    np.testing.assert_array_equal(back["mean"], table["mean"])
    np.testing.assert_array_equal(back["thumbnail"], table["thumbnail"])
    Table({"x": [1]}).write(tmp_path / "x.fits")
    with pytest.raises(GalSimValueError, match="has no mean, width, moments"):
        read_latents(tmp_path / "x.fits")
    (tmp_path / "y.fits").write_text("no")
    with pytest.raises(OSError, match="not a table of latents"):
        read_latents(tmp_path / "y.fits")
    with pytest.raises(GalSimValueError, match="no column of this name"):
        column_of(back, "colour")
    with pytest.raises(GalSimValueError, match="more than one number"):
        column_of(back, "mean")


def test_labels(table, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("name,odd\ng3,yes\ng1,\ng5,no\n")
    rows, values = labels_of(table, path, "odd")
    assert list(rows) == [3, 5] and list(values) == ["yes", "no"]
    path.write_text("row,type\n2,1.5\n7,\n")
    rows, values = labels_of(table, path, "type")
    assert list(rows) == [2] and list(values) == [1.5]
    for text, says in (
        ("name,odd\ng77,yes\n", "not among the latents.*g77"),
        ("name,odd\ng1,yes\ng1,no\n", "two labels of one galaxy.*g1"),
        ("who,odd\ng1,yes\n", "must name its galaxies"),
        ("name,colour\ng1,3\n", "no column of this name"),
    ):
        path.write_text(text)
        with pytest.raises(GalSimValueError, match=f"(?s){says}"):
            labels_of(table, path, "odd")
    with pytest.raises(OSError, match="nothere"):
        labels_of(table, tmp_path / "nothere.csv", "odd")


def test_names_of_digits_keep_their_zeros(table, tmp_path):
    table, path = table.copy(), tmp_path / "mine.csv"
    table["name"] = [f"{k:04d}" for k in range(9)]
    table["identifier"] = [f"{k + 4:03d}" for k in range(9)]
    write_latents(tmp_path / "l.fits", table)
    back = read_latents(tmp_path / "l.fits")
    for text in ("name,odd\n0003,yes\n0008,no\n", "identifier,odd\n007,yes\n012,no\n",
                 "row,odd\n03,yes\n8,no\n"):  # fmt: skip
        path.write_text(text)
        assert labels_of(back, path, "odd")[0].tolist() == [3, 8]
    labels = Table({"name": ["0003", "0008"], "odd": ["yes", "no"]})
    for ending in ("ecsv", "fits"):
        labels.write(tmp_path / f"mine.{ending}")
        rows, values = labels_of(back, tmp_path / f"mine.{ending}", "odd")
        assert rows.tolist() == [3, 8] and values.tolist() == ["yes", "no"]


@pytest.mark.parametrize("identifier", [[""] * 9, ["a", ""] + list("bcdefgh"), ["a"] * 9])
def test_a_column_that_does_not_name_each_galaxy_is_no_key(table, tmp_path, identifier):
    table = table.copy()
    assert key_of(table) == "name"
    table.remove_column("name")
    table["identifier"] = list("abcdefghi")
    assert key_of(table) == "identifier"
    table["identifier"] = identifier
    write_latents(tmp_path / "l.fits", table)
    back = read_latents(tmp_path / "l.fits")
    assert key_of(back) == "row"
    (tmp_path / "mine.csv").write_text("identifier,row,odd\n,4,yes\n,7,no\n")
    assert labels_of(back, tmp_path / "mine.csv", "odd")[0].tolist() == [4, 7]
    back.remove_column("row")
    with pytest.raises(GalSimValueError, match="need a column"):
        key_of(back)


def test_weights_of_pictures_come_back_and_are_of_their_kind(picture_model, picture_weights):
    back = picture_file.read(picture_weights)
    assert back.vae.config == picture_model.vae.config and len(back.sha256) == 64
    latent = torch.randn(2, 5)
    assert torch.equal(back.vae.decoder(latent), picture_model.vae.decoder(latent))
    assert modelfile.kind(picture_weights) == "pictures"
    assert modelfile.kind(modelfile.find("candels")) == "galaxies"
    with pytest.raises(GalSimValueError, match="weights of pictures.*draws no galaxies"):
        GalaxyGenerator(picture_weights, device="cpu")
    with pytest.raises(GalSimValueError, match="weights of galaxies"):
        picture_file.read(modelfile.find("candels"))
    raw = bytearray(picture_weights.read_bytes())
    raw[-5] ^= 1
    damaged = picture_weights.with_name("damaged.safetensors")
    damaged.write_bytes(raw)
    with pytest.raises(GalSimValueError, match="do not match their sha256"):
        picture_file.read(damaged)
