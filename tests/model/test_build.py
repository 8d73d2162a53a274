"""Networks built from a plan: layout, shapes, counts, endpoints and initial weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from model_specs import (
    EXOTIC,
    PAPER_ROWS,
    all_endpoints,
    images,
    lively,
    mobilenet_v2,
    seen_shapes,
    small,
    small_specs,
)
from torch import Tensor, nn

from mnv2search.cost import cost_of
from mnv2search.errors import OptionError, UnknownNameError
from mnv2search.model.blocks import PaddedConv2d, SplitConv2d, convolutions
from mnv2search.model.build import build, initialize
from mnv2search.model.fvcore_count import fvcore_madds
from mnv2search.spec.model_spec import BlockSpec, ModelSpec, Stem
from mnv2search.spec.plan import plan

BOUNDED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
exotic = pytest.mark.parametrize("spec", EXOTIC.values(), ids=EXOTIC.keys())


def torchvision_keys() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of torchvision's `mobilenet_v2`, in order.

    Source: torchvision 0.29, models/mobilenetv2.py and ops/misc.py, read as text.
    """

    def norm(prefix: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for name in ("weight", "bias", "running_mean", "running_var"):
            yield f"{prefix}.{name}", (channels,)
        yield f"{prefix}.num_batches_tracked", ()

    yield "features.0.0.weight", (32, 3, 3, 3)
    yield from norm("features.0.1", 32)
    index, c_in = 1, 32
    for t, c, n, _ in PAPER_ROWS:
        for _ in range(n):
            prefix, place, hidden = f"features.{index}.conv", 0, c_in * t
            if t != 1:
                yield f"{prefix}.0.0.weight", (hidden, c_in, 1, 1)
                yield from norm(f"{prefix}.0.1", hidden)
                place = 1
            yield f"{prefix}.{place}.0.weight", (hidden, 1, 3, 3)
            yield from norm(f"{prefix}.{place}.1", hidden)
            yield f"{prefix}.{place + 1}.weight", (c, hidden, 1, 1)
            yield from norm(f"{prefix}.{place + 2}", c)
            index, c_in = index + 1, c
    yield "features.18.0.weight", (1280, 320, 1, 1)
    yield from norm("features.18.1", 1280)
    yield "classifier.1.weight", (1000, 1280)
    yield "classifier.1.bias", (1000,)


def test_default_state_dict_is_laid_out_as_torchvisions() -> None:
    built = [(name, tuple(tensor.shape)) for name, tensor in build(mobilenet_v2()).state_dict().items()]
    assert built == list(torchvision_keys())


def test_default_constants_are_torchvisions() -> None:
    norm = next(m for m in build(mobilenet_v2()).modules() if isinstance(m, nn.BatchNorm2d))
    assert (norm.eps, norm.momentum) == (1e-5, 0.1)


def test_batch_norm_constants_come_from_the_spec() -> None:
    norms = [m for m in build(EXOTIC["constants"]).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.003)}


@exotic
def test_counted_params_are_the_built_params(spec: ModelSpec) -> None:
    assert cost_of(spec).params == sum(p.numel() for p in build(spec, seed=0).parameters())


@exotic
def test_multiply_adds_are_fvcores(spec: ModelSpec) -> None:
    assert abs(cost_of(spec).madds - fvcore_madds(build(spec, seed=0))) <= 1


@pytest.mark.parametrize("width", [0.35, 1.0, 1.4])
def test_published_widths_are_counted_as_built(width: float) -> None:
    model = build(mobilenet_v2(width=width, resolution=96), seed=0)
    assert abs(cost_of(model.plan).madds - fvcore_madds(model)) <= 1


@BOUNDED
@given(small_specs())
def test_any_network_is_counted_as_built(spec: ModelSpec) -> None:
    model = build(spec, seed=0)
    cost = cost_of(spec)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert abs(cost.madds - fvcore_madds(model)) <= 1


@BOUNDED
@given(small_specs())
def test_planned_shapes_are_the_shapes_hooks_see(spec: ModelSpec) -> None:
    model = build(spec, seed=0).eval()
    seen = seen_shapes(model)
    maps: list[tuple[int, ...]] = []
    for module in model.features:
        module.register_forward_hook(lambda module, inputs, output: maps.append(tuple(output.shape)))
    model(images(spec))
    for address, bound in model.bound():
        layer = bound.layer
        side = () if layer.role == "classifier" else layer.size_out
        assert seen[address] == (1, layer.c_out, *side)
    assert maps == [(1, unit.c_out, *unit.size_out) for unit in model.plan.features]


@exotic
def test_every_endpoint_can_be_asked_for(spec: ModelSpec) -> None:
    model = build(spec, seed=0).eval()
    *_, last = all_endpoints(model, images(spec)).values()
    assert torch.equal(last, model(images(spec)))


def test_endpoint_shapes_are_slims() -> None:
    """Source: tensorflow/models, mobilenet_v2_test.py; widths at 224 px."""
    names = ("layer_4", "layer_7", "layer_14", "layer_15/expansion_output", "layer_18/output", "layer_19")
    found = build(mobilenet_v2(), seed=0).eval().endpoints(images(mobilenet_v2()), names)
    assert [(t.shape[1], t.shape[2]) for t in found.values()] == [
        (24, 56),
        (32, 28),
        (96, 14),
        (576, 14),
        (320, 7),
        (1280, 7),
    ]


def test_expansion_output_is_after_norm_and_activation() -> None:
    model = lively(EXOTIC["plain"])
    block_input = model.features[0](images(model.spec))
    expected = model.features[1].conv[0](block_input)  # type: ignore[index, operator]
    assert torch.equal(model.endpoints(images(model.spec), ["layer_2/expansion_output"]).popitem()[1], expected)


def test_depthwise_output_is_before_the_gate() -> None:
    model = lively(EXOTIC["gated"])
    x = images(model.spec)
    depthwise = model.endpoints(x, ["layer_2/depthwise_output"])["layer_2/depthwise_output"]
    conv = model.features[1].conv
    projected = conv[3:](conv[2](depthwise))  # type: ignore[index, operator]
    carried = model.endpoints(x, ["layer_1"])["layer_1"]
    assert torch.equal(model.endpoints(x, ["layer_2"])["layer_2"], projected + carried)


def test_expansion_output_is_absent_without_an_expansion() -> None:
    with pytest.raises(UnknownNameError, match="unknown endpoint 'layer_2/expansion_output'"):
        build(mobilenet_v2(), seed=0).endpoints(images(mobilenet_v2()), ["layer_2/expansion_output"])


def test_endpoints_stop_after_the_last_one_asked_for() -> None:
    model = build(EXOTIC["plain"], seed=0)
    model.features[2].register_forward_hook(lambda *_: pytest.fail("computed a layer that nobody asked for"))
    assert set(model.endpoints(images(model.spec), ["layer_1"])) == {"layer_1"}


def test_uneven_split_is_one_convolution_a_part() -> None:
    convs = [bound.conv for _, bound in build(EXOTIC["split-uneven"], seed=0).bound()]
    splits = [convolutions(conv) for conv in convs if isinstance(conv, SplitConv2d)]
    assert [[part.weight.shape[:2] for part in parts] for parts in splits] == [
        [(72, 16), (72, 8)],
        [(16, 48), (16, 48), (8, 48)],
    ]


def test_even_split_is_a_grouped_convolution() -> None:
    convs = [bound.conv for _, bound in build(EXOTIC["split-even"], seed=0).bound()]
    groups = [conv.groups for conv in convs if isinstance(conv, nn.Conv2d)]
    assert groups == [1, 2, 96, 2, 1]


def test_norm_of_a_split_is_one_norm_over_the_parts_side_by_side() -> None:
    model = lively(EXOTIC["split-uneven"])
    bound = dict(model.bound())[1, 0]
    assert isinstance(bound.conv, SplitConv2d)
    assert isinstance(bound.norm, nn.BatchNorm2d)
    x = torch.randn(1, 24, 4, 4, generator=torch.Generator().manual_seed(0))
    norm = bound.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    first = nn.functional.batch_norm(
        bound.conv.parts[0](x[:, :16]),
        norm.running_mean[:72],
        norm.running_var[:72],
        norm.weight[:72],
        norm.bias[:72],
        eps=norm.eps,
    )
    assert torch.allclose(norm(bound.conv(x))[:, :72], first)


def same_padded(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """TensorFlow's SAME convolution, pixel by pixel: the window of output i starts at i * stride - before."""
    side, kernel = x.shape[-1], weight.shape[-1]
    out = (side + stride - 1) // stride
    before = max((out - 1) * stride + kernel - side, 0) // 2
    result = torch.zeros(x.shape[0], weight.shape[0], out, out)
    for row in range(out):
        for column in range(out):
            top, left = row * stride - before, column * stride - before
            rows = range(max(top, 0), min(top + kernel, side))
            columns = range(max(left, 0), min(left + kernel, side))
            window = x[:, :, rows.start : rows.stop, columns.start : columns.stop]
            part = weight[:, :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            result[:, :, row, column] = torch.einsum("nchw,ochw->no", window, part)
    return result


@pytest.mark.parametrize("side", [9, 10, 12])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_same_is_tensorflows(side: int, kernel: int, stride: int) -> None:
    spec = small(
        BlockSpec(channels=8, expansion=1),
        resolution=side,
        stem=Stem(channels=8, kernel=kernel, stride=stride),
        padding="same",
        normalizer="none",
        activation="none",
    )
    model = build(spec, seed=0)
    stem = model.features[0][0]  # type: ignore[index]
    x = images(spec)
    assert torch.allclose(model.features[0](x), same_padded(x, stem.weight, stride), atol=1e-5)


def test_padding_same_and_symmetric_differ_on_even_sides_only() -> None:
    def stem(padding: str, side: int) -> Tensor:
        model = build(small(BlockSpec(channels=16), padding=padding, resolution=side), seed=0)
        return model.features[0](images(model.spec))  # type: ignore[no-any-return]

    assert torch.equal(stem("same", 33), stem("symmetric", 33))
    assert not torch.allclose(stem("same", 32), stem("symmetric", 32))


def test_padding_same_refuses_another_side() -> None:
    with pytest.raises(OptionError, match="the input is 33 x 33 px, but the network is laid out for 32 px"):
        build(EXOTIC["same-even"], seed=0)(torch.zeros(1, 3, 33, 33))


def test_padding_symmetric_takes_any_side() -> None:
    assert build(EXOTIC["plain"], seed=0).eval()(torch.zeros(1, 3, 47, 61)).shape == (1, 10)


def test_uneven_pads_keep_the_parameter_names() -> None:
    same, symmetric = build(mobilenet_v2(padding="same"), seed=0), build(mobilenet_v2(), seed=0)
    assert isinstance(same.features[0][0], PaddedConv2d)  # type: ignore[index]
    assert list(same.state_dict()) == list(symmetric.state_dict())


def test_pad_residual_adds_the_pooled_input_with_zero_channels() -> None:
    model = lively(EXOTIC["residual-pad"])
    x = model.endpoints(images(model.spec), ["layer_1"])["layer_1"]
    added = model.features[1](x) - model.features[1].conv(x)  # type: ignore[operator]
    corner = x[:, :, :2, :2].mean(dim=(2, 3))
    # 25 px halve to 13: the last pooled pixel covers one input pixel only.
    assert torch.allclose(added[:, :16, 0, 0], corner, atol=1e-5)
    assert torch.allclose(added[:, :16, -1, -1], x[:, :, -1, -1], atol=1e-5)
    assert torch.allclose(added[:, 16:], torch.zeros(1), atol=1e-6)


def test_same_seed_gives_the_same_weights() -> None:
    one, two = (build(EXOTIC["plain"], seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_another_seed_gives_other_weights() -> None:
    one, two = (build(EXOTIC["plain"], seed=seed).state_dict() for seed in (3, 4))
    assert not torch.equal(one["features.0.0.weight"], two["features.0.0.weight"])


@pytest.mark.parametrize("seed", [None, 5], ids=["fresh", "given"])
def test_building_leaves_the_global_generator_alone(seed: int | None) -> None:
    before = torch.get_rng_state()
    initialize(build(EXOTIC["gated"], seed=seed), "slim", seed=seed)
    assert torch.equal(before, torch.get_rng_state())


def test_default_weights_spread_as_torchvisions() -> None:
    """Source: torchvision, models/mobilenetv2.py: Kaiming normal over the fan out, N(0, 0.01) in the classifier."""
    state = build(mobilenet_v2(), seed=0).state_dict()
    assert state["features.18.0.weight"].std().item() == pytest.approx((2 / 1280) ** 0.5, rel=0.01)
    assert state["features.2.conv.1.0.weight"].std().item() == pytest.approx((2 / (96 * 9)) ** 0.5, rel=0.1)
    assert state["classifier.1.weight"].std().item() == pytest.approx(0.01, rel=0.01)
    assert state["classifier.1.bias"].abs().max() == 0


def test_slim_weights_are_cut_at_two_deviations() -> None:
    """Source: tensorflow/models, mobilenet.py, `training_scope`; the cut leaves 0.880 of the deviation."""
    weight = initialize(build(mobilenet_v2()), "slim", seed=0).state_dict()["features.18.0.weight"]
    assert weight.abs().max() <= 0.18
    assert weight.std().item() == pytest.approx(0.09 * 0.8796, rel=0.01)


def test_unknown_initialisation_offers_the_known() -> None:
    with pytest.raises(UnknownNameError, match="unknown initialisation 'slimm'") as caught:
        initialize(build(EXOTIC["plain"]), "slimm")  # type: ignore[arg-type]
    assert caught.value.hint == "did you mean slim?"


def test_build_takes_a_plan() -> None:
    laid_out = plan(EXOTIC["plain"])
    assert build(laid_out, seed=0).plan is laid_out


def test_without_head_the_last_map_comes_out() -> None:
    assert build(EXOTIC["no-head"], seed=0)(images(EXOTIC["no-head"])).shape == (1, 64, 8, 8)


@exotic
def test_every_weight_learns(spec: ModelSpec) -> None:
    model = lively(spec).train()
    model(images(spec, count=2)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
