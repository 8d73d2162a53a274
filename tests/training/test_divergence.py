"""A training that diverges goes back to its last good state, and stays within its time and its checkpoints."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import draw_pictures
from small_networks import SPEC

from mnv2search.data.pixels import Pixels, decoded
from mnv2search.data.reading import read_dataset
from mnv2search.errors import OptionError, StoppedError, TrainingError
from mnv2search.model.build import MobileNet, build
from mnv2search.recipe import Recipe
from mnv2search.tasks.classification import Classification
from mnv2search.training.good_state import MOST_REDUCTIONS, DivergedError, GoodState, is_finite
from mnv2search.training.gradient_step import NonFiniteGradientError, gradient_step
from mnv2search.training.learner import Job
from mnv2search.training.progress import Progress, Trained
from mnv2search.training.resumption import LAST
from mnv2search.training.train import train

RECIPE = Recipe(lr=0.05, lr_batch=8, batch=8, epochs=4, ema=0.9, shift_px=4)
# Steps of an epoch of the 42 images.
EPOCH = 5
STEP = "mnv2search.training.trainer.gradient_step"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pixels, Pixels]:
    folder = tmp_path_factory.mktemp("pictures")
    images = read_dataset(draw_pictures(folder / "tree"), "classification")
    train_part, test = (decoded(part, short_px=32, folder=folder / "cache") for part in (images.train, images.test))
    return train_part, test


class Run:
    """A training with its notes and progress."""

    def __init__(self, parts: tuple[Pixels, Pixels], folder: Path, recipe: Recipe = RECIPE) -> None:
        self.parts, self.folder, self.recipe = parts, folder, recipe
        self.notes: list[str] = []
        self.progress: list[Progress] = []
        self.model: MobileNet = build(SPEC, seed=0)

    def __call__(self, *, stop_after: float = math.inf, **options: Any) -> Trained:
        job = Job(
            folder=self.folder,
            on_note=self.notes.append,
            on_progress=self.progress.append,
            stop=lambda: len(self.progress) >= stop_after,
            **options,
        )
        return train(self.model, Classification(), *self.parts, self.recipe, job)


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, float], None]:
    """Lets a step fail if its learning rate is above a share of the recipe's at its first visit."""

    def fail_at(step: int, share: float) -> None:
        def stepped(learner: Any, model: Any, optimizer: Any, batch: Any, state: Any, scaler: Any) -> float:
            if state.step == step and 0.5**state.reductions > share:
                raise NonFiniteGradientError(math.nan)
            return gradient_step(learner, model, optimizer, batch, state, scaler)

        monkeypatch.setattr(STEP, stepped)

    return fail_at


def test_a_loss_that_is_not_finite_leads_back_to_the_last_evaluation(
    parts: tuple[Pixels, Pixels], tmp_path: Path, diverging: Callable[[int, float], None]
) -> None:
    diverging(EPOCH + 2, 0.5)
    run = Run(parts, tmp_path)
    found = run()
    assert run.notes == [
        "the loss of step 8 is not finite: "
        "the training goes back to step 5 and continues at 50 % of the learning rate"
    ]
    assert [one.step for one in run.progress] == [*range(1, 8), *range(6, 21)]
    assert (found.steps, len(found.losses), found.reductions) == (20, 20, 1)
    first, second = (one.lr for one in run.progress if one.step == EPOCH + 1)
    assert second == pytest.approx(first / 2)
    assert all(math.isfinite(loss) for loss in found.losses)


@pytest.mark.parametrize("stop_after", [EPOCH, EPOCH + 1, EPOCH + 4])
def test_a_resumed_training_diverges_and_recovers_as_an_uninterrupted_one(
    stop_after: int, parts: tuple[Pixels, Pixels], tmp_path: Path, diverging: Callable[[int, float], None]
) -> None:
    diverging(EPOCH + 2, 0.25)
    whole = Run(parts, tmp_path / "whole")
    uninterrupted = whole()
    first, rest = Run(parts, tmp_path / "parts"), Run(parts, tmp_path / "parts")
    first(stop_after=stop_after)
    resumed = rest()
    assert (resumed.reductions, resumed.steps) == (uninterrupted.reductions, uninterrupted.steps) == (2, 20)
    assert resumed.losses == uninterrupted.losses[-len(resumed.losses) :]
    assert resumed.best == uninterrupted.best
    assert {name: tensor.tolist() for name, tensor in whole.model.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in rest.model.state_dict().items()
    }


def test_a_training_that_goes_on_diverging_ends_with_an_error(
    parts: tuple[Pixels, Pixels], tmp_path: Path, diverging: Callable[[int, float], None]
) -> None:
    diverging(2, 0.0)
    run = Run(parts, tmp_path)
    with pytest.raises(TrainingError, match="the loss of step 3 is not finite") as raised:
        run()
    assert "lower the learning rate" in (raised.value.hint or "")
    assert len(run.notes) == MOST_REDUCTIONS


def test_weights_that_are_not_finite_are_never_evaluated(
    parts: tuple[Pixels, Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def stepped(learner: Any, model: Any, optimizer: Any, batch: Any, state: Any, scaler: Any) -> float:
        loss = gradient_step(learner, model, optimizer, batch, state, scaler)
        if state.step == 2 * EPOCH - 1 and not state.reductions:
            next(iter(model.parameters())).data[0] = math.inf
        return loss

    monkeypatch.setattr(STEP, stepped)
    run = Run(parts, tmp_path, replace(RECIPE, ema=0.0))
    found = run()
    assert [note.partition(":")[0] for note in run.notes] == ["a weight after step 10 is not finite"]
    losses = [one.evaluated.loss for one in run.progress if one.evaluated is not None]
    assert len(losses) == 4
    assert all(loss is not None and math.isfinite(loss) for loss in losses)
    assert found.reductions == 1


def test_a_loss_that_explodes_leads_back_too(
    parts: tuple[Pixels, Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stepped(learner: Any, model: Any, optimizer: Any, batch: Any, state: Any, scaler: Any) -> float:
        loss = gradient_step(learner, model, optimizer, batch, state, scaler)
        return loss if state.reductions else loss * 1000 ** (state.step // 3)

    monkeypatch.setattr(STEP, stepped)
    run = Run(parts, tmp_path)
    found = run()
    assert "the training goes back to step 0 and continues at 50 % of the learning rate" in run.notes[0]
    assert re.match(r"the loss rose from .* before step 5:", run.notes[0])
    assert (found.reductions, found.steps) == (1, 20)


@pytest.mark.parametrize("clip_norm", [0.0, 1e6], ids=["unclipped", "clipped"])
def test_a_rate_that_is_far_too_high_is_lowered(
    clip_norm: float, parts: tuple[Pixels, Pixels], tmp_path: Path
) -> None:
    run = Run(parts, tmp_path, replace(RECIPE, lr=5.0, ema=0.0, clip_norm=clip_norm))
    found = run()
    assert found.reductions >= 1
    assert is_finite(run.model.state_dict().values())
    assert found.losses[-1] < 10


def test_a_state_whose_loss_has_doubled_is_not_good() -> None:
    good = GoodState(step=5, running_loss=1.0, model={}, averaged=None, optimizer={})
    assert [good.allows(loss) for loss in (0.5, 1.9, 2.1, math.inf)] == [True, True, False, False]
    assert replace(good, running_loss=math.nan).allows(9.0)


@pytest.mark.parametrize(("good", "loss", "diverged"), [(0.1, 9.0, False), (0.1, 11.0, True), (5.0, 49.0, False)])
def test_small_losses_may_rise(good: float, loss: float, diverged: bool) -> None:
    state = GoodState(step=5, running_loss=good, model={}, averaged=None, optimizer={})
    with pytest.raises(DivergedError) if diverged else nullcontext():
        state.check(10, loss, [torch.ones(1)])


def test_a_good_state_does_not_change_with_the_training(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()

    step()
    good = GoodState.of(1, 0.5, model, None, optimizer)
    before = copy.deepcopy(good.stored())
    for _ in range(2):
        step()
        good.restore(model, None, optimizer)
        step()
    assert str(good.stored()) == str(before)


def test_a_checkpoint_of_an_earlier_version_is_resumed(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    whole, begun = Run(parts, tmp_path / "whole"), Run(parts, tmp_path / "parts")
    uninterrupted = whole()
    begun(stop_after=7)
    path = tmp_path / "parts" / LAST
    content = torch.load(path, weights_only=True)
    recipe = "".join(
        line
        for line in content["job"]["recipe"].splitlines(keepends=True)
        if not line.startswith(("class_weights", "patience"))
    )
    new = ("reductions", "improved_step", "is_stopped_early", "good")
    old = {name: value for name, value in content.items() if name not in new}
    torch.save({**old, "job": {**content["job"], "recipe": recipe}}, path)
    rest = Run(parts, tmp_path / "parts")
    assert rest().losses == uninterrupted.losses[7:]


def test_a_training_without_progress_is_stopped_early(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    recipe = replace(RECIPE, lr=1e-8, epochs=50, patience=3, ema=0.0)
    run, again = Run(parts, tmp_path, recipe), Run(parts, tmp_path, recipe)
    found = run()
    assert found.is_stopped_early
    assert found.steps < 50 * EPOCH
    best = max(one.evaluated.main.value for one in run.progress if one.evaluated is not None)
    since = next(one.step for one in run.progress if one.evaluated and one.evaluated.main.value == best)
    assert found.steps - since == 3 * EPOCH
    resumed = again()
    assert (resumed.was_finished, resumed.is_stopped_early, resumed.steps) == (True, True, found.steps)


def test_a_stop_before_patience_is_over_changes_nothing(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    recipe = replace(RECIPE, lr=1e-8, epochs=50, patience=3, ema=0.0)
    whole, begun = Run(parts, tmp_path / "whole", recipe), Run(parts, tmp_path / "parts", recipe)
    expected = whole()
    begun(stop_after=12)
    rest = Run(parts, tmp_path / "parts", recipe)
    assert rest().steps == expected.steps


def test_a_time_that_is_too_short_is_refused_on_request(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    run = Run(parts, tmp_path)
    with pytest.raises(OptionError, match=r"one step takes 0 s, more than the 0\.001 s that are given") as raised:
        run(time_s=1e-3, refuses_short_time=True)
    assert "an epoch takes about" in (raised.value.hint or "")
    assert not (tmp_path / LAST).exists()


def test_a_stopped_training_keeps_its_good_state(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    begun = Run(parts, tmp_path)
    with pytest.raises(StoppedError):
        begun(stop_after=3)
    content = torch.load(tmp_path / LAST, weights_only=True)
    assert (content["step"], content["good"]["step"]) == (3, 0)
