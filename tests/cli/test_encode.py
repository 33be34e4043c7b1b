"""``galsim-vae encode`` on what there is to encode."""

from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from made_pictures import folder
from made_training_file import training_file

from galsim_vae import cli
from galsim_vae.bands import BANDS
from galsim_vae.latents.table import key_of, labels_of, read_latents
from galsim_vae.model import picture_file
from galsim_vae.model.flow import FlowConfig
from galsim_vae.model.pictures import PictureConfig, PictureVAE, picture_flow


@pytest.fixture
def encode(tmp_path, monkeypatch, capsys):
    """Run encode in an empty folder; returns the table, or what went wrong."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    config = PictureConfig(latent=5, encoder_widths=(8, 8), decoder_widths=(8, 8))
    flow = FlowConfig(layers=2, hidden=8)
    model = picture_file.PictureModel(PictureVAE(config), picture_flow(5, flow), {}, flow)
    picture_file.write(tmp_path / "rgb.safetensors", model)

    def run(*arguments):
        if cli.main(["encode", *arguments, "output=l.fits"]):
            return capsys.readouterr().err
        return read_latents("l.fits")

    return run


def test_a_folder(encode, tmp_path):
    folder(tmp_path / "cutouts", 4)
    table = encode("cutouts", "weights=rgb.safetensors")
    assert list(table["name"]) == ["g000", "g001", "g002", "g003"]
    assert table["mean"].shape == (4, 5)
    assert table.meta["KIND"] == "pictures" and table.meta["BANDS"] == "i,r,g"
    assert "exists: give overwrite=true" in encode("cutouts", "weights=rgb.safetensors")


def test_a_training_file(encode, tmp_path):
    training_file(tmp_path / "a.h5", 3)
    table = encode("a.h5")
    assert len(table) == 3 and list(table["source"]) == ["x"] * 3
    assert table["half_light_radius"].unit == "arcsec"
    assert np.isfinite(table["log_density"]).all()


def test_drawn_galaxies(encode):
    drawn = ["draw", "output=d.fits", "magnitude=21.5", "half_light_radius=0.7", "g1=0.3", "g2=0"]
    assert cli.main([*drawn, "n=2", "redshift=0.5", "renderer=batch", "-v", "0"]) == 0
    table = encode("d.fits")
    np.testing.assert_allclose(table["redshift"], 0.5, rtol=1e-6)
    np.testing.assert_allclose(table["half_light_radius"].value, 0.7, rtol=0.3)
    np.testing.assert_allclose(table["g1"], 0.3, atol=0.15)
    assert (table["reduced_chi_square"] < 3).all()
    assert key_of(table) == "row"


def test_rows_are_those_of_the_file(encode):
    drawn = ["draw", "output=d.fits", "magnitude=20", "half_light_radius=0.7", "g1=0.3", "g2=0"]
    assert cli.main([*drawn, "n=3", "redshift=0.5", "renderer=batch", "-v", "0"]) == 0
    with fits.open("d.fits", mode="update") as hdus:
        for band in BANDS:
            hdus[band].data[1] = 0
    assert list(encode("d.fits")["row"]) == [0, 2]
    Path("mine.csv").write_text("row,label\n2,yes\n")
    rows, _ = labels_of(read_latents("l.fits"), "mine.csv", "label")
    assert rows.tolist() == [1]


def test_mistakes(encode, tmp_path):
    folder(tmp_path / "cutouts", 2)
    training_file(tmp_path / "a.h5", 2)
    assert "holds pictures: give weights= of pictures" in encode("cutouts")
    assert "give weights= of galaxies" in encode("a.h5", "weights=rgb.safetensors")
    folder(tmp_path / "other", 1, side=80)
    (tmp_path / "other" / "g000.png").rename(tmp_path / "cutouts" / "z.png")
    assert "z.png is of another size" in encode("cutouts", "weights=rgb.safetensors")
    (tmp_path / "x.fits").write_text("no")
    assert "x.fits is not a file of galsim-vae draw" in encode("x.fits")
    assert "nothere.h5" in encode("nothere.h5")
