"""Make the spec of one network from a name, a file, an edit or a random draw, and write it as YAML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from mnv2search.atomic import write_text
from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.size import Resolution
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import dumps
from mnv2search.workflows.options import check_output, chosen_spec, path_of

YAML = (".yaml", ".yml")


def make_spec(
    source: ModelSpec | SearchSpace | str | Path,
    *,
    output: str | Path | None = None,
    name: str | None = None,
    classes: int | None = None,
    width: float | None = None,
    resolution: Resolution | None = None,
    head_output: str | None = None,
    pick: Sequence[str] | str = (),
    first: bool = False,
    random: bool = False,
    seed: int | None = None,
    force: bool = False,
) -> ModelSpec:
    """The spec of one network, as `mnv2search spec` writes it.

    Args:
        source: a network or a search space, its file or its published name, or a `.pt` or `.pt2` file.
        output: YAML file to write; None writes nothing.
        name: name of the network; default: that of the source, followed by the seed for a random draw.
        classes: number of classes (overrides the file).
        width: width multiplier (overrides the file).
        resolution: side, or height and width (overrides the file).
        head_output: output of a detector or segmenter (overrides the file).
        pick: choices of a search space, each as ``AT=VALUE``.
        first: take the first option of every choice that is not picked.
        random: draw at random every choice that is not picked.
        seed: seed of the random draw; None is 0.
        force: overwrite an existing file.

    Raises:
        Mnv2SearchError: the source and the options do not specify one network, or the file cannot be written.

    >>> make_spec("mobilenet_v2_1.0_224", width=0.5, classes=5).head.classes
    5
    """
    path = path_of(output)
    if path is not None:
        _check_file(path, force=force)
    spec = chosen_spec(
        source,
        pick=pick,
        first=first,
        rng=_generator(seed, is_used=random, first=first),
        width=width,
        resolution=resolution,
        classes=classes,
        head_output=head_output,
    )
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
