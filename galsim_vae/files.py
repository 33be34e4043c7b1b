"""Files that are there in full or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike, write: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name in its folder, and rename it when it is complete.

    Parameters
    ----------
    path : the file; one that is there is replaced.
    write : called with the temporary path, which ends in the file's name, so that a format that
        goes by the name's ending is the right one.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
