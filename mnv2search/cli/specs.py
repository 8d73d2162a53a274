"""Arguments that name networks: files, bundled names, and picks in search spaces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mnv2search.cli.options import Choice
from mnv2search.errors import OptionError
from mnv2search.spec.heads.outputs import answering
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace, resolve_values
from mnv2search.spec.yaml.codec import load

__all__ = ["SAVED", "chosen_spec", "saved_spec"]

SAVED = (".pt", ".pt2")
"""Endings of files that hold a spec beside its weights."""


def chosen_spec(name: str, choice: Choice) -> ModelSpec:
    """The network that an argument of the command line stands for, with the changes of its options.

    Raises:
        SpecError: a file has problems, or is a search space with choices left open.
        WeightsError: a `.pt` or `.pt2` file is none of ours.
        OptionError: a pick is not of the form AT=VALUE, or a head has no such output.
    """
    loaded = saved_spec(name) or load(name, wanted="spec")
    if isinstance(loaded, SearchSpace):
        loaded = _picked(loaded, choice)
    elif choice.picks:
        raise OptionError(f"{name} is one network: there is nothing to pick", hint="leave --pick out")
    sized = replace(
        loaded,
        width=loaded.width if choice.width is None else choice.width,
        resolution=choice.resolution or loaded.resolution,
    )
    return sized if choice.head_output is None else answering(sized, choice.head_output)


def saved_spec(name: str) -> ModelSpec | None:
    """The spec that a `.pt` or `.pt2` file of ours holds beside its weights; None of other names.

    Raises:
        WeightsError: it is no such file.
    """
    if not name.endswith(SAVED) or not Path(name).exists():
        return None
    from mnv2search.model.saved import read_spec  # late: only such a file needs torch

    return read_spec(Path(name))


def _picked(space: SearchSpace, choice: Choice) -> ModelSpec:
    values: dict[str, str] = {}
    for pick in choice.picks:
        at, separator, value = pick.partition("=")
        if not separator:
            raise OptionError(f"--pick {pick}", hint="write --pick AT=VALUE, such as --pick blocks[1].expansion=6")
        values[at.strip()] = value.strip()
    return resolve_values(space, values, rest="first" if choice.first else "refuse")
