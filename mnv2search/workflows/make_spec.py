"""Make the spec of one network from a name, a file, an edit or a random draw, and write it as YAML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Unpack

from mnv2search.atomic import write_text
from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import dumps
from mnv2search.workflows.options import SPEC_DEFAULTS, SpecOptions, check_output, chosen_spec, path_of, takes

YAML = (".yaml", ".yml")


@takes(SpecOptions, SPEC_DEFAULTS)
def make_spec(
    source: ModelSpec | SearchSpace | str | Path,
    *,
    output: str | Path | None = None,
    name: str | None = None,
    classes: int | None = None,
    random: bool = False,
    seed: int | None = None,
    force: bool = False,
    **options: Unpack[SpecOptions],
) -> ModelSpec:
    """The spec of one network, as `mnv2search spec` writes it.

    Args:
        source: a network or a search space, its file or its published name, or a `.pt` or `.pt2` file.
        output: YAML file to write; None writes nothing.
        name: name of the network; default: that of the source, followed by the seed for a random draw.
        classes: number of classes (overrides the file).
        random: draw at random every choice that is not picked.
        seed: seed of the random draw; None is 0.
        force: overwrite an existing file.
        options: see `SpecOptions`.

    Raises:
        Mnv2SearchError: the source and the options do not specify one network, or the file cannot be written.

    >>> make_spec("mobilenet_v2_1.0_224", width=0.5, classes=5).head.classes
    5
    """
    path = path_of(output)
    if path is not None:
        _check_file(path, force=force)
    rng = _generator(seed, is_used=random, first=options.get("first", False))
    spec = chosen_spec(source, rng=rng, classes=classes, **options)
    if random and name is None:
        name = f"{spec.name}-seed{seed or 0}"
    if name is not None:
        spec = replace(spec, name=name)
    if path is not None:
        write_text(path, dumps(spec))
    return spec


def _generator(seed: int | None, *, is_used: bool, first: bool) -> Random | None:
    """The generator of a random draw, or None if nothing is drawn."""
    if is_used and first:
        raise OptionError("--first and --random exclude each other", hint="leave one of them out")
    if seed is not None and not is_used:
        raise OptionError(f"--seed {seed} has no effect, since nothing is drawn", hint="add --random")
    return Random(seed or 0) if is_used else None


def _check_file(path: Path, *, force: bool) -> None:
    if path.suffix not in YAML:
        raise OptionError(
            f"{path} does not end in .yaml", hint="give a .yaml file, or leave -o out to print the spec"
        )
    check_output(path, force=force)
