"""Files are replaced whole, and what killed processes left is removed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnv2search.atomic import remove_leftovers, replacing, write_error, write_text
from mnv2search.errors import WriteError


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "file"
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with replacing(pipe) as target:
        assert target == pipe
    assert pipe.is_fifo()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_where_writing_fails_the_old_file_is_kept(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file"
    target.write_text("old")

    def write() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_of_dead_processes_are_removed(tmp_path: Path, dead: int) -> None:
    (tmp_path / "front").mkdir()
    left = [
        tmp_path / f".manifest.json.{dead}.part",
        tmp_path / "front" / f".a.yaml.{dead}.part",
        tmp_path / f".study.sqlite3.{dead}.part-journal",
        tmp_path / f".own.{os.getpid()}.part",  # of an earlier process with the same number
    ]
    for path in left:
        path.write_text("half")
    remove_leftovers(tmp_path, recursive=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_everything_else_is_left_alone(tmp_path: Path, dead: int) -> None:
    names = [
        f".manifest.json.{os.getppid()}.part",
        ".manifest.json.1.part",
        f"mine.{dead}.part",
        f".mine.{dead}.partly",
        ".mine.part",
        f"{dead}.part",
    ]
    for name in names:
        (tmp_path / name).write_text("kept")
    (tmp_path / f".folder.{dead}.part").mkdir()
    (tmp_path / f".link.{dead}.part").symlink_to(tmp_path / ".mine.part")
    remove_leftovers(tmp_path)
    kept = {*names, f".folder.{dead}.part", f".link.{dead}.part"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_folders_in_a_folder_are_left_alone_unless_asked(tmp_path: Path, dead: int) -> None:
    (tmp_path / "inner").mkdir()
    inner, own = tmp_path / "inner" / f".file.{dead}.part", tmp_path / f".file.{dead}.part"
    for path in (inner, own):
        path.write_text("half")
    remove_leftovers(tmp_path)
    assert inner.exists()
    assert not own.exists()


def test_a_removed_folder_is_not_created_again_unless_allowed(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"run/file: cannot be written: No such file or directory"):
        write_text(tmp_path / "run" / "file", "new", makes_folder=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "check that the folder exists")]
)
def test_the_hint_of_a_failed_write_fits_its_reason(number: int, hint: str) -> None:
    error = write_error(Path("file"), OSError(number, "why"), kept="the rest is kept")
    assert error.hint.startswith(hint)
    assert error.hint.endswith("; the rest is kept")
    assert error.exit_code == 1
