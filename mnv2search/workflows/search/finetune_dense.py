"""The best detectors or segmenters of a search, trained on from what they learned in it, each for as many steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mnv2search.accuracy.evaluators.train_dense import TrainDenseEvaluator
from mnv2search.atomic import write_text
from mnv2search.data.scene_batches import loaded_parts
from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.model.weights.saved import read_network
from mnv2search.results.finetuned import Finetuned
from mnv2search.study.results import median_ms_of
from mnv2search.tasks.classification import Figures
from mnv2search.tasks.dense_metrics import DenseFigures, dense_figures
from mnv2search.training.checkpoint import write_whole
from mnv2search.training.dense_loop import DenseProgress, DenseTrained, train_dense
from mnv2search.training.distributed import own_device
from mnv2search.training.trainer import BEST
from mnv2search.workflows.search.finetuned import REPORT, finetuned_json, read_report, training_folder

__all__ = ["affordable", "finetune_dense"]

# In a training, apart from the last: an evaluation takes as long as many steps.
EVALUATIONS = 4
# Of the time, what is not planned with: the test images, and what cannot be foreseen.
SPARE_SHARE = 0.1
# A training is given, however little is left.
LEAST_S = 1.0


def affordable(candidates: Sequence[Evaluation], expected_s: Sequence[float], *, time_s: float) -> int:
    """How many networks can be trained for as long as in the search at least; never none.

    Args:
        candidates: best first.
        expected_s: what a training of each took in the search.
        time_s: wall time for all of them.
    """
    fitting = [n for n in range(1, len(candidates) + 1) if sum(expected_s[:n]) <= (1 - SPARE_SHARE) * time_s]
    return max(fitting, default=1)


def finetune_dense(
    candidates: Sequence[Evaluation],
    evaluator: TrainDenseEvaluator,
    *,
    folder: Path,
    time_s: float,
    seed: int,
    on_progress: Callable[[str, DenseProgress], None] = lambda _name, _progress: None,
    clock: Callable[[], float] = time.monotonic,
) -> Finetuned:
    """Train networks on, decide by the held-out scenes, and judge the best on the test scenes.

    As many networks as can be trained for as long as in the search at least. The dearest is trained first, for its
    share of the time; the others take as many steps. What a training makes no better keeps the weights that it had.

    Args:
        candidates: networks to decide among, best first.
        evaluator: of the search, with what its networks learned.
        folder: gets a folder for each network, in which an interrupted training goes on.
        time_s: wall time for all of them.
        seed: of everything that is drawn.
        on_progress: told the name of the network and where its training is.
        clock: monotonic clock in seconds.

    Raises:
        RecordError: there is nothing to decide among, or the report of an interrupted run cannot be read.
        TrainingError: a training fails.
    """
    if not candidates:
        raise RecordError("there is no network to train", hint="search for longer")
    begin, begun = clock(), read_report(folder)
    expected_s = [evaluator.expected_s(e.spec) or float(e.cost.madds) for e in candidates]
    count = affordable(candidates, [evaluator.expected_s(e.spec) for e in candidates], time_s=time_s)
    steps = None if begun is None else begun.steps
    if begun is not None:
        count = begun.count or len(begun.networks)
    candidates, expected_s = candidates[:count], expected_s[:count]
    order = sorted(range(len(candidates)), key=lambda i: -expected_s[i])
    found: dict[int, Figures] = {}
    notes: list[str] = []
    pace = 0.0  # seconds that a training takes here for one that it was expected to
    for place, index in enumerate(order):
        evaluation, own = candidates[index], training_folder(folder, candidates[index])
        left_s = (1 - SPARE_SHARE) * time_s - (clock() - begin)
        later_s = pace * sum(expected_s[i] for i in order[place + 1 :])
        done = _trained(
            evaluation,
            evaluator,
            folder=own,
            seed=seed,
            steps=steps,
            time_s=max(LEAST_S, left_s * expected_s[index] / sum(expected_s)),
            limit_s=max(LEAST_S, left_s - later_s),
            on_progress=on_progress,
            on_note=lambda text, name=evaluation.spec.name: notes.append(f"{name}: {text}"),  # type: ignore[misc]
            clock=clock,
        )
        if steps is None:
            steps, pace = done.steps, done.seconds / expected_s[index]
            begun_as = {"steps": steps, "recipe": evaluator.recipe.name, "count": count}
            write_text(folder / REPORT, json.dumps(begun_as) + "\n")
        name = evaluation.spec.name
        if done.steps < steps:
            notes.append(f"{name}: ended after {done.steps} of {steps} steps, as the time was over")
        found[index] = Figures(done.best.value, 0.0, done.best.count)
        before = evaluation.accuracy
        if before is not None and done.best.value < before.value:
            write_whole(own / BEST, evaluator.trained_weights(evaluation.spec).read_bytes())
            found[index] = Figures(before.value, 0.0, done.best.count)
            notes.append(f"{name}: no better for it ({100 * done.best.value:.1f} %); it keeps the weights it had")
    assert steps is not None
    best = max(found, key=lambda i: (found[i].top1, -median_ms_of(candidates[i])))
    weights = training_folder(folder, candidates[best]) / BEST
    test = _tested(weights, evaluator)
    result = Finetuned(
        recipe=evaluator.recipe.name,
        networks=tuple(candidates),
        held_out=tuple(found[i] for i in range(len(candidates))),
        steps=steps,
        images=steps * min(evaluator.recipe.batch, len(evaluator.dataset.train)),
        best=best,
        test=Figures(test.value, 0.0, test.count),
        weights=weights,
        metric=test.metric,
        details=test.details,
        notes=tuple(notes),
    )
    write_text(folder / REPORT, json.dumps(finetuned_json(result), indent=2) + "\n")
    return result


def _trained(
    evaluation: Evaluation,
    evaluator: TrainDenseEvaluator,
    *,
    folder: Path,
    seed: int,
    steps: int | None,
    time_s: float,
    limit_s: float,
    on_progress: Callable[[str, DenseProgress], None],
    on_note: Callable[[str], None],
    clock: Callable[[], float],
) -> DenseTrained:
    """One network, trained on for so many steps within a limit, or for a time."""
    scenes, name = evaluator.dataset, evaluation.spec.name
    model = read_network(evaluator.trained_weights(evaluation.spec))
    train, val, test = loaded_parts(scenes, size=evaluation.spec.size)
    return train_dense(
        model,
        train,
        val,
        evaluator.recipe,
        classes=scenes.classes,
        folder=folder,
        seed=seed + 1,  # other draws than those that it has learned from
        steps=steps,
        time_s=None if steps is not None else time_s,
        limit_s=None if steps is None else limit_s,
        data=scenes.fingerprint,
        device=own_device(),
        precision="float32",  # a trial of speed may end one way for one network and another for the next
        evaluations=EVALUATIONS,
        on_progress=lambda progress: on_progress(name, progress),
        on_note=on_note,
        clock=clock,
        after=len(test) / len(val),
    )


def _tested(weights: Path, evaluator: TrainDenseEvaluator) -> DenseFigures:
    network, device = read_network(weights), own_device()
    _, _, test = loaded_parts(evaluator.dataset, size=network.spec.size)
    return dense_figures(
        network.to(device),
        test,
        evaluator.dataset.classes,
        normalization=evaluator.recipe.normalization,
        device=device,
    )
