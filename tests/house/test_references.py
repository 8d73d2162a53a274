"""The reference pages have what the code has: every option, key, value and default, and nothing else."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from pages import PAGES, ROOT, name_of, named_commands, named_options, section, table_rows

from mnv2search import plugins
from mnv2search.latency.registry import PLACING
from mnv2search.latency.runner import OFF
from mnv2search.recipe import Recipe, recipe_names
from mnv2search.spec.rules import rules_of

REFERENCE = ROOT / "docs" / "reference"
# Options of other programs, in their commands, and of the benchmarks.
FOREIGN = {"--nproc-per-node", "--cpus", "--head", "--from-env-file", "--follow", "--container"}


def _generator() -> ModuleType:
    place = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


GENERATOR = _generator()
LEAVES: Mapping[str, tuple[click.Command, click.Context]] = GENERATOR.leaves()
KNOWN = {option for command, context in LEAVES.values() for one in command.get_params(context) for option in one.opts}
KNOWN |= {option for command, _ in LEAVES.values() for one in command.params for option in one.secondary_opts}
BENCHMARKS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
NAMED = [(page, words) for page in PAGES for words in named_commands(page)]
EVALUATORS = sorted(plugins.BUILT_IN["evaluator"])
DEVICES = sorted(plugins.BUILT_IN["device"])


def options_of(kind: str, name: str) -> dict[str, Any]:
    """The options of a plug-in with their defaults; those without one are required."""
    parameters = inspect.signature(plugins.load(kind, name)).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}


def spelled(default: Any) -> str:
    """A default as the tables have it."""
    return "required" if default is inspect.Parameter.empty else str(default)


@pytest.mark.parametrize("name", ["commands.md", "python.md", "recipes.md"])
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == GENERATOR.finished_pages()[name], "run `make docs`"


@pytest.mark.parametrize(("page", "words"), NAMED, ids=[f"{name_of(page)}-{words[0]}" for page, words in NAMED])
def test_a_command_that_a_page_shows_has_the_options_that_it_gives(page: Path, words: list[str]) -> None:
    given = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
    command, context = LEAVES.get(" ".join(words[:2])) or LEAVES[words[0]]
    assert given <= {option for one in command.get_params(context) for option in (*one.opts, *one.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_names_no_option_that_does_not_exist(page: Path) -> None:
    unknown = named_options(page) - KNOWN - FOREIGN
    assert {option for option in unknown if f'"{option}"' not in BENCHMARKS} == set()


@pytest.mark.parametrize("name", EVALUATORS)
def test_the_table_of_an_evaluator_has_its_options_and_defaults(name: str) -> None:
    rows = table_rows(section(REFERENCE / "evaluators.md", name))
    assert {row[0].strip("`"): row[-1].strip("`") for row in rows} == {
        option: spelled(default) for option, default in options_of("evaluator", name).items()
    }


@pytest.mark.parametrize("name", DEVICES)
def test_the_table_of_devices_has_the_options_of_a_device_and_their_defaults(name: str) -> None:
    rows = {row[0].strip("`"): row for row in table_rows(section(REFERENCE / "devices.md", "Options"))}
    options = options_of("device", name)
    assert {option: rows[option][-1].strip("`") for option in options} == {
        option: spelled(default) for option, default in options.items()
    }
    named = [option for option, row in rows.items() if f"`{name}`" in row[1]]
    assert [option for option in named if option not in options and "but" not in rows[option][1]] == []


def test_the_table_of_hosts_has_every_option() -> None:
    rows = table_rows(section(REFERENCE / "devices.md", "Options"))
    assert set(PLACING) <= {row[0].strip("`") for row in rows}


def test_the_tables_of_devices_and_evaluators_have_every_name() -> None:
    assert set(DEVICES) <= {row[0].strip("`") for row in table_rows((REFERENCE / "devices.md").read_text("utf-8"))}
    listed = table_rows((REFERENCE / "evaluators.md").read_text("utf-8"))
    assert set(EVALUATORS) <= {row[0].split("`")[1] for row in listed}


def test_the_page_on_recipes_has_every_recipe() -> None:
    rows = table_rows(section(REFERENCE / "recipes.md", "Built-in recipes"))
    assert {row[0].strip("`") for row in rows} == set(recipe_names())


def test_the_table_of_recipes_has_every_key_and_no_other() -> None:
    rows = table_rows(section(REFERENCE / "recipes.md", "Keys"))
    assert [row[0].strip("`") for row in rows] == [field.name for field in fields(Recipe) if field.name != "name"]


@pytest.mark.parametrize("row", table_rows(section(REFERENCE / "recipes.md", "Keys")), ids=lambda row: row[0])
def test_the_table_of_recipes_has_the_values_and_the_default_of_a_key(row: list[str]) -> None:
    key, _, values, default = row[0].strip("`"), *row[1:]
    rule = rules_of(Recipe)[key]
    words = rule.words or ("true", "false")
    least, most, *_ = rule.range
    expected = f"{least:g} to {most:g}" if rule.is_number else ", ".join(f"`{word}`" for word in words)
    assert values.removesuffix(", `null`") == expected
    shown = {None: "null", True: "true", False: "false"}
    value = {field.name: field.default for field in fields(Recipe)}[key]
    assert default.strip("`") == (shown[value] if value is None or isinstance(value, bool) else str(value))


def test_the_page_on_environment_variables_has_those_that_switch_telemetry_off() -> None:
    rows = table_rows((REFERENCE / "environment-variables.md").read_text(encoding="utf-8"))
    assert OFF.items() <= {row[0].strip("`"): row[1].strip("`") for row in rows}.items()
