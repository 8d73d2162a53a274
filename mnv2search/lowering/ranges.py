"""Ranges of a network's tensors on images, for quantisation to eight bits."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from mnv2search.errors import OptionError
from mnv2search.lowering.onnx.model import INPUT, onnx_model
from mnv2search.lowering.quantize import Ranges
from mnv2search.lowering.types import Floats, NetworkArrays
from mnv2search.spec.plan import Plan
from mnv2search.spec.size import Size

# Number of standard normal images if no images are given.
RANDOM_IMAGES = 2
ERRORS_ONLY = 3


def ranges_of(plan: Plan, weights: NetworkArrays | None = None, *, images: Floats | None = None) -> Ranges:
    """The smallest and the largest value of each tensor (including 0), computed in fp32 by ONNX Runtime.

    The keys are (index of the unit, tensor), where the tensor is

    - the index of a layer: its output after its activation;
    - ``"2.linear"``: the input of the activation of layer 2, unless the activation is a ReLU;
    - ``"2.sigmoid"``: the sigmoid within the SiLU of layer 2;
    - ``"2.convolution"``: the input of the group norm of layer 2;
    - ``"squeezed"``: the pooled input of a gate or of the classifier;
    - ``"gated"``: the product with a gate;
    - ``"shortcut"``: the pooled or padded input of the unit that is added;
    - ``"sum"``: the sum with this input;

    and (-1, "image") for the input.

    Images of another shape than (N, 3, H, W) raise an OptionError; None takes `RANDOM_IMAGES` fixed random images.
    """
    size = plan.spec.size
    if images is None:
        images = random_images(size)
    if images.shape[1:] != (3, *size) or not len(images):
        hint = f"use (N, 3, {size.height}, {size.width})"
        raise OptionError(f"images to calibrate with have shape {images.shape}", hint=hint)
    graph = onnx_model(plan, weights, show=True)
    session = ort.InferenceSession(graph.serialised(), _options(), providers=["CPUExecutionProvider"])
    names = list(dict.fromkeys(name for name in graph.kept.values() if name != INPUT))
    found = {INPUT: (float(images.min()), float(images.max()))} | dict.fromkeys(names, (0.0, 0.0))
    for image in images:
        for name, tensor in zip(names, session.run(names, {INPUT: image[None]}), strict=True):
            low, high = found[name]
            found[name] = min(low, float(tensor.min())), max(high, float(tensor.max()))
    return {key: (min(found[name][0], 0.0), max(found[name][1], 0.0)) for key, name in graph.kept.items()}


def random_images(size: Size, count: int = RANDOM_IMAGES) -> Floats:
    """Fixed images of standard normal numbers, (N, 3, H, W)."""
    return np.random.default_rng(0).standard_normal((count, 3, *size), dtype=np.float32)


def random_batches(size: Size, batch: int) -> Floats:
    """The random images, with more images to fill the last batch: (batches, N, 3, H, W)."""
    count = -(-RANDOM_IMAGES // batch)
    return random_images(size, count * batch).reshape(count, batch, 3, *size)


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    # The layout optimisations of the last level take longer than they save on a few images.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = ERRORS_ONLY
    return options
