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
    "likelihood",
    "latency_noisy",
    "ship",
)


def front_csv(front: Sequence[Evaluation], *, ship: Evaluation | None = None) -> str:
    """The text of `front.csv`.

    Accuracies are shares of 1, and scores are headed as such; so are likelihoods, which only inherited weights have.

    Args:
        front: networks, in their order.
        ship: the one to ship.
    """
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
                "" if accuracy.merit is None else f"{accuracy.merit:.5f}",
                "yes" if latency.noisy else "no",
                "yes" if ship is not None and evaluation.spec == ship.spec else "no",
            ]
        )
    return text.getvalue()
