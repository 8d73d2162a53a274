"""Runs in folders: what is written, what an interruption leaves, what may go on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from run_requests import run_request

from mnv2search.errors import DeviceError, OptionError, RecordError
from mnv2search.evaluation import Budget
from mnv2search.report.search.run import nothing_fits_lines, run_rows
from mnv2search.results.manifest import Manifest, read_manifest, write_manifest
from mnv2search.results.records import EVALUATIONS, read_records
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.types import Progress, Settings
from mnv2search.workflows.search.checks.verify import verify
from mnv2search.workflows.search.log import recall
from mnv2search.workflows.search.run import STUDY_FILE, Outcome, Request, resume_request, run


def nothing(_: Progress) -> None:
    """A listener to nothing."""


def request(root: Path, *, trials: int = 16, **changes: Any) -> Request:
    return run_request(root, trials=trials, command=("mnv2search", "run"), **changes)


@pytest.fixture
def done(tmp_path: Path) -> Outcome:
    return run(request(tmp_path), on_progress=nothing)


def stored_trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name="mnv2search", storage=f"sqlite:///{folder / STUDY_FILE}")
    return study.get_trials(deepcopy=False)


def test_a_run_leaves_what_it_promises(done: Outcome) -> None:
    names = {path.name for path in done.folder.iterdir()}
    assert names >= {"manifest.json", EVALUATIONS, "front", "front.csv", "front.png", "ship.yaml", STUDY_FILE}
    assert read_manifest(done.folder).status == "finished"
    assert (done.folder / "front.png").read_bytes().startswith(b"\x89PNG")


def test_every_file_of_the_front_is_the_network_that_was_measured(done: Outcome) -> None:
    files = {path.stem: load_spec(path) for path in (done.folder / "front").glob("*.yaml")}
    assert files == {e.spec.name: e.spec for e in done.result.front}
    assert done.result.ship is not None
    assert load_spec(done.folder / "ship.yaml") == done.result.ship.spec


def test_the_csv_has_a_row_a_member(done: Outcome) -> None:
    rows = list(csv.DictReader((done.folder / "front.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == [e.spec.name for e in done.result.front]
    assert all(float(row["latency_ci_high_ms"]) <= 5.0 and row["latency_kind"] == "measured" for row in rows)


def test_the_study_has_a_trial_for_every_evaluated_network(done: Outcome) -> None:
    recorded = [r for r in read_records(done.folder) if r.pick]
    assert len(stored_trials(done.folder)) == len(recorded) == done.result.trials == 16


def test_a_finished_run_is_recalled_and_not_repeated(done: Outcome, tmp_path: Path) -> None:
    lines = (done.folder / EVALUATIONS).read_text()
    again = run(request(tmp_path), on_progress=nothing)
    assert again.already_finished
    assert [e.spec for e in again.result.front] == [e.spec for e in done.result.front]
    assert (done.folder / EVALUATIONS).read_text() == lines


def test_recalling_from_records_gives_the_same_front(done: Outcome) -> None:
    _, result = recall(done.folder)
    assert result.front == done.result.front
    assert result.ship == done.result.ship


def test_more_trials_go_on_where_the_run_ended(done: Outcome, tmp_path: Path) -> None:
    before = {r.pick for r in read_records(done.folder) if r.pick}
    more = run(request(tmp_path, trials=24), on_progress=nothing)
    after = [r.pick for r in read_records(done.folder) if r.pick]
    assert more.result.trials == 24
    assert len(after) == len(set(after)) == 24
    assert before < set(after)
    assert len(stored_trials(done.folder)) == 24


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"budget": Budget(latency_ms=6.0)}, "budget"),
        ({"device": "simulated:seed=1"}, "device"),
        ({"settings": Settings(trials=16, seed=1)}, "seed"),
        ({"settings": Settings(trials=16, sampler="random")}, "sampler"),
        ({"space": "proxyless"}, "search space"),
    ],
)
def test_a_folder_of_another_run_is_refused(
    done: Outcome, tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    lines = (done.folder / EVALUATIONS).read_text()
    with pytest.raises(RecordError, match=f"another {what}"):
        run(request(tmp_path, **changes), on_progress=nothing)
    assert (done.folder / EVALUATIONS).read_text() == lines


def test_force_begins_anew(done: Outcome, tmp_path: Path) -> None:
    anew = run(request(tmp_path, budget=Budget(latency_ms=6.0), force=True), on_progress=nothing)
    assert not anew.already_finished
    assert read_manifest(anew.folder).budget.latency_ms == 6.0


def interrupted_after(evaluations: int, folder: Path) -> Callable[[Progress], None]:
    def progress(_: Progress) -> None:
        path = folder / EVALUATIONS
        if path.exists() and path.read_bytes().count(b"\n") >= evaluations:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("evaluations", [31, 43, 46], ids=["first networks", "search", "final"])
def test_ctrl_c_keeps_what_is_finished_and_the_run_goes_on(tmp_path: Path, evaluations: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(request(tmp_path), on_progress=interrupted_after(evaluations, tmp_path / "run"))
    folder = tmp_path / "run"
    kept = read_records(folder)
    assert len(kept) >= evaluations - 1
    assert read_manifest(folder).status == "interrupted"
    result = run(resume_request(folder), on_progress=nothing).result
    picks = [r.pick for r in read_records(folder) if r.pick]
    assert read_records(folder)[: len(kept)] == kept
    assert result.trials == len(picks) == len(set(picks)) == 16
    assert read_manifest(folder).status == "finished"


KILLED = """
import os, signal, sys
from pathlib import Path
from typing import Any
from mnv2search.evaluation import Budget
from mnv2search.workflows.search.run import Request, run
from mnv2search.study.types import Settings
folder = Path(sys.argv[1]) / "run"
def progress(p):
    path = folder / "evaluations.jsonl"
    if path.exists() and path.read_bytes().count(b"\\n") >= int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
run(Request(space="mnv2-multipliers", device="simulated", evaluator="imagenet", budget=Budget(latency_ms=5.0),
            settings=Settings(trials=16), root=Path(sys.argv[1]), name="run", command=("mnv2search", "run")),
    on_progress=progress)
"""


def test_kill_9_loses_no_finished_trial(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), "43"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = read_records(tmp_path / "run")
    assert len(kept) >= 43
    outcome = run(request(tmp_path), on_progress=nothing)
    assert read_records(outcome.folder)[: len(kept)] == kept
    assert outcome.result.trials == len(stored_trials(outcome.folder)) == 16


def test_a_trial_that_the_study_missed_is_put_in(done: Outcome, tmp_path: Path) -> None:
    (done.folder / STUDY_FILE).unlink()
    run(request(tmp_path, trials=20), on_progress=nothing)
    assert len(stored_trials(done.folder)) == 20


def test_verify_finds_nothing_moved_on_an_exact_device(done: Outcome) -> None:
    checks = verify(done.folder)
    assert len(checks) == len(done.result.front)
    assert all(check.holds and check.moved == pytest.approx(0, abs=1e-9) for check in checks)


def test_verify_goes_through_the_front_as_its_table_does(done: Outcome) -> None:
    checks = verify(done.folder)
    assert [check.then.spec.name for check in checks] == [row[0] for row in run_rows(done.result).rows]


def test_verify_notices_an_edited_file(done: Outcome) -> None:
    path = next((done.folder / "front").glob("*.yaml"))
    path.write_text(path.read_text().replace("width:", "keep_stem: true\nwidth:"))
    checks = verify(done.folder)
    assert [check.then.spec.name for check in checks if not check.counts_hold] == [path.stem]


def test_verify_notices_an_edited_count(done: Outcome) -> None:
    path = done.folder / EVALUATIONS
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    finals = [line for line in lines if line["stage"] == "final"]
    finals[0]["cost"]["params"] += 1
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert not all(check.counts_hold for check in verify(done.folder))


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    def second(_: Progress) -> None:
        with pytest.raises(RecordError, match="in use by another run"):
            run(request(tmp_path), on_progress=nothing)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request(tmp_path), on_progress=second)


def test_nothing_fits_is_a_result(tmp_path: Path) -> None:
    outcome = run(request(tmp_path, budget=Budget(latency_ms=0.001), name="tight"), on_progress=nothing)
    assert outcome.manifest.status == "nothing fits"
    assert outcome.result.fastest is not None
    assert not list((outcome.folder / "front").glob("*.yaml"))


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "a\n", "-x", "x" * 300, "日" * 100])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    asked = request(tmp_path / "results", name=name or "/")
    with pytest.raises(OptionError, match="the name of the run"):
        run(asked, on_progress=nothing)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_run_are_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "ship.yaml").write_text("precious")
    with pytest.raises(RecordError, match="holds files, but no run"):
        run(request(tmp_path), on_progress=nothing)
    assert (folder / "ship.yaml").read_text() == "precious"


def test_an_error_that_ends_a_run_is_recorded_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def fail(progress: Progress) -> None:
        del progress
        if (folder / EVALUATIONS).exists():
            raise DeviceError("the board is gone")

    with pytest.raises(DeviceError):
        run(request(tmp_path), on_progress=fail)
    manifest, result = recall(folder)
    assert (manifest.status, manifest.failure) == ("failed", "the board is gone")
    lines = nothing_fits_lines(result, budget=manifest.budget, status=manifest.status, failure=manifest.failure)
    assert next(iter(lines)).endswith("failed before its final measurement: the board is gone")
    outcome = run(resume_request(folder), on_progress=nothing)
    assert (outcome.manifest.status, outcome.manifest.failure) == ("finished", "")


def test_an_interrupted_extension_keeps_the_front(done: Outcome, tmp_path: Path) -> None:
    more = len((done.folder / EVALUATIONS).read_text().splitlines()) + 2
    with pytest.raises(KeyboardInterrupt):
        run(request(tmp_path, trials=29), on_progress=interrupted_after(more, done.folder))
    manifest, result = recall(done.folder)
    assert manifest.status == "interrupted"
    assert result.front == done.result.front
    assert len(verify(done.folder)) == len(result.front)


def test_a_missing_member_of_the_front_is_noticed(done: Outcome) -> None:
    path = next((done.folder / "front").glob("*.yaml"))
    path.unlink()
    with pytest.raises(RecordError, match=f"{path.name} is missing"):
        verify(done.folder)


def resumed(folder: Path, *, trials: int) -> tuple[Outcome, list[str]]:
    """A run that goes on, and what it said."""
    noted: list[str] = []
    longer = resume_request(folder, settings=Settings(trials=trials))
    return run(longer, on_progress=nothing, on_note=noted.append), noted


def stored_names(folder: Path) -> list[str]:
    return [trial.user_attrs["name"] for trial in stored_trials(folder)]


def recorded_names(folder: Path) -> list[str]:
    return [record.evaluation.spec.name for record in read_records(folder) if record.pick]


def test_a_study_file_that_is_none_is_made_anew_and_told(done: Outcome) -> None:
    (done.folder / STUDY_FILE).write_text("junk" * 1000)
    _, noted = resumed(done.folder, trials=20)
    assert noted == ["study.sqlite3 cannot be read (file is not a database): it is rebuilt from the records"]
    assert stored_names(done.folder) == recorded_names(done.folder)


@pytest.mark.parametrize("kept", [0, 35], ids=["deleted", "shortened"])
def test_records_that_were_lost_leave_the_study_too(done: Outcome, kept: int) -> None:
    path = done.folder / EVALUATIONS
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
    outcome, noted = resumed(done.folder, trials=20)
    assert noted == ["study.sqlite3 does not match the records: it is rebuilt from the records"]
    assert stored_names(done.folder) == recorded_names(done.folder)
    assert outcome.result.trials == len(set(recorded_names(done.folder))) == 20


class KilledError(BaseException):
    """Ends a run and leaves nothing behind, like a kill."""


class Clock:
    """A clock on which nothing but `now` passes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def killed_after(evaluations: int, folder: Path, clock: Clock, *, second_s: float) -> Callable[[Progress], None]:
    """Kills a run of which every progress takes so long; the one in which it is killed takes an hour."""
    path = folder / EVALUATIONS

    def progress(_: Progress) -> None:
        clock.now += second_s
        if path.exists() and path.read_bytes().count(b"\n") >= evaluations:
            clock.now += 3600.0
            raise KilledError

    return progress


def test_time_before_a_kill_counts_up_to_the_last_record(tmp_path: Path) -> None:
    clock, settings = Clock(), Settings(trials=16, time_s=50_000.0)
    folder = tmp_path / "run"
    with pytest.raises(KilledError):
        run(
            request(tmp_path, settings=settings),
            on_progress=killed_after(40, folder, clock, second_s=3.0),
            clock=clock,
        )
    used_s = read_manifest(folder).elapsed_s
    assert clock.now - 100.0 - 3600.0 - 3.0 * 10 < used_s < clock.now - 100.0 - 3600.0
    left: list[float | None] = []

    def hear(progress: Progress) -> None:
        left.append(progress.left_s)

    again = run(request(tmp_path, settings=settings), on_progress=hear, clock=clock)
    assert left[0] == pytest.approx(50_000.0 - used_s)
    assert again.manifest.elapsed_s == pytest.approx(used_s)


def test_the_manifest_is_not_written_at_every_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def write(folder: Path, manifest: Manifest) -> None:
        written.append(manifest.status)
        write_manifest(folder, manifest)

    monkeypatch.setattr("mnv2search.workflows.search.log.write_manifest", write)
    run(request(tmp_path), on_progress=nothing, clock=Clock())
    assert written == ["running", "running", "finished"]


WITHOUT_TORCH = """
import sys
from pathlib import Path
from mnv2search.evaluation import Budget
from mnv2search.workflows.search.run import Request, run
from mnv2search.study.types import Settings
run(Request(space="mnv2-multipliers", device="simulated", evaluator="imagenet", budget=Budget(latency_ms=5.0),
            settings=Settings(trials=4), root=Path(sys.argv[1])), on_progress=lambda _: None)
sys.exit("torch" in sys.modules)
"""


def test_a_search_that_trains_nothing_does_not_load_torch(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
