"""The trials of a shared study behind Optuna's storage proxy, by Optuna's own methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mnv2search.study.workers.trials import UNFINISHED, StoredTrial


class ProxyTrials:
    """`Trials` in any of Optuna's storages; a change takes several requests."""

    def __init__(self, storage: BaseStorage, study_id: int) -> None:
        self._storage, self._study_id = storage, study_id

    def add(self, attributes: Mapping[str, object]) -> int:
        """Add a waiting trial; returns its id."""
        waiting = FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.WAITING,
            value=None,
            values=None,
            datetime_start=None,
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={key: msgspec.to_builtins(value) for key, value in attributes.items()},
            system_attrs={},
            intermediate_values={},
        )
        return self._storage.create_new_trial(self._study_id, waiting)

    def claim(
        self, choose: Callable[[list[StoredTrial]], Iterable[StoredTrial]], attributes: Mapping[str, object]
    ) -> StoredTrial | None:
        """Start the first trial of those that `choose` returns of the waiting ones, unless others are quicker."""
        for trial in choose(self.with_states([TrialState.WAITING])):
            try:
                if self._storage.set_trial_state_values(trial.trial_id, TrialState.RUNNING):
                    self._write(trial.trial_id, attributes)
                    return trial
            except UpdateFinishedTrialError:
                continue
        return None

    def end(
        self, trial_id: int, state: TrialState, attributes: Mapping[str, object], values: Sequence[float] = ()
    ) -> bool:
        """End a trial; returns False if it is already finished."""
        try:
            self._write(trial_id, attributes)
            return self._storage.set_trial_state_values(trial_id, state, list(values) or None)
        except UpdateFinishedTrialError:
            return False

    def with_states(self, states: Iterable[TrialState]) -> list[StoredTrial]:
        """The trials in one of these states, in order."""
        found = self._storage.get_all_trials(self._study_id, deepcopy=False, states=list(states))
        return sorted(map(_stored, found))

    def finished(self, ids: Iterable[int], *, parts: Iterable[int]) -> list[StoredTrial]:
        """Those of the trials with these ids that are finished, in order; `parts` has all studies with others."""
        unfinished = {
            trial._trial_id
            for study_id in parts
            for trial in self._storage.get_all_trials(study_id, deepcopy=False, states=UNFINISHED)
        }
        return [_stored(self._storage.get_trial(trial_id)) for trial_id in sorted({*ids} - unfinished)]

    def study_attributes(self, keys: Collection[str]) -> dict[str, object]:
        """Those of these attributes of the study that exist."""
        return {
            key: value for key, value in self._storage.get_study_user_attrs(self._study_id).items() if key in keys
        }

    def _write(self, trial_id: int, attributes: Mapping[str, object]) -> None:
        for key, value in attributes.items():
            self._storage.set_trial_user_attr(trial_id, key, msgspec.to_builtins(value))


def _stored(trial: FrozenTrial) -> StoredTrial:
    return StoredTrial(trial._trial_id, trial.state, trial.user_attrs)
