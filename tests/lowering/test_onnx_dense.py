"""The graphs of detectors and segmenters compute what the PyTorch modules compute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from lowering_specs import DENSE, detector, segmenter
from test_onnx import difference, lively

from mnv2search.export.arrays import layer_arrays
from mnv2search.lowering.onnx.int8 import onnx_int8_bytes
from mnv2search.lowering.onnx.model import INPUT, onnx_bytes
from mnv2search.model.build import build
from mnv2search.spec.catalog import entry
from mnv2search.spec.heads.outputs import answer_shape
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan

NUMBERS = {name: spec for name, spec in DENSE.items() if "detections" not in name and "classes" not in name}


def answers(spec: ModelSpec, *, images: int = 1, batch: int | None = 1) -> tuple[np.ndarray, np.ndarray]:
    """(of the module, of the graph)."""
    model = lively(spec)
    image = torch.randn(images, 3, *spec.size, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = model(image).numpy()
    session = ort.InferenceSession(
        onnx_bytes(plan(spec), layer_arrays(model), batch=batch), providers=["CPUExecutionProvider"]
    )
    return expected, session.run(None, {INPUT: image.numpy()})[0]


@pytest.mark.parametrize("spec", NUMBERS.values(), ids=NUMBERS.keys())
def test_the_graph_computes_what_the_module_computes(spec: ModelSpec) -> None:
    assert difference(spec) <= 1e-5


@pytest.mark.parametrize("spec", NUMBERS.values(), ids=NUMBERS.keys())
def test_an_open_batch_takes_any_number_of_images(spec: ModelSpec) -> None:
    assert difference(spec, images=3, batch=None) <= 1e-5


@pytest.mark.parametrize("spec", DENSE.values(), ids=DENSE.keys())
def test_the_graph_obeys_the_standard(spec: ModelSpec) -> None:
    onnx.checker.check_model(onnx.load_from_string(onnx_bytes(plan(spec))), full_check=True)


@pytest.mark.parametrize("spec", DENSE.values(), ids=DENSE.keys())
def test_the_answer_has_the_shape_that_is_said(spec: ModelSpec) -> None:
    expected, found = answers(spec)
    assert expected.shape == found.shape == (1, *answer_shape(plan(spec)))


@pytest.mark.parametrize(("images", "batch"), [(1, 1), (3, None)])
@pytest.mark.parametrize("most", [3, 20, 5000])
def test_detections_are_the_modules(images: int, batch: int | None, most: int) -> None:
    spec = detector(output="detections", score_threshold=0.05, detections=most)
    expected, found = answers(spec, images=images, batch=batch)
    assert found.shape == expected.shape
    assert (expected[..., 4] > 0).any()
    assert np.allclose(found, expected, atol=1e-4)


def test_nothing_is_detected_above_a_high_threshold() -> None:
    spec = detector(output="detections", score_threshold=1.0)
    expected, found = answers(spec)
    assert not expected.any()
    assert not found.any()


def test_nearly_every_pixel_has_the_class_of_the_module() -> None:
    expected, found = answers(DENSE["segmenter, classes"])
    assert float((expected == found).mean()) >= 0.999


@pytest.mark.parametrize("spec", [detector(), segmenter(decoder_stride=2, aspp_rates=(2,))], ids=["boxes", "map"])
def test_eight_bits_answer_much_the_same(spec: ModelSpec) -> None:
    model = lively(spec)
    image = torch.randn(1, 3, *spec.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(image).numpy()
    graph = onnx_int8_bytes(model.plan, layer_arrays(model))
    found = ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {INPUT: image.numpy()})[0]
    assert float(np.corrcoef(expected.ravel(), found.ravel())[0, 1]) >= 0.97


@pytest.mark.parametrize("name", ["ssdlite_mobilenet_v2", "deeplabv3_mobilenet_v2"])
def test_published_networks_are_lowered(name: str) -> None:
    spec = replace(entry(name).spec, width=0.25)
    model = build(spec, seed=0).eval()
    image = torch.randn(1, 3, *spec.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(image).numpy()
    session = ort.InferenceSession(onnx_bytes(model.plan, layer_arrays(model)), providers=["CPUExecutionProvider"])
    found = session.run(None, {INPUT: image.numpy()})[0]
    assert float(np.abs(found - expected).max()) <= 1e-4 * float(np.abs(expected).max())
