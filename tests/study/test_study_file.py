"""A study file has the same content as a file that Optuna's storage writes."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from mnv2search.study.storage.study_file import DIRECTIONS, STUDY, StudyFile

DISTRIBUTIONS = {"width": CategoricalDistribution((0.5, 1.0, "auto", None)), "repeats": IntDistribution(1, 4)}
TABLES = ("trials", "trial_values", "trial_params", "trial_user_attributes", "trial_system_attributes")


def trial(number: int, *, values: list[float], state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        trial_id=number + 1,
        state=state,
        value=None,
        values=values,
        datetime_start=datetime(2026, 1, 2, 3, 4, number),
        datetime_complete=datetime(2026, 1, 2, 3, 5, number),
        params={"width": [0.5, 1.0, "auto", None][number % 4], "repeats": 1 + number % 4},
        distributions=DISTRIBUTIONS,
        user_attrs={"name": f"näme-{number}", "violation": [0.0]} if number else {},
        system_attrs={"constraints": [0.25], "nsga2:generation": number},
        intermediate_values={},
    )


TRIALS = [
    trial(0, values=[0.5, 3.25]),
    trial(1, values=[float("inf"), float("-inf")]),
    trial(2, values=[0.25, 1e300]),
    trial(3, values=[0.0, -1.0], state=TrialState.FAIL),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.sqlite3"


def by_optuna(path: Path) -> Path:
    """A file written by Optuna's storage."""
    storage = RDBStorage(f"sqlite:///{path}")
    study = optuna.create_study(study_name=STUDY, storage=storage, directions=list(DIRECTIONS))
    for one in TRIALS:
        storage.create_new_trial(study._study_id, template_trial=one)
    storage.engine.dispose()
    return path


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {table: database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in TABLES}


@pytest.mark.parametrize("created", [0, 2, 4])
def test_the_tables_are_those_that_optuna_writes(path: Path, tmp_path: Path, created: int) -> None:
    file = StudyFile.create(path, TRIALS[:created])
    for one in TRIALS[created:]:
        file.append(one)
    assert rows(path) == rows(by_optuna(tmp_path / "optuna.sqlite3"))


def test_optuna_reads_the_trials_that_were_appended(path: Path) -> None:
    StudyFile.create(path, TRIALS[:1]).append(TRIALS[1])
    reopened = StudyFile.open(path, DISTRIBUTIONS)
    assert [stored.values for stored in reopened.trials()] == [[0.5, 3.25], [None, None]]
    for one in TRIALS[reopened.count :]:
        reopened.append(one)
    assert optuna.load_study(study_name=STUDY, storage=f"sqlite:///{path}").trials == TRIALS
