"""The SQLite file of a study: a copy of the records for Optuna's tools and for samplers that store attributes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import URL, insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from mnv2search.atomic import replacing
from mnv2search.errors import WriteError

STUDY = "mnv2search"
DIRECTIONS: tuple[Literal["maximize"], Literal["minimize"]] = ("maximize", "minimize")
# Names of the objectives in Optuna's tools, and the attribute in which Optuna keeps them.
OBJECTIVES, OBJECTIVES_KEY = ("accuracy", "latency, ms"), "study:metric_names"


class UnreadableStudyError(ValueError):
    """A study file is damaged or has other content; the message is the reason."""


class StoredTrial(NamedTuple):
    """A trial of a study file, with the option index of each parameter.

    `state` is the name of an `optuna.trial.TrialState`; `system_attrs` are attributes of the sampler.
    """

    state: str
    values: list[float]
    indices: dict[str, int]
    user_attrs: dict[str, object]
    system_attrs: dict[str, Any]


class StudyFile:
    """A study file to which each trial is appended in one transaction, with one statement for each table.

    Appending through an `optuna.Study` would keep a copy of every trial in memory, and appending through an
    `RDBStorage` takes two statements for each parameter. Only one process may append to a file.
    """

    def __init__(self, path: Path, *, count: int, is_new: bool = False) -> None:
        self._path, self._count = path, count
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._storage = RDBStorage(URL.create("sqlite", database=str(path)).render_as_string())
        if is_new:
            directions = [StudyDirection[direction.upper()] for direction in DIRECTIONS]
            self._study_id = self._storage.create_new_study(directions, STUDY)
            self._storage.set_study_system_attr(self._study_id, OBJECTIVES_KEY, list(OBJECTIVES))
        else:
            self._study_id = self._storage.get_study_id_from_name(STUDY)

    @classmethod
    def open(cls, path: Path, distributions: Mapping[str, BaseDistribution]) -> StudyFile:
        """Open a file.

        Raises:
            UnreadableStudyError: the file is missing, cannot be read, or has other distributions.
        """
        if not path.is_file():
            raise UnreadableStudyError("it is missing")
        with _reading(path) as database:
            (state,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if state != "ok":
                raise UnreadableStudyError(state)
            stored = set(database.execute("SELECT DISTINCT param_name, distribution_json FROM trial_params"))
            if not stored <= {(name, distribution_to_json(one)) for name, one in distributions.items()}:
                raise UnreadableStudyError("it belongs to another space")
            (count,) = database.execute("SELECT COUNT(*) FROM trials").fetchone()
            return cls(path, count=count)

    @property
    def count(self) -> int:
        """The number of trials in the file."""
        return self._count

    def trials(self) -> Iterator[StoredTrial]:
        """Yield the trials in order, without creating Optuna's objects for each.

        Raises:
            UnreadableStudyError: the file cannot be read.
        """
        with _reading(self._path) as database:
            for trial_id, state in database.execute("SELECT trial_id, state FROM trials ORDER BY number, trial_id"):
                yield _stored_trial(database, trial_id, state)

    @classmethod
    def create(cls, path: Path, trials: Iterable[FrozenTrial]) -> StudyFile:
        """Create a file, and replace an existing one.

        Raises:
            WriteError: the file cannot be written.
        """
        try:
            # the journal of the replaced file, which SQLite would apply to the new one
            path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
            with replacing(path) as temporary:
                file, count = cls(temporary, count=0, is_new=True), 0
                with Session(file._storage.engine) as session, session.begin():
                    for count, trial in enumerate(trials, start=1):
                        file._add(session, trial, number=count - 1)
                file._storage.remove_session()
                file._storage.engine.dispose()
            return cls(path, count=count)
        except (OSError, optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            raise _write_error(error) from error

    def append(self, trial: FrozenTrial) -> None:
        """Write a finished trial.

        Raises:
            WriteError: the trial cannot be written.
        """
        try:
            with Session(self._storage.engine) as session, session.begin():
                self._add(session, trial, number=self._count)
        except SQLAlchemyError as error:
            raise _write_error(error) from error
        self._count += 1

    def _add(self, session: Session, trial: FrozenTrial, *, number: int) -> None:
        row = models.TrialModel(
            study_id=self._study_id,
            number=number,
            state=trial.state,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
        )
        session.add(row)
        session.flush()
        for model, values in _rows(trial).items():
            if values:
                session.execute(insert(model), [{"trial_id": row.trial_id} | value for value in values])


def _rows(trial: FrozenTrial) -> dict[type[models.BaseModel], list[dict[str, object]]]:
    """The rows of a trial in the tables of Optuna's storage, without the id of the trial."""
    stored = [models.TrialValueModel.value_to_stored_repr(value) for value in trial.values or ()]
    return {
        models.TrialValueModel: [
            {"objective": objective, "value": value, "value_type": kind}
            for objective, (value, kind) in enumerate(stored)
        ],
        models.TrialParamModel: [
            {
                "param_name": name,
                "param_value": trial.distributions[name].to_internal_repr(value),
                "distribution_json": _json_of(trial.distributions[name]),
            }
            for name, value in trial.params.items()
        ],
        models.TrialUserAttributeModel: _attributes(trial.user_attrs),
        models.TrialSystemAttributeModel: _attributes(trial.system_attrs),
    }


def _attributes(values: Mapping[str, object]) -> list[dict[str, object]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in values.items()]


@lru_cache(maxsize=4096)
def _json_of(distribution: BaseDistribution) -> str:
    return distribution_to_json(distribution)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file; every error while reading is raised as an `UnreadableStudyError`."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            yield database
    except (UnreadableStudyError, GeneratorExit):
        raise
    except Exception as error:
        raise UnreadableStudyError(_cause(error)) from error


def _stored_trial(database: sqlite3.Connection, trial_id: int, state: str) -> StoredTrial:
    def rows(columns: str, table: str) -> sqlite3.Cursor:
        return database.execute(f"SELECT {columns} FROM {table} WHERE trial_id = ?", (trial_id,))

    return StoredTrial(
        state=state,
        values=[value for _, value in sorted(rows("objective, value", "trial_values"))],
        indices={name: int(index) for name, index in rows("param_name, param_value", "trial_params")},
        user_attrs={key: json.loads(text) for key, text in rows("key, value_json", "trial_user_attributes")},
        system_attrs={key: json.loads(text) for key, text in rows("key, value_json", "trial_system_attributes")},
    )


def _write_error(error: Exception) -> WriteError:
    return WriteError(
        f"the study cannot be written: {_cause(error)}",
        hint="free some space and run the same command again; finished trials are kept",
    )


def _cause(error: BaseException) -> str:
    """The first line of the innermost error, which has the reason; the outer errors only have SQL."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return next(iter(str(error).splitlines()), type(error).__name__)
