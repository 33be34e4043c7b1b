"""Weights of pictures that were not trained."""

import pytest
import torch

from galsim_vae.model import picture_file
from galsim_vae.model.flow import FlowConfig
from galsim_vae.model.pictures import PictureConfig, PictureVAE, picture_flow

CONFIG = PictureConfig(latent=5, encoder_widths=(8, 8), decoder_widths=(8, 8))


@pytest.fixture(scope="session")
def picture_model():
    torch.manual_seed(3)
    flow = FlowConfig(layers=2, hidden=8)
    vae = PictureVAE(CONFIG).eval().requires_grad_(False)
    flows = picture_flow(CONFIG.latent, flow).eval().requires_grad_(False)
    return picture_file.PictureModel(vae, flows, {"pictures": "none"}, flow)


@pytest.fixture(scope="session")
def picture_weights(picture_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "rgb.safetensors"
    picture_file.write(path, picture_model)
    return path
