"""Figures of the code itself: lines, long and branching functions, `Any`, folders, and the graph of imports."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mnv2search"

LONGEST = 60
MOST_BRANCHES = 10
BRANCHES = (
    ast.Assert,
    ast.BoolOp,
    ast.ExceptHandler,
    ast.For,
    ast.If,
    ast.IfExp,
    ast.Try,
    ast.While,
    ast.comprehension,
    ast.match_case,
)

Imports = Mapping[str, frozenset[str]]


def trees(folder: Path = PACKAGE) -> dict[Path, ast.Module]:
    """The parsed modules of a folder."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.py"))}


def content_lines(folder: Path) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for path in folder.rglob("*.py") for line in path.read_text().splitlines())


def imports_of(modules: Mapping[Path, ast.Module]) -> Imports:
    """The modules that each module imports: late imports and those for type checking included."""
    names = {_name(path): tree for path, tree in modules.items()}
    return {name: frozenset(_imported(tree, names)) - {name} for name, tree in names.items()}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.Module, names: Mapping[str, object]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and (module := node.module or "") in names:
            members = (f"{module}.{alias.name}" for alias in node.names)
            yield from (member if member in names else module for member in members)


def circles(imports: Imports) -> set[frozenset[str]]:
    """Sets of modules that import each other, directly or through others."""
    reached = {module: _reachable(module, imports) for module in imports}
    groups = {frozenset(other for other in reached[module] if module in reached[other]) for module in imports}
    return {group for group in groups if group}


def _reachable(module: str, imports: Imports) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def layers() -> list[list[set[str]]]:
    """The layers of pyproject.toml from the top, each as groups whose members may import each other."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    written = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[{name.strip() for name in group.split(":")} for group in layer.split("|")] for layer in written]


def upward_imports(imports: Imports) -> set[tuple[str, str]]:
    """Imports of a module from a layer above it, or from an independent one beside it."""
    place = {
        name: (depth, group)
        for depth, layer in enumerate(layers())
        for group, members in enumerate(layer)
        for name in members
    }

    def is_upward(module: str, other: str) -> bool:
        here, there = (place.get(name.split(".")[1] if "." in name else "") for name in (module, other))
        if here is None or there is None:
            return False
        return there[0] < here[0] or (there[0] == here[0] and there[1] != here[1])

    return {(module, other) for module, others in imports.items() for other in others if is_upward(module, other)}


def functions(modules: Mapping[Path, ast.Module]) -> list[tuple[int, int, str]]:
    """Lines, branches and place of every function, longest first."""
    found = [
        (
            (node.end_lineno or 0) - node.lineno + 1,
            sum(isinstance(part, BRANCHES) for part in ast.walk(node)),
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}",
        )
        for path, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return sorted(found, reverse=True)


def main() -> None:
    """Print the figures."""
    modules = trees()
    lines, written = content_lines(PACKAGE), functions(modules)
    long = [(length, place) for length, _, place in written if length > LONGEST]
    branching = sum(branches > MOST_BRANCHES for _, branches, _ in written)
    anys = sum(isinstance(n, ast.Name) and n.id == "Any" for tree in modules.values() for n in ast.walk(tree))
    folders = Counter(path.parent for path in modules).most_common(5)
    imports = imports_of(modules)
    print(f"lines with content: {lines:,} in {len(modules)} files")
    print(f"lines of tests to lines of the package: {content_lines(ROOT / 'tests') / lines:.2f}")
    print(f"functions: {len(written):,}, {branching / len(written):.1%} with more than {MOST_BRANCHES} branches")
    print(f"functions longer than {LONGEST} lines: {len(long)}")
    print("".join(f"  {length} {place}\n" for length, place in long), end="")
    print(f"Any per 1,000 lines: {1000 * anys / lines:.1f}")
    print("largest folders:", ", ".join(f"{path.relative_to(ROOT)} {count}" for path, count in folders))
    print(f"import circles: {len(circles(imports))}")
    print("".join(f"  {', '.join(sorted(circle))}\n" for circle in circles(imports)), end="")
    print(f"upward imports: {len(upward_imports(imports))}")
    print("".join(f"  {module} -> {other}\n" for module, other in sorted(upward_imports(imports))), end="")


if __name__ == "__main__":
    main()
