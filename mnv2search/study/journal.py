"""The Optuna study of a run: sampled in memory, kept in SQLite a whole trial at a time."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalChoiceType, CategoricalDistribution
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from mnv2search.errors import RecordError, WriteError
from mnv2search.evaluation import Evaluation
from mnv2search.spec.space import Pick, SearchSpace, canonical
from mnv2search.study.hybrid import SpaceExhausted

__all__ = ["Asked", "Journal", "distributions_of"]

STUDY = "mnv2search"
# Where Optuna 5 keeps what a constraints function returned; a trial that was not asked for has to bring it along.
CONSTRAINTS = "constraints"
# A sampler that repeats itself this often has nothing new to say.
MAX_REPEATS = 500
DIRECTIONS: tuple[Literal["maximize"], Literal["minimize"]] = ("maximize", "minimize")
# Stands where no accuracy was asked for, since Optuna wants a number; the violation rules such a trial out.
NO_ACCURACY = 0.0


def distributions_of(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Optuna's distributions: one categorical per axis, named by its address.

    An axis with a repeated value would be ambiguous, so spaces refuse those.
    """
    return {
        axis.at: CategoricalDistribution(cast("Sequence[CategoricalChoiceType]", axis.options)) for axis in space.axes
    }


class Asked(NamedTuple):
    """A pick that the sampler wants evaluated."""

    pick: tuple[int, ...]
    trial: optuna.Trial


class Journal:
    """Asks a sampler for picks and keeps every evaluated trial.

    Storing a trial in SQLite piecemeal costs about 100 ms of processor time; written whole, a few.

    Args:
        space: whose axes are the parameters.
        sampler: of Optuna, or ours.
        path: SQLite file; None keeps the study in memory only.
    """

    def __init__(self, space: SearchSpace, *, sampler: optuna.samplers.BaseSampler, path: str | None) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._axes = space, space.axes
        self._distributions = distributions_of(space)
        self._study = optuna.create_study(directions=list(DIRECTIONS), sampler=sampler)
        self._kept: optuna.Study | None = None
        if path is not None:
            self._kept = _stored(path)
            self._study.add_trials(self._kept.get_trials(deepcopy=False))
        self.trials = len(self._study.get_trials(deepcopy=False))

    def ask(self) -> Asked:
        """The next pick; several may be asked for before any is told."""
        trial = self._study.ask(self._distributions)
        return Asked(self._pick(trial.params), trial)

    def ask_new(self, known: Mapping[Pick, Evaluation], *, room: int) -> tuple[list[Asked], bool]:
        """Picks that are not known, at most so many, and whether there are no more; a known one is answered at once.

        Args:
            known: what was evaluated, by canonical pick.
            room: how many picks there may be.
        """
        new: dict[Pick, Asked] = {}
        repeats = 0
        try:
            while len(new) < room and repeats < MAX_REPEATS:
                asked = self.ask()
                pick = canonical(self._space, asked.pick)
                if pick in known or pick in new:
                    repeats += 1
                    if pick in known:
                        self.tell_again(asked, known[pick])
                else:
                    new[pick] = asked
        except SpaceExhausted:
            return list(new.values()), True
        return list(new.values()), repeats >= MAX_REPEATS

    def tell(self, asked: Asked, evaluation: Evaluation) -> None:
        """The outcome of a pick that was asked for."""
        for key, value in _attributes(evaluation).items():
            asked.trial.set_user_attr(key, value)
        self._keep(self._study.tell(asked.trial, _values(evaluation)))

    def tell_again(self, asked: Asked, evaluation: Evaluation) -> None:
        """The outcome of a pick that was evaluated before: the sampler hears it, the file keeps no second trial."""
        for key, value in _attributes(evaluation).items():
            asked.trial.set_user_attr(key, value)
        self._study.tell(asked.trial, _values(evaluation))

    def add(self, pick: Sequence[int], evaluation: Evaluation) -> None:
        """A trial that was not asked for."""
        params = {axis.at: axis.options[index] for axis, index in zip(self._axes, pick, strict=True)}
        trial = optuna.trial.create_trial(
            params=params,
            distributions=self._distributions,
            values=_values(evaluation),
            user_attrs=_attributes(evaluation),
            system_attrs={CONSTRAINTS: [evaluation.violation]},
        )
        self._study.add_trial(trial)
        self._keep(trial)

    def _keep(self, trial: optuna.trial.FrozenTrial) -> None:
        self.trials += 1
        if self._kept is None:
            return
        try:
            self._kept.add_trial(trial)
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            raise WriteError(
                f"the study cannot be written: {_cause(error)}",
                hint="free some space and run the same command again; finished trials are kept",
            ) from error

    def _pick(self, params: Mapping[str, object]) -> tuple[int, ...]:
        return tuple(axis.options.index(params[axis.at]) for axis in self._axes)


def _cause(error: BaseException) -> str:
    """What the innermost error says: those around it hold SQL and not the reason."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error)


def _stored(path: str) -> optuna.Study:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.create_study(
                study_name=STUDY,
                storage=optuna.storages.RDBStorage(URL.create("sqlite", database=path).render_as_string()),
                directions=list(DIRECTIONS),
                load_if_exists=True,
            )
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, RuntimeError) as error:
        raise RecordError(
            f"{path}: cannot be opened as a study: {str(error).splitlines()[0]}",
            hint="free some space, or remove the file: it is made again from the records",
        ) from error


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
        "name": evaluation.spec.name,
    }
