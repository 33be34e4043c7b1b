# `make demo` and `make test` need nothing but Python 3.11 or later: they make a virtual environment
# in .venv, or use the one that is there, and install again only when pyproject.toml or
# constraints.txt change. `make test-latest` does the same in .venv-latest with the newest releases.

VENV := .venv
BIN := $(VENV)/bin
LATEST := .venv-latest
OUT := examples/output
PLOT := $(BIN)/python examples/plot_demo.py $(OUT)
INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable
# BlendingToolKit is for Python below 3.13.
BTK = $(shell $(BIN)/python -c 'import sys; print("btk" * (sys.version_info < (3, 13)))')
comma := ,
WITH_BTK = $(if $(BTK),$(comma)$(BTK))

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1; then echo $$p; break; fi; done)
endif

.PHONY: help demo demo2 demo3 demo4 demos test test-latest lint types bench docs figures clean

help:
	@echo "make demo     install, draw examples/demo1.yaml, write examples/output/demo1.{fits,png}"
	@echo "make test     install, then lint, types and tests"
	@echo "make test-latest  the tests with the newest releases, without BlendingToolKit"
	@echo "make demos    every demo, Python and YAML"
	@echo "make bench    the benchmarks"
	@echo "make docs     the documentation; says where its pages are"
	@echo "make figures  draw the documentation's pictures again"
	@echo "make clean    remove what the other targets made, except $(VENV)"

demo: $(VENV)/.core
	$(BIN)/galsim -v 2 examples/demo1.yaml
	$(PLOT)/demo1.png $(OUT)/demo1.fits

demo2: $(VENV)/.core
	$(BIN)/galsim -v 2 examples/demo2.yaml
	$(PLOT)/demo2.png $(OUT)/demo2_i.fits $(OUT)/demo2_r.fits $(OUT)/demo2_g.fits
	$(PLOT)/demo2_vis.png $(OUT)/demo2_vis.fits

demo3: $(VENV)/.core
	$(BIN)/galsim -v 1 examples/demo3.yaml
	$(PLOT)/demo3.png --columns 3 --gap 24 $(OUT)/demo3_S[0-2][0-2].fits

demo4: $(VENV)/.core
	$(BIN)/galsim -v 2 examples/demo4.yaml
	$(PLOT)/demo4_vis.png $(OUT)/demo4_vis.fits
	$(PLOT)/demo4_roman.png $(OUT)/demo4_H158.fits $(OUT)/demo4_J129.fits $(OUT)/demo4_Y106.fits

demos: demo demo2 demo3 demo4
	$(BIN)/python examples/demo1.py
	$(BIN)/python examples/demo2.py
	$(BIN)/python examples/demo3.py
	$(BIN)/python examples/demo4.py
	$(BIN)/python examples/demo_btk.py
	$(BIN)/python examples/demo_gradient.py
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[shear,train]'
	$(BIN)/galsim-vae calibrate examples/demo_shear.yaml
	$(BIN)/python examples/demo_shear.py
	$(BIN)/python examples/demo_latents.py

test: lint types
	$(BIN)/python -m pytest

test-latest: $(LATEST)/.dev
	$(LATEST)/bin/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/pyright

bench: $(VENV)/.dev
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-columns=min,median,iqr,ops

docs: $(VENV)/.docs
	rm -rf docs/generated docs/_build
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "The documentation is in $(CURDIR)/docs/_build/html/index.html"

figures: demo demo3 demo4
	cp $(addprefix $(OUT)/,demo1.png demo3.png demo4_vis.png demo4_roman.png) docs/_static
	$(BIN)/python docs/figures.py

clean:
	rm -rf $(LATEST) build dist *.egg-info docs/_build docs/generated examples/output \
		.pytest_cache .ruff_cache .hypothesis .benchmarks

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "galsim_vae needs Python 3.11 or later, and found none:" \
		"install one, or name it with 'make PYTHON=/path/to/python3'." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "Installing galsim_vae in $(VENV): some minutes the first time."
	$(INSTALL) '.[$(BTK)]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "Installing galsim_vae and the tools of its tests in $(VENV): some minutes the first time."
	$(INSTALL) '.[dev$(WITH_BTK)]'
	@touch $@ $(VENV)/.core

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "Installing galsim_vae and the tools of its documentation in $(VENV)."
	$(INSTALL) '.[docs$(WITH_BTK)]'
	@touch $@ $(VENV)/.core

# torch stays at the release of constraints.txt, which has a small build for the CPU.
$(LATEST)/.dev: pyproject.toml constraints.txt | $(VENV)/.python
	@echo "Installing galsim_vae and the newest releases of what it needs in $(LATEST)."
	$(BIN)/python -m venv $(LATEST)
	$(LATEST)/bin/python -m pip install --quiet --upgrade --editable '.[dev]' \
		"$$(grep '^torch==' constraints.txt)"
	@touch $@
