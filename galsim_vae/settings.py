"""Settings from a YAML or JSON file and from ``key=value``, brought to the types that they need.

A file is read by `load`, which gives plain tables. `build` makes a dataclass of such a table, or
calls a class, after it has checked every key and every value on all levels against the parameters
and their annotations::

    settings = load("train.yaml", {"vae_training.steps": 500})
    recipe = build(Recipe, settings)

All errors are `galsim.GalSimConfigError`, or `OSError` for a file that cannot be read, and name the
place: the file and line, or ``section.key``.
"""

import dataclasses
import difflib
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml
from galsim.errors import GalSimConfigError, GalSimConfigValueError

__all__ = ["build", "convert", "describe", "how_to_install", "key", "load", "override"]

T = TypeVar("T")

#: Modules that only an extra of the package installs.
EXTRAS = {
    "anacal": "shear", "btk": "btk", "dask": "shear", "distributed": "shear",
    "pandas": "parquet", "pyarrow": "parquet", "sep": "train", "skimage": "train",
    "sklearn": "train", "surveycodex": "btk", "tensorboard": "train", "threadpoolctl": "train",
    "umap": "train",
}  # fmt: skip
#: Modules that pip does not find by their name (the meds of PyPI is another package).
_GITHUB = "git+https://github.com/esheldon/"
ELSEWHERE = {name: _GITHUB + name for name in ("meds", "metadetect", "ngmix", "sxdes")}
_HELP = "help"
_TABLES = (dict, Mapping)
_LISTS = (list, tuple, Sequence, Collection)
_WORDS = {
    bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path",
}  # fmt: skip


def load(
    path: str | Path, variables: Mapping[str, Any] | None = None, file_type: str | None = None
) -> dict[str, Any]:
    """Read a file of settings.

    Parameters
    ----------
    path : str or Path
        YAML or JSON.
    variables : mapping, optional
        Values that go before the file's. ``a.b`` is ``b`` in the table ``a``, and a number is an
        element of a list, as for the command ``galsim``.
    file_type : {"yaml", "json"}, optional
        By the file's name if absent.

    Returns
    -------
    dict
        With ``~/`` at the beginning of a text replaced by the home folder.

    Raises
    ------
    OSError
        The file cannot be read.
    galsim.GalSimConfigError
        It cannot be parsed or is not a table, or a variable points into something else.
    """
    path = Path(path).expanduser()
    kind = file_type or ("json" if path.suffix == ".json" else "yaml")
    settings = _parse(path, kind)
    if settings is None:
        settings = {}
    if not isinstance(settings, dict):
        raise GalSimConfigError(
            f"{path} must be a table of keys and values, not a {type(settings).__name__}"
        )
    return override(settings, variables or {})


def override(settings: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of settings with the `variables` of `load` set in it."""
    changed = _own(settings)
    for name, value in variables.items():
        _put(changed, name, _own(value))
    return changed


def _parse(path: Path, kind: str) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if kind == "json" else yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise GalSimConfigError(f"{path} is not a text file: {error}") from error
    except json.JSONDecodeError as error:
        raise GalSimConfigError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        raise GalSimConfigError(f"{path}{_place_of(error)}") from error


def _place_of(error: Exception) -> str:
    """Where a YAML error is and what it is, as the end of a sentence."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f": not YAML: {error}"
    what = ", ".join(filter(None, [getattr(error, name, None) for name in ("context", "problem")]))
    return f", line {mark.line + 1}, column {mark.column + 1}: not YAML: {what}"


def _own(value: Any) -> Any:
    """Copy nested tables and lists, so that an alias is changed alone, and expand ``~/``."""
    if isinstance(value, Mapping):
        return {name: _own(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_own(part) for part in value]
    if isinstance(value, str) and re.match(r"~[\w.-]*/", value):
        return str(Path(value).expanduser())
    return value


def _put(settings: dict[str, Any], name: str, value: Any) -> None:
    """Set ``a.b.c`` in nested tables, which are made where they are missing."""
    *parents, last = name.split(".")
    table: Any = settings
    for parent in parents:
        if isinstance(table, dict) and table.get(parent) is None:
            table[parent] = {}
        table = table[_position(table, parent, name)]
    table[_position(table, last, name)] = value


def _position(table: Any, part: str, name: str) -> str | int:
    if isinstance(table, dict):
        return part
    if isinstance(table, list) and part.isdecimal() and int(part) < len(table):
        return int(part)
    raise GalSimConfigError(f"{name}: there is no {part} in {table!r}, which is not a table")


def key(help: str, default: Any = dataclasses.MISSING) -> Any:
    """Return a field of a dataclass of settings, with the help that `describe` shows."""
    return dataclasses.field(default=default, metadata={_HELP: help})


def build(kind: Callable[..., T], values: Any, place: str = "", **given: Any) -> T:
    """Call a dataclass or another class with the values of a table, all of them checked.

    Parameters
    ----------
    kind : callable
        Its parameters are the keys; those without a default must be there. A value is brought to
        the annotation of its parameter by `convert`.
    values : mapping
        The table; None is an empty one.
    place : str
        What the table is called in errors, ``section.section``; "" for the whole file.
    **given
        Further arguments, which are no keys.

    Raises
    ------
    galsim.GalSimConfigError
        A key is missing.
    galsim.GalSimConfigValueError
        An unknown key; a value of another type; `values` is not a table.
    """
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        raise GalSimConfigValueError(
            f"{place or 'The settings'} must be a table of keys and values.", values
        )
    parameters = {n: p for n, p in inspect.signature(kind).parameters.items() if n not in given}
    for name in values:
        if name not in parameters:
            raise _unknown(_join(place, name), name, list(parameters))
    hints = _annotations(kind)
    arguments = {}
    for name, parameter in parameters.items():
        here, missing = _join(place, name), parameter.default is inspect.Parameter.empty
        hint = hints.get(name, Any)
        if name in values and not (values[name] is None and _section(hint) and not missing):
            arguments[name] = convert(values[name], hint, here)
        elif missing:
            raise GalSimConfigError(f"{here} is missing: give {here}=... or set it in the file")
    return kind(**arguments, **given)


def _annotations(kind: Any) -> dict[str, Any]:
    if isinstance(kind, type) and not dataclasses.is_dataclass(kind):
        kind = vars(kind)["__init__"]
    return typing.get_type_hints(kind)


def _unknown(place: str, name: Any, allowed: list[str]) -> GalSimConfigError:
    near = difflib.get_close_matches(str(name), allowed, 1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return GalSimConfigValueError(f"Unknown key {place}{meant}.", name, allowed)


def _join(place: str, name: Any) -> str:
    return f"{place}.{name}" if place else str(name)


def convert(value: Any, hint: Any, place: str) -> Any:
    """Bring a value of a file to a type, or raise.

    Parameters
    ----------
    value : object
        As YAML or JSON give it.
    hint : type
        bool, int, float, str, Path, Literal, a list or tuple or mapping of such, a class (which is
        built from a table), a union, or Any, which takes everything.
    place : str
        What the value is called in errors.

    Raises
    ------
    galsim.GalSimConfigError
        See `build`.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object, inspect.Parameter.empty):
        return value
    if origin in (Union, types.UnionType):
        return _one_of(value, inner, place)
    if origin is Literal:
        if value not in inner:
            raise GalSimConfigValueError(f"{place} is unknown.", value, list(inner))
        return value
    if (origin or hint) in _TABLES:
        return _table(value, inner, place)
    if (origin or hint) in _LISTS:
        return _list(value, origin or hint, inner, place)
    if hint in _CONVERTERS:
        try:
            return _CONVERTERS[hint](value)
        except (TypeError, ValueError, OverflowError):
            raise GalSimConfigValueError(f"{place} must be {_WORDS[hint]}.", value) from None
    return value if isinstance(value, hint) else build(hint, value, place)


def _one_of(value: Any, hints: tuple, place: str) -> Any:
    """Bring a value to the first type of a union that takes it."""
    if value is None and types.NoneType in hints:
        return None
    hints = tuple(hint for hint in hints if hint is not types.NoneType)
    for hint in hints[:-1]:
        try:
            return convert(value, hint, place)
        except GalSimConfigError:
            continue
    return convert(value, hints[-1], place)


def _table(value: Any, inner: tuple, place: str) -> dict:
    if not isinstance(value, Mapping):
        raise GalSimConfigValueError(f"{place} must be a table of keys and values.", value)
    hint = inner[1] if inner else Any
    return {name: convert(part, hint, _join(place, name)) for name, part in value.items()}


def _list(value: Any, kind: Any, inner: tuple, place: str) -> list | tuple:
    hints = tuple(hint for hint in inner if hint is not ...) or (Any,)
    fixed = kind is tuple and ... not in inner and inner
    # One name may stand for a list of one, as ``estimators: regauss``.
    if not fixed and hints == (str,) and isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or (fixed and len(value) != len(inner)):
        length = f" of {len(inner)}" if fixed else ""
        raise GalSimConfigValueError(f"{place} must be a list{length}.", value)
    parts = [
        convert(part, hints[k] if fixed else hints[0], _join(place, k))
        for k, part in enumerate(value)
    ]
    return parts if kind is list else tuple(parts)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _number(value: Any) -> float:
    """Take 1e4 too: it has no point, so that YAML makes it a text."""
    text = isinstance(value, str) and value[:1] in tuple("0123456789.+-")
    if isinstance(value, bool) or not (text or isinstance(value, int | float)):
        raise TypeError
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _number(value)
    if number != int(number):
        raise ValueError
    return int(number)


def _text(value: Any) -> str:
    if not isinstance(value, str | Path):
        raise TypeError
    return str(value)


def _path(value: Any) -> Path:
    if not _text(value):
        raise ValueError
    return Path(value).expanduser()


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    bool: _boolean, int: _whole, float: _number, str: _text, Path: _path
}  # fmt: skip


def _section(hint: Any) -> bool:
    """Tell whether a parameter is a table with keys of its own."""
    return dataclasses.is_dataclass(hint)


def describe(kind: Any) -> list[str]:
    """Return a line of help for each key of a dataclass of settings, and of those in it."""
    lines = list(_described(kind, ""))
    width = max(len(name) for name, _ in lines) + 2
    return [f"  {name + '=':{width}s} {text}" for name, text in lines]


def _described(kind: Any, place: str) -> Iterator[tuple[str, str]]:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name, hint = _join(place, field.name), hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _described(hint, name)
            continue
        text, default = field.metadata.get(_HELP, _phrase(hint)), field.default
        if default is not dataclasses.MISSING:
            shown = list(default) if isinstance(default, tuple) else default
            shown = str(shown).lower() if isinstance(shown, bool) else shown
            text += "" if default is None else f" (default: {shown})"
        elif field.default_factory is dataclasses.MISSING:
            text += " (needed)"
        yield name, text


def _phrase(hint: Any) -> str:
    """Say what a type takes."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        kinds = [part for part in typing.get_args(hint) if part is not types.NoneType]
        return " or ".join(map(_phrase, kinds))
    if hint in _WORDS:
        return _WORDS[hint]
    return "a list" if typing.get_origin(hint) in _LISTS else "a table"


def how_to_install(module: str) -> str:
    """Say how to install a module that is not a dependency of the package.

    Parameters
    ----------
    module : str
        Its name as it is imported; a part of it (``dask.distributed``) will do.
    """
    name = module.partition(".")[0]
    if name in ELSEWHERE:
        return f"{name} is not installed; it is not on PyPI: run  pip install {ELSEWHERE[name]}"
    if name in EXTRAS:
        command = f"pip install '.[{EXTRAS[name]}]'"
        return f"{name} is not installed: run  {command}  in a clone of galsim_vae"
    return f"{name} is not installed: run  pip install {name}"
