"""Pieces of a comparison: their files, and how they are joined.

A piece is a function of its number and the seed alone, so that pieces can be made in any order, and
kept.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from galsim_vae.files import write_whole

__all__ = ["PIECE", "join", "read_piece", "write_piece"]

PIECE = 250  # galaxies a piece


def write_piece(file: Path, piece: dict[str, NDArray]) -> None:
    """Write a piece, under a temporary name first."""
    arrays: dict[str, Any] = {name.replace("/", "."): array for name, array in piece.items()}
    write_whole(file, lambda path: np.savez(path, **arrays))


def read_piece(file: Path) -> dict[str, NDArray]:
    """Return a piece that `write_piece` has written."""
    with np.load(file) as data:
        return {name.replace(".", "/"): data[name] for name in data.files}


def join(pieces: list[dict[str, NDArray]]) -> dict[str, NDArray]:
    """Return pieces put together; what a piece does not have is NaN.

    Images and training galaxies have rows of their own.
    """
    names = {name: None for piece in pieces for name in piece}
    joined = {}
    for name in names:
        have = [piece for piece in pieces if name in piece]
        if name.startswith("images/") or name == "features/training":
            joined[name] = np.concatenate([piece[name] for piece in have])
            continue
        shape = have[0][name].shape[1:]
        joined[name] = np.concatenate(
            [
                piece.get(name, np.full((len(piece["conditions"]), *shape), np.nan))
                for piece in pieces
            ]
        )
    return joined
