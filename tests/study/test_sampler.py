"""The samplers in Optuna studies."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from mnv2search.errors import OptionError, UnknownNameError
from mnv2search.study.hybrid.candidates import Description
from mnv2search.study.hybrid.strategy import SpaceExhausted
from mnv2search.study.hybrid.surrogate import IntArray
from mnv2search.study.sampler import SAMPLERS, VIOLATION, HybridSampler, make_sampler

SPACE: dict[str, BaseDistribution] = {
    "kernel": CategoricalDistribution((3, 5, 7)),
    "kind": CategoricalDistribution(("plain", "shuffle")),
    "repeats": IntDistribution(1, 4),
    "resolution": IntDistribution(96, 192, step=32),
}
SIZE = 3 * 2 * 4 * 4


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(level)


def describe(choices: IntArray) -> Description:
    cost = 5.0 + np.asarray(choices @ np.array([1.0, 0.5, 2.0, 3.0]), dtype=np.float64)
    return Description(cost=cost, features=np.log(cost)[:, None])


def objective(trial: optuna.Trial) -> tuple[float, float]:
    """Accuracy and cost as a study of `SPACE` sees them."""
    params = {
        "kernel": trial.suggest_categorical("kernel", (3, 5, 7)),
        "kind": trial.suggest_categorical("kind", ("plain", "shuffle")),
        "repeats": trial.suggest_int("repeats", 1, 4),
        "resolution": trial.suggest_int("resolution", 96, 192, step=32),
    }
    choice = hybrid().choice(params)
    return 50.0 + 3.0 * choice[3] + choice[0] - choice[1], float(describe(np.array([choice])).cost[0])


def hybrid(seed: int = 0) -> HybridSampler:
    return HybridSampler(space=SPACE, describe=describe, seed=seed)


def study_of(sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


def choices_of(study: optuna.Study) -> list[tuple[int, ...]]:
    return [hybrid().choice(trial.params) for trial in study.get_trials(deepcopy=False)]


def test_a_choice_becomes_parameters_and_back() -> None:
    sampler = hybrid()
    for choice in itertools.product(range(3), range(2), range(4), range(4)):
        assert sampler.choice(sampler.params(choice)) == choice
    assert sampler.params((2, 1, 3, 1)) == {"kernel": 7, "kind": "shuffle", "repeats": 4, "resolution": 128}


def test_a_study_evaluates_no_network_twice() -> None:
    study = study_of(hybrid())
    study.optimize(objective, n_trials=60)
    assert len(set(choices_of(study))) == 60


def test_a_study_of_the_whole_space_ends_with_exhaustion() -> None:
    study = study_of(hybrid())
    study.optimize(objective, n_trials=SIZE)
    assert len(set(choices_of(study))) == SIZE
    with pytest.raises(SpaceExhausted):
        study.ask(SPACE)


def test_a_resumed_study_repeats_nothing() -> None:
    study = study_of(hybrid())
    study.optimize(objective, n_trials=30)
    study.sampler = hybrid(seed=1)
    study.optimize(objective, n_trials=30)
    assert len(set(choices_of(study))) == 60


def test_a_resumed_study_goes_on_where_it_stopped() -> None:
    """What the resumed half adds is chosen by what the first half taught, not a fresh design over all costs."""
    study = study_of(hybrid())
    study.optimize(objective, n_trials=20)
    study.sampler = hybrid(seed=1)
    study.optimize(objective, n_trials=4)
    added = choices_of(study)[20:]
    assert all(choice[1] == 0 for choice in added)  # the dearer kind only costs accuracy


def test_the_study_is_read_once() -> None:
    class Counting(optuna.storages.InMemoryStorage):
        reads = 0

        def get_all_trials(
            self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
        ) -> list[optuna.trial.FrozenTrial]:
            self.reads += states is None or TrialState.COMPLETE in states  # Optuna itself asks for waiting ones
            return super().get_all_trials(study_id, deepcopy=deepcopy, states=states)

    storage = Counting()
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=hybrid(), storage=storage)
    for _ in range(10):
        trial = study.ask(SPACE)
        study.tell(trial, list(objective(trial)))
    assert storage.reads == 1


def test_a_trial_queued_by_hand_is_learned_from_and_not_repeated() -> None:
    study = study_of(hybrid())
    wanted = {"kernel": 3, "kind": "plain", "repeats": 2, "resolution": 192}
    study.enqueue_trial(wanted)
    study.optimize(objective, n_trials=SIZE)
    assert study.trials[0].params == wanted
    assert len(set(choices_of(study))) == SIZE


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAIL], ids=["complete", "failed"])
def test_a_violation_teaches_whether_or_not_the_trial_has_values(state: TrialState) -> None:
    """Nothing describes it, but every network at 192 px breaks a constraint."""
    study = study_of(hybrid())
    for _ in range(40):
        trial = study.ask(SPACE)
        values = list(objective(trial))
        broken = trial.params["resolution"] == 192
        trial.set_user_attr(VIOLATION, [0.3 if broken else 0.0])
        failed = broken and state == TrialState.FAIL
        study.tell(trial, None if failed else values, state=TrialState.FAIL if failed else TrialState.COMPLETE)
    late = [trial.params["resolution"] == 192 for trial in study.trials[20:]]
    assert sum(late) <= 2


def test_a_failed_trial_is_not_asked_for_again() -> None:
    study = study_of(hybrid())
    for _ in range(SIZE):
        study.tell(study.ask(SPACE), state=TrialState.FAIL)
    assert len(set(choices_of(study))) == SIZE


def test_trials_asked_for_together_differ() -> None:
    study = study_of(hybrid())
    study.optimize(objective, n_trials=20)
    trials = [study.ask(SPACE) for _ in range(12)]
    assert len({tuple(trial.params.items()) for trial in trials}) == 12


def test_a_parameter_outside_the_space_is_drawn_at_random() -> None:
    study = study_of(hybrid())
    trial = study.ask({**SPACE, "dropout": FloatDistribution(0.0, 0.5)})
    assert 0.0 <= trial.params["dropout"] <= 0.5


def test_a_continuous_parameter_is_refused() -> None:
    with pytest.raises(OptionError, match="dropout has a FloatDistribution"):
        HybridSampler(space={"dropout": FloatDistribution(0.0, 0.5)}, describe=describe, seed=0)


def test_a_study_with_other_directions_is_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=hybrid())
    with pytest.raises(OptionError, match="directions are"):
        study.ask(SPACE)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_runs_a_study_with_constraints(name: str) -> None:
    study = study_of(make_sampler(name, seed=0, space=SPACE, describe=describe))

    def constrained(trial: optuna.Trial) -> tuple[float, float]:
        accuracy, cost = objective(trial)
        trial.set_user_attr(VIOLATION, [cost / 12.0 - 1.0])
        return accuracy, cost

    study.optimize(constrained, n_trials=14)
    assert len(study.trials) == 14


@pytest.mark.parametrize("name", ["nsga2", "tpe", "gp"])
def test_plain_samplers_keep_the_constraint(name: str) -> None:
    study = study_of(make_sampler(name, seed=0))
    trial = study.ask(SPACE)
    trial.set_user_attr(VIOLATION, [0.25])
    study.tell(trial, list(objective(trial)))
    assert 0.25 in _kept_constraints(study.trials[0])


def _kept_constraints(trial: optuna.trial.FrozenTrial) -> tuple[float, ...]:
    return tuple(trial.system_attrs["constraints"])


def test_an_unknown_sampler_names_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match="unknown sampler 'nsga'") as caught:
        make_sampler("nsga", seed=0)
    assert "nsga2" in caught.value.hint


def test_the_hybrid_needs_a_description() -> None:
    with pytest.raises(OptionError, match="no space or no description"):
        make_sampler("hybrid", seed=0)
