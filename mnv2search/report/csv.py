"""The front as comma-separated values, one row a network, units in the headings."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from mnv2search.evaluation import Evaluation

__all__ = ["front_csv"]

COLUMNS = (
    "name",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_kind",
    "accuracy_metric",
    "latency_median_ms",
    "latency_ci_low_ms",
    "latency_ci_high_ms",
    "latency_kind",
    "budget_ms",
    "params",
    "madds",
    "peak_activation_bytes",
    "size_bytes",
    "width",
    "resolution_px",
    "device",
    "hardware",
)


def front_csv(front: Sequence[Evaluation]) -> str:
    """The text of `front.csv`; accuracies are shares of 1, and scores are headed as such."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    is_score = any(e.accuracy is not None and e.accuracy.kind == "proxy" for e in front)
    writer.writerow([name.replace("accuracy", "score") if is_score else name for name in COLUMNS])
    for evaluation in front:
        accuracy, latency, cost = evaluation.accuracy, evaluation.latency, evaluation.cost
        if accuracy is None or latency is None:
            continue
        writer.writerow(
            [
                evaluation.spec.name,
                f"{accuracy.value:.5f}",
                f"{accuracy.low:.5f}",
                f"{accuracy.high:.5f}",
                accuracy.kind,
                accuracy.metric,
                f"{latency.median_ms:.4f}",
                f"{latency.ci_low_ms:.4f}",
                f"{latency.ci_high_ms:.4f}",
                latency.kind,
                f"{evaluation.budget.latency_ms:g}",
                cost.params,
                cost.madds,
                cost.peak_activation_bytes,
                cost.size_bytes,
                f"{evaluation.spec.width:g}",
                evaluation.spec.size.word,
                latency.device.name,
                latency.device.hardware,
            ]
        )
    return text.getvalue()
