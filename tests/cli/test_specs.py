"""The commands `spec`, `explain` and `diff`: output, files and refusals."""

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


@pytest.mark.parametrize("options", [("--json", "--csv"), ("--csv", "--markdown")], ids=" ".join)
def test_two_formats_exclude_each_other(run: Run, options: tuple[str, ...]) -> None:
    done = run("explain", "mobilenet_v2_1.0_224", *options)
    assert done.code == 2
    assert f"{options[0]} and {options[1]} exclude each other" in done.err
