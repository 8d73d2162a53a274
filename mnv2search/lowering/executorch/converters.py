"""ExecuTorch programs as its own exporter writes them, to compare ours with."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from mnv2search.lowering.ranges import RANDOM_IMAGES, random_images
from mnv2search.spec.size import Size

if TYPE_CHECKING:
    from torch import nn


def converted(module: nn.Module, *, size: Size, batch: int, int8: bool) -> bytes:
    """The module in evaluation mode through torch.export and the partitioner of XNNPACK.

    `module` maps (N, 3, H, W) to its output; `int8` quantises it by XNNPACK's quantiser, weights by channel, on
    the images of `ranges_of`.

    Raises:
        ImportError: ExecuTorch is not installed.
    """
    images = torch.from_numpy(random_images(size, -(-RANDOM_IMAGES // batch) * batch))
    batches = torch.split(images, batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExecuTorch 1.5 calls what torch 2.13 says is old, at import too
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
        from executorch.exir import to_edge_transform_and_lower
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        exported = torch.export.export(module, batches[:1])
        if int8:
            by_channel = xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True)
            quantizer = xnnpack_quantizer.XNNPACKQuantizer().set_global(by_channel)
            prepared = prepare_pt2e(exported.module(), quantizer)
            for images in batches:
                prepared(images)
            exported = torch.export.export(convert_pt2e(prepared), batches[:1])
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        return bytes(lowered.to_executorch().buffer)
