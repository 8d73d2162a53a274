"""Every command is one call from Python, with the options of the command line, and short results."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Mapping

import click
import pytest
from generator import GENERATOR

import mnv2search

LEAVES: Mapping[str, tuple[click.Command, click.Context]] = GENERATOR.leaves()
CALLS = {name: function for name in LEAVES if (function := GENERATOR.function_of(name)) is not None}
# Arguments and required options of commands.
WORDS = {
    "run": [],
    "worker": ["mine", "--storage", "shared.sqlite3"],
    "compile": ["net.yaml"],
    "data": ["photos"],
    "train": [],
    "evaluate": ["best.pt", "--data", "photos"],
    "predict": ["best.pt", "photo.png"],
    "supernet": ["--space", "tiny32", "--data", "photos"],
    "audit": ["mine", "--data", "photos"],
    "scores": ["tiny32"],
    "check": ["net.yaml"],
    "cost": ["net.yaml"],
    "spec": ["net.yaml"],
    "explain": ["net.yaml"],
    "diff": ["net.yaml", "other.yaml"],
    "draw": ["net.yaml"],
    "latency": ["net.yaml"],
    "front": ["results/mine"],
    "report": ["results/mine"],
    "dashboard": ["results/mine"],
    "verify": ["results/mine"],
    "weights get": ["efficientnet_lite0"],
}
# Options about what is printed; one that is a function of its own, `repair_run`; one that is a method of the result.
PRINTING = {"json", "csv", "markdown", "quiet", "all"}
ELSEWHERE = {"verify": {"repair"}, "devices audit": {"output"}}
# Parameters for tests and for callers that share a machine.
PYTHON_ONLY = {"clock", "workers"}


def parameter_name(one: click.Parameter) -> str:
    """The parameter of a function for an argument or an option: its longest name in snake case."""
    text = max(one.opts, key=len).removeprefix("--").replace("-", "_")
    return f"{text}_" if keyword.iskeyword(text) else text


def parameters_of(function: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(getattr(mnv2search, function)).parameters


@pytest.mark.parametrize("name", CALLS)
def test_a_function_takes_what_its_command_takes(name: str) -> None:
    of_command = {parameter_name(one) for one in LEAVES[name][0].params} - PRINTING - ELSEWHERE.get(name, set())
    of_function = {one for one in parameters_of(CALLS[name]) if not one.startswith("on_")}
    assert of_function - (PYTHON_ONLY - of_command) == of_command


@pytest.mark.parametrize("name", CALLS)
def test_a_function_has_the_defaults_of_its_command(name: str) -> None:
    command = LEAVES[name][0]
    params = command.make_context(name, list(WORDS.get(name, []))).params
    names = {parameter_name(one): one.name or "" for one in command.params}
    taken = parameters_of(CALLS[name])
    defaults = {
        one: str(taken[one].default) for one in taken if one in names and taken[one].default != inspect._empty
    }
    assert {one: str(params.get(names[one])) for one in defaults} == defaults


@pytest.mark.parametrize("function", CALLS.values())
def test_the_function_of_a_command_is_public(function: str) -> None:
    assert function in mnv2search.__all__


def test_every_other_name_of_a_function_belongs_to_a_command() -> None:
    assert GENERATOR.FUNCTIONS.keys() <= LEAVES.keys()
