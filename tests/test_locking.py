"""A folder that one process at a time writes to."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mnv2search.errors import RecordError
from mnv2search.locking import LOCK, folder_lock

HOLDER = """
import sys
from pathlib import Path
from mnv2search.locking import folder_lock
with folder_lock(Path(sys.argv[1]), busy="another run", hint="give another folder"):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the folder until it is ended."""
    words = [sys.executable, "-c", HOLDER, str(folder)]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def ended_process() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def locked(folder: Path) -> None:
    with folder_lock(folder, busy="another run", hint="give another folder"):
        (folder / "kept").touch()


def test_two_processes_do_not_hold_a_folder_and_a_killed_one_holds_none(tmp_path: Path) -> None:
    holder = hold(tmp_path)
    with pytest.raises(RecordError, match="is in use by another run") as refused:
        locked(tmp_path)
    assert refused.value.hint == "wait for it to end, or give another folder"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    locked(tmp_path)


def test_the_same_process_does_not_hold_a_folder_twice(tmp_path: Path) -> None:
    with (
        folder_lock(tmp_path, busy="another run", hint=""),
        pytest.raises(RecordError, match="in use by another run"),
    ):
        locked(tmp_path)


def test_a_folder_that_stays_empty_is_removed_with_its_parents(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "results" / "run", busy="", hint="") as is_new:
        assert is_new
    assert not list(tmp_path.iterdir())
    locked(tmp_path / "results" / "run")
    assert {path.name for path in (tmp_path / "results" / "run").iterdir()} == {LOCK, "kept"}


def test_an_empty_folder_that_was_there_stays(tmp_path: Path) -> None:
    with folder_lock(tmp_path, busy="", hint="") as is_new:
        assert not is_new
    assert tmp_path.exists()


def test_half_written_files_of_ended_processes_are_removed(tmp_path: Path) -> None:
    ended, alive = ended_process(), os.getppid()
    partial = [f".last.ckpt.{ended}.part", f".best.pt.{ended}.part", f".a.{os.getpid()}.part"]
    others = [f".last.ckpt.{alive}.part", f".{ended}-notes.txt", "last.ckpt", "a.part", ".part", f".{ended}.part"]
    for name in (*partial, *others):
        (tmp_path / name).touch()
    (tmp_path / f".folder.{ended}.part").mkdir()
    locked(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*others, LOCK, "kept", f".folder.{ended}.part"}


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "victim")
    with pytest.raises(RecordError, match="run: cannot be written"):
        locked(tmp_path / "run")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_named_pipe_in_place_of_the_lock_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOCK)
    locked(tmp_path)
    assert (tmp_path / "kept").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(RecordError, match="run: cannot be written: File exists"):
        locked(tmp_path / "run")


def test_a_folder_that_its_holder_removes_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the opening of the lock file and its locking, the process that held the folder removes it."""
    folder, real, stages = tmp_path / "run", fcntl.flock, list[int]()

    def flock(descriptor: int, operation: int) -> None:
        if not stages:
            (folder / LOCK).unlink()
            folder.rmdir()
        stages.append(descriptor)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    locked(folder)
    assert len(stages) == 2
    assert (folder / "kept").exists()
