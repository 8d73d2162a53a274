"""Networks by name: files, bundled names, and picks in search spaces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnv2search.errors import OptionError
from mnv2search.spec.heads.outputs import with_output
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.rules import changed
from mnv2search.spec.size import Resolution
from mnv2search.spec.space import SearchSpace, resolve_values
from mnv2search.spec.yaml.codec import load

SAVED = (".pt", ".pt2")
"""Endings of files that hold a spec beside its weights."""


def chosen_spec(
    source: str | Path | ModelSpec | SearchSpace,
    *,
    pick: Sequence[str] | str = (),
    first: bool = False,
    width: float | None = None,
    resolution: Resolution | None = None,
    head_output: str | None = None,
) -> ModelSpec:
    """The network of a file, bundled name, spec or space, with every choice of a search space made.

    Args:
        source: a file, a bundled name, ``-`` for standard input, or the value itself.
        pick: options of a search space, each as ``AT=VALUE``.
        first: take the first option wherever nothing is picked.
        width: multiplier in place of the file's.
        resolution: in place of the file's.
        head_output: the output of a detector or segmenter.

    Raises:
        SpecError: the file has problems, or is a search space with choices left open.
        WeightsError: a `.pt` or `.pt2` file is none of ours.
        OptionError: a pick is not of the form AT=VALUE, or a head has no such output.
    """
    if isinstance(source, ModelSpec | SearchSpace):
        loaded, name = source, source.name
    else:
        name = str(source)
        loaded = saved_spec(name) or load(name, wanted="spec")
    if isinstance(loaded, SearchSpace):
        loaded = _picked(loaded, picks=[pick] if isinstance(pick, str) else pick, first=first)
    elif pick:
        raise OptionError(f"{name} is one network: there is nothing to pick", hint="leave --pick out")
    changes = {"width": width, "resolution": resolution}
    sized = changed(loaded, {name: value for name, value in changes.items() if value is not None})
    return sized if head_output is None else with_output(sized, head_output)


def saved_spec(name: str) -> ModelSpec | None:
    """The spec that a `.pt` or `.pt2` file of ours holds beside its weights; None of other names.

    Raises:
        WeightsError: it is no such file.
    """
    if not name.endswith(SAVED) or not Path(name).exists():
        return None
    from mnv2search.model.weights.network_file import read_spec  # late: only such a file needs torch

    return read_spec(Path(name))


def _picked(space: SearchSpace, *, picks: Sequence[str], first: bool) -> ModelSpec:
    values: dict[str, str] = {}
    for pick in picks:
        at, separator, value = pick.partition("=")
        if not separator:
            raise OptionError(f"--pick {pick}", hint="write --pick AT=VALUE, such as --pick blocks[1].expansion=6")
        values[at.strip()] = value.strip()
    return resolve_values(space, values, rest="first" if first else "refuse")
