"""The reference has every module, once."""

import re

from places import ROOT


def test_the_list_of_modules_is_whole():
    package = ROOT / "galsim_vae"
    files = [file.relative_to(package) for file in package.rglob("*.py")]
    modules = [".".join(f.with_suffix("").parts) for f in files if not f.name.startswith("__")]
    listed = re.findall(r"^   ([a-z_.]+)$", (ROOT / "docs" / "developer.rst").read_text(), re.M)
    assert sorted(listed) == sorted(modules)
