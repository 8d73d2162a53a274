"""An empty value is refused by every option and argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from mnv2search.cli.main import cli


def valued(command: click.Command, name: str) -> Iterator[tuple[str, click.Parameter]]:
    """Each parameter of a command and of those below it that takes a value, with where it is."""
    yield from ((f"{name} {one.opts[0]}", one) for one in command.params if not getattr(one, "is_flag", False))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from valued(found, f"{name} {below}")


PARAMETERS = dict(valued(cli, "mnv2search"))


@pytest.mark.parametrize("where", PARAMETERS)
def test_an_empty_value_is_refused(where: str) -> None:
    parameter = PARAMETERS[where]
    with pytest.raises(click.BadParameter) as refused:
        parameter.type("", parameter, click.Context(cli))
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "line",
    [
        ("predict", "net.pt", ""),
        ("train", "mobilenet_v2_1.0_224", "--data", "photos", "-o", ""),
        ("compile", ""),
        ("run", "--latency-ms", "5", "--data", ""),
        ("front", ""),
        ("spec", ""),
        ("spec", "mnv2", "-o", ""),
        ("explain", ""),
        ("diff", "mobilenet_v2_1.0_224", ""),
    ],
    ids=lambda line: line[0],
)
def test_a_command_with_an_empty_value_exits_with_2(line: tuple[str, ...], run: Callable[..., Any]) -> None:
    done = run(*line)
    assert done.code == 2
    assert "is empty" in done.err
