"""Numbers that the training of the texture depends on and no recipe sets; as `constants`."""

__all__ = ["recorded"]

#: Weight of the score of powers in rings beside that of pixels.
TEXTURE_POWER = 1.0
TEXTURE_GRADIENT_CLIP = 1.0
TEXTURE_AVERAGE = 0.995


def recorded() -> dict[str, float | int]:
    """Return all of them by name."""
    return {name: value for name, value in globals().items() if name.isupper()}
