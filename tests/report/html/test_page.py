"""Reports as HTML files: whole, escaped, with what tables and pictures hold; and the curves in them."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from mnv2search.accuracy.types import Accuracy
from mnv2search.cost import cost_of
from mnv2search.evaluation import Budget, Evaluation, completed
from mnv2search.report.html.page import Lines, Picture, page
from mnv2search.report.plot import candidates_png, from_zero, history_of, training_png
from mnv2search.report.rows import Column, Rows
from mnv2search.spec.yaml.codec import load_spec

PNG = b"\x89PNG\r\n\x1a\n"
ROWS = Rows(
    title="a table",
    columns=(Column("name <b>", align="left"), Column("time", "ms")),
    rows=(("one & two", "1.0"), ("three", "2.0")),
    footer=("all",),
    notes=("a note",),
    stressed=frozenset({1}),
)


def line(step: int, loss: float, evaluated: dict[str, object]) -> bytes:
    """A line of a history."""
    return json.dumps({"step": step, "loss": loss, "evaluated": evaluated}).encode() + b"\n"


class Opened(HTMLParser):
    """Tags that are open, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def curved(name: str, curve: tuple[tuple[int, float], ...], *, stopped: bool = False) -> Evaluation:
    spec = load_spec(name)
    made = completed(spec, cost=cost_of(spec), latency=None, budget=Budget(latency_ms=5.0), seed=0)
    accuracy = Accuracy(value=0.5, low=0.4, high=0.6, metric="map", kind="trained", dataset="mine")
    return replace(made, accuracy=None if stopped else accuracy, curve=curve)


def test_a_page_closes_what_it_opens_and_escapes_what_it_is_given() -> None:
    read = Opened()
    read.feed(page("a <i> title", [ROWS, Lines(title="text", lines=("  x < y",)), picture()]))
    assert read.open == []
    text = "".join(read.text)
    for part in ("a <i> title", "name <b>", "one & two", "a note", "  x < y"):
        assert part in text


def picture() -> Picture:
    return Picture(title="a picture", png=PNG, shows='what "it" shows')


def test_a_page_needs_no_other_file() -> None:
    text = page("title", [picture()])
    assert 'src="data:image/png;base64,' in text
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in text


@pytest.mark.parametrize(
    "evaluated",
    [
        {"metric": "map", "value": 0.3, "details": [["ap50", 0.5], ["cat", 0.3]], "count": 9},
        {"metric": "miou", "value": 0.3, "details": [["pixels", 0.5]], "count": 9},
        {"top1": 0.5, "loss": 1.0, "count": 9},
    ],
    ids=["detector", "segmenter", "classifier"],
)
def test_curves_are_drawn_of_every_kind_of_training(evaluated: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_bytes(b"".join(line(step, 1.0, evaluated) for step in (5, 10)))
    history = history_of(tmp_path / "h.jsonl")
    assert len(history.evaluations) == 2
    assert training_png(history.evaluations, batch=8).startswith(PNG)


def test_axes_leave_a_margin_above_what_they_show() -> None:
    axes = Figure().subplots()
    axes.plot([0, 200], [1.5, 4.0])
    from_zero(axes)
    assert axes.get_xlim() == pytest.approx((0, 212))
    assert axes.get_ylim() == pytest.approx((0, 4.24))


def test_of_a_repeated_evaluation_the_last_counts(tmp_path: Path) -> None:
    lines = [line(step, loss, {"top1": 0.5}) for step, loss in ((10, 1.0), (5, 2.0), (10, 0.5))]
    (tmp_path / "h.jsonl").write_bytes(b"".join(lines))
    history = history_of(tmp_path / "h.jsonl")
    assert [(one.step, one.loss) for one in history.evaluations] == [(5, 2.0), (10, 0.5)]


def test_a_torn_last_line_of_a_history_is_passed_over(tmp_path: Path) -> None:
    whole = line(5, 1.0, {"top1": 0.5})
    (tmp_path / "h.jsonl").write_bytes(whole + whole[:-20])
    history = history_of(tmp_path / "h.jsonl")
    assert [one.step for one in history.evaluations] == [5]
    assert history.damaged == ()


@pytest.mark.parametrize(
    "damaged",
    [
        b"\n",
        b"torn\n",
        b"\xff\n",
        b"[5]\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b'{"step": 5, "loss": 1.0, "evaluated": null}\n',
        b'{"step": [], "loss": 1.0, "evaluated": {"top1": 0.5}}\n',
        b'{"step": 5, "loss": NaN, "evaluated": {"top1": 0.5}}\n',
        b'{"step": 5, "loss": 1.0, "evaluated": {"top1": 1e300}}\n',
        b'{"step": 1' + b"0" * 400 + b', "loss": 1.0, "evaluated": {"top1": 0.5}}\n',
        b'{"step": 5, "loss": 1' + b"0" * 400 + b', "evaluated": {"top1": 0.5}}\n',
        b'{"step": 5, "loss": 1.0, "evaluated": {"metric": "$_$", "value": 0.5, "details": []}}\n',
        b'{"step": 5, "loss": 1.0, "evaluated": {"metric": [], "value": 0.5, "details": []}}\n',
        b'{"step": 5, "loss": 1.0, "evaluated": {"metric": "map", "value": "high", "details": []}}\n',
    ],
    ids=[
        "empty",
        "no JSON",
        "no UTF-8",
        "a list",
        "no step",
        "deep",
        "no figures",
        "a list as step",
        "NaN",
        "a huge share",
        "a huge step",
        "a huge loss",
        "another metric",
        "a list as metric",
        "text as value",
    ],
)
def test_damaged_lines_of_a_history_are_left_out_and_counted(damaged: bytes, tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_bytes(line(5, 1.0, {"top1": 0.5}) + damaged + line(10, 0.5, {"top1": 0.6}))
    history = history_of(tmp_path / "h.jsonl")
    assert [one.step for one in history.evaluations] == [5, 10]
    assert history.damaged == (2,)


def test_candidates_without_curves_have_no_picture() -> None:
    alone = curved("mobilenet_v2_0.35_96", ())
    assert candidates_png([alone], [], metric="map") is None
    told = curved("mobilenet_v2_0.5_96", ((1, 0.2), (2, 0.3)))
    behind = curved("mobilenet_v2_0.75_96", ((1, 0.1),), stopped=True)
    png = candidates_png([told], [alone, behind], metric="map")
    assert png is not None
    assert png.startswith(PNG)


def test_a_printed_page_has_smaller_type() -> None:
    printed = page("a", []).partition("@media print")[2]
    assert "font-size: 6.5pt" in printed


def test_a_page_holds_no_control_characters_and_can_be_written() -> None:
    hostile = "\x1b]52;c;QUFB\x07\udcff\u202e<script>"
    text = page(hostile, [Lines(title=hostile, lines=(hostile,)), replace(ROWS, rows=((hostile, "1"),))])
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "<script>" not in text
    assert text.encode("utf-8")
