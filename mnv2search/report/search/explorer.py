"""Data of the interactive chart of all networks of one or several runs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mnv2search.accuracy.types import Accuracy, metric_text
from mnv2search.evaluation import Evaluation
from mnv2search.latency.prediction.predictor import LatencyPredictor
from mnv2search.report.diagram.layout import drawing_of
from mnv2search.report.diagram.svg import embedded_svg
from mnv2search.report.html.page import Explorer, rounded
from mnv2search.report.rows import accuracy_phrase, counted, measured_text, millions
from mnv2search.report.search.front import best_rival, gain_over
from mnv2search.report.search.run import nearby_of
from mnv2search.report.search.stages import predicted_text, stages, timed_text, times_of
from mnv2search.results.run_report import RunReport, evenly
from mnv2search.spec.plan import plan
from mnv2search.spec.yaml.codec import dumps
from mnv2search.untrusted import file_name

Value = tuple[float, float, float]
"""A value and the ends of its interval, in the unit of its axis."""

LATENCY, MADDS, PARAMS, MEMORY, SIZE = "latency", "madds", "params", "memory", "size"
COUNTS = {
    MADDS: ("multiply-adds, M", 1e6),
    PARAMS: ("parameters, M", 1e6),
    MEMORY: ("peak activation memory, kB (fp32)", 1e3),
    SIZE: ("weights, MB (fp32)", 1e6),
}
FRONT_COLORS = ("--front", "--front-2", "--front-3", "--front-4")
# File formats by runtime; ONNX for all others.
FORMATS = {"litert": "tflite", "executorch": "pte", "coreml": "mlpackage"}

# Maximum number of shown networks of a run that are neither on its front nor in the baseline.
MOST_OTHERS = 1500
SEPARATE = " after a separate training"


def explorer(runs: Sequence[RunReport]) -> Explorer:
    """The chart of all measured networks of runs with a front, and of published networks similar to those to ship."""
    data, labels = _Data(), labels_of(runs)
    for run, label in zip(runs, labels, strict=True):
        _add_run(data, run, prefix=f"{label}: " if len(runs) > 1 else "")
    first = runs[0]
    leader = first.result.ship or first.result.front[0]
    ship = first.shipped or leader
    rival = best_rival(leader, first.result.rivals_of(leader)) or leader
    names = [(one["run"], one["name"]) for one in data.networks]
    return Explorer(
        title="All networks",
        data={
            "axes": [{"key": key, "title": title} for key, title in data.axes.items()],
            "x": LATENCY,
            "y": PARAMS if leader.accuracy is None else _axis_of(first),
            "budget": _budget(runs),
            "lines": list(data.lines),
            "runs": labels,
            "runNotes": data.run_notes,
            "groups": data.groups,
            "networks": data.networks,
            "selected": names.index((0, ship.spec.name)),
            "other": names.index((0, rival.spec.name)),
        },
        notes=tuple(_notes(runs)),
    )


def labels_of(runs: Sequence[RunReport]) -> tuple[str, ...]:
    """Unique labels of the runs: the names of their folders or, if two are equal, the paths."""
    names = tuple(run.folder.name for run in runs)
    return names if len(set(names)) == len(names) else tuple(str(run.folder) for run in runs)


@dataclass(frozen=True)
class _Data:
    """The content of the JSON block, while it is collected; equal lines of text are stored once."""

    axes: dict[str, str] = field(default_factory=lambda: {LATENCY: "measured latency, ms"})
    lines: dict[str, int] = field(default_factory=dict)
    groups: list[Mapping[str, object]] = field(default_factory=list)
    networks: list[dict[str, object]] = field(default_factory=list)
    run_notes: list[Mapping[str, str]] = field(default_factory=list)

    def line(self, text: str) -> int:
        """The number of a line."""
        return self.lines.setdefault(text, len(self.lines))


def _add_run(data: _Data, run: RunReport, *, prefix: str) -> None:
    result, number = run.result, len(data.run_notes)
    predictor = run.result.latency_predictor()
    data.run_notes.append({"device": shlex.quote(run.manifest.device.name), "predicted": predicted_text(predictor)})
    trained = {} if run.finetuned is None else {e.spec: e for e in run.finetuned.trained}
    dominated = evenly(result.dominated, MOST_OTHERS)
    listed = {e.spec for e in (*result.front, *dominated, *result.baseline)}
    others = [e for spec, e in trained.items() if spec not in listed]
    color = FRONT_COLORS[number % len(FRONT_COLORS)]
    sets: list[tuple[str, Sequence[Evaluation], Mapping[str, object]]] = [
        ("other measured networks", dominated, {"color": "--other", "size": 6, "symbol": "circle"}),
        (
            "MobileNetV2, width x resolution",
            result.baseline,
            {"color": "--baseline", "size": 7, "symbol": "square"},
        ),
        ("front", result.front, {"color": color, "size": 9, "symbol": "circle", "line": True}),
        ("trained separately", others, {"color": "--trained", "size": 9, "symbol": "diamond"}),
    ]
    for title, evaluations, style in sets:
        if evaluations:
            data.groups.append({"title": f"{prefix}{title}", **style})
        for evaluation in evaluations:
            own = replace(evaluation, accuracy=None) if evaluations is others else evaluation
            data.networks.append(_network(data, own, run, number, predictor, trained.get(own.spec)))
    _add_published(data, run, number, prefix)


def _network(
    data: _Data,
    evaluation: Evaluation,
    run: RunReport,
    number: int,
    predictor: LatencyPredictor | None,
    trained: Evaluation | None,
) -> dict[str, object]:
    spec, laid_out = evaluation.spec, plan(evaluation.spec)
    path = _file_of(evaluation, run)
    times = times_of(laid_out, run.block_times)
    at, said = dict(_values(data, evaluation)), list(_said(evaluation))
    if trained is not None and trained.accuracy is not None:
        at |= _accuracies(data, trained.accuracy, after=SEPARATE)
        said[: evaluation.accuracy is None] = [f"{accuracy_phrase(trained.accuracy)}{SEPARATE}"]
    return {
        "name": spec.name,
        "run": number,
        "group": len(data.groups) - 1,
        "at": at,
        "said": said,
        "notes": list(_notes_on(evaluation, run)),
        "side": str(spec.size),
        "spec": [data.line(text) for text in dumps(spec).splitlines()],
        "stages": list(stages(laid_out, data.line, predictor, times)),
        "timed": "" if times is None else timed_text(times, evaluation.latency),
        "diagram": embedded_svg(drawing_of(laid_out)),
        "file": path,
        "output": shlex.quote(f"{file_name(spec.name)}.{FORMATS.get(run.manifest.device.runtime, 'onnx')}"),
    }


def _values(data: _Data, evaluation: Evaluation) -> Iterator[tuple[str, Value]]:
    accuracy, latency, cost = evaluation.accuracy, evaluation.latency, evaluation.cost
    if latency is not None:
        yield LATENCY, _rounded(latency.median_ms, latency.ci_low_ms, latency.ci_high_ms)
    if accuracy is not None:
        yield from _accuracies(data, accuracy).items()
    for key, count in (
        (MADDS, cost.madds),
        (PARAMS, cost.params),
        (MEMORY, cost.peak_activation_bytes),
        (SIZE, cost.size_bytes),
    ):
        yield key, _count(data, key, count)


def _accuracies(data: _Data, accuracy: Accuracy, *, after: str = "") -> dict[str, Value]:
    """An accuracy by its axis and, if the network is ranked by a likelihood, the likelihood by its axis."""
    key, scale = _accuracy_key(accuracy, after), 1 if accuracy.kind == "proxy" else 100
    data.axes.setdefault(key, key if accuracy.kind == "proxy" else f"{key}, %")
    values = {key: _rounded(scale * accuracy.value, scale * accuracy.low, scale * accuracy.high)}
    if accuracy.merit is not None and not after:
        likelihood = f"likelihood ({accuracy.dataset})"
        data.axes.setdefault(likelihood, f"{likelihood}, %")
        values[likelihood] = _rounded(*[100 * accuracy.merit] * 3)
    return values


def _count(data: _Data, key: str, count: int) -> Value:
    title, unit = COUNTS[key]
    data.axes.setdefault(key, title)
    return _rounded(*[count / unit] * 3)


def _rounded(*values: float) -> Value:
    one, low, high = map(rounded, values)
    return one, low, high


def _accuracy_key(accuracy: Accuracy, after: str = "") -> str:
    """The axis of an accuracy; different kinds, metrics, datasets and trainings have different axes."""
    where = "no accuracy" if accuracy.kind == "proxy" else accuracy.dataset
    return f"{accuracy.kind} {metric_text(accuracy.metric)}{after} ({where})"


def _said(evaluation: Evaluation) -> Iterator[str]:
    """The lines of the tooltip of a network."""
    accuracy, cost = evaluation.accuracy, evaluation.cost
    yield "accuracy not determined" if accuracy is None else accuracy_phrase(accuracy)
    if evaluation.latency is None:
        yield "not measured"
    else:
        yield f"{evaluation.latency.kind} latency {measured_text(evaluation.latency)} ms"
    yield f"{millions(cost.madds)} M multiply-adds, {millions(cost.params)} M parameters, {evaluation.spec.size} px"


def _notes_on(evaluation: Evaluation, run: RunReport) -> Iterator[str]:
    latency = evaluation.latency
    gain = gain_over(evaluation, run.result.rivals_of(evaluation)) if evaluation in run.result.front else None
    if gain is not None:
        yield (
            f"{100 * gain.value:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] over {gain.rival}, the "
            "most accurate MobileNetV2 that is not slower"
        )
    if evaluation.accuracy is not None and evaluation.accuracy.note:
        yield evaluation.accuracy.note
    if latency is not None:
        noisy = "; the interval is unreliable (too noisy, or too few visits)" if latency.noisy else ""
        yield f"{latency.samples:,} inferences in {latency.visits or 'an unknown number of'} visits{noisy}"
    if not evaluation.is_feasible:
        yield "not within the budget"


def _file_of(evaluation: Evaluation, run: RunReport) -> str | None:
    """The argument of commands for a network: a file or a name of the catalogue, quoted for a shell; None without."""
    if evaluation in run.result.baseline and evaluation.spec.name.startswith("mobilenet_v2_"):
        return shlex.quote(evaluation.spec.name)
    is_shipped = run.shipped is not None and evaluation.spec == run.shipped.spec
    front = run.folder / "front" / f"{file_name(evaluation.spec.name)}.yaml"
    path = run.folder / "ship.yaml" if is_shipped else front
    return shlex.quote(str(path)) if path.is_file() else None


def _add_published(data: _Data, run: RunReport, number: int, prefix: str) -> None:
    ship = run.result.ship
    if ship is None or ship.accuracy is None or ship.accuracy.kind != "estimated":
        return
    data.groups.append(
        {
            "title": f"{prefix}published results, each with its own recipe",
            "color": "--published",
            "symbol": "star",
            "size": 9,
            "published": True,
        }
    )
    for found in nearby_of(ship):
        at = {
            _accuracy_key(ship.accuracy): _rounded(*[100 * found.top1] * 3),
            MADDS: _count(data, MADDS, found.madds),
        }
        if found.params is not None:
            at[PARAMS] = _count(data, PARAMS, found.params)
        said = f"published top1 {100 * found.top1:.1f} %, {found.resolution} px, latency unknown ({found.source})"
        data.networks.append(
            {
                "name": found.name,
                "run": number,
                "group": len(data.groups) - 1,
                "at": at,
                "said": [said],
                "notes": [f"recipe: {found.recipe}"] if found.recipe else [],
                "side": str(found.resolution),
                "spec": [],
                "stages": [],
                "timed": "",
                "diagram": "",
                "file": None,
                "output": "",
            }
        )


def _budget(runs: Sequence[RunReport]) -> dict[str, float]:
    """The limits of the first run, by axis."""
    budget = runs[0].manifest.budget
    limits: Iterable[tuple[str, int | None]] = (
        (MADDS, budget.madds),
        (PARAMS, budget.params),
        (MEMORY, budget.peak_activation_bytes),
        (SIZE, budget.size_bytes),
    )
    counted_limits = {key: limit / COUNTS[key][1] for key, limit in limits if limit is not None}
    return {LATENCY: budget.latency_ms, **counted_limits}


def _notes(runs: Sequence[RunReport]) -> Iterator[str]:
    if any(_is_estimated(run) for run in runs):
        yield "Published networks were not measured here: over latency, broken lines mark their accuracies."
    for run, label in zip(runs, labels_of(runs), strict=True):
        others = len(run.result.dominated)
        if others > MOST_OTHERS:
            shown = len(evenly(run.result.dominated, MOST_OTHERS))
            yield f"{label}: {shown:,} of the {others:,} other measured networks are shown, evenly spaced."
    yield from _axis_notes(runs)
    without = sum(e.accuracy is None for run in runs for e in run.result.dominated)
    if without:
        yield (
            f"{counted(without, 'measured network')} without an accuracy, mostly over budget: shown only if no "
            "axis is an accuracy."
        )
    checks: tuple[tuple[str, Callable[[RunReport], object]], ...] = (
        ("device", lambda run: run.manifest.device.fingerprint),
        ("source of accuracies", lambda run: run.manifest.evaluator),
        (
            "latency budget; the dashed line shows the budget of the first run",
            lambda run: run.manifest.budget.latency_ms,
        ),
    )
    for what, of in checks:
        if len({of(run) for run in runs}) > 1:
            yield f"These runs differ in their {what}."
    yield "Brackets and bars are 95 % intervals of latencies and 90 % intervals of accuracies."


def _axis_notes(runs: Sequence[RunReport]) -> Iterator[str]:
    """A line for every run whose accuracies are on another axis than those of the first run."""
    axes = [_axis_of(run) for run in runs]
    for axis, label in zip(axes, labels_of(runs), strict=True):
        if axis != axes[0]:
            yield (
                f"{label} has {axis}, not {axes[0]}: these are not compared with one another; to see the networks of "
                f"{label}, choose its accuracy as the vertical axis."
            )


def _axis_of(run: RunReport) -> str:
    leader = run.result.ship or run.result.front[0]
    return "no accuracies" if leader.accuracy is None else _accuracy_key(leader.accuracy)


def _is_estimated(run: RunReport) -> bool:
    ship = run.result.ship
    return ship is not None and ship.accuracy is not None and ship.accuracy.kind == "estimated"
