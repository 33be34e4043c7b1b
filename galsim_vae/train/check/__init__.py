"""Checks of trained weights and of the population, each against something independent."""

__all__: list[str] = []
