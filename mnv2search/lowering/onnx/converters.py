"""ONNX graphs as others write them: PyTorch's exporter and ONNX Runtime's quantiser, to compare ours with."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from onnxruntime.quantization import CalibrationDataReader, QuantType, quant_pre_process, quantize_static

from mnv2search.lowering.onnx.model import INPUT, OPSET, OUTPUT
from mnv2search.lowering.ranges import RANDOM_IMAGES, random_images
from mnv2search.lowering.types import Floats
from mnv2search.spec.size import Size

if TYPE_CHECKING:
    from torch import nn


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Gives out the images, a batch at a time."""

    def __init__(self, images: Floats, batch: int) -> None:
        self._batches = iter(images.reshape(-1, batch, *images.shape[1:]))

    def get_next(self) -> dict[str, Floats] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def exported(module: nn.Module, *, size: Size, batch: int = 1) -> bytes:
    """The module in evaluation mode as `torch.onnx.export` traces it.

    The newer exporter behind `dynamo=True` wants one more package and ten times as long for the same graph.

    `module` maps (N, 3, H, W) to its output.
    """
    import torch

    target = io.BytesIO()
    image = torch.zeros(batch, 3, *size)
    with warnings.catch_warnings():
        # torch 2.9 and later say that this exporter is the old one.
        warnings.simplefilter("ignore", DeprecationWarning)
        # It traces, which torch 2.14 announces by a FutureWarning.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
        # Shapes are constants of our networks, and folding is the runtime's business.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", message="Constant folding", category=UserWarning)
        torch.onnx.export(
            module,
            (image,),
            target,  # type: ignore[arg-type]  # a file in memory is taken where dynamo is False
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=False,
        )
    return target.getvalue()


def quantised(graph: bytes, *, size: Size, batch: int = 1) -> bytes:
    """The graph in eight-bit integers by ONNX Runtime's static quantisation, with a scale for each channel.

    It is calibrated on random images, those of `ranges_of` and as many more as fill a batch.
    """
    images = -(-RANDOM_IMAGES // batch) * batch
    with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder:
        source, prepared, target = (Path(folder) / f"{name}.onnx" for name in ("source", "prepared", "target"))
        source.write_bytes(graph)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Reader(random_images(size, images), batch),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return target.read_bytes()
