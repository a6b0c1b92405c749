# What one does with a fresh clone. Needs Python 3.11 or newer and make, nothing else.
#
#   make demo PYTHON=python3.12     use another interpreter
#   make test PYTEST_ARGS="-k cli"  run some tests only

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-all examples check format bench clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/.emds ## Run the whole pipeline on a small synthetic volume and write demo/index.html
	$(BIN)/emds demo --out demo --overwrite

test: $(VENV)/.dev ## Run the tests and the examples in the docstrings
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

test-all: $(VENV)/.dev ## The same with the slow tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not gpu" $(PYTEST_ARGS)

examples: $(VENV)/.emds ## Run the examples
	PATH="$(abspath $(BIN)):$$PATH"; export PATH; \
	for script in examples/*.sh; do echo "== $$script"; bash "$$script" || exit 1; done; \
	for script in examples/*.py; do echo "== $$script"; python "$$script" || exit 1; done

check: $(VENV)/.dev ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench ## Measure speed and memory
	$(BIN)/python benchmarks/noise.py
	$(BIN)/python benchmarks/mutex_watershed.py
	$(BIN)/python benchmarks/evaluate.py
	$(BIN)/python benchmarks/inference.py --checkpoint emds/pretrained/stack.pt

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

# One stamp for each set of dependencies, so that an environment is built once and again when
# the dependencies change.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "emds needs Python 3.11 or newer, $(PYTHON) is older. Try: make PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.emds: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install $(PIP_ARGS) --editable .
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install $(PIP_ARGS) --editable ".[dev]"
	touch $@ $(VENV)/.emds

$(VENV)/.bench: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install $(PIP_ARGS) --editable ".[bench]"
	touch $@ $(VENV)/.emds
