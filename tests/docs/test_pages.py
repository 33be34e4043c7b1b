"""Every code block of the README and of the documentation runs as a reader would run it.

A page is read from top to bottom, in a folder of its own. Python blocks share their names, shell
blocks run by `bash`, and a YAML block is a configuration of GalSim, which is processed, unless its
first line names a file (``# run.yaml``): then it is written there, for the shell block that uses
it. A block that cannot run stands below a comment ``<!--- skip: next "reason" -->``.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest import SkipTest

import galsim
import pytest
from places import ROOT
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "weights").glob("*.md")),
]  # fmt: skip
# The pages that can run: blends need BlendingToolKit, which is an extra.
RUN = [
    page for page in PAGES
    if find_spec("btk") or "from galsim_vae.blending import" not in page.read_text()
]  # fmt: skip
LANGUAGES = {"python", "yaml", "shell", "text"}


def run_shell(example: Example) -> None:
    """Run the lines of a block, with this environment's commands first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(
        ["bash", "-e", "-c", example.parsed], env=os.environ | {"PATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, example.parsed + result.stdout + result.stderr


def run_yaml(example: Example) -> None:
    """Write a file that the block names, or process a configuration of GalSim."""
    name = re.match(r"# (\S+\.yaml)\n", example.parsed)
    file = Path(name[1] if name else "galsim.yaml")
    file.write_text(example.parsed)
    if not name:
        for config in galsim.config.ReadConfig(str(file)):
            galsim.config.Process(config)


SYBIL = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser("shell", run_shell),
        CodeBlockParser("yaml", run_yaml),
        SkipParser(),
    ]
)


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", "examples", ignore=shutil.ignore_patterns("output"))
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    for example in SYBIL.parse(page).examples():
        try:
            example.evaluate()
        except SkipTest:
            pass


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page):
    text = page.read_text()
    fences = re.findall(r"^ *```+(.*)$", text, re.MULTILINE)
    for info in fences[::2]:
        assert info in LANGUAGES or info.startswith("{"), f"{page.name}: ```{info}"
    assert not any(fences[1::2])
    run = sum(info in LANGUAGES - {"text"} for info in fences[::2])
    instructions = re.findall(r"^<!--- .*", text, re.MULTILINE)
    assert len(list(SYBIL.parse(page).examples())) == run + len(instructions)
    for line in instructions:
        assert re.match(r'<!--- (skip: next ".+" -->|invisible-code-block: \w+)$', line), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_is_hidden_in_an_indent(page):
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for before, line in zip(["", *text.splitlines()], text.splitlines(), strict=False):
        assert before or not re.match(r"    \S", line), f"{page.name}: {line}"
