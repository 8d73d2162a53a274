"""ExecuTorch programs that consist of one call to the XNNPACK delegate, written directly from the plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnv2search.lowering.emit import refuse_choice
from mnv2search.lowering.executorch.xnnpack import xnnpack_bytes
from mnv2search.lowering.flatbuffer import Flatbuffer
from mnv2search.lowering.tflite.emitter import lower
from mnv2search.lowering.tflite.operators import Graph

if TYPE_CHECKING:
    from mnv2search.lowering.quantize import Ranges
    from mnv2search.lowering.types import NetworkArrays
    from mnv2search.spec.plan import Plan


PROGRAM = "an ExecuTorch program on XNNPACK"
# Source of all numbers: pytorch/executorch, schema/program.fbs and schema/scalar_type.fbs.
IDENTIFIER = "ET12"
FLOAT = 6
IS_TENSOR, IS_DELEGATE_CALL = 5, 2
ALIGNMENT = 16
ROOM = 1 << 14
# PyTorch's tree specs of arguments and results: one tensor in, one tensor out.
# Source: torch.utils._pytree, `treespec_dumps`.
NO_KEYWORDS = '{"type": "builtins.dict", "context": "[]", "children_spec": []}'
LEAF = '{"type": null, "context": null, "children_spec": []}'
ONE = '{"type": "builtins.tuple", "context": "null", "children_spec": [' + LEAF + "]}"
ARGUMENTS = '[1, {"type": "builtins.tuple", "context": "null", "children_spec": [' + f"{ONE}, {NO_KEYWORDS}" + "]}]"
RESULT = f"[1, {LEAF}]"


def executorch_bytes(
    plan: Plan,
    weights: NetworkArrays | None = None,
    *,
    batch: int = 1,
    ranges: Ranges | None = None,
    half: bool = False,
) -> bytes:
    """The network as a program whose method `forward` maps (N, 3, H, W) to the output, in single precision.

    The arguments are those of `tflite_bytes`; `half` computes in half precision.

    Raises:
        OptionError: `weights` lack a layer of the plan, or the head selects boxes or classes, which XNNPACK cannot.
    """
    refuse_choice(plan.spec, PROGRAM)
    graph = Graph(explicit=True)
    output = lower(plan, weights, graph=graph, batch=batch, ranges=ranges)
    images, height, width, channels = graph.shape(0)
    result = graph.shape(output)
    if len(result) == 4:
        result = result[0], result[3], result[1], result[2]
    return _program(xnnpack_bytes(graph, output, half=half), (images, channels, height, width), result)


def _program(payload: bytes, image: Sequence[int], output: Sequence[int]) -> bytes:
    file = Flatbuffer(len(payload) + ROOM)
    data = file.table(1, {0: file.raw([np.frombuffer(payload, np.uint8)], ALIGNMENT)})
    second = _aligned(4 * int(np.prod(image)))
    memory = second + _aligned(4 * int(np.prod(output)))
    values = [_tensor(file, shape, place) for shape, place in ((image, 0), (output, second))]
    call = file.table(2, {1: file.numbers([0, 1])}, {0: ("Int32", 0)})
    instruction = file.table(2, {1: call}, {0: ("Uint8", IS_DELEGATE_CALL)})
    chain = file.table(4, {0: file.numbers([]), 1: file.numbers([]), 2: file.vector([instruction])})
    processed = file.table(2, {}, {0: ("Int8", 0), 1: ("Uint32", 0)})
    delegate = file.table(3, {0: file.text("XnnpackBackend"), 1: processed, 2: file.vector([])})
    method = file.table(
        10,
        {
            0: file.text("forward"),
            1: file.table(2, {0: file.text(ARGUMENTS), 1: file.text(RESULT)}),
            2: file.vector(values),
            3: file.numbers([0]),
            4: file.numbers([1]),
            5: file.vector([chain]),
            6: file.vector([]),
            7: file.vector([delegate]),
            # the first buffer is that of constants
            8: file.numbers([0, memory], np.int64),
        },
    )
    offsets = {
        1: file.vector([method]),
        2: file.vector([file.table(1, {})]),
        3: file.vector([data]),
        4: file.vector([]),
        # a single offset means that there are none
        5: file.table(2, {1: file.numbers([0], np.uint64)}, {0: ("Uint32", 0)}),
    }
    return file.finished(file.table(8, offsets, {0: ("Uint32", 0)}), IDENTIFIER)


def _tensor(file: Flatbuffer, shape: Sequence[int], place: int) -> int:
    """A value of the program at offset `place` (bytes) of its memory."""
    allocation = file.table(3, {}, {0: ("Uint32", 1), 1: ("Uint32", place), 2: ("Uint32", 0)})
    offsets = {2: file.numbers(tuple(shape)), 3: file.numbers(range(len(shape)), np.uint8), 6: allocation}
    tensor = file.table(10, offsets, {0: ("Int8", FLOAT), 5: ("Uint32", 0)})
    return file.table(2, {1: tensor}, {0: ("Uint8", IS_TENSOR)})


def _aligned(size: int) -> int:
    return size + -size % ALIGNMENT
