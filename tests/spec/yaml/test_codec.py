"""Keys and values of the YAML form, and loading by path and by name."""

import io
import sys
from pathlib import Path

import pytest

from mnv2search.errors import OptionError, SpecError, UnknownNameError
from mnv2search.spec.model_spec import BatchNorm, BlockSpec, Classifier, ModelSpec, Stem
from mnv2search.spec.space import Axis, SearchSpace, resolve
from mnv2search.spec.yaml.codec import dumps, known_names, load, load_space, load_spec, loads

HEAD = "mnv2search: 1\nname: one\n"
ROW = "blocks: [[6, 24, 2, 2]]\n"


def spec_of(text: str) -> ModelSpec:
    value = loads(text)
    assert isinstance(value, ModelSpec)
    return value


def space_of(text: str) -> SearchSpace:
    value = loads(text)
    assert isinstance(value, SearchSpace)
    return value


def problems(text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(SpecError) as caught:
        loads(text)
    return [(d.at, d.message, d.hint) for d in caught.value.diagnostics]


def test_every_key_reaches_its_field() -> None:
    text = """
mnv2search: 1
name: all
resolution: 96
width: 0.5
stem: {c: 16, k: 5, s: 1}
last: 640
head: {classes: 7, dropout: 0.1}
divisor: 4
min_channels: 8
keep_stem: true
keep_last: always
output_stride: 2
padding: same
activation: silu
normalizer: batch
batch_norm: {eps: 1e-3, momentum: .01}
blocks:
  - {t: 3, c: 24, n: 2, s: 2, k: 5, expand_divisor: 4, residual: pad, split_expansion: 2, split_projection: 2,
     split_divisor: 4, transform: squeeze_excite, depthwise_location: expansion, depthwise_multiplier: 2,
     activation: relu, depthwise_activation: hard_swish, projection_activation: relu6, normalizer: none,
     padding: symmetric}
  - {t: 4.5, c: 32, dilation: 2, expand_to: 96, operator: fused}
"""
    assert spec_of(text) == ModelSpec(
        name="all",
        resolution=96,
        width=0.5,
        stem=Stem(channels=16, kernel=5, stride=1),
        last_channels=640,
        head=Classifier(classes=7, dropout=0.1),
        channel_divisor=4,
        min_channels=8,
        keep_stem=True,
        keep_last="always",
        output_stride=2,
        padding="same",
        activation="silu",
        normalizer="batch",
        batch_norm=BatchNorm(eps=1e-3, momentum=0.01),
        blocks=(
            BlockSpec(
                expansion=3,
                channels=24,
                repeats=2,
                stride=2,
                kernel=5,
                expand_divisor=4,
                residual="pad",
                split_expansion=2,
                split_projection=2,
                split_divisor=4,
                transform="squeeze_excite",
                depthwise_multiplier=2,
                activation="relu",
                depthwise_activation="hard_swish",
                projection_activation="relu6",
                normalizer="none",
                padding="symmetric",
            ),
            BlockSpec(expansion=4.5, channels=32, dilation=2, expand_to=96, operator="fused"),
        ),
    )


def test_what_is_left_out_takes_the_default() -> None:
    assert spec_of(f"{HEAD}{ROW}") == ModelSpec(name="one", blocks=(BlockSpec(channels=24, repeats=2, stride=2),))


def test_none_builds_no_last_convolution_and_no_head() -> None:
    spec = spec_of(f"{HEAD}{ROW}last: none\nhead: none\n")
    assert (spec.last_channels, spec.head) == (None, None)


def test_columns_name_the_entries_of_bare_rows() -> None:
    spec = spec_of(f"{HEAD}columns: [c, k, t]\nblocks:\n  - [24, 5, 3]\n  - {{t: 6, c: 32}}\n")
    assert spec.blocks == (BlockSpec(channels=24, kernel=5, expansion=3), BlockSpec(channels=32))


def test_off_is_a_word_where_words_are_expected() -> None:
    assert spec_of(f"{HEAD}blocks: [{{c: 24, residual: off}}]").blocks[0].residual == "off"


def test_a_name_is_taken_literally() -> None:
    assert spec_of(f"mnv2search: 1\nname: 1.0\n{ROW}").name == "1.0"


@pytest.mark.parametrize("name", ["a b", "x -", "'", '"', "#", "on", "é", "a: b", " x ", "{", "漢字 😀"])
def test_any_printable_name_survives(name: str) -> None:
    spec = ModelSpec(name=name, blocks=(BlockSpec(channels=8),))
    assert spec_of(dumps(spec)).name == name


def test_lists_ranges_and_bare_entries_are_choices() -> None:
    space = space_of(
        f"{HEAD}width: [1.0, 0.5]\nresolution: {{from: 96, to: 160, step: 32}}\nblocks: [[6, 24, 1, [1, 2]]]"
    )
    assert space.axes == (
        Axis(at="width", options=(1.0, 0.5)),
        Axis(at="resolution", options=(96, 128, 160)),
        Axis(at="blocks[0].stride", options=(1, 2)),
    )


def test_a_range_of_decimals_is_exact() -> None:
    space = space_of(f"{HEAD}{ROW}width: {{from: 0.1, to: 0.7, step: 0.2}}")
    assert space.axes[0].options == (0.1, 0.3, 0.5, 0.7)


def test_each_chooses_for_every_repeat() -> None:
    space = space_of(f"{HEAD}blocks: [{{c: 24, n: [1, 2], each: {{t: [3, 6], k: 5}}}}]")
    assert [axis.at for axis in space.axes] == [
        "blocks[0].repeats",
        "blocks[0].each[0].expansion",
        "blocks[0].each[1].expansion",
    ]
    assert space.template.blocks[0].kernel == 5


def test_words_and_booleans_and_none_can_be_choices() -> None:
    choices = "keep_stem: [true, false]\nlast: [none, 640]\nactivation: [relu, silu]\nhead: {dropout: [0, 0.2]}"
    assert {axis.at: axis.options for axis in space_of(f"{HEAD}{ROW}{choices}").axes} == {
        "keep_stem": (True, False),
        "last_channels": (None, 640),
        "activation": ("relu", "silu"),
        "head.dropout": (0, 0.2),
    }


def test_a_list_of_one_is_no_choice() -> None:
    assert spec_of(f"{HEAD}{ROW}width: [0.5]").width == 0.5


@pytest.mark.parametrize(
    ("entry", "at", "message", "hint"),
    [
        pytest.param("resolution: 010", "resolution", "resolution is '010'", "a leading 0 means base 8", id="octal"),
        pytest.param(
            "resolution: 1:30", "resolution", "resolution is '1:30'", "a colon means base 60", id="sexagesimal"
        ),
        pytest.param(
            "resolution: 0x60", "resolution", "resolution is '0x60'", "only decimal numbers", id="hexadecimal"
        ),
        pytest.param("resolution: 1_000", "resolution", "resolution is '1_000'", "underscores", id="underscore"),
        pytest.param("resolution: +96", "resolution", "resolution is '+96'", "leave the plus sign out", id="plus"),
        pytest.param(
            "resolution: 96.0", "resolution", "resolution is 96.0", "a whole number", id="float for integer"
        ),
        pytest.param("resolution: '96'", "resolution", "resolution is '96' in quotes", "without quotes", id="quoted"),
        pytest.param(
            "resolution: true", "resolution", "resolution is 'true'", "a whole number", id="bool for integer"
        ),
        pytest.param("resolution: 0", "resolution", "resolution is 0", "from 1 to 4096", id="too small"),
        pytest.param("resolution:", "resolution", "resolution has no value", "write one", id="no value"),
        pytest.param("resolution: []", "resolution", "resolution has 0 options", "write 1 to 1000", id="no options"),
        pytest.param(
            "resolution: [[96]]", "resolution", "resolution is not a single value", "one value", id="nested"
        ),
        pytest.param("width: .nan", "width", "width is '.nan'", "only finite numbers", id="NaN"),
        pytest.param("width: -.inf", "width", "width is '-.inf'", "only finite numbers", id="infinity"),
        pytest.param("width: 1e999", "width", "width is inf", "write a number above 0 and up to 100", id="overflow"),
        pytest.param("width: 0", "width", "width is 0", "write a number above 0 and up to 100", id="zero width"),
        pytest.param("width: [1, 1.0]", "width", "width has an option twice", "once", id="repeated option"),
        pytest.param("keep_stem: on", "keep_stem", "keep_stem is 'on'", "write true or false", id="on"),
        pytest.param("keep_stem: 1", "keep_stem", "keep_stem is '1'", "write true or false", id="number for boolean"),
        pytest.param("padding: sane", "padding", "padding is 'sane'", "did you mean same?", id="near word"),
        pytest.param("widht: 1", "", "unknown key 'widht'", "did you mean width?", id="near key"),
        pytest.param("channel_divisor: 8", "", "unknown key 'channel_divisor'", "write divisor", id="field for key"),
        pytest.param("last_chanels: 8", "", "unknown key 'last_chanels'", "did you mean last", id="near field"),
        pytest.param(
            "head: {clases: 3}", "head", "unknown key 'clases' in head", "did you mean classes?", id="nested key"
        ),
        pytest.param("head: 10", "head", "head is '10'", "use one of none, classifier, ssdlite", id="no such head"),
        pytest.param("head: [10]", "head", "head is not a mapping", "such as classes", id="wrong shape"),
        pytest.param("head: {kind: ssd}", "head", "head is 'ssd'", "use one of classifier, ssdlite", id="no kind"),
        pytest.param("head: {kind: []}", "head.kind", "head.kind is not a word", "use one of", id="kind no word"),
        pytest.param(
            "head: {kind: ssdlite, dropout: 0.1}",
            "head",
            "unknown key 'dropout' in head",
            "",
            id="key of another head",
        ),
        pytest.param(
            "head: {kind: ssdlite, taps: layer_1}", "head.taps", "head.taps is not a list", "[a, b]", id="list wanted"
        ),
        pytest.param(
            "head: {kind: ssdlite, taps: []}", "head.taps", "head.taps has 0 entries", "1 to 16", id="empty list"
        ),
        pytest.param(
            "head: {kind: ssdlite, taps: [layer_0]}", "head.taps", "head.taps is 'layer_0'", "such as", id="no layer"
        ),
        pytest.param(
            "head: {kind: ssdlite, extras: [{}]}",
            "head.extras[0]",
            "head.extras[0].channels is missing",
            "c",
            id="no c",
        ),
        pytest.param(
            "head: {kind: ssdlite, extras: [{c: 0}]}",
            "head.extras[0].channels",
            "head.extras[0].channels is 0",
            "whole number",
            id="extra without channels",
        ),
        pytest.param(
            "head: {kind: ssdlite, taps: [layer_9, last]}",
            "head.taps[0]",
            "head.taps[0]: there is no endpoint layer_9",
            "layer_1",
            id="tap beyond the network",
        ),
        pytest.param(
            "head: {kind: ssdlite, smallest_scale: 0.95}",
            "head.smallest_scale",
            "head.smallest_scale is 0.95 and largest_scale 0.95",
            "below",
            id="no scales between",
        ),
        pytest.param(
            "head: {kind: deeplab, aspp_rates: [6, 0]}",
            "head.aspp_rates",
            "head.aspp_rates is 0",
            "whole number",
            id="rate 0",
        ),
        pytest.param(
            "head: {kind: deeplab, decoder_stride: 3}",
            "head.decoder_stride",
            "head.decoder_stride is 3",
            "2, 4, 8 or 16",
            id="decoder stride 3",
        ),
        pytest.param(
            "head: {kind: deeplab, decoder_tap: layer_2}",
            "head.decoder_tap",
            "head.decoder_tap is layer_2, but there is no decoder",
            "decoder_stride",
            id="tap without decoder",
        ),
        pytest.param(
            "resolution: {height: 9000, width: 64}",
            "resolution.height",
            "resolution.height is 9000",
            "from 1 to 4096",
            id="too high",
        ),
        pytest.param(
            "resolution: {height: 64}", "resolution", "resolution has no width", "height: 1025", id="no width"
        ),
        pytest.param(
            "resolution: {hight: 64, width: 32, height: 64}",
            "resolution",
            "unknown key 'hight' in resolution",
            "height",
            id="misspelt height",
        ),
        pytest.param(
            "resolution: {height: [64, 32], width: 64}",
            "resolution.height",
            "resolution.height is not a single value",
            "among squares",
            id="choice of heights",
        ),
        pytest.param(
            "resolution: [64, {height: 64, width: 32}]",
            "resolution",
            "resolution is not a single value",
            "among squares",
            id="choice of a rectangle",
        ),
        pytest.param(
            "columns: [t, n]", "columns", "columns repeats a key or lacks c", "with c among them", id="columns"
        ),
        pytest.param("columns: [c, x]", "columns", "columns has 'x'", "known: t, c", id="unknown column"),
        pytest.param(
            "padding: {from: 1, to: 2, step: 1}", "padding", "padding is a range", "a list", id="range of words"
        ),
        pytest.param("width: {from: 1, to: 2}", "width", "width has no number for step", "write it as", id="no step"),
        pytest.param(
            "width: {from: 1, to: 2, step: 0}", "width", "width goes from 1 to 2 by 0", "above 0", id="step 0"
        ),
        pytest.param(
            "width: {from: 1, to: 2, step: .3}", "width", "width has no number for step", "write", id="bare point"
        ),
        pytest.param(
            "width: {from: 1, to: 2, step: 0.3}", "width", "width goes from 1 to 2 by 0.3", "leads", id="missed end"
        ),
        pytest.param(
            "width: {from: 1, to: 9, step: 0.001}", "width", "width has 8001 options", "larger step", id="many"
        ),
    ],
)
def test_a_bad_entry_is_refused_with_a_hint(entry: str, at: str, message: str, hint: str) -> None:
    found = problems(f"{HEAD}blocks: [{{c: 24}}]\n{entry}\n")
    assert [(a, m) for a, m, _ in found] == [(at, message)]
    assert hint in found[0][2]


@pytest.mark.parametrize(
    ("row", "at", "message"),
    [
        pytest.param("[6, 24, 1]", "blocks[0]", "blocks[0] has 3 entries, but there are 4 columns", id="short row"),
        pytest.param("{t: 6}", "blocks[0]", "blocks[0].channels is missing", id="no channels"),
        pytest.param("7", "blocks[0]", "blocks[0] is not a mapping", id="scalar row"),
        pytest.param("{c: 24, expansion: 3}", "blocks[0]", "unknown key 'expansion' in blocks[0]", id="long name"),
        pytest.param("{c: 24, k: 4}", "blocks[0].kernel", "blocks[0].kernel is 4", id="even kernel"),
        pytest.param("{c: 24, t: 0.5}", "blocks[0].expansion", "blocks[0].expansion is 0.5", id="t below 1"),
        pytest.param(
            "{c: 24, each: {n: [1, 2]}}", "blocks[0].each", "unknown key 'n' in blocks[0].each", id="each n"
        ),
        pytest.param(
            "{c: 24, t: 6, each: {t: [3, 6]}}",
            "blocks[0].expansion",
            "blocks[0].expansion is both in the row and under each",
            id="twice",
        ),
        pytest.param(
            "{c: 24, s: 2, dilation: 2}",
            "blocks[0].dilation",
            "blocks[0].dilation is 2 in a row of stride 2",
            id="cross-field rule",
        ),
    ],
)
def test_a_bad_row_is_refused(row: str, at: str, message: str) -> None:
    assert [(a, m) for a, m, _ in problems(f"{HEAD}blocks: [{row}]\n")] == [(at, message)]


@pytest.mark.parametrize("key", ["mnv2search", "name", "blocks"])
def test_a_missing_key_is_named(key: str) -> None:
    lines = {"mnv2search": "mnv2search: 1", "name": "name: x", "blocks": "blocks: [[6, 24, 1, 1]]"}
    text = "\n".join(line for name, line in lines.items() if name != key)
    assert [m for _, m, _ in problems(text)] == [f"{key} is missing"]


def test_another_format_version_is_refused() -> None:
    assert problems(f"mnv2search: 2\nname: x\n{ROW}")[0][1] == "mnv2search is '2'"


def test_all_problems_come_in_one_run_in_the_order_of_the_file() -> None:
    with pytest.raises(SpecError) as caught:
        loads(f"{HEAD}width: 010\nblocks:\n  - [6, 24, 1, 3]\n  - {{c: x, k: 4}}\nheat: 3\nlast: on\n")
    assert [d.line for d in caught.value.diagnostics] == [3, 5, 6, 6, 7, 8]


def test_options_that_cannot_be_read_are_not_taken_for_one_another() -> None:
    assert [m for _, m, _ in problems(f"{HEAD}width: [a, -1]\n{ROW}")] == ["width is 'a'", "width is -1"]


def test_an_option_that_breaks_a_rule_with_others_is_placed() -> None:
    with pytest.raises(SpecError, match=r"with blocks\[0\].dilation 2") as caught:
        loads(f"{HEAD}blocks:\n  - {{c: 24, s: 2, dilation: [1, 2]}}\n")
    assert {(d.line, d.at) for d in caught.value.diagnostics} == {(4, "blocks[0].dilation")}


def test_options_that_break_a_rule_only_together_are_found() -> None:
    text = f"{HEAD}width: [1, 40]\nblocks:\n  - {{c: [8, 2000]}}\n"
    with pytest.raises(SpecError, match="with options together: its projection has 80000 channels") as caught:
        loads(text)
    assert [(d.line, d.at) for d in caught.value.diagnostics] == [(5, "blocks[0]")]


def test_a_problem_of_the_whole_network_is_placed_at_its_key() -> None:
    with pytest.raises(SpecError, match="strides multiply to 4 only") as caught:
        loads(f"{HEAD}output_stride: 8\n{ROW}")
    assert [(d.line, d.column) for d in caught.value.diagnostics] == [(3, 16)]


def test_a_spec_is_written_short() -> None:
    blocks = (BlockSpec(channels=16, expansion=1), BlockSpec(channels=24, stride=2, kernel=5, expansion=6.0))
    assert dumps(ModelSpec(name="one", blocks=blocks, width=1)) == (
        "mnv2search: 1\n"
        "name: one\n"
        "resolution: 224\n"
        "width: 1.0\n"
        "stem: {c: 32, k: 3, s: 2}\n"
        "blocks:\n"
        "  - {t: 1, c: 16, n: 1, s: 1}\n"
        "  - {t: 6, c: 24, n: 1, s: 2, k: 5}\n"
        "last: 1280\n"
        "head: {classes: 1000, dropout: 0.2}\n"
    )


def test_load_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(f"{HEAD}{ROW}")
    assert load(file) == loads(f"{HEAD}{ROW}")


def test_load_names_the_file_in_errors(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("a: 1")
    with pytest.raises(SpecError, match=f"{file}:1:1: error: "):
        load(file)


def test_load_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{HEAD}{ROW}".encode())))
    assert load("-") == loads(f"{HEAD}{ROW}")


def test_shipped_spaces_and_published_networks_load_by_name() -> None:
    assert isinstance(load("mnv2"), SearchSpace)
    assert load_spec("mobilenet_v2_0.75_192").resolution == 192


@pytest.mark.parametrize("name", ["mnv2", "tiny32", "mobilenet_v2", "proxyless_gpu", "mobilenet_v2_1.0_224"])
def test_known_names_lists(name: str) -> None:
    assert name in known_names()


def test_an_unknown_name_offers_near_ones() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load("mobilenet_v2_0.75_193")
    assert "mobilenet_v2_0.75_192" in caught.value.hint


def test_a_missing_file_offers_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("")
    with pytest.raises(OptionError, match="there is no file") as caught:
        load(tmp_path / "spcae.yaml")
    assert caught.value.hint == f"did you mean {tmp_path / 'space.yaml'}?"
    assert caught.value.exit_code == 2


def test_a_folder_does_not_hide_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnv2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("mnv2").name == "mnv2"


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 5000, "no/such/file", "~"])
def test_a_name_that_is_nothing_is_refused(name: str) -> None:
    with pytest.raises((OptionError, UnknownNameError)):
        load(name)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        load(tmp_path)


def test_a_space_where_a_network_is_needed_says_how_to_pick() -> None:
    with pytest.raises(SpecError, match="mnv2-multipliers is a search space") as caught:
        load_spec("mnv2-multipliers")
    assert caught.value.diagnostics[0].hint == (
        "choose with --pick width=0.35, or take every first option with --first"
    )


def test_a_network_is_a_space_with_nothing_to_choose() -> None:
    space = load_space("mobilenet_v2")
    assert (space.axes, space.size) == ((), 1)


@pytest.mark.parametrize(
    ("written", "resolution"),
    [("{height: 1025, width: 2049}", (1025, 2049)), ("{width: 320, height: 320}", 320), ("320", 320)],
    ids=["rectangle", "square of two numbers", "square"],
)
def test_a_resolution_is_a_side_or_a_height_and_a_width(written: str, resolution: int | tuple[int, int]) -> None:
    spec = loads(f"{HEAD}blocks: [{{c: 24}}]\nresolution: {written}\n")
    assert isinstance(spec, ModelSpec)
    assert spec.resolution == resolution


def test_a_space_may_be_of_rectangles() -> None:
    space = loads(f"{HEAD}blocks: [{{c: [16, 24]}}]\nresolution: {{height: 64, width: 96}}\n")
    assert isinstance(space, SearchSpace)
    assert {resolve(space, (index,)).size for index in (0, 1)} == {(64, 96)}


def test_two_sides_to_choose_from_are_no_rectangle(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(f"{HEAD}blocks: [{{c: 24}}]\nresolution: [1025, 2049]\n", encoding="utf-8")
    with pytest.raises(SpecError, match="is a search space, with choices still open: resolution") as caught:
        load_spec(file)
    assert "a rectangle is written {height: 1025, width: 2049}" in caught.value.diagnostics[0].hint
