"""The training loop of detectors and segmenters; like that of classifiers it goes on exactly where it stopped."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from mnv2search.errors import OptionError, TrainingError
from mnv2search.model.build import MobileNet
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.spec.codec import dumps
from mnv2search.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint, write_network
from mnv2search.training.dense_figures import DenseFigures, dense_figures
from mnv2search.training.dense_loss import detection_loss, segmentation_loss
from mnv2search.training.draws import own_draws, seed_step
from mnv2search.training.loop import BEST, LAST, UNKNOWN_STEPS
from mnv2search.training.matching import targets_of
from mnv2search.training.optimizers import learning_rate, optimizer_of
from mnv2search.training.progress import TIME_SHARE, TRIAL_STEPS
from mnv2search.training.recipe import Recipe
from mnv2search.training.scene_batches import LoadedScenes, SceneBatch, augmented, normalised, scene_batches
from mnv2search.training.step import average, set_dropout, set_momentum

__all__ = ["DenseProgress", "DenseTrained", "check_recipe", "train_dense"]

# Settings of recipes that classifiers alone have.
CLASSIFIERS_ONLY = ("label_smoothing", "randaugment", "mixup", "shift_px")
# Evaluations of a training at most, apart from the last: each takes as long as many steps.
MOST_EVALUATIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseProgress:
    """Where a training is.

    Attributes:
        step: steps done.
        steps: of the whole; 0 while that is not known.
        epoch: the epoch it is in, counted from 1.
        loss: running mean of the training loss.
        lr: of the last step.
        images_per_s: so far.
        evaluated: figures on the held-out images, if this was told after an evaluation.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    lr: float
    images_per_s: float
    evaluated: DenseFigures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseTrained:
    """The outcome of a training.

    Attributes:
        best: figures of the best evaluation, on the held-out images.
        best_step: after which it was.
        steps: done.
        epochs: done, in part.
        seconds: of training and evaluation in this process.
        images_per_s: of training.
        losses: training loss of every step of this process.
        resumed_at: step that this process began at; 0 for a new training.
        stopped: it was asked to stop before its end.
    """

    best: DenseFigures
    best_step: int
    steps: int
    epochs: float
    seconds: float
    images_per_s: float
    losses: tuple[float, ...]
    resumed_at: int = 0
    stopped: bool = False


@dataclass(slots=True)
class _State:
    step: int = 0
    steps: int = 0
    best: DenseFigures | None = None
    best_step: int = 0
    running_loss: float = math.nan
    losses: list[float] = field(default_factory=list)


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe with settings that would be ignored.

    Raises:
        OptionError: it has some.
    """
    for name in CLASSIFIERS_ONLY:
        if getattr(recipe, name):
            raise OptionError(
                f"the recipe {recipe.name} has {name} {getattr(recipe, name):g}, which detectors and segmenters lack",
                hint="use the recipe dense, or one without it",
            )


def train_dense(
    model: MobileNet,
    scenes: LoadedScenes,
    held_out: LoadedScenes,
    recipe: Recipe,
    *,
    classes: tuple[str, ...],
    folder: Path,
    seed: int = 0,
    epochs: int | None = None,
    time_s: float | None = None,
    data: str = "",
    device: str = "cpu",
    on_progress: Callable[[DenseProgress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> DenseTrained:
    """Train a detector or a segmenter, or go on with a training that stopped in `folder`.

    Every draw depends on the seed and the number of the step alone.

    Args:
        model: the network with its first weights; trained in place.
        scenes: to learn from.
        held_out: that tell which weights are best.
        recipe: how.
        classes: names.
        folder: for ``last.ckpt`` and ``best.pt``; what is there is gone on with.
        seed: of everything that is drawn.
        epochs: in place of the recipe's.
        time_s: wall time in place of epochs.
        data: fingerprint of the scenes; a checkpoint of others is refused.
        device: of torch, such as ``cuda``.
        on_progress: told after every step.
        stop: asked after every step whether to stop; then a checkpoint is written.

    Raises:
        OptionError: the folder holds another training, or the recipe what only classifiers have.
        TrainingError: the loss is no number, or the checkpoint cannot be read or written.
        MissingExtraError: what augments or judges is not installed.
    """
    check_recipe(recipe)
    training = _Training(model, scenes, held_out, recipe, classes, folder, seed=seed, data=data, device=device)
    if not training.resume() and time_s is None:
        training.state.steps = max(1, (recipe.epochs if epochs is None else epochs) * training.epoch_steps)
    return training.run(time_s=time_s, on_progress=on_progress, stop=stop)


class _Training:
    """A network with all that changes while it is trained."""

    def __init__(
        self,
        model: MobileNet,
        scenes: LoadedScenes,
        held_out: LoadedScenes,
        recipe: Recipe,
        classes: tuple[str, ...],
        folder: Path,
        *,
        seed: int,
        data: str,
        device: str,
    ) -> None:
        self.model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.scenes, self.held_out, self.recipe, self.classes = scenes, held_out, recipe, classes
        self.folder, self.seed, self.device = folder, seed, device
        self.batch = min(recipe.batch, len(scenes))
        self.epoch_steps = len(scenes) // self.batch
        set_dropout(model, recipe.dropout)
        self.optimizer = optimizer_of(model, recipe)
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False) if recipe.ema else None
        self.job = {"spec": dumps(model.spec), "recipe": recipe.dumps(), "seed": seed, "data": data}
        self.state = _State()

    def resume(self) -> bool:
        """Take up what the folder holds, if it holds anything."""
        saved = read_checkpoint(self.folder / LAST)
        if saved is None:
            return False
        for key, value in self.job.items():
            if saved.job.get(key) != value:
                raise OptionError(
                    f"{self.folder} holds a training with another {'set of images' if key == 'data' else key}",
                    hint="go on with what it was begun with, or give another folder",
                )
        self.model.load_state_dict(saved.model)
        if self.averaged is not None and saved.averaged is not None:
            self.averaged.load_state_dict(saved.averaged)
        self.optimizer.load_state_dict(saved.optimizer)
        best = saved.job.get("best")
        self.state = _State(
            step=saved.step,
            steps=saved.steps,
            best=None if best is None else DenseFigures(**{**best, "details": tuple(map(tuple, best["details"]))}),
            best_step=saved.best_step,
            running_loss=saved.running_loss,
        )
        return True

    def run(
        self, *, time_s: float | None, on_progress: Callable[[DenseProgress], None], stop: Callable[[], bool]
    ) -> DenseTrained:
        """All steps that are left."""
        state, first, begin, stopped = self.state, self.state.step, time.monotonic(), False
        stepping_s = 0.0
        with own_draws(self.device):
            for batch in self._batches():
                before = time.monotonic()
                lr = self._step(batch)
                stepping_s += time.monotonic() - before
                if not state.steps and time_s is not None and state.step - first == TRIAL_STEPS:
                    left_s = TIME_SHARE * (time_s - (time.monotonic() - begin))
                    state.steps = state.step + max(1, int(left_s * TRIAL_STEPS / stepping_s))
                ends = state.step == state.steps
                evaluated = self._judge() if ends or self._is_due() else None
                per_s = (state.step - first) * self.batch / max(stepping_s, 1e-9)
                on_progress(self._progress(lr, per_s, evaluated))
                stopped = not ends and stop()
                if ends or stopped or evaluated is not None:
                    self._save()
                if ends or stopped:
                    break
        if state.best is None:
            self._judge()
            self._save()
        assert state.best is not None
        return DenseTrained(
            best=state.best,
            best_step=state.best_step,
            steps=state.step,
            epochs=state.step / self.epoch_steps,
            seconds=time.monotonic() - begin,
            images_per_s=(state.step - first) * self.batch / max(stepping_s, 1e-9),
            losses=tuple(state.losses),
            resumed_at=first,
            stopped=stopped,
        )

    def _is_due(self) -> bool:
        """Whether an evaluation is: after an epoch, and not more often than so many times in all."""
        state = self.state
        every = math.ceil(max(1, (state.steps or UNKNOWN_STEPS) // MOST_EVALUATIONS) / self.epoch_steps)
        return state.step % (every * self.epoch_steps) == 0

    def _batches(self) -> Iterator[SceneBatch]:
        state = self.state
        while not state.steps or state.step < state.steps:
            epoch, first = divmod(state.step, self.epoch_steps)
            yield from scene_batches(self.scenes, batch=self.batch, seed=self.seed, epoch=epoch, first=first)

    def _step(self, batch: SceneBatch) -> float:
        """One step; the learning rate of it."""
        state, recipe = self.state, self.recipe
        steps = state.steps or UNKNOWN_STEPS
        lr = learning_rate(recipe, step=state.step, steps=steps, epoch_steps=self.epoch_steps, batch=self.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        set_momentum(self.model, steps)
        seed_step(self.seed, state.step, 0)
        self.model.train()
        loss = self._loss(augmented(batch, recipe))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss of step {state.step + 1} is {value}",
                hint="lower the rate (lr) of the recipe, or clip the gradient (clip_norm)",
            )
        if recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        state.step += 1
        if self.averaged is not None:
            average(self.averaged, self.model, min(recipe.ema, state.step / (state.step + 10)))
        state.losses.append(value)
        state.running_loss = value if math.isnan(state.running_loss) else 0.95 * state.running_loss + 0.05 * value
        return lr

    def _loss(self, batch: SceneBatch) -> Tensor:
        images = normalised(batch.images.to(self.device), self.recipe.normalization)
        predictions = self.model.predictions(images)
        if batch.masks is not None:
            return segmentation_loss(predictions, batch.masks.to(self.device))
        head = self.model.head
        assert isinstance(head, SsdLiteHead)
        targets = [
            targets_of(corners.to(self.device), labels.to(self.device), head.anchors)
            for corners, labels in zip(batch.corners, batch.labels, strict=True)
        ]
        return detection_loss(predictions, targets, head.anchors)

    def _judge(self) -> DenseFigures:
        """Figures on the held-out scenes; the weights are kept where they are the best so far."""
        state, shown = self.state, self.model if self.averaged is None else self.averaged
        found = dense_figures(
            shown, self.held_out, self.classes, normalization=self.recipe.normalization, device=self.device
        )
        if state.best is None or found.value >= state.best.value:
            state.best, state.best_step = found, state.step
            write_network(self.folder / BEST, shown)
        return found

    def _save(self) -> None:
        state = self.state
        if not state.steps:
            return  # how long it is to be is not known yet, so there is little to lose
        best = state.best
        told = None
        if best is not None:
            details = [list(one) for one in best.details]
            told = {"metric": best.metric, "value": best.value, "details": details, "count": best.count}
        write_checkpoint(
            self.folder / LAST,
            Checkpoint(
                job={**self.job, "best": told},
                step=state.step,
                steps=state.steps,
                running_loss=state.running_loss,
                best=None if best is None else (best.value, 0.0, best.count),
                best_step=state.best_step,
                model=self.model.state_dict(),
                averaged=None if self.averaged is None else self.averaged.state_dict(),
                optimizer=self.optimizer.state_dict(),
                half=False,
            ),
        )

    def _progress(self, lr: float, per_s: float, evaluated: DenseFigures | None) -> DenseProgress:
        state = self.state
        return DenseProgress(
            step=state.step,
            steps=state.steps,
            epoch=math.ceil(state.step / self.epoch_steps),
            loss=state.running_loss,
            lr=lr,
            images_per_s=per_s,
            evaluated=evaluated,
        )
