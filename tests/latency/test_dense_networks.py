"""Detectors and segmenters on devices: measured whole where the runtime takes them, refused in words elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "model"))

from dense_specs import DENSE, detector, segmenter

from mnv2search.accuracy.evaluators.imagenet import features_of as estimated_features
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.export.arrays import layer_arrays, set_arbitrary
from mnv2search.latency.features import NAMES, features_of
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtime import RuntimeDevice
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


@pytest.mark.parametrize("spec", NUMBERS.values(), ids=NUMBERS.keys())
def test_onnxruntime_answers_what_torch_answers(spec: ModelSpec) -> None:
    expected, arrays = answer_of_torch(spec)
    runtime = OnnxRuntime()
    with RuntimeDevice(runtime) as device:
        found = device.output(runtime.lower(plan(spec), arrays), spec)  # type: ignore[arg-type]
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("spec", NUMBERS.values(), ids=NUMBERS.keys())
def test_openvino_answers_what_torch_answers(spec: ModelSpec) -> None:
    pytest.importorskip("openvino")
    expected, arrays = answer_of_torch(spec)
    runtime = OpenVino()
    with RuntimeDevice(runtime) as device:
        found = device.output(runtime.lower(plan(spec), arrays), spec)  # type: ignore[arg-type]
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("output", ["raw", "boxes", "detections"])
def test_a_detector_is_measured_with_and_without_suppression(output: str) -> None:
    with RuntimeDevice(OnnxRuntime()) as device:
        device.prepare(detector(output=output))()


@BOTH
def test_torch_runs_a_dense_network(spec: ModelSpec) -> None:
    with TorchDevice() as device:
        device.prepare(spec)()


@BOTH
def test_ncnn_refuses_a_dense_network_in_words(spec: ModelSpec) -> None:
    with pytest.raises(OptionError, match="ncnn cannot take"):
        Ncnn().lower(plan(spec))


@BOTH
def test_imagenet_is_not_estimated_of_a_dense_network(spec: ModelSpec) -> None:
    with pytest.raises(EvaluatorError, match="its head detects or segments and classifies nothing"):
        estimated_features(plan(spec))


@BOTH
def test_the_predictor_sees_the_head(spec: ModelSpec) -> None:
    laid_out = plan(spec)
    whole = dict(zip(NAMES, features_of(laid_out), strict=True))
    assert whole["depthwise_layers"] == sum(layer.groups > 1 for unit in laid_out.units for layer in unit.layers)
