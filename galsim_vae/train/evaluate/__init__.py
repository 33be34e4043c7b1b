"""How realistic drawn galaxies are: a scorecard beside real galaxies and Sersic profiles."""

__all__: list[str] = []
