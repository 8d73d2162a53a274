"""A runtime on another machine with Python."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency import runner
from mnv2search.latency.hosts.types import Channel, HostLostError, Transport, lost
from mnv2search.latency.remote.base import ANSWER_S, BURST_FACTOR, HostedDevice, Patience
from mnv2search.latency.runner.serve import Answer, Question
from mnv2search.latency.runtime import Runtime
from mnv2search.latency.types import BurstRequest, DeviceInfo
from mnv2search.lowering.types import Artifact
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.untrusted import UnsafeFileError, json_as

# Number of networks per request, for copying files and timing bursts.
ROUND_TRIP = 8
START = "from mnv2search.latency.runner.serve import start\nstart()\n"
# A constant date, so that zip files of equal contents are equal.
NO_DATE = (1980, 1, 1, 0, 0, 0)


class Package(NamedTuple):
    """A zip file that Python runs, named by its hash."""

    name: str
    content: bytes


@lru_cache(maxsize=8)
def runner_package(engine: str) -> Package:
    """The runner together with the engine module of one runtime, ours or a plug-in's."""
    folder = Path(runner.__file__).parent
    files = {f"mnv2search/latency/runner/{p.name}": p.read_text(encoding="utf-8") for p in folder.glob("*.py")}
    files |= {"__main__.py": START}
    module = importlib.util.find_spec(engine)
    if module is None or module.origin is None:
        raise DeviceError(f"the engine {engine} has no file that could be sent to another machine")
    files[f"{engine.replace('.', '/')}.py"] = Path(module.origin).read_text(encoding="utf-8")
    for name in list(files):
        for parent in list(Path(name).parents)[:-1]:
            files.setdefault(f"{parent.as_posix()}/__init__.py", "")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, NO_DATE), text)
    content = packed.getvalue()
    return Package(f"runner-{hashlib.sha256(content).hexdigest()[:16]}.pyz", content)


class RemoteDevice(HostedDevice):
    """A runtime on another machine with Python, whose interpreter is `python`; see `HostedDevice`."""

    round_trip = ROUND_TRIP

    def __init__(
        self,
        runtime: Runtime,
        transport: Transport,
        *,
        python: str = "python3",
        cores: str = "",
        options: Sequence[str] = (),
        patience: Patience | None = None,
    ) -> None:
        self._python = python
        self._channel: Channel | None = None
        super().__init__(runtime, transport, cores=cores, options=options, patience=patience)

    def bursts(self, requests: Sequence[BurstRequest]) -> list[list[tuple[int, int]]]:
        """(wall, CPU) time in ns of the runs of each request; all are repeated if the machine is lost in between."""
        return self.time_artifacts([(self._artifact(r.spec), r) for r in requests])

    def time_artifacts(self, bursts: Sequence[tuple[Artifact, BurstRequest]]) -> list[list[tuple[int, int]]]:
        """(wall, CPU) time in ns of the runs of a burst of each artifact, in the order given."""
        questions: list[Question] = [
            {
                "artifact": artifact.digest,
                "settings": self.runtime.settings(request.spec),
                "burst_ms": request.burst_ms,
                "warm_ms": request.warm_ms,
                "min_runs": request.min_runs,
            }
            for artifact, request in bursts
        ]
        asked_s = sum(request.burst_ms + request.warm_ms for _, request in bursts) / 1000
        answer = self._asked(
            {"do": "bursts", "bursts": questions},
            [artifact for artifact, _ in bursts],
            timeout_s=ANSWER_S + BURST_FACTOR * asked_s,
            networks=", ".join(dict.fromkeys(request.spec.name for _, request in bursts)),
            fields=("runs",),
        )
        return answer["runs"]

    def output(self, artifact: Artifact, spec: ModelSpec) -> NDArray[np.float32]:
        """The output of the artifact of a network for the fixed image."""
        question: Question = {"do": "output", "artifact": artifact.digest, "settings": self.runtime.settings(spec)}
        fields = ("data", "shape")
        answer = self._asked(question, [artifact], timeout_s=ANSWER_S, networks=spec.name, fields=fields)
        return np.frombuffer(base64.b64decode(answer["data"]), np.float32).reshape(answer["shape"]).copy()

    def step_times(self, spec: ModelSpec, *, runs: int) -> Mapping[str, float]:
        """Median time in ms of every step of a network by its name; see `StepTimer`."""
        artifact, settings = self._artifact(spec), self.runtime.settings(spec)
        question: Question = {"do": "step_times", "artifact": artifact.digest, "settings": settings, "runs": runs}
        fields = ("steps",)
        return self._asked(question, [artifact], timeout_s=ANSWER_S, networks=spec.name, fields=fields)["steps"]

    def _opened(self) -> DeviceInfo:
        hello = self._start()
        return self._described(hello, version=hello["version"], pinned=hello["pinned"])

    def _reconnect(self) -> None:
        if self._channel is None:
            self._transport.connect()
            self._start()

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        super()._drop()

    def _asked(
        self,
        question: Question,
        artifacts: Iterable[Artifact],
        *,
        timeout_s: float,
        networks: str,
        fields: Collection[str],
    ) -> Answer:
        def attempt() -> Answer:
            self._push(artifacts)
            return self._answer(question, timeout_s=timeout_s)

        answer = self._retried(attempt)
        if "error" in answer:
            raise DeviceError(f"{self._info.name} refuses one of {networks}: {answer['error']}")
        if missing := set(fields) - set(answer):
            raise DeviceError(f"{self._transport.name} answered without {', '.join(sorted(missing))} for {networks}")
        return answer

    def _answer(self, question: Question, *, timeout_s: float) -> Answer:
        assert self._channel is not None
        self._channel.send(json.dumps(question))
        line = self._channel.receive(timeout_s=timeout_s)
        try:
            answer = json_as(Answer, line)
        except UnsafeFileError as error:
            raise HostLostError(f"{self._transport.name} answered {line[:80]!r}: {error}") from error
        if answer.get("kind") == "machine":
            raise lost(f"{self._transport.name} cannot continue: {answer['error']}")
        return answer

    def _start(self) -> Answer:
        """Send the runner and start it; returns the properties of the machine."""
        name, content = runner_package(self.runtime.engine)
        self._transport.push({name: content})
        self._channel = self._transport.start([self._python, name])
        question: Question = {
            "do": "hello",
            "engine": self.runtime.engine,
            "cores": self._cores,
            "precision": self.runtime.precision,
        }
        try:
            answer = self._answer(question, timeout_s=ANSWER_S)
        except HostLostError as error:
            complaint = self._channel.complaint() or error.message
            raise HostLostError(
                f"the runner does not start on {self._transport.name}: {complaint}",
                hint=f"it needs {self._python} there, with numpy; name another with the option python=PATH",
            ) from error
        if answer.get("kind") == "options":
            raise OptionError(f"device {self.runtime.name}@{self._transport.name}: {answer['error']}")
        if "error" in answer:
            raise DeviceError(
                f"{self.runtime.name} cannot be used on {self._transport.name}: {answer['error']}",
                hint=f"install it there for {self._python}, or name another with the option python=PATH",
            )
        return answer
