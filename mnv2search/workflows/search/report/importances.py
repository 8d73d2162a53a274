"""The importance of the axes of a search space for the accuracy."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from mnv2search.results.run_report import Importance, evenly
from mnv2search.spec.space import SearchSpace
from mnv2search.study.types import Evaluated

# Minimum number of networks (importances of fewer are noise), and maximum number of values (more would take seconds).
FEWEST, MOST_VALUES = 30, 100_000


def importances_of(space: SearchSpace, items: Sequence[Evaluated]) -> tuple[Importance, ...]:
    """Importances by PED-ANOVA, highest first, which add up to 1; empty if there are too few networks.

    Source: Watanabe, Bansal & Hutter 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
    Subspaces"; `optuna.importance.PedAnovaImportanceEvaluator`.
    """
    known = [
        (i.pick, i.evaluation.accuracy.value)
        for i in {i.pick: i for i in items if len(i.pick) == len(space.axes)}.values()
        if i.evaluation.accuracy is not None
    ]
    if len(known) < FEWEST or len({value for _, value in known}) == 1:
        return ()
    known = list(evenly(known, max(FEWEST, MOST_VALUES // len(space.axes))))
    shares = _shares(space, known)
    found = []
    for place, axis in enumerate(space.axes):
        options = tuple(map(str, axis.options))
        points = tuple((options[pick[place]], value) for pick, value in known)
        found.append(Importance(axis.at, shares[axis.at], options, points))
    return tuple(sorted(found, key=lambda one: one.share, reverse=True))


def _shares(space: SearchSpace, known: Sequence[tuple[tuple[int, ...], float]]) -> dict[str, float]:
    import optuna  # late: it takes half a second to load
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    from mnv2search.study.storage.journal import distributions_of

    distributions = distributions_of(space)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(direction="maximize", storage=optuna.storages.InMemoryStorage())
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={axis.at: axis.options[index] for axis, index in zip(space.axes, pick, strict=True)},
                    distributions=distributions,
                    value=value,
                )
                for pick, value in known
            ]
        )
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
