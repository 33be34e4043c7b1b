"""Weights of small networks that nobody trained."""

from dataclasses import replace

import torch

from galsim_vae.conditions import DEFAULT_RANGES
from galsim_vae.model import file as modelfile
from galsim_vae.model.flow import FlowConfig, Flows
from galsim_vae.model.vae import VAE, VAEConfig

TINY = VAEConfig(latent=8, widths=(8, 8), fine_widths=(8, 4), encoder_widths=(8, 8))


def untrained(folder, frame, seed=2):
    """Write them, and return the file."""
    torch.manual_seed(seed)
    flow = FlowConfig(layers=2, hidden=8)
    config = replace(TINY, frame=frame.name)
    vae = VAE(config)
    with torch.no_grad():  # galaxies that differ
        for parameter in vae.decoder.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    flows = Flows(config.latent, DEFAULT_RANGES, flow)
    path = folder / f"{frame.name}.safetensors"
    modelfile.write(path, modelfile.Model(vae, flows, DEFAULT_RANGES, {"data": "none"}, flow))
    return path
