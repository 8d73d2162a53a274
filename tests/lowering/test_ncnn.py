"""The ncnn network written from the plan obeys the format, and computes what the PyTorch module computes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from lowering_specs import EXOTIC, lively, small

from mnv2search.errors import DeviceError
from mnv2search.export.arrays import layer_arrays
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtime import RuntimeDevice
from mnv2search.latency.runtimes.ncnn import Ncnn
from mnv2search.lowering.ncnn.model import ncnn_files
from mnv2search.lowering.ranges import ranges_of
from mnv2search.model.build import build
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.plan import plan


def lines(spec: ModelSpec) -> list[list[str]]:
    """The words of each layer."""
    return [line.split() for line in ncnn_files(plan(spec))[0].decode().splitlines()[2:]]


def difference(spec: ModelSpec, precision: str) -> float:
    """Root mean square of the difference between module and ncnn, over that of the output."""
    pytest.importorskip("ncnn", reason="ncnn is not installed")
    model = lively(spec)
    with torch.inference_mode():
        expected = model(torch.from_numpy(image(1, spec.resolution))).numpy()
    device = RuntimeDevice(Ncnn(precision=precision))
    found = device.output(device.runtime.lower(model.plan, layer_arrays(model)), spec)
    assert found.shape == expected.shape
    return float(np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()))


@pytest.mark.parametrize("spec", EXOTIC.values(), ids=EXOTIC.keys())
def test_ncnn_computes_what_the_module_computes(spec: ModelSpec) -> None:
    assert difference(spec, "fp32") <= 1e-5


@pytest.mark.parametrize("spec", EXOTIC.values(), ids=EXOTIC.keys())
def test_integers_answer_nearly_as_the_module(spec: ModelSpec) -> None:
    assert difference(spec, "int8") <= 0.1


@pytest.mark.parametrize("spec", EXOTIC.values(), ids=EXOTIC.keys())
def test_every_blob_is_written_once_and_read_at_most_once(spec: ModelSpec) -> None:
    text = ncnn_files(plan(spec))[0].decode().splitlines()
    read: Counter[str] = Counter()
    written: Counter[str] = Counter()
    for _, _, inputs, outputs, *rest in (line.split() for line in text[2:]):
        read.update(rest[: int(inputs)])
        written.update(rest[int(inputs) : int(inputs) + int(outputs)])
    assert set(written.values()) == set(read.values()) == {1}
    assert set(written) - set(read) == {"out0"}
    assert text[:2] == ["7767517", f"{len(text) - 2} {len(written)}"]


def test_the_layers_are_those_that_pnnx_writes() -> None:
    kinds = [words[0] for words in lines(small(BlockSpec(channels=16)))]
    assert kinds == [
        "Input",
        "Convolution",
        "Split",
        "Convolution",
        "ConvolutionDepthWise",
        "Convolution",
        "BinaryOp",
        "Convolution",
        "Pooling",
        "InnerProduct",
    ]


@pytest.mark.parametrize(
    ("activation", "kind", "fused"),
    [
        ("relu6", "Convolution", ["9=3", "-23310=2,0.0,6.0"]),
        ("relu", "Convolution", ["9=1"]),
        ("hard_swish", "HardSwish", ["0=0.16666666666666666", "1=0.5"]),
        ("silu", "Swish", []),
    ],
)
def test_activations_are_part_of_the_convolution_where_pnnx_puts_them(
    activation: str, kind: str, fused: list[str]
) -> None:
    spec = small(BlockSpec(channels=16), activation=activation, head=None)
    last = lines(spec)[-1]
    assert last[0] == kind
    assert last[len(last) - len(fused) :] == fused


def test_the_weights_are_there_to_the_byte() -> None:
    model = build(small(BlockSpec(channels=16), normalizer="none"))
    flags = 4 * sum(1 for _ in model.bound())
    parameters = sum(p.numel() for p in model.parameters())
    assert len(ncnn_files(model.plan, layer_arrays(model))[1]) == 4 * parameters + flags


def test_integers_take_about_a_quarter() -> None:
    laid_out = plan(small(BlockSpec(channels=160, expansion=3)))
    whole, integers = (len(ncnn_files(laid_out, ranges=r)[1]) for r in (None, ranges_of(laid_out)))
    assert integers < whole / 3


def test_convolutions_in_a_row_hand_on_integers() -> None:
    laid_out = plan(small(BlockSpec(channels=16)))
    words = ncnn_files(laid_out, ranges=ranges_of(laid_out))[0].decode().split()
    assert [word for word in words if word.startswith("8=")] == ["8=2", "8=102", "8=101", "8=2", "8=2", "8=2"]


def test_a_convolution_that_ncnn_gets_wrong_in_integers_is_refused() -> None:
    laid_out = plan(small(BlockSpec(channels=24, depthwise_multiplier=8)))
    Ncnn().lower(laid_out)
    with pytest.raises(DeviceError, match=r"blocks\[0\] in int8: .* 8 outputs per channel") as caught:
        Ncnn(precision="int8").lower(laid_out)
    assert "fp32" in caught.value.hint
