"""How a subcommand of ``galsim-vae`` was called."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import galsim
import yaml

from galsim_vae import settings

__all__ = ["Call", "split"]

T = TypeVar("T")


@dataclass
class Call:
    """What stands behind the name of a subcommand.

    Attributes
    ----------
    files : list of str
        Arguments that are not ``key=value``.
    variables : dict
        The value of each key; dots are kept in the keys.
    file_type : {"yaml", "json"} or None
        None goes by the file's name.
    verbosity : int
        0 to 3.
    """

    files: list[str]
    variables: dict[str, Any] = field(default_factory=dict)
    file_type: str | None = None
    verbosity: int = 1

    @property
    def progress(self) -> bool:
        """Whether to show a bar."""
        return self.verbosity > 0

    def read(self, kind: Callable[..., T]) -> T:
        """Build the settings of a command from its keys alone; see `galsim_vae.settings.build`."""
        return settings.build(kind, settings.override({}, self.variables))

    def load(self, what: str) -> dict[str, Any]:
        """Read the one file, of settings, and override it by the keys.

        Raises
        ------
        OSError, galsim.GalSimConfigError
            See `galsim_vae.settings.load`; not one file.
        """
        return settings.load(self.file(what), self.variables, self.file_type)

    def file(self, what: str) -> Path:
        """Return the one file that was given.

        Raises
        ------
        galsim.GalSimConfigError
            None was given, or more than one.
        """
        if len(self.files) != 1:
            raise galsim.GalSimConfigError(f"Give one {what}; not {self.files or 'none'}")
        return Path(self.files[0]).expanduser()

    def no_file(self) -> None:
        """Raise galsim.GalSimConfigError if there is a file."""
        if self.files:
            raise galsim.GalSimConfigError(f"This takes no file, but was given {self.files}")

    def no_key(self) -> None:
        """Raise galsim.GalSimConfigError if there is a key."""
        if self.variables:
            raise galsim.GalSimConfigError(f"This takes no keys, but was given {self.variables}")

    def wrote(self, *paths: Path) -> None:
        """Say what was written, unless nothing is to be said."""
        for path in paths if self.verbosity > 0 else ():
            print(f"wrote {path}")


def split(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Separate files from ``key=value``, the value in YAML.

    Raises
    ------
    galsim.GalSimConfigError
        A value is not YAML.
    """
    files, variables = [], {}
    for argument in arguments:
        match = re.fullmatch(r"([A-Za-z_][\w.-]*)=(.*)", argument, re.DOTALL)
        if match is None:
            files.append(argument)
            continue
        try:
            variables[match[1]] = yaml.safe_load(match[2])
        except (yaml.YAMLError, ValueError) as error:
            raise galsim.GalSimConfigError(f"{argument}: the value is not YAML") from error
    return files, variables
