"""The last few networks of a search, each trained on its own with as many steps as the others."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mnv2search.accuracy.types import Evaluator
from mnv2search.atomic import write_text
from mnv2search.cost import cost_of
from mnv2search.data.image_batches import Cutting
from mnv2search.data.images import ImageSet
from mnv2search.data.prepare import Prepared, prepare
from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.model.build import build
from mnv2search.model.weights.saved import read_learned, read_network
from mnv2search.recipe import Recipe, load_recipe
from mnv2search.results.finetuned import Finetuned
from mnv2search.spec.model_spec import square_side
from mnv2search.spec.plan import plan as plan_of
from mnv2search.study.results import median_ms_of, rank_of, slots_of
from mnv2search.supernet.inherit import inherit
from mnv2search.training.checkpoint import write_network
from mnv2search.training.distributed import own_device
from mnv2search.training.loop import BEST, LAST, Figures, Progress, evaluate, time_training, train
from mnv2search.training.rate import training_rate
from mnv2search.training.speed import Speed, Timed
from mnv2search.workflows.search.finetuned import LONG_RECIPE, REPORT, finetuned_json, read_report, training_folder

__all__ = ["CANDIDATES", "best_of", "candidates_of", "finetune"]

# Trained on their own; more would leave too little time for each.
CANDIDATES = 5
# Of trainings that see every image less often than this; longer ones take another.
SHORT_RECIPE, LONG_EPOCHS = "short", 20
# Trainings that see fewer images decide nothing, so that there are fewer of them; one that sees less is of no use.
LEAST_IMAGES, FEWEST_IMAGES = 2_000, 500
# Passes that tell how fast this machine is, before anything else is done, and what they take of the time at most.
TIMED, TIMING_SHARE = 4, 0.05
# Of the time, after which no further images are decoded, and what is not planned with.
DECODING_SHARE, SPARE_SHARE = 0.5, 0.1
# A training is given so many seconds, however little is left.
LEAST_S = 1.0


class _Plan(NamedTuple):
    """What is trained, and how.

    Attributes:
        order: networks, dearest first.
        decoded: images by the side that networks take.
        recipe: of every training.
        steps: of each, as far as is known.
        planned: steps that are expected of each.
        speed: how long trainings take.
    """

    order: Sequence[Evaluation]
    decoded: Mapping[int, Prepared[Recipe]]
    recipe: Recipe
    steps: int | None
    planned: int
    speed: Speed


def best_of(front: Sequence[Evaluation], *, count: int = CANDIDATES) -> tuple[Evaluation, ...]:
    """The most accurate networks of a front, the best first."""
    known = [e for e in front if e.accuracy is not None]
    return tuple(sorted(known, key=rank_of, reverse=True)[:count])


def candidates_of(finalists: Sequence[Evaluation], *, count: int = CANDIDATES) -> tuple[Evaluation, ...]:
    """Of networks that were measured side by side, those that are worth trainings of their own, fastest first.

    The order of accuracies with shared weights is noisy, and favours networks that learn fast; so these are not the
    first of that order but the first of every slot of latency, and then whatever is best of the others.

    Args:
        finalists: with accuracies.
        count: at most so many.
    """
    slots = slots_of(finalists, count=count)
    chosen = [slot[0] for slot in slots if slot]
    others = sorted((e for e in finalists if e not in chosen), key=rank_of, reverse=True)
    return tuple(sorted((*chosen, *others[: count - len(chosen)]), key=median_ms_of))


def finetune(
    candidates: Sequence[Evaluation],
    images: ImageSet,
    *,
    folder: Path,
    time_s: float,
    seed: int,
    recipe: Recipe | None = None,
    first: Evaluator | None = None,
    on_progress: Callable[[str, Progress], None] = lambda _name, _progress: None,
    clock: Callable[[], float] = time.monotonic,
) -> Finetuned | None:
    """Train each network with equally many steps, and decide by the held-out images; a training goes on in `folder`.

    The dearest network is trained first, for its share of the time by what a few steps of the cheapest and of the
    dearest say; the others take as many steps. Where the time is short there are fewer networks, and what does not
    fit any more is left out. None where there is no time for a training that is worth it.

    Args:
        candidates: networks to decide among.
        images: to learn from, to decide by, and for the final figures.
        folder: gets a folder for each network; the best one's weights are in its ``best.pt``.
        time_s: wall time for all of them, decoding and the final figures included.
        seed: of everything that is drawn.
        recipe: of every training; None takes ``short`` or, where every image will be seen 20 times or more,
            ``modern``.
        first: gives a network whose weights one begins with, and keeps where these are as large as it is and the
            training makes it no better; None begins with random ones.
        on_progress: told the name of the network and where its training is.
        clock: monotonic clock in seconds.

    Raises:
        RecordError: there is nothing to decide among.
        DataError: the images cannot be learned from.
        TrainingError: a training fails.
    """
    if not candidates:
        raise RecordError("there is no network to train", hint="search for longer")
    begin, device = clock(), own_device()
    plan = _planned(candidates, images, folder=folder, time_s=time_s, recipe=recipe, device=device, clock=clock)
    if plan is None:
        return None
    order, decoded, recipe, steps, planned, speed = plan
    epoch_steps = max(1, len(images.train) // recipe.batch)
    tested = len(images.test) / len(images.val)
    held_out: dict[str, Figures] = {}
    notes: list[str] = []
    kept: list[str] = []
    for place, evaluation in enumerate(order):
        spec, own = evaluation.spec, training_folder(folder, evaluation)
        left_s = (1 - SPARE_SHARE) * time_s - (clock() - begin)
        expected_s = [
            speed.training_s(cost_of(e.spec).madds, steps=planned, evaluations=math.ceil(planned / epoch_steps))
            for e in order[place:]
        ]
        if held_out and not (own / LAST).exists() and left_s < expected_s[0] / 2:
            continue
        model = build(spec, seed=seed)
        if first is not None:
            inherit(model, first.member(spec).cpu())
        prepared = decoded[square_side(spec)]
        done = train(
            model,
            prepared.parts["train"],
            prepared.parts["val"],
            prepared.recipe,
            folder=own,
            seed=seed,
            steps=steps,
            time_s=None if steps is not None else max(LEAST_S, left_s * expected_s[0] / sum(expected_s)),
            limit_s=None if steps is None else max(LEAST_S, left_s - sum(expected_s[1:])),
            data=images.fingerprint,
            precision="float32",  # a trial of speed may end one way for one network and another for the next
            device=device,
            on_progress=lambda progress, name=spec.name: on_progress(name, progress),  # type: ignore[misc]
            on_note=lambda text, name=spec.name: notes.append(f"{name}: {text}"),  # type: ignore[misc]
            after=tested / len(order) if steps is None else tested,
            classes=images.classes,
            clock=clock,
        )
        if steps is None:
            if done.steps * recipe.batch < FEWEST_IMAGES:  # slower than a few steps had said
                shutil.rmtree(own)
                return None
            steps = planned = done.steps
            begun_as = {"steps": steps, "recipe": recipe.name, "count": len(order)}
            write_text(folder / REPORT, json.dumps(begun_as) + "\n")
        if done.steps < steps:
            notes.append(f"{spec.name}: ended after {done.steps} of {steps} steps, as the time was over")
        took = math.ceil(done.steps / epoch_steps)
        speed.took(done.seconds, madds=cost_of(spec).madds, steps=done.steps, evaluations=took)
        held_out[spec.name] = done.best
        if first is not None and (had := _better(evaluation, done.best, first)) is not None:
            write_network(own / BEST, first.member(spec), learned=first.learned)
            held_out[spec.name] = had
            kept.append(spec.name)
            told = f"no better for it ({100 * done.best.top1:.1f} %); it keeps the weights it inherited"
            notes.append(f"{spec.name}: {told}")
    assert steps is not None
    if len(held_out) < len(candidates):
        notes.append(
            f"{len(held_out)} of {len(candidates)} networks were trained on their own: more --time trains more"
        )
    networks = tuple(e for e in candidates if e.spec.name in held_out)
    figures = tuple(held_out[e.spec.name] for e in networks)
    best = max(range(len(networks)), key=lambda i: (*_merit(figures[i]), -median_ms_of(networks[i])))
    weights = training_folder(folder, networks[best]) / BEST
    found = Finetuned(
        recipe=recipe.name,
        networks=networks,
        held_out=figures,
        steps=steps,
        images=steps * recipe.batch,
        best=best,
        test=_tested(weights, decoded, recipe, device=device),
        weights=weights,
        notes=tuple(notes),
        kept=tuple(kept),
    )
    write_text(folder / REPORT, json.dumps(finetuned_json(found), indent=2) + "\n")
    return found


def _merit(figures: Figures) -> tuple[bool, float]:
    """What decides: top-1, or the loss where it is no better than always answering the commonest class."""
    return (True, figures.top1) if figures.beats_commonest else (False, -figures.loss)


def _better(evaluation: Evaluation, trained: Figures, first: Evaluator) -> Figures | None:
    """What a network reaches with the weights that it inherited, where that is more."""
    had = evaluation.accuracy
    if had is None or had.kind != "inherited" or not first.is_full_size() or had.value <= trained.top1:
        return None
    loss = 0.0 if had.merit is None else -math.log(had.merit)
    return Figures(had.value, loss, trained.count, had.commonest)


def _tested(weights: Path, decoded: Mapping[int, Prepared[Recipe]], recipe: Recipe, *, device: str) -> Figures:
    network, learned = read_network(weights), read_learned(weights)
    side = square_side(network.spec)
    normalization = recipe.normalization if learned is None else learned.normalization
    cutting = Cutting(side=side, normalization=normalization)
    return evaluate(network.to(device), decoded[side].parts["test"], cutting, device=device)


def _planned(
    candidates: Sequence[Evaluation],
    images: ImageSet,
    *,
    folder: Path,
    time_s: float,
    recipe: Recipe | None,
    device: str,
    clock: Callable[[], float],
) -> _Plan | None:
    """Which networks the time is for, with the images that they take; an interrupted run has decided that before.

    None where it is for none.
    """
    begin, begun = clock(), read_report(folder)
    if begun is None and _seen_at_most(candidates, time_s=time_s, device=device, clock=clock) < FEWEST_IMAGES:
        return None
    looks = recipe or load_recipe(SHORT_RECIPE if begun is None else begun.recipe)
    decoded: dict[int, Prepared[Recipe]] = {}
    if begun is not None:
        candidates = candidates_of(candidates, count=begun.count or len(candidates))
    for side in dict.fromkeys(square_side(e.spec) for e in _dearest_first(candidates)):
        if not decoded or clock() - begin < DECODING_SHARE * time_s:
            decoded[side] = prepare(images, side=side, recipe=looks, splits=("train", "val", "test"))
    some: Sequence[Evaluation] = [e for e in candidates if square_side(e.spec) in decoded]
    speed = _speed(some, decoded, device=device, most_s=TIMING_SHARE * time_s, clock=clock)
    if begun is not None:
        return _Plan(_dearest_first(some), decoded, looks, begun.steps, begun.steps, speed)
    left_s = (1 - SPARE_SHARE) * time_s - (clock() - begin)
    some, steps = _as_many_as_learn(some, speed, batch=looks.batch, time_s=left_s)
    if steps * looks.batch < FEWEST_IMAGES:
        return None
    if recipe is None and steps * looks.batch >= LONG_EPOCHS * len(images.train):
        looks = load_recipe(LONG_RECIPE)
        decoded = {
            side: prepare(images, side=side, recipe=looks, splits=("train", "val", "test")) for side in decoded
        }
    return _Plan(_dearest_first(some), decoded, looks, None, steps, speed)


def _seen_at_most(
    candidates: Sequence[Evaluation], *, time_s: float, device: str, clock: Callable[[], float]
) -> float:
    """Images that the cheapest network sees if it takes all of the time, by a few passes there and back."""
    cheapest = _dearest_first(candidates)[-1].spec
    timed = (build(cheapest).to(device), plan_of(cheapest))
    rate = training_rate([timed] * TIMED, device=device, most_s=TIMING_SHARE * time_s, clock=clock)
    return rate * time_s / cost_of(cheapest).madds


def _dearest_first(networks: Sequence[Evaluation]) -> list[Evaluation]:
    return sorted(networks, key=lambda e: -cost_of(e.spec).madds)


def _speed(
    networks: Sequence[Evaluation],
    decoded: Mapping[int, Prepared[Recipe]],
    *,
    device: str,
    most_s: float,
    clock: Callable[[], float],
) -> Speed:
    """How fast networks are trained here, by a few steps of the cheapest and, if there is time, of the dearest."""
    begin, timed = clock(), list[Timed]()
    dearest, *others = _dearest_first(networks)
    for evaluation in (*others[-1:], dearest):
        if timed and clock() - begin > most_s:
            break
        found = decoded[square_side(evaluation.spec)]
        parts, recipe = found.parts, found.recipe
        net = build(evaluation.spec)
        timed.append(time_training(net, parts["train"], parts["val"], recipe, device=device, clock=clock))
    return Speed(timed)


def _as_many_as_learn(
    candidates: Sequence[Evaluation], speed: Speed, *, batch: int, time_s: float
) -> tuple[Sequence[Evaluation], int]:
    """As many networks, one at least, as see enough images each in the time, and the steps of each that fit."""
    for count in range(len(candidates), 1, -1):
        some = candidates_of(candidates, count=count)
        steps = _steps_of(some, speed, time_s=time_s)
        if steps * batch >= LEAST_IMAGES:
            return some, steps
    some = candidates_of(candidates, count=1)
    return some, _steps_of(some, speed, time_s=time_s)


def _steps_of(networks: Sequence[Evaluation], speed: Speed, *, time_s: float) -> int:
    madds = [cost_of(e.spec).madds for e in networks]
    last_s = sum(speed.training_s(one, steps=0, evaluations=1) for one in madds)
    return max(1, int((time_s - last_s) / sum(speed.training_s(one, steps=1, evaluations=0) for one in madds)))
