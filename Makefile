# make run                     trains and measures the default model
# make run ARGS="model=vae"    passes these arguments to `python -m benchmark` instead
# make run EXTRAS=gpu,sweep    installs optional groups too: gpu, sweep, hpo, tensorboard
# make test                    everything that is checked before a change goes in; minutes
# make test-slow               the tests that `make test` leaves out as they take long
# make test-faults             kills, cut files, wrong inputs: all of them; an hour
# make clean                   removes the environment and the caches, never the results

PYTHON ?= python3
VENV ?= .venv
ARGS ?= model=ddpm dataset=mnist
EXTRAS ?=
# Files are started in the order in which they are collected, the longest first: tests/conftest.py.
PYTEST_ARGS ?= --numprocesses=2 --dist=loadfile --no-loadscope-reorder --durations=25

export TF_CPP_MIN_LOG_LEVEL ?= 3
# Images of containers often set it; then each process compiles TensorFlow's modules again.
export PYTHONDONTWRITEBYTECODE :=

BIN := $(VENV)/bin
# Python compiles the modules that are used as it imports them: a fraction of what pip would compile.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
    --constraint constraints.txt
comma := ,

# What is installed is remembered in a file, so that the second call starts at once.
RUN_STAMP := $(VENV)/.installed-run-$(EXTRAS)
TEST_STAMP := $(VENV)/.installed-test-$(EXTRAS)

.PHONY: run test test-slow test-faults lint typecheck clean

run: $(RUN_STAMP)
	@$(BIN)/python -m benchmark $(ARGS)

test: lint typecheck
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-slow: $(TEST_STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m 'slow and not gpu and not faults'

test-faults: $(TEST_STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m 'faults and not gpu'

lint: $(TEST_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

typecheck: $(TEST_STAMP)
	$(BIN)/mypy

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed: make PYTHON=<python>." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV), once; this takes some minutes."
	$(PIP_INSTALL) --editable '.$(if $(EXTRAS),[$(EXTRAS)])'
	@touch $@

$(TEST_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV), once; this takes some minutes."
	$(PIP_INSTALL) --editable '.[dev$(if $(EXTRAS),$(comma)$(EXTRAS))]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
