"""The strategy and its parts, on spaces small enough to know everything about."""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2search.errors import OptionError
from mnv2search.pareto import hypervolume
from mnv2search.study.hybrid.candidates import Description, best_in_niches, stratified_design
from mnv2search.study.hybrid.feasibility import Feasibility
from mnv2search.study.hybrid.history import NODES, History, ParetoFront, expected_gain
from mnv2search.study.hybrid.strategy import HybridStrategy, SpaceExhausted
from mnv2search.study.hybrid.surrogate import FloatArray, Inputs, IntArray, Surrogate

CARDS = (3, 4, 2, 3, 3)  # 216 networks
LARGE = (3,) * 16  # 43 million
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SHARED = Path(os.environ.get("MNV2SEARCH_SHARED", Path(__file__).parents[3] / "shared" / "data"))

Choice = tuple[int, ...]


def cost_of(choices: IntArray) -> FloatArray:
    return np.asarray(10.0 + choices @ np.arange(1.0, choices.shape[1] + 1), dtype=np.float64)


def accuracy_of(choices: IntArray) -> FloatArray:
    """Rises with every option, less and less, most with the dimensions that cost least."""
    gain: FloatArray = np.sqrt(choices) @ np.arange(choices.shape[1], 0.0, -1.0)
    return 60.0 + gain - 0.2 * choices[:, 0] * choices[:, -1]


def describe(choices: IntArray) -> Description:
    return Description(cost=cost_of(choices), features=np.log(cost_of(choices))[:, None])


def value_of(choice: Choice) -> tuple[float, float]:
    row = np.array([choice])
    return float(accuracy_of(row)[0]), float(cost_of(row)[0])


def evaluated(strategy: HybridStrategy, count: int) -> list[Choice]:
    asked = []
    for _ in range(count):
        asked.append(strategy.ask())
        strategy.tell(asked[-1], *value_of(asked[-1]))
    return asked


def told(strategy: HybridStrategy, choices: IntArray) -> None:
    for choice in map(tuple, choices.tolist()):
        strategy.tell(choice, *value_of(choice))


def everything(cards: tuple[int, ...]) -> IntArray:
    return np.array(list(itertools.product(*map(range, cards))))


# -- ask and tell ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cards", [CARDS, LARGE], ids=["enumerable", "large"])
def test_no_network_is_asked_for_twice(cards: tuple[int, ...]) -> None:
    asked = evaluated(HybridStrategy(cards=cards, describe=describe, seed=0), 80)
    assert len(set(asked)) == 80


@pytest.mark.parametrize("cards", [(1,), (2, 1), (2, 3, 2)], ids=str)
def test_a_small_space_is_asked_for_whole_and_then_exhausted(cards: tuple[int, ...]) -> None:
    strategy = HybridStrategy(cards=cards, describe=describe, seed=1)
    assert set(evaluated(strategy, len(everything(cards)))) == set(map(tuple, everything(cards).tolist()))
    with pytest.raises(SpaceExhausted, match="suggested before"):
        strategy.ask()


def test_a_network_that_was_told_is_not_asked_for() -> None:
    strategy = HybridStrategy(cards=CARDS, describe=describe, seed=0)
    rows = np.random.default_rng(3).permutation(everything(CARDS))
    told(strategy, rows[:150])
    asked = evaluated(strategy, 66)
    assert set(asked) == set(map(tuple, rows[150:].tolist()))


def test_networks_that_are_the_same_are_asked_for_once() -> None:
    def describe_sorted(choices: IntArray) -> Description:
        ordered = np.sort(choices, axis=1)
        return Description(
            cost=cost_of(ordered), features=np.zeros((len(choices), 0)), identity=ordered @ np.array([1, 10, 100])
        )

    strategy = HybridStrategy(cards=(3, 3, 3), describe=describe_sorted, seed=0)
    strategy.tell((0, 1, 2), 61.0, 12.0)
    asked = [strategy.ask() for _ in range(9)]
    assert len({tuple(sorted(choice)) for choice in [(0, 1, 2), *asked]}) == 10
    with pytest.raises(SpaceExhausted):
        strategy.ask()


def test_the_same_seed_asks_for_the_same_networks() -> None:
    first, second = (evaluated(HybridStrategy(cards=LARGE, describe=describe, seed=5), 40) for _ in range(2))
    assert first == second


def test_another_seed_asks_for_other_networks() -> None:
    first, second = (evaluated(HybridStrategy(cards=LARGE, describe=describe, seed=s), 40) for s in (5, 6))
    assert first != second


def test_many_may_be_asked_for_before_any_is_told() -> None:
    strategy = HybridStrategy(cards=LARGE, describe=describe, seed=0)
    early = [strategy.ask() for _ in range(30)]
    told(strategy, np.array(early))
    assert len({*early, *(strategy.ask() for _ in range(30))}) == 60


def test_a_forgotten_network_is_not_believed_to_be_on_the_front() -> None:
    strategy = HybridStrategy(cards=CARDS, describe=describe, seed=0)
    evaluated(strategy, 20)
    lost = strategy.ask()
    strategy.forget(lost)
    assert lost not in {strategy.ask() for _ in range(20)}


@pytest.mark.parametrize("choice", [(0, 0, 0, 0), (0, 0, 0, 0, 3), (0, 0, 0, 0, -1)], ids=["short", "high", "low"])
def test_a_choice_outside_the_space_is_refused(choice: Choice) -> None:
    with pytest.raises(OptionError, match="choice is"):
        HybridStrategy(cards=CARDS, describe=describe, seed=0).tell(choice, 60.0, 10.0)


@pytest.mark.parametrize("values", [(float("nan"), 1.0), (60.0, float("inf"))], ids=["accuracy", "cost"])
def test_a_value_that_is_not_finite_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(OptionError, match="told accuracy"):
        HybridStrategy(cards=CARDS, describe=describe, seed=0).tell((0, 0, 0, 0, 0), *values)


@pytest.mark.parametrize(
    ("cost", "match"), [(0.0, "cost of 0"), (float("nan"), "not finite")], ids=["no cost", "nan"]
)
def test_a_description_that_cannot_be_right_is_refused(cost: float, match: str) -> None:
    def describe_badly(choices: IntArray) -> Description:
        return Description(cost=np.full(len(choices), cost), features=np.zeros((len(choices), 0)))

    with pytest.raises(OptionError, match=match):
        HybridStrategy(cards=CARDS, describe=describe_badly, seed=0).ask()


def test_a_dimension_without_options_is_refused() -> None:
    with pytest.raises(OptionError, match="cards are"):
        HybridStrategy(cards=(3, 0), describe=describe, seed=0)


# -- what it finds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_forty_of_a_large_space_widen_the_front_more_than_four_hundred_random_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chance = rng.integers(0, 3, size=(400, len(LARGE)))
    asked = evaluated(HybridStrategy(cards=LARGE, describe=describe, seed=seed), 40)
    reference = (100.0, 250.0)
    found = hypervolume(map(value_of, asked), reference=reference)
    assert found > hypervolume(map(value_of, map(tuple, chance.tolist())), reference=reference)


def test_a_noisy_accuracy_does_not_stop_it() -> None:
    noise = np.random.default_rng(0)
    strategy = HybridStrategy(cards=CARDS, describe=describe, seed=0)
    asked = []
    for _ in range(60):
        asked.append(strategy.ask())
        accuracy, cost = value_of(asked[-1])
        strategy.tell(asked[-1], accuracy + noise.normal(scale=0.5), cost)
    reference = (60.0, 50.0)
    best = hypervolume(map(value_of, map(tuple, everything(CARDS).tolist())), reference=reference)
    assert hypervolume(map(value_of, asked), reference=reference) > 0.97 * best


def test_a_ceiling_beyond_the_limit_keeps_the_search_at_the_dear_end() -> None:
    limit = 120.0

    def describe_within(choices: IntArray) -> Description:
        known = describe(choices)
        violation = np.maximum(0.0, known.cost / limit - 1)
        return Description(cost=known.cost, features=known.features, violation=violation)

    def dear(ceiling: float | None, seed: int) -> int:
        """How many networks of the last fifth below the limit were asked for."""
        strategy = HybridStrategy(cards=LARGE, describe=describe_within, seed=seed, ceiling=ceiling)
        return sum(0.8 * limit <= value_of(choice)[1] <= limit for choice in evaluated(strategy, 60))

    pairs = [(dear(2 * limit, seed), dear(None, seed)) for seed in range(3)]
    assert all(wide > narrow for wide, narrow in pairs)


def test_a_told_violation_turns_the_search_away() -> None:
    """No description says so, but whatever has the last option of dimension 0 fails."""
    strategy = HybridStrategy(cards=LARGE, describe=describe, seed=0)
    broken = []
    for _ in range(80):
        choice = strategy.ask()
        broken.append(choice[0] == 2)
        accuracy, cost = value_of(choice)
        strategy.tell(choice, None if broken[-1] else accuracy, cost, 0.2 if broken[-1] else 0.0)
    assert sum(broken[40:]) < 0.1 * 40


def test_a_predicted_violation_is_avoided_from_the_start() -> None:
    def describe_capped(choices: IntArray) -> Description:
        cost = cost_of(choices)
        return Description(cost=cost, features=np.log(cost)[:, None], violation=np.maximum(cost / 70.0 - 1.0, 0.0))

    asked = evaluated(HybridStrategy(cards=LARGE, describe=describe_capped, seed=0), 40)
    assert max(cost for _, cost in map(value_of, asked)) <= 70.0


def test_a_space_where_nothing_fits_is_searched_for_the_least_violation() -> None:
    strategy = HybridStrategy(cards=LARGE, describe=describe, seed=0)
    violations = []
    for _ in range(60):
        choice = strategy.ask()
        violations.append(0.1 + 0.1 * sum(option != 1 for option in choice[8:]))
        strategy.tell(choice, None, value_of(choice)[1], violations[-1])
    assert np.median(violations[40:]) < 0.5 * np.median(violations[:12])


def test_a_description_that_is_off_by_a_factor_is_set_right() -> None:
    def describe_wrongly(choices: IntArray) -> Description:
        right = describe(choices)
        return Description(cost=0.1 * right.cost, features=right.features)

    reference = (100.0, 250.0)
    scores = [
        hypervolume(
            map(value_of, evaluated(HybridStrategy(cards=LARGE, describe=d, seed=0), 60)), reference=reference
        )
        for d in (describe, describe_wrongly)
    ]
    assert scores[1] > 0.95 * scores[0]


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["true prior", "misleading prior"])
def test_a_prior_is_trusted_as_far_as_it_proves_right(sign: float) -> None:
    def describe_with_prior(choices: IntArray) -> Description:
        known = describe(choices)
        return Description(cost=known.cost, features=known.features, prior=sign * accuracy_of(choices))

    strategy = HybridStrategy(cards=LARGE, describe=describe_with_prior, seed=0)
    found = hypervolume(map(value_of, evaluated(strategy, 60)), reference=(100.0, 250.0))
    plain = evaluated(HybridStrategy(cards=LARGE, describe=describe, seed=0), 60)
    assert found > 0.98 * hypervolume(map(value_of, plain), reference=(100.0, 250.0))


@pytest.mark.skipif(not SHARED.exists(), reason="the tables with known accuracies are absent")
@pytest.mark.parametrize(("problem", "least"), [("nbm", 0.96), ("anb", 0.91)])
def test_fifty_evaluations_reach_most_of_a_known_front(
    problem: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    known = importlib.import_module("search_quality_problems").open_problem(problem)
    shares = []
    for seed in range(3):
        strategy = HybridStrategy(cards=known.cards, ordinal=known.ordinal, describe=known.describe, seed=seed)
        asked = []
        for _ in range(50):
            asked.append(strategy.ask())
            strategy.tell(asked[-1], *known.evaluate(asked[-1]))
        shares.append(known.share(asked))
    assert np.median(shares) >= least


# -- the parts ---------------------------------------------------------------------------------------------------

whole = st.integers(0, 9).map(float)


@given(st.lists(st.tuples(whole, whole), max_size=10), whole, whole)
def test_the_gain_is_the_difference_of_hypervolumes(
    points: list[tuple[float, float]], accuracy: float, cost: float
) -> None:
    reference = (2.0, 8.0)
    accuracies, costs = np.array(points, dtype=float).reshape(-1, 2).T
    gain = ParetoFront(costs, accuracies, reference=reference).gain(np.array([cost]), np.array([accuracy]))
    before, after = (hypervolume(ps, reference=reference) for ps in (points, [*points, (accuracy, cost)]))
    assert gain[0] == pytest.approx(after - before)


def test_the_expected_gain_of_a_certain_accuracy_is_its_gain() -> None:
    front = ParetoFront(np.array([2.0, 5.0]), np.array([4.0, 6.0]), reference=(0.0, 9.0))
    certain = np.full((1, len(NODES)), 7.0)
    assert expected_gain(front, np.array([3.0]), certain) == pytest.approx(np.array([2 * 3.0 + 4 * 1.0]))


def test_the_expected_gain_agrees_with_drawing_accuracies() -> None:
    front = ParetoFront(np.array([2.0, 5.0]), np.array([4.0, 6.0]), reference=(0.0, 9.0))
    drawn = np.asarray(np.random.default_rng(0).normal(5.0, 1.0, size=200_000))
    sampled = front.gain(np.array([3.0]), drawn).mean()
    assert expected_gain(front, np.array([3.0]), 5.0 + NODES[None]) == pytest.approx(sampled, rel=0.05)


def surrogate_of(choices: IntArray, values: FloatArray, *, prior: FloatArray | None = None) -> Surrogate:
    surrogate = Surrogate(cards=CARDS)
    surrogate.fit(Inputs(choices=choices, features=describe(choices).features, prior=prior), values)
    return surrogate


def test_the_surrogate_ranks_what_it_has_not_seen() -> None:
    rows = np.random.default_rng(0).permutation(everything(CARDS))
    surrogate = surrogate_of(rows[:60], accuracy_of(rows[:60]))
    unseen = Inputs(choices=rows[60:], features=describe(rows[60:]).features)
    ranks = [values.argsort().argsort() for values in (surrogate.predict(unseen).mean, accuracy_of(rows[60:]))]
    assert np.asarray(np.corrcoef(ranks))[0, 1] > 0.95


@pytest.mark.skipif(not SHARED.exists(), reason="the tables with known accuracies are absent")
@pytest.mark.parametrize(("steady", "least"), [(True, 0.95), (False, 0.93)], ids=["steady", "free"])
def test_thirty_two_noisy_values_rank_a_known_space(
    steady: bool, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    known = importlib.import_module("search_quality_problems").open_problem("nbm")
    rng = np.random.default_rng(0)
    rows = np.unique(rng.integers(0, 3, (800, 8)), axis=0)
    described, true = known.describe(rows), np.array([known.evaluate(row)[0] for row in map(tuple, rows.tolist())])
    rated = np.argsort(described.cost)[np.linspace(0, len(rows) - 1, 32).round().astype(int)]
    surrogate = Surrogate(cards=known.cards, steady=steady)
    surrogate.fit(
        described.rows(rated).inputs(rows[rated]), true[rated] + 0.1 * true.std() * rng.standard_normal(len(rated))
    )
    ranks = [v.argsort().argsort() for v in (surrogate.predict_mean(described.inputs(rows)), true)]
    assert np.asarray(np.corrcoef(ranks))[0, 1] > least


def test_the_surrogate_is_surest_where_it_was_fitted() -> None:
    rows = np.random.default_rng(0).permutation(everything(CARDS))
    surrogate = surrogate_of(rows[:30], accuracy_of(rows[:30]))
    sd = surrogate.predict(Inputs(choices=rows, features=describe(rows).features)).sd
    assert sd[:30].max() < np.median(sd[30:])


def test_values_undo_the_warp() -> None:
    rows = np.random.default_rng(0).permutation(everything(CARDS))[:80]
    skewed = 90.0 - np.exp(4.0 - 0.2 * accuracy_of(rows) + 12.0)
    surrogate = surrogate_of(rows, skewed)
    predicted = surrogate.predict(Inputs(choices=rows, features=describe(rows).features))
    error = surrogate.values(predicted, np.zeros(1))[:, 0] - skewed
    assert np.abs(error).mean() < 0.1 * skewed.std()


@pytest.mark.parametrize("values", [[3.0, 3.0, 3.0], [1.0, 2.0, 3.0]], ids=["constant", "rising"])
def test_three_values_are_enough_to_predict(values: list[float]) -> None:
    rows = everything(CARDS)
    predicted = surrogate_of(rows[:3], np.array(values)).predict(
        Inputs(choices=rows, features=describe(rows).features)
    )
    assert np.isfinite(predicted.mean).all()
    assert np.isfinite(predicted.sd).all()


def test_a_space_without_features_can_be_learned() -> None:
    def bare(choices: IntArray) -> Description:
        return Description(cost=cost_of(choices), features=np.zeros((len(choices), 0)))

    asked = evaluated(HybridStrategy(cards=CARDS, describe=bare, seed=0), 60)
    reference = (60.0, 50.0)
    best = hypervolume(map(value_of, map(tuple, everything(CARDS).tolist())), reference=reference)
    assert hypervolume(map(value_of, asked), reference=reference) > 0.97 * best


@given(
    st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(-5, 5)), min_size=1, max_size=40),
    st.integers(1, 6),
    st.integers(1, 3),
)
@settings(max_examples=50)
def test_the_best_of_all_is_among_the_best_in_niches(rows: list[tuple[float, float]], niches: int, each: int) -> None:
    cost, merit = np.array(rows).T
    kept = best_in_niches(cost, merit, niches=niches, each=each)
    assert merit.max() in merit[kept]
    assert len(kept) <= niches * each


@pytest.mark.parametrize("prior", [None, accuracy_of], ids=["no prior", "prior"])
def test_a_design_covers_the_costs(prior: Callable[[IntArray], FloatArray] | None) -> None:
    rows = everything(CARDS)
    description = Description(
        cost=cost_of(rows), features=describe(rows).features, prior=None if prior is None else prior(rows)
    )
    picks = stratified_design(np.random.default_rng(0), description, 6)
    log_cost = np.log(description.cost)
    edges = np.linspace(log_cost.min(), log_cost.max(), 7)
    assert sorted(np.clip(np.digitize(log_cost[picks], edges) - 1, 0, 5)) == list(range(6))


def test_feasibility_learns_that_a_prediction_is_wrong() -> None:
    rows = np.random.default_rng(0).permutation(everything(CARDS))
    truly = rows[:, 1] / 3.0 - 0.5

    def describe_opposite(choices: IntArray) -> Description:
        known = describe(choices)
        return Description(
            cost=known.cost, features=known.features, violation=np.maximum(0.5 - choices[:, 1] / 3.0, 0.0)
        )

    history = History()
    for choice, violation in zip(map(tuple, rows[:60].tolist()), truly, strict=False):
        history.add(choice, accuracy=None if violation > 0 else 60.0, cost=1.0, violation=max(float(violation), 0.0))
    feasibility = Feasibility(cards=CARDS, ordinal=())
    feasibility.learn(history, describe_opposite)
    weights = feasibility.weights(rows[60:], describe_opposite(rows[60:]))
    assert ((weights > 0.5) == (truly[60:] <= 0)).mean() > 0.95


def test_a_fit_is_bounded_and_keeps_the_front() -> None:
    rows = np.random.default_rng(0).permutation(everything(CARDS))
    history = History()
    for choice in map(tuple, rows.tolist()):
        accuracy, cost = value_of(choice)
        history.add(choice, accuracy=accuracy, cost=cost, violation=0.0)
    front = history.front((60.0, 50.0))
    fitted = history.training_subset(front, np.random.default_rng(0), most=100)
    assert len(set(fitted.tolist())) == 100
    assert set(front.accuracies) <= set(history.accuracies[fitted])
