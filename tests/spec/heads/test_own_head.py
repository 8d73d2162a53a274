"""A head of another package: written in a file, laid out, counted, built and lowered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import onnxruntime as ort
import pytest
import torch

from mnv2search import plugins
from mnv2search.cost import cost_of
from mnv2search.errors import SpecError
from mnv2search.lowering.onnx.model import onnx_bytes
from mnv2search.model.build import build
from mnv2search.spec.heads import registry
from mnv2search.spec.heads.base import Backbone, Head
from mnv2search.spec.heads.outputs import answer_shape
from mnv2search.spec.layers import Unit
from mnv2search.spec.layout import classifier_unit
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.rules import Range
from mnv2search.spec.space import SearchSpace, resolve
from mnv2search.spec.yaml.codec import dumps, load_spec, loads

TEXT = "{mnv2search: 1, name: age, resolution: 32, blocks: [{t: 6, c: 24, s: 2}], head: {kind: numbers, outputs: 2}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers(Head):
    """Numbers of an image, such as an age.

    Attributes:
        outputs: numbers that are estimated.
    """

    word: ClassVar[str] = "numbers"

    outputs: Annotated[int, Range(1, 100)] = 1

    def units(self, backbone: Backbone) -> Iterator[tuple[str, Unit]]:
        last = backbone.last
        yield "head", classifier_unit(last.channels, self.outputs, last.size)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_HEADS", dict(registry._HEADS))
    registry.register_head(Numbers)


def network(text: str = TEXT) -> ModelSpec:
    spec = loads(text)
    assert isinstance(spec, ModelSpec)
    return spec


def test_a_file_gives_the_head_and_the_head_a_file() -> None:
    spec = network()
    assert spec.head == Numbers(outputs=2)
    assert loads(dumps(spec)) == spec


def test_a_word_alone_is_the_head_at_its_defaults() -> None:
    assert network(TEXT.replace("{kind: numbers, outputs: 2}", "numbers")).head == Numbers()


def test_its_rules_hold_in_files() -> None:
    with pytest.raises(SpecError, match=r"head\.outputs is 101") as caught:
        loads(TEXT.replace("outputs: 2", "outputs: 101"))
    assert caught.value.diagnostics[0].column == TEXT.index("outputs: 2") + len("outputs: ") + 1


def test_its_fields_can_be_chosen_among() -> None:
    space = loads(TEXT.replace("outputs: 2", "outputs: [2, 3]"))
    assert isinstance(space, SearchSpace)
    assert resolve(space, (1,)).head == Numbers(outputs=3)


def test_it_is_laid_out_counted_built_and_lowered() -> None:
    spec = network()
    model = build(spec, seed=0).eval()
    assert answer_shape(plan(spec)) == (2,)
    assert cost_of(spec).params == sum(p.numel() for p in model.parameters())
    assert model(torch.zeros(3, 3, 32, 32)).shape == (3, 2)
    session = ort.InferenceSession(onnx_bytes(plan(spec)), providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": torch.zeros(1, 3, 32, 32).numpy()})[0].shape == (1, 2)


def test_a_word_that_is_taken_is_refused() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Other(Head):
        word: ClassVar[str] = "numbers"

    with pytest.raises(ValueError, match="'numbers', which is empty or taken"):
        registry.register_head(Other)


def test_entry_points_are_looked_at_where_nothing_else_has_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_HEADS", {})
    monkeypatch.setattr(plugins, "load", lambda kind, name: {("head", "numbers"): Numbers}[kind, name])
    assert registry.head_of("numbers") is Numbers


def test_the_heads_that_ship_are_known_without_it() -> None:
    assert [kind.word for kind in registry.SHIPPED] == ["classifier", "ssdlite", "deeplab"]
    assert load_spec("ssdlite_mobilenet_v2").head is not None
