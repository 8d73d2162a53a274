"""The commands `spec`, `explain` and `diff`: output, files and errors."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnv2search.spec.yaml.codec import load, loads

Run = Callable[..., Any]


def test_spec_prints_yaml_that_loads(run: Run) -> None:
    done = run("spec", "mobilenet_v2_1.0_224", "--width", "0.5", "--name", "half")
    assert done.code == 0
    assert (loads(done.out).name, loads(done.out).width) == ("half", 0.5)  # type: ignore[union-attr]


def test_spec_writes_a_file_that_other_commands_read(run: Run, tmp_path: Path) -> None:
    done = run("spec", "mnv2", "--random", "--seed", "3", "-o", "drawn.yaml")
    assert (done.code, done.out, done.err) == (0, "", "wrote drawn.yaml\n")
    assert run("check", "drawn.yaml").code == 0
    assert load(tmp_path / "drawn.yaml").name == "mnv2-seed3"


def test_spec_refuses_to_overwrite(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("precious")
    done = run("spec", "mobilenet_v2_1.0_224", "-o", "mine.yaml")
    assert done.code == 2
    assert "--force" in done.err
    assert run("spec", "mobilenet_v2_1.0_224", "-o", "mine.yaml", "--force").code == 0


def test_spec_of_a_space_says_how_to_choose(run: Run) -> None:
    done = run("spec", "mnv2")
    assert done.code == 2
    assert "--pick" in done.err


def test_spec_prints_yaml_and_counts_as_json(run: Run) -> None:
    document = json.loads(run("spec", "mobilenet_v2_1.0_224", "--json").out)
    assert loads(document["yaml"]) == load("mobilenet_v2_1.0_224")
    assert (document["file"], document["params"]) == (None, 3_506_153)


def test_explain_prints_the_keys_that_scripts_rely_on(run: Run) -> None:
    document = json.loads(run("explain", "mobilenet_v2_1.0_224", "--json").out)
    assert document["stages"][0] == {
        "at": "stem",
        "row": "{c: 32, k: 3, s: 2}",
        "units": 1,
        "resolution": 112,
        "channels": 32,
        "params": 928,
        "params_share": pytest.approx(928 / 3_506_153),
        "madds": 10_838_016,
        "madds_share": pytest.approx(10_838_016 / document["madds"]),
        "peak_activation_bytes": 2_207_744,
        "peak_activation_share": pytest.approx(2_207_744 / document["peak_activation_bytes"]),
    }


def test_explain_prints_a_table_of_every_stage_as_csv(run: Run) -> None:
    header, *rows = csv.reader(io.StringIO(run("explain", "mobilenet_v2_1.0_224", "--csv").out))
    assert header[3:7] == ["params", "params share (%)", "multiply-adds (M)", "multiply-adds share (%)"]
    assert [row[0] for row in rows] == ["stem", *(f"blocks[{i}]" for i in range(7)), "last_channels", "head", "total"]


@pytest.mark.parametrize("command", [("catalog",), ("cost", "mobilenet_v2_1.0_224")], ids=" ".join)
def test_tables_of_networks_are_csv_too(run: Run, command: tuple[str, ...]) -> None:
    header, *rows = csv.reader(io.StringIO(run(*command, "--csv").out))
    assert len(set(header)) == len(header)
    assert "mobilenet_v2_1.0_224" in [row[0] for row in rows]


@pytest.mark.parametrize("options", [("--json", "--csv"), ("--csv", "--markdown")], ids=" ".join)
def test_two_formats_exclude_each_other(run: Run, options: tuple[str, ...]) -> None:
    done = run("explain", "mobilenet_v2_1.0_224", *options)
    assert done.code == 2
    assert f"{options[0]} and {options[1]} exclude each other" in done.err


def test_notes_of_a_csv_table_go_to_stderr(run: Run) -> None:
    done = run("explain", "mobilenet_v2_1.0_224", "--csv")
    assert "peak of the network" in done.err
    assert "peak of the network" not in done.out


def test_diff_prints_the_keys_that_scripts_rely_on(run: Run) -> None:
    document = json.loads(run("diff", "mobilenet_v2_1.0_224", "mobilenet_v2_0.5_160", "--json").out)
    assert document["changes"] == [
        {"field": "width", "before": "1.0", "after": "0.5"},
        {"field": "resolution", "before": "224", "after": "160"},
    ]
    assert [stage["params"] for stage in document["stages"]][:3] == [-464, -576, -7808]
    assert (document["before"]["params"], document["is_same"], document["predicted"]) == (3_506_153, False, [])


def test_diff_shows_stages_and_the_effect(run: Run) -> None:
    out = run("diff", "mobilenet_v2_1.0_224", "mobilenet_v2_0.5_160").out
    assert "width: 1.0 → 0.5, resolution: 224 → 160" in out
    assert "B / A" in out


def test_diff_of_equal_networks_says_so(run: Run) -> None:
    assert "the networks are the same" in run("diff", "mobilenet_v2_1.0_224", "mobilenet_v2_1.0_224").out


def test_diff_has_two_tables_as_csv_with_an_empty_line_between(run: Run) -> None:
    stages, effect = run("diff", "mobilenet_v2_1.0_224", "mobilenet_v2_0.5_160", "--csv").out.split("\n\n")
    assert stages.splitlines()[-1] == "total,,,-1536192,-250.59"
    assert effect.splitlines()[1] == "parameters,3506153,1969961,-1536192,0.56"


def test_without_measurements_explain_says_how_to_predict(run: Run) -> None:
    done = run("explain", "mobilenet_v2_1.0_224", "--device", "simulated")
    assert (done.code, "predicted" in done.out) == (0, False)
    assert "mnv2search device-profile --device simulated" in done.err
    assert run("explain", "mobilenet_v2_1.0_224", "--device", "simulated", "-q").err == ""


def test_a_hostile_name_is_no_markup_and_no_formula(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        'mnv2search: 1\nname: "=1+1|<b>"\nresolution: 32\nblocks:\n  - {t: 6, c: 24, n: 1, s: 2}\n'
    )
    assert run("cost", "mine.yaml", "--csv").out.splitlines()[1].startswith("'=1+1|<b>,")
    assert r"=1+1\|\<b>" in run("cost", "mine.yaml", "--markdown").out


def test_draw_writes_a_picture_of_either_format(run: Run, tmp_path: Path) -> None:
    done = run("draw", "mobilenet_v2_1.0_224", "-o", "net.svg")
    assert (done.code, done.out, done.err) == (0, "", "wrote net.svg\n")
    assert (tmp_path / "net.svg").read_text().startswith("<svg ")
    assert run("draw", "ssdlite_mobilenet_v2", "-o", "net.png", "--width", "0.5").code == 0
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("output", "said"),
    [((), "give -o NET.svg"), (("-o", "net.gif"), "does not end in .svg or .png"), (("-o", "net.svg"), "--force")],
    ids=["missing", "format", "existing"],
)
def test_draw_refuses_to_write(run: Run, tmp_path: Path, output: tuple[str, ...], said: str) -> None:
    (tmp_path / "net.svg").write_text("precious")
    done = run("draw", "mobilenet_v2_1.0_224", *output)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert (tmp_path / "net.svg").read_text() == "precious"


def test_draw_prints_the_keys_that_scripts_rely_on(run: Run) -> None:
    document = json.loads(run("draw", "mobilenet_v2_1.0_224", "--json").out)
    assert document["params"] == 3_506_153
    assert document["boxes"][5] == {
        "at": "blocks[2]",
        "kind": "block",
        "count": 2,
        "title": "bottleneck",
        "detail": "t 6, c 32, s 1, k 3",
        "size_in": 28,
        "c_in": 32,
        "size_out": 28,
        "c_out": 32,
        "shortcut": "identity",
        "params": 14848,
        "madds": 10988544,
        "sources": [{"box": 4, "inside": ""}],
        "repeats": 0,
    }
