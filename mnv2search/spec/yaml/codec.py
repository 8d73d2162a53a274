"""Reading and writing specs and search spaces as YAML files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from mnv2search.errors import Diagnostic, Mnv2SearchError, OptionError, SpecError, UnknownNameError, nearest
from mnv2search.spec import catalog
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.package_files import bundled_files, published_names
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.space_rules import unpicked
from mnv2search.spec.yaml.read import loads
from mnv2search.spec.yaml.source import MAX_BYTES, decoded
from mnv2search.spec.yaml.write import dumps

__all__ = ["check", "dumps", "known_names", "load", "load_space", "load_spec", "loads"]


# Endings of binary files that contain networks.
BINARY = (".ckpt", ".npz", ".onnx", ".pt", ".pt2", ".pte", ".pth", ".safetensors", ".tflite")
Wanted: TypeAlias = Literal["any", "spec", "space"]
NUL, SNIFFED = b"\0", 512


def load(path_or_name: str | Path, *, wanted: Wanted = "any") -> ModelSpec | SearchSpace:
    """The spec or search space of a file, of standard input (``-``), or of a name that ships with the package.

    Args:
        path_or_name: path, name of a shipped space such as ``mnv2``, or name of a published network such as
            ``mobilenet_v2_0.75_192`` (see `mnv2search.spec.catalog`), tried in this order.
        wanted: expected kind of name, for messages about an unknown name.

    Raises:
        SpecError: the file breaks rules.
        UnknownNameError: `path_or_name` is neither a file nor a known name.
        OptionError: the file cannot be read.
    """
    name = str(path_or_name)
    if name == "-":
        return loads(decoded(sys.stdin.buffer.read(MAX_BYTES + 1), file="<stdin>"), file="<stdin>")
    path = Path(name)
    if not os.path.exists(name) or path.is_dir():
        if (bundled := bundled_files().get(name)) is not None:
            return _read(bundled)
        if name in published_names():
            return catalog.entry(name).spec
        if not os.path.exists(name):
            raise _missing(path, wanted)
    return _read(path)


def load_spec(path_or_name: str | Path) -> ModelSpec:
    """Like `load`, but for a network: a search space raises an error that says how to choose from it.

    Raises:
        SpecError: the file breaks rules, or is a search space.
    """
    value = load(path_or_name, wanted="spec")
    if isinstance(value, SearchSpace):
        raise SpecError.from_problems([unpicked(value.name, [(a.at, a.options) for a in value.axes])])
    return value


def load_space(path_or_name: str | Path) -> SearchSpace:
    """Like `load`, but for a search space: a spec becomes a space without choices."""
    value = load(path_or_name, wanted="space")
    return value if isinstance(value, SearchSpace) else SearchSpace(template=value, axes=())


def check(file: str, *, reader: Callable[[str], object] = load) -> tuple[Diagnostic, ...]:
    """The diagnostics of the spec or space that `load` would read; empty if it is valid."""
    try:
        reader(file)
    except SpecError as error:
        return error.diagnostics
    except Mnv2SearchError as error:
        return (Diagnostic(at="", message=error.message, hint=error.hint, file=file),)
    return ()


def known_names() -> tuple[str, ...]:
    """Every name that `load` knows without a file: shipped spaces first, then published networks."""
    return (*bundled_files(), *(name for name in published_names() if name not in bundled_files()))


def _read(path: Path) -> ModelSpec | SearchSpace:
    if path.is_dir() and (shipped := path / "ship.yaml").is_file():
        raise OptionError(f"{path} is a run; its network is {shipped}", hint=f"name {shipped}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}", hint="name a YAML file") from error
    if path.suffix in BINARY or NUL in data[:SNIFFED]:
        raise OptionError(
            f"{path} is not a spec: it is not text",
            hint="give the YAML file that it was made from, or a name that `mnv2search catalog` lists; "
            "commands that need a network also accept the best.pt of a training",
        )
    return loads(decoded(data, file=str(path)), file=str(path))


def _listed(wanted: Wanted) -> tuple[str, tuple[str, ...]]:
    """The label of a kind of names, and the names."""
    spaces = tuple(bundled_files())
    if wanted == "space":
        return "search space", spaces
    if wanted == "spec":
        return "spec", tuple(name for name in published_names() if name not in spaces)
    return "spec or search space", known_names()


def _missing(path: Path, wanted: Wanted) -> OptionError | UnknownNameError:
    name = str(path)
    if path.suffix not in (".yaml", ".yml") and path.name == name:
        kind, listed = _listed(wanted)
        return UnknownNameError(kind, name, known_names(), listed=listed)
    beside = [p.name for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml")] if path.parent.is_dir() else []
    stems = {Path(name).stem: name for name in beside}  # a common ending makes no likeness
    near = [str(path.parent / stems[stem]) for stem in nearest(path.stem, stems)] or list(
        nearest(path.stem, known_names())
    )
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else "give a YAML file, or a name that `mnv2search catalog` lists"
    )
    return OptionError(f"there is no file {name}", hint=hint)
