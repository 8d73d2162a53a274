"""Format values as tables of text, with the unit of every column; predicted values are marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from mnv2search.accuracy.types import Accuracy, metric_text
from mnv2search.latency.types import DeviceInfo, Latency

if TYPE_CHECKING:
    from mnv2search.tasks.metrics import Metric

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column:
    """A column heading with its unit; numbers are right-aligned.

    Attributes:
        spare: priority of being hidden on a narrow terminal, highest first; columns with 0 are last, from the right.
        header: title in CSV and Markdown, if `title` is unclear without the neighbouring column.
        is_whole: whether texts are kept on one line; numbers always are.
    """

    title: str
    unit: str = ""
    align: Literal["left", "right"] = "right"
    spare: int = 0
    header: str = ""
    is_whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A table as text: one string per cell, notes below the table, and indices of emphasized rows (`stressed`)."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    footer: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stressed: frozenset[int] = frozenset()


def rows_of(
    title: str,
    items: Iterable[T],
    *columns: tuple[Column, Callable[[T], str]],
    footer: tuple[str, ...] = (),
    notes: Iterable[str] = (),
    stressed: frozenset[int] = frozenset(),
) -> Rows:
    """A table with a row for each item; each column has a function that returns the cell of an item."""
    return Rows(
        title=title,
        columns=tuple(column for column, _ in columns),
        rows=tuple(tuple(cell(item) for _, cell in columns) for item in items),
        footer=footer,
        notes=tuple(notes),
        stressed=stressed,
    )


NAME = Column("network", align="left")


def millions(count: int) -> str:
    """A count in millions with at least three significant digits.

    >>> millions(300_774_272), millions(1_663_048), millions(59_285_808)
    ('300.8', '1.66', '59.3')
    """
    value = count / 1e6
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def interval_text(low: float, value: float, high: float, *, digits: int) -> str:
    """A value with the ends of its interval.

    >>> interval_text(9.0, 9.12, 9.3, digits=2)
    '9.12 [9.00, 9.30]'
    """
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def percent_text(share: Accuracy | Metric) -> str:
    """A share in percent with the ends of its interval."""
    return interval_text(100 * share.low, 100 * share.value, 100 * share.high, digits=1)


def measured_text(latency: Latency | None) -> str:
    """A latency with its interval in ms; a prediction is marked with ~."""
    if latency is None:
        return "not measured"
    digits = _digits(latency.median_ms)
    text = interval_text(latency.ci_low_ms, latency.median_ms, latency.ci_high_ms, digits=digits)
    return f"~{text}" if latency.kind == "predicted" else text


def ms_text(value_ms: float) -> str:
    """A latency without an interval, with as many digits as in `measured_text`.

    >>> ms_text(123.456), ms_text(0.12)
    ('123.46', '0.120')
    """
    return f"{value_ms:.{_digits(value_ms)}f}"


def _digits(value_ms: float) -> int:
    return 3 if value_ms < 1 else 2


def prediction_error_text(error: float) -> str:
    """The mean error of predicted latencies.

    >>> prediction_error_text(0.0193)
    'mean prediction error 1.9 %'
    """
    return f"mean prediction error {100 * error:.1f} %"


def plus_minus(value: float, half_width: float) -> str:
    """A value with its half-width, both rounded to the first significant digit of the half-width.

    >>> plus_minus(0.02345, 0.0031), plus_minus(12.345, 1.9)
    ('0.023 ± 0.003', '12 ± 2')
    """
    digits = max(0, -math.floor(math.log10(half_width))) if half_width > 0 else 3
    return f"{value:.{digits}f} ± {half_width:.{digits}f}"


def accuracy_text(accuracy: Accuracy | None) -> str:
    """An accuracy in percent with its interval, or a score unchanged."""
    if accuracy is None:
        return "not evaluated"
    if accuracy.kind == "proxy":
        return f"{accuracy.value:.4g}"
    if accuracy.low == accuracy.high:
        return f"{100 * accuracy.value:.1f}"
    return percent_text(accuracy)


def accuracy_unit(accuracy: Accuracy) -> str:
    """The unit of `accuracy_text`; empty for a score."""
    return "" if accuracy.kind == "proxy" else "%"


def accuracy_phrase(accuracy: Accuracy) -> str:
    """An accuracy with its kind, metric, interval and dataset.

    >>> accuracy_phrase(Accuracy(value=0.7, low=0.6, high=0.8, metric="top1", kind="trained", dataset="mine"))
    'trained top1 70.0 [60.0, 80.0] % (mine)'
    """
    text = f"{accuracy.kind} {metric_text(accuracy.metric)} {accuracy_text(accuracy)}"
    return f"{text} (no accuracy)" if accuracy.kind == "proxy" else f"{text} % ({accuracy.dataset})"


def trouble_lines(latencies: Iterable[Latency]) -> Iterator[str]:
    """Reasons why some latencies are unreliable, each with a remedy."""
    noisy = [latency for latency in latencies if latency.noisy]
    if any(latency.is_hasty for latency in noisy):
        yield "some networks were measured too few times in the time allowed: give more --time"
    if any(not latency.is_hasty for latency in noisy):
        yield "the machine was too noisy for some of these latencies: repeat when it is quiet"


def device_text(latencies: Sequence[Latency]) -> str:
    """One line that describes the device of latencies; the machines of a pool differ only in their host.

    Raises:
        ValueError: there are no latencies.
    """
    if not latencies:
        raise ValueError("no latencies")
    return device_line(latencies[0].device, hosts=[latency.device.host for latency in latencies])


def device_line(info: DeviceInfo, *, hosts: Sequence[str] = ()) -> str:
    """One line that describes a device, or the pool of devices on `hosts`."""
    # the networks have arbitrary weights, so the user's images would not help
    dtype = "int8 with ranges from random images" if info.dtype == "int8" else info.dtype
    where = ", ".join(sorted(dict.fromkeys(hosts or (info.host,))))
    pinned = f" on core{'s' * (not info.pinned.isdigit())} {info.pinned}" if info.pinned else ""
    return (
        f"device: {info.runtime} {info.runtime_version} on {info.hardware} ({where}), "
        f"{counted(info.threads, 'thread')}{pinned}, {dtype}, batch {info.batch}"
    )


def counted(count: int, thing: str) -> str:
    """A count with its noun.

    >>> counted(1, "thread"), counted(17_258, "network")
    ('1 thread', '17,258 networks')
    """
    return f"{count:,} {thing}{'s' * (count != 1)}"
