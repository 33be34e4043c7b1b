"""Sphinx configuration; `make docs` builds the pages in docs/_build/html."""

from importlib.metadata import version as installed_version

project = "galsim_vae"
author = "the galsim_vae developers"
copyright = f"2026, {author}"  # noqa: A001
release = version = installed_version("galsim_vae")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx-mathjax-offline",  # copies MathJax into the pages, which then need no network
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
smartquotes = False  # 0.2" is an angle
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

# Docstrings write |g| for the size of an ellipticity, which docutils takes for a substitution.
rst_prolog = r".. |g| replace:: \|g\|"

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's Parameters sections hold the types
autodoc_inherit_docstrings = False  # GalSim's own docstrings are no valid reStructuredText
numpydoc_show_class_members = False
# What holds for all modules; tests/docs/test_reference.py asks for more of what scripts call.
numpydoc_validation_checks = {"PR02", "PR03", "PR05", "PR06", "PR09", "PR10"}

html_theme = "pydata_sphinx_theme"
html_title = f"galsim_vae {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_sidebars = {"**": ["pages"]}
html_theme_options = {
    "navbar_center": [],  # the sidebar has all pages
    "show_prev_next": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
}
