"""The graph written from the plan computes what the PyTorch module computes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from mnv2search.errors import OptionError
from mnv2search.export.arrays import layer_arrays
from mnv2search.lowering.onnx.model import INPUT, onnx_bytes
from mnv2search.model.build import MobileNet, build
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec, Stem
from mnv2search.spec.plan import plan


def block(**settings: Any) -> BlockSpec:
    return BlockSpec(**({"channels": 16, "repeats": 2} | settings))


def net(*blocks: BlockSpec, **settings: Any) -> ModelSpec:
    plain: dict[str, Any] = {
        "name": "net",
        "blocks": blocks or (block(),),
        "resolution": 33,
        "stem": Stem(channels=16),
        "last_channels": 32,
        "head": Classifier(classes=10),
    }
    return ModelSpec(**(plain | settings))


NETWORKS = {
    "plain": net(),
    "even side": net(block(stride=2), resolution=32),
    "same padding, even side": net(block(stride=2, kernel=5), resolution=32, padding="same"),
    "same padding, odd side": net(block(stride=2), padding="same"),
    "valid padding": net(block(residual="off"), resolution=64, padding="valid"),
    "no expansion": net(block(expansion=1)),
    "kernel 7": net(block(kernel=7)),
    "even split": net(block(split_expansion=2, split_projection=2, channels=32)),
    "uneven split": net(block(channels=24, split_expansion=2, split_projection=2), block(channels=40)),
    "depthwise on input": net(block(depthwise_location="input")),
    "depthwise on output": net(block(depthwise_location="output", stride=2)),
    "no depthwise": net(block(depthwise_location="none")),
    "depthwise multiplier": net(block(depthwise_multiplier=2)),
    "fused": net(block(operator="fused", depthwise_location="none", stride=2)),
    "squeeze-excite": net(block(transform="squeeze_excite")),
    "squeeze-excite of v3": net(block(transform="squeeze_excite_v3"), activation="hard_swish"),
    "silu": net(activation="silu"),
    "relu, projected activation": net(block(projection_activation="relu6"), activation="relu"),
    "no activation": net(activation="none"),
    "padded shortcut, stride 2, odd side": net(block(residual="pad", channels=24, stride=2), resolution=34),
    "padded shortcut, stride 1": net(block(residual="pad", channels=24)),
    "dilated by output stride": net(block(stride=2), block(stride=2), output_stride=4),
    "group norm": net(normalizer="group"),
    "no norm": net(normalizer="none"),
    "one row without norm": net(block(normalizer="none"), block()),
    "no last convolution": net(last_channels=None),
    "features only": net(head=None),
}


def lively(spec: ModelSpec) -> MobileNet:
    """The module with norms and biases that do something."""
    model = build(spec, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            for name in ("bias", "running_mean"):
                if getattr(module, name, None) is not None:
                    getattr(module, name).uniform_(-0.5, 0.5, generator=generator)
            if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                module.weight.uniform_(0.5, 1.5, generator=generator)
            if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
                module.running_var.uniform_(0.5, 2.0, generator=generator)
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.normal_(0, 1 / math.sqrt(module.weight[0].numel()), generator=generator)
    return model


def difference(spec: ModelSpec, *, images: int = 1, batch: int | None = 1) -> float:
    """The largest difference between module and graph over the largest output."""
    model = lively(spec)
    image = torch.randn(images, 3, *spec.size, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = model(image).numpy()
    graph = onnx_bytes(plan(spec), layer_arrays(model), batch=batch)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found = session.run(None, {INPUT: image.numpy()})[0]
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS.keys())
def test_the_graph_computes_what_the_module_computes(spec: ModelSpec) -> None:
    assert difference(spec) <= 1e-5


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS.keys())
def test_the_graph_obeys_the_standard_and_infers_the_planned_shape(spec: ModelSpec) -> None:
    onnx.checker.check_model(onnx.load_from_string(onnx_bytes(plan(spec))), full_check=True)


def test_an_open_batch_takes_any_number_of_images() -> None:
    spec = net(block(transform="squeeze_excite"), normalizer="group")
    assert difference(spec, images=3, batch=None) <= 1e-5


def test_a_gemm_classifies_as_the_convolution_does() -> None:
    image = np.random.default_rng(0).standard_normal((2, 3, 33, 33), dtype=np.float32)
    graphs = [onnx_bytes(plan(net()), batch=None, gemm=gemm) for gemm in (False, True)]
    sessions = [ort.InferenceSession(graph, providers=["CPUExecutionProvider"]) for graph in graphs]
    convolution, gemm = (session.run(None, {INPUT: image})[0] for session in sessions)
    assert gemm == pytest.approx(convolution, rel=1e-4, abs=1e-5)
    assert "Gemm" in {node.op_type for node in onnx.load_from_string(graphs[1]).graph.node}


def test_folding_leaves_no_batch_norm() -> None:
    graph = onnx.load_from_string(onnx_bytes(plan(net()))).graph
    assert {n.op_type for n in graph.node} == {"Conv", "Clip", "Add", "GlobalAveragePool", "Flatten"}


def test_the_same_network_gives_the_same_bytes() -> None:
    assert onnx_bytes(plan(net())) == onnx_bytes(plan(net()))


def test_missing_weights_are_named() -> None:
    weights = dict(layer_arrays(build(net())))
    del weights[1, 1]
    with pytest.raises(OptionError, match=r"blocks\[0\], layer 1 \(depthwise\)"):
        onnx_bytes(plan(net()), weights)


@pytest.mark.parametrize("repeats", [1, 12])
def test_arbitrary_weights_keep_the_output_at_unit_scale(repeats: int) -> None:
    spec = net(block(repeats=repeats, activation="silu"), resolution=64)
    session = ort.InferenceSession(onnx_bytes(plan(spec)), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).standard_normal((1, 3, 64, 64), dtype=np.float32)
    scale = float(np.abs(session.run(None, {INPUT: image})[0]).max())
    assert 0.05 < scale < 50
