"""What starting costs: help and import load click alone."""

import importlib
import json
import os
import subprocess
import sys

import pytest

HEAVY = {"torch", "optuna", "numpy", "yaml", "rich", "onnx", "onnxruntime", "matplotlib", "fvcore"}
COMMANDS = [
    "run",
    "compile",
    "data",
    "train",
    "predict",
    "supernet",
    "audit",
    "scores",
    "check",
    "cost",
    "latency",
    "devices",
    "device-profile",
    "front",
    "catalog",
    "verify",
]

PROBE = """
import json, sys, time
import mnv2search
from mnv2search.cli.main import cli
for words in json.loads(sys.argv[1]):
    try:
        cli.main([*words, "--help"], standalone_mode=False)
    except SystemExit:
        pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
print(time.process_time(), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def probe() -> tuple[set[str], float]:
    words = [[], *([name] for name in COMMANDS)]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(words)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    modules, cpu_s = done.stderr.strip().splitlines()
    return {name.split(".")[0] for name in json.loads(modules)}, float(cpu_s)


def test_import_and_every_help_load_nothing_heavy(probe: tuple[set[str], float]) -> None:
    assert probe[0] & HEAVY == set()


def test_public_names_are_there() -> None:
    import mnv2search

    assert [name for name in mnv2search.__all__ if getattr(mnv2search, name, None) is None] == []


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import mnv2search

    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = mnv2search.serach


def test_the_function_search_is_not_hidden_by_a_module() -> None:
    import mnv2search
    import mnv2search.study.engine

    assert callable(mnv2search.search)


def test_help_lists_every_command_with_the_verb_of_its_own_help() -> None:
    from mnv2search.cli.main import COMMANDS as LISTED

    assert list(LISTED) == COMMANDS
    own = {
        name: importlib.import_module(f"mnv2search.cli.{package}.{name.replace('-', '_')}").command.help
        for name, (package, _) in LISTED.items()
    }
    assert {name: text.split()[0] for name, text in own.items()} == {n: t.split()[0] for n, (_, t) in LISTED.items()}
