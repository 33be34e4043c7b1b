"""Random numbers for each piece of a long computation, so that pieces can be made in any order."""

import numpy as np
import torch

__all__ = ["seeded"]


def seeded(
    *numbers: int, key: tuple[int, ...] = (), device: str | torch.device = "cpu"
) -> torch.Generator:
    """Return random numbers of their own for each tuple of numbers and each key.

    Seeds used as they are are small integers, these are hashes: none is the same.

    Parameters
    ----------
    *numbers : int
        A seed, and what tells a piece of an evaluation from others.
    key : tuple of int
        What tells a part of a training from others: it meets none of an evaluation of this seed.
    device : str or torch.device
    """
    state = np.random.SeedSequence(numbers, spawn_key=key).generate_state(2, np.uint32)
    return torch.Generator(device).manual_seed((int(state[0]) << 31) | int(state[1]))
