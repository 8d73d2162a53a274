"""A record as one line of JSON, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Literal

from msgspec import Meta

from mnv2search.accuracy.evaluators.recorded import content_hash
from mnv2search.accuracy.types import Accuracy
from mnv2search.cost import Cost
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.latency.types import Latency
from mnv2search.results.format import FORMAT, MAX_TRIAL, Count, Seconds
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace, resolve
from mnv2search.spec.yaml.codec import dumps, loads
from mnv2search.untrusted import json_as

Stage = Literal["calibration", "baseline", "search", "final", "final-baseline"]
Trial = Annotated[int, Meta(ge=-1, le=MAX_TRIAL)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line: an evaluation, the trial it belongs to, the stage of the run, and how the space chose it.

    Attributes:
        pick: option index on each axis of the space; empty for a network from outside the space.
    """

    trial: int
    stage: Stage
    evaluation: Evaluation
    pick: tuple[int, ...] = ()


def line_of(record: Record) -> str:
    """The record as a line of JSON, with its line break."""
    evaluation = record.evaluation
    line = _Line(
        format=FORMAT,
        trial=record.trial,
        stage=record.stage,
        name=evaluation.spec.name,
        cost=evaluation.cost,
        latency=evaluation.latency,
        accuracy=evaluation.accuracy,
        budget=evaluation.budget,
        seed=evaluation.seed,
        elapsed_s=evaluation.elapsed_s,
        pick=record.pick,
        spec=dumps(evaluation.spec),
        curve=evaluation.curve,
        expected=evaluation.expected,
    )
    for_readers = {"hash": content_hash(evaluation.spec), "is_feasible": evaluation.is_feasible}
    return json.dumps(asdict(line) | for_readers, separators=(",", ":"), allow_nan=False) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A record as stored on its line; `line_of` adds fields that can be computed from these, for external readers."""

    format: Literal[1]
    trial: Trial
    stage: Stage
    name: str
    cost: Cost
    latency: Latency | None
    accuracy: Accuracy | None
    budget: Budget
    seed: Count
    elapsed_s: Seconds
    pick: tuple[Count, ...]
    spec: str
    curve: tuple[tuple[Count, float], ...] = ()
    expected: float | None = None


class LineReader:
    """Reads the lines of one file, in which each name denotes one network."""

    def __init__(self, space: SearchSpace | None) -> None:
        self._space = space
        self._texts: dict[str, str] = {}
        self._specs: dict[str, ModelSpec] = {}

    def record(self, content: bytes) -> Record:
        """The record of a line.

        Raises:
            ValueError: the line is not a record; the message says why.
        """
        line = json_as(_Line, content)
        spec = self._spec(line)
        if self._texts.setdefault(line.name, line.spec) != line.spec:
            raise ValueError(f"an earlier line has a different network named {line.name!r}")
        evaluation = Evaluation(
            spec=spec,
            cost=line.cost,
            latency=line.latency,
            accuracy=line.accuracy,
            budget=line.budget,
            seed=line.seed,
            elapsed_s=line.elapsed_s,
            curve=line.curve,
            expected=line.expected,
        )
        return Record(trial=line.trial, stage=line.stage, evaluation=evaluation, pick=line.pick)

    def _spec(self, line: _Line) -> ModelSpec:
        picked = None
        if line.pick and self._space is not None:
            picked = replace(resolve(self._space, line.pick), name=line.name)
            if dumps(picked) == line.spec:  # several times as fast as parsing the text
                self._specs[line.spec] = picked
                return picked
        spec = self._specs.get(line.spec) or loads(line.spec)
        if not isinstance(spec, ModelSpec):
            raise ValueError("its spec is a search space")
        if spec.name != line.name or picked not in (None, spec):
            raise ValueError(f"its spec is not the network {line.name!r} that its pick describes")
        self._specs[line.spec] = spec
        return spec
