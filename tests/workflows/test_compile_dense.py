"""Detectors and segmenters in eight bits, calibrated and evaluated on the scenes that they were trained on."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.append(str(Path(__file__).parents[1] / "model"))
sys.path.append(str(Path(__file__).parents[1] / "training"))

from dense_specs import detector, segmenter
from scene_files import write_coco, write_masks

from mnv2search.errors import DataError, OptionError
from mnv2search.model.weights.network_file import read_learned
from mnv2search.recipe import Recipe
from mnv2search.results.exports import Compiled
from mnv2search.spec.heads.outputs import with_output
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.workflows.compile import compile
from mnv2search.workflows.training.request import TrainingRequest
from mnv2search.workflows.training.train import train_spec

RECIPE = Recipe(
    name="quick", optimizer="adamw", lr=3e-3, lr_batch=8, batch=8, epochs=4, least_area=0.6, clip_norm=10.0
)
SUFFIXES = {".onnx": "onnxruntime", ".tflite": "ai_edge_litert"}


class Trained(NamedTuple):
    """A network with what it learned from."""

    spec: ModelSpec
    weights: Path
    data: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """A detector and a segmenter after some epochs."""
    for module in ("kornia", "pycocotools", "torchmetrics"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    root = tmp_path_factory.mktemp("dense")
    sets = {
        "detector": (detector(classes=2), write_coco(root / "boxes", train=40, val=8, test=8)),
        "segmenter": (segmenter(classes=3), write_masks(root / "masks", train=32, val=8, test=8)),
    }
    found = {}
    for name, (spec, data) in sets.items():
        report = train_spec(TrainingRequest(spec=spec, data=data, folder=root / name, recipe=RECIPE))
        found[name] = Trained(report.spec, root / name / "best.pt", data)
    return found


def compiled(one: Trained, output: str, to: Path, **options: Any) -> Compiled:
    spec = with_output(one.spec, output)
    return compile(spec, output=[to], weights=one.weights, no_fvcore=True, data=one.data, **options)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("name", "output"),
    [("detector", output) for output in ("raw", "boxes", "detections")]
    + [("segmenter", output) for output in ("logits", "resized", "classes")],
)
def test_written_files_do_as_well_as_the_network(
    trained: dict[str, Trained], name: str, output: str, suffix: str, tmp_path: Path
) -> None:
    pytest.importorskip(SUFFIXES[suffix], reason="the runtime is not installed")
    (_, whole), (_, written) = compiled(trained[name], output, tmp_path / f"net{suffix}").judged
    # Classes of pixels are enlarged to the size of the mask, where the network's logits are.
    tolerance = 0.05 if output == "classes" else 1e-3
    assert written.main.value == pytest.approx(whole.main.value, abs=tolerance)
    assert whole.count == written.count == 8


@pytest.mark.parametrize("name", ["detector", "segmenter"])
def test_a_program_of_torch_is_evaluated_and_stands_for_its_network(
    run: Callable[..., Any], trained: dict[str, Trained], name: str, tmp_path: Path
) -> None:
    one, program = trained[name], tmp_path / "net.pt2"
    (_, whole), (_, written) = compiled(one, one.spec.head.output, program).judged  # type: ignore[union-attr]
    assert written.main.value == pytest.approx(whole.main.value, abs=1e-3)
    assert read_learned(program) == read_learned(one.weights)
    words = ["compile", str(program), "-o", str(tmp_path / "net.pt"), "--data", str(one.data), "--no-fvcore"]
    done = run(*words, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["judged"][0]["value"] == pytest.approx(whole.main.value)
    assert read_learned(tmp_path / "net.pt") == read_learned(one.weights)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["detector", "segmenter"])
def test_integers_are_calibrated_on_the_scenes_for_learning(
    trained: dict[str, Trained], name: str, suffix: str, tmp_path: Path
) -> None:
    pytest.importorskip(SUFFIXES[suffix], reason="the runtime is not installed")
    one = trained[name]
    output = "boxes" if name == "detector" else "resized"
    found = compiled(one, output, tmp_path / f"net{suffix}", precision="int8")
    (report,), (whole, written) = found.exports, found.judged
    assert report.calibration_images == {"detector": 40, "segmenter": 32}[name]
    assert report.rms_relative_difference <= 0.2
    assert abs(whole[1].main.value - written[1].main.value) <= 0.1


def test_images_alone_calibrate_and_masks_among_them_do_not(trained: dict[str, Trained], tmp_path: Path) -> None:
    one = trained["segmenter"]
    photos = tmp_path / "photos"
    shutil.copytree(one.data / "val", photos / "more")
    for file in (photos / "more" / "masks").glob("*"):
        file.rename(file.with_name(f"other-{file.name}"))
    spec = with_output(one.spec, "logits")
    found = compile(spec, output=[tmp_path / "net.onnx"], weights=one.weights, precision="int8", calibration=photos)
    assert found.exports[0].calibration_images == 8


def test_a_set_of_another_kind_is_refused(trained: dict[str, Trained], tmp_path: Path) -> None:
    segmenter_, boxes = trained["segmenter"], trained["detector"].data
    with pytest.raises(DataError):
        compiled(segmenter_._replace(data=boxes), "logits", tmp_path / "net.onnx")
    weights = tmp_path / "five.pt"
    compile(detector(classes=5), output=[weights], no_fvcore=True)
    with pytest.raises(OptionError, match=r"has 5 classes, and .* has 2"):
        compile(detector(classes=5), data=boxes, weights=weights, no_fvcore=True)
    with pytest.raises(OptionError, match="random weights"):
        compile(detector(classes=2), data=boxes, no_fvcore=True)


def test_the_command_names_the_figures(run: Callable[..., Any], trained: dict[str, Trained], tmp_path: Path) -> None:
    one = trained["detector"]
    words = ["compile", str(one.weights), "-o", str(tmp_path / "net.onnx"), "--data", str(one.data), "--no-fvcore"]
    done = run(*words, "--head-output", "detections")
    assert done.code == 0, done.err
    assert "mAP on 8 test images [90 % interval]: the network " in done.out
    assert "output detections, 100 x 6 for an image" in done.err
    told = json.loads(run(*words, "--head-output", "raw", "--precision", "int8", "--force", "--json").out)
    assert told["head_output"] == "raw"
    assert [figures["metric"] for figures in told["judged"]] == ["map", "map"]
    assert "ap50" in told["judged"][0]["details"]


def test_the_command_refuses_an_output_that_the_head_has_not(
    run: Callable[..., Any], trained: dict[str, Trained]
) -> None:
    done = run("compile", str(trained["segmenter"].weights), "--head-output", "boxes", "--no-fvcore")
    assert done.code == 2
    assert "segmenter segments" in done.err
