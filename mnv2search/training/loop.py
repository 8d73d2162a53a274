"""The training loop: steps, evaluations, checkpoints, and going on exactly where it stopped."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from mnv2search.errors import DataError, OptionError, TrainingError
from mnv2search.model.build import MobileNet
from mnv2search.spec.codec import dumps
from mnv2search.training.ahead import Feed, feed_of
from mnv2search.training.batches import Batch, Cutting, training_batches
from mnv2search.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint, write_network
from mnv2search.training.draws import own_draws, seed_step
from mnv2search.training.figures import Figures, evaluate
from mnv2search.training.optimizers import learning_rate, optimizer_of
from mnv2search.training.pixels import Pixels
from mnv2search.training.precision import Precision, half_of, scaler_of
from mnv2search.training.progress import Pace, Progress, State, Trained
from mnv2search.training.recipe import Recipe
from mnv2search.training.step import average, descend, set_dropout, set_momentum
from mnv2search.training.team import ALONE, Team

__all__ = ["BEST", "LAST", "Figures", "Progress", "Trained", "evaluate", "train"]

LAST, BEST = "last.ckpt", "best.pt"
UNKNOWN_STEPS = 1_000_000
# Steps that tell whether bfloat16 is faster, and how much faster it has to be: without arithmetic for it, it is ten
# times slower, and a tenth is not worth its rounding.
HALF_TRIALS = 3
HALF_FASTER = 0.85
CHECKPOINT_S = 60.0


def train(
    model: MobileNet,
    pixels: Pixels,
    held_out: Pixels,
    recipe: Recipe,
    *,
    folder: Path,
    seed: int = 0,
    epochs: int | None = None,
    steps: int | None = None,
    time_s: float | None = None,
    data: str = "",
    device: str = "cpu",
    team: Team = ALONE,
    teacher: nn.Module | None = None,
    precision: Precision | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train a network, or go on with a training that stopped in `folder`.

    Every draw depends on the seed and the number of the step, so a training that was interrupted and goes on from its
    checkpoint makes the very steps that an uninterrupted one makes (on the same machine, with as many threads).

    Args:
        model: with its first weights; trained in place.
        pixels: images to learn from.
        held_out: images that tell which weights are best.
        recipe: how.
        folder: for ``last.ckpt`` and ``best.pt``; what is there is gone on with.
        seed: of everything that is drawn.
        epochs: in place of the recipe's.
        steps: in place of epochs.
        time_s: wall time in place of epochs: how many steps fit is found by the first few.
        data: fingerprint of the images; a checkpoint of others is refused.
        device: of torch, such as ``cuda``.
        team: processes that train with this one, each on its share of every batch; the leader alone writes and is
            told of progress.
        teacher: a network whose answers are learned from too, half and half.
        precision: of the convolutions (autocast); None takes half precision where a trial on this machine says that
            it is clearly faster, and on CUDA: bfloat16, or float16 where a GPU does not compute in that. A checkpoint
            is gone on with in what it was begun with.
        on_progress: told after every step.
        stop: asked after every step whether to stop; then a checkpoint is written.

    Raises:
        OptionError: the folder holds another training, or a batch cannot be divided among the processes.
        DataError: there are fewer images than a batch has.
        TrainingError: the loss is no number, or the checkpoint cannot be read or written.
    """
    if len(pixels) < recipe.batch:
        raise DataError(
            f"there are {len(pixels)} images to learn from, fewer than a batch of {recipe.batch}",
            hint=f"give more, or a recipe with a batch of at most {max(2, len(pixels))}",
        )
    if recipe.batch % (2 * team.size) and team.size > 1:
        raise OptionError(
            f"a batch of {recipe.batch} images cannot be divided among {team.size} processes",
            hint=f"use a recipe whose batch is a multiple of {2 * team.size}: images are mixed in pairs",
        )
    if team.sums([len(pixels), len(held_out)]) != (team.size * len(pixels), team.size * len(held_out)):
        raise TrainingError("the processes see different numbers of images", hint="give all of them the same data")
    training = _Training(
        model, pixels, held_out, recipe, folder=folder, seed=seed, data=data, device=device, team=team
    )
    if not training.resume():
        training.set_precision(team.agreed(training.fastest) if precision is None else precision)
        if steps is not None:
            training.state.steps = max(1, steps)
        elif time_s is None:
            training.state.steps = max(1, (recipe.epochs if epochs is None else epochs) * training.epoch_steps)
    return training.run(time_s=time_s, teacher=teacher, on_progress=on_progress, stop=stop)


class _Training:
    """A network with all that changes while it is trained."""

    def __init__(
        self,
        model: MobileNet,
        pixels: Pixels,
        held_out: Pixels,
        recipe: Recipe,
        *,
        folder: Path,
        seed: int,
        data: str,
        device: str,
        team: Team,
    ) -> None:
        self.model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.pixels, self.held_out, self.recipe = pixels, held_out, recipe
        self.folder, self.seed, self.device, self.team = folder, seed, device, team
        self.batch = recipe.batch
        self.epoch_steps = len(pixels) // self.batch
        set_dropout(model, recipe.dropout)
        self.optimizer = optimizer_of(model, recipe)
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False) if recipe.ema else None
        self.cutting = Cutting(
            side=model.spec.resolution,
            normalization=recipe.normalization,
            least_area=recipe.least_area,
            mirror=recipe.mirror,
            shift_px=recipe.shift_px,
        )
        self.job = {"spec": dumps(model.spec), "recipe": recipe.dumps(), "seed": seed, "data": data}
        self.state = State()
        self.shared: nn.Module = model
        self.scaler = scaler_of("float32", device)

    def resume(self) -> bool:
        """Take up what the folder holds, if it holds anything."""
        saved = self.team.agreed(self._saved)
        if saved is None:
            return False
        self.model.load_state_dict(saved.model)
        if self.averaged is not None and saved.averaged is not None:
            self.averaged.load_state_dict(saved.averaged)
        self.optimizer.load_state_dict(saved.optimizer)
        best = None if saved.best is None else Figures(saved.best[0], saved.best[1], int(saved.best[2]))
        self.state = State(
            step=saved.step,
            steps=saved.steps,
            best=best,
            best_step=saved.best_step,
            running_loss=saved.running_loss,
        )
        self.set_precision(cast(Precision, saved.half_type) if saved.half else "float32")
        if saved.scaler:
            self.scaler.load_state_dict(saved.scaler)
        return True

    def _saved(self) -> Checkpoint | None:
        saved = read_checkpoint(self.folder / LAST)
        for key, value in self.job.items():
            if saved is not None and saved.job.get(key) != value:
                raise OptionError(
                    f"{self.folder} holds a training with another {'set of images' if key == 'data' else key}",
                    hint="go on with what it was begun with, or give another folder",
                )
        return saved

    def set_precision(self, precision: Precision) -> None:
        """Compute in it from now on."""
        self.state.precision = precision
        self.scaler = scaler_of(precision, self.device)

    def fastest(self) -> Precision:
        """Half precision where its steps are clearly faster than in single precision, by a few of each in turn."""
        half = half_of(self.device)
        if self.device.startswith("cuda"):
            return half
        tried = copy.deepcopy(self.model)
        optimizer = optimizer_of(tried, self.recipe)
        batches = training_batches(
            self.pixels, self.cutting, batch=self.batch, seed=self.seed, epoch=0, feed=Feed(ahead=0)
        )
        plain = replace(self.recipe, randaugment=0, mixup=0.0)
        seconds: dict[Precision, list[float]] = {"float32": [], half: []}
        scaler = scaler_of("float32", self.device)
        with own_draws(self.device), closing(batches):
            batch = next(batches)
            for _ in range(HALF_TRIALS):
                for precision, found in seconds.items():
                    begin = time.perf_counter()
                    descend(tried, optimizer, plain, batch, None, (0, 0), precision=precision, scaler=scaler)
                    found.append(time.perf_counter() - begin)
        return half if min(seconds[half]) < HALF_FASTER * min(seconds["float32"]) else "float32"

    def run(
        self,
        *,
        time_s: float | None,
        teacher: nn.Module | None,
        on_progress: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> Trained:
        """All steps that are left."""
        state, resumed_at = self.state, self.state.step
        self.shared = self.team.shared(self.model)
        pace, written, stopped = Pace(resumed_at, time_s), time.monotonic(), False
        with own_draws(self.device), ExitStack() as stack:
            for batch in stack.enter_context(closing(self._batches())):
                lr = self._step(batch, teacher)
                self._set_length(pace)
                ends = state.step == state.steps
                evaluated = self._judge() if ends or state.step % self.epoch_steps == 0 else None
                if self.team.is_leader:
                    on_progress(self._progress(lr, pace, evaluated))
                stopped = not ends and self.team.is_any(stop())
                if ends or stopped or evaluated is not None or time.monotonic() - written > CHECKPOINT_S:
                    self._save()
                    written = time.monotonic()
                if ends or stopped:
                    break
        if state.best is None:
            self._judge()
            self._save()
        assert state.best is not None
        return Trained(
            best=state.best,
            best_step=state.best_step,
            steps=state.step,
            epochs=state.step / self.epoch_steps,
            seconds=time.monotonic() - pace.begin,
            images_per_s=pace.per_s(state.step) * self.batch,
            losses=tuple(state.losses),
            resumed_at=resumed_at,
            stopped=stopped,
            precision=state.precision,
        )

    def _set_length(self, pace: Pace) -> None:
        """Let the pace of the leader tell how many steps there are, where a time was given."""
        unknown = not self.state.steps
        pace.stepped(self.state)
        if unknown and self.state.steps:
            self.state.steps = self.team.agreed(lambda: self.state.steps)

    def _batches(self) -> Generator[Batch]:
        """Batches from the one after the last step on, until there is no step left."""
        state = self.state
        while not state.steps or state.step < state.steps:
            epoch, first = divmod(state.step, self.epoch_steps)
            yield from training_batches(
                self.pixels,
                self.cutting,
                batch=self.batch,
                seed=self.seed,
                epoch=epoch,
                first=first,
                share=(self.team.rank, self.team.size),
                feed=feed_of(self.device),
            )

    def _step(self, batch: Batch, teacher: nn.Module | None) -> float:
        """One step; the learning rate of it."""
        state = self.state
        steps = state.steps or UNKNOWN_STEPS
        lr = learning_rate(self.recipe, step=state.step, steps=steps, epoch_steps=self.epoch_steps, batch=self.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        set_momentum(self.model, steps)
        seed_step(self.seed, state.step, self.team.rank)
        placed = Batch(batch.images.to(self.device, non_blocking=True), batch.labels.to(self.device))
        drawn = (self.seed, state.step)
        own = descend(
            self.shared,
            self.optimizer,
            self.recipe,
            placed,
            teacher,
            drawn,
            precision=state.precision,
            scaler=self.scaler,
        )
        loss = self.team.sums([own])[0] / self.team.size
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of step {state.step + 1} is {loss}",
                hint="lower the rate (lr) of the recipe, or clip the gradient (clip_norm)",
            )
        state.step += 1
        if self.averaged is not None:
            average(self.averaged, self.model, min(self.recipe.ema, state.step / (state.step + 10)))
        state.losses.append(loss)
        state.running_loss = loss if math.isnan(state.running_loss) else 0.95 * state.running_loss + 0.05 * loss
        return lr

    def _judge(self) -> Figures:
        """Figures on the held-out images; the weights are kept where they are the best so far."""
        state, shown = self.state, self.model if self.averaged is None else self.averaged
        self.team.take_buffers(shown)
        found = evaluate(shown, self.held_out, self.cutting, device=self.device, team=self.team)
        if state.best is None or found.top1 >= state.best.top1:
            state.best, state.best_step = found, state.step
            if self.team.is_leader:
                write_network(self.folder / BEST, shown)
        return found

    def _save(self) -> None:
        state = self.state
        if not self.team.is_leader:
            return
        if not state.steps:
            return  # how long it is to be is not known yet, so there is little to lose
        write_checkpoint(
            self.folder / LAST,
            Checkpoint(
                job=self.job,
                step=state.step,
                steps=state.steps,
                running_loss=state.running_loss,
                best=None if state.best is None else (state.best.top1, state.best.loss, state.best.count),
                best_step=state.best_step,
                model=self.model.state_dict(),
                averaged=None if self.averaged is None else self.averaged.state_dict(),
                optimizer=self.optimizer.state_dict(),
                half=state.precision != "float32",
                half_type=state.precision,
                scaler=self.scaler.state_dict() or None,
            ),
        )

    def _progress(self, lr: float, pace: Pace, evaluated: Figures | None) -> Progress:
        state = self.state
        return Progress(
            step=state.step,
            steps=state.steps,
            epoch=math.ceil(state.step / self.epoch_steps),
            loss=state.running_loss,
            lr=lr,
            images_per_s=pace.per_s(state.step) * self.batch,
            evaluated=evaluated,
        )
