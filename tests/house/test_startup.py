"""Start-up: `import mnv2search` and every `--help` load what is listed here and nothing else."""

import importlib
import json
import os
import subprocess
import sys

import pytest

IMPORT_LOADS = {"mnv2search.latency.runner"}
HELP_LOADS = {*IMPORT_LOADS, "click", "mnv2search.cli", "mnv2search.errors", "mnv2search.untrusted"}
COMMANDS = [
    "run",
    "worker",
    "compile",
    "data",
    "train",
    "weights",
    "evaluate",
    "predict",
    "supernet",
    "audit",
    "scores",
    "check",
    "cost",
    "spec",
    "draw",
    "explain",
    "diff",
    "latency",
    "devices",
    "device-profile",
    "front",
    "report",
    "dashboard",
    "catalog",
    "verify",
    "completion",
    "doctor",
]

PROBE = """
import json, sys
before = set(sys.modules)
import mnv2search
imported = set(sys.modules) - before
from mnv2search.cli.main import cli
for words in json.loads(sys.argv[1]):
    try:
        cli.main([*words, "--help"], standalone_mode=False)
    except SystemExit:
        pass
print(json.dumps([sorted(imported), sorted(set(sys.modules) - before)]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def loaded() -> tuple[list[str], list[str]]:
    """Modules that the import loads, and those that it and every help load together."""
    words = [[], *([name] for name in COMMANDS), ["devices", "audit"], ["devices", "probe"], ["weights", "list"]]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(words)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    imported, helped = json.loads(done.stderr)
    return imported, helped


def unlisted(modules: list[str], listed: set[str]) -> list[str]:
    """Modules that are not of Python, not on the list, not below an entry of it, and not a package that holds one."""
    return [
        module
        for module in modules
        if module.split(".")[0] not in sys.stdlib_module_names
        and not any(f"{module}.".startswith(f"{e}.") or f"{e}.".startswith(f"{module}.") for e in listed)
    ]


def test_the_import_loads_what_is_listed(loaded: tuple[list[str], list[str]]) -> None:
    assert unlisted(loaded[0], IMPORT_LOADS) == []


def test_every_help_loads_what_is_listed(loaded: tuple[list[str], list[str]]) -> None:
    assert unlisted(loaded[1], HELP_LOADS) == []


def test_an_unlisted_module_is_found() -> None:
    assert unlisted(["json", "mnv2search.cli.main", "mnv2search.spec", "numpy"], HELP_LOADS) == [
        "mnv2search.spec",
        "numpy",
    ]


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
        name: getattr(importlib.import_module(f"mnv2search.cli.{module}"), f"{name.replace('-', '_')}_command").help
        for name, (module, _) in LISTED.items()
    }
    assert {name: text.split()[0] for name, text in own.items()} == {n: t.split()[0] for n, (_, t) in LISTED.items()}
