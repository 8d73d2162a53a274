"""Names for shell completion of parameters, found without importing torch or NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import click
from click.shell_completion import CompletionItem

Names: TypeAlias = Callable[[click.Context], Iterable[str]]


def completions(
    names: Iterable[str], incomplete: str, *, or_file: bool = False, or_folder: bool = False
) -> list[CompletionItem]:
    """The names that begin with `incomplete`, after an item that lets the shell complete files or folders too."""
    paths = ("file",) * or_file + ("dir",) * or_folder
    items = [CompletionItem(incomplete, type=kind) for kind in paths]
    return items + [CompletionItem(name) for name in names if name.startswith(incomplete)]


def device_names(context: click.Context) -> tuple[str, ...]:
    """Every device, including those of plug-ins."""
    from mnv2search import plugins  # late: --help must not pay for it

    del context
    return plugins.names("device")


def space_names(context: click.Context) -> tuple[str, ...]:
    """The bundled search spaces."""
    from mnv2search.spec.package_files import bundled_files  # late: --help must not pay for it

    del context
    return tuple(bundled_files())


def spec_names(context: click.Context) -> tuple[str, ...]:
    """The published networks and the bundled search spaces."""
    from mnv2search.spec.package_files import published_names  # late: --help must not pay for it

    return (*published_names(), *space_names(context))


def run_names(context: click.Context) -> list[str]:
    """The subfolders of the folder of runs."""
    folder = context.params.get("output_dir") or Path("results")
    try:
        return sorted(path.name for path in Path(folder).iterdir() if path.is_dir())
    except OSError:
        return []


def weights_names(context: click.Context) -> list[str]:
    """The names that --from accepts besides files."""
    from mnv2search.model.weights.places import weights_files  # late: --help must not pay for it

    del context
    return ["imagenet", *(file.name for file in weights_files())]
