"""The score threshold of a detector: the best F1 on validation images, kept with the weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from scene_files import draw_scene, write_coco

sys.path.append(str(Path(__file__).parents[1] / "model"))

from dense_specs import detector, segmenter

from mnv2search.data.dataset import Example
from mnv2search.data.loaded_scenes import VOID, LoadedScenes
from mnv2search.errors import WeightsError
from mnv2search.model.build import build
from mnv2search.model.weights.network_file import Learned, read_learned, torch_bytes
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.size import Size
from mnv2search.tasks.detection import Detection
from mnv2search.tasks.metrics import Metrics
from mnv2search.training.checkpoint import write_network
from mnv2search.workflows.training.predict import predict
from mnv2search.workflows.training.request import TrainingRequest
from mnv2search.workflows.training.train import train_spec

RIGHT, WRONG = (0.0, 0.0, 0.5, 0.5), (0.6, 0.6, 0.9, 0.9)


def judged(answers: Sequence[tuple[tuple[float, ...], float]], images: int = 1) -> Metrics:
    """Metrics of boxes with scores on images with one box of class 0."""
    box = (0.0, 0.0, 32.0, 24.0)
    scenes = [Example(Path(f"{number}.png"), labels=(0,), boxes=(box,), size=(64, 48)) for number in range(images)]
    loaded = LoadedScenes(scenes, size=Size(48, 48), void=VOID)
    rows = torch.tensor([(*corners, score, 0.0) for corners, score in answers])
    return Detection().metrics_of(((number, rows) for number in range(images)), loaded, ("red", "green"))


@pytest.mark.parametrize(
    ("answers", "score", "f1"),
    [
        pytest.param([(RIGHT, 0.9), (WRONG, 0.2)], 0.9, 1.0, id="wrong ones below"),
        pytest.param([(WRONG, 0.9), (RIGHT, 0.2)], 0.2, 2 / 3, id="wrong ones above"),
        pytest.param([(RIGHT, 0.5), (WRONG, 0.5)], 0.5, 2 / 3, id="equal scores"),
        pytest.param([(RIGHT, 0.9), (RIGHT, 0.4)], 0.9, 1.0, id="a box twice"),
        pytest.param([(WRONG, 0.9)], None, 0.0, id="nothing right"),
    ],
)
def test_the_threshold_has_the_best_f1(answers: Any, score: float | None, f1: float) -> None:
    found = judged(answers)
    assert found.score == (None if score is None else pytest.approx(score))
    assert dict(found.details)["f1"] == pytest.approx(f1)


def test_missing_boxes_count() -> None:
    assert dict(judged([(RIGHT, 0.9)], images=3).details)["f1"] == pytest.approx(1.0)
    assert dict(judged([(WRONG, 0.9), (WRONG, 0.8), (RIGHT, 0.7)]).details)["f1"] == pytest.approx(0.5)


def test_nothing_found_has_no_threshold() -> None:
    assert judged([(RIGHT, 0.0)]).score is None


@pytest.mark.parametrize("score", [None, 0.25])
def test_a_file_keeps_it(score: float | None, tmp_path: Path) -> None:
    learned = Learned(classes=("red", "green"), normalization="imagenet", score=score)
    write_network(tmp_path / "net.pt", build(detector(classes=2), seed=0), learned=learned)
    assert read_learned(tmp_path / "net.pt") == learned


def test_a_threshold_out_of_range_is_refused(tmp_path: Path) -> None:
    told = {"classes": ["red"], "normalization": "imagenet", "score": 7.0}
    (tmp_path / "net.pt").write_bytes(torch_bytes({"mnv2search": 1, "learned": told}))
    with pytest.raises(WeightsError):
        read_learned(tmp_path / "net.pt")


def predicted(spec: ModelSpec, learned: Learned, folder: Path, **options: Any) -> tuple[list[float], list[str]]:
    """Scores of the boxes that are shown, and messages."""
    write_network(folder / "net.pt", build(spec, seed=0), learned=learned)
    draw_scene(folder / "image.png", 0)
    notes: list[str] = []
    (found,) = predict(
        folder / "net.pt", folder / "image.png", output=folder / "out", on_note=notes.append, **options
    )
    return [one.score for one in found.found], notes


def test_predictions_use_it_and_say_so(tmp_path: Path) -> None:
    spec = detector(classes=2, score_threshold=0.0)
    everything, _ = predicted(spec, Learned(classes=("a", "b"), normalization="imagenet"), tmp_path, score=0.0)
    middle = everything[len(everything) // 2]
    learned = Learned(classes=("a", "b"), normalization="imagenet", score=middle)
    scores, notes = predicted(spec, learned, tmp_path, force=True)
    assert scores == [score for score in everything if score >= middle]
    assert notes[0].startswith("boxes with a score of at least ")
    asked, quiet = predicted(spec, learned, tmp_path, score=0.0, force=True)
    assert (asked, quiet) == (everything, [])


def test_other_networks_have_none(tmp_path: Path) -> None:
    learned = Learned(classes=("a", "b"), normalization="imagenet", score=0.5)
    assert predicted(segmenter(classes=2), learned, tmp_path)[1] == []


def test_a_training_writes_it(run: Callable[..., Any], tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=24, val=6, test=6)
    recipe = Recipe(name="quick", optimizer="adamw", lr=3e-3, lr_batch=8, batch=8, epochs=6, clip_norm=10.0)
    report = train_spec(TrainingRequest(spec=detector(classes=2), data=data, folder=tmp_path / "out", recipe=recipe))
    learned = read_learned(tmp_path / "out" / "best.pt")
    assert learned is not None
    assert learned.score == report.trained.best.score is not None
    shown = run(
        "predict", str(tmp_path / "out" / "best.pt"), str(data / "test" / "images"), "-o", str(tmp_path / "p")
    )
    assert shown.code == 0, shown.err
    assert "boxes with a score of at least" in shown.err
