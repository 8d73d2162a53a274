"""The trials of a shared study, in the tables of Optuna's `RDBStorage`: one transaction for each change.

Optuna's own methods write one attribute at a time, and read first what they are about to write. A network then takes
about ten times as many statements.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import msgspec
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import ColumnElement, Connection, insert, select, update

TABLES = models.BaseModel.metadata.tables
TRIALS, STUDY_ATTRIBUTES = TABLES["trials"], TABLES["study_user_attributes"]
ATTRIBUTES, VALUES = TABLES["trial_user_attributes"], TABLES["trial_values"]
UNFINISHED = (TrialState.WAITING, TrialState.RUNNING)


class StoredTrial(NamedTuple):
    """Id, state and user attributes of a trial."""

    trial_id: int
    state: TrialState
    attributes: Mapping[str, object]


class Trials(Protocol):
    """The trials of one study, in a storage that other processes change at the same time.

    The values of attributes are those that msgspec can encode; they are read as plain values.
    """

    def add(self, attributes: Mapping[str, object]) -> int:
        """Add a waiting trial; returns its id."""

    def claim(
        self, choose: Callable[[list[StoredTrial]], Iterable[StoredTrial]], attributes: Mapping[str, object]
    ) -> StoredTrial | None:
        """Start the first trial of those that `choose` returns of the waiting ones, unless others are quicker."""

    def end(
        self, trial_id: int, state: TrialState, attributes: Mapping[str, object], values: Sequence[float] = ()
    ) -> bool:
        """End a trial; returns False if it is already finished."""

    def with_states(self, states: Iterable[TrialState]) -> list[StoredTrial]:
        """The trials in one of these states, in order."""

    def finished(self, ids: Iterable[int], *, parts: Iterable[int]) -> list[StoredTrial]:
        """Those of the trials with these ids that are finished, in order; `parts` has all studies with others."""

    def study_attributes(self, keys: Collection[str]) -> dict[str, object]:
        """Those of these attributes of the study that exist."""


class DatabaseTrials:
    """`Trials` in a database. The process that adds trials numbers them, so that it has added all of them."""

    def __init__(self, storage: RDBStorage, study_id: int) -> None:
        self._engine, self._study_id, self._count = storage.engine, study_id, 0

    def add(self, attributes: Mapping[str, object]) -> int:
        """Add a waiting trial; returns its id."""
        with self._engine.begin() as database:
            row = {"number": self._count, "study_id": self._study_id, "state": TrialState.WAITING}
            key = database.execute(insert(TRIALS), row).inserted_primary_key
            assert key is not None  # a single row is inserted
            trial_id = int(key[0])
            _write(database, trial_id, attributes)
        self._count += 1
        return trial_id

    def claim(
        self, choose: Callable[[list[StoredTrial]], Iterable[StoredTrial]], attributes: Mapping[str, object]
    ) -> StoredTrial | None:
        """Start the first trial of those that `choose` returns of the waiting ones, unless others are quicker."""
        with self._engine.begin() as database:
            for trial in choose(_found(database, *self._in([TrialState.WAITING]))):
                if _change(database, trial.trial_id, [TrialState.WAITING], TrialState.RUNNING, "datetime_start"):
                    _write(database, trial.trial_id, attributes)
                    return trial
        return None

    def end(
        self, trial_id: int, state: TrialState, attributes: Mapping[str, object], values: Sequence[float] = ()
    ) -> bool:
        """End a trial; returns False if it is already finished."""
        with self._engine.begin() as database:
            if not _change(database, trial_id, UNFINISHED, state, "datetime_complete"):
                return False
            _write(database, trial_id, attributes)
            if values:
                database.execute(insert(VALUES), [_value(trial_id, *numbered) for numbered in enumerate(values)])
        return True

    def with_states(self, states: Iterable[TrialState]) -> list[StoredTrial]:
        """The trials in one of these states, in order."""
        with self._engine.connect() as database:
            return _found(database, *self._in(states))

    def finished(self, ids: Iterable[int], *, parts: Iterable[int]) -> list[StoredTrial]:
        """Those of the trials with these ids that are finished, in order."""
        del parts
        with self._engine.connect() as database:
            return _found(database, TRIALS.c.trial_id.in_(list(ids)), TRIALS.c.state.not_in(UNFINISHED))

    def study_attributes(self, keys: Collection[str]) -> dict[str, object]:
        """Those of these attributes of the study that exist."""
        columns = STUDY_ATTRIBUTES.c
        wanted = select(columns.key, columns.value_json).where(
            columns.study_id == self._study_id, columns.key.in_(list(keys))
        )
        with self._engine.connect() as database:
            return {key: msgspec.json.decode(text) for key, text in database.execute(wanted)}

    def _in(self, states: Iterable[TrialState]) -> tuple[ColumnElement[bool], ...]:
        return TRIALS.c.study_id == self._study_id, TRIALS.c.state.in_(list(states))


def _found(database: Connection, *conditions: ColumnElement[bool]) -> list[StoredTrial]:
    columns = (TRIALS.c.trial_id, TRIALS.c.state, ATTRIBUTES.c.key, ATTRIBUTES.c.value_json)
    wanted = select(*columns).join(ATTRIBUTES, ATTRIBUTES.c.trial_id == TRIALS.c.trial_id).where(*conditions)
    found: dict[int, tuple[TrialState, dict[str, object]]] = {}
    for trial_id, state, key, text in database.execute(wanted):
        found.setdefault(trial_id, (state, {}))[1][key] = msgspec.json.decode(text)
    return [StoredTrial(trial_id, *found[trial_id]) for trial_id in sorted(found)]


def _change(database: Connection, trial_id: int, before: Iterable[TrialState], after: TrialState, time: str) -> bool:
    """Change the state of a trial, and a time; of several processes, only one finds the trial in an earlier state."""
    change = update(TRIALS).where(TRIALS.c.trial_id == trial_id, TRIALS.c.state.in_(list(before)))
    return (
        database.execute(change.values({"state": after, time: datetime.now(UTC).replace(tzinfo=None)})).rowcount > 0
    )


def _write(database: Connection, trial_id: int, attributes: Mapping[str, object]) -> None:
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": msgspec.json.encode(value).decode()}
        for key, value in attributes.items()
    ]
    database.execute(insert(ATTRIBUTES), rows)


def _value(trial_id: int, objective: int, value: float) -> dict[str, object]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
