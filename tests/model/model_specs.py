"""Specs that the tests of networks share: the paper's, one for every setting, and a strategy over all settings."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from mnv2search.errors import SpecError
from mnv2search.model.build import MobileNet, build
from mnv2search.spec.model_spec import BatchNorm, BlockSpec, Classifier, ModelSpec, Stem

# Source: arXiv 1801.04381, Table 2.
PAPER_ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(**changes: Any) -> ModelSpec:
    """The paper's network, with changes."""
    rows = tuple(BlockSpec(expansion=t, channels=c, repeats=n, stride=s) for t, c, n, s in PAPER_ROWS)
    return ModelSpec(**({"name": "mobilenet_v2", "blocks": rows} | changes))


def small(*blocks: BlockSpec, **changes: Any) -> ModelSpec:
    """A network of few layers on 32 px, with changes."""
    settings: dict[str, Any] = {
        "name": "small",
        "resolution": 32,
        "stem": Stem(channels=16),
        "last_channels": 64,
        "head": Classifier(classes=10),
    }
    return ModelSpec(blocks=blocks, **(settings | changes))


ONE = BlockSpec(channels=24, stride=2)
EXOTIC: dict[str, ModelSpec] = {
    "plain": small(ONE, BlockSpec(channels=24)),
    "same-even": small(ONE, padding="same"),
    "same-odd": small(ONE, padding="same", resolution=33),
    "valid": small(BlockSpec(channels=24, padding="valid")),
    "kernel-5-same": small(BlockSpec(channels=24, stride=2, kernel=5), padding="same"),
    "dilated": small(BlockSpec(channels=24, dilation=2)),
    "output-stride": small(ONE, BlockSpec(channels=32, stride=2), BlockSpec(channels=32), output_stride=4),
    "split-even": small(BlockSpec(channels=32, split_expansion=2, split_projection=2)),
    "split-uneven": small(BlockSpec(channels=40, split_expansion=2, split_projection=3), stem=Stem(channels=24)),
    "split-uneven-group": small(
        BlockSpec(channels=40, split_expansion=2, split_projection=3), stem=Stem(channels=24), normalizer="group"
    ),
    "depthwise-input": small(BlockSpec(channels=24, stride=2, depthwise_location="input", depthwise_multiplier=2)),
    "depthwise-output": small(BlockSpec(channels=24, stride=2, depthwise_location="output", depthwise_multiplier=2)),
    "depthwise-none": small(BlockSpec(channels=16, depthwise_location="none")),
    "depthwise-multiplier": small(BlockSpec(channels=24, depthwise_multiplier=3)),
    "fused": small(BlockSpec(channels=24, stride=2, kernel=5, operator="fused"), BlockSpec(channels=24)),
    "fused-gated": small(BlockSpec(channels=16, operator="fused", transform="squeeze_excite")),
    "gated": small(BlockSpec(channels=16, transform="squeeze_excite"), BlockSpec(channels=16, expansion=1)),
    "gated-v3": small(BlockSpec(channels=16, transform="squeeze_excite_v3"), activation="hard_swish"),
    "gated-narrow": small(BlockSpec(channels=16, expansion=1, transform="squeeze_excite")),
    "residual-pad": small(
        BlockSpec(channels=24, stride=2, residual="pad"), BlockSpec(channels=32, residual="pad"), resolution=50
    ),
    "rectangle": small(ONE, BlockSpec(channels=24, normalizer="group"), resolution=(32, 48)),
    "rectangle-same": small(ONE, BlockSpec(channels=24, stride=2, kernel=5), padding="same", resolution=(32, 45)),
    "rectangle-pad": small(
        BlockSpec(channels=24, stride=2, residual="pad"), BlockSpec(channels=32, residual="pad"), resolution=(50, 37)
    ),
    "residual-off": small(BlockSpec(channels=16, residual="off")),
    "expand-to": small(BlockSpec(channels=24, expand_to=52, expand_divisor=4)),
    "activations": small(
        BlockSpec(channels=16, activation="silu", depthwise_activation="relu", projection_activation="hard_swish")
    ),
    "no-activation": small(BlockSpec(channels=16, activation="none")),
    "no-norm": small(ONE, BlockSpec(channels=24), normalizer="none"),
    "mixed-norms": small(BlockSpec(channels=24, normalizer="none"), BlockSpec(channels=24, normalizer="group")),
    "no-last": small(ONE, last_channels=None),
    "no-head": small(ONE, head=None),
    "constants": small(ONE, batch_norm=BatchNorm(eps=1e-3, momentum=0.003)),
}


@st.composite
def small_specs(draw: st.DrawFn) -> ModelSpec:
    """Any spec of few small layers; draws that break a rule are drawn again."""
    activation = st.sampled_from(["relu6", "relu", "hard_swish", "silu", "none"])
    row = st.fixed_dictionaries(
        {
            "channels": st.sampled_from([8, 16, 24, 40]),
            "expansion": st.sampled_from([1, 1.5, 3, 6]),
            "repeats": st.integers(1, 2),
            "stride": st.sampled_from([1, 2]),
            "kernel": st.sampled_from([1, 3, 5]),
            "dilation": st.sampled_from([1, 1, 2]),
            "operator": st.sampled_from(["inverted_residual", "inverted_residual", "fused"]),
            "residual": st.sampled_from(["auto", "off", "pad"]),
            "split_expansion": st.sampled_from([1, 1, 2, 3]),
            "split_projection": st.sampled_from([1, 1, 2, 3]),
            "transform": st.sampled_from(["none", "none", "squeeze_excite", "squeeze_excite_v3"]),
            "depthwise_location": st.sampled_from(["expansion", "expansion", "input", "output", "none"]),
            "depthwise_multiplier": st.sampled_from([1, 1, 2]),
            "activation": st.none() | activation,
            "depthwise_activation": st.none() | activation,
            "projection_activation": activation,
            "normalizer": st.sampled_from([None, "batch", "group", "none"]),
            "padding": st.sampled_from([None, "symmetric", "same", "valid"]),
        }
    )
    blocks = [_valid_block(values) for values in draw(st.lists(row, min_size=1, max_size=3))]
    changes = {
        "width": draw(st.sampled_from([0.5, 1.0, 1.4])),
        "resolution": draw(st.integers(28, 41) | st.sampled_from([(28, 41), (40, 29), (32, 36)])),
        "stem": Stem(channels=draw(st.sampled_from([8, 16, 24])), stride=draw(st.sampled_from([1, 2]))),
        "last_channels": draw(st.sampled_from([None, 32])),
        "padding": draw(st.sampled_from(["symmetric", "same", "valid"])),
        "normalizer": draw(st.sampled_from(["batch", "group", "none"])),
        "activation": draw(activation),
        "head": draw(st.sampled_from([None, Classifier(classes=7)])),
        "output_stride": draw(st.sampled_from([None, None, 2, 4])),
    }
    try:
        return small(*blocks, **changes)
    except SpecError:
        plain = [
            BlockSpec(channels=b.channels, expansion=b.expansion, stride=b.stride, kernel=b.kernel) for b in blocks
        ]
        return small(*plain, **(changes | {"padding": "same", "output_stride": None}))


def _valid_block(values: dict[str, Any]) -> BlockSpec:
    """A row of `values`, without those settings that contradict its operator and location."""
    if values["operator"] == "fused":
        values |= {"expansion": 3, "split_expansion": 1, "split_projection": 1, "depthwise_multiplier": 1}
        values["depthwise_location"] = "none"
    elif values["depthwise_location"] == "none":
        values |= {"stride": 1, "dilation": 1, "depthwise_multiplier": 1, "transform": "none"}
    elif values["depthwise_location"] != "expansion":
        values["transform"] = "none"
    if values["stride"] == 2:
        values["dilation"] = 1
    return BlockSpec(**values)


def images(spec: ModelSpec, *, count: int = 1, seed: int = 0) -> Tensor:
    """Random images that fit the spec."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *spec.size, generator=generator)


def all_endpoints(model: MobileNet, x: Tensor) -> dict[str, Tensor]:
    """Every tensor that can be requested, requested at once and returned in the order of computation."""
    names = model.plan.endpoints()
    found = model.endpoints(x, names)
    assert tuple(found) == names
    return found


def seen_shapes(model: MobileNet) -> dict[tuple[int, int], tuple[int, ...]]:
    """Shapes that the layers give out, by address; hooks enter them when the network runs."""
    seen: dict[tuple[int, int], tuple[int, ...]] = {}
    for address, bound in model.bound():
        bound.conv.register_forward_hook(
            lambda module, inputs, output, address=address: seen.update({address: tuple(output.shape)})
        )
    return seen


def lively(spec: ModelSpec, *, seed: int = 0) -> MobileNet:
    """A network in evaluation mode whose norms and biases are far from their initial values."""
    model = build(spec, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed + 1)

    def fill(tensor: Tensor, low: float, high: float) -> None:
        tensor.uniform_(low, high, generator=generator)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                fill(module.weight, 0.5, 1.5)
                fill(module.bias, -0.5, 0.5)
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                fill(module.running_mean, -0.5, 0.5)
                fill(module.running_var, 0.5, 2.0)
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = (3 / module.weight[0].numel()) ** 0.5
                fill(module.weight, -bound, bound)
                if module.bias is not None:
                    fill(module.bias, -0.5, 0.5)
    return model
