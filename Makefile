# Every target works from a fresh checkout. `setup` installs when pyproject.toml has changed, and when a file came or
# went links it into the installed package; else it does nothing.
#
# The install is a strict one: a folder ./tiktalkcoref, which `tiktalkcoref prepare` writes, does not shadow it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
FILES := .venv/.files
NOT_PACKAGED := tests/% benchmarks/% docs/% demo/% runs/% tiktalkcoref/% build/%
SUFFIXES := py typed yaml md html txt css js
PACKAGED := $(foreach suffix,$(SUFFIXES),$(wildcard *.$(suffix) */*.$(suffix) */*/*.$(suffix)))
PACKAGED := $(sort $(filter-out $(NOT_PACKAGED),$(PACKAGED)))

.PHONY: setup demo test test-all lint bench always

setup: $(STAMP)

$(STAMP): pyproject.toml $(FILES)
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=strict \
	    $(if $(filter pyproject.toml,$?),,--no-deps --no-build-isolation) --editable '.[dev]'
	touch $@

$(FILES): always
	@mkdir -p .venv
	@test -d build && echo '$(PACKAGED)' | cmp -s - $@ || echo '$(PACKAGED)' > $@

demo: setup
	$(BIN)/tiktalkcoref demo --output demo

test: setup
	$(BIN)/python -m pytest -n auto --ignore tests/test_hub_handler.py
	$(BIN)/python -m pytest tests/test_hub_handler.py  # measures memory: alone

test-all: setup
	$(BIN)/python -m pytest -m 'slow or not slow'

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: setup
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done
