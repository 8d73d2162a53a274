"""TFLite models as LiteRT's own converter writes them, to compare ours with."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import litert_torch
import torch
from ai_edge_quantizer import quantizer, recipe

from mnv2search.lowering.ranges import RANDOM_IMAGES, random_images
from mnv2search.spec.size import Size

if TYPE_CHECKING:
    from torch import nn


# What litert-torch calls the only way in.
SIGNATURE, ENTRY = "serving_default", "args_0"
SILENT = {"LITERT_TORCH_SHOW_PROGRESS": "n"}


def converted(module: nn.Module, *, size: Size, batch: int, is_map: bool, int8: bool) -> bytes:
    """The module in evaluation mode through litert-torch, with channels last outside.

    `module` maps (N, 3, H, W) to its output, which is (N, C, H, W) if `is_map`; `int8` quantises it by AI Edge
    Quantizer, on the images of `ranges_of`.
    """
    images = torch.from_numpy(random_images(size, -(-RANDOM_IMAGES // batch) * batch)).permute(0, 2, 3, 1)
    batches = torch.split(images.contiguous(), batch)
    was = {key: os.environ.get(key) for key in SILENT}
    os.environ.update(SILENT)
    try:
        with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # litert-torch 0.10 calls what torch 2.13 says is old
            last = litert_torch.to_channel_last_io(module, args=[0], outputs=[0] if is_map else None).eval()
            litert_torch.convert(last, batches[:1]).export(str(Path(folder, "model.tflite")))
            model = Path(folder, "model.tflite").read_bytes()
            return _quantised(model, batches) if int8 else model
    finally:
        for key, value in was.items():
            os.environ.pop(key)
            if value is not None:
                os.environ[key] = value


def _quantised(model: bytes, batches: tuple[torch.Tensor, ...]) -> bytes:
    """The model in integers, weights by channel, as AI Edge Quantizer does it unless told otherwise."""
    made = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    images = [{ENTRY: images.numpy()} for images in batches]
    ranges = made.calibrate({SIGNATURE: images}, num_threads=1)
    done = made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(done.quantized_model)
