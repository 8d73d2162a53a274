"""The front as comma-separated values, one row a network, units in the headings."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from mnv2search.evaluation import Evaluation

__all__ = ["front_csv"]

# Format strings of the cells by the headings of their columns.
COLUMNS = {
    "name": "{evaluation.spec.name}",
    "accuracy": "{accuracy.value:.5f}",
    "accuracy_low": "{accuracy.low:.5f}",
    "accuracy_high": "{accuracy.high:.5f}",
    "accuracy_kind": "{accuracy.kind}",
    "accuracy_metric": "{accuracy.metric}",
    "latency_median_ms": "{latency.median_ms:.4f}",
    "latency_ci_low_ms": "{latency.ci_low_ms:.4f}",
    "latency_ci_high_ms": "{latency.ci_high_ms:.4f}",
    "latency_kind": "{latency.kind}",
    "budget_ms": "{evaluation.budget.latency_ms:g}",
    "params": "{evaluation.cost.params}",
    "madds": "{evaluation.cost.madds}",
    "peak_activation_bytes": "{evaluation.cost.peak_activation_bytes}",
    "size_bytes": "{evaluation.cost.size_bytes}",
    "width": "{evaluation.spec.width:g}",
    "resolution_px": "{evaluation.spec.size.word}",
    "device": "{latency.device.name}",
    "hardware": "{latency.device.hardware}",
    "likelihood": "{likelihood}",
    "latency_noisy": "{noisy}",
    "ship": "{ship}",
}


def front_csv(front: Sequence[Evaluation], *, ship: Evaluation | None = None) -> str:
    """The text of `front.csv`, with the networks in their order; `ship` is the recommended one.

    Accuracies are shares of 1, and scores have other headings; so are likelihoods, which only inherited weights have.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    is_score = any(e.accuracy is not None and e.accuracy.kind == "proxy" for e in front)
    writer.writerow([name.replace("accuracy", "score") if is_score else name for name in COLUMNS])
    for evaluation in front:
        accuracy, latency = evaluation.accuracy, evaluation.latency
        if accuracy is None or latency is None:
            continue
        values = {
            "evaluation": evaluation,
            "accuracy": accuracy,
            "latency": latency,
            "likelihood": "" if accuracy.merit is None else f"{accuracy.merit:.5f}",
            "noisy": "yes" if latency.noisy else "no",
            "ship": "yes" if ship is not None and evaluation.spec == ship.spec else "no",
        }
        writer.writerow([cell.format_map(values) for cell in COLUMNS.values()])
    return text.getvalue()
