"""Correlation of training-free scores with depth, multiply-adds and parameters on a space."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from mnv2search.accuracy.scores import SCORES
from mnv2search.cost import cost_of, layer_params
from mnv2search.errors import OptionError, UnknownNameError
from mnv2search.results.scores import COUNTED, ScoreReport
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.space import SearchSpace, canonical, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space

FEWEST = 4
# Draws for each requested network, before a space counts as exhausted.
DRAWS = 50


def scores(
    space: SearchSpace | str,
    *,
    score: Sequence[str] | str = (),
    networks: int = 32,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda _: None,
) -> ScoreReport:
    """Score distinct random networks of a space, or all networks of a small one, without training.

    Args:
        space: a search space, its file or bundled name.
        score: names of scores; none takes all.
        networks: number of networks to draw.
        seed: random seed of networks, weights and images.
        on_progress: called with the number of scored networks.

    Raises:
        UnknownNameError: a score is not in `mnv2search.accuracy.scores.SCORES`.
        OptionError: there are too few networks for a rank correlation.
        EvaluatorError: a score cannot be computed for a network.
    """
    names = ([score] if isinstance(score, str) else tuple(score)) or tuple(SCORES)
    for name in names:
        if name not in SCORES:
            raise UnknownNameError("score", name, SCORES)
    space = load_space(space) if isinstance(space, str) else space
    specs = _drawn(space, networks, seed)
    if len(specs) < FEWEST:
        raise OptionError(
            f"{len(specs)} networks of {space.name} are too few to correlate",
            hint=f"score {FEWEST} or more of a space that has as many",
        )
    rows: list[dict[str, float]] = []
    for done, spec in enumerate(specs, start=1):
        rows.append({**_counted(spec), **{name: SCORES[name](spec, seed) for name in names}})
        on_progress(done)
    return ScoreReport(
        space=space.name,
        seed=seed,
        scores=tuple(names),
        values={name: tuple(row[name] for row in rows) for name in rows[0]},
    )


def _drawn(space: SearchSpace, count: int, seed: int) -> list[ModelSpec]:
    """Distinct random networks, up to `count`."""
    generator = random.Random(seed)
    picks: dict[tuple[int, ...], None] = {}
    for _ in range(DRAWS * count):
        if len(picks) < count:
            picks[canonical(space, random_pick(space, generator))] = None
    return [resolve(space, pick) for pick in picks]


def _counted(spec: ModelSpec) -> dict[str, float]:
    laid_out = plan(spec)
    depth = sum(unit.kind == "block" for unit in laid_out.features)
    body = sum(layer_params(layer) for unit in laid_out.features for layer in unit.layers)
    return dict(zip(COUNTED, (depth, cost_of(laid_out).madds, body), strict=True))
