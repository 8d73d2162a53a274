"""Fuzzer for names of networks, spaces, runs and images: no file may be written outside its folder.

Each name is checked by the rules, which must accept it or refuse it with its line and column. Whatever the result, it
is then used by all code that makes file names from names. Some accepted names are given to a space that is searched.

    python benchmarks/fuzz_names.py --names 10000 --runs 40
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mnv2search.atomic import write_text
from mnv2search.cost import Cost
from mnv2search.errors import OptionError, SpecError
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.types import DeviceInfo
from mnv2search.results.finetuning import training_folder
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.package_files import bundled_files
from mnv2search.spec.space import Axis, SearchSpace
from mnv2search.spec.yaml.codec import loads
from mnv2search.study.types import Settings
from mnv2search.untrusted import file_name
from mnv2search.workflows.search.outputs import front_path
from mnv2search.workflows.search.run import Request, default_name, run

PARTS = (
    *(
        "..",
        ".",
        "/",
        "\\",
        "//",
        "../",
        "..\\",
        "~",
        "$HOME",
        "%2e%2e%2f",
        "C:",
        "con",
        "nul",
        "-",
        "--force",
        "a",
        "net",
    ),
    *(
        "\0",
        "\n",
        "\r",
        "\t",
        "\x1b[2J",
        "\x7f",
        "\u202e",
        "\u2028",
        "\ufeff",
        "\ud800",
        "\u2215",
        "\uff0f",
        "\u0301",
    ),
    *(
        "victim",
        "ship",
        "front",
        "manifest.json",
        ".lock",
        ".yaml",
        ".pt",
        "é",
        "日",
        "😀",
        " ",
        "'",
        '"',
        "*",
        "?",
        "|",
    ),
    *("`id`", "$(id)", ";", "&", "#", ": ", "{}", "[]", "%s", "{0}", "0001", "e\u0301", "\u00df", "\u0130", "ﬀ"),
)
LENGTHS = (1, 2, 20, 60, 84, 100, 110, 111, 116, 119, 120, 121, 180, 181, 240, 251, 255, 256, 4096)
COST = Cost(params=1, params_no_bn=1, madds=1, peak_activation_bytes=1, size_bytes=1)
SEARCHED = "mnv2-multipliers"
ROW = BlockSpec(channels=8, stride=2)
# CPython audit events that change files, with the positions of the paths in their arguments.
WRITES = {
    "os.mkdir": 1,
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.link": 2,
    "os.symlink": 2,
    "os.truncate": 1,
    "sqlite3.connect": 1,
}
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Records the paths that this process writes to; an audit hook cannot be removed, only ignored."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._is_on = False
        sys.addaudithook(self._hear)

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        """The paths written to within the context."""
        self.paths.clear()
        self._is_on = True
        try:
            yield self.paths
        finally:
            self._is_on = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_on:
            return
        count = WRITES.get(event, 0)
        if event == "open" and isinstance(arguments[0], str | bytes | Path) and arguments[2] & TO_WRITE:
            count = 1
        for path in arguments[:count]:
            self._add(path)

    def _add(self, path: str | bytes | Path) -> None:
        self.paths.append(os.path.abspath(os.fsdecode(path)))


def names(rng: random.Random) -> Iterator[str]:
    """An endless iterator of names: random parts, repetitions near the length limits, and arbitrary characters."""
    while True:
        kind = rng.randrange(4)
        if kind == 0:
            yield "".join(rng.choices(PARTS, k=rng.randint(1, 6)))
        elif kind == 1:
            yield rng.choice(PARTS) * rng.choice(LENGTHS)
        elif kind == 2:
            yield rng.choice(("x", "日", "é", "😀", "a b")) * rng.choice(LENGTHS) + rng.choice(("", *PARTS))
        else:
            yield "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randint(1, 30)))


def evaluation_of(name: str) -> Evaluation:
    """An evaluation of a network with this name, bypassing the rules."""
    spec = ModelSpec(name="x", blocks=(ROW,))
    object.__setattr__(spec, "name", name)
    budget = Budget(latency_ms=1.0)
    return Evaluation(spec=spec, cost=COST, latency=None, accuracy=None, budget=budget, seed=0, elapsed_s=0.0)


def ruling(name: str) -> str:
    """The verdict of the rules on the name of a space: `taken`, or `refused` with line, column and hint."""
    text = f"mnv2search: 1\nname: {json.dumps(name)}\nblocks: [[6, 8, 1, [2, 1]]]\n"
    try:
        space = loads(text, file="f.yaml")
    except SpecError as error:
        first = error.diagnostics[0]
        return "refused" if first.line and first.column and first.hint else "refused without a place"
    replace(space.template if isinstance(space, SearchSpace) else space, name=f"{space.name}-123456789")
    return "taken"


def write_everything(name: str, folder: Path) -> None:
    """Write the files that a run, its trainings and `predict` write for a name."""
    evaluation = evaluation_of(name)
    for path in (front_path(folder, evaluation), front_path(folder, evaluation, suffix=".pt")):
        write_text(path, "")
    write_text(training_folder(folder / "finetune", evaluation) / "best.pt", "")
    write_text(folder / file_name(f"{name}-trained") / "best.pt", "")
    write_text(folder / f"{file_name(name)}-predicted.png", "")
    asked = Request(
        space="", device=name, evaluator="", budget=evaluation.budget, settings=Settings(trials=1), root=folder
    )
    space = SearchSpace(
        template=ModelSpec(name="x", blocks=(ROW,)), axes=(Axis(at="blocks[0].stride", options=(2, 1)),)
    )
    object.__setattr__(space.template, "name", name)
    write_text(folder / default_name(space, asked) / "manifest.json", "")
    info = DeviceInfo(name=name, hardware=name, runtime=name, runtime_version=name)
    write_text(LatencyCache(folder / "cache").path_of(info), "")


def fuzz(*, count: int, seed: int, watch: Watch) -> Counter[str]:
    """Counts of names accepted and refused by the rules, and of files written inside and outside the folder."""
    found: Counter[str] = Counter(names=count)
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "results", "run").resolve()
        folder.mkdir(parents=True)
        for _, name in zip(range(count), names(rng), strict=False):
            found[ruling(name)] += 1
            with watch.watching() as paths:
                write_everything(name, folder)
            found["files"] += len(set(paths))
            found["outside"] += sum(not is_inside(path, folder) for path in paths)
        found["outside"] += sum(path != folder.parent for path in Path(root).iterdir())
    return found


def is_inside(path: str, folder: Path) -> bool:
    """Whether a path lies in a folder after links are resolved."""
    return Path(os.path.realpath(path)).is_relative_to(folder)


def is_of_run(path: str, folder: Path) -> bool:
    """Whether a path is, contains or lies in the folder of a run, or in a temporary folder renamed to it."""
    real = Path(os.path.realpath(path))
    if folder.is_relative_to(real):
        return True
    return real.is_relative_to(folder.parent) and folder.name in real.relative_to(folder.parent).parts[0]


def search(*, count: int, seed: int, watch: Watch) -> Counter[str]:
    """Counts of completed searches of spaces with accepted names, and of files written elsewhere."""
    found: Counter[str] = Counter()
    rng = random.Random(seed)
    taken = (name for name in names(rng) if ruling(name) == "taken")
    for _, name in zip(range(count), taken, strict=False):
        with tempfile.TemporaryDirectory() as root:
            space, results = Path(root, "space.yaml"), Path(root, "results").resolve()
            text = bundled_files()[SEARCHED].read_text(encoding="utf-8")
            space.write_text(text.replace(f"name: {SEARCHED}", f"name: {json.dumps(name)}"), encoding="utf-8")
            asked = Request(
                space=str(space),
                device="simulated",
                evaluator="imagenet",
                budget=Budget(latency_ms=5.0),
                settings=Settings(trials=4),
                root=results,
                name=name if rng.random() < 0.5 else None,
            )
            with watch.watching() as paths:
                try:
                    outcome = run(asked, on_progress=lambda _: None)
                except OptionError:  # the name of the run is refused
                    found["refused runs"] += 1
                    continue
            found["runs"] += 1
            found["files"] += len({*outcome.folder.rglob("*")})
            found["outside"] += sum(not is_of_run(path, outcome.folder) for path in paths if path.startswith(root))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    watch = Watch()
    os.environ["MNV2SEARCH_CACHE"] = tempfile.mkdtemp()
    for title, found in (
        ("names", fuzz(count=chosen.names, seed=chosen.seed, watch=watch)),
        ("searches", search(count=chosen.runs, seed=chosen.seed, watch=watch)),
    ):
        print(f"{title}: " + ", ".join(f"{what} {number:,}" for what, number in found.items()))


if __name__ == "__main__":
    main()
