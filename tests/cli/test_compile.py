"""What `compile` refuses before any work, and where its results go."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mnv2search.model.build import build
from mnv2search.model.weights.network_file import Learned
from mnv2search.training.checkpoint import write_network
from mnv2search.workflows.options import chosen_spec

Run = Callable[..., Any]
SPEC = """mnv2search: 1
name: mine
resolution: 32
head: {classes: 2}
blocks:
  - {t: 6, c: 24, n: 2, s: 2}
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "mine.yaml").write_text(SPEC)
    return "mine.yaml"


@pytest.fixture
def best(spec: str, tmp_path: Path) -> str:
    learned = Learned(classes=("dark", "light"), normalization="tensorflow", crop=1.0)
    write_network(tmp_path / "best.pt", build(chosen_spec(tmp_path / spec), seed=0).eval(), learned=learned)
    return "best.pt"


@pytest.fixture
def photos(tmp_path: Path) -> str:
    for part, count in (("train", 6), ("test", 3)):
        for number, name in enumerate(("dark", "light")):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for index in range(count):
                shade = 200 * number + index
                file = tmp_path / "photos" / part / name / f"{index}.png"
                Image.new("RGB", (40, 40), (shade, shade, shade)).save(file)
    return "photos"


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is counted, which comes before it is built, fails the test."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr("mnv2search.workflows.compile.cost_of", refused)


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize(("suffix", "output"), [(".pt2", "detections"), (".pte", "detections"), (".pte", "classes")])
def test_what_one_file_cannot_hold_is_refused_before_any_is_written(
    run: Run, suffix: str, output: str, tmp_path: Path
) -> None:
    name = "deeplabv3_mobilenet_v2" if output == "classes" else "ssdlite_mobilenet_v2"
    done = run("compile", name, "-o", "net.onnx", "-o", f"net{suffix}", "--head-output", output)
    assert done.code == 2
    assert "does not support" in done.err
    assert not list(tmp_path.glob("net*"))


@pytest.mark.usefixtures("_no_network")
def test_a_runtime_that_is_missing_is_told_before_any_file_is_written(
    run: Run, spec: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in ("ai_edge_litert", "ai_edge_litert.interpreter"):  # the package too: it keeps a loaded submodule
        monkeypatch.setitem(sys.modules, module, None)
    done = run("compile", spec, "-o", "net.onnx", "-o", "net.tflite")
    assert done.code == 1
    assert "ai-edge-litert" in done.err
    assert not list(tmp_path.glob("net*"))


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "net.onnx", "--precision", "fp16"], ".tflite and .mlpackage files support fp16"),
        (["-o", "net.onnx", "--data", "photos"], "random weights"),
        (["-o", "net.onnx", "-o", "net.onnx"], "twice"),
        (["-o", "net.tflite", "-o", "net.tfl"], "unknown export format"),
    ],
    ids=["precision", "weights", "twice", "ending"],
)
def test_options_that_cannot_be_met_are_refused_before_any_work(
    run: Run, spec: str, words: list[str], said: str, tmp_path: Path
) -> None:
    done = run("compile", spec, *words)
    assert done.code == 2
    assert said in done.err
    assert not list(tmp_path.glob("net*"))


@pytest.mark.parametrize("form", ["folder", "tar", "parts"])
def test_integers_are_calibrated_on_whatever_data_are_given(
    run: Run, spec: str, photos: str, tmp_path: Path, form: str
) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(tmp_path / photos, "photos")
    source, count = {"folder": ("photos/train/dark", 6), "tar": ("photos.tar", 10), "parts": (photos, 10)}[form]
    done = run("compile", spec, "-o", "net.onnx", "--precision", "int8", "--calibration", source, "--no-fvcore")
    assert done.code == 0, done.err
    assert f"its ranges come from {count} images" in done.out


def test_another_normalization_than_that_of_the_training_is_refused(run: Run, best: str, tmp_path: Path) -> None:
    done = run("compile", best, "-o", "net.onnx", "--normalization", "unit")
    assert done.code == 2
    assert "trained with tensorflow" in done.err
    assert not (tmp_path / "net.onnx").exists()
    assert run("compile", best, "-o", "net.onnx", "--normalization", "tensorflow").code == 0


def test_the_preprocessing_is_printed_in_two_lines(run: Run, best: str) -> None:
    assert run("compile", best, "-o", "net.onnx", "--no-fvcore").err.splitlines() == [
        "input: 32 x 32 px; short side scaled to 32 px (bicubic), center square; RGB, value / 255, mean 0.5, "
        "standard deviation 0.5",
        "output logits, 2 for an image: logits of the classes; classes: dark, light",
    ]


def test_results_are_printed_however_quiet_and_integers_take_images_of_the_data(
    run: Run, spec: str, photos: str
) -> None:
    assert run("compile", spec, "-o", "mine.pt", "-q").code == 0
    done = run("compile", "mine.pt", "-o", "net.onnx", "--precision", "int8", "--data", photos, "-q")
    assert (done.code, done.err) == (0, "")
    assert "top-1 on 6 test images" in done.out
    assert "its ranges come from 10 images" in done.out
    assert "names the same class" not in done.out


@pytest.mark.parametrize(("name", "is_said"), [("net.onnx", True), ("net.py", False)])
def test_a_file_with_random_weights_is_called_so_first(run: Run, name: str, is_said: bool) -> None:
    done = run("compile", "mobilenet_v2_0.35_96", "-o", name, "--no-fvcore")
    assert done.code == 0
    assert ("RANDOM WEIGHTS" in done.out) == is_said
    assert done.out.startswith("RANDOM WEIGHTS: net.onnx holds random weights") == is_said
