"""Damaged records are dropped by a command of ours, and the run goes on; reading says what state a run is in."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_requests import run_request

from mnv2search.errors import RecordError
from mnv2search.locking import LOCK
from mnv2search.results.manifest import read_manifest, write_manifest
from mnv2search.results.records import EVALUATIONS, read_records
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.workflows.search.folder import DAMAGED, repair_run
from mnv2search.workflows.search.log import is_running, recall
from mnv2search.workflows.search.run import resume_request
from mnv2search.workflows.search.run import run as search

Run = Callable[..., Any]
FORMAT1 = Path(__file__).parent / "format1"
TRIALS = 16


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    asked = run_request(root, trials=TRIALS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2SEARCH_CACHE", str(root / "cache"))
        return search(asked, on_progress=lambda _: None).folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "results" / "run"))


def lines_of(folder: Path) -> list[bytes]:
    return (folder / EVALUATIONS).read_bytes().splitlines(keepends=True)


def replace_line(folder: Path, number: int, content: bytes) -> None:
    lines = lines_of(folder)
    lines[number - 1] = content + b"\n"
    (folder / EVALUATIONS).write_bytes(b"".join(lines))


def line_of(folder: Path, trial: int) -> int:
    """The number of the line of a trial, from 1."""
    return next(i for i, line in enumerate(lines_of(folder), start=1) if json.loads(line)["trial"] == trial)


def check_whole(folder: Path) -> None:
    """A name stands for one network, and the front on disk is the front of the records."""
    records = read_records(folder)
    networks = {r.evaluation.spec for r in records}
    assert len({spec.name for spec in networks}) == len(networks)
    trials = [r.trial for r in records if r.trial >= 0]
    assert len(set(trials)) == len(trials)
    front = {e.spec.name: e.spec for e in recall(folder)[1].front}
    assert {path.stem: load_spec(path) for path in (folder / "front").glob("*.yaml")} == front


def test_a_damaged_line_is_dropped_and_the_run_goes_on(run: Run, folder: Path) -> None:
    number = line_of(folder, 5)
    replace_line(folder, number, b"{torn")
    said = run("front", "run")
    assert said.code == 2
    assert f"evaluations.jsonl:{number}: is not a record" in said.err
    assert "mnv2search verify --repair results/run" in said.err
    repaired = run("verify", "--repair", "run")
    assert repaired.code == 0
    assert f"line {number} is not a record" in repaired.out
    assert "mnv2search run --resume run" in repaired.out
    assert (folder / DAMAGED).read_bytes() == b"{torn\n"
    assert run("run", "--resume", "run", "--trials", str(TRIALS + 1), "--no-confirm").code == 0
    check_whole(folder)
    assert len({r.pick for r in read_records(folder) if r.pick}) == TRIALS + 1
    assert run("verify", "run").code == 0


def test_new_networks_are_numbered_above_all_that_are_known(folder: Path) -> None:
    replace_line(folder, line_of(folder, 3), b"\xff\xfe")
    repair_run(folder)
    before = {r.trial for r in read_records(folder)}
    search(resume_request(folder), on_progress=lambda _: None)
    (new,) = {r.trial for r in read_records(folder)} - before
    assert new == TRIALS
    check_whole(folder)


def test_a_repair_says_each_line_in_json(run: Run, folder: Path) -> None:
    replace_line(folder, 2, b"")
    replace_line(folder, 4, b"[1]")
    found = json.loads(run("verify", "--repair", "run", "--json").out)
    assert [line["number"] for line in found["dropped"]] == [2, 4]
    assert found["kept"] == len(lines_of(folder))


def test_a_whole_run_needs_no_repair(run: Run, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert "nothing to repair" in run("verify", "--repair", "run").out
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_repair_measures_nothing(run: Run, folder: Path) -> None:
    assert run("verify", "--repair", "run", "--time", "5s").code == 2


def test_two_networks_of_one_name_are_told_apart(folder: Path) -> None:
    first, second = (json.loads(lines_of(folder)[line_of(folder, trial) - 1]) for trial in (1, 2))
    spec = second["spec"].replace(second["name"], first["name"])
    replace_line(folder, line_of(folder, 2), json.dumps(second | {"name": first["name"], "spec": spec}).encode())
    with pytest.raises(RecordError, match=f"a different network named '{first['name']}'"):
        read_records(folder)
    assert len(repair_run(folder).dropped) >= 1
    check_names = [r.evaluation.spec.name for r in read_records(folder) if r.trial >= 0]
    assert len(set(check_names)) == len(check_names)


def test_records_of_a_later_version_are_not_dropped(folder: Path) -> None:
    replace_line(folder, 3, b'{"format":2}')
    before = lines_of(folder)
    with pytest.raises(RecordError, match="has format 2; this version reads format 1"):
        repair_run(folder)
    assert lines_of(folder) == before


def test_a_folder_in_use_is_not_repaired(folder: Path) -> None:
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RecordError, match="in use by another run"):
            repair_run(folder)


def test_a_live_run_is_said_to_be_running(run: Run, folder: Path) -> None:
    write_manifest(folder, replace(read_manifest(folder), status="running"))
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert is_running(folder)
        assert "this run is still running" in run("front", "run").err
        assert json.loads(run("front", "run", "--json").out)["status"] == "running"
    assert not is_running(folder)
    assert "this run was interrupted" in run("front", "run").err
    assert recall(folder)[0].status == "interrupted"


def test_a_live_run_without_a_front_is_not_said_to_have_ended(run: Run, folder: Path) -> None:
    write_manifest(folder, replace(read_manifest(folder), status="running"))
    (folder / EVALUATIONS).write_bytes(b"".join(line for line in lines_of(folder) if b'"final' not in line))
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert f"this run is still running, {TRIALS} networks evaluated so far" in run("front", "run").out
    assert "this run was interrupted before its final measurement" in run("front", "run").out


def test_a_finished_run_says_nothing_of_its_state(run: Run, folder: Path) -> None:
    assert run("front", "run").err == ""


def test_a_folder_as_it_was_first_written_is_read(tmp_path: Path) -> None:
    manifest, result = recall(FORMAT1)
    assert (manifest.status, manifest.settings.time_s, manifest.settings.sampler) == ("finished", 10.0, "hybrid")
    assert [e.spec.name for e in result.front] == ["mnv2-0041", "mnv2-0035", "mnv2-0032"]
    copied = Path(shutil.copytree(FORMAT1, tmp_path / "run"))
    assert repair_run(copied).dropped == ()
