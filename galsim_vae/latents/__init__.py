"""The latent space as a tool: encode, interpolate, follow a galaxy in redshift."""

__all__ = []
