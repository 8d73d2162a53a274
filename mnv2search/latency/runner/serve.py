"""The server on another machine: it answers requests, one JSON document per line, until its input ends.

``hello``
    ``{"do": "hello", "engine": MODULE, "cores": TEXT, "precision": TEXT}`` -> the identity of the machine, the
    ``version`` of the runtime, and ``pinned``.
``bursts``
    ``{"do": "bursts", "bursts": [{"artifact": DIGEST, "settings": {...}, "burst_ms": .., "warm_ms": .., "min_runs":
    ..}, ...]}`` -> ``runs``, a list of (wall, CPU) times in ns for each burst, and ``temperature_c``.
``output``
    ``{"do": "output", "artifact": DIGEST, "settings": {...}}`` -> ``shape`` and ``data``, base64 of float32.
``step_times``
    ``{"do": "step_times", "artifact": DIGEST, "settings": {...}, "runs": ..}`` -> ``steps``, times in ms by name.

An error is ``{"error": MESSAGE, "kind": "engine" | "options" | "machine"}``.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from functools import lru_cache
from typing import IO, Dict, List, Tuple, TypedDict, cast

from mnv2search.latency.runner import engine as engines
from mnv2search.latency.runner.cores import CoresError, pin
from mnv2search.latency.runner.identity import Identity, identity, temperature_c

# Number of networks that stay loaded, including the reference, which is requested repeatedly.
LOADED = 13
# Maximum size of the artifacts; the least recently used folders are removed first.
MOST_BYTES = 500_000_000


class Question(TypedDict, total=False):
    """A request; its other keys depend on `do`. Each of `bursts` is a burst of one artifact."""

    do: str
    engine: str
    cores: str
    precision: str
    bursts: List[Question]
    artifact: str
    settings: engines.Settings
    burst_ms: float
    warm_ms: float
    min_runs: int
    runs: int


class Answer(Identity, total=False):
    """The response to a request: the result or an error."""

    error: str
    kind: str
    version: str
    pinned: str
    runs: List[List[Tuple[int, int]]]
    shape: List[int]
    data: str
    steps: Dict[str, float]


class Server:
    """A server of requests about the artifacts in a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._engine = ""
        self._loaded = lru_cache(maxsize=LOADED)(self._load)

    def answer(self, question: Question) -> Answer:
        """The response to one request, which may be an error."""
        answers = {
            "hello": self._hello,
            "bursts": self._bursts,
            "output": self._output,
            "step_times": self._step_times,
        }
        try:
            return answers[question["do"]](question)
        except engines.EngineError as error:
            return {"error": str(error), "kind": "engine"}
        except CoresError as error:
            return {"error": str(error), "kind": "options"}
        except MemoryError as error:
            return {"error": f"it does not fit in memory ({error})", "kind": "engine"}
        except OSError as error:
            return {"error": f"{type(error).__name__}: {error}", "kind": "machine"}

    def _hello(self, question: Question) -> Answer:
        self._engine = question["engine"]
        prune(self._folder, MOST_BYTES)
        pinned = pin(question.get("cores", ""))
        why = engines.refusal(self._engine, question.get("precision", "fp32"))
        if why:
            return {"error": why, "kind": "options"}
        return cast(Answer, {**identity(), "version": engines.version(self._engine), "pinned": pinned})

    def _bursts(self, question: Question) -> Answer:
        runs = [
            engines.burst(
                self._network(one["artifact"], one["settings"]).run, one["burst_ms"], one["warm_ms"], one["min_runs"]
            )
            for one in question["bursts"]
        ]
        return {"runs": runs, "temperature_c": temperature_c()}

    def _output(self, question: Question) -> Answer:
        import numpy as np

        network = self._network(question["artifact"], question["settings"])
        values = np.ascontiguousarray(network.output(), np.float32)
        return {"shape": list(values.shape), "data": base64.b64encode(values.tobytes()).decode("ascii")}

    def _step_times(self, question: Question) -> Answer:
        folder = os.path.join(self._folder, question["artifact"])
        return {"steps": engines.step_times(self._engine, folder, question["settings"], question["runs"])}

    def _network(self, artifact: str, settings: engines.Settings) -> engines.Loaded:
        return self._loaded(artifact, json.dumps(settings, sort_keys=True))

    def _load(self, artifact: str, settings: str) -> engines.Loaded:
        folder = os.path.join(self._folder, artifact)
        os.utime(folder)
        return engines.load(self._engine, folder, json.loads(settings))


def prune(folder: str, most_bytes: int) -> None:
    """Remove folders of artifacts, least recently used first, until the rest has at most `most_bytes`."""
    folders = []
    for entry in os.scandir(folder):
        if entry.is_dir() and len(entry.name) == 40:
            size = sum(file.stat().st_size for file in os.scandir(entry.path) if file.is_file())
            folders.append((entry.stat().st_mtime, size, entry.path))
    total = sum(size for _, size, _ in folders)
    for _, size, path in sorted(folders):
        if total <= most_bytes:
            return
        shutil.rmtree(path, ignore_errors=True)
        total -= size


def main(questions: IO[str], answers: IO[str], folder: str) -> None:
    """Write the response to every line of `questions` to a line of `answers`."""
    server = Server(folder)
    for line in questions:
        answers.write(json.dumps(server.answer(json.loads(line))) + "\n")
        answers.flush()


def start() -> None:
    """Serve the standard streams; output of runtimes is redirected to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main(sys.stdin, answers, os.getcwd())
