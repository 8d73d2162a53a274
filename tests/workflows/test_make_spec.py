"""Specs from names, edits, picks and random draws, and the files they are written to."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import mnv2search as m
from mnv2search.errors import OptionError
from mnv2search.spec.space import pick_of, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space
from mnv2search.workflows.make_spec import make_spec


def test_a_written_spec_is_read_back(tmp_path: Path) -> None:
    spec = make_spec("mobilenet_v2_1.0_224", width=0.5, resolution=160, classes=5, output=tmp_path / "mine.yaml")
    assert m.load(tmp_path / "mine.yaml") == spec
    assert (spec.width, spec.resolution, spec.head.classes) == (0.5, 160, 5)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "classes"), [("ssdlite_mobilenet_v2", 3), ("deeplabv3_mobilenet_v2", 4)], ids=["detector", "segmenter"]
)
def test_classes_of_other_heads_change_too(name: str, classes: int) -> None:
    head = make_spec(name, classes=classes).head
    assert head is not None
    assert head.classes == classes


def test_a_random_draw_is_the_space_s_random_pick_of_the_seed() -> None:
    space = load_space("mnv2")
    drawn = make_spec("mnv2", random=True, seed=3)
    assert drawn.blocks == resolve(space, random_pick(space, random.Random(3))).blocks
    assert drawn.name == "mnv2-seed3"


def test_a_seed_repeats_a_draw_and_another_seed_changes_it() -> None:
    again = [make_spec("mnv2", random=True, seed=seed, name="n") for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


def test_picks_hold_in_a_random_draw() -> None:
    widths = {make_spec("mnv2", random=True, seed=seed, pick="width=0.5").width for seed in range(8)}
    assert widths == {0.5}


def test_a_random_draw_is_in_the_space() -> None:
    space = load_space("mnv2")
    assert [pick_of(space, make_spec("mnv2", random=True, seed=seed)) is None for seed in range(8)] == [False] * 8


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        pytest.param("mobilenet_v2_1.0_224", {"random": True}, "nothing to draw", id="one network"),
        pytest.param("mnv2", {"random": True, "first": True}, "exclude each other", id="first and random"),
        pytest.param("mnv2", {"first": True, "seed": 1}, "nothing is drawn", id="a seed without a draw"),
        pytest.param("mobilenet_v2_1.0_224", {"output": "net.pt"}, "does not end in .yaml", id="another suffix"),
        pytest.param("mobilenet_v2_1.0_224", {"output": "none/net.yaml"}, "does not exist", id="no folder"),
    ],
)
def test_options_that_do_not_fit_are_refused(source: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_spec(source, **options)  # type: ignore[arg-type]


def test_a_network_without_a_head_has_no_classes() -> None:
    spec = m.loads("{mnv2search: 1, name: features, blocks: [[6, 24, 1, 2]], head: none}")
    with pytest.raises(OptionError, match="no head that predicts classes"):
        make_spec(spec, classes=5)


def test_a_file_is_overwritten_only_by_force(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("precious")
    with pytest.raises(OptionError, match="exists"):
        make_spec("mobilenet_v2_1.0_224", output=file)
    assert file.read_text() == "precious"
    make_spec("mobilenet_v2_1.0_224", output=file, force=True)
    assert m.load(file) == m.load("mobilenet_v2_1.0_224")
