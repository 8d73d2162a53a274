"""Every rule that a value obeys: constructing one that breaks it fails with an address and a fix."""

from collections.abc import Callable
from typing import Any

import pytest

from mnv2search.errors import SpecError
from mnv2search.spec.model_spec import (
    BatchNorm,
    BlockSpec,
    Classifier,
    DeepLab,
    ExtraLayer,
    ModelSpec,
    SsdLite,
    Stem,
)
from mnv2search.spec.rows import MAX_UNITS
from mnv2search.spec.rules import Rule, field_problem, rules_of

ROW = BlockSpec(channels=24, stride=2)


def block(**values: Any) -> BlockSpec:
    return BlockSpec(**{"channels": 24, **values})


def model(**values: Any) -> ModelSpec:
    return ModelSpec(**{"name": "m", "blocks": (ROW,), **values})


def detector(**values: Any) -> SsdLite:
    return SsdLite(**values)


def segmenter(**values: Any) -> DeepLab:
    return DeepLab(**values)


def broken(make: Callable[[], object]) -> list[tuple[str, str]]:
    with pytest.raises(SpecError) as caught:
        make()
    assert all(d.hint for d in caught.value.diagnostics)
    return [(d.at, d.message) for d in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("values", "at", "message"),
    [
        pytest.param({"channels": 0}, "channels", "channels is 0", id="no channels"),
        pytest.param({"channels": 24.0}, "channels", "channels is 24.0", id="float channels"),
        pytest.param({"channels": True}, "channels", "channels is True", id="boolean channels"),
        pytest.param({"repeats": 0}, "repeats", "repeats is 0", id="n 0"),
        pytest.param({"stride": 3}, "stride", "stride is 3", id="stride 3"),
        pytest.param({"stride": "2"}, "stride", "stride is '2'", id="text stride"),
        pytest.param({"kernel": 4}, "kernel", "kernel is 4", id="even kernel"),
        pytest.param({"kernel": 33}, "kernel", "kernel is 33", id="huge kernel"),
        pytest.param({"expansion": 0.9}, "expansion", "expansion is 0.9", id="t below 1"),
        pytest.param({"expansion": float("nan")}, "expansion", "expansion is nan", id="NaN"),
        pytest.param({"expansion": 10**400}, "expansion", f"expansion is 1{'0' * 39}…", id="number beyond floats"),
        pytest.param({"residual": "on"}, "residual", "residual is 'on'", id="unknown word"),
        pytest.param({"residual": False}, "residual", "residual is False", id="boolean for a word"),
        pytest.param(
            {"stride": 2, "dilation": 2}, "dilation", "dilation is 2 in a row of stride 2", id="stride and dilation"
        ),
        pytest.param(
            {"depthwise_location": "none", "stride": 2},
            "stride",
            "stride is 2 where depthwise_location is none",
            id="no depthwise to stride",
        ),
        pytest.param(
            {"depthwise_location": "none", "dilation": 2},
            "dilation",
            "dilation is 2 where depthwise_location is none",
            id="no depthwise to dilate",
        ),
        pytest.param(
            {"depthwise_location": "none", "depthwise_multiplier": 2},
            "depthwise_multiplier",
            "depthwise_multiplier is 2 where depthwise_location is none",
            id="no depthwise to multiply",
        ),
        pytest.param(
            {"depthwise_location": "input", "transform": "squeeze_excite"},
            "transform",
            "transform is squeeze_excite where depthwise_location is input",
            id="transform without hidden depthwise",
        ),
        pytest.param(
            {"operator": "fused", "expansion": 1},
            "operator",
            "operator is fused in a row of expansion 1",
            id="fused t 1",
        ),
        pytest.param(
            {"operator": "fused", "depthwise_location": "output"},
            "depthwise_location",
            "depthwise_location is output in a fused row",
            id="fused with depthwise",
        ),
        pytest.param(
            {"operator": "fused", "split_expansion": 2},
            "split_expansion",
            "split_expansion is 2 in a fused row",
            id="fused split",
        ),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused(values: dict[str, Any], at: str, message: str) -> None:
    assert broken(lambda: block(**values)) == [(at, message)]


@pytest.mark.parametrize(
    ("values", "at", "message"),
    [
        pytest.param({"name": ""}, "name", "name is ''", id="empty name"),
        pytest.param({"name": "a\nb"}, "name", "name is 'a\\nb'", id="unprintable name"),
        pytest.param({"blocks": ()}, "blocks", "blocks is empty", id="no rows"),
        pytest.param({"width": 0}, "width", "width is 0", id="width 0"),
        pytest.param({"width": -1.0}, "width", "width is -1.0", id="negative width"),
        pytest.param({"width": float("inf")}, "width", "width is inf", id="infinite width"),
        pytest.param({"resolution": 5000}, "resolution", "resolution is 5000", id="too many pixels"),
        pytest.param({"resolution": (32, 5000)}, "resolution.width", "width is 5000", id="too wide"),
        pytest.param({"resolution": (32, 32)}, "resolution", "resolution is (32, 32)", id="square of two numbers"),
        pytest.param({"resolution": (32, 32, 3)}, "resolution", "resolution is (32, 32, 3)", id="three sides"),
        pytest.param({"resolution": (32, True)}, "resolution.width", "width is True", id="width of a boolean"),
        pytest.param({"keep_stem": 1}, "keep_stem", "keep_stem is 1", id="number for a boolean"),
        pytest.param({"output_stride": 6}, "output_stride", "output_stride is 6", id="output stride 6"),
        pytest.param({"output_stride": 12}, "output_stride", "output_stride is 12", id="output stride 12"),
        pytest.param(
            {"output_stride": 8},
            "output_stride",
            "output_stride is 8, but the strides multiply to 4 only",
            id="output stride never reached",
        ),
        pytest.param(
            {"output_stride": 2, "blocks": (block(stride=2), block(dilation=3))},
            "blocks[1].dilation",
            "dilation is 3 in a row that output_stride dilates by 2",
            id="dilated twice",
        ),
        pytest.param(
            {"blocks": (block(repeats=300), block(repeats=300))},
            "blocks",
            "the rows make 602 layers",
            id="too many layers",
        ),
        pytest.param(
            {"blocks": (block(channels=65_536),), "width": 2.0},
            "blocks[0]",
            "its projection has 131072 channels",
            id="too many channels",
        ),
        pytest.param(
            {"blocks": (block(split_expansion=2),), "channel_divisor": 1, "width": 0.9},
            "blocks[0].split_expansion",
            "29 channels cannot be split into multiples of 8",
            id="uneven split",
        ),
        pytest.param(
            {"normalizer": "group", "channel_divisor": 4, "width": 0.4},
            "stem",
            "its stem has 12 channels under group norm",
            id="group norm",
        ),
    ],
)
def test_a_network_that_breaks_a_rule_is_refused(values: dict[str, Any], at: str, message: str) -> None:
    assert broken(lambda: model(**values)) == [(at, message)]


@pytest.mark.parametrize(
    ("make", "at"),
    [
        pytest.param(lambda: Stem(stride=4), "stride", id="stem stride"),
        pytest.param(lambda: Stem(kernel=2), "kernel", id="stem kernel"),
        pytest.param(lambda: Classifier(classes=0), "classes", id="no classes"),
        pytest.param(lambda: Classifier(dropout=1.0), "dropout", id="dropout 1"),
        pytest.param(lambda: BatchNorm(eps=0.0), "eps", id="eps 0"),
        pytest.param(lambda: BatchNorm(momentum=2.0), "momentum", id="momentum 2"),
    ],
)
def test_a_part_that_breaks_a_rule_is_refused(make: Callable[[], object], at: str) -> None:
    assert [a for a, _ in broken(make)] == [at]


def test_all_broken_fields_are_reported_at_once() -> None:
    found = broken(lambda: block(channels=0, stride=5, kernel=2, expansion=0))
    assert {at for at, _ in found} == {"channels", "stride", "kernel", "expansion"}


KINDS = (ModelSpec, BlockSpec, Stem, BatchNorm, Classifier, SsdLite, ExtraLayer, DeepLab)
RULES = [(kind, name, rule) for kind in KINDS for name, rule in rules_of(kind).items()]
IDS = [f"{kind.__name__}.{name}" for kind, name, _ in RULES]
NUMBERS = [
    pytest.param(kind, name, *rule.range[:2], id=f"{kind.__name__}.{name}")
    for kind, name, rule in RULES
    if rule.is_number and rule.options is None
]


@pytest.mark.parametrize(("kind", "name", "low", "high"), NUMBERS)
def test_every_number_has_both_ends(kind: type, name: str, low: float, high: float) -> None:
    outside = [field_problem(kind, name, value) for value in (low - 1, high + 1)]
    inside = field_problem(kind, name, high)
    assert [problem is None for problem in (*outside, inside)] == [False, False, True]


WORDS = [pytest.param(*one, id=name) for one, name in zip(RULES, IDS, strict=True) if one[2].words]


@pytest.mark.parametrize(("kind", "name", "rule"), WORDS)
def test_every_word_is_taken_and_others_offered(kind: type, name: str, rule: Rule) -> None:
    assert {field_problem(kind, name, word) for word in rule.words} == {None}
    assert field_problem(kind, name, "nothing like it") is not None


@pytest.mark.parametrize(("kind", "name", "rule"), RULES, ids=IDS)
def test_none_is_taken_only_where_it_means_something(kind: type, name: str, rule: Rule) -> None:
    assert (field_problem(kind, name, None) is None) == rule.is_optional


def test_the_fields_that_take_none() -> None:
    assert [name for (_, _, rule), name in zip(RULES, IDS, strict=True) if rule.is_optional] == [
        "ModelSpec.last_channels",
        "ModelSpec.head",
        "ModelSpec.min_channels",
        "ModelSpec.output_stride",
        "BlockSpec.expand_to",
        "BlockSpec.activation",
        "BlockSpec.depthwise_activation",
        "BlockSpec.normalizer",
        "BlockSpec.padding",
        "DeepLab.decoder_stride",
    ]


def rows(*bare: tuple[int, int, int, int]) -> tuple[BlockSpec, ...]:
    return tuple(BlockSpec(expansion=t, channels=c, repeats=n, stride=s) for t, c, n, s in bare)


@pytest.mark.parametrize(
    ("values", "at", "message"),
    [
        pytest.param(
            {"blocks": rows((1, 60_000, 1, 1), (64, 8, 1, 1))},
            "blocks[1]",
            "its expansion has 3840000 channels",
            id="a hidden width of the row before",
        ),
        pytest.param(
            {"blocks": (block(depthwise_multiplier=64, expansion=64),), "stem": Stem(channels=32)},
            "blocks[0]",
            "its depthwise has 131072 channels",
            id="a multiplied depthwise",
        ),
        pytest.param(
            {"blocks": rows((1, 8, 1, 2)), "last_channels": 60_000, "width": 1.5},
            "last_channels",
            "its last has 90000 channels",
            id="the last convolution",
        ),
        pytest.param(
            {"head": SsdLite(extras=(ExtraLayer(channels=60_000),)), "width": 1.2},
            "head.extras[0]",
            "its pointwise has 72000 channels",
            id="an extra layer of a detector",
        ),
        pytest.param(
            {"blocks": rows((1, 8, 1, 2)), "resolution": 2, "normalizer": "group", "stem": Stem(channels=16)},
            "blocks[0]",
            "its projection has one value in every group of its group norm",
            id="a group norm of single values",
        ),
    ],
)
def test_limits_hold_on_every_layer_that_is_planned(values: dict[str, Any], at: str, message: str) -> None:
    assert broken(lambda: model(**values)) == [(at, message)]


def test_classes_have_a_limit_of_their_own() -> None:
    assert model(head=Classifier(classes=1_000_000)).head == Classifier(classes=1_000_000)


@pytest.mark.parametrize(
    ("make", "at"),
    [
        pytest.param(lambda: model(blocks=[ROW]), "blocks", id="a list of rows"),
        pytest.param(lambda: model(blocks=(ROW, "row")), "blocks[1]", id="a word for a row"),
        pytest.param(lambda: model(head="classifier"), "head", id="a word for a head"),
        pytest.param(lambda: model(head=Stem()), "head", id="a stem for a head"),
        pytest.param(lambda: model(stem=None), "stem", id="no stem"),
        pytest.param(lambda: model(batch_norm={"eps": 1e-3}), "batch_norm", id="a mapping for a batch norm"),
        pytest.param(lambda: model(name=3), "name", id="a number for a name"),
        pytest.param(lambda: detector(taps=["last"]), "taps", id="a list of taps"),
        pytest.param(lambda: detector(extras=(128, 64)), "extras[0]", id="numbers for extra layers"),
        pytest.param(lambda: segmenter(aspp_rates=[6]), "aspp_rates", id="a list of rates"),
        pytest.param(lambda: block(residual=["auto"]), "residual", id="a list for a word"),
    ],
)
def test_a_value_of_another_type_is_refused(make: Callable[[], object], at: str) -> None:
    assert broken(make)[0][0] == at


def test_the_most_layers_that_are_planned() -> None:
    assert model(blocks=(block(repeats=MAX_UNITS - 2),)).blocks[0].repeats == 510
