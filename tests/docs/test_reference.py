"""The reference has every module once, and what scripts call is described in numpydoc's form."""

import importlib
import re

import pytest
from places import ROOT

#: What numpydoc may say of a docstring: no examples and no "See also", and summaries and openings
#: as this project writes them.
ALLOWED = {"GL01", "GL02", "SA01", "EX01", "ES01", "SS05", "SS06"}


def _listed(page: str) -> list[str]:
    return re.findall(r"^   ([A-Za-z_.]+)$", (ROOT / "docs" / page).read_text(), re.MULTILINE)


def _find(name: str) -> object:
    """The object or module galsim_vae.<name>."""
    try:
        return importlib.import_module(f"galsim_vae.{name}")
    except ModuleNotFoundError:
        module, _, last = f"galsim_vae.{name}".rpartition(".")
        return getattr(importlib.import_module(module), last)


def _described(name: str) -> list[str]:
    """The functions, classes and methods that an entry of the reference shows."""
    found = _find(name)
    module = getattr(found, "__module__", None)
    if module is None:
        own = [getattr(found, public) for public in vars(found)["__all__"]]
        objects = [o for o in own if getattr(o, "__module__", None) == f"galsim_vae.{name}"]
    else:
        objects = [found]
    names = []
    for item in objects:
        full = f"{item.__module__}.{item.__name__}"
        names.append(full)
        if isinstance(item, type):
            names += [f"{full}.{m}" for m, v in vars(item).items() if m[0] != "_" and callable(v)]
    return names


def test_the_list_of_modules_is_whole():
    package = ROOT / "galsim_vae"
    files = [file.relative_to(package) for file in package.rglob("*.py")]
    modules = [".".join(f.with_suffix("").parts) for f in files if not f.name.startswith("__")]
    assert sorted(_listed("developer.rst")) == sorted(modules)


@pytest.mark.parametrize("entry", _listed("api.rst"))
def test_what_scripts_call_is_described(entry):
    validate = pytest.importorskip("numpydoc.validate").validate
    if entry.startswith("blending"):
        pytest.importorskip("btk")
    faults = []
    for name in _described(entry):
        report = validate(name)
        # The fields of a dataclass or tuple are its Attributes.
        fields = "Attributes\n" in (report["docstring"] or "")
        faults += [
            f"{name}: {code} {text}"
            for code, text in report["errors"]
            if code not in ALLOWED and not (code == "PR01" and fields)
        ]
    assert not faults, "\n".join(faults)
