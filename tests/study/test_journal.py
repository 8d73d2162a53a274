"""The study on disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.errors import RecordError
from mnv2search.evaluation import Budget, evaluate
from mnv2search.latency.registry import open_device
from mnv2search.spec.codec import load_space
from mnv2search.spec.space import resolve
from mnv2search.study.journal import Journal


class FullDisk:
    """A study that Optuna cannot write, as it says so: the reason is at the bottom of a chain."""

    def add_trial(self, trial: optuna.trial.FrozenTrial) -> None:
        try:
            try:
                raise sqlite3.OperationalError("database or disk is full")
            except sqlite3.OperationalError as error:
                raise OperationalError("INSERT INTO trials", {}, error) from error
        except OperationalError as error:
            raise optuna.exceptions.StorageInternalError("An exception is raised during the commit") from error


def test_a_study_that_cannot_be_written_names_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = load_space("mnv2-multipliers")
    journal = Journal(space, sampler=optuna.samplers.RandomSampler(seed=0), path=str(tmp_path / "study.sqlite3"))
    monkeypatch.setattr(journal, "_kept", FullDisk())
    pick = (0,) * len(space.axes)
    with open_device("simulated") as device:
        evaluation = evaluate(
            resolve(space, pick), device=device, evaluator=open_evaluator("imagenet"), budget=Budget(latency_ms=9.0)
        )
    with pytest.raises(RecordError, match=r"the study cannot be written: database or disk is full$"):
        journal.add(pick, evaluation)
