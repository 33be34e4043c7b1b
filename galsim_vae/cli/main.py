"""The command ``galsim-vae``: one table of subcommands, each imported when it is called.

    galsim-vae COMMAND [FILE] [-v {0,1,2,3}] [-f {yaml,json}] [key=value ...]

As with ``galsim``, ``key=value`` sets or overrides what the FILE says; ``a.b=value`` sets ``b`` in
the table ``a``, and the value is read as YAML.
"""

import argparse
import importlib
import logging
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import galsim

from galsim_vae.settings import describe, how_to_install

from .call import Call, split

__all__ = ["COMMANDS", "main", "module_of"]

_LEVELS = {0: logging.CRITICAL, 1: logging.WARNING, 2: logging.INFO, 3: logging.DEBUG}


class Command(NamedTuple):
    """The help of a subcommand, which is the function ``run(call)`` of the module of its name.

    If that module has a dataclass ``Keys``, the help lists its fields. ``--name VALUE`` for a name
    in ``options`` is the same as ``name=VALUE``.
    """

    usage: str
    summary: str
    options: tuple[str, ...] = ()


COMMANDS = {
    "info": Command(
        "[WEIGHTS | TRAINING_FILE ...]",
        "say what a weights file or a training file is; without a file, what is installed",
    ),
    "sample": Command(
        "output=TABLE [key=value ...]", "draw galaxy conditions from the population into a table"
    ),
    "draw": Command(
        "[TABLE] output=FILE [key=value ...]",
        "draw galaxies as CANDELS would see them (.fits), or a contact sheet of them (.png)",
    ),
    "ingest": Command(
        "CONFIG [output=TRAINING_FILE] [report=FOLDER] [key=value ...]",
        "make a training file from survey data",
    ),
    "train": Command(
        "RECIPE [training_file=FILE] [work=FOLDER] [output=WEIGHTS] [key=value ...]",
        "train a weights file, or go on with one that was interrupted",
    ),
    "evaluate": Command(
        "WEIGHTS [--data TRAINING_FILE] [key=value ...]",
        "hold generated galaxies against held-out ones: tables, figures and Markdown",
        options=("data",),
    ),
    "clean": Command(
        "TRAINING_FILE [key=value ...]", "list the galaxies that a model explains worst"
    ),
    "check": Command(
        "{reconstruction,hidden-band,psf-freeness,population,beside-real,planted,compression} "
        "[FILE] [key=value ...]",
        "measure one thing about weights, or about the population",
    ),
    "choices": Command(
        "RECIPE [key=value ...]", "train variants of a recipe for a short time and compare them"
    ),
    "calibrate": Command(
        "CONFIG [workers=N] [--scheduler ADDRESS] [key=value ...]",
        "measure the bias of shear estimators, or go on with a run that was interrupted",
        options=("scheduler",),
    ),
    "encode": Command(
        "{TRAINING_FILE,STAMPS,FOLDER,NPZ} output=LATENTS [weights=WEIGHTS]",
        "find the latents of galaxies, or of pictures",
    ),
    "map": Command(
        "LATENTS [colour=COLUMN] [output=PICTURE] [key=value ...]",
        "lay galaxies out by their latents: a map, latents against the prior, and traversals",
    ),
    "hunt": Command(
        "LATENTS labels=TABLE [output=PICTURE] [key=value ...]",
        "look for odd galaxies: shows the most promising, learns from your yes and no",
    ),
    "classify": Command(
        "LATENTS column=NAME [labels=TABLE] [output=FOLDER] [key=value ...]",
        "learn classes or numbers from a table of labels, and predict them for all galaxies",
    ),
}


def module_of(name: str) -> ModuleType:
    """Import the module of a subcommand."""
    return importlib.import_module(f"galsim_vae.cli.{name}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status, 1 if it raised an error."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    # key=value may come before and after options, which argparse takes for an error.
    options, more = parser.parse_known_args(arguments)
    if any(argument.startswith("-") for argument in more):
        parser.error(f"unknown options: {' '.join(more)}")
    if options.version:
        from importlib.metadata import version

        print(f"galsim_vae {version('galsim_vae')}, GalSim {galsim.__version__}")
        return 0
    if options.command is None:
        parser.print_help()
        return 2
    logging.basicConfig(level=_LEVELS[options.verbosity], format="%(message)s", force=True)
    try:
        with warnings.catch_warnings():
            if options.verbosity == 0:
                warnings.simplefilter("ignore")
            module_of(options.command).run(_call(options, more))
    except KeyboardInterrupt:
        print(f"galsim-vae {options.command}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if options.verbosity >= 3:
            raise
        print(f"galsim-vae {options.command}: {_explain(error)}", file=sys.stderr)
        return 1
    return 0


def _call(options: argparse.Namespace, more: list[str]) -> Call:
    files, variables = split(options.arguments + more)
    given = {name: getattr(options, name) for name in COMMANDS[options.command].options}
    variables |= {name: value for name, value in given.items() if value is not None}
    return Call(files, variables, options.file_type, options.verbosity)


class _Parser(argparse.ArgumentParser):
    """A parser whose help ends with the keys of its subcommand, which is imported only then."""

    command: str | None = None

    def format_help(self) -> str:
        text = super().format_help()
        keys = getattr(module_of(self.command), "Keys", None) if self.command else None
        return text if keys is None else "\n".join([text, "keys:", *describe(keys), ""])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="galsim-vae", description="Galaxies with real structure.")
    parser.add_argument("--version", action="store_true", help="print the versions")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name, help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            usage=f"galsim-vae {name} {command.usage} [-v N] [-f TYPE]",
        )  # fmt: skip
        sub.command = name
        sub.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
        sub.add_argument(
            "-v", "--verbosity", type=int, choices=range(4), default=1, metavar="{0,1,2,3}",
            help="0 nothing, 1 warnings and bars, 2 a log, 3 all, with tracebacks (default: 1)",
        )  # fmt: skip
        sub.add_argument(
            "-f", "--file_type", choices=("yaml", "json"), help="of the configuration file"
        )
        for option in command.options:
            sub.add_argument(f"--{option}", metavar=option.upper(), help=f"same as {option}=...")
    return parser


def _explain(error: Exception) -> str:
    """Say in one line what went wrong."""
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError):
        return how_to_install(error.name or text)
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, galsim.GalSimError | OSError | ValueError):
        return text
    return f"{type(error).__name__}: {text} (-v 3 shows where)"
