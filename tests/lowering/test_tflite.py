"""The TFLite model written from the plan obeys the schema, and computes what the PyTorch module computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lowering_specs import EXOTIC, lively, mobilenet_v2, small, written

from mnv2search.errors import OptionError
from mnv2search.export.arrays import layer_arrays
from mnv2search.latency.runner.engine import image, quiet
from mnv2search.lowering.ranges import ranges_of
from mnv2search.lowering.tflite.emitter import SUPPRESSION
from mnv2search.lowering.tflite.model import KINDS, OPERATORS, tflite_bytes
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.plan import plan

MODES = {"fp32": 2e-6, "fp16": 2e-3, "int8": 0.05}


@pytest.fixture(scope="module")
def schema() -> Any:
    """The schema as LiteRT carries it."""
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def interpreter(content: bytes) -> Any:
    """The model in LiteRT, ready to run."""
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=content, num_threads=1)
    with quiet():
        made.allocate_tensors()
    return made


def parsed(schema: Any, content: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def kinds(schema: Any, model: Any) -> list[str]:
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    return [names[model.operatorCodes[op.opcodeIndex].builtinCode] for op in model.subgraphs[0].operators]


@pytest.mark.parametrize("precision", MODES)
@pytest.mark.parametrize("spec", EXOTIC.values(), ids=EXOTIC.keys())
def test_litert_computes_what_the_module_computes(spec: ModelSpec, precision: str) -> None:
    content, model = written(tflite_bytes, spec, precision)
    with torch.inference_mode():
        expected = model(torch.from_numpy(image(1, spec.resolution))).numpy()
    made = interpreter(content)
    made.set_tensor(made.get_input_details()[0]["index"], image(1, spec.resolution).transpose(0, 2, 3, 1).copy())
    made.invoke()
    found = made.get_tensor(made.get_output_details()[0]["index"])
    found = found.reshape(1, *found.shape[1:]) if found.ndim == 2 else found.transpose(0, 3, 1, 2)
    assert found.shape == expected.shape
    assert np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()) <= MODES[precision]


@pytest.mark.parametrize("precision", MODES)
def test_xnnpack_takes_the_whole_network(precision: str) -> None:
    content, _ = written(tflite_bytes, mobilenet_v2(resolution=96), precision)
    details = interpreter(content)._get_ops_details()
    assert [op["op_name"] for op in details].count("DELEGATE") == 1
    delegated = next(op for op in details if op["op_name"] == "DELEGATE")
    assert list(delegated["inputs"])[:1] == [0]
    assert list(delegated["outputs"]) == [interpreter(content).get_output_details()[0]["index"]]


def test_the_numbers_are_those_of_the_schema(schema: Any) -> None:
    codes = {name: getattr(schema.BuiltinOperator, "CUSTOM" if name == SUPPRESSION else name) for name in OPERATORS}
    assert codes == {name: kind.code for name, kind in OPERATORS.items()}
    names = {value: name for name, value in vars(schema.BuiltinOptions).items() if isinstance(value, int)}
    options = {name: names[kind.options] for name, kind in OPERATORS.items() if kind.slots}
    assert options == {
        "ADD": "AddOptions",
        "AVERAGE_POOL_2D": "Pool2DOptions",
        "CONCATENATION": "ConcatenationOptions",
        "CONV_2D": "Conv2DOptions",
        "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
        "FULLY_CONNECTED": "FullyConnectedOptions",
        "MUL": "MulOptions",
        "MEAN": "ReducerOptions",
        "SUB": "SubOptions",
        "RESIZE_BILINEAR": "ResizeBilinearOptions",
        "ARG_MAX": "ArgMaxOptions",
    }
    found = {str(kind): value for kind, value in KINDS.items()}
    assert found == {name: getattr(schema.TensorType, name.upper()) for name in found}


def test_options_arrive_where_the_schema_has_them(schema: Any) -> None:
    spec = small(BlockSpec(channels=24, stride=2, kernel=5, depthwise_multiplier=2), padding="symmetric")
    model = parsed(schema, tflite_bytes(plan(spec)))
    found = kinds(schema, model)
    operators = model.subgraphs[0].operators
    depthwise = operators[found.index("DEPTHWISE_CONV_2D")].builtinOptions
    assert (depthwise.strideW, depthwise.strideH, depthwise.depthMultiplier) == (2, 2, 2)
    assert depthwise.padding == schema.Padding.VALID
    assert depthwise.fusedActivationFunction == schema.ActivationFunctionType.RELU6
    assert (depthwise.dilationWFactor, depthwise.dilationHFactor) == (1, 1)
    assert operators[found.index("MEAN")].builtinOptions.keepDims is False


def test_the_operators_are_those_of_litert_torch(schema: Any) -> None:
    model = parsed(schema, tflite_bytes(plan(small(BlockSpec(channels=16)))))
    assert kinds(schema, model) == [
        "PAD",
        "CONV_2D",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
        "ADD",
        "CONV_2D",
        "MEAN",
        "FULLY_CONNECTED",
    ]


def test_padding_that_is_tensorflow_s_own_needs_no_operator(schema: Any) -> None:
    spec = small(BlockSpec(channels=24, stride=2), padding="same")
    assert "PAD" not in kinds(schema, parsed(schema, tflite_bytes(plan(spec))))


def test_a_signature_names_image_and_output(schema: Any) -> None:
    (signature,) = parsed(schema, tflite_bytes(plan(small(BlockSpec(channels=16))))).signatureDefs
    assert signature.signatureKey == b"serving_default"
    assert [(i.name, i.tensorIndex) for i in signature.inputs] == [(b"image", 0)]
    assert [o.name for o in signature.outputs] == [b"output"]


def test_weights_are_aligned_for_reading_in_place() -> None:
    model = lively(small(BlockSpec(channels=24)))
    weights = layer_arrays(model)
    content = tflite_bytes(model.plan, weights)
    classifier = weights[len(model.plan.units) - 1, 0].weight[0]
    first = content.find(classifier.tobytes())
    assert first > 0
    assert first % 16 == 0


def test_half_precision_lets_the_runtime_compute_in_it(schema: Any) -> None:
    model = parsed(schema, written(tflite_bytes, small(BlockSpec(channels=16)), "fp16")[0])
    (note,) = model.metadata
    assert note.name == b"reduced_precision_support"
    assert bytes(model.buffers[note.buffer].data) == b"fp16accfp32"


def test_integers_and_half_precision_exclude_each_other() -> None:
    laid_out = plan(small(BlockSpec(channels=16)))
    with pytest.raises(OptionError, match="half precision and integers exclude each other"):
        tflite_bytes(laid_out, ranges=ranges_of(laid_out), half=True)


def test_several_images_are_computed_at_once() -> None:
    spec = small(BlockSpec(channels=16))
    made = interpreter(tflite_bytes(plan(spec), batch=3))
    assert made.get_input_details()[0]["shape"].tolist() == [3, *spec.size, 3]
    assert made.get_output_details()[0]["shape"].tolist()[0] == 3
