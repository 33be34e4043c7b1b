# `make demo` and `make test` need nothing but Python 3.11 or 3.12: they make a virtual environment
# in .venv, or use the one that is there, and install again only when pyproject.toml or
# constraints.txt change.

VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.12 python3.11 python; do \
	if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	>/dev/null 2>&1; then echo $$p; break; fi; done)
endif

.PHONY: help demo demos test lint types bench docs figures clean

help:
	@echo "make demo     install, draw examples/demo1.yaml, write examples/output/demo1.{fits,png}"
	@echo "make test     install, then lint, types and tests"
	@echo "make demos    every demo, Python and YAML"
	@echo "make bench    the benchmarks"
	@echo "make docs     the documentation, in docs/_build/html"
	@echo "make figures  draw the documentation's pictures again"
	@echo "make clean    remove what the other targets made, except $(VENV)"

demo: $(VENV)/.core
	$(BIN)/galsim -v 2 examples/demo1.yaml
	$(BIN)/python examples/plot_demo.py examples/output/demo1.png examples/output/demo1.fits

demos: demo
	$(BIN)/python examples/demo1.py
	$(BIN)/galsim -v 2 examples/demo2.yaml
	$(BIN)/python examples/plot_demo.py examples/output/demo2.png \
		examples/output/demo2_i.fits examples/output/demo2_r.fits examples/output/demo2_g.fits
	$(BIN)/python examples/plot_demo.py examples/output/demo2_vis.png examples/output/demo2_vis.fits
	$(BIN)/python examples/demo2.py
	$(BIN)/python examples/demo_btk.py
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[shear]'
	$(BIN)/galsim-vae calibrate examples/demo_shear.yaml
	$(BIN)/python examples/demo_shear.py

test: lint types
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/pyright

bench: $(VENV)/.dev
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-columns=min,median,iqr,ops

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

figures: $(VENV)/.core
	$(BIN)/python docs/figures.py

clean:
	rm -rf build dist *.egg-info docs/_build docs/generated examples/output \
		.pytest_cache .ruff_cache .hypothesis .benchmarks

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "galsim_vae needs Python 3.11 or 3.12, and found neither:" \
		"install one, or name it with 'make PYTHON=/path/to/python3.12'." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "Installing galsim_vae in $(VENV): some minutes the first time."
	$(INSTALL) .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "Installing galsim_vae and the tools of its tests in $(VENV): some minutes the first time."
	$(INSTALL) '.[dev]'
	@touch $@ $(VENV)/.core

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "Installing galsim_vae and the tools of its documentation in $(VENV)."
	$(INSTALL) '.[docs]'
	@touch $@ $(VENV)/.core
