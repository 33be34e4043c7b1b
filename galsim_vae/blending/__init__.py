"""Blends for BlendingToolKit: a catalogue and a generator of galaxies with structure."""

try:
    from .catalog import VAECatalog
    from .generator import VAEGenerator
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] not in ("btk", "surveycodex"):
        raise
    raise ModuleNotFoundError(
        "galsim_vae.blending needs BlendingToolKit, which is for Python 3.11 and 3.12. Install it "
        "with pip install '.[btk]' in a clone of galsim_vae (the btk of PyPI is another package)",
        name=error.name,
    ) from error

__all__ = ["VAECatalog", "VAEGenerator"]
