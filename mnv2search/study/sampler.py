"""Optuna samplers that maximise accuracy and minimise cost: the hybrid one, and Optuna's own for comparison."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Unpack

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mnv2search.errors import OptionError, UnknownNameError
from mnv2search.study.hybrid.candidates import Describe
from mnv2search.study.hybrid.strategy import HybridStrategy, Limits

VIOLATION = "violation"  # user attribute of a trial: a list of floats, each at most 0 if its constraint holds
SAMPLERS = ("hybrid", "nsga2", "tpe", "gp", "random")

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_NSGA2_POPULATION = 20

Choice = tuple[int, ...]


class HybridSampler(BaseSampler):
    """`HybridStrategy` as a sampler of Optuna studies that maximise accuracy and minimise cost.

    Trials that are already finished when the first trial is sampled are replayed once; later trials are learned in
    `after_trial`, without reading the study. If the attribute `VIOLATION` of a trial is above 0, its cost and
    violation are learned, but not its accuracy. A trial that failed without a violation is not suggested again.

    Args:
        space: distributions by parameter name, categorical or integer, in the order of the index tuples.

    Raises:
        OptionError: a distribution is neither categorical nor integer.
    """

    def __init__(
        self, *, space: Mapping[str, BaseDistribution], describe: Describe, seed: int, **limits: Unpack[Limits]
    ) -> None:
        self._space = dict(space)
        self._describe = describe
        self._strategy = HybridStrategy(
            cards=tuple(_card(name, distribution) for name, distribution in self._space.items()),
            ordinal=tuple(_is_ordinal(distribution) for distribution in self._space.values()),
            describe=describe,
            seed=seed,
            **limits,
        )
        self._independent = optuna.samplers.RandomSampler(seed=seed)
        self._replayed: frozenset[int] | None = None
        self._asked: dict[int, Choice] = {}
        self._lock = threading.RLock()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space."""
        del trial
        with self._lock:
            self._replay(study)
        return dict(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        """The parameters of the next network.

        Raises:
            SpaceExhausted: no network is left.
        """
        del study, search_space
        fixed: Mapping[str, object] = trial.system_attrs.get("fixed_params", {})
        if self._space.keys() <= fixed.keys():
            return {}
        with self._lock:
            choice = self._strategy.ask()
            self._asked[trial.number] = choice
        return self.params(choice)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        """A random value for a parameter outside the space."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Learn from a finished trial."""
        del study
        with self._lock:
            if self._replayed is not None and trial.number in self._replayed:
                return
            asked = self._asked.pop(trial.number, None)
            told = self._tell(trial, state, values)
            if asked is not None and asked != told:
                self._strategy.forget(asked)

    def reseed_rng(self) -> None:
        """Reseed the independent sampler; the strategy is shared by all threads and keeps its state."""
        self._independent.reseed_rng()

    def learn(self, trials: Iterable[FrozenTrial]) -> None:
        """Learn from finished trials that are not in the study."""
        with self._lock:
            for trial in trials:
                self._tell(trial, trial.state, trial.values)

    def params(self, choice: Choice) -> dict[str, object]:
        """The parameter values of an index tuple."""
        return {
            name: _value(distribution, index)
            for (name, distribution), index in zip(self._space.items(), choice, strict=True)
        }

    def choice(self, params: Mapping[str, object]) -> Choice:
        """The index tuple of parameter values."""
        return tuple(_index(distribution, params[name]) for name, distribution in self._space.items())

    def _replay(self, study: Study) -> None:
        if self._replayed is not None:
            return
        if study.directions != [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]:
            raise OptionError(
                f"the study's directions are {[d.name.lower() for d in study.directions]}",
                hint="create it with directions=['maximize', 'minimize'], for accuracy and cost",
            )
        trials = study.get_trials(deepcopy=False, states=_FINISHED)
        new = [trial for trial in trials if trial.number not in self._asked]
        self._replayed = frozenset(trial.number for trial in new)
        for trial in new:
            self._tell(trial, trial.state, trial.values)

    def _tell(self, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> Choice | None:
        """Report a trial to the strategy; returns its index tuple, or None if there is nothing to learn."""
        if not self._space.keys() <= trial.params.keys():
            return None
        choice = self.choice(trial.params)
        violation = _violation(trial)
        if state == TrialState.COMPLETE and values is not None:
            accuracy, cost = values
            self._strategy.tell(choice, None if violation > 0 else accuracy, cost, violation)
            return choice
        if violation > 0:
            cost = float(self._describe(np.array([choice], dtype=np.int64)).cost[0])
            self._strategy.tell(choice, None, cost, violation)
            return choice
        return None


def make_sampler(
    name: str,
    *,
    seed: int,
    space: Mapping[str, BaseDistribution] | None = None,
    describe: Describe | None = None,
    **limits: Unpack[Limits],
) -> BaseSampler:
    """The sampler with a name in `SAMPLERS`; all of them read constraints from the user attribute `VIOLATION`.

    `space` (distributions by parameter name), `describe` and `limits` are used by `hybrid` only. `nsga2` has a
    population of 20, and `tpe` is multivariate.

    Raises:
        UnknownNameError: no sampler has the name.
        OptionError: `hybrid` has no space or no description.
    """
    if name == "hybrid":
        if space is None or describe is None:
            raise OptionError("the hybrid sampler has no space or no description", hint="give space= and describe=")
        return HybridSampler(space=space, describe=describe, seed=seed, **limits)
    plain: dict[str, Callable[[], BaseSampler]] = {
        "nsga2": lambda: optuna.samplers.NSGAIISampler(
            seed=seed, population_size=_NSGA2_POPULATION, constraints_func=_constraints
        ),
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True, constraints_func=_constraints),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed, constraints_func=_constraints),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
    }
    if name not in plain:
        raise UnknownNameError("sampler", name, SAMPLERS)
    with warnings.catch_warnings():
        # multivariate and GPSampler are experimental; Optuna 5.0 expects constraints on the trial itself, which
        # Optuna 4 does not support
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return plain[name]()


def _constraints(trial: FrozenTrial) -> tuple[float, ...]:
    return tuple(float(value) for value in trial.user_attrs.get(VIOLATION, (0.0,)))


def _violation(trial: FrozenTrial) -> float:
    """The sum of positive constraint values, or the largest value if none is positive."""
    values = _constraints(trial)
    broken = sum(value for value in values if value > 0)
    return broken if broken > 0 else max(values, default=0.0)


def _card(name: str, distribution: BaseDistribution) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    raise OptionError(
        f"parameter {name} has a {type(distribution).__name__}", hint="use a categorical or an integer distribution"
    )


def _is_ordinal(distribution: BaseDistribution) -> bool:
    """Whether neighbouring options are similar: integers, or three or more numbers in increasing order."""
    if isinstance(distribution, CategoricalDistribution):
        numbers = [c for c in distribution.choices if isinstance(c, int | float) and not isinstance(c, bool)]
        return 2 < len(numbers) == len(distribution.choices) and numbers == sorted(numbers)
    return True


def _value(distribution: BaseDistribution, index: int) -> object:
    if isinstance(distribution, IntDistribution):
        return distribution.low + index * distribution.step
    return distribution.to_external_repr(float(index))


def _index(distribution: BaseDistribution, value: object) -> int:
    number = int(distribution.to_internal_repr(value))
    return (number - distribution.low) // distribution.step if isinstance(distribution, IntDistribution) else number
