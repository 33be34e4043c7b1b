"""Settings from files and key=value."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import galsim
import pytest

from galsim_vae.settings import build, describe, how_to_install, key, load, override


@dataclass(frozen=True)
class Inner:
    """A section."""

    steps: int = 3
    rate: float = 1.0
    widths: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class Outer:
    """A file of settings."""

    output: Path = key("where to write")
    names: tuple[str, ...] = ("a",)
    number: float | None = None
    kind: Literal["one", "two"] = "one"
    swift: bool = key("be quick", False)
    inner: Inner = field(default_factory=Inner)
    parts: Mapping[str, Inner] = field(default_factory=dict)
    anything: Any = None


class Tool:
    """A class that is no dataclass."""

    def __init__(self, name: str, file_name: str, weight: float = 1.0):
        self.values = name, file_name, weight


def test_a_table_becomes_a_dataclass(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    made = build(
        Outer,
        {
            "output": "~/x", "names": "b", "number": "1e4", "kind": "two", "swift": True,
            "inner": {"rate": 2, "widths": [3, 4.0]}, "parts": {"p": {"steps": "1e3"}, "q": {}},
            "anything": [1],
        },
    )  # fmt: skip
    assert made == Outer(
        tmp_path / "x", ("b",), 1e4, "two", True, Inner(3, 2.0, (3, 4)),
        {"p": Inner(1000), "q": Inner()}, [1],
    )  # fmt: skip
    assert isinstance(made.inner.rate, float) and isinstance(made.inner.widths[1], int)
    assert build(Outer, {"output": "x", "inner": None, "number": None}) == Outer(Path("x"))
    assert build(Tool, {"file_name": "f"}, name="n").values == ("n", "f", 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "output is missing: give output="),
        ([], "must be a table"),
        ({"output": "x", "nmaes": 1}, r"Unknown key nmaes \(did you mean names\?\)"),
        ({"output": "x", "inner": {"step": 1}}, "Unknown key inner.step .*'steps'"),
        ({"output": "x", "parts": {"p": {"step": 1}}}, "Unknown key parts.p.step"),
        ({"output": None}, "output must be a path"),
        ({"output": ""}, "output must be a path"),
        ({"output": 3}, "output must be a path"),
        ({"output": "x", "names": [1]}, "names.0 must be text"),
        ({"output": "x", "names": 1}, "names must be a list"),
        ({"output": "x", "number": "many"}, "number must be a number.* many"),
        ({"output": "x", "number": True}, "number must be a number"),
        ({"output": "x", "kind": "three"}, "kind is unknown.*three.*one"),
        ({"output": "x", "swift": 1}, "swift must be true or false"),
        ({"output": "x", "inner": 3}, "inner must be a table"),
        ({"output": "x", "parts": 3}, "parts must be a table"),
        ({"output": "x", "parts": {"p": 3}}, "parts.p must be a table"),
        ({"output": "x", "inner": {"steps": 1.5}}, "inner.steps must be a whole number"),
        ({"output": "x", "inner": {"steps": float("inf")}}, "inner.steps must be a whole number"),
        ({"output": "x", "inner": {"steps": False}}, "inner.steps must be a whole number"),
        ({"output": "x", "inner": {"widths": [1]}}, "inner.widths must be a list of 2"),
        ({"output": "x", "inner": {"widths": [1, "a"]}}, "inner.widths.1 must be a whole"),
    ],
)
def test_an_error_names_the_place(values, message):
    with pytest.raises(galsim.GalSimConfigError, match=message):
        build(Outer, values)


def test_a_file_is_overridden_by_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    path = tmp_path / "a.yaml"
    path.write_text("a: &x {b: 1}\nc: *x\nd: ~/data/f.fits\ne:\nf: [{g: 1}, {g: 2}]\n")
    expected = {
        "a": {"b": 5}, "c": {"b": 1}, "d": "/home/someone/data/f.fits", "e": {"h": {"i": 2}},
        "f": [{"g": 1}, {"g": "/home/someone/x"}], "j": 0,
    }  # fmt: skip
    variables = {"a.b": 5, "e.h.i": 2, "f.1.g": "~/x", "j": 0}
    assert load(path, variables) == expected
    other = tmp_path / "a.txt"
    other.write_text(json.dumps(expected))
    assert load(other, file_type="json") == expected
    (tmp_path / "empty.yaml").touch()
    assert load(tmp_path / "empty.yaml") == {}
    before = {"a": {"b": 1}}
    assert override(before, {"a.b": 2}) == {"a": {"b": 2}} and before == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "variables", "message"),
    [
        ("output: [\n", {}, r"x\.yaml, line 2, column 1: not YAML: .*flow node"),
        ("a: b: c\n", {}, r"x\.yaml, line 1, column 5: not YAML"),
        ("a: 2024-13-45\n", {}, r"x\.yaml: not YAML: month"),
        ("\0", {}, r"x\.yaml: not YAML"),
        ("- 1\n", {}, "must be a table of keys and values, not a list"),
        ("words\n", {}, "must be a table of keys and values, not a str"),
        ("a: 3\n", {"a.b": 1}, r"a\.b: there is no b in 3"),
        ("a: [1]\n", {"a.1": 1}, r"a\.1: there is no 1 in \[1\]"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path, text, variables, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(galsim.GalSimConfigError, match=message):
        load(path, variables)


def test_what_is_no_text_is_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1,}')
    with pytest.raises(galsim.GalSimConfigError, match=r"x\.json, line 1, column \d+: not JSON"):
        load(path)
    path.write_bytes(b"\x89HDF\xff")
    with pytest.raises(galsim.GalSimConfigError, match=r"x\.json is not a text file"):
        load(path)
    with pytest.raises(OSError, match="nothere"):
        load(tmp_path / "nothere.yaml")
    with pytest.raises(OSError, match=str(tmp_path)):
        load(tmp_path)


def test_help_says_what_is_needed_and_what_is_usual():
    lines = describe(Outer)
    assert len(lines) == 10
    assert lines[0].split() == ["output=", "where", "to", "write", "(needed)"]
    assert lines[4].split() == ["swift=", "be", "quick", "(default:", "false)"]
    assert lines[1].split(maxsplit=1)[1] == "a list (default: ['a'])"
    assert lines[2].split() == ["number=", "a", "number"]
    assert lines[5].split()[:4] == ["inner.steps=", "a", "whole", "number"]


def test_a_missing_library_is_told_how_to_be_installed():
    assert "pip install '.[train]'  in a clone" in how_to_install("skimage.measure")
    assert "pip install '.[shear]'" in how_to_install("dask")
    assert "github.com" in how_to_install("ngmix")
    assert how_to_install("zuko") == "zuko is not installed: run  pip install zuko"
