"""Published weights and labelled photographs, found where packages and the shared data hold them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mnv2search.model.build import MobileNet
from mnv2search.model.fold import fold
from mnv2search.spec.model_spec import square_side


def shared(name: str) -> Path:
    """A file of the shared data; skips where it is absent."""
    root = os.environ.get("MNV2SEARCH_SHARED")
    data = Path(root) if root else Path(__file__).parents[3] / "shared"
    for path in (data / name, data / "data" / name):
        if path.exists():
            return path
    pytest.skip(f"the shared data have no {name}; set MNV2SEARCH_SHARED to the folder that has")


def package_folder(package: str) -> Path:
    """Where a package lies, without importing it; skips where it is not installed."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"the package {package} is not installed")
    return Path(found.origin).parent


def labelled_photographs() -> list[tuple[Path, int]]:
    """Twenty photographs of ImageNet's validation set with their class, from the package foolbox."""
    found = sorted((package_folder("foolbox") / "data").glob("imagenet_*_*.jpg"))
    return [(path, int(path.stem.rpartition("_")[2])) for path in found]


def as_input(path: Path, side_px: int) -> Tensor:
    """The centre of a photograph at `side_px`, scaled to -1..1, as both networks were trained to see it."""
    image = Image.open(path).convert("RGB")
    scale = round(side_px / 0.875) / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - side_px) // 2, (image.height - side_px) // 2
    pixels = np.asarray(image.crop((left, top, left + side_px, top + side_px)), np.float32)
    return torch.from_numpy((pixels - 127.5) / 127.5).permute(2, 0, 1)[None]


def right_answers(model: MobileNet, *, first_class: int = 0) -> tuple[int, int, int]:
    """How many photographs are named right, how many have their class among the best five, and how many there are."""
    photographs = labelled_photographs()
    batch = torch.cat([as_input(path, square_side(model.spec)) for path, _ in photographs])
    labels = torch.tensor([label + first_class for _, label in photographs])
    with torch.no_grad():
        hits = fold(model)(batch).topk(5).indices == labels[:, None]
    return int(hits[:, 0].sum()), int(hits.any(dim=1).sum()), len(photographs)


def dequantised(path: Path) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """(weight, bias) of every convolution of a quantised TensorFlow Lite network, in the order of computation."""
    tflite = pytest.importorskip("tflite", reason="the package tflite, which reads the network, is not installed")
    model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    graph = model.Subgraphs(0)

    def read(index: int) -> NDArray[np.float32]:
        tensor = graph.Tensors(index)
        kind = np.int32 if tensor.Type() == tflite.TensorType.INT32 else np.uint8
        stored = np.frombuffer(model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes(), kind)
        quantised = stored.reshape(tensor.ShapeAsNumpy()).astype(np.float64)
        scale = tensor.Quantization()
        return np.asarray((quantised - scale.ZeroPoint(0)) * scale.Scale(0), np.float32)

    layers = []
    for place in range(graph.OperatorsLength()):
        operator = graph.Operators(place)
        code = model.OperatorCodes(operator.OpcodeIndex()).DeprecatedBuiltinCode()
        if code in (tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D):
            weight = read(operator.Inputs(1))
            depthwise = code == tflite.BuiltinOperator.DEPTHWISE_CONV_2D
            weight = weight.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
            layers.append((weight, read(operator.Inputs(2))))
    return layers
