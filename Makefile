# `make demo` and `make test` set up everything they need: Python 3.11 or later with pip, and a package index.
# A virtual environment is made in .venv; VENV and PYTHON choose others.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(if $(shell $(name) -c "import sys; print(sys.version_info >= (3, 11) or '')" 2>/dev/null),$(name))))
VENV ?= .venv
BIN = $(VENV)/bin
TEST_DATA = $(or $(THRESHER_TEST_DATA),../shared/data)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Compiling every module again in each of some hundred processes takes minutes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-long bench simulate chaos lint types check wheel clean help

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11

demo: $(VENV)/.runtime ## Ingest a simulated region of Sentinel-2 scenes and look at the layers
	$(BIN)/thresher demo

test: $(VENV)/.test ## Every test but the long ones and the benchmarks
	$(BIN)/python -m pytest -n $(or $(PROCESSES),3) --dist loadfile --no-loadscope-reorder -m "not long" $(ARGS)

test-long: $(VENV)/.test ## The wheel installed alone; upgrade, backup and random faults under load
	$(BIN)/python -m pytest -n $(or $(PROCESSES),3) --dist loadfile -m long $(ARGS)

bench: $(VENV)/.test ## What docs/performance.md shows, measured on this machine
	$(BIN)/python tests/benchmarks/workflow.py
	@if test -d "$(TEST_DATA)"; then $(BIN)/python tests/benchmarks/burst_inventory.py; \
	else echo "burst_inventory.py needs recorded real data (THRESHER_TEST_DATA)"; fi

simulate: $(VENV)/.runtime ## SIMULATED: up to 5,000 workers, from measured service times, with a picture in docs/scale.png
	$(BIN)/python tests/benchmarks/simulate.py --plot docs/scale.png

chaos: $(VENV)/.test ## Random faults against a stack of processes: SEEDS runs, or those from SEED on; what must hold is checked
	PYTHONPATH=tests $(BIN)/python -m chaos --seeds $(or $(SEEDS),1) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: $(VENV)/.lint ## Style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint deploy/Containerfile deploy/Containerfile.snap

types: $(VENV)/.lint ## Static types
	$(BIN)/mypy

check: lint types test test-long ## All of it

wheel: $(VENV)/.lint ## A wheel in dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## Remove the virtual environment and everything made
	rm -rf $(VENV) dist build .thresher .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed (set PYTHON=/path/to/python)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test]'
	@touch $@ $(VENV)/.runtime

$(VENV)/.lint: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test,lint]'
	@touch $@ $(VENV)/.test $(VENV)/.runtime
