"""Metrics of a network on images, with intervals, and their conversion for files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields, replace
from typing import Annotated, NamedTuple, Protocol

import numpy as np
from msgspec import Meta, ValidationError, convert
from numpy.typing import NDArray

TOP1 = "top1"
Z_90 = 1.645
# The trivial answer that a main metric is compared with; another metric is compared with a constant answer.
TRIVIAL = {TOP1: "majority class", "map": "same boxes in every image", "miou": "same mask for every image"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A ratio, larger is better, with its 90 % interval.

    Attributes:
        name: ``top1``, ``map`` (mean average precision over IoU 0.5 to 0.95), ``miou`` (mean intersection over
            union), or the name of another task's metric.
        value: 0 to 1.
    """

    name: str
    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high <= 1:
            raise ValueError(f"{self} is not 0 <= low <= value <= high <= 1")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """The predictions of a classifier for some images, in their order.

    Attributes:
        labels: true classes (N,).
        predicted: predicted classes (N,).
        losses: cross-entropy of each image (N,).
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    losses: NDArray[np.float64]

    def confusion(self, classes: int) -> NDArray[np.int64]:
        """The number of images by true class and predicted class (classes, classes).

        >>> Answers(labels=np.array([0, 0, 1]), predicted=np.array([0, 1, 1]), losses=np.zeros(3)).confusion(2)
        array([[1, 1],
               [0, 1]])
        """
        pairs = self.labels * classes + self.predicted
        return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    def worst(self, most: int) -> tuple[int, ...]:
        """Indices of the images with the highest losses, worst first."""
        return tuple(np.argsort(-self.losses, kind="stable")[:most].tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Metrics of a network on some images.

    Attributes:
        main: metric by which networks and weights are compared.
        count: number of images.
        trivial: main metric of the best trivial answer, which is the same class, boxes or mask for every image; None
            if unknown.
        score: score threshold of a detector with the best F1 over all boxes; None if unknown.
        details: further metrics by name, such as ``ap50`` or the metric of each class.
        answers: predictions of a classifier for each image; not stored in files.
    """

    main: Metric
    count: int
    loss: float | None = None
    trivial: float | None = None
    score: float | None = None
    details: tuple[tuple[str, float], ...] = ()
    answers: Answers | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("metric of a trivial answer", self.trivial), ("score threshold", self.score)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"the {name} is {value}, not from 0 to 1")

    @property
    def beats_trivial(self) -> bool:
        """Whether the interval is above the metric of the best trivial answer; True if the latter is unknown."""
        return self.trivial is None or self.main.low > self.trivial


def trivial_name(metric: str) -> str:
    """Name of the trivial answer that a main metric is compared with.

    >>> trivial_name("top1"), trivial_name("map")
    ('majority class', 'same boxes in every image')
    """
    return TRIVIAL.get(metric, "constant answer")


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


class Interval(Protocol):
    """A value with its interval."""

    @property
    def value(self) -> float:
        """The value."""

    @property
    def low(self) -> float:
        """Lower end of the interval."""

    @property
    def high(self) -> float:
        """Upper end of the interval."""


class Difference(NamedTuple):
    """A difference of two ratios with its 90 % interval."""

    value: float
    low: float
    high: float


def difference_of(own: Interval, other: Interval) -> Difference:
    """The difference of two independent values with their intervals.

    Source: Newcombe, 1998, method 10.

    >>> found = difference_of(share("top1", 0.8, 100), share("top1", 0.6, 100))
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.2, 0.094, 0.3)
    """
    value = own.value - other.value
    below = ((own.value - own.low) ** 2 + (other.high - other.value) ** 2) ** 0.5
    above = ((own.high - own.value) ** 2 + (other.value - other.low) ** 2) ** 0.5
    return Difference(value, value - below, value + above)


@dataclass(frozen=True, slots=True)
class _Top1:
    """The metrics of a classifier in files."""

    top1: float
    loss: float | None
    count: int
    commonest: float | None = None
    details: tuple[tuple[str, float], ...] = ()

    def metrics(self) -> Metrics:
        main = share(TOP1, self.top1, self.count)
        return Metrics(main=main, count=self.count, loss=self.loss, trivial=self.commonest, details=self.details)


@dataclass(frozen=True, slots=True)
class _Other:
    """The metrics of another task in files; old files have no interval."""

    metric: Annotated[str, Meta(max_length=64)]
    value: float
    details: tuple[tuple[str, float], ...]
    count: int
    low: float | None = None
    high: float | None = None
    trivial: float | None = None
    score: float | None = None

    def metrics(self) -> Metrics:
        main = share(self.metric, self.value, self.count)
        if self.low is not None and self.high is not None:
            main = replace(main, low=self.low, high=self.high)
        return Metrics(main=main, count=self.count, trivial=self.trivial, score=self.score, details=self.details)


def _stored(metrics: Metrics) -> _Top1 | _Other:
    main, trivial = metrics.main, metrics.trivial
    if main.name == TOP1:
        return _Top1(main.value, metrics.loss, metrics.count, trivial, metrics.details)
    return _Other(main.name, main.value, metrics.details, metrics.count, main.low, main.high, trivial, metrics.score)


def record_of(metrics: Metrics) -> dict[str, object]:
    """The metrics as a JSON object, for histories and reports."""
    return asdict(_stored(metrics))


def metrics_of_record(record: Mapping[str, object]) -> Metrics:
    """The metrics of an object from `record_of`.

    >>> metrics_of_record({"metric": "map", "value": 0.25, "details": [["ap50", 0.5]], "count": 12}).main.name
    'map'

    Raises:
        ValueError: a value is missing, out of its range, or has another type.
    """
    kind: type[_Top1 | _Other] = _Top1 if TOP1 in record else _Other
    try:
        return convert(record, kind).metrics()
    except ValidationError as error:
        raise ValueError(str(error)) from error


def tuple_of(metrics: Metrics) -> tuple[object, ...]:
    """The metrics as a tuple, for checkpoints."""
    return astuple(_stored(metrics))


def metrics_of_tuple(values: Sequence[object]) -> Metrics:
    """The metrics of a tuple from `tuple_of`.

    Raises:
        ValueError: a value is missing, out of its range, or has another type.
    """
    kind = _Other if values and isinstance(values[0], str) else _Top1
    return metrics_of_record(dict(zip((field.name for field in fields(kind)), values, strict=False)))
