"""What a network sees, drawn: files, names, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "model"))
sys.path.append(str(Path(__file__).parents[1] / "training"))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from dense_specs import detector, segmenter
from fuzz_data import png_of, zeros
from model_specs import small
from scene_files import draw_scene

from mnv2search.errors import DataError, OptionError, WeightsError
from mnv2search.export import export
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.tasks.prediction import Found, drawn
from mnv2search.workflows.training.predict import predict

Run = Callable[..., Any]
CLASSIFIER = small(BlockSpec(channels=16, stride=2))


def files(spec: ModelSpec, folder: Path) -> tuple[Path, Path]:
    """(network, image)."""
    export(spec, folder / "net.pt")
    draw_scene(folder / "image.png", 0)
    return folder / "net.pt", folder / "image.png"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        pytest.param(detector(detections=7, score_threshold=0.0), 7, id="boxes"),
        pytest.param(segmenter(), None, id="mask"),
        pytest.param(CLASSIFIER, 5, id="labels"),
    ],
)
def test_what_is_seen_is_drawn_at_the_size_of_the_image(spec: ModelSpec, count: int | None, tmp_path: Path) -> None:
    model, image = files(spec, tmp_path)
    (found,) = predict(model, [image], output=tmp_path / "out", score=0.0)
    assert found.drawn == tmp_path / "out" / "image-predicted.png"
    assert pixels(found.drawn).shape == pixels(image).shape
    assert (pixels(found.drawn) != pixels(image)).any()
    scores = [one.score for one in found.found]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == count or (count is None and sum(scores) == pytest.approx(1.0))


@pytest.mark.parametrize(
    "spec", [detector(score_threshold=0.0), segmenter(), CLASSIFIER], ids=["boxes", "mask", "labels"]
)
def test_a_program_of_torch_sees_what_its_weights_see(spec: ModelSpec, tmp_path: Path) -> None:
    _, image = files(spec, tmp_path)
    export(spec, tmp_path / "net.pt2")
    found = [
        predict(tmp_path / name, [image], output=tmp_path / f"out-{name}", score=0.0)[0].found
        for name in ("net.pt", "net.pt2")
    ]
    assert [one.name for one in found[0]] == [one.name for one in found[1]]
    assert [one.score for one in found[0]] == pytest.approx([one.score for one in found[1]])


def test_a_program_of_somebody_else_is_refused(tmp_path: Path) -> None:
    _, image = files(CLASSIFIER, tmp_path)
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(1, 3, 8, 8),)), tmp_path / "other.pt2")
    with pytest.raises(WeightsError, match="does not describe its network"):
        predict(tmp_path / "other.pt2", [image], output=tmp_path / "out")


@pytest.mark.parametrize(
    "report",
    [
        "[" * 100_000,
        "7",
        "null",
        '{"name": "small"}',
        '{"name": "small", "classes": 10, "recipe": {"normalization": "unit"}}',
        '{"name": "small", "classes": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "recipe": {"normalization": "none"}}',
        '{"name": "small", "classes": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "recipe": {"normalization": []}}',
        '{"name": "small", "classes": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "recipe": 1e999}',
    ],
)
def test_classes_have_numbers_where_the_report_beside_is_of_no_use(report: str, tmp_path: Path) -> None:
    model, image = files(CLASSIFIER, tmp_path)
    (tmp_path / "training.json").write_text(report)
    (found,) = predict(model, [image], output=tmp_path / "out")
    assert found.found[0].name.startswith("class ")


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    _, image = files(CLASSIFIER, tmp_path)
    (tmp_path / "broken.pt2").write_bytes(b"no program")
    with pytest.raises(WeightsError, match="cannot be read as a network"):
        predict(tmp_path / "broken.pt2", [image], output=tmp_path / "out")


@pytest.mark.parametrize("resolution", [(33, 65), (80, 48)], ids=["wide", "tall"])
def test_images_are_stretched_to_a_rectangle(resolution: tuple[int, int], tmp_path: Path) -> None:
    spec = segmenter(spec={"resolution": resolution})
    model, image = files(spec, tmp_path)
    (found,) = predict(model, [image], output=tmp_path / "out")
    assert pixels(found.drawn).shape == pixels(image).shape


def test_boxes_lie_in_the_image(tmp_path: Path) -> None:
    model, image = files(detector(detections=20, score_threshold=0.0), tmp_path)
    (found,) = predict(model, [image], output=tmp_path / "out", score=0.0)
    boxes = np.array([one.box for one in found.found])
    assert (boxes >= 0).all()
    assert (boxes <= np.array([64, 48, 64, 48])).all()


def test_a_high_threshold_shows_the_image_alone(tmp_path: Path) -> None:
    model, image = files(detector(), tmp_path)
    (found,) = predict(model, [image], output=tmp_path / "out", score=1.0)
    assert found.found == ()
    assert (pixels(found.drawn) == pixels(image)).all()


def test_classes_have_the_names_of_the_training(tmp_path: Path) -> None:
    model, image = files(segmenter(classes=2), tmp_path)
    told = {"name": "segmenter", "classes": ["sky", "road"], "recipe": {"normalization": "unit"}}
    (tmp_path / "training.json").write_text(json.dumps(told), encoding="utf-8")
    (found,) = predict(model, [image], output=tmp_path / "out")
    assert {one.name for one in found.found} <= {"sky", "road"}


def test_a_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    model, image = files(CLASSIFIER, tmp_path)
    predict(model, [image], output=tmp_path / "out")
    with pytest.raises(OptionError, match="exists"):
        predict(model, [image], output=tmp_path / "out")
    assert predict(model, [image], output=tmp_path / "out", force=True)


def test_what_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    model, _ = files(CLASSIFIER, tmp_path)
    with pytest.raises(DataError, match="there is no such file"):
        predict(model, [tmp_path / "missing.png"], output=tmp_path / "out")
    with pytest.raises(DataError, match="it is not a readable image"):
        predict(model, [model], output=tmp_path / "out")


def test_a_feature_extractor_says_nothing(tmp_path: Path) -> None:
    model, image = files(small(BlockSpec(channels=16), head=None), tmp_path)
    with pytest.raises(OptionError, match="has no head"):
        predict(model, [image], output=tmp_path / "out")


def test_the_command_prints_a_line_an_image(run: Run, tmp_path: Path) -> None:
    model, image = files(CLASSIFIER, tmp_path)
    done = run("predict", str(model), str(image), "-o", "out")
    assert done.code == 0, done.err
    assert done.out.startswith(str(image))
    told = json.loads(run("predict", str(model), str(image), "-o", "out", "--force", "--json").out)
    assert told[0]["drawn"] == "out/image-predicted.png"


def test_images_of_a_folder_are_looked_at_and_a_broken_one_is_told(run: Run, tmp_path: Path) -> None:
    model, image = files(CLASSIFIER, tmp_path)
    photos = tmp_path / "photos"
    (photos / "red").mkdir(parents=True)
    image.rename(photos / "a.png")
    draw_scene(photos / "red" / "a.png", 1)
    (photos / "b.png").write_text("no image")
    done = run("predict", str(model), str(photos), "-o", "out")
    assert done.code == 1
    assert [line.split(":")[0] for line in done.out.splitlines()] == [str(photos / n) for n in ("a.png", "red/a.png")]
    assert f"error: {photos / 'b.png'} cannot be read: it is not a readable image" in done.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a-predicted.png", "red-a-predicted.png"]


def test_odd_images_are_named_and_the_others_looked_at(run: Run, tmp_path: Path) -> None:
    model, image = files(segmenter(), tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    image.rename(photos / "a.png")
    with Image.open(photos / "a.png") as opened:
        opened.save(photos / "other.png", "AVIF")
        opened.convert("CMYK").save(photos / "four.jpg")
        opened.resize((3, 2000)).save(photos / "tall.png")
    (photos / "large.png").write_bytes(png_of(20_000, 20_000, content=zeros(1000)))
    os.mkfifo(photos / "pipe.png")
    done = run("predict", str(model), "photos", "-o", "out")
    assert done.code == 1
    assert done.err.splitlines() == [
        "error: photos/large.png cannot be read: it is not a readable image (it has more than 50,331,648 pixels)",
        "error: photos/other.png cannot be read: it is not a readable image "
        "(it is not a JPEG, PNG, WebP or BMP image)",
    ]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"{n}-predicted.png" for n in ("a", "four", "tall")}
    assert run("predict", str(model), "photos/pipe.png", "-o", "pipe").code == 2


def test_nothing_but_broken_images_is_a_mistake(run: Run, tmp_path: Path) -> None:
    model, image = files(CLASSIFIER, tmp_path)
    image.write_text("no image")
    done = run("predict", str(model), str(image))
    assert done.code == 2
    assert "it is not a readable image" in done.err
    assert not (tmp_path / "predicted").exists()


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    model, _ = files(CLASSIFIER, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        predict(model, [tmp_path / "empty"], output=tmp_path / "out")


def test_two_images_are_not_drawn_into_one_file(tmp_path: Path) -> None:
    model, image = files(CLASSIFIER, tmp_path)
    (tmp_path / "other").mkdir()
    draw_scene(tmp_path / "other" / "image.png", 1)
    with pytest.raises(OptionError, match="would both be drawn into"):
        predict(model, [image, tmp_path / "other" / "image.png"], output=tmp_path / "out")


def test_scores_are_told_in_percent(run: Run, tmp_path: Path) -> None:
    model, image = files(CLASSIFIER, tmp_path)
    assert " %, class " in run("predict", str(model), str(image)).out


def test_the_best_boxes_alone_are_drawn(run: Run, tmp_path: Path) -> None:
    model, image = files(detector(detections=40, score_threshold=0.0, iou_threshold=1.0), tmp_path)
    done = run("predict", str(model), str(image), "--score", "0")
    assert ", the best 30 of 40 boxes" in done.out


def test_a_label_leaves_the_inside_of_a_box_visible() -> None:
    picture = Image.new("RGB", (200, 200))
    shown = np.asarray(drawn(picture, [Found(name="t_shirt", score=0.17, box=(50.0, 60.0, 150.0, 160.0))]).picture)
    assert (shown[63:157, 53:147] == 0).all()
    assert (shown[40:58, 50:100] != 0).any()


def test_images_of_several_folders_are_named_by_their_folder(tmp_path: Path) -> None:
    model, image = files(CLASSIFIER, tmp_path)
    for name in ("red", "blue"):
        (tmp_path / name).mkdir()
        draw_scene(tmp_path / name / "000.png", 1)
    found = predict(model, [tmp_path / "red", tmp_path / "blue"], output=tmp_path / "out")
    assert [one.drawn.name for one in found] == ["red-000-predicted.png", "blue-000-predicted.png"]
    assert image.exists()


def test_a_full_disk_names_the_picture_and_leaves_no_part_of_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = files(CLASSIFIER, tmp_path)

    def full(_: Image.Image, to: Path, **__: object) -> None:
        to.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    done = run("predict", str(model), str(image), "-o", "out")
    assert done.code == 1
    assert "error: out/image-predicted.png: cannot be written: No space left on device" in done.err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("spec", "turned"), [(CLASSIFIER, True), (detector(), False)], ids=["labels", "boxes"])
def test_a_classifier_sees_a_photograph_upright_and_boxes_refer_to_stored_pixels(
    spec: ModelSpec, turned: bool, tmp_path: Path
) -> None:
    model, _ = files(spec, tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "turned.jpg", exif=exif)
    (found,) = predict(model, [tmp_path / "turned.jpg"], output=tmp_path / "out", score=0.0)
    assert pixels(found.drawn).shape[:2] == ((60, 40) if turned else (40, 60))
