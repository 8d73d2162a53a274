"""Detectors and segmenters learn: augmentation, metrics, resumption, initial weights, the command."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scene_files import HEIGHT, WIDTH, write_coco, write_masks

sys.path.append(str(Path(__file__).parents[1] / "model"))

from dense_specs import detector, segmenter

from mnv2search.cost import cost_of
from mnv2search.data.augmentation import augment_scenes, mosaic, zoom_out
from mnv2search.data.dataset import Dataset
from mnv2search.data.loaded_scenes import VOID, LoadedScenes, SceneBatch
from mnv2search.data.reading import read_dataset
from mnv2search.errors import OptionError, StoppedError, TrainingError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.model.weights.network_file import Learned
from mnv2search.recipe import Recipe, load_recipe
from mnv2search.report.training import training_lines
from mnv2search.spec.classes import with_classes
from mnv2search.spec.model_spec import Classifier, ModelSpec
from mnv2search.spec.size import Size, size_of
from mnv2search.spec.yaml.codec import dumps
from mnv2search.supernet.inheritance import inherit
from mnv2search.tasks.classification import Classification
from mnv2search.tasks.detection import Detection, targets_of
from mnv2search.tasks.metrics import Metrics
from mnv2search.tasks.segmentation import Segmentation
from mnv2search.tasks.task import task_of
from mnv2search.training.distributed import Team
from mnv2search.training.learner import Job
from mnv2search.training.resumption import LAST
from mnv2search.training.train import time_training
from mnv2search.training.train import train as fit
from mnv2search.workflows.training.request import TrainingRequest
from mnv2search.workflows.training.train import train_spec

Run = Callable[..., Any]
RECIPE = Recipe(
    name="quick", optimizer="adamw", lr=3e-3, lr_batch=8, batch=8, epochs=4, least_area=0.6, clip_norm=10.0
)
DETECTOR, SEGMENTER = detector(classes=2), segmenter(classes=3, output="logits")


def train_and_val(dataset: Dataset, *, size: Size) -> tuple[LoadedScenes, LoadedScenes]:
    """The train and validation splits."""
    train, val = (LoadedScenes(part, size=size, void=dataset.void) for part in (dataset.train, dataset.val))
    return train, val


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = write_coco(tmp_path_factory.mktemp("boxes"), train=40, val=12, test=12)
    return read_dataset(root, "detection")


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = write_masks(tmp_path_factory.mktemp("masks"), train=32, val=8, test=8)
    return read_dataset(root, "segmentation")


def trained(spec: ModelSpec, scenes: Dataset, folder: Path, **options: Any) -> tuple[MobileNet, Any]:
    model = build(spec, seed=0)
    train, val = train_and_val(scenes, size=spec.size)
    job = Job(folder=folder, **options)
    return model, fit(model, task_of(spec), train, val, RECIPE, job, classes=scenes.classes)


def metrics_of(model: MobileNet, loaded: LoadedScenes, classes: tuple[str, ...]) -> Metrics:
    return task_of(model.spec).evaluate(model, loaded, Learned(classes=classes, normalization="imagenet"))


def moved_scenes(scenes: Dataset, size: Size, seed: int, **how: float) -> SceneBatch:
    """Six scenes, augmented."""
    loaded = LoadedScenes(scenes.train[:6], size=size, void=VOID)
    torch.manual_seed(seed)
    return augment_scenes(loaded.batch(range(6)), replace(RECIPE, **{"least_area": 0.5, **how}))  # type: ignore[arg-type]


HOW = [{}, {"zoom_out": 2.0}, {"zoom_out": 2.0, "least_area": 1.0}, {"mosaic": 1.0}]
NAMES = ["crop", "zoom and crop", "zoom", "mosaic"]


@pytest.mark.parametrize("how", HOW[:-1], ids=NAMES[:-1])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [Size(96, 96), Size(64, 144)], ids=str)
def test_boxes_move_with_their_objects(boxes: Dataset, size: Size, seed: int, how: dict[str, float]) -> None:
    moved = moved_scenes(boxes, size, seed, **how)
    for image, corners, labels in zip(moved.images, moved.corners, moved.labels, strict=True):
        assert (corners >= 0).all()
        assert (corners <= 1).all()
        for box, label in zip(corners, labels, strict=True):
            # A square is of one strong colour: red for class 0, green for class 1.
            strong = image[int(label)] - image[1 - int(label)] > 0.4
            rows, columns = torch.where(strong)
            found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert torch.allclose(found.float(), box * torch.tensor([size.width, size.height] * 2), atol=3.0)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [Size(96, 96), Size(64, 144)], ids=str)
def test_boxes_move_with_the_objects_of_a_mosaic(boxes: Dataset, size: Size, seed: int, label: int) -> None:
    moved = moved_scenes(boxes, size, seed, mosaic=1.0)
    x, y = (torch.arange(side) + 0.5 for side in (size.width, size.height))
    for image, corners, labels in zip(moved.images, moved.corners, moved.labels, strict=True):
        assert torch.equal(corners, corners.clamp(0, 1))
        x0, y0, x1, y1 = (corners[labels == label] * torch.tensor([size.width, size.height] * 2)).T[:, :, None, None]
        inside = ((x0 <= x) & (x < x1) & (y0 <= y[:, None]) & (y[:, None] < y1)).any(0)
        strong = image[label] - image[1 - label] > 0.3
        assert float((strong != inside).float().mean()) < 0.04  # objects that are hardly visible have no box


def test_a_zoom_shrinks_half_of_the_images_and_keeps_all_objects(boxes: Dataset) -> None:
    batch = LoadedScenes(boxes.train, size=Size(48, 48), void=VOID).batch(range(40))
    torch.manual_seed(0)
    zoomed = zoom_out(batch, 3.0)
    sides = [
        ((a[:, 2:] - a[:, :2]) / (b[:, 2:] - b[:, :2])) for a, b in zip(zoomed.corners, batch.corners, strict=True)
    ]
    factors = torch.cat(sides)
    assert torch.allclose(factors[:, 0], factors[:, 1], atol=1e-4)
    assert 1 / 3 - 1e-4 <= float(factors.min()) < float(factors.max()) == pytest.approx(1.0, abs=1e-4)
    assert 10 < int((factors[:, 0] < 0.999).sum()) < 30
    assert float(torch.cat(zoomed.corners).min()) >= -1e-4
    assert float(torch.cat(zoomed.corners).max()) <= 1 + 1e-4


def test_a_mosaic_holds_every_scene_four_times(boxes: Dataset) -> None:
    batch = LoadedScenes(boxes.train[:6], size=Size(48, 64), void=VOID).batch(range(6))
    tiled = mosaic(batch)
    assert tiled.images.shape == (6, 3, 96, 128)
    assert torch.equal(tiled.images[0, :, :48, :64], batch.images[0])
    assert torch.equal(tiled.images[0, :, 48:, 64:], batch.images[3])
    assert torch.equal(tiled.corners[4][:1], batch.corners[4][:1] / 2)
    assert sorted(torch.cat(tiled.labels).tolist()) == sorted(torch.cat(batch.labels).tolist() * 4)


@pytest.mark.parametrize("name", ["zoom_out", "mosaic"])
def test_classifiers_have_no_augmentation_of_scenes(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} .*, which classification does not use"):
        Classification().check(replace(RECIPE, **{name: 1.0 if name == "mosaic" else 2.0}))  # type: ignore[arg-type]


@pytest.mark.parametrize("how", HOW, ids=NAMES)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [Size(96, 96), Size(64, 144)], ids=str)
def test_masks_move_with_their_objects(masks: Dataset, size: Size, seed: int, how: dict[str, float]) -> None:
    moved = moved_scenes(masks, size, seed, **how)
    assert moved.masks is not None
    for image, mask in zip(moved.images, moved.masks, strict=True):
        assert set(mask.unique().tolist()) <= {0, 1, 2, VOID}
        for label in (1, 2):
            strong = image[label - 1] - image[2 - label] > 0.3
            assert float((strong != (mask == label))[mask != VOID].float().mean()) < 0.03


def answering(spec: ModelSpec, answers: Callable[[int], torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> MobileNet:
    """A network whose predictions for the scenes in their order are given."""
    model = build(spec, seed=0)
    asked = iter(range(1000))

    def predictions(images: torch.Tensor) -> torch.Tensor:
        return torch.stack([answers(next(asked)) for _ in images])

    monkeypatch.setattr(model, "predictions", predictions)
    return model


def test_a_perfect_detector_has_a_map_of_one(boxes: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = LoadedScenes(boxes.val, size=size_of(48), void=VOID)
    head = build(DETECTOR, seed=0).head
    assert isinstance(head, SsdLiteHead)

    def answer(number: int) -> torch.Tensor:
        batch = loaded.batch([number])
        targets = targets_of(batch.corners[0], batch.labels[0], head.anchors)
        logits = torch.where(torch.nn.functional.one_hot(targets.classes, 3) > 0, 9.0, -9.0)
        return torch.cat([targets.boxes, logits], dim=1)

    model = answering(DETECTOR, answer, monkeypatch)
    found = metrics_of(model, loaded, boxes.classes)
    assert (found.main.name, found.count) == ("map", 12)
    assert found.main.value == pytest.approx(1.0)
    assert dict(found.details)["ap50"] == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_keeps_the_shape_of_what_it_shows(boxes: Dataset, seed: int) -> None:
    """However wide the network's images are, a cut is nearly as wide over its height as they are."""
    loaded = LoadedScenes(boxes.train[:6], size=Size(40, 160), void=VOID)
    torch.manual_seed(seed)
    batch = loaded.batch(range(6))
    moved = augment_scenes(batch, replace(RECIPE, least_area=0.3))
    for before, after in zip(batch.corners, moved.corners, strict=True):
        whole = [box for box in after if box.min() > 0 and box.max() < 1]
        shapes = [float((box[2] - box[0]) / (box[3] - box[1])) for box in before]
        for box in whole:
            shape = float((box[2] - box[0]) / (box[3] - box[1]))
            assert min(abs(math.log(shape / own)) for own in shapes) <= math.log(4 / 3) + 0.1


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_networks_of_rectangles_learn_and_are_judged(
    boxes: Dataset, masks: Dataset, task: str, tmp_path: Path
) -> None:
    spec, scenes = {
        "detection": (detector(classes=2, spec={"resolution": (48, 80)}), boxes),
        "segmentation": (segmenter(classes=3, spec={"resolution": (49, 81)}), masks),
    }[task]
    _, done = trained(spec, scenes, tmp_path, epochs=1)
    assert 0 <= done.best.main.value <= 1
    assert math.isfinite(done.losses[-1])


def test_a_detector_that_sees_nothing_has_a_map_of_zero(boxes: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = LoadedScenes(boxes.val, size=size_of(48), void=VOID)
    spec = detector(classes=2, score_threshold=0.5)
    head = build(spec, seed=0).head
    assert isinstance(head, SsdLiteHead)
    model = answering(spec, lambda _: torch.full((len(head.anchors), 7), -9.0), monkeypatch)
    assert metrics_of(model, loaded, boxes.classes).main.value == 0.0


def test_the_miou_of_calling_everything_background(masks: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = LoadedScenes(masks.val, size=size_of(49), void=VOID)
    background = torch.zeros(3, 7, 7)
    background[0] = 1.0
    model = answering(SEGMENTER, lambda _: background, monkeypatch)
    found = metrics_of(model, loaded, masks.classes)
    truth = torch.stack([torch.from_numpy(loaded.truth(number)) for number in range(8)])
    share = float((truth == 0).sum() / (truth != VOID).sum())
    assert truth.shape == (8, HEIGHT, WIDTH)
    assert found.main.value == pytest.approx(share / 3, rel=1e-4)
    assert dict(found.details)["pixels"] == pytest.approx(share, rel=1e-4)


def test_a_detector_learns(boxes: Dataset, tmp_path: Path) -> None:
    _, found = trained(DETECTOR, boxes, tmp_path, epochs=16)
    assert sum(found.losses[-10:]) < 0.7 * sum(found.losses[:10])
    assert dict(found.best.details)["ap50"] > 0.5


def test_a_segmenter_learns(tmp_path: Path) -> None:
    scenes = read_dataset(write_masks(tmp_path / "set", alike=True, train=32, val=8, test=8), "segmentation")
    model = build(segmenter(classes=2, channels=32), seed=0)
    train, val = train_and_val(scenes, size=size_of(49))
    quick = replace(RECIPE, lr=0.02, epochs=18, least_area=1.0)
    found = fit(model, Segmentation(), train, val, quick, Job(folder=tmp_path / "out"), classes=scenes.classes)
    assert found.best.main.value > 0.6  # background alone makes 0.45


def test_a_training_goes_on_exactly_where_it_stopped(boxes: Dataset, tmp_path: Path) -> None:
    whole, _ = trained(DETECTOR, boxes, tmp_path / "whole", epochs=2, precision="float32")
    steps = iter(range(100))
    with pytest.raises(StoppedError, match="interrupted at step 3; run the same command to resume"):
        trained(DETECTOR, boxes, tmp_path / "parts", epochs=2, precision="float32", stop=lambda: next(steps) == 2)
    again, second = trained(DETECTOR, boxes, tmp_path / "parts", epochs=2)
    assert (second.resumed_at, second.steps) == (3, 10)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_another_training_in_the_folder_is_refused(boxes: Dataset, tmp_path: Path) -> None:
    trained(DETECTOR, boxes, tmp_path, epochs=1)
    with pytest.raises(OptionError, match="holds a training with another set of images"):
        trained(DETECTOR, boxes, tmp_path, epochs=1, data="other")


def test_a_training_by_time_ends(boxes: Dataset, tmp_path: Path) -> None:
    _, found = trained(DETECTOR, boxes, tmp_path, time_s=4.0)
    assert found.steps >= 2
    assert (tmp_path / LAST).exists()


def test_a_loss_that_is_no_number_is_told(boxes: Dataset, tmp_path: Path) -> None:
    model = build(DETECTOR, seed=0)
    with torch.no_grad():
        next(iter(model.parameters())).fill_(float("nan"))
    train, val = train_and_val(boxes, size=size_of(48))
    with pytest.raises(TrainingError, match="the loss of step 1 is not finite"):
        fit(model, Detection(), train, val, RECIPE, Job(folder=tmp_path), classes=boxes.classes)


@pytest.mark.parametrize("name", ["modern"])
def test_a_recipe_of_classifiers_is_refused(boxes: Dataset, tmp_path: Path, name: str) -> None:
    train, val = train_and_val(boxes, size=size_of(48))
    with pytest.raises(OptionError, match=r"label_smoothing 0\.1, which detection does not use"):
        fit(build(DETECTOR, seed=0), Detection(), train, val, load_recipe(name), Job(folder=tmp_path))


@pytest.mark.parametrize("spec", [DETECTOR, SEGMENTER], ids=["detector", "segmenter"])
def test_a_classifier_gives_first_weights(spec: ModelSpec) -> None:
    classifier = build(replace(spec, head=Classifier(classes=5), last_channels=64), seed=1)
    model = build(spec, seed=0)
    found = inherit(model, classifier)
    backbone = sum(p.numel() for p in model.features.parameters())
    assert found.inherited == backbone
    given = classifier.state_dict()
    backbone_state = {name: t for name, t in model.state_dict().items() if name.startswith("features.")}
    assert all(
        torch.equal(tensor, given[name]) for name, tensor in backbone_state.items() if "num_batches" not in name
    )


def test_a_detector_of_other_classes_gives_all_but_its_scores() -> None:
    source, model = build(detector(classes=7), seed=1), build(DETECTOR, seed=0)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inherit(model, source)
    assert source.head is not None
    names = {module.unit.name: f"head.units.{i}" for i, module in enumerate(source.head.units)}  # type: ignore[union-attr]
    state, given = model.state_dict(), source.state_dict()
    for name in state:
        kept = any(name.startswith(f"{names[f'head/scores_{k}']}.") for k in (1, 2, 3, 4))
        assert torch.equal(state[name], fresh[name] if kept else given[name]), name


def test_the_data_decides_the_classes() -> None:
    head = with_classes(DETECTOR, 9, head=Detection.head).head
    assert getattr(head, "classes", None) == 9
    with pytest.raises(OptionError, match="has no head of a task"):
        task_of(replace(DETECTOR, head=None))


def test_the_job_writes_weights_figures_and_history(boxes: Dataset, tmp_path: Path) -> None:
    request = TrainingRequest(spec=detector(classes=5), data=boxes.root, folder=tmp_path, recipe=RECIPE, epochs=2)
    report = train_spec(request)
    assert getattr(report.spec.head, "classes", None) == 2
    written = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    assert written["held_out"]["map"] == report.trained.best.main.value
    assert written["test"]["images"] == 12
    assert all(0 <= share <= 1 for share in written["reach"])
    lines = list(training_lines(report))
    assert any(line.startswith("boxes that some anchor overlaps by half or more: red ") for line in lines)
    assert len((tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize(("spec", "task"), [(DETECTOR, "boxes"), (SEGMENTER, "masks")], ids=["boxes", "masks"])
def test_the_command_trains(
    spec: ModelSpec, task: str, run: Run, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    scenes: Dataset = request.getfixturevalue(task)
    (tmp_path / "net.yaml").write_text(dumps(spec), encoding="utf-8")
    words = ["train", str(tmp_path / "net.yaml"), "--data", str(scenes.root), "--epochs", "1"]
    result = run(*words, "-o", str(tmp_path / "out"))
    assert result.code == 0, result.err
    assert "test, which played no part" in result.out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "AP, IoU 0.5 to 0.95, of red" in page or "IoU of class 1" in page
    assert {"best.pt", "last.ckpt", "training.json", "history.jsonl", "curves.png", "tensorboard"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    evaluated = run("evaluate", str(tmp_path / "out" / "best.pt"), "--data", str(scenes.root), "--json")
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluated.out)["metrics"] == told["test"]
    assert (told["confusion"], told["worst"]) == ({}, [])


def test_options_of_classifiers_are_refused(boxes: Dataset, run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(dumps(DETECTOR), encoding="utf-8")
    result = run("train", str(tmp_path / "net.yaml"), "--data", str(boxes.root), "--distill", "teacher.pt")
    assert result.code == 2
    assert "--distill is not for detection" in result.err
    request = TrainingRequest(spec=DETECTOR, data=boxes.root, folder=tmp_path / "out", team=Team(size=2))
    with pytest.raises(OptionError, match="several processes cannot train for detection together"):
        train_spec(request)
    assert not (tmp_path / "out").exists()


def test_half_precision_is_gone_on_with(boxes: Dataset, tmp_path: Path) -> None:
    whole, found = trained(DETECTOR, boxes, tmp_path / "whole", epochs=1, precision="bfloat16")
    steps = iter(range(100))
    with pytest.raises(StoppedError):
        trained(DETECTOR, boxes, tmp_path / "parts", epochs=1, precision="bfloat16", stop=lambda: next(steps) == 2)
    again, rest = trained(DETECTOR, boxes, tmp_path / "parts", epochs=1, precision="float32")
    assert (found.precision, rest.precision) == ("bfloat16", "bfloat16")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_training_of_so_many_steps_is_shortened_where_they_do_not_fit(boxes: Dataset, tmp_path: Path) -> None:
    told: list[int] = []
    _, found = trained(
        DETECTOR, boxes, tmp_path, steps=40, limit_s=1e-6, on_progress=lambda progress: told.append(progress.steps)
    )
    assert found.steps == 2
    assert not found.stopped
    assert told == [40, 2]


def test_a_training_that_fits_is_as_long_as_it_was_asked_to_be(boxes: Dataset, tmp_path: Path) -> None:
    _, found = trained(DETECTOR, boxes, tmp_path, steps=6, limit_s=1e9, evaluations=1)
    assert found.steps == 6


def test_a_network_is_timed_without_a_trace(boxes: Dataset) -> None:
    train, val = train_and_val(boxes, size=DETECTOR.size)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = time_training(build(DETECTOR, seed=0), Detection(), train, val, RECIPE, classes=boxes.classes)
    assert found.madds == cost_of(DETECTOR).madds
    assert min(found.step_s, found.evaluation_s) > 0
    assert torch.equal(torch.get_rng_state(), before)
