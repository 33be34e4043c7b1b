"""The synthetic population beside published catalogues."""

__all__: list[str] = []
