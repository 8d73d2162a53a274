"""Peak memory by hand: what is alive while each layer runs."""

from __future__ import annotations

from typing import Any

import pytest

from mnv2search.cost import cost_of
from mnv2search.spec.model_spec import BlockSpec, ModelSpec, Stem

FP32 = 4
PLACES = 8 * 8


def peak_elements(**block: Any) -> int:
    """Of a stem of 8 channels at stride 1 and one row, on 8 px, without last convolution and head."""
    row = BlockSpec(**{"channels": 8, "expansion": 6, **block})
    spec = ModelSpec(
        name="m", resolution=8, stem=Stem(channels=8, stride=1), blocks=(row,), last_channels=None, head=None
    )
    return cost_of(spec).peak_activation_bytes // FP32


@pytest.mark.parametrize(
    ("block", "alive"),
    [
        pytest.param({"residual": "off"}, (48 + 48) * PLACES, id="a depthwise alone"),
        pytest.param({}, (48 + 48 + 8) * PLACES, id="with the input that is added later"),
        pytest.param(
            {"channels": 16, "residual": "pad"}, (48 + 48 + 8) * PLACES, id="with the input that is padded and added"
        ),
        pytest.param({"channels": 16}, (48 + 48) * PLACES, id="nothing is added where widths differ"),
        pytest.param(
            {"transform": "squeeze_excite", "depthwise_location": "none", "operator": "fused"},
            (48 + 8 + 8) * PLACES,
            id="the projection of a fused block with a gate",
        ),
        pytest.param(
            {"repeats": 2, "channels": 8, "expansion": 1}, (8 + 8 + 8) * PLACES, id="the projection of a narrow block"
        ),
    ],
)
def test_a_peak_is_input_output_and_the_live_residual(block: dict[str, Any], alive: int) -> None:
    assert peak_elements(**block) == alive


def test_a_precision_scales_the_bytes() -> None:
    spec = ModelSpec(name="m", resolution=32, blocks=(BlockSpec(channels=16),))
    by_precision = [
        cost_of(spec, precision=precision).peak_activation_bytes for precision in ("fp32", "fp16", "int8")
    ]
    assert by_precision == [4 * by_precision[2], 2 * by_precision[2], by_precision[2]]
