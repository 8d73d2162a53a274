"""The ExecuTorch program written from the plan is one that it reads, and computes what the module computes."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lowering_specs import EXOTIC, small, written

from mnv2search.latency.runner import engine
from mnv2search.latency.runner.engine import image
from mnv2search.lowering.executorch.program import executorch_bytes
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.plan import plan

MODES = {"fp32": 2e-6, "fp16": 2e-3, "int8": 0.05}
# Before the graph in the payload, and what it begins with.
HEADER, MAGIC = 32, b"XH00"


@pytest.fixture
def _executorch() -> None:
    if find_spec("executorch") is None:
        pytest.skip("ExecuTorch is not installed")


def answer(content: bytes, folder: Path, spec: ModelSpec, batch: int = 1) -> Any:
    """What the program answers to the fixed image; in half precision too, which the engine would refuse here."""
    (folder / "model.pte").write_bytes(content)
    settings: engine.Settings = {"threads": 1, "batch": batch, "size": list(spec.size), "precision": "fp32"}
    return engine.load("mnv2search.latency.runner.engines.executorch", str(folder), settings).output()


def graph(content: bytes, folder: Path) -> Any:
    """The delegate's graph as JSON, by ExecuTorch's own schema."""
    import executorch
    from executorch.exir._serialize._flatbuffer import _flatc_decompile

    payload = content[content.index(MAGIC) - 4 :]
    size = int.from_bytes(payload[14:18], "little")
    (folder / "schema.bin").write_bytes(payload[HEADER : HEADER + size])
    root = Path(next(iter(executorch.__path__)))
    (folder / "schema.fbs").write_bytes((root / "backends/xnnpack/serialization/schema.fbs").read_bytes())
    try:
        _flatc_decompile(str(folder), str(folder / "schema.fbs"), str(folder / "schema.bin"), [])
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"the compiler of schemas does not run here: {error}")
    return json.loads((folder / "schema.json").read_text())


@pytest.mark.usefixtures("_executorch")
@pytest.mark.parametrize("precision", MODES)
@pytest.mark.parametrize("spec", EXOTIC.values(), ids=EXOTIC.keys())
def test_executorch_computes_what_the_module_computes(spec: ModelSpec, precision: str, tmp_path: Path) -> None:
    content, model = written(executorch_bytes, spec, precision)
    with torch.inference_mode():
        expected = model(torch.from_numpy(image(1, spec.resolution))).numpy()
    found = answer(content, tmp_path, spec)
    assert found.shape == expected.shape
    assert np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()) <= MODES[precision]


@pytest.mark.usefixtures("_executorch")
def test_the_nodes_are_those_of_the_exporter(tmp_path: Path) -> None:
    nodes = graph(executorch_bytes(plan(small(BlockSpec(channels=16)))), tmp_path)["xnodes"]
    assert [node["xnode_union_type"] for node in nodes] == [
        "XNNStaticTranspose",
        "XNNConv2d",
        "XNNConv2d",
        "XNNDepthwiseConv2d",
        "XNNConv2d",
        "XNNAdd",
        "XNNConv2d",
        "XNNGlobalAvgPooling2d",
        "XNNFullyConnected",
    ]


@pytest.mark.usefixtures("_executorch")
def test_convolutions_pad_by_themselves(tmp_path: Path) -> None:
    spec = small(BlockSpec(channels=24, stride=2, kernel=5, depthwise_multiplier=2), padding="same")
    nodes = graph(executorch_bytes(plan(spec)), tmp_path)["xnodes"]
    (depthwise,) = (n["xnode_union"] for n in nodes if n["xnode_union_type"] == "XNNDepthwiseConv2d")
    layer = plan(spec).units[1].layers[1]
    pads = [depthwise[f"padding_{edge}"] for edge in ("top", "right", "bottom", "left")]
    assert pads == [layer.pad.top, layer.pad.right, layer.pad.bottom, layer.pad.left]
    assert [depthwise[k] for k in ("kernel_height", "subsampling_width", "group_output_channels")] == [5, 2, 2]
    assert depthwise["groups"] == layer.c_in


@pytest.mark.usefixtures("_executorch")
def test_many_parts_are_joined_five_at_a_time(tmp_path: Path) -> None:
    spec = small(BlockSpec(channels=96, split_projection=7))
    nodes = graph(executorch_bytes(plan(spec)), tmp_path)["xnodes"]
    joins = [n["xnode_union_type"] for n in nodes if n["xnode_union_type"].startswith("XNNConcatenate")]
    assert joins == ["XNNConcatenate5", "XNNConcatenate3"]
    content, model = written(executorch_bytes, spec, "fp32")
    with torch.inference_mode():
        expected = model(torch.from_numpy(image(1, spec.resolution))).numpy()
    assert np.abs(answer(content, tmp_path, spec) - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.usefixtures("_executorch")
def test_several_images_are_computed_at_once(tmp_path: Path) -> None:
    spec = small(BlockSpec(channels=16))
    assert answer(executorch_bytes(plan(spec), batch=3), tmp_path, spec, batch=3).shape[0] == 3
