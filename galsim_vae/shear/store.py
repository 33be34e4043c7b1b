"""Chunks on disk: one HDF5 file each, which is there in full or not at all."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from galsim_vae.files import write_whole

__all__ = ["ChunkStore"]


class ChunkStore:
    """The chunks of one run.

    They are in a folder that is named after the run's fingerprint: a configuration or weights that
    would give other results never see them.

    Parameters
    ----------
    output : Path
        The run's folder.
    fingerprint : str
        `galsim_vae.shear.CalibrationConfig.fingerprint`.
    """

    def __init__(self, output: Path, fingerprint: str):
        self.folder = Path(output) / f"chunks-{fingerprint}"
        self.fingerprint = fingerprint

    def path(self, number: int) -> Path:
        """Return the name of a chunk's file."""
        return self.folder / f"{number:07d}.h5"

    def missing(self, nchunks: int) -> list[int]:
        """Return the chunks that are not there; a file that cannot be read is not there."""
        return [number for number in range(nchunks) if not self._whole(number)]

    def write(self, number: int, arrays: dict[str, NDArray], seconds: dict[str, float]) -> None:
        """Store a chunk, in the place of one that is there."""
        self.folder.mkdir(parents=True, exist_ok=True)

        def write_arrays(temporary: Path) -> None:
            with h5py.File(temporary, "w") as file:
                file.attrs["fingerprint"], file.attrs["number"] = self.fingerprint, number
                for name, values in arrays.items():
                    file.create_dataset(name, data=values)
                file.create_group("seconds").attrs.update(seconds)

        write_whole(self.path(number), write_arrays)

    def read(self, nchunks: int) -> dict[str, NDArray]:
        """Return the arrays of all chunks, joined in their order."""
        parts: dict[str, list[NDArray]] = {}
        for number in range(nchunks):
            for name, values in self.read_one(number).items():
                parts.setdefault(name, []).append(values)
        return {name: np.concatenate(values) for name, values in parts.items()}

    def read_one(self, number: int) -> dict[str, NDArray]:
        """Return the arrays of one chunk."""
        arrays: dict[str, NDArray] = {}

        def take(name, item):
            if isinstance(item, h5py.Dataset):
                arrays[name] = item[()]

        with h5py.File(self.path(number), "r") as file:
            file.visititems(take)
        return arrays

    def seconds(self, nchunks: int) -> dict[str, float]:
        """Return the processor's seconds in each step, of all chunks."""
        total: dict[str, float] = {}
        for number in range(nchunks):
            with h5py.File(self.path(number), "r") as file:
                for step, value in file["seconds"].attrs.items():
                    total[step] = total.get(step, 0.0) + float(value)
        return total

    def _whole(self, number: int) -> bool:
        try:
            with h5py.File(self.path(number), "r") as file:
                return file.attrs["fingerprint"] == self.fingerprint
        except (OSError, KeyError):
            return False
