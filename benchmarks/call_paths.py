"""The files that a command passes through, by layer, and the calls that go up the layers.

    python benchmarks/call_paths.py compile mobilenet_v2_1.0_224 -o /tmp/net.onnx --force -q
    python benchmarks/call_paths.py run --latency-ms 15 --device simulated --trials 14 -q

runs the command with a profiler. Calls up the layers are callbacks, such as those for progress; each is counted.
"""

from __future__ import annotations

import sys
import threading
import tomllib
from collections import Counter
from pathlib import Path
from types import FrameType

import mnv2search
from mnv2search.cli.main import main

PACKAGE = Path(mnv2search.__file__).parent
UNNAMED = ("<module>", "<lambda>", "<genexpr>")


def layers() -> dict[str, int]:
    """The layer of each package, from the import contract in pyproject.toml; 0 is the top."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    found = next(one["layers"] for one in contracts if one["type"] == "layers")
    return {
        name.strip().removeprefix("mnv2search."): place for place, row in enumerate(found) for name in row.split("|")
    }


class Calls:
    """Files by layer and calls up the layers, collected by `sys.setprofile`."""

    def __init__(self) -> None:
        self.layers = layers()
        self.files: Counter[Path] = Counter()
        self.up: Counter[tuple[str, str]] = Counter()

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Count one call."""
        here = Path(frame.f_code.co_filename)
        if event != "call" or not here.is_relative_to(PACKAGE) or frame.f_code.co_name in UNNAMED:
            return
        self.files[here.relative_to(PACKAGE)] += 1
        caller = frame.f_back
        while caller is not None and not Path(caller.f_code.co_filename).is_relative_to(PACKAGE):
            caller = caller.f_back
        if caller is not None and self._layer(frame) < self._layer(caller):
            self.up[self._name(caller), self._name(frame)] += 1

    def _layer(self, frame: FrameType) -> int:
        first = Path(frame.f_code.co_filename).relative_to(PACKAGE).parts[0].removesuffix(".py")
        return self.layers.get(first, len(self.layers))

    @staticmethod
    def _name(frame: FrameType) -> str:
        return f"{Path(frame.f_code.co_filename).relative_to(PACKAGE)}:{frame.f_code.co_name}"


if __name__ == "__main__":
    calls = Calls()
    sys.argv = ["mnv2search", *sys.argv[1:]]
    threading.setprofile(calls.profile)
    sys.setprofile(calls.profile)
    try:
        main()
    except SystemExit as end:
        print(f"exit code {end.code or 0}", file=sys.stderr)
    finally:
        sys.setprofile(None)
    by_layer: dict[str, list[str]] = {}
    for path in sorted(calls.files):
        by_layer.setdefault(path.parts[0], []).append(str(path))
    print(f"\n{len(calls.files)} files")
    for name in sorted(by_layer, key=lambda one: calls.layers.get(one.removesuffix(".py"), len(calls.layers))):
        print(f"  {name}: {', '.join(by_layer[name])}")
    print("calls up the layers")
    for (begin, end_), count in calls.up.most_common():
        print(f"  {count:6,}  {begin} -> {end_}")
