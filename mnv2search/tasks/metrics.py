"""Metrics of a network on images, with their intervals, and the form in which files hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

__all__ = ["Metric", "Metrics", "metrics_of_record", "metrics_of_tuple", "record_of", "share", "tuple_of"]

TOP1 = "top1"
LONGEST_NAME = 64
Z_90 = 1.645


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A share, the larger the better, with its 90 % interval.

    Attributes:
        name: ``top1``, ``map`` (mean average precision over IoU 0.5 to 0.95), ``miou`` (mean intersection over
            union), or the name that another task gives it.
        value: 0 to 1.
        low: lower end of the interval.
        high: upper end.
    """

    name: str
    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high <= 1:
            raise ValueError(f"{self} is not 0 <= low <= value <= high <= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """How well a network does on some images.

    Attributes:
        main: the metric by which networks and weights are compared.
        count: images.
        loss: mean loss, or None.
        majority: majority-class accuracy, the share of the most common class; None where it is unknown or means
            nothing.
        details: further metrics by name, such as ``ap50`` or one for each class.
    """

    main: Metric
    count: int
    loss: float | None = None
    majority: float | None = None
    details: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.majority is not None and not 0 <= self.majority <= 1:
            raise ValueError(f"the majority-class accuracy is {self.majority}, not from 0 to 1")

    @property
    def beats_majority(self) -> bool:
        """Whether the interval lies above the majority-class accuracy, if that is known."""
        return self.majority is None or self.main.low > self.majority


def share(name: str, value: float, count: int) -> Metric:
    """A share of `count` images with its 90 % interval.

    Source: Wilson, 1927.

    >>> found = share("top1", 0.5, 10)
    >>> round(found.low, 3), round(found.high, 3)
    (0.269, 0.731)
    """
    if count < 1 or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value} on {count} images")
    spread = Z_90 * Z_90 / count
    centre = (value + spread / 2) / (1 + spread)
    half = Z_90 * math.sqrt(value * (1 - value) / count + spread / (4 * count)) / (1 + spread)
    return Metric(
        name=name, value=value, low=max(0.0, min(value, centre - half)), high=min(1.0, max(value, centre + half))
    )


def record_of(metrics: Metrics) -> dict[str, Any]:
    """The JSON object that histories and reports hold."""
    main = metrics.main
    if main.name == TOP1:
        return {TOP1: main.value, "loss": metrics.loss, "count": metrics.count, "commonest": metrics.majority}
    interval = {"low": main.low, "high": main.high}
    return {"metric": main.name, "value": main.value, "details": metrics.details, "count": metrics.count, **interval}


def metrics_of_record(record: Mapping[str, Any]) -> Metrics:
    """The metrics of such an object; raises an exception of any type where it does not hold metrics.

    >>> metrics_of_record({"metric": "map", "value": 0.25, "details": [["ap50", 0.5]], "count": 12}).main.name
    'map'
    """
    if TOP1 in record:
        return metrics_of_tuple((record[TOP1], record["loss"], record["count"], record.get("commonest")))
    interval = (record["low"], record["high"]) if "low" in record else ()
    return metrics_of_tuple((record["metric"], record["value"], record["details"], record["count"], *interval))


def tuple_of(metrics: Metrics) -> tuple[Any, ...]:
    """The tuple that checkpoints hold."""
    main = metrics.main
    if main.name == TOP1:
        return main.value, metrics.loss, metrics.count, metrics.majority
    return main.name, main.value, metrics.details, metrics.count, main.low, main.high


def metrics_of_tuple(values: Sequence[Any]) -> Metrics:
    """The metrics of such a tuple.

    Raises:
        ValueError: a value is out of its range or has another type.
    """
    if not isinstance(values[0], str):
        value, loss, count, *rest = values
        known = None if loss is None else float(loss)
        majority = rest[0] if rest else None
        return Metrics(main=share(TOP1, value, int(count)), count=int(count), loss=known, majority=majority)
    name, value, details, count, *interval = values
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the name of a metric has {len(name)} characters")
    main = share(name, value, int(count))
    if interval:
        main = Metric(name=name, value=value, low=interval[0], high=interval[1])
    named = cast("Sequence[tuple[str, float]]", details)
    return Metrics(main=main, count=int(count), details=tuple((key, float(number)) for key, number in named))
