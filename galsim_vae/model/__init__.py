"""The networks, variational autoencoder and conditional flows, and the file of their weights."""

from .file import Model, find, read, shipped, write
from .flow import CouplingFlow, FlowConfig, Flows
from .vae import VAE, VAEConfig

__all__ = [
    "VAE",
    "CouplingFlow",
    "FlowConfig",
    "Flows",
    "Model",
    "VAEConfig",
    "find",
    "read",
    "shipped",
    "write",
]
