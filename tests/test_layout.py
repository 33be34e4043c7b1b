"""The rules of the house (CONTRIBUTING.md): who may import whom, what a module shows."""

import ast
import importlib
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from places import ROOT

PACKAGE = ROOT / "galsim_vae"

# A module may import what stands on an earlier line, and its own folder.
GROUND = "bands conditions deviates devices files galaxy geometry plots settings shapes tables"
ORDER = (
    *(GROUND, "frame filters render model", "stamps", "generator"),
    *("config blending shear descwl latents", "train", "cli"),
)
TRAIN_ORDER = (
    "statistics training_file apertures synthetic", "readers fit", "ingest evaluate",
    "clean check latents",
)  # fmt: skip
# The user's ways in do not know one another.
APART = set("config blending shear descwl latents".split())
# What training may take from the ways in: their public names, and these modules.
FOR_TRAINING = {"galsim_vae.shear", "galsim_vae.shear.twins", "galsim_vae.shear.estimators"}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
# Blends need BlendingToolKit, which is an extra; the command's module runs it.
IMPORTED = [
    name for name in MODULES
    if not name.endswith("__main__") and (room(name) != "blending" or find_spec("btk"))
]  # fmt: skip
TESTS = sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, str | None, str]]:
    """Yield the module, the name taken from it or None, and what it is called here.

    What is imported for the type checker alone is left out.
    """
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    nodes = list(ast.walk(ast.parse(path.read_text())))
    hidden = {
        id(inner)
        for node in nodes if isinstance(node, ast.If)
        if ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body for inner in ast.walk(statement)
    }  # fmt: skip
    for node in nodes:
        if id(node) in hidden or not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for alias in node.names:
            called = alias.asname or alias.name
            if isinstance(node, ast.Import):
                yield alias.name, None, called
                continue
            base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            module = ".".join(filter(None, [base if node.level else "", node.module]))
            inner = f"{module}.{alias.name}"
            yield (inner, None, called) if inner in MODULES else (module, alias.name, called)


EDGES = {
    name: {target for target, _, _ in imports(path) if target in MODULES and target != name}
    for name, path in MODULES.items()
}


def level(name: str, order: tuple[str, ...]) -> int:
    return next((i for i, line in enumerate(order) if name in line.split()), -1)


@pytest.mark.parametrize("name", [name for name in MODULES if room(name)])
def test_a_module_imports_only_what_stands_before_it(name):
    for target in filter(room, EDGES[name]):
        here, there = room(name), room(target)
        if here == there == "train":
            mine, other = (part(module) for module in (name, target))
            assert mine == other or level(other, TRAIN_ORDER) < level(mine, TRAIN_ORDER), target
        elif here == "train" and there in APART:
            assert there == "latents" or target in FOR_TRAINING, target
        elif here != there:
            alike = level(here, ORDER) == level(there, ORDER)
            assert level(there, ORDER) < level(here, ORDER) or (alike and here not in APART), target


def part(name: str) -> str:
    return name.split(".")[2] if name.count(".") > 1 else ""


def test_no_module_imports_itself_by_way_of_others():
    done, path = set(), []

    def walk(name):
        assert name not in path, " -> ".join([*path[path.index(name):], name])
        if name in done:
            return
        path.append(name)
        for target in sorted(EDGES[name]):
            if MODULES[target].name != "__init__.py":
                walk(target)
        path.pop()
        done.add(name)

    for name, file in MODULES.items():
        if file.name != "__init__.py":
            walk(name)


@pytest.mark.parametrize(
    "path", [*MODULES.values(), *TESTS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_private_names_stay_at_home(path):
    ours = set()
    for module, name, called in imports(path):
        if module.startswith("galsim_vae"):
            assert not private(name or ""), f"{module}.{name}"
            ours |= {called} if name is None else set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ours:
            assert not private(node.attr), ast.unparse(node)


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("name", IMPORTED)
def test_every_module_lists_what_it_shows(name):
    tree = ast.parse(MODULES[name].read_text())
    assigned = [
        target.id
        for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    ]  # fmt: skip
    assert "__all__" in assigned
    module = importlib.import_module(name)
    for public in module.__all__:
        assert hasattr(module, public) or f"{name}.{public}" in MODULES, public


def test_the_faces_are_short_and_the_hall_is_small():
    for name, path in MODULES.items():
        if path.name == "__init__.py" and name != "galsim_vae":
            assert len(path.read_text().splitlines()) <= 20, name
    assert len(list(PACKAGE.glob("*.py"))) <= 15


def test_every_folder_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert set(project["tool"]["setuptools"]["packages"]) == folders | {"galsim_vae.weights"}
