"""The command ``galsim-vae``: one table of subcommands, each imported when it is called.

    galsim-vae COMMAND [FILE ...] [-v {0,1,2,3}] [-f {yaml,json}] [key=value ...]

As with ``galsim``, ``key=value`` sets or overrides what the FILE says; ``a.b=value`` sets ``b`` in
the table ``a``, and the value is read as YAML.
"""

import argparse
import importlib
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import galsim

from galsim_vae.settings import how_to_install

from .call import Call, split

__all__ = ["COMMANDS", "main"]

_LEVELS = {0: logging.CRITICAL, 1: logging.WARNING, 2: logging.INFO, 3: logging.DEBUG}


class Command(NamedTuple):
    """Where a subcommand is ("module:function"; the function takes a `Call`), and its help.

    ``--name VALUE`` for a name in ``options`` is the same as ``name=VALUE``.
    """

    target: str
    usage: str
    summary: str
    options: tuple[str, ...] = ()


COMMANDS = {
    "info": Command(
        "galsim_vae.cli.commands:info", "[WEIGHTS | TRAINING_FILE ...]",
        "say what a weights file or a training file is; without a file, what is installed",
    ),
    "sample": Command(
        "galsim_vae.cli.commands:sample",
        "output=TABLE.{ecsv,fits} [n=N] [seed=S] [weights=W] [overwrite=true]",
        "draw galaxy conditions from the population into a table",
    ),
    "draw": Command(
        "galsim_vae.cli.commands:draw",
        "[TABLE] output=FILE.{fits,png} [n=N] [magnitude=M] [half_light_radius=R] [g1=G g2=G] "
        "[redshift=Z] [extrapolate=true] [seed=S] [weights=W] [renderer=galsim|batch] "
        "[overwrite=true]",
        "draw galaxies as CANDELS would see them (.fits), or a contact sheet of them (.png)",
    ),
    "ingest": Command(
        "galsim_vae.train.ingest.config:command", "CONFIG [output=TRAINING_FILE] [report=FOLDER]",
        "make a training file from survey data",
    ),
    "train": Command(
        "galsim_vae.train.fit.recipe:command",
        "RECIPE [training_file=FILE] [work=FOLDER] [output=W]",
        "train a weights file, or go on with one that was interrupted",
    ),
    "calibrate": Command(
        "galsim_vae.shear.calibration:command",
        "CONFIG [workers=N] [--scheduler ADDRESS] [key=value ...]",
        "measure the bias of shear estimators, or go on with a run that was interrupted",
        options=("scheduler",),
    ),
    "evaluate": Command(
        "galsim_vae.train.evaluate.run:command",
        "WEIGHTS [--data TRAINING_FILE] [galaxies=N] [seed=S] [output=FOLDER]",
        "hold generated galaxies against held-out ones: tables, figures and Markdown",
        options=("data",),
    ),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status, 1 if it raised an error of its own."""
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
        call = Call(*split(options.arguments + more), options.file_type, options.verbosity)
        given = {name: getattr(options, name) for name in COMMANDS[options.command].options}
        call.variables |= {name: value for name, value in given.items() if value is not None}
        module, _, name = COMMANDS[options.command].target.partition(":")
        with warnings.catch_warnings():
            if options.verbosity == 0:
                warnings.simplefilter("ignore", galsim.GalSimWarning)
            getattr(importlib.import_module(module), name)(call)
    except (galsim.GalSimError, OSError, ValueError, ModuleNotFoundError) as error:
        if options.verbosity >= 3:
            raise
        print(f"galsim-vae {options.command}: {_explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"galsim-vae {options.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="galsim-vae", description="Galaxies with real structure.")
    parser.add_argument("--version", action="store_true", help="print the versions")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name, help=command.summary, description=command.summary.capitalize() + ".",
            usage=f"galsim-vae {name} {command.usage} [-v N] [-f TYPE]",
        )  # fmt: skip
        sub.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
        sub.add_argument(
            "-v", "--verbosity", type=int, choices=range(4), default=1, metavar="{0,1,2,3}",
            help="0 nothing, 1 warnings, 2 progress, 3 all, with tracebacks (default: 1)",
        )  # fmt: skip
        sub.add_argument(
            "-f", "--file_type", choices=("yaml", "json"), help="of the configuration file"
        )
        for option in command.options:
            sub.add_argument(f"--{option}", metavar=option.upper(), help=f"same as {option}=...")
    return parser


def _explain(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return how_to_install(error.name or str(error))
    return str(error)
