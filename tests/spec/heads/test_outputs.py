"""What networks answer, and in which other forms they can be asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "model"))

from dense_specs import detector, segmenter
from model_specs import mobilenet_v2

from mnv2search.cli.options import HEAD_OUTPUTS
from mnv2search.errors import OptionError
from mnv2search.spec.heads.outputs import OUTPUTS, answer_shape, answer_text, output_of, with_output
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan


@pytest.mark.parametrize(
    ("spec", "output", "shape"),
    [
        (detector(), "raw", (726, 8)),
        (detector(), "boxes", (726, 7)),
        (detector(), "detections", (100, 6)),
        (segmenter(), "logits", (4, 7, 7)),
        (segmenter(), "resized", (4, 49, 49)),
        (segmenter(), "classes", (49, 49)),
    ],
)
def test_every_output_has_its_shape_and_its_words(spec: ModelSpec, output: str, shape: tuple[int, ...]) -> None:
    other = with_output(spec, output)
    assert output_of(other) == output
    assert answer_shape(plan(other)) == shape
    assert answer_text(plan(other)).startswith(f"output {output}, {' x '.join(map(str, shape))} for an image: ")


@pytest.mark.parametrize(
    ("spec", "output", "message"),
    [
        (detector(), "classes", "'classes', but detector detects"),
        (segmenter(), "boxes", "'boxes', but segmenter segments"),
        (mobilenet_v2(), "boxes", "neither detects nor segments"),
    ],
    ids=["detector", "segmenter", "classifier"],
)
def test_a_head_without_that_output_says_so(spec: ModelSpec, output: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        with_output(spec, output)


def test_a_classifier_has_no_output_to_speak_of() -> None:
    assert output_of(mobilenet_v2()) is None
    assert answer_text(plan(mobilenet_v2())) == ""


def test_the_command_line_knows_every_output() -> None:
    assert HEAD_OUTPUTS == OUTPUTS
