"""The folder of a run: for one process alone, and for one command alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mnv2search.errors import Mnv2SearchError, RecordError
from mnv2search.jobs.best import BEFORE, FINETUNE
from mnv2search.jobs.outputs import PAGE
from mnv2search.locking import LOCK, folder_lock
from mnv2search.records import EVALUATIONS, MANIFEST, Manifest, read_manifest

__all__ = ["STUDY_FILE", "WORK", "continued", "locked"]

STUDY_FILE = "study.sqlite3"
# What an evaluator keeps for itself, such as the weights of a supernet.
WORK = "work"


def continued(folder: Path, wanted: Manifest, *, force: bool) -> Manifest:
    """The manifest to go on with: the folder's own where it belongs to the same command, else the wanted one.

    Raises:
        RecordError: the folder holds a run of another command.
    """
    if not (folder / MANIFEST).exists():
        if not force and any(path.name != LOCK for path in folder.iterdir()):
            raise RecordError(
                f"{folder} holds files, but no run: there is no {MANIFEST}",
                hint="use another --name, or --force to overwrite what a run writes",
            )
        _clear(folder)
        (folder / "space.yaml").write_text(wanted.space, encoding="utf-8")
        return wanted
    if force:
        _clear(folder)
        (folder / "space.yaml").write_text(wanted.space, encoding="utf-8")
        return wanted
    held = read_manifest(folder)
    for what, before, now in (
        ("search space", held.space, wanted.space),
        ("device", held.device.fingerprint, wanted.device.fingerprint),
        ("accuracy", held.evaluator, wanted.evaluator),
        ("budget", held.budget, wanted.budget),
        ("seed", held.seed, wanted.seed),
        ("sampler", held.settings["sampler"], wanted.settings["sampler"]),
    ):
        if before != now:
            raise RecordError(
                f"{folder} holds a run with another {what}",
                hint="give this run another --name, or --force to begin anew",
            )
    return replace(held, settings=wanted.settings, command=wanted.command or held.command)


def _clear(folder: Path) -> None:
    for name in (EVALUATIONS, MANIFEST, STUDY_FILE, "front.csv", "front.png", "ship.yaml", PAGE):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / "front").glob("*.yaml"):
        path.unlink()
    for path in (*(folder / "front").glob("*.pt"), folder / "ship.pt"):
        path.unlink(missing_ok=True)
    for name in (WORK, FINETUNE, BEFORE):
        shutil.rmtree(folder / name, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made where it is missing, for this process alone.

    One that was made is removed where the run fails before anything was found out.
    """
    with folder_lock(folder, busy="another run", hint="use another --name or --output-dir") as is_new:
        try:
            yield
        except Mnv2SearchError:
            if is_new and not _holds_anything(folder):
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _holds_anything(folder: Path) -> bool:
    records, work = folder / EVALUATIONS, folder / WORK
    measured = records.exists() and records.stat().st_size > 0
    return measured or any(path.is_file() for path in work.rglob("*"))
