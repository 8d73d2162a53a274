"""Weights in safetensors files, and files that are none."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from model_specs import EXOTIC, lively
from torch import Tensor

from mnv2search.errors import WeightsError
from mnv2search.model.build import build
from mnv2search.model.weights.load import load_weights


def safetensors_file(tensors: dict[str, Tensor], path: Path) -> None:
    """Source: huggingface/safetensors, README, "Format"."""
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, tensor in tensors.items():
        data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        span = [len(body), len(body) + len(data)]
        header[name] = {"dtype": kinds[tensor.dtype], "shape": list(tensor.shape), "data_offsets": span}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def test_safetensors_load(tmp_path: Path) -> None:
    source = lively(EXOTIC["gated"])
    safetensors_file(source.state_dict(), tmp_path / "net.safetensors")
    model = build(source.plan, seed=9)
    assert load_weights(model, tmp_path / "net.safetensors").tensors == len(source.state_dict())
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in source.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loads_as_single(dtype: torch.dtype, tmp_path: Path) -> None:
    state = build(EXOTIC["plain"], seed=1).state_dict()
    half = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    safetensors_file(half, tmp_path / "half.safetensors")
    model = build(EXOTIC["plain"], seed=9)
    load_weights(model, tmp_path / "half.safetensors")
    weight = model.state_dict()["features.0.0.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, half["features.0.0.weight"].float())


def header(**entry: object) -> bytes:
    text = json.dumps(
        {"features.0.0.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **entry}}
    ).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<Q", 1 << 40) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{{",
        header(),
        header(shape=[2]) + bytes(4),
        header(data_offsets=[-4, 0]) + bytes(4),
        header(dtype="F99") + bytes(4),
        header(shape="x") + bytes(4),
    ],
    ids=["empty", "long header", "list", "no JSON", "no data", "size", "offset", "type", "shape"],
)
def test_broken_safetensors_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"bad\.safetensors cannot be read as weights"):
        load_weights(build(EXOTIC["plain"], seed=0), tmp_path / "bad.safetensors")
