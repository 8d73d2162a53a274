"""The SQLite file of a study: a copy of the records for Optuna's tools and for samplers that store attributes."""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from mnv2search.atomic import replacing
from mnv2search.errors import WriteError

__all__ = ["DIRECTIONS", "StudyFile", "UnreadableStudyError"]

STUDY = "mnv2search"
DIRECTIONS: tuple[Literal["maximize"], Literal["minimize"]] = ("maximize", "minimize")


class UnreadableStudyError(ValueError):
    """A study file is damaged or holds something else; the message says what is wrong."""


class StudyFile:
    """A study file that trials are appended to, each in one transaction.

    Appending through an `optuna.Study` would keep a copy of every trial in memory.
    """

    def __init__(self, path: Path, *, is_new: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._storage = RDBStorage(URL.create("sqlite", database=str(path)).render_as_string())
        if is_new:
            directions = [StudyDirection[direction.upper()] for direction in DIRECTIONS]
            self._study_id = self._storage.create_new_study(directions, STUDY)
        else:
            self._study_id = self._storage.get_study_id_from_name(STUDY)

    @classmethod
    def open(cls, path: Path) -> tuple[StudyFile, list[FrozenTrial]]:
        """The file and its trials.

        Raises:
            UnreadableStudyError: the file is missing or cannot be read.
        """
        if not path.is_file():
            raise UnreadableStudyError("it is missing")
        try:
            with contextlib.closing(sqlite3.connect(path)) as database:
                (state,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if state != "ok":
                raise UnreadableStudyError(state)
            file = cls(path)
            return file, file._storage.get_all_trials(file._study_id, deepcopy=False)
        except UnreadableStudyError:
            raise
        except Exception as error:
            raise UnreadableStudyError(_cause(error)) from error

    @classmethod
    def create(cls, path: Path, trials: Iterable[FrozenTrial]) -> StudyFile:
        """A new file, which replaces an existing one.

        Raises:
            WriteError: the file cannot be written.
        """
        try:
            # the journal of the replaced file, which SQLite would apply to the new one
            path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
            with replacing(path) as temporary:
                file = cls(temporary, is_new=True)
                for trial in trials:
                    file.append(trial)
                file._storage.remove_session()
                file._storage.engine.dispose()
            return cls(path)
        except (OSError, optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            raise _write_error(error) from error

    def append(self, trial: FrozenTrial) -> None:
        """Write a finished trial.

        Raises:
            WriteError: the trial cannot be written.
        """
        try:
            self._storage.create_new_trial(self._study_id, template_trial=trial)
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            raise _write_error(error) from error


def _write_error(error: Exception) -> WriteError:
    return WriteError(
        f"the study cannot be written: {_cause(error)}",
        hint="free some space and run the same command again; finished trials are kept",
    )


def _cause(error: BaseException) -> str:
    """The first line of the innermost error, which has the reason; the outer ones only have SQL."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return next(iter(str(error).splitlines()), type(error).__name__)
