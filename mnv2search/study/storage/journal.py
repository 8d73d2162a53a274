"""The Optuna study of a run: sampled in memory, and copied to SQLite one whole trial at a time."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalChoiceType, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from mnv2search.evaluation import Evaluation
from mnv2search.spec.space import Pick, SearchSpace, canonical
from mnv2search.study.hybrid.strategy import SpaceExhausted
from mnv2search.study.sampler import HybridSampler
from mnv2search.study.storage.study_file import DIRECTIONS, StoredTrial, StudyFile, UnreadableStudyError

# System attribute in which Optuna 5 stores constraint values; trials added without `ask` must set it themselves.
CONSTRAINTS = "constraints"
# Repeated picks in one batch after which the sampler counts as exhausted.
MAX_REPEATS = 500
# Value of an undetermined accuracy, since Optuna requires a number; the violation marks such a trial as infeasible.
NO_ACCURACY = 0.0


def distributions_of(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Optuna's distributions: one categorical per axis, named by its address.

    An axis with a repeated value would be ambiguous, so spaces refuse those.
    """
    return {
        axis.at: CategoricalDistribution(cast("Sequence[CategoricalChoiceType]", axis.options)) for axis in space.axes
    }


class _Shared(dict[str, BaseDistribution]):
    """Distributions shared by all trials of a study; Optuna would copy 12 kB for each trial."""

    def __deepcopy__(self, memo: object) -> _Shared:
        return self


class _Kept(NamedTuple):
    """A pick as the sampler chose it, including options that the network does not use, and trial attributes."""

    pick: Sequence[int]
    system_attrs: dict[str, Any]


class Asked(NamedTuple):
    """A pick that the sampler wants evaluated."""

    pick: tuple[int, ...]
    trial: optuna.Trial


class Journal:
    """Asks a sampler for picks and stores every evaluated trial.

    The records of a run are authoritative, and its study is a copy of them: a file that is damaged or does not match
    the records is rebuilt. A trial is stored in SQLite in one transaction, which takes a few ms of CPU time; storing
    it step by step, as Optuna does, takes about 100 ms.

    Args:
        path: SQLite file; None keeps the study in memory only.
        noted: called with the reason if a file is rebuilt.

    Raises:
        WriteError: the study cannot be written (raised by any method that adds a trial).
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        sampler: optuna.samplers.BaseSampler,
        path: Path | None,
        known: Mapping[Pick, Evaluation] | None = None,
        noted: Callable[[str], None] = lambda _: None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._axes = space, space.axes
        self._distributions = _Shared(distributions_of(space))
        self._memory = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(storage=self._memory, directions=list(DIRECTIONS), sampler=sampler)
        # a sampler that learns from trials does not read them again, so they are not kept in memory
        self._learner = sampler if isinstance(sampler, HybridSampler) else None
        self._file: StudyFile | None = None
        trials = self._trials(known or {}, () if path is None else self._restore(path, known or {}, noted))
        if self._learner is None:
            self._study.add_trials(trials)
        else:
            self._learner.learn(trials)

    def ask(self) -> Asked:
        """The next pick; several may be pending."""
        trial = self._study.ask(self._distributions)
        return Asked(self._pick(trial.params), trial)

    def ask_new(
        self, known: Mapping[Pick, Evaluation], *, room: int, pending: Collection[Pick] = ()
    ) -> tuple[list[Asked], bool]:
        """Ask for at most `room` unknown picks; returns them, and whether the sampler is exhausted.

        Results of known picks are reported at once; `pending` picks, which are being evaluated, are not returned.
        """
        new: dict[Pick, Asked] = {}
        repeats = 0
        try:
            while len(new) < room and repeats < MAX_REPEATS:
                asked = self.ask()
                pick = canonical(self._space, asked.pick)
                if pick in known or pick in new or pick in pending:
                    repeats += 1
                    if pick in known:
                        self.tell(asked, known[pick], is_repeat=True)
                    elif pick in pending:
                        self._study.tell(asked.trial, state=TrialState.FAIL)
                else:
                    new[pick] = asked
        except SpaceExhausted:
            return list(new.values()), True
        return list(new.values()), repeats >= MAX_REPEATS

    def tell(self, asked: Asked, evaluation: Evaluation, *, is_repeat: bool = False) -> None:
        """Report the result of a pick from `ask`; a repeated pick is not stored in the file again."""
        for key, value in _attributes(evaluation).items():
            asked.trial.set_user_attr(key, value)
        trial = self._study.tell(asked.trial, _values(evaluation))
        if not is_repeat:
            self._store(trial)
        if self._learner is not None:
            kept = self._memory.get_trial(asked.trial._trial_id)
            kept.params, kept.distributions, kept.user_attrs = {}, {}, {}

    def add(self, pick: Sequence[int], evaluation: Evaluation) -> None:
        """Add a trial that did not come from `ask`."""
        trial = self._trial(pick, evaluation)
        if self._learner is None:
            self._study.add_trial(trial)
        else:
            self._learner.learn([trial])
        self._store(trial)

    def _store(self, trial: FrozenTrial) -> None:
        if self._file is not None:
            self._file.append(trial)

    def _restore(self, path: Path, known: Mapping[Pick, Evaluation], noted: Callable[[str], None]) -> Sequence[_Kept]:
        """Read what the file has in addition to the records; add missing trials to the file, or rebuild it."""
        if not path.exists():
            self._file = StudyFile.create(path, self._trials(known))
            return ()
        kept: list[_Kept] = []
        try:
            self._file = StudyFile.open(path, self._distributions)
            agrees, count = self._file.count <= len(known), self._file.count
            for stored, made in zip(self._file.trials() if agrees else (), self._trials(known), strict=False):
                if not (agrees := self._agree(stored, made)):
                    break
                system_attrs = stored.system_attrs if self._learner is None else {}
                kept.append(_Kept(array("L", self._stored_pick(stored)), system_attrs))
            fault = "" if agrees else "does not match the records"
        except UnreadableStudyError as error:
            fault = f"cannot be read ({error})"
        if fault:
            noted(f"{path.name} {fault}: it is rebuilt from the records")
            self._file = StudyFile.create(path, self._trials(known))
            return ()
        for trial in islice(self._trials(known), count, None):
            self._store(trial)  # recorded, but killed before it was stored in the study
        return kept

    def _trials(self, known: Mapping[Pick, Evaluation], kept: Sequence[_Kept] = ()) -> Iterator[FrozenTrial]:
        """Yield the trials of records, with the additional content of a file."""
        for (pick, evaluation), stored in zip_longest(known.items(), kept):
            trial = self._trial(pick if stored is None else stored.pick, evaluation)
            if stored is not None and stored.system_attrs:
                trial.system_attrs = stored.system_attrs
            yield trial

    def _agree(self, stored: StoredTrial, made: FrozenTrial) -> bool:
        if (stored.state, stored.values, stored.user_attrs) != (made.state.name, made.values, made.user_attrs):
            return False
        if stored.indices.keys() != made.params.keys():
            return False
        if not all(stored.indices[axis.at] in range(len(axis.options)) for axis in self._axes):
            return False
        return canonical(self._space, self._stored_pick(stored)) == self._pick(made.params)

    def _stored_pick(self, stored: StoredTrial) -> Pick:
        return tuple(stored.indices[axis.at] for axis in self._axes)

    def _trial(self, pick: Sequence[int], evaluation: Evaluation) -> FrozenTrial:
        now = datetime.now()
        return FrozenTrial(  # `optuna.create_trial` would check every option of every trial
            number=-1,
            trial_id=-1,
            state=TrialState.COMPLETE,
            value=None,
            values=_values(evaluation),
            datetime_start=now,
            datetime_complete=now,
            params=self._params(pick),
            distributions=self._distributions,
            user_attrs=_attributes(evaluation),
            system_attrs={CONSTRAINTS: [evaluation.violation]},
            intermediate_values={},
        )

    def _params(self, pick: Sequence[int]) -> dict[str, object]:
        return {axis.at: axis.options[index] for axis, index in zip(self._axes, pick, strict=True)}

    def _pick(self, params: Mapping[str, object]) -> tuple[int, ...]:
        return tuple(axis.options.index(params[axis.at]) for axis in self._axes)


def _values(evaluation: Evaluation) -> list[float]:
    accuracy = NO_ACCURACY if evaluation.accuracy is None else evaluation.accuracy.rank
    accuracy = accuracy if evaluation.expected is None else evaluation.expected
    latency = evaluation.budget.latency_ms * (1 + evaluation.violation)
    if evaluation.latency is not None:
        latency = evaluation.latency.median_ms
    return [accuracy, latency]


def _attributes(evaluation: Evaluation) -> dict[str, object]:
    return {
        "violation": [evaluation.violation],
        "accuracy_known": evaluation.accuracy is not None or evaluation.is_stopped,
        "is_stopped": evaluation.is_stopped,
        "name": evaluation.name,
    }
