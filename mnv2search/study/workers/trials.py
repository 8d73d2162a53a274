"""The trials of a shared study, in the tables of Optuna's `RDBStorage`: one transaction for each change.

Optuna's own methods write one attribute at a time, and read first what they are about to write. A network then takes
about ten times as many statements.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import msgspec
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import ColumnElement, Connection, func, insert, select, update

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

    def start(self, trial_id: int, attributes: Mapping[str, object]) -> bool:
        """Start a waiting trial; returns False if it is no longer waiting."""

    def end(
        self, trial_id: int, state: TrialState, attributes: Mapping[str, object], values: Sequence[float] = ()
    ) -> bool:
        """End a trial; returns False if it is already finished."""

    def with_states(self, states: Iterable[TrialState]) -> list[StoredTrial]:
        """The trials in one of these states, in order."""

    def finished(self, ids: Iterable[int]) -> list[StoredTrial]:
        """Those of the trials with these ids that are finished, in order."""

    def study_attributes(self, keys: Collection[str]) -> dict[str, object]:
        """Those of these attributes of the study that exist."""


class DatabaseTrials:
    """`Trials` in a database. Only one process may add trials, because it numbers them."""

    def __init__(self, storage: RDBStorage, study_id: int) -> None:
        self._engine, self._study_id = storage.engine, study_id
        self._count: int | None = None

    def add(self, attributes: Mapping[str, object]) -> int:
        """Add a waiting trial; returns its id."""
        with self._engine.begin() as database:
            if self._count is None:
                counted = select(func.count()).select_from(TRIALS).where(TRIALS.c.study_id == self._study_id)
                self._count = int(database.execute(counted).scalar_one())
            row = {"number": self._count, "study_id": self._study_id, "state": TrialState.WAITING}
            key = database.execute(insert(TRIALS), row).inserted_primary_key
            assert key is not None  # a single row is inserted
            trial_id = int(key[0])
            _write(database, trial_id, attributes)
        self._count += 1
        return trial_id

    def start(self, trial_id: int, attributes: Mapping[str, object]) -> bool:
        """Start a waiting trial; returns False if it is no longer waiting."""
        return self._change(
            trial_id, [TrialState.WAITING], attributes, state=TrialState.RUNNING, datetime_start=_now()
        )

    def end(
        self, trial_id: int, state: TrialState, attributes: Mapping[str, object], values: Sequence[float] = ()
    ) -> bool:
        """End a trial; returns False if it is already finished."""
        return self._change(trial_id, UNFINISHED, attributes, values, state=state, datetime_complete=_now())

    def with_states(self, states: Iterable[TrialState]) -> list[StoredTrial]:
        """The trials in one of these states, in order."""
        return self._found(TRIALS.c.study_id == self._study_id, TRIALS.c.state.in_(list(states)))

    def finished(self, ids: Iterable[int]) -> list[StoredTrial]:
        """Those of the trials with these ids that are finished, in order."""
        return self._found(TRIALS.c.trial_id.in_(list(ids)), TRIALS.c.state.not_in(UNFINISHED))

    def study_attributes(self, keys: Collection[str]) -> dict[str, object]:
        """Those of these attributes of the study that exist."""
        columns = STUDY_ATTRIBUTES.c
        wanted = select(columns.key, columns.value_json).where(
            columns.study_id == self._study_id, columns.key.in_(list(keys))
        )
        with self._engine.connect() as database:
            return {key: msgspec.json.decode(text) for key, text in database.execute(wanted)}

    def _change(
        self,
        trial_id: int,
        before: Iterable[TrialState],
        attributes: Mapping[str, object],
        values: Sequence[float] = (),
        **changes: object,
    ) -> bool:
        # of several processes, only the first finds the trial in its earlier state
        change = update(TRIALS).where(TRIALS.c.trial_id == trial_id, TRIALS.c.state.in_(list(before)))
        with self._engine.begin() as database:
            if not database.execute(change.values(**changes)).rowcount:
                return False
            _write(database, trial_id, attributes)
            if values:
                database.execute(insert(VALUES), [_value(trial_id, *numbered) for numbered in enumerate(values)])
        return True

    def _found(self, *conditions: ColumnElement[bool]) -> list[StoredTrial]:
        columns = (TRIALS.c.trial_id, TRIALS.c.state, ATTRIBUTES.c.key, ATTRIBUTES.c.value_json)
        wanted = select(*columns).join(ATTRIBUTES, ATTRIBUTES.c.trial_id == TRIALS.c.trial_id).where(*conditions)
        found: dict[int, tuple[TrialState, dict[str, object]]] = {}
        with self._engine.connect() as database:
            for trial_id, state, key, text in database.execute(wanted):
                found.setdefault(trial_id, (state, {}))[1][key] = msgspec.json.decode(text)
        return [StoredTrial(trial_id, *found[trial_id]) for trial_id in sorted(found)]


def _write(database: Connection, trial_id: int, attributes: Mapping[str, object]) -> None:
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": msgspec.json.encode(value).decode()}
        for key, value in attributes.items()
    ]
    database.execute(insert(ATTRIBUTES), rows)


def _value(trial_id: int, objective: int, value: float) -> dict[str, object]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}


def _now() -> datetime:
    """The time as Optuna stores it."""
    return datetime.now(UTC).replace(tzinfo=None)
