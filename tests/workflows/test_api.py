"""What a notebook does: the commands as functions, with the options of the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

sys.path += [str(Path(__file__).parents[1] / "training")]
from pictures import draw_pictures

import mnv2search
from mnv2search.cli.search.run import run_command
from mnv2search.errors import OptionError, RecordError
from mnv2search.results.manifest import read_manifest
from mnv2search.workflows.search.options import RunOptions
from mnv2search.workflows.search.request import request_of
from mnv2search.workflows.search.run import Outcome

# Every option of `mnv2search run`: one that is renamed or removed breaks scripts of users.
OPTIONS = {
    *("--latency-ms", "--latency-min-ms", "--params", "--madds", "--peak-kb", "--size-kb", "--space", "--round-to"),
    *("--device", "--precision", "--data", "--accuracy", "--from", "--from-spec", "--finetune", "--no-finetune"),
    *("--trials", "--time", "--sampler", "--seed", "--name", "--resume", "--trust", "--output-dir", "--confirm"),
    *(
        "--no-confirm",
        "--workers",
        "--storage",
        "--weights-store",
        "--launcher",
        "--force",
        "--json",
        "-q",
        "--quiet",
    ),
}


def test_no_option_of_run_is_renamed() -> None:
    assert {text for one in run_command.params for text in (*one.opts, *one.secondary_opts)} == OPTIONS


@pytest.mark.parametrize(
    ("given", "finetunes"),
    [
        ({"time": "1m"}, True),
        ({"trials": 20}, False),
        ({"time": "1m", "finetune": False}, False),
        ({"time": "14m", "accuracy": "train"}, False),
        ({"time": "15m", "accuracy": "train"}, True),
        ({"time": "1h", "space": "ssdlite"}, True),
        ({"time": "5m", "space": "ssdlite"}, False),
        ({"time": "5m", "space": "ssdlite", "finetune": True}, True),
    ],
    ids=str,
)
def test_a_search_on_data_ends_with_separate_trainings_if_there_is_time(
    given: RunOptions, finetunes: bool, tmp_path: Path
) -> None:
    found = request_of({"latency_ms": 5.0, "data": tmp_path, **given})
    assert found.finetunes == finetunes


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    return mnv2search.run(
        latency_ms=5, space="mnv2-multipliers", device="simulated", trials=13, output_dir=tmp_path, name="mine"
    )


def test_a_notebook_runs_a_search_and_sees_what_it_came_to(outcome: Outcome, tmp_path: Path) -> None:
    assert outcome.folder == tmp_path / "mine"
    assert outcome.result.ship is not None
    said = repr(outcome)
    assert said.startswith(
        f"<{tmp_path / 'mine'}: finished, {len(outcome.result.front)} networks on the front, ship "
    )
    assert outcome.result.ship.spec.name in said
    assert len(said) < 300
    assert repr(outcome.result)[1:-1] in said


def test_a_run_is_continued_by_its_folder(outcome: Outcome) -> None:
    more = mnv2search.run(resume=outcome.folder, trials=15)
    assert more.result.trials == 15
    with pytest.raises(OptionError, match="--space cannot be given with --resume"):
        mnv2search.run(resume=outcome.folder, space="mnv2")


@pytest.mark.parametrize(("given", "kept", "then"), [(False, None, False), (None, None, True), (False, True, True)])
def test_a_resumed_run_keeps_to_no_confirm(tmp_path: Path, given: bool | None, kept: bool | None, then: bool) -> None:
    options: dict[str, Any] = {"latency_ms": 5.0, "space": "mnv2-multipliers", "device": "simulated", "trials": 4}
    begun = mnv2search.run(**options, output_dir=tmp_path, name="mine", confirm=given)
    assert read_manifest(begun.folder).settings.confirm is (given is not False)
    assert request_of({"resume": begun.folder, "confirm": kept}).confirms is then


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "there is no budget"),
        ({"latency_ms": 5, "trust": True}, "--trust applies only to --resume"),
        ({"latency_ms": 5, "time": "soon"}, "'soon' is not a time"),
        ({"latency_ms": 5, "round_to": 3}, "round_to is 3"),
        ({"latency_ms": 5, "data": "x", "accuracy": "imagenet"}, "does not take --data"),
        ({"latency_ms": 5, "device": "litert:precision=fp16", "precision": "int8"}, "--precision int8 contradicts"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(options: dict[str, Any], what: str) -> None:
    with pytest.raises(OptionError, match=what):
        mnv2search.run(**options)


@pytest.mark.parametrize(
    ("options", "time_s"),
    [(RunOptions(), 90.0), (RunOptions(time="2m"), 120.0), (RunOptions(time=30), 30.0), (RunOptions(trials=3), None)],
)
def test_a_time_is_seconds_or_text(options: RunOptions, time_s: float | None) -> None:
    assert request_of({"latency_ms": 5.0, "device": "simulated", **options}).settings.time_s == time_s


def test_a_run_where_nothing_fits_has_nothing_to_verify(tmp_path: Path) -> None:
    words = ["--latency-ms", "0.001", "--space", "mnv2-multipliers", "--device", "simulated", "--trials", "3"]
    done = CliRunner().invoke(run_command, [*words, "--output-dir", str(tmp_path), "--name", "tight"])
    assert done.exit_code == 3
    from mnv2search.workflows.search.checks.verify import verify

    with pytest.raises(RecordError, match="the run is finished, and no network is within its budget"):
        verify(tmp_path / "tight")


@pytest.mark.parametrize(
    ("options", "size"),
    [({"pick": "resolution=96", "first": True}, (96, 96)), ({"first": True, "resolution": (64, 128)}, (64, 128))],
)
def test_a_notebook_chooses_in_a_search_space(options: dict[str, Any], size: tuple[int, int]) -> None:
    compiled = mnv2search.compile("mnv2-multipliers", no_fvcore=True, **options)
    assert compiled.plan.spec.size == size
    assert mnv2search.compile("mobilenet_v2_1.0_224", no_fvcore=True, width=0.5).plan.spec.width == 0.5


def test_several_devices_have_the_precision() -> None:
    request = request_of({"latency_ms": 5.0, "device": ["litert", "litert:threads=2"], "precision": "int8"})
    assert request.device == "litert:precision=int8 + litert:threads=2,precision=int8"


def test_a_notebook_trains_compiles_and_predicts(tmp_path: Path) -> None:
    data = draw_pictures(tmp_path / "photos", count=35)
    spec = mnv2search.loads(
        "mnv2search: 1\nname: tiny\nresolution: 32\nblocks: [[1, 8, 1, 1], [2, 16, 1, 2]]\nhead: {classes: 3}\n"
    )
    assert isinstance(spec, mnv2search.ModelSpec)
    report = mnv2search.train(spec, data=data, epochs=1, output=tmp_path / "trained")
    assert (tmp_path / "trained" / "best.pt").exists()
    assert report.folder == tmp_path / "trained"
    assert repr(report).startswith(f"<{report.folder}: tiny, ")
    with pytest.raises(OptionError, match="tiny is one network: there is nothing to pick"):
        mnv2search.train(spec, data=data, pick="width=0.5")
    compiled = mnv2search.compile(tmp_path / "trained" / "best.pt", output=tmp_path / "net.onnx", no_fvcore=True)
    assert [export.path.name for export in compiled.exports] == ["net.onnx"]
    assert repr(compiled) == (
        f"<tiny: {compiled.cost.params:,} parameters, {compiled.cost.madds:,} multiply-adds, written to "
        f"{tmp_path / 'net.onnx'}>"
    )
    image = sorted(data.rglob("*.png"))[0]
    (found,) = mnv2search.predict(tmp_path / "trained" / "best.pt", image, output=tmp_path / "seen")
    assert found.drawn.exists()
    assert image.name in repr(found)


@pytest.mark.parametrize("time", ["5s", "29s"])
def test_a_search_with_shared_weights_is_refused_where_it_could_only_read_images(time: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="too short for a search with shared weights"):
        request_of({"latency_ms": 5.0, "data": tmp_path, "time": time})


@pytest.mark.parametrize(("time", "seconds"), [("30s", 30.0), (None, 1200.0)])
def test_a_search_with_shared_weights_takes_enough_time(time: str | None, seconds: float, tmp_path: Path) -> None:
    assert request_of({"latency_ms": 5.0, "data": tmp_path, "time": time}).settings.time_s == seconds
