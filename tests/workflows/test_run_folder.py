"""A run's folder after a kill: the old run whole, or the new one begun; never something in between."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from run_requests import run_request

from mnv2search.errors import RecordError, WriteError
from mnv2search.results.manifest import MANIFEST, STARTING, Manifest, read_manifest, write_manifest
from mnv2search.results.records import EVALUATIONS, read_records
from mnv2search.study.types import Progress, Settings
from mnv2search.workflows.search import folder as run_folder
from mnv2search.workflows.search.checks.verify import verify
from mnv2search.workflows.search.folder import SPACE
from mnv2search.workflows.search.log import recall
from mnv2search.workflows.search.run import STUDY_FILE, Request, resume_request, run

FUZZER = Path(__file__).parents[2] / "benchmarks" / "fuzz_kills.py"


class KilledError(BaseException):
    """Ends a run and leaves nothing behind, like a kill."""


def nothing(_: Progress) -> None:
    """A listener to nothing."""


def request(root: Path, *, latency_ms: float = 5.0, force: bool = False) -> Request:
    return run_request(root, trials=13, latency_ms=latency_ms, command=("mnv2search", "run"), force=force)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but its lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_kills_before_changes_of_files_leave_a_folder_that_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZER), "--kills", "3"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-2].endswith("| 3 |  |  | 0 |")


def test_force_leaves_the_old_run_whole_until_the_new_one_has_a_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(request(tmp_path), on_progress=nothing).folder
    before = contents(folder)

    def kill(*_: object) -> None:
        raise KilledError

    monkeypatch.setattr(run_folder, "write_manifest", kill)
    with pytest.raises(KilledError):
        run(request(tmp_path, latency_ms=6.0, force=True), on_progress=nothing)
    assert contents(folder) == before


def removed(folder: Path) -> None:
    shutil.rmtree(folder)


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("renamed"))


def replaced_by_another_run(folder: Path) -> None:
    removed(folder)
    folder.mkdir()
    for name in (".lock", "manifest.json", "evaluations.jsonl"):
        (folder / name).touch()


@pytest.mark.parametrize("phase", ["baseline", "search", "final"])
@pytest.mark.parametrize(
    ("change", "left"),
    [(removed, []), (renamed, []), (replaced_by_another_run, [".lock", "evaluations.jsonl", "manifest.json"])],
)
def test_a_run_whose_folder_is_gone_stops_and_makes_no_other(
    change: Callable[[Path], None], left: list[str], phase: str, tmp_path: Path
) -> None:
    wanted = request(tmp_path)
    done: list[Path] = []

    def progressed(progress: Progress) -> None:
        if progress.phase == phase and not done:
            done.append(tmp_path / "run")
            change(tmp_path / "run")

    with pytest.raises(WriteError, match="was removed or renamed while the run used it"):
        run(wanted, on_progress=progressed)
    assert done
    found = (tmp_path / "run").glob("*")
    assert sorted(path.name for path in found) == left
    assert all(path.read_bytes() == b"" for path in (tmp_path / "run").glob("*"))


def test_a_renamed_run_resumes_under_its_new_name(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="was removed or renamed"):
        run(
            request(tmp_path),
            on_progress=lambda _: renamed(tmp_path / "run") if (tmp_path / "run").exists() else None,
        )
    before = contents(tmp_path / "renamed").get(EVALUATIONS, b"")
    outcome = run(resume_request(tmp_path / "renamed"), on_progress=nothing)
    assert outcome.result.front
    assert contents(tmp_path / "renamed")[EVALUATIONS].startswith(before)


def test_an_interruption_of_a_run_that_cannot_be_written_is_one(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.phase == "search":
            removed(tmp_path / "run")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request(tmp_path), on_progress=interrupt)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run of 5 ms that one of 6 ms was about to replace: it was killed after its manifest."""
    run(request(tmp_path), on_progress=nothing)

    def write_and_kill(folder: Path, manifest: Manifest) -> None:
        write_manifest(folder, manifest)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_manifest", write_and_kill)
        with pytest.raises(KilledError):
            run(request(tmp_path, latency_ms=6.0, force=True), on_progress=nothing)
    return tmp_path / "run"


def test_records_of_a_run_that_was_replaced_are_not_shown_as_those_of_the_new_one(replaced: Path) -> None:
    assert read_manifest(replaced).status == STARTING
    assert (replaced / EVALUATIONS).exists()
    with pytest.raises(RecordError, match="no network is finished yet"):
        recall(replaced)


def test_a_run_that_was_killed_at_its_start_goes_on(replaced: Path) -> None:
    outcome = run(resume_request(replaced), on_progress=nothing)
    assert outcome.manifest.status == "finished"
    assert {record.evaluation.budget.latency_ms for record in read_records(replaced)} == {6.0}
    assert all(check.holds for check in verify(replaced))


def test_the_space_of_a_run_is_in_its_manifest(tmp_path: Path) -> None:
    folder = run(request(tmp_path), on_progress=nothing).folder
    space = (folder / SPACE).read_text()
    (folder / SPACE).unlink()
    longer = replace(resume_request(folder), settings=Settings(trials=14))
    assert run(longer, on_progress=nothing).result.trials == 14
    assert (folder / SPACE).read_text() == space


def test_a_folder_with_temporary_files_alone_counts_as_empty(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / f".{MANIFEST}.{process.pid}.part").write_text("{")
    run(request(tmp_path), on_progress=nothing)
    assert not list(folder.glob("*.part"))
    assert not list(folder.glob(".*.part"))


def test_force_leaves_nothing_of_the_old_run(tmp_path: Path) -> None:
    folder = run(request(tmp_path), on_progress=nothing).folder
    for name in ("confirmation.json", f"{STUDY_FILE}-journal", "ship.pt"):
        (folder / name).write_text("old")
    with pytest.raises(KeyboardInterrupt):
        run(request(tmp_path, force=True), on_progress=interrupt)
    assert {path.name for path in folder.iterdir()} == {".lock", MANIFEST, SPACE, "front"}


def interrupt(_: Progress) -> None:
    raise KeyboardInterrupt
