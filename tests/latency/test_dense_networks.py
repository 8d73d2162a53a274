"""Detectors and segmenters on devices: measured whole, and refused in words where a runtime cannot choose."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "model"))

from dense_specs import DENSE, detector, segmenter

from mnv2search.accuracy.evaluators.imagenet import features_of as estimated_features
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.export.arrays import layer_arrays, set_arbitrary
from mnv2search.latency.prediction.features import NAMES, FeatureTable
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtime import Runtime, RuntimeDevice
from mnv2search.latency.runtimes.executorch import ExecuTorch
from mnv2search.latency.runtimes.litert import LiteRt
from mnv2search.latency.runtimes.ncnn import Ncnn
from mnv2search.latency.runtimes.onnxruntime import OnnxRuntime
from mnv2search.latency.runtimes.openvino import OpenVino
from mnv2search.latency.runtimes.torch_cpu import TorchDevice
from mnv2search.model.build import build
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan

BOTH = pytest.mark.parametrize("spec", [detector(), segmenter(decoder_stride=4)], ids=["detector", "segmenter"])
NUMBERS = {name: spec for name, spec in DENSE.items() if "detections" not in name and "classes" not in name}


def answer_of_torch(spec: ModelSpec) -> tuple[np.ndarray, object]:
    model = build(spec, seed=0).eval()
    set_arbitrary(model)
    with torch.inference_mode():
        return model(torch.from_numpy(image(1, spec.resolution))).numpy(), layer_arrays(model)


RUNTIMES: dict[str, tuple[str, type[Runtime]]] = {
    "onnxruntime": ("onnxruntime", OnnxRuntime),
    "openvino": ("openvino", OpenVino),
    "litert": ("ai_edge_litert", LiteRt),
    "executorch": ("executorch", ExecuTorch),
    "ncnn": ("ncnn", Ncnn),
}
# Root mean square of the difference over that of the answer.
ACCEPTED = {"fp32": 1e-5, "int8": 0.06}


def made(name: str, **options: Any) -> Runtime:
    """The runtime, or a skip where it is not installed."""
    module, kind = RUNTIMES[name]
    pytest.importorskip(module, reason=f"{module} is not installed")
    return kind(**options)


def answers(spec: ModelSpec, runtime: Runtime) -> tuple[np.ndarray, np.ndarray]:
    """(of torch, of the runtime)."""
    expected, arrays = answer_of_torch(spec)
    with RuntimeDevice(runtime) as device:
        return expected, device.output(runtime.lower(plan(spec), arrays), spec)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ACCEPTED)
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("spec", NUMBERS.values(), ids=NUMBERS.keys())
def test_boxes_and_masks_are_those_of_torch(spec: ModelSpec, runtime: str, precision: str) -> None:
    expected, found = answers(spec, made(runtime, precision=precision))
    assert found.shape == expected.shape
    assert np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()) <= ACCEPTED[precision]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_boxes_scores_and_logits_each_agree(runtime: str) -> None:
    expected, found = answers(detector(), made(runtime))
    logits, raw = answers(detector(output="raw"), made(runtime))
    for one, other in ((expected[..., :4], found[..., :4]), (expected[..., 4:], found[..., 4:]), (logits, raw)):
        assert np.abs(one - other).max() <= 1e-5 * np.abs(one).max()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "litert"])
@pytest.mark.parametrize("most", [3, 20, 5000])
def test_what_suppression_leaves_is_what_torch_leaves(runtime: str, most: int) -> None:
    spec = detector(output="detections", score_threshold=0.05, detections=most)
    expected, found = answers(spec, made(runtime))
    assert found.shape == expected.shape
    assert (expected[..., 4] > 0).any()
    assert np.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "litert"])
def test_every_pixel_has_the_class_that_torch_gives_it(runtime: str) -> None:
    expected, found = answers(DENSE["segmenter, classes"], made(runtime))
    assert (expected == found).mean() >= 0.999


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
@pytest.mark.parametrize("output", ["raw", "boxes", "detections"])
def test_a_detector_is_measured_with_and_without_suppression(output: str, runtime: str) -> None:
    with RuntimeDevice(made(runtime)) as device:
        device.prepare(detector(output=output))()


def test_litert_suppresses_one_image_at_a_time() -> None:
    with pytest.raises(OptionError, match="one image at a time, and batch is 2"):
        made("litert", batch=2).lower(plan(detector(output="detections")))


@pytest.mark.parametrize("runtime", ["litert", "executorch"])
@pytest.mark.parametrize("spec", [detector(), segmenter()], ids=["detector", "segmenter"])
def test_several_images_are_answered_together(spec: ModelSpec, runtime: str) -> None:
    model = build(spec, seed=0).eval()
    set_arbitrary(model)
    with torch.inference_mode():
        expected = model(torch.from_numpy(image(2, spec.resolution))).numpy()
    two = made(runtime, batch=2)
    with RuntimeDevice(two) as device:
        found = device.output(two.lower(plan(spec), layer_arrays(model)), spec)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@BOTH
def test_torch_runs_a_dense_network(spec: ModelSpec) -> None:
    with TorchDevice() as device:
        device.prepare(spec)()


@pytest.mark.parametrize(("runtime", "name"), [("ncnn", "ncnn"), ("executorch", "an ExecuTorch program")])
@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (detector(output="detections"), "does not support the non-maximum suppression of detector"),
        (segmenter(output="classes"), "does not support choosing the class of each pixel of segmenter"),
    ],
    ids=["detections", "classes"],
)
def test_runtimes_that_cannot_choose_say_so(spec: ModelSpec, why: str, runtime: str, name: str) -> None:
    with pytest.raises(OptionError, match=f"{name}.* {why}"):
        RUNTIMES[runtime][1]().lower(plan(spec))


@BOTH
def test_imagenet_is_not_estimated_of_a_dense_network(spec: ModelSpec) -> None:
    with pytest.raises(EvaluatorError, match="its head is not a classifier"):
        estimated_features(plan(spec))


@BOTH
def test_the_predictor_sees_the_head(spec: ModelSpec) -> None:
    laid_out = plan(spec)
    whole = dict(zip(NAMES, FeatureTable().matrix_of([laid_out])[0].tolist(), strict=True))
    assert whole["depthwise_layers"] == sum(layer.groups > 1 for unit in laid_out.units for layer in unit.layers)
