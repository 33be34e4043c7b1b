"""A table of latents of made-up pictures, of weights that were not trained."""

import numpy as np
import pytest
import torch
from made_pictures import KINDS, pictures

from galsim_vae.latents.encode import encode_pictures
from galsim_vae.latents.pictures import read_pictures, stretch
from galsim_vae.latents.table import read_latents, write_latents
from galsim_vae.model import picture_file
from galsim_vae.model.flow import FlowConfig
from galsim_vae.model.pictures import PictureConfig, PictureVAE, picture_flow


@pytest.fixture(scope="session")
def latents(tmp_path_factory):
    """Path of the table; column kind has what each is, and slope a number."""
    folder = tmp_path_factory.mktemp("latents")
    array, kind = pictures(96)
    names = np.array(KINDS)[kind]
    slope = np.linspace(0, 1, 96) + 0.5
    np.savez(folder / "made.npz", img=array, kind=names, label=kind, slope=slope, one=names == "x")
    torch.manual_seed(3)
    config = PictureConfig(latent=5, encoder_widths=(8, 8), decoder_widths=(8, 8))
    flow = FlowConfig(layers=2, hidden=8)
    model = picture_file.PictureModel(PictureVAE(config), picture_flow(5, flow), {}, flow)
    picture_file.write(folder / "rgb.safetensors", model)
    model = picture_file.read(folder / "rgb.safetensors")
    table = encode_pictures(model, read_pictures(folder / "made.npz"))
    table.meta |= {"KIND": "pictures", "INPUT": str(folder / "made.npz"),
                   "WEIGHTS": str(folder / "rgb.safetensors"), "SHA256": model.sha256}  # fmt: skip
    write_latents(folder / "latents.fits", table)
    return folder / "latents.fits"


@pytest.fixture
def table(latents):
    return read_latents(latents)


@pytest.fixture(scope="session")
def picture_vae():
    torch.manual_seed(4)
    return PictureVAE(PictureConfig(latent=5, encoder_widths=(16, 16), decoder_widths=(8, 8)))


@pytest.fixture(scope="session")
def stretched():
    """Pictures as the network takes them, and their kinds."""
    array, kind = pictures(48, seed=2)
    return stretch(array, 64, 3), kind
