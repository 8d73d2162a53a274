"""Fuzzer for files of runs and caches: a damaged file must be read, or refused with one of our errors.

The files of a short run are damaged in one place, as JSON or as bytes, and read by the functions that read them. Some
folders with a damaged file are also used by the commands `front`, `verify` and `run --resume`.

    python benchmarks/fuzz_records.py --reads 13000 --commands 300
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mnv2search.accuracy.evaluators.length import FILE as LENGTH
from mnv2search.accuracy.evaluators.length import read_length
from mnv2search.accuracy.evaluators.recorded import RecordedEvaluator
from mnv2search.accuracy.evaluators.supernet_training import STATE, State, read_state, write_state
from mnv2search.cli.main import main as command
from mnv2search.errors import Mnv2SearchError
from mnv2search.evaluation import Budget
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.registry import open_device
from mnv2search.results.finetuning import REPORT, measured_of, recall_finetuned
from mnv2search.results.manifest import MANIFEST, read_manifest
from mnv2search.results.records import EVALUATIONS, read_records
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.types import Settings
from mnv2search.supernet.proxy_scale import Fidelity
from mnv2search.workflows.search.folder import repair_run
from mnv2search.workflows.search.log import recall
from mnv2search.workflows.search.run import Request, resume_request, run

CACHE, TABLE, CSV = "cache.json", "table.jsonl", "table.csv"
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        0.5,
        -0.0,
        1e-308,
        1e308,
        -1e308,
        2**31,
        2**53 + 1,
        2**63,
        2**64,
        10**400,
        -(10**400),
    ),
    *(
        "",
        "x",
        "1",
        "NaN",
        "\0",
        "\ud800",
        "日" * 200,
        "x" * 100_000,
        "../../x",
        "final",
        "measured",
        "proxy",
        "running",
    ),
    *([], {}, [1], [[]], [None], {"a": 1}, [0] * 1000, [1e308] * 35, {"": {"": []}}),
)
RAW = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"01",
    b"0x1",
    b"[" * 100_000,
    b'{"a":' * 10_000,
    b"1" * 5000,
    b"'x'",
)
SNIPPETS = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b'"',
    b"{",
    b"}",
    b"[",
    b",",
    b"\n",
    b"\r\n",
    b"\\",
    b"9",
    b"-",
    b"e",
)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content of a JSON or JSON-lines file, damaged in one or a few places."""
    if rng.random() < 0.6:
        return _damaged_json(content, rng)
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            data[at:at] = rng.choice(SNIPPETS)
        elif kind == 2:
            del data[at : at + rng.choice((1, 1, 5, 100, 3000))]
        elif kind == 3:
            other = rng.randrange(len(data) + 1)
            data[at:at] = data[other : other + rng.choice((1, 10, 500, 3000))]
        elif kind == 4:
            del data[at:]
        else:
            digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57] or [0]
            data[rng.choice(digits) : 0] = rng.choice((b"-", b"9" * 30, b".", b"e9", b"0"))
    return bytes(data)


def _damaged_json(content: bytes, rng: random.Random) -> bytes:
    is_lines = content.count(b'{"format":1') > 1 or content.startswith(b'{"name"')
    lines = content.split(b"\n") if is_lines else [content]
    at = rng.randrange(max(1, len(lines) - is_lines))
    if is_lines and rng.random() < 0.1:
        lines.insert(at, rng.choice((lines[at], b"", rng.choice(lines))))
        return b"\n".join(lines)
    lines[at] = _damaged_value(lines[at], rng)
    return b"\n".join(lines)


def _damaged_value(text: bytes, rng: random.Random) -> bytes:
    """A JSON text with one changed value, missing key or added key."""
    document = json.loads(text)
    places: list[tuple[Any, Any]] = []
    _collect(document, places)
    owner, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del owner[key]
    elif kind == 1 and isinstance(owner, dict):
        owner[rng.choice(("unknown", "", "format", "name"))] = rng.choice(VALUES)
    elif kind == 2:
        other, place = rng.choice(places)
        owner[key] = json.loads(json.dumps(other[place]))
    elif kind == 3 and isinstance(owner[key], str):
        owner[key] = damaged_text(owner[key], rng)
    elif kind == 4 and isinstance(owner[key], int | float):
        owner[key] = owner[key] * rng.choice((-1, 0, 2, 1e-9, 1e9, 10**30)) + rng.choice((0, 1, -1, 0.5))
    elif kind == 5:
        owner[key] = "@"
        return json.dumps(document).encode().replace(b'"@"', rng.choice(RAW), 1)
    else:
        owner[key] = rng.choice(VALUES)
    return json.dumps(document, separators=(",", ":")).encode()


def damaged_text(text: str, rng: random.Random) -> str:
    """A text, such as a spec, with one character or number changed."""
    if not text:
        return "x"
    at = rng.randrange(len(text))
    return (
        text[:at]
        + rng.choice(("", "-", "9", "999999", ":", "[", "]", "\n", "\t", "é", " ", "{a: 1}"))
        + text[at + 1 :]
    )


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    for key in range(len(value)) if isinstance(value, list) else list(value):
        places.append((value, key))
        if isinstance(value[key], list | dict):
            _collect(value[key], places)


class Samples:
    """The undamaged files of a short run, and the functions that read them.

    Args:
        root: an empty folder for the run and the damaged files.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.work = root, root / "work"
        os.environ["MNV2SEARCH_CACHE"] = str(root / "cache")
        asked = Request(
            space="mnv2-multipliers",
            device="simulated",
            evaluator="imagenet",
            budget=Budget(latency_ms=5.0),
            settings=Settings(trials=12),
            root=root / "results",
            name="run",
        )
        self.run = run(asked, on_progress=lambda _: None).folder
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.run, self.work)
        with open_device("simulated") as device:
            self.device, self.info = device, device.info
        self.cache = LatencyCache(self.work)
        shutil.copy(LatencyCache().path_of(self.info), self.cache.path_of(self.info))
        self.finalists = measured_of(recall(self.run)[1])
        self.net = load_spec("mobilenet_v2_0.35_96")
        figures = {"top1": 0.5, "loss": 1.0, "count": 100, "commonest": 0.1, "low": 0.4, "high": 0.6}
        names = [e.spec.name for e in self.finalists[:2]]
        report = {
            "recipe": "short",
            "steps": 10,
            "images": 640,
            "networks": [{"name": name, "held_out": figures, "kind": "trained"} for name in names],
            "best": names[0],
            "test": {**figures, "details": {"ap50": 0.5}},
            "metric": "top1",
            "notes": ["a note"],
        }
        (self.work / REPORT).write_text(json.dumps(report))
        (self.work / LENGTH).write_text('{"steps": 10}\n')
        write_state(self.work, State(fidelity=Fidelity(), epochs=2.0, side=96))
        rows = [{"name": name, "value": 0.5, "low": 0.4, "high": 0.6} for name in (*names, self.net.name)]
        (self.work / TABLE).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        self.whole = {
            name: (self.work / name).read_bytes() for name in (*self.readers, self.cache.path_of(self.info).name)
        }

    @property
    def readers(self) -> Mapping[str, tuple[Callable[[], object], ...]]:
        """The function that reads each file."""
        space = self.work
        return {
            EVALUATIONS: (lambda: read_records(space), lambda: recall(space), lambda: repair_run(space)),
            MANIFEST: (lambda: read_manifest(space), lambda: recall(space), lambda: resume_request(space)),
            REPORT: (lambda: recall_finetuned(space, self.finalists),),
            LENGTH: (lambda: read_length(space / LENGTH),),
            STATE: (lambda: read_state(space),),
            TABLE: (lambda: RecordedEvaluator(table=str(space / TABLE)).evaluate(self.net, seed=0),),
        }

    def check_cache(self) -> None:
        """Load a cache and predict latencies from it."""
        self.cache.load(self.info)
        assert self.cache.predictor(self.device).predict(self.net).median_ms > 0
        self.cache.measurer(self.device).measure([self.net], time_s=0.01)

    def read(self, rng: random.Random) -> tuple[str, str]:
        """Damage one file and read it; returns its name, and `read`, `refused` or a traceback."""
        cached = self.cache.path_of(self.info).name
        name = rng.choices((EVALUATIONS, MANIFEST, cached, REPORT, TABLE, LENGTH, STATE), (4, 4, 3, 2, 2, 1, 1))[0]
        path = self.work / name
        path.write_bytes(damaged(self.whole[name], rng))
        readers = (self.check_cache,) if name == cached else self.readers[name]
        try:
            return ("cache" if name == cached else name), outcome_of(rng.choice(readers))
        finally:
            for one in (EVALUATIONS, MANIFEST, name):  # a repair changes the first two
                (self.work / one).write_bytes(self.whole[one])

    def command(self, rng: random.Random) -> tuple[str, str]:
        """Damage a file of a folder, or the cache, and run a command; returns its name and how it ended."""
        words = rng.choice(
            (
                ["front", "results/run"],
                ["front", "results/run", "--json"],
                ["verify", "results/run", "--time", "0.1s", "-q"],
                ["verify", "results/run", "--repair"],
                ["run", "--resume", "run", "--trials", "1", "--no-confirm", "-q"],
            )
        )
        with tempfile.TemporaryDirectory() as root, contextlib.chdir(root):
            shutil.copytree(self.run, Path("results", "run"))
            shutil.copytree(self.root / "cache", "cache")
            os.environ["MNV2SEARCH_CACHE"] = "cache"
            cached = Path("cache", "latency", self.cache.path_of(self.info).name)
            path = rng.choice((Path("results/run", EVALUATIONS), Path("results/run", MANIFEST), cached))
            path.write_bytes(damaged(path.read_bytes(), rng))
            return " ".join(words[:1] + [word for word in words if word in ("--repair", "--json")]), _ended(words)


def outcome_of(read: Callable[[], object]) -> str:
    """`read`, `refused`, or the traceback of any other exception."""
    try:
        with np.errstate(all="ignore"):
            read()
    except Mnv2SearchError as error:
        return "refused" if len(str(error)) < 5000 else "refused at length"
    except Exception:  # noqa: BLE001 - counted as a traceback
        return traceback.format_exc(limit=-4)
    return "read"


def _ended(words: list[str]) -> str:
    """`exit N`, or the traceback."""
    sys.argv = ["mnv2search", *words]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            command()
    except SystemExit as left:
        return f"exit {left.code or 0}" if "Traceback" not in said.getvalue() else said.getvalue()
    except BaseException:  # noqa: BLE001 - counted as a traceback
        return traceback.format_exc(limit=-4)
    return "exit 0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=13_000)
    parser.add_argument("--commands", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    logging.getLogger("mnv2search").setLevel(logging.ERROR)  # no warnings of damaged caches
    rng, found = random.Random(chosen.seed), Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as root:
        samples = Samples(Path(root))
        found.update(samples.read(rng) for _ in range(chosen.reads))
        found.update(samples.command(rng) for _ in range(chosen.commands))
    for (what, outcome), count in sorted(found.items()):
        print(f"{count:6,}  {what:20}  {outcome.strip()}")
    print(f"{sum(count for (_, outcome), count in found.items() if 'Traceback' in outcome):,} tracebacks")


if __name__ == "__main__":
    main()
