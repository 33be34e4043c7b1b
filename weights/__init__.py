"""The weights files that ship with galsim_vae, each with its model card (``<name>.md``)."""
