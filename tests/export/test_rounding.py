"""Networks written in eight or sixteen bits: small, close to the network, calibrated on images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_specs import EXOTIC, lively
from PIL import Image

from mnv2search.cost import cost_of
from mnv2search.data.preprocessing import Preprocessing
from mnv2search.errors import ExportError, OptionError
from mnv2search.export import export
from mnv2search.export.precision import Precision
from mnv2search.lowering.types import Floats
from mnv2search.report.networks import compiled_results
from mnv2search.results.exports import Compiled
from mnv2search.spec.plan import plan
from mnv2search.spec.yaml.codec import dumps

TFLITE = pytest.param(
    ".tflite", marks=pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="LiteRT is not installed")
)
PTE = pytest.param(
    ".pte", marks=pytest.mark.skipif(find_spec("executorch") is None, reason="ExecuTorch is not installed")
)
every_suffix = pytest.mark.parametrize("suffix", [".onnx", TFLITE, PTE])
PLAIN = EXOTIC["plain"]
Run = Callable[..., Any]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(lively(PLAIN).state_dict(), path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    drawn = np.random.default_rng(0)
    for index in range(12):
        pixels = drawn.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((80, 64)).save(folder / f"{index:02}.png")
    return folder


def pictures(scale: float = 1.0, count: int = 8) -> Floats:
    drawn = np.random.default_rng(1).standard_normal((count, 3, *PLAIN.size), dtype=np.float32)
    return drawn * np.float32(scale)


@every_suffix
def test_integers_are_small_and_close(suffix: str, weights: Path, tmp_path: Path) -> None:
    full = export(PLAIN, tmp_path / f"full{suffix}", weights=weights)
    small = export(
        PLAIN, tmp_path / f"small{suffix}", weights=weights, precision=Precision(kind="int8", images=pictures())
    )
    assert small.size_bytes < full.size_bytes
    assert full.rms_relative_difference < 1e-5 < small.rms_relative_difference < 0.2
    assert (full.precision, full.calibration_images) == ("fp32", None)
    assert (small.precision, small.calibration_images, small.images) == ("int8", 8, 8)
    assert small.same_class is not None
    assert 0.5 <= small.same_class <= 1


@every_suffix
def test_pictures_in_another_order_in_memory_are_the_same_pictures(
    suffix: str, weights: Path, tmp_path: Path
) -> None:
    images = pictures()
    channels_last = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    differences = [
        export(
            PLAIN, tmp_path / f"{i}{suffix}", weights=weights, precision=Precision(kind="int8", images=given)
        ).rms_relative_difference
        for i, given in enumerate((images, channels_last))
    ]
    assert differences[1] == pytest.approx(differences[0], rel=1e-4)


@every_suffix
def test_ranges_of_other_images_are_refused(suffix: str, weights: Path, tmp_path: Path) -> None:
    class Elsewhere(Precision):
        """Ranges a thirtieth as wide as those of the images that are compared."""

        def ranges(self, network, arrays):  # type: ignore[no-untyped-def]
            found = super().ranges(network, arrays) or {}
            return {key: (low / 30, high / 30) for key, (low, high) in found.items()}

    to = tmp_path / f"net{suffix}"
    with pytest.raises(ExportError, match="in int8 the file written") as raised:
        export(PLAIN, to, weights=weights, precision=Elsewhere(kind="int8", images=pictures()))
    assert "calibrate on images" in raised.value.hint
    assert not to.exists()


@pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="LiteRT is not installed")
def test_half_precision_halves_the_file(weights: Path, tmp_path: Path) -> None:
    full = export(PLAIN, tmp_path / "full.tflite", weights=weights)
    half = export(PLAIN, tmp_path / "half.tflite", weights=weights, precision=Precision(kind="fp16"))
    assert half.size_bytes < 0.75 * full.size_bytes
    assert 1e-6 < half.rms_relative_difference < 1e-2
    assert half.calibration_images is None


@pytest.mark.parametrize(("suffix", "kind"), [(".pt", "int8"), (".py", "fp16"), (".onnx", "fp16")])
def test_a_format_without_the_precision_says_so(suffix: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"{suffix} files support .*, not {kind}"):
        export(PLAIN, tmp_path / f"net{suffix}", precision=Precision(kind=kind))


def test_precisions_that_there_are_none_of() -> None:
    with pytest.raises(OptionError, match="precision is 'int4'"):
        Precision(kind="int4")
    with pytest.raises(OptionError, match="fp16 needs none"):
        Precision(kind="fp16", images=pictures())


def compiled(run: Run, *words: str) -> Any:
    return run("compile", "efficientnet_lite0", "--resolution", "64", "--no-fvcore", *words)


def test_the_command_calibrates_on_a_folder(run: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "torn.jpg").write_bytes(b"no picture")
    to = tmp_path / "net.onnx"
    done = compiled(run, "-o", str(to), "--precision", "int8", "--calibration", str(photos), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    (report,) = told["exports"]
    assert (report["precision"], report["calibration_images"]) == ("int8", 12)
    assert told["unreadable_images"] == [str(photos / "torn.jpg")]
    assert to.stat().st_size == report["size_bytes"]


def test_random_numbers_are_called_so(run: Run, tmp_path: Path) -> None:
    done = compiled(run, "-o", str(tmp_path / "net.onnx"), "--precision", "int8")
    assert done.code == 0, done.err
    assert "RANDOM NUMBERS: give --calibration FOLDER" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--precision", "int8"], "none is requested"),
        (["-o", "net.onnx", "--calibration", "."], "needs no images to calibrate with"),
        (["-o", "net.pt", "--precision", "int8"], ".pt files support fp32, not int8"),
        (["-o", "net.onnx", "--precision", "int8", "--calibration", "missing"], "missing does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, words: list[str], says: str, tmp_path: Path) -> None:
    done = compiled(run, *words)
    assert done.code == 2
    assert says in " ".join(done.err.split())
    assert not list(tmp_path.glob("*net*"))


def one_class(path: Path) -> Path:
    """Weights of a network whose classifier gives the same class to every image."""
    state = lively(PLAIN).state_dict()
    state["classifier.1.bias"][3] += 1000.0
    torch.save(state, path)
    return path


def test_a_network_that_gives_one_class_to_all_images_is_called_so(run: Run, tmp_path: Path, photos: Path) -> None:
    (tmp_path / "plain.yaml").write_text(dumps(PLAIN))
    words = ["compile", "plain.yaml", "-o", "net.onnx", "--precision", "int8", "--calibration", str(photos)]
    done = run(*words, "--weights", str(one_class(tmp_path / "one.pth")))
    assert done.code == 0, done.err
    assert "the network gives one class to all 12 images" in done.out
    assert "same class" not in done.out


@pytest.mark.parametrize(
    ("classes", "same", "images", "said"),
    [
        (2, 1.0, 12, " and names the same class for 100 % of 12 images"),
        (1, 1.0, 12, "; the network gives one class to all 12 images"),
        (1, 0.5, 12, "; the network gives one class to all 12 images, the file to 50 % of them"),
        (1, 1.0, 1, ""),
    ],
)
def test_one_class_throughout_is_no_agreement(
    classes: int, same: float, images: int, said: str, weights: Path
) -> None:
    written = export(
        PLAIN,
        weights.with_suffix(".onnx"),
        weights=weights,
        precision=Precision(kind="int8", images=pictures()),
    )
    report = replace(written, classes=classes, same_class=same, images=images)
    compiled = Compiled(
        plan=plan(PLAIN),
        cost=cost_of(PLAIN),
        fvcore_madds=None,
        exports=(report,),
        weights=weights,
        preprocessing=Preprocessing.of(plan(PLAIN), None),
    )
    (line,) = compiled_results(compiled)
    assert f"(root mean square, relative){said}; its ranges" in line
