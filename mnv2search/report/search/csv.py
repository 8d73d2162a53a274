"""The front as comma-separated values, one row a network, units in the headings."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from mnv2search.accuracy.types import Accuracy
from mnv2search.evaluation import Evaluation
from mnv2search.latency.types import Latency

COLUMNS: dict[str, Callable[[Evaluation, Accuracy, Latency], object]] = {
    "name": lambda e, _, __: e.spec.name,
    "accuracy": lambda _, accuracy, __: f"{accuracy.value:.5f}",
    "accuracy_low": lambda _, accuracy, __: f"{accuracy.low:.5f}",
    "accuracy_high": lambda _, accuracy, __: f"{accuracy.high:.5f}",
    "accuracy_kind": lambda _, accuracy, __: accuracy.kind,
    "accuracy_metric": lambda _, accuracy, __: accuracy.metric,
    "latency_median_ms": lambda _, __, latency: f"{latency.median_ms:.4f}",
    "latency_ci_low_ms": lambda _, __, latency: f"{latency.ci_low_ms:.4f}",
    "latency_ci_high_ms": lambda _, __, latency: f"{latency.ci_high_ms:.4f}",
    "latency_kind": lambda _, __, latency: latency.kind,
    "budget_ms": lambda e, _, __: f"{e.budget.latency_ms:g}",
    "params": lambda e, _, __: e.cost.params,
    "madds": lambda e, _, __: e.cost.madds,
    "peak_activation_bytes": lambda e, _, __: e.cost.peak_activation_bytes,
    "size_bytes": lambda e, _, __: e.cost.size_bytes,
    "width": lambda e, _, __: f"{e.spec.width:g}",
    "resolution_px": lambda e, _, __: e.spec.size.word,
    "device": lambda _, __, latency: latency.device.name,
    "hardware": lambda _, __, latency: latency.device.hardware,
    "likelihood": lambda _, accuracy, __: "" if accuracy.merit is None else f"{accuracy.merit:.5f}",
    "latency_noisy": lambda _, __, latency: "yes" if latency.noisy else "no",
}


def front_csv(front: Sequence[Evaluation], *, ship: Evaluation | None = None) -> str:
    """The text of `front.csv`; `ship` is the network to ship.

    Accuracies are shares of 1, and scores are headed as such; so are likelihoods, which only inherited weights have.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    is_score = any(e.accuracy is not None and e.accuracy.kind == "proxy" for e in front)
    writer.writerow([name.replace("accuracy", "score") if is_score else name for name in (*COLUMNS, "ship")])
    for e in front:
        if e.accuracy is not None and e.latency is not None:
            is_shipped = "yes" if ship is not None and e.spec == ship.spec else "no"
            writer.writerow([*(column(e, e.accuracy, e.latency) for column in COLUMNS.values()), is_shipped])
    return text.getvalue()
