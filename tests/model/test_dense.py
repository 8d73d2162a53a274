"""Detectors and segmenters built from a plan: shapes, counts, endpoints, boxes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from dense_specs import DENSE, detector, segmenter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_specs import all_endpoints, images, lively, seen_shapes
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mnv2search.cost import cost_of
from mnv2search.errors import OptionError
from mnv2search.model.boxes import as_centres, as_corners, decoded, encoded, ious, suppressed
from mnv2search.model.build import build, initialize
from mnv2search.model.dense import classes_at, enlarged
from mnv2search.model.fold import fold
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.spec.catalog import entry
from mnv2search.spec.heads.anchors import anchors, anchors_per_map
from mnv2search.spec.model_spec import DeepLab, ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.testing.strategies import dense_specs

BOUNDED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
dense = pytest.mark.parametrize("spec", DENSE.values(), ids=DENSE.keys())
PUBLISHED = [
    ("ssdlite_mobilenet_v2", 0.25),
    ("ssd_mobilenet_v2_coco", 0.25),
    ("deeplabv3_mobilenet_v2", 0.25),
    ("deeplabv3_mobilenet_v2_separable_aspp", 0.25),
]


def seen_by_hooks(spec: ModelSpec) -> tuple[int, int]:
    """(parameters, multiply-adds) of the built network, from the shapes that its convolutions give out."""
    model = build(spec, seed=0).eval()
    madds: list[int] = []
    for _, bound in model.bound():

        def note(module: nn.Module, _: object, output: Tensor) -> None:
            assert isinstance(module, nn.Conv2d)
            madds.append(module.weight.numel() * output.shape[2] * output.shape[3])

        bound.conv.register_forward_hook(note)
    with torch.inference_mode():
        model.predictions(images(spec))
    return sum(p.numel() for p in model.parameters()), sum(madds)


class FromHost(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what takes a value from the host, or gives one to it: a CUDA graph can record neither."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.lift_fresh.default, torch.ops.aten._local_scalar_dense.default):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@dense
def test_a_network_runs_without_the_host(spec: ModelSpec) -> None:
    model, image = build(spec, seed=0).eval(), images(spec)
    with torch.no_grad(), FromHost() as noted:
        model(image)
    # non-maximum suppression asks whether a box is left, but not while a graph is recorded
    asks = {"aten._local_scalar_dense.default"} if getattr(spec.head, "output", "") == "detections" else set()
    assert set(noted.found) == asks


@pytest.mark.parametrize(("name", "width"), PUBLISHED)
def test_published_networks_are_counted_as_built(name: str, width: float) -> None:
    spec = replace(entry(name).spec, width=width)
    cost = cost_of(spec)
    assert (cost.params, cost.madds) == seen_by_hooks(spec)


@BOUNDED
@given(dense_specs().filter(lambda spec: all(b.split_expansion == b.split_projection == 1 for b in spec.blocks)))
def test_any_dense_network_has_the_planned_parameters_and_shapes(spec: ModelSpec) -> None:
    model = build(spec, seed=0).eval()
    seen = seen_shapes(model)
    with torch.inference_mode():
        model.predictions(images(spec))
    assert cost_of(spec).params == sum(p.numel() for p in model.parameters())
    units = model.plan.units
    used = {address: units[address[0]].layers[address[1]] for address in seen}
    assert seen == {address: (1, layer.c_out, *layer.size_out) for address, layer in used.items()}
    assert {address for address, _ in model.bound() if address[0] >= len(model.features)} <= set(seen)


@dense
def test_counted_params_are_the_built_params(spec: ModelSpec) -> None:
    assert cost_of(spec).params == sum(p.numel() for p in build(spec, seed=0).parameters())


@dense
def test_every_endpoint_can_be_asked_for(spec: ModelSpec) -> None:
    model = build(spec, seed=0).eval()
    found = all_endpoints(model, images(spec))
    sides = {unit.name: (unit.c_out, *unit.size_out) for unit in model.plan.dense}
    assert {name: tuple(found[name].shape[1:]) for name in sides} == sides


@dense
def test_folding_batch_norm_changes_nothing(spec: ModelSpec) -> None:
    model = lively(spec)
    x = images(spec)
    with torch.inference_mode():
        expected, found = model.predictions(x), fold(model).predictions(x)
    assert torch.allclose(expected, found, atol=1e-4 * float(expected.abs().max()))


def test_what_a_detector_answers() -> None:
    spec = detector(classes=3)
    boxes = len(anchors(plan(spec)))
    x = torch.cat([images(spec), images(spec)])
    with torch.inference_mode():
        raw = build(detector(classes=3, output="raw"), seed=0).eval()(x)
        found = build(spec, seed=0).eval()(x)
        kept = build(detector(classes=3, output="detections", detections=7), seed=0).eval()(x)
    assert [tuple(t.shape) for t in (raw, found, kept)] == [(2, boxes, 8), (2, boxes, 7), (2, 7, 6)]
    assert torch.equal(found[..., 4:], raw[..., 5:].sigmoid())


def test_what_a_segmenter_answers() -> None:
    x = images(segmenter())
    with torch.inference_mode():
        logits, resized, classes = (
            build(segmenter(output=output), seed=0).eval()(x) for output in ("logits", "resized", "classes")
        )
    assert [tuple(t.shape) for t in (logits, resized, classes)] == [(1, 4, 7, 7), (1, 4, 49, 49), (1, 49, 49)]
    assert torch.equal(resized[..., ::8, ::8].argmax(1), classes[:, ::8, ::8])
    assert torch.allclose(resized[..., ::8, ::8], logits, atol=1e-6)


def test_a_segmenter_takes_rectangles() -> None:
    model = build(segmenter(aspp_rates=(2,), decoder_stride=4), seed=0).eval()
    assert tuple(model(torch.zeros(1, 3, 33, 65)).shape) == (1, 4, 33, 65)


def test_a_detector_takes_its_own_side_only() -> None:
    model = build(detector(), seed=0).eval()
    with pytest.raises(OptionError, match="the input is 64 x 64 px, but the network is laid out for 48 px"):
        model(torch.zeros(1, 3, 64, 64))


def test_dropout_stands_after_the_join() -> None:
    model = build(segmenter(dropout=0.5), seed=0)
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.0, 0.5}
    x = torch.cat([images(model.spec)] * 2)
    assert not torch.equal(model.train().predictions(x), model.predictions(x))


@pytest.mark.parametrize(
    ("spec", "deviation"), [(entry("ssdlite_mobilenet_v2").spec, 0.03), (entry("deeplabv3_mobilenet_v2").spec, 0.01)]
)
def test_predictors_begin_small(spec: ModelSpec, deviation: float) -> None:
    model = initialize(build(spec, seed=0), "slim", seed=1)
    assert model.head is not None
    weights = [bound.conv.weight for _, bound in model.head.bound() if bound.layer.role == "predictor"]
    drawn = torch.cat([weight.detach().flatten() for weight in weights if isinstance(weight, Tensor)])
    assert float(drawn.abs().max()) <= 2 * deviation
    assert float(drawn.std()) == pytest.approx(0.88 * deviation, rel=0.03)


# Source: tensorflow/models, multiple_grid_anchor_generator.py and ssdlite_mobilenet_v2_coco.config.
def test_the_anchors_are_tensorflows() -> None:
    laid_out = plan(entry("ssdlite_mobilenet_v2_coco").spec)
    found = anchors(laid_out)
    assert anchors_per_map(laid_out) == (1083, 600, 150, 54, 24, 6)
    first = [(0.1, 0.1), (0.2 * math.sqrt(2), 0.2 / math.sqrt(2)), (0.2 / math.sqrt(2), 0.2 * math.sqrt(2))]
    assert [one[:2] for one in found[:3]] == [(0.5 / 19, 0.5 / 19)] * 3
    assert [one[2:] for one in found[:3]] == [pytest.approx(shape) for shape in first]
    assert [round(found[at + 5][2], 4) for at in (1083, 1683, 1833, 1887, 1911)] == [
        0.4183,
        0.5701,
        0.7211,
        0.8718,
        0.9747,
    ]
    assert [found[at][:2] for at in (3, 57, 1089)] == [(1.5 / 19, 0.5 / 19), (0.5 / 19, 1.5 / 19), (0.15, 0.05)]


def test_anchors_stand_beside_the_weights() -> None:
    model = build(detector(), seed=0)
    assert "head.anchors" not in model.state_dict()
    assert isinstance(model.head, SsdLiteHead)
    assert torch.equal(model.head.anchors, torch.tensor(anchors(model.plan)))


sides = st.floats(0.02, 1.0)
boxes = st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), sides, sides).map(
    lambda b: torch.tensor([[b[0], b[1], min(b[0] + b[2], 1.0), min(b[1] + b[3], 1.0)]])
)


@given(boxes, boxes)
def test_decoding_undoes_encoding(box: Tensor, anchor: Tensor) -> None:
    centres = as_centres(anchor)
    assert torch.allclose(decoded(encoded(box, centres), centres), box, atol=1e-5)


@given(boxes, boxes)
def test_overlap_is_symmetric_and_at_most_one(one: Tensor, other: Tensor) -> None:
    found = ious(one, other)
    assert torch.equal(found, ious(other, one))
    assert 0 <= float(found) <= 1 + 1e-6
    assert float(ious(one, one)) == pytest.approx(1.0)


def test_empty_boxes_overlap_nothing() -> None:
    empty = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    assert float(ious(empty, empty)) == 0.0


def test_a_wild_prediction_stays_finite() -> None:
    wild = torch.full((1, 4), 1e6)
    assert decoded(wild, torch.tensor([[0.5, 0.5, 0.1, 0.1]])).isfinite().all()


def one_by_one(scores: Tensor, corners: Tensor, *, score: float, iou: float, most: int) -> Tensor:
    """Non-maximum suppression as it is told: the best first, and what overlaps it goes."""
    kept = torch.zeros_like(scores)
    for number, of_class in enumerate(scores):
        chosen: list[int] = []
        for at in of_class.argsort(descending=True, stable=True).tolist():
            free = all(float(ious(corners[at : at + 1], corners[c : c + 1])) <= iou for c in chosen)
            if float(of_class[at]) > score and free and len(chosen) < most:
                chosen.append(at)
        kept[number, chosen] = of_class[chosen]
    return kept


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("iou", "most"), [(0.3, 50), (0.6, 4), (0.9, 50)])
def test_suppression_keeps_what_going_one_by_one_keeps(seed: int, iou: float, most: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(40, 4, generator=generator) * torch.tensor([1, 1, 0.5, 0.5]) + 0.01
    scores, corners = torch.rand(3, 40, generator=generator), as_corners(centres)
    expected = one_by_one(scores, corners, score=0.2, iou=iou, most=most)
    assert torch.equal(suppressed(scores, corners, score=0.2, iou=iou, most=most), expected)


def test_detections_are_sorted_and_padded() -> None:
    model = build(detector(classes=2, output="detections", score_threshold=0.5, detections=5), seed=0).eval()
    raw = torch.full((1, len(anchors(model.plan)), 7), -9.0)
    raw[..., :4] = 0.0
    raw[0, 0, 5], raw[0, 200, 6], raw[0, 1, 5] = 2.0, 3.0, 1.0
    assert isinstance(model.head, SsdLiteHead)
    (found,) = model.head.finished(raw, (48, 48))
    corners = decoded(raw[0, :, :4], model.head.anchors)
    assert found[:, 5].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert torch.allclose(found[:, 4], torch.tensor([3.0, 2.0, 1.0, 0.0, 0.0]).sigmoid() * (found[:, 4] > 0))
    assert torch.equal(found[:3, :4], corners[[200, 0, 1]])


def test_the_head_of_a_segmenter_has_its_own_epsilon() -> None:
    spec = segmenter(norm_eps=0.02)
    assert isinstance(spec.head, DeepLab)
    norms = [m for m in build(spec, seed=0).head.modules() if isinstance(m, nn.BatchNorm2d)]  # type: ignore[union-attr]
    assert {m.eps for m in norms} == {0.02}


@pytest.mark.parametrize("values", [1, 300, 5000, 2**26])
def test_classes_of_a_large_image_are_found_in_bands(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(5, 7, 9, generator=torch.Generator().manual_seed(0))
    whole = enlarged(logits[None], (61, 83)).argmax(1)[0]
    monkeypatch.setattr("mnv2search.model.dense.MOST_VALUES", values)
    found = classes_at(logits, (61, 83))
    assert found.shape == whole.shape
    assert (found == whole).float().mean() > 0.999
