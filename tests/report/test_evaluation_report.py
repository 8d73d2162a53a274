"""The tables and pictures of an evaluation: classes, confusions, and images with a high loss."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2search.report.confusion import confusion_png
from mnv2search.report.evaluation import class_rows, confusion_rows, metrics_rows, metrics_text, summary_of
from mnv2search.report.html.page import Gallery, Thumbnail, page
from mnv2search.results.training import Prediction, Predictions
from mnv2search.tasks.metrics import Answers, Metrics, share
from mnv2search.tasks.prediction import Found

CLASSES = tuple(f"class {k}" for k in range(12))


def answered(labels: list[int], predicted: list[int], classes: tuple[str, ...] = CLASSES) -> Metrics:
    right = [a == b for a, b in zip(labels, predicted, strict=True)]
    answers = Answers(labels=np.array(labels), predicted=np.array(predicted), losses=np.zeros(len(labels)))
    details = tuple((name, k / len(classes)) for k, name in enumerate(classes))
    main = share("top1", sum(right) / len(right), len(right))
    return Metrics(main=main, count=len(labels), loss=0.5, details=details, answers=answers)


DETECTED = Metrics(main=share("map", 0.5, 10), count=10, details=(("ap50", 0.75), ("cat", 0.25)))


def test_confusions_are_sorted_by_their_number() -> None:
    rows = confusion_rows(answered([0, 0, 0, 1, 1, 2], [1, 1, 0, 0, 1, 1]), CLASSES)
    assert rows is not None
    assert rows.rows == (
        ("class 0", "class 1", "2", "67"),
        ("class 1", "class 0", "1", "50"),
        ("class 2", "class 1", "1", "100"),
    )
    assert rows.notes == ("4 images of 6 in all",)


def test_at_most_ten_confusions_are_shown() -> None:
    rows = confusion_rows(answered([*range(12)], [*range(1, 12), 0]), CLASSES)
    assert rows is not None
    assert len(rows.rows) == 10
    assert rows.notes == ("12 images of 12 in all; the 10 most frequent of 12 pairs",)


@pytest.mark.parametrize("metrics", [answered([0, 1], [0, 1]), DETECTED], ids=["right", "detector"])
def test_no_confusion_is_no_table(metrics: Metrics) -> None:
    assert confusion_rows(metrics, CLASSES) is None


def test_a_terminal_shows_the_worst_classes_and_a_page_shows_all() -> None:
    metrics = answered([0, 1], [0, 0])
    whole, short = metrics_rows({"test": metrics}), next(class_rows({"test": metrics}, CLASSES))
    assert [row[0] for row in whole.rows] == ["top-1", *(f"accuracy of {name}" for name in CLASSES)]
    assert [row[0] for row in short.rows] == ["top-1", *(f"accuracy of {name}" for name in CLASSES[:10])]
    assert short.notes[0].startswith("the worst 10 of 12 classes")


def test_metrics_of_classes_are_left_out_of_the_line() -> None:
    assert summary_of(DETECTED) == (("ap50", 0.75),)
    assert metrics_text(DETECTED).endswith("on 10 images (AP at IoU 0.5 75.0)")
    assert [row[0] for row in metrics_rows({"test": DETECTED}).rows] == [
        "mAP",
        "AP at IoU 0.5",
        "AP, IoU 0.5 to 0.95, of cat",
    ]


@pytest.mark.parametrize("count", [2, 30, 90])
def test_a_confusion_matrix_is_drawn_for_any_number_of_classes_and_any_names(count: int) -> None:
    names = [f"$\\bad_{{{k}$\x1b" for k in range(count)]
    with Image.open(io.BytesIO(confusion_png(np.eye(count, dtype=np.int64), names))) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_a_gallery_escapes_its_captions() -> None:
    gallery = Gallery(title="worst", thumbnails=(Thumbnail(jpeg=b"x", caption='true: <b>"\x1b'),), notes=("note",))
    text = page("it", [gallery])
    assert "<b>" not in text
    assert "\x1b" not in text
    assert text.count("<figure>") == text.count("data:image/jpeg;base64,") == 1
    assert "note" in text


def test_predictions_are_printed_in_few_lines() -> None:
    found = (Found(name="cat", score=0.5), Found(name="dog", score=0.25))
    predictions = Predictions(Prediction(image=Path(f"{k}.png"), drawn=Path("out"), found=found) for k in range(20))
    lines = repr(predictions).splitlines()
    assert len(lines) == 10
    assert lines[0] == "<20 predictions"
    assert lines[1] == "0.png: cat 50 %, dog 25 %"
    assert lines[-1] == "and 12 more>"
