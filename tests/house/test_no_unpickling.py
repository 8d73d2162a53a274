"""Nothing in the package runs what a file holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mnv2search

PACKAGE = Path(mnv2search.__file__).parent
# Modules that make objects, or code, out of bytes.
UNPICKLING = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve", "copyreg"}
# Functions that run what they are given, or that are the one reader of a format.
FORBIDDEN = {
    *(
        "torch.load",
        "torch.jit.load",
        "torch.package.PackageImporter",
        "torch.hub.load",
        "torch.export.pt2_archive.load_pt2",
    ),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.unsafe_load_all"),
    *("numpy.load", "numpy.lib.format.read_array", "pandas.read_pickle", "logging.config.fileConfig"),
    *(
        "eval",
        "exec",
        "torch.export.load",
        "zipfile.ZipFile",
        "safetensors.torch.load",
        "safetensors.torch.load_file",
    ),
}
# The calls that stay: on what this process made itself, or in the one reader of a format.
ALLOWED = {
    ("export/formats/exported_program.py", "torch.export.load(io.BytesIO(content))"),
    ("export/formats/source.py", "exec(compile(text, path, 'exec'), namespace)"),
    ("latency/remote/device.py", "zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED)"),
    ("model/weights/zip_archive.py", "zipfile.ZipFile(file)"),
    ("model/weights/files.py", "load_safetensors(file.read(MAX_BYTES))"),
    ("data/pixels.py", "np.load(target / 'index.npy', allow_pickle=False)"),
}
# Readers of single formats.
READERS = {"read_torch_file", "read_npz_file", "read_program_file", "read_pickle"}


def names_of(tree: ast.Module) -> dict[str, str]:
    """What the names that a module imports stand for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def uses(source: str) -> Iterator[tuple[str, str]]:
    """Every imported module, and every call, by its full name and as it stands."""
    tree = ast.parse(source)
    names = names_of(tree)
    yield from ((name.partition(".")[0], f"import {name}") for name in names.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call | ast.Attribute | ast.Name):
            function = ast.unparse(node.func if isinstance(node, ast.Call) else node)
            first, _, rest = function.partition(".")
            yield ".".join(part for part in (names.get(first, first), rest) if part), ast.unparse(node)


def unsafe(source: str) -> set[str]:
    return {text for name, text in uses(source) if name in UNPICKLING or name in FORBIDDEN}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "from numpy import load\nload('a')",
        "import numpy as np\nnp.load('a', allow_pickle=True)",
        "import torch\ntorch.load('a')",
        "import torch\nread = torch.load",
        "import torch as t\nt.export.load('a')",
        "from torch import jit\njit.load('a')",
        "from yaml import load as read\nread('a')",
        "eval('1')",
    ],
)
def test_what_runs_a_file_is_found(source: str) -> None:
    assert unsafe(source)


def test_nothing_in_the_package_runs_what_a_file_holds() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), text)
        for path in sorted(PACKAGE.rglob("*.py"))
        for text in unsafe(path.read_text(encoding="utf-8"))
    }
    calls = {(path, text) for path, text in found if "(" in text}
    names = {
        (path, text) for path, text in found - calls if not any(p == path and t.startswith(text) for p, t in ALLOWED)
    }
    assert calls | names == ALLOWED


def test_one_function_reads_files_of_weights() -> None:
    callers = {
        (path.name, node.id)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id in READERS
    }
    assert callers == {
        ("files.py", "read_torch_file"),
        ("files.py", "read_npz_file"),
        ("files.py", "read_program_file"),
        ("torch_file.py", "read_pickle"),
    }
