"""The page on the spec language against the code: its examples load, its tables have every key, range and default."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from mnv2search.spec import model_spec as ms
from mnv2search.spec.plan import plan
from mnv2search.spec.rules import Rule, rules_of
from mnv2search.spec.space import SearchSpace, resolve
from mnv2search.spec.yaml.codec import loads
from mnv2search.spec.yaml.fields import STRUCTURAL, keys_of, spelled

TEXT = (Path(__file__).parents[3] / "docs" / "reference" / "spec-language.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
HEADER = "| key | what | range | default |\n"


def rows_of(table: str) -> dict[str, tuple[str, str]]:
    """Key to (range, default) of one table."""
    lines = [line for line in table.split("\n\n", maxsplit=1)[0].splitlines()[1:] if line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {key.strip("`"): (span, default) for key, _, span, default in cells}


TABLES = dict(
    zip(
        (
            *(ms.ModelSpec, ms.Stem, ms.Classifier, ms.BatchNorm, ms.BlockSpec),
            *(ms.SsdLite, ms.ExtraLayer, ms.DeepLab),
        ),
        map(rows_of, TEXT.split(HEADER)[1:]),
        strict=True,
    )
)
KEYED = [(kind, key, name) for kind in TABLES for key, name in keys_of(kind).items() if name != "name"]
IDS = [f"{kind.__name__}.{key}" for kind, key, _ in KEYED]


def range_of(kind: type, name: str) -> str:
    """The range of a field as the tables spell it."""
    rule = rules_of(kind)[name]
    return entry_range(rule) if rule.entries is None else f"list of {entry_range(rule)}"


def entry_range(rule: Rule) -> str:
    """The range of a field, or of one entry of a list."""
    if rule.kind == "text":
        return "an endpoint" if rule.entries is None else "endpoints"
    if rule.options is not None:
        return ", ".join(map(str, rule.options.numbers))
    if rule.is_number:
        least, most, is_open, _ = rule.range
        spelt = str if rule.kind == "integer" else "{:g}".format
        return f"above {spelt(least)}, to {spelt(most)}" if is_open else f"{spelt(least)} to {spelt(most)}"
    return ", ".join(f"`{word}`" for word in rule.words or ("true", "false"))


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.partition("name: ")[2].split()[0])
def test_an_example_loads_and_can_be_laid_out(text: str) -> None:
    value = loads(text)
    spec = resolve(value, [0] * len(value.axes)) if isinstance(value, SearchSpace) else value
    assert plan(spec).units


def test_there_is_a_space_among_the_examples() -> None:
    assert [isinstance(loads(text), SearchSpace) for text in EXAMPLES] == [False, False, False, True]


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_example_runs(code: str) -> None:
    names: dict[str, object] = {}
    exec(compile(code, "docs/reference/spec-language.md", "exec"), names)
    assert isinstance(names["spec"], ms.ModelSpec)


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_a_table_has_every_key_and_no_other(kind: type) -> None:
    others = {ms.ModelSpec: STRUCTURAL, ms.SsdLite: ("extras",)}.get(kind, ())
    assert set(TABLES[kind]) == {*keys_of(kind), *others}


@pytest.mark.parametrize(("kind", "key", "name"), KEYED, ids=IDS)
def test_a_table_gives_the_range(kind: type, key: str, name: str) -> None:
    assert TABLES[kind][key][0].removesuffix(", `none`") == range_of(kind, name).removesuffix(", `none`")


@pytest.mark.parametrize(("kind", "key", "name"), KEYED, ids=IDS)
def test_a_table_gives_the_default(kind: type, key: str, name: str) -> None:
    default = {f.name: f.default for f in fields(kind)}[name]
    shown = "" if default is MISSING or default is None else spelled(kind, name, default)
    assert TABLES[kind][key][1].strip("`") == shown
