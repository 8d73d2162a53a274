"""The result of a run, as text and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.evaluation import Budget, Evaluation
from mnv2search.report.rows import Rows, accuracy_phrase, counted, measured_text, prediction_error_text
from mnv2search.report.search.front import best_rival, front_files_text, front_rows, gain_over, weights_beside
from mnv2search.report.search.groups import groups_by_name
from mnv2search.study.types import SearchResult

if TYPE_CHECKING:
    from mnv2search.accuracy.estimate import PublishedResult

# Difference of accuracies, as a ratio, that counts as negligible: half of what the estimate calls not significant.
NEXT_TO = 0.005
# A cost is reported if it is at least this many times that of the rival.
DEAR = 1.25
COUNTED = ("params", "madds", "peak_activation_bytes", "size_bytes")


def run_rows(result: SearchResult, *, ships: bool = True, grouped: bool = False) -> Rows:
    """The front as a table, see `front_rows`; with `ships`, its network to ship is emphasized."""
    title = f"Pareto front: {counted(len(result.front), 'network')}"
    rows = front_rows(result.front, rivals_of=result.rivals_of, title=title, grouped=grouped)
    hidden = len(result.front) - len(rows.rows)
    if hidden:
        verb = "is" if hidden == 1 else "are"
        note = f"{counted(hidden, 'near-equal')} {verb} left out: `mnv2search front --all` lists them"
        rows = replace(rows, notes=(note, *rows.notes))
    return rows if ships else replace(rows, stressed=frozenset())


def ship_lines(result: SearchResult, *, folder: Path) -> Iterator[str]:
    """The network to ship, its margin to the budget, and the paths of the files."""
    ship = result.ship
    if ship is None or ship.latency is None or ship.accuracy is None:
        return
    budget_ms = ship.budget.latency_ms
    margin = budget_ms - ship.latency.ci_high_ms
    yield (
        f"ship {ship.spec.name}: {measured_text(ship.latency)} ms measured; the upper end of the interval is "
        f"{margin:.2f} ms ({100 * margin / budget_ms:.1f} %) below the budget of {budget_ms:g} ms"
    )
    yield f"  {accuracy_phrase(ship.accuracy)}"
    rivals, grid = result.rivals_of(ship), counted(len(result.baseline) - result.given, "measured network")
    if (gain := gain_over(ship, rivals)) is not None:
        yield (
            f"  {100 * gain.value:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] over {gain.rival}, "
            f"the most accurate network of the MobileNetV2 grid{_given_text(result)} that is not slower ({grid})"
        )
    if not rivals and any(e.accuracy for e in result.baseline):
        yield f"  not compared with MobileNetV2: none of {grid} of its grid is near this latency; give more --time"
    yield from _price(ship, result)
    yield from _alternative(result)
    yield from _no_gain(result)
    yield from _published_nearby(ship)
    yield f"  spec: {folder / 'ship.yaml'}; plot: {folder / 'front.png'}; {front_files_text(folder, result.front)}"
    if ship.accuracy.kind == "trained":
        yield f"  weights: {_weights(folder)}"
    if ship.accuracy.kind == "inherited":
        yield f"  {_shared(folder, ship.spec.name)}"
    yield f"  {effort_text(result)}"


def _price(ship: Evaluation, result: SearchResult) -> Iterator[str]:
    """Costs other than latency that far exceed those of the rival network, and the options that limit them."""
    rival = best_rival(ship, result.rivals_of(ship))
    if rival is None:
        return
    ratios = {
        "parameters and file size": (ship.cost.params / rival.cost.params, "--params"),
        "multiply-adds": (ship.cost.madds / rival.cost.madds, "--madds"),
        "peak activation memory": (ship.cost.peak_activation_bytes / rival.cost.peak_activation_bytes, "--peak-kb"),
    }
    dear = {name: found for name, found in ratios.items() if found[0] >= DEAR}
    if dear:
        shown = ", ".join(f"{ratio:.1f} x the {name}" for name, (ratio, _) in dear.items())
        options = ", ".join(option for _, option in dear.values())
        yield f"  compared with {rival.spec.name} it has {shown}; to limit this, use {options}"


def _published_nearby(ship: Evaluation) -> Iterator[str]:
    """The published networks most similar to the recommended one, for comparison with its estimate."""
    if ship.accuracy is None or ship.accuracy.kind != "estimated":
        return
    yield "  most similar published networks, each with its own recipe (the estimate assumes a standard recipe):"
    for found in nearby_of(ship):
        params = "" if found.params is None else f", {found.params / 1e6:.1f} M parameters"
        yield (
            f"    {found.name}: {100 * found.top1:.1f} %, {found.resolution} px, {found.madds / 1e6:.0f} M "
            f"multiply-adds{params} ({found.source})"
        )


def nearby_of(evaluation: Evaluation) -> tuple[PublishedResult, ...]:
    """The published results most similar to an estimated network."""
    from mnv2search.accuracy.estimate import nearest_published
    from mnv2search.accuracy.evaluators.imagenet import features_of
    from mnv2search.spec.plan import plan

    return nearest_published(features_of(plan(evaluation.spec)))


def _shared(folder: Path, name: str) -> str:
    """The path of the network's part of the shared weights, or why there is none."""
    train, own = f"mnv2search train {folder / 'ship.yaml'} --data DATA", weights_beside(folder, name)
    if own is not None:
        return (
            f"weights: {own}, the part of the shared weights that this network uses; to train them further: "
            f"{train} --from {own}"
        )
    return (
        "no weights are written: the shared weights were trained at a smaller width or resolution; "
        f"to train this network: {train}"
    )


def _weights(folder: Path) -> str:
    longer = f"mnv2search train {folder / 'ship.yaml'} --data DATA"
    if not (folder / "ship.pt").is_file():
        return f"{longer}; those of the search are not kept"
    weights = folder / "ship.pt"
    return f"{weights}, of a training as short as a candidate's; for longer: {longer} --from {weights}"


def _alternative(result: SearchResult) -> Iterator[str]:
    """The fastest front member that is clearly faster than the network to ship and almost as accurate, if any."""
    ship = result.ship
    if ship is None or ship.latency is None or ship.accuracy is None or ship.accuracy.kind in ("proxy", "inherited"):
        return  # such values only rank
    # the front is ordered by latency, fastest first
    for other in result.front:
        if other.latency is None or other.accuracy is None:
            continue
        less = ship.accuracy.value - other.accuracy.value
        if less <= NEXT_TO and other.latency.ci_high_ms < ship.latency.ci_low_ms:
            faster = 1 - other.latency.median_ms / ship.latency.median_ms
            lost = max(0.0, round(100 * ship.accuracy.value, 1) - round(100 * other.accuracy.value, 1))  # as shown
            yield f"  {other.spec.name} is {100 * faster:.0f} % faster and {lost:.1f} points less accurate"
            return


def _no_gain(result: SearchResult) -> Iterator[str]:
    gains = [gain for e in result.front if (gain := gain_over(e, result.rivals_of(e))) is not None]
    if gains and all(gain.low <= 0 for gain in gains):
        more = "" if result.exhausted else ": give more --time"
        yield "  for no network of the front is the gain over MobileNetV2 certain (every interval reaches 0)" + more


def status_lines(status: str, failure: str = "") -> Iterator[str]:
    """A line if a run with a front is not finished; otherwise none. `failure` is the error of a failed run."""
    if status == "running":
        yield "this run is still running: the front is from its last final measurement"
    elif status == "interrupted":
        yield "this run was interrupted: the front is from its last final measurement; use run --resume"
    elif status == "failed":
        yield f"this run failed: {failure}; the front is from its last final measurement; use run --resume"


def nothing_fits_lines(result: SearchResult, *, budget: Budget, status: str, failure: str = "") -> Iterator[str]:
    """What to do if there is no front: resume an unfinished run, or relax part of the budget."""
    if status == "running":
        evaluated = counted(result.trials, "network")
        yield f"there is no front yet: this run is still running, {evaluated} evaluated so far"
        return
    if status == "failed":
        yield f"there is no front: this run failed before its final measurement: {failure}"
        yield "after mending the cause, resume with run --resume"
        return
    if status not in ("finished", "nothing fits"):
        yield "there is no front yet: this run was interrupted before its final measurement; resume with run --resume"
        return
    if result.trials == 0:
        yield "time ran out before any network of the space was measured: continue with run --resume, longer --time"
        return
    yield f"nothing fits {_limits(budget)}"
    fastest = result.fastest
    if fastest is None or fastest.latency is None:
        yield from _counted_out(result)
        return
    yield (
        f"  fastest of the space that was measured: {fastest.spec.name} at {measured_text(fastest.latency)} ms "
        f"(width {fastest.spec.width:g}, {fastest.spec.size} px)"
    )
    for text in _to_give_up(fastest):
        yield f"  what would help: {text}"


def _counted_out(result: SearchResult) -> Iterator[str]:
    yield f"  none was measured: the counted limits excluded {_all_of(result.trials)} that the search looked at"
    if (closest := result.closest) is None:
        return
    over = [
        f"{name} {getattr(closest.cost, name):,}" for name in COUNTED if getattr(closest.budget, name) is not None
    ]
    yield f"  nearest to the limits: {closest.spec.name} with {', '.join(over)}"
    for text in _to_give_up(closest):
        yield f"  what would help: {text}"


def _all_of(count: int) -> str:
    return "the one network" if count == 1 else f"all {count:,} networks"


def _limits(budget: Budget) -> str:
    low = "" if budget.latency_min_ms is None else f"{budget.latency_min_ms:g} to "
    counted = [f"{name} {getattr(budget, name):,}" for name in COUNTED if getattr(budget, name) is not None]
    return ", ".join([f"{low}{budget.latency_ms:g} ms", *counted])


def _to_give_up(evaluation: Evaluation) -> Iterator[str]:
    budget, latency = evaluation.budget, evaluation.latency
    for name in COUNTED:
        cap, counted = getattr(budget, name), getattr(evaluation.cost, name)
        if cap is not None and counted > cap:
            yield f"raise the limit of {name} from {cap:,} to {counted:,} or more"
    if latency is None:
        return
    if latency.ci_high_ms > budget.latency_ms:
        needed = math.ceil(1000 * latency.ci_high_ms) / 1000
        yield f"raise --latency-ms to {needed:g} or more, or search smaller widths or resolutions (--space FILE)"
    if budget.latency_min_ms is not None and latency.median_ms < budget.latency_min_ms:
        yield f"lower --latency-min-ms: this network is faster than {budget.latency_min_ms:g} ms"


def run_json(result: SearchResult, *, folder: Path, status: str) -> dict[str, object]:
    """A JSON document with the front, the network to ship, the baseline and the effort.

    `near_equals` of a network is its group, which is named after its cheapest network.
    """
    groups = groups_by_name(result.front)
    return {
        "folder": str(folder),
        "status": status,
        "ship": None if result.ship is None else result.ship.spec.name,
        "published_nearby": _nearby_json(result.ship),
        "front": [
            _member(e, result)
            | {"weights": _weights_json(folder, e), "near_equals": groups[e.spec.name][0].spec.name}
            for e in result.front
        ],
        "baseline": [_member(e, None) for e in result.baseline],
        "fastest": None if result.fastest is None else _member(result.fastest, None),
        "closest": None if result.closest is None else _member(result.closest, None),
        "trials": result.trials,
        "predicted": result.predicted,
        "elapsed_s": result.elapsed_s,
        "sampler_cpu_s": result.sampler_cpu_s,
        "predictor_error": result.predictor_error,
        "exhausted": result.exhausted,
        "stopped": result.stopped,
    }


def _weights_json(folder: Path, evaluation: Evaluation) -> str | None:
    weights = weights_beside(folder, evaluation.spec.name)
    return None if weights is None else str(weights)


def _nearby_json(ship: Evaluation | None) -> list[dict[str, object]]:
    if ship is None or ship.accuracy is None or ship.accuracy.kind != "estimated":
        return []
    return [asdict(found) for found in nearby_of(ship)]


def _member(evaluation: Evaluation, result: SearchResult | None) -> dict[str, object]:
    gain = gain_over(evaluation, result.rivals_of(evaluation)) if result is not None else None
    return {
        "name": evaluation.spec.name,
        "is_feasible": evaluation.is_feasible,
        "accuracy": None if evaluation.accuracy is None else asdict(evaluation.accuracy),
        "latency": None if evaluation.latency is None else asdict(evaluation.latency),
        "cost": asdict(evaluation.cost),
        "gain": None if gain is None else gain._asdict(),
    }


def _given_text(result: SearchResult) -> str:
    return f" and {counted(result.given, 'size')} of the network of the given weights" if result.given else ""


def effort_text(result: SearchResult) -> str:
    """The number of evaluated networks and the total time."""
    error = result.predictor_error
    others = "" if result.predicted is None else f"; for {result.predicted:,} others, latency was only predicted"
    others += f" ({prediction_error_text(error)})" if others and error is not None else ""
    stopped = f", {result.stopped} of them stopped early and without an accuracy" if result.stopped else ""
    return (
        f"{counted(result.trials, 'network')} of the space{stopped} and {len(result.baseline) - result.given} of the "
        f"MobileNetV2 grid{_given_text(result)} evaluated{others}; {result.elapsed_s:.0f} s"
    )
