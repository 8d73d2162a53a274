"""Which results folders may run programs, connect elsewhere and read data."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_requests import run_request

from mnv2search.accuracy.registry import evaluator_effects
from mnv2search.errors import RecordError
from mnv2search.latency.registry import device_effects
from mnv2search.results.manifest import read_manifest, write_manifest
from mnv2search.study.types import Progress, Settings
from mnv2search.workflows.search.checks.verify import verify
from mnv2search.workflows.search.run import resume_request, run
from mnv2search.workflows.search.trust import check_trust, remember

Command = Callable[..., Any]
REMOTE = "onnxruntime:threads=1,config=evil@ssh://somewhere"


def nothing(_: Progress) -> None:
    """A listener to nothing."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run whose evaluator leaves a mark for every call."""
    program = f"open({str(tmp_path / 'calls')!r}, 'a').write('x'); print(0.5)"
    evaluator = f"command:{shlex.join([sys.executable, '-S', '-c', program])} {{spec}}"
    return run(run_request(tmp_path, trials=3, evaluator=evaluator), on_progress=nothing).folder


@pytest.fixture
def foreign(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder on the machine of somebody else."""
    monkeypatch.setenv("MNV2SEARCH_CACHE", str(tmp_path / "another cache"))
    return folder


def edited(folder: Path, **changes: Any) -> Path:
    write_manifest(folder, replace(read_manifest(folder), **changes))
    return folder


def on_device(folder: Path, name: str) -> Path:
    return edited(folder, device=replace(read_manifest(folder).device, name=name))


def test_a_run_of_ones_own_goes_on_wherever_it_was_moved(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "elsewhere")
    assert resume_request(tmp_path / "elsewhere").evaluator.startswith("command:")


def test_a_folder_of_somebody_else_says_what_it_would_run(foreign: Path) -> None:
    with pytest.raises(RecordError, match=r"not a run that you started(.|\n)*run the program .*print\(0.5\)"):
        resume_request(foreign)


def test_trust_is_given_by_hand_and_lasts(foreign: Path) -> None:
    longer = Settings(trials=4)
    run(resume_request(foreign, settings=longer, trusts=True), on_progress=nothing)
    assert resume_request(foreign).settings.trials == 4


def test_an_edited_program_is_not_trusted(folder: Path) -> None:
    with pytest.raises(RecordError, match=r"run the program '\./evil'"):
        resume_request(edited(folder, evaluator="command:timeout_s=600,run=./evil"))


def test_an_edited_device_is_not_trusted(folder: Path) -> None:
    with pytest.raises(
        RecordError, match="connect to the device 'onnxruntime:threads=1,config=evil@ssh://somewhere'"
    ):
        resume_request(on_device(folder, REMOTE))


def test_a_folder_that_only_measures_here_needs_no_trust(foreign: Path) -> None:
    assert resume_request(edited(foreign, evaluator="imagenet")).evaluator == "imagenet"


def test_verify_needs_no_trust_for_a_program_that_it_does_not_run(foreign: Path, tmp_path: Path) -> None:
    before = (tmp_path / "calls").read_text()
    assert verify(foreign)
    assert (tmp_path / "calls").read_text() == before


def test_verify_connects_to_nothing_that_a_foreign_folder_names(folder: Path) -> None:
    with pytest.raises(RecordError, match=r"connect to the device(.|\n)*somewhere") as caught:
        verify(on_device(folder, REMOTE))
    assert "--device" in caught.value.hint


def test_verify_measures_on_the_device_that_is_given(folder: Path) -> None:
    assert verify(on_device(folder, REMOTE), device="simulated")


def test_escapes_in_a_manifest_do_not_reach_the_terminal(foreign: Path) -> None:
    with pytest.raises(RecordError) as caught:
        resume_request(edited(foreign, evaluator="command:\x1b]52;c;AAAA\x07"))
    assert "\x1b" not in caught.value.message


def test_the_command_line_asks_for_trust(foreign: Path, run: Command) -> None:
    refused = run("run", "--resume", str(foreign), "--trials", "4", "--no-confirm")
    assert (refused.code, "--trust" in refused.err) == (2, True)
    trusted = run("run", "--resume", str(foreign), "--trials", "4", "--no-confirm", "--trust", "--json")
    assert (trusted.code, json.loads(trusted.out)["trials"]) == (0, 4)


def test_trust_without_resume_is_refused(run: Command) -> None:
    done = run("run", "--latency-ms", "5", "--trust")
    assert (done.code, "--trust applies only to --resume" in done.err) == (2, True)


def test_what_cannot_be_remembered_is_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MNV2SEARCH_CACHE", str(tmp_path / "file"))
    manifest = read_manifest(folder)
    assert "will need --trust" in remember(manifest)[0]
    with pytest.raises(RecordError, match="not a run that you started"):
        check_trust(folder, manifest, hint="")


@pytest.mark.parametrize(
    ("text", "effects"),
    [
        ("simulated:noise=0.1", ()),
        ("onnxruntime:threads=1 + onnxruntime:threads=1@local", ()),
        ("onnxruntime + onnxruntime@adb://X", ("connect to the device 'onnxruntime@adb://X'",)),
        ("mine:a=1", ("load the plug-in for the device 'mine:a=1'",)),
        ("litert:binary=/bin/sh@ssh://x", ("connect to the device 'litert:binary=/bin/sh@ssh://x'",)),
    ],
)
def test_devices_that_reach_beyond_this_machine_are_told(text: str, effects: tuple[str, ...]) -> None:
    assert device_effects(text) == effects


@pytest.mark.parametrize(
    ("text", "effects"),
    [
        ("imagenet", ()),
        ("proxy:score=synflow", ()),
        ("python:metric=mAP,a.py:f", ("import and call 'a.py:f'",)),
        (" command:timeout_s=3,run=a {spec}", ("run the program 'a {spec}'",)),
        ("train:data=hf:a/b,epochs=3", ("use data 'hf:a/b'",)),
        ("mine:a=1", ("load the plug-in for the accuracy 'mine:a=1'",)),
    ],
)
def test_evaluators_that_run_or_read_something_are_told(text: str, effects: tuple[str, ...]) -> None:
    assert evaluator_effects(text) == effects
