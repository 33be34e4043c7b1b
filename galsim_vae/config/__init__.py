"""Types for GalSim's config files: what ``modules: [galsim_vae]`` adds.

Inputs ``vae_generator`` and ``vae_catalog``, object ``VAEGalaxy``, value ``VAEValue``: each is
registered by the module that describes it.
"""

from .catalog import CatalogInput, CatalogLoader
from .galaxy import build_galaxy
from .generator import GeneratorInput
from .value import build_value

__all__ = ["CatalogInput", "CatalogLoader", "GeneratorInput", "build_galaxy", "build_value"]
