"""Training: from observed and synthetic galaxies to a weights file. The core never imports this."""

__all__: list[str] = []
