"""Files that are there in full or not at all, and places that are tried before any work."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["input_file", "output_file", "output_folder", "write_whole"]


def write_whole(path: str | os.PathLike, write: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name in its folder, and rename it when it is complete.

    Parameters
    ----------
    path : str or path
        The file; one that is there is replaced.
    write : callable
        Called with the temporary path, which ends in the file's name, so that a format that goes by
        the name's ending is the right one.
    """
    path = Path(path).expanduser()
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def input_file(path: str | os.PathLike) -> Path:
    """Return the path of a file that can be read, with ``~`` expanded.

    Raises
    ------
    OSError
        There is no such file, it is a folder, or it may not be read.
    """
    path = Path(path).expanduser()
    with open(path, "rb"):
        return path


def output_file(path: str | os.PathLike) -> Path:
    """Return the path of a file that can be written, with ``~`` expanded.

    Raises
    ------
    OSError
        It is a folder, or its folder is not there or not writable.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise _error(errno.EISDIR, path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for the output {path.name}")
    _try_to_write(path.parent)
    return path


def output_folder(path: str | os.PathLike) -> Path:
    """Make a folder, with those it is in, and return its path, with ``~`` expanded.

    Raises
    ------
    OSError
        A file is there instead, or it may not be written.
    """
    path = Path(path).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise _error(errno.ENOTDIR, path) from None
    _try_to_write(path)
    return path


def _try_to_write(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _error(error.errno or errno.EACCES, folder) from None


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
