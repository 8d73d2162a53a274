"""The study on disk: a copy of the records, made anew where it is damaged or differs."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NoReturn

import optuna
import pytest

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.errors import WriteError
from mnv2search.evaluation import Budget, Evaluation, evaluate_spec
from mnv2search.latency.registry import open_device
from mnv2search.spec.space import Pick, canonical, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.storage.journal import Journal

SPACE = load_space("mnv2-multipliers")
Known = dict[Pick, Evaluation]


@pytest.fixture(scope="module")
def known() -> Known:
    """Six evaluated networks."""
    random = Random(0)
    picks = list({canonical(SPACE, random_pick(SPACE, random)): None for _ in range(40)})[:6]
    with open_device("simulated") as device:
        evaluator, budget = open_evaluator("imagenet"), Budget(latency_ms=9.0)
        specs = [replace(resolve(SPACE, pick), name=f"net-{number}") for number, pick in enumerate(picks)]
        found = [evaluate_spec(spec, device=device, evaluator=evaluator, budget=budget) for spec in specs]
    return dict(zip(picks, found, strict=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.sqlite3"


def journal(path: Path, known: Known, noted: list[str] | None = None) -> Journal:
    sampler = optuna.samplers.RandomSampler(seed=0)
    heard: list[str] = [] if noted is None else noted
    return Journal(SPACE, sampler=sampler, path=path, known=known, noted=heard.append)


def stored(path: Path) -> list[str]:
    """The names of the networks in a study file, read by Optuna itself."""
    study = optuna.load_study(study_name="mnv2search", storage=f"sqlite:///{path}")
    return [trial.user_attrs["name"] for trial in study.get_trials(deepcopy=False)]


def names(known: Known) -> list[str]:
    return [evaluation.spec.name for evaluation in known.values()]


def first(known: Known, count: int) -> Known:
    return dict(list(known.items())[:count])


@contextlib.contextmanager
def no_file_larger_than(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("before", [0, 4, 6])
def test_a_study_that_is_behind_the_records_is_completed_in_silence(path: Path, known: Known, before: int) -> None:
    noted: list[str] = []
    journal(path, first(known, before))
    journal(path, known, noted)
    assert stored(path) == names(known)
    assert noted == []


@pytest.mark.parametrize("kept", [0, 3])
def test_a_study_that_knows_more_than_the_records_is_made_anew(path: Path, known: Known, kept: int) -> None:
    noted: list[str] = []
    journal(path, known)
    journal(path, first(known, kept), noted)
    assert stored(path) == names(known)[:kept]
    assert noted == ["study.sqlite3 does not match the records: it is rebuilt from the records"]


def test_a_study_of_other_networks_is_made_anew(path: Path, known: Known) -> None:
    noted: list[str] = []
    journal(path, dict(reversed(known.items())))
    journal(path, known, noted)
    assert stored(path) == names(known)
    assert noted == ["study.sqlite3 does not match the records: it is rebuilt from the records"]


@pytest.mark.parametrize("page", range(1, 40, 3))
def test_a_damaged_page_is_no_traceback_and_loses_nothing(path: Path, known: Known, page: int) -> None:
    noted: list[str] = []
    journal(path, known)
    with path.open("rb+") as file:
        file.seek((page - 1) * 4096 + 40)
        file.write(b"\xff\x07zz\x00" * 200)
    journal(path, known, noted)
    assert stored(path) == names(known)
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert all(text.endswith("it is rebuilt from the records") for text in noted)


def test_a_file_that_is_no_study_is_made_anew(path: Path, known: Known) -> None:
    noted: list[str] = []
    path.write_text("junk" * 1000)
    journal(path, known, noted)
    assert stored(path) == names(known)
    assert noted == ["study.sqlite3 cannot be read (file is not a database): it is rebuilt from the records"]


def notes_after_edit(path: Path, known: Known, statement: str) -> list[str]:
    """What is noted of a study that was edited with SQL; it is whole again."""
    noted: list[str] = []
    journal(path, known)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
    journal(path, known, noted)
    assert stored(path) == names(known)
    return noted


def test_parameters_that_are_no_options_are_made_anew(path: Path, known: Known) -> None:
    assert len(notes_after_edit(path, known, "UPDATE trial_params SET param_value = 77")) == 1


def test_optuna_holds_for_infeasible_what_exceeds_the_budget(known: Known) -> None:
    tight = {pick: replace(e, budget=Budget(latency_ms=3.0)) for pick, e in known.items()}
    sampler = optuna.samplers.NSGAIISampler(seed=0)
    heard: list[optuna.trial.FrozenTrial] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sampler, "before_trial", lambda study, _: heard.extend(study.get_trials()[:-1]))
        Journal(SPACE, sampler=sampler, path=None, known=tight).ask()
    violations = [e.violation for e in tight.values()]
    assert min(violations) == 0 < max(violations)
    assert [trial.system_attrs["constraints"] for trial in heard] == [[violation] for violation in violations]
    assert [trial.user_attrs["violation"] for trial in heard] == [[violation] for violation in violations]


def test_a_study_of_another_space_is_made_anew(path: Path, known: Known) -> None:
    statement = "UPDATE trial_params SET distribution_json = replace(distribution_json, '224', '225')"
    noted = notes_after_edit(path, known, statement)
    assert noted == ["study.sqlite3 cannot be read (it belongs to another space): it is rebuilt from the records"]


def test_a_study_goes_on_without_loading_its_trials_through_optuna(
    path: Path, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal(path, known)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (2, 'of mine', '7')")

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("3,000 trials would take minutes")

    monkeypatch.setattr("optuna.storages.RDBStorage.get_all_trials", refuse)
    noted: list[str] = []
    sampler = optuna.samplers.RandomSampler(seed=0)
    heard: list[optuna.trial.FrozenTrial] = []
    monkeypatch.setattr(sampler, "before_trial", lambda study, _: heard.extend(study.get_trials()[:-1]))
    Journal(SPACE, sampler=sampler, path=path, known=known, noted=noted.append).ask()
    assert noted == []
    assert [trial.user_attrs["name"] for trial in heard] == names(known)
    assert [trial.system_attrs.get("of mine") for trial in heard] == [None, 7, None, None, None, None]
    assert [trial.values[1] for trial in heard] == [e.latency.median_ms for e in known.values() if e.latency]


def test_a_journal_of_a_file_that_is_replaced_is_not_applied_to_the_new_one(path: Path, known: Known) -> None:
    journal(path, known)
    path.write_text("junk" * 1000)
    left = path.with_name("study.sqlite3-journal")
    left.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(1000))
    journal(path, known)
    assert not left.exists()
    assert stored(path) == names(known)


@pytest.mark.parametrize("limit", [0, 5_000, 40_000])
def test_a_full_disk_at_the_creation_is_a_failure_and_no_mistake(path: Path, known: Known, limit: int) -> None:
    with no_file_larger_than(limit), pytest.raises(WriteError, match=r"the study cannot be written: .") as told:
        journal(path, known)
    assert told.value.exit_code == 1
    assert list(path.parent.iterdir()) == []


def test_a_full_disk_later_names_the_cause(path: Path, known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # Optuna tries five times
    opened = journal(path, {})
    pick, evaluation = next(iter(known.items()))
    with no_file_larger_than(8192), pytest.raises(WriteError, match=r"written: disk I/O error$"):
        opened.add(pick, evaluation)
