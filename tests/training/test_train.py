"""Training: it learns, goes on exactly where it stopped, and follows its recipe."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import draw_pictures
from small_networks import SPEC
from torch import nn

from mnv2search.data.batches import Batch, Epoch, Feed, evaluation_batches, made_ahead, training_batches
from mnv2search.data.pixels import Pixels, decoded
from mnv2search.data.reading import read_dataset
from mnv2search.data.transforms import Transform
from mnv2search.errors import DataError, OptionError, SpecError, StoppedError, TrainingError, UnknownNameError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.network_file import Learned, read_learned, read_network
from mnv2search.recipe import Recipe, load_recipe, recipe_names
from mnv2search.tasks.classification import Classification, classify
from mnv2search.tasks.metrics import share
from mnv2search.training.gradient_step import gradient_step
from mnv2search.training.learner import Job, Learner
from mnv2search.training.optimizers import RmsPropTf, learning_rate, optimizer_of
from mnv2search.training.pace import TIME_SHARE, Pace, Plan
from mnv2search.training.precision import Precision, autocast, half_of, scaler_of
from mnv2search.training.progress import State, Trained
from mnv2search.training.resumption import BEST, LAST
from mnv2search.training.throughput import faster_precision
from mnv2search.training.train import train
from mnv2search.training.trainer import Trainer

CLASSIFY = Classification()
RECIPE = Recipe(lr=0.05, lr_batch=8, batch=8, epochs=6, warmup_epochs=1, ema=0.9, label_smoothing=0.1, shift_px=4)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pixels, Pixels]:
    folder = tmp_path_factory.mktemp("pictures")
    images = read_dataset(draw_pictures(folder / "tree"), "classification")
    kept = [decoded(part, short_px=32, folder=folder / "cache") for part in (images.train, images.test)]
    return kept[0], kept[1]


def learn(
    parts: tuple[Pixels, Pixels],
    recipe: Recipe,
    *,
    classes: tuple[str, ...] = (),
    teacher: nn.Module | None = None,
    **options: Any,
) -> Trained:
    job = Job(**options)
    return train(build(SPEC, seed=0), CLASSIFY, *parts, recipe, job, classes=classes, teacher=teacher)


def trained(
    parts: tuple[Pixels, Pixels], folder: Path, recipe: Recipe = RECIPE, *, stop_at: int = 0, seed: int = 0
) -> tuple[Trained, MobileNet]:
    model = build(SPEC, seed=0)
    steps = list[int]()

    def stop() -> bool:
        return bool(stop_at) and len(steps) >= stop_at

    job = Job(folder=folder, seed=seed, precision="float32", on_progress=lambda p: steps.append(p.step), stop=stop)
    found = train(model, CLASSIFY, *parts, recipe, job)
    return found, model


def test_it_learns_what_can_be_seen(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    found, _ = trained(parts, tmp_path)
    assert found.steps == 6 * (42 // 8)
    assert found.best.main.value >= 0.9
    assert np.mean(found.losses[-5:]) < 0.7 * np.mean(found.losses[:5])


def test_the_best_weights_are_kept(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    found, _ = trained(parts, tmp_path)
    again = classify(read_network(tmp_path / BEST), parts[1], Transform(side=32))
    assert again.main == found.best.main


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        replace(RECIPE, mixup=0.2, dropout=0.3, clip_norm=1.0, ema=0.0),
        replace(RECIPE, optimizer="rmsprop-tf", lr=0.01, epsilon=1.0),
        replace(RECIPE, optimizer="adamw", lr=0.003),
    ],
    ids=["sgd", "mixup", "rmsprop-tf", "adamw"],
)
def test_a_stopped_training_goes_on_with_the_same_losses(
    recipe: Recipe, parts: tuple[Pixels, Pixels], tmp_path: Path
) -> None:
    recipe = replace(recipe, epochs=3)
    whole, model = trained(parts, tmp_path / "whole", recipe)
    first, _ = trained(parts, tmp_path / "parts", recipe, stop_at=7)
    second, resumed = trained(parts, tmp_path / "parts", recipe)
    assert (first.stopped, first.steps, second.resumed_at, second.stopped) == (True, 7, 7, False)
    assert (*first.losses, *second.losses) == whole.losses
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert second.best == whole.best


def test_the_best_weights_know_their_classes(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1, normalization="tensorflow")
    learn(
        parts,
        recipe,
        folder=tmp_path,
        precision="float32",
        classes=("red", "green", "blue"),
    )
    assert read_learned(tmp_path / BEST) == Learned(
        classes=("red", "green", "blue"), normalization="tensorflow", crop=1.0
    )
    trained(parts, tmp_path / "plain", recipe)
    assert read_learned(tmp_path / "plain" / BEST) is None


def test_a_finished_training_has_nothing_to_do(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    first, _ = trained(parts, tmp_path)
    again, _ = trained(parts, tmp_path)
    assert (again.losses, again.best, again.steps) == ((), first.best, first.steps)
    assert (again.seconds, again.images_per_s) == (first.seconds, first.images_per_s)
    assert again.was_finished
    assert not first.was_finished


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_half_precision_is_gone_on_with(half: Precision, parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=2, clip_norm=1.0)
    whole = learn(parts, recipe, folder=tmp_path / "whole", precision=half)
    begun = iter([False] * 6 + [True])
    learn(
        parts,
        recipe,
        folder=tmp_path / "parts",
        precision=half,
        stop=lambda: next(begun),
    )
    rest = learn(parts, recipe, folder=tmp_path / "parts", precision="float32")
    full = learn(parts, recipe, folder=tmp_path / "full", precision="float32")
    assert (whole.precision, rest.precision, full.precision) == (half, half, "float32")
    assert rest.losses == whole.losses[6:]
    assert full.losses[0] != whole.losses[0]
    assert full.losses[0] == pytest.approx(whole.losses[0], rel=0.02)
    assert whole.losses == pytest.approx(full.losses, rel=0.1)
    scaled = torch.load(tmp_path / "parts" / LAST, weights_only=True)["scaler"]
    assert (scaled is not None) == (half == "float16")


class HalfLayer(Learner[Batch]):
    """A network of one layer, in float16."""

    batch = epoch_steps = 1

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model, self.recipe, self.identity = model, recipe, {}

    def batches(self, *, epoch: int, first: int, ahead: bool = True) -> Generator[Batch]:
        yield Batch(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))

    def backward(self, model: nn.Module, batch: Batch, state: State, scaler: torch.amp.GradScaler) -> float:
        with autocast("float16", "cpu"):
            logits = model(batch.images)
        loss = nn.functional.cross_entropy(logits.float(), batch.labels)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())


def test_a_step_that_overflows_in_float16_is_left_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 3, 4, bias=False)
    network = nn.Sequential(layer, nn.Flatten())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    batch = Batch(torch.full((2, 3, 4, 4), 1000.0), torch.tensor([0, 1]))
    trainer = Trainer(HalfLayer(network, Recipe(batch=2, clip_norm=1.0)), Job(folder=tmp_path))
    scaler = scaler_of("float16", "cpu")
    first = layer.weight.detach().clone()
    scales = []
    for step in range(12):
        gradient_step(trainer.learner, network, optimizer, batch, trainer.state, scaler)
        scales.append(scaler.get_scale())
        if step == 0:
            assert torch.equal(layer.weight, first)
    assert scales[0] == 32768.0
    assert scales[-1] == scales[-2] < 32768.0
    assert layer.weight.isfinite().all()
    assert not torch.equal(layer.weight, first)


class BrokenLayer(HalfLayer):
    """A learner with a gradient that is not finite in the given precisions, as after a fault of a kernel."""

    broken: tuple[Precision, ...] = ()

    def backward(self, model: nn.Module, batch: Batch, state: State, scaler: torch.amp.GradScaler) -> float:
        loss = nn.functional.cross_entropy(model(batch.images), batch.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        if state.precision in self.broken:
            next(model.parameters()).grad[0, 0, 0, 0] = math.nan  # type: ignore[index]
        return float(loss.detach())


def broken_trainer(folder: Path, *broken: Precision, notes: list[str]) -> tuple[Trainer[Batch], nn.Conv2d, Batch]:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 3, 4, bias=False)
    learner = BrokenLayer(nn.Sequential(layer, nn.Flatten()), Recipe(batch=2, clip_norm=1.0))
    learner.broken = broken
    trainer = Trainer(learner, Job(folder=folder, on_note=notes.append))
    trainer._set_precision("bfloat16")
    return trainer, layer, Batch(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))


def test_a_gradient_that_is_not_finite_in_bfloat16_is_computed_again_in_float32(tmp_path: Path) -> None:
    notes: list[str] = []
    trainer, layer, batch = broken_trainer(tmp_path, "bfloat16", notes=notes)
    before = layer.weight.detach().clone()
    trainer._step(batch)
    assert layer.weight.isfinite().all()
    assert not torch.equal(layer.weight, before)
    assert trainer.state.precision == "float32"
    assert notes == ["a gradient of step 1 is not finite in bfloat16: the training continues in float32"]


def test_a_gradient_that_is_never_finite_ends_the_training_and_leaves_the_weights(tmp_path: Path) -> None:
    trainer, layer, batch = broken_trainer(tmp_path, "bfloat16", "float32", notes=[])
    before = layer.weight.detach().clone()
    with pytest.raises(TrainingError, match="a gradient of step 1 is not finite"):
        trainer._step(batch)
    assert torch.equal(layer.weight, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("half", ["bfloat16", "float16", None])
def test_half_precision_on_a_gpu(half: Precision | None, parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    found = learn(parts, RECIPE, folder=tmp_path, device="cuda", precision=half)
    assert found.precision in ({half} if half else {"float32", half_of("cuda")})
    assert found.best.main.value >= 0.9


def test_randaugment_is_part_of_a_recipe(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    pytest.importorskip("kornia", reason="kornia is not installed")
    found, _ = trained(parts, tmp_path, replace(RECIPE, randaugment=2, magnitude=5, epochs=2))
    plain, _ = trained(parts, tmp_path / "plain", replace(RECIPE, epochs=2))
    assert found.losses[0] != plain.losses[0]
    assert all(math.isfinite(loss) for loss in found.losses)


def test_a_training_by_time_finds_its_own_number_of_steps(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    found = learn(parts, RECIPE, folder=tmp_path, time_s=2.0)
    assert found.steps >= 2
    assert (tmp_path / BEST).exists()


def test_a_time_that_is_too_short_is_told_of(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    notes = list[str]()
    found = learn(parts, RECIPE, folder=tmp_path, time_s=1e-3, on_note=notes.append)
    assert found.steps == 2
    assert found.precision == "float32"
    assert [note.split(" s, ")[1] for note in notes] == [
        "more than the 0.001 s that are given; the training ends after step 2"
    ]


def paced(*, step_s: float, evaluation_s: float, time_s: float = 100.0, steps: int = 2, **changed: Any) -> Pace:
    now = [0.0]
    pace = Pace(0, time_s, clock=lambda: now[0], **changed)
    for step in range(1, steps + 1):
        now[0] += step_s
        pace.stepped(step)
    pace.expect(evaluation_s, took_s=0.0)
    return pace


def test_slow_steps_are_tried_twice_and_quick_ones_more_often() -> None:
    assert not paced(step_s=20.0, evaluation_s=0.0, steps=1).is_tried(1)
    assert paced(step_s=20.0, evaluation_s=0.0).is_tried(2)
    assert not paced(step_s=0.1, evaluation_s=0.0).is_tried(2)
    assert paced(step_s=0.1, evaluation_s=0.0, steps=25).is_tried(25)


@pytest.mark.parametrize("evaluation_s", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("after", [0.0, 2.0])
@pytest.mark.parametrize("epoch_steps", [1, 7, 1000])
def test_a_plan_fits_into_the_time_with_its_evaluations(evaluation_s: float, after: float, epoch_steps: int) -> None:
    pace = paced(step_s=1.0, evaluation_s=evaluation_s, after=after, epoch_steps=epoch_steps)
    steps, every = pace.plan(2)
    evaluations = (steps - 2) // every
    assert every % epoch_steps == 0
    assert steps + (evaluations + 1 + after) * evaluation_s <= 100.0 * TIME_SHARE
    assert steps + (evaluations + 3 + after) * evaluation_s >= 100.0 * TIME_SHARE - 2.0
    assert evaluations * evaluation_s <= 25.0 * TIME_SHARE


def test_a_time_that_is_over_leaves_no_further_step() -> None:
    assert paced(step_s=60.0, evaluation_s=10.0).plan(2).steps == 2


def test_a_plan_is_shortened_where_it_goes_slower() -> None:
    pace = paced(step_s=1.0, evaluation_s=1.0)
    assert pace.adjusted(2, Plan(80, 50)) == Plan(80, 50)
    assert pace.adjusted(2, Plan(150, 50)).steps < 100.0 * TIME_SHARE


def test_a_plan_by_time_is_lengthened_where_it_goes_faster_but_not_at_its_end() -> None:
    by_time = paced(step_s=1.0, evaluation_s=1.0, lengthens=True)
    assert by_time.adjusted(2, Plan(40, 50)) == by_time.plan(2)._replace(every=50)
    assert by_time.adjusted(2, Plan(87, 50)) == Plan(87, 50)  # uses almost all of the time
    late = paced(step_s=1.0, evaluation_s=1.0, steps=38, lengthens=True)
    assert late.adjusted(38, Plan(40, 50)) == Plan(40, 50)
    by_steps = paced(step_s=1.0, evaluation_s=1.0)
    assert by_steps.adjusted(2, Plan(40, 50)) == Plan(40, 50)


def test_the_trial_of_precision_is_short_where_steps_are_slow(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    found = learn(parts, RECIPE, folder=tmp_path, time_s=1e-6)
    assert (found.precision, found.steps) == ("float32", 2)


def test_a_stop_in_an_evaluation_is_answered_and_made_up_for(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=2)
    whole, _ = trained(parts, tmp_path / "whole", recipe)
    asked = iter([False] * 4 + [True])  # after four steps, and in the evaluation that ends the epoch
    with pytest.raises(StoppedError, match="interrupted at step 5; run the same command to resume"):
        learn(parts, recipe, folder=tmp_path / "parts", precision="float32", stop=lambda: next(asked))
    rest, _ = trained(parts, tmp_path / "parts", recipe)
    assert rest.losses == whole.losses[5:]
    assert (rest.best, rest.best_step) == (whole.best, whole.best_step)


def test_a_precision_is_not_tried_on_a_cpu(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="interrupted at step 1"):
        learn(parts, RECIPE, folder=tmp_path, stop=lambda: True)


def test_a_stop_in_the_trial_of_precision_ends_at_once(tmp_path: Path) -> None:
    trainer, _, _ = broken_trainer(tmp_path, notes=[])
    job = Job(folder=tmp_path, stop=lambda: True)
    with pytest.raises(StoppedError, match="before the first step"):
        faster_precision(trainer.learner, job, trainer.model, trainer.pace)


@pytest.mark.parametrize("broken", [[], ["bfloat16"]], ids=["sound", "broken"])
def test_the_trial_of_precision_ends_with_one_and_leaves_the_model(broken: list[Precision], tmp_path: Path) -> None:
    trainer, layer, _ = broken_trainer(tmp_path, *broken, notes=[])
    before = layer.weight.detach().clone()
    clock = iter(range(1000))
    job = Job(folder=tmp_path, clock=lambda: float(next(clock)))
    assert faster_precision(trainer.learner, job, trainer.model, trainer.pace) == "float32"
    assert torch.equal(layer.weight, before)


def test_another_training_in_the_folder_is_left_alone(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    trained(parts, tmp_path, replace(RECIPE, epochs=1))
    with pytest.raises(OptionError, match="holds a training with another recipe"):
        trained(parts, tmp_path, replace(RECIPE, epochs=1, lr=0.01))
    with pytest.raises(OptionError, match="with another seed"):
        trained(parts, tmp_path, replace(RECIPE, epochs=1), seed=1)


def test_fewer_images_than_a_batch_are_told_of(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are 42 images to learn from, fewer than a batch of 64") as raised:
        trained(parts, tmp_path, replace(RECIPE, batch=64))
    assert raised.value.hint == "give more, or a recipe with a batch of at most 42"


def test_a_torn_checkpoint_is_told_of(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes(b"torn")
    with pytest.raises(TrainingError, match=r"last\.ckpt cannot be read") as raised:
        trained(parts, tmp_path)
    assert raised.value.hint == "remove it to start over"


def test_a_rate_that_is_too_high_is_told_of(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    class Bursting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 3), float("nan"))

    with pytest.raises(TrainingError, match="the loss of step 1 is not finite"):
        learn(parts, RECIPE, folder=tmp_path, teacher=Bursting())


def test_a_teacher_is_learned_from(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    _, teacher = trained(parts, tmp_path / "teacher")
    recipe = replace(RECIPE, epochs=1)
    alone = learn(parts, recipe, folder=tmp_path / "alone")
    taught = learn(parts, recipe, folder=tmp_path / "taught", teacher=teacher.eval())
    assert taught.losses[0] != alone.losses[0]


def test_batches_may_begin_in_the_middle(parts: tuple[Pixels, Pixels]) -> None:
    transform = Transform(side=24)
    whole = list(training_batches(parts[0], transform, Epoch(batch=8, seed=1, number=2)))
    rest = list(training_batches(parts[0], transform, Epoch(batch=8, seed=1, number=2, first=3, feed=Feed(ahead=0))))
    assert len(whole) == 5
    for one, other in zip(whole[3:], rest, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    other_epoch = next(training_batches(parts[0], transform, Epoch(batch=8, seed=1, number=3)))
    assert not torch.equal(whole[0].labels, other_epoch.labels)


def test_more_threads_make_the_same_batches(parts: tuple[Pixels, Pixels]) -> None:
    feeds = (Feed(ahead=0), Feed(), Feed(ahead=6, workers=3))
    epochs = [Epoch(batch=8, seed=1, number=0, feed=feed) for feed in feeds]
    made = [list(training_batches(parts[0], Transform(side=24), epoch)) for epoch in epochs]
    for batches in zip(*made, strict=True):
        assert all(torch.equal(batches[0].images, other.images) for other in batches[1:])


def test_batches_that_nobody_asks_for_any_more_are_not_made() -> None:
    asked = list[int]()

    def make(number: int) -> int:
        asked.append(number)
        return number

    made = made_ahead(make, range(1000), Feed(ahead=3, workers=2))
    assert [next(made), next(made)] == [0, 1]
    made.close()
    assert len(asked) <= 5


def test_a_mistake_in_a_thread_reaches_whoever_asks() -> None:
    def make(number: int) -> float:
        return 1 / (2 - number)

    made = made_ahead(make, range(5), Feed(ahead=2))
    assert [next(made), next(made)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_evaluation_sees_every_image_once(parts: tuple[Pixels, Pixels]) -> None:
    batches = list(evaluation_batches(parts[1], Transform(side=24), batch=5))
    assert torch.cat([b.labels for b in batches]).tolist() == parts[1].labels.tolist()
    assert batches[0].images.shape == (5, 3, 24, 24)
    assert batches[0].images.is_contiguous(memory_format=torch.channels_last)


def test_tensorflows_rmsprop_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = RmsPropTf([weight], lr=0.1, decay=0.9, momentum=0.8, eps=1.0, weight_decay=0.01)
    value, square, moment = 2.0, 1.0, 0.0
    for gradient in (3.0, -1.0, 0.5):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        told = gradient + 0.01 * value
        square = 0.9 * square + 0.1 * told**2
        moment = 0.8 * moment + 0.1 * told / math.sqrt(square + 1.0)
        value -= moment
        assert float(weight.detach()) == pytest.approx(value, rel=1e-6)


def test_depthwise_weights_norms_and_biases_do_not_decay() -> None:
    model = build(SPEC, seed=0)
    decaying, rest = optimizer_of(model, RECIPE).param_groups
    assert (decaying["weight_decay"], rest["weight_decay"]) == (4e-5, 0.0)
    depthwise = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1}
    assert depthwise
    assert depthwise <= {id(p) for p in rest["params"]}
    assert all(p.ndim > 1 for p in decaying["params"])
    assert len(decaying["params"]) + len(rest["params"]) == len(list(model.parameters()))


def test_rates_rise_and_fall() -> None:
    def rates(recipe: Recipe) -> list[float]:
        return [learning_rate(recipe, step=s, steps=100, epoch_steps=10, batch=32) for s in range(100)]

    cosine = rates(Recipe(lr=0.4, lr_batch=64, warmup_epochs=1))
    assert max(cosine) == pytest.approx(0.2, rel=1e-3)
    assert cosine[0] < cosine[5] < cosine[10] > cosine[50] > cosine[99] > 0
    steps = rates(Recipe(lr=0.1, lr_batch=32, schedule="exponential", decay_rate=0.5, decay_epochs=2))
    assert [steps[s] for s in (0, 19, 20, 40)] == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_every_recipe_reads_and_writes_itself(tmp_path: Path) -> None:
    assert recipe_names() == ("adapt", "dense", "medium", "modern", "short", "slim", "supernet")
    for name in recipe_names():
        recipe = load_recipe(name)
        path = tmp_path / f"{name}.yaml"
        path.write_text(recipe.dumps())
        assert load_recipe(str(path)) == recipe


def test_mistakes_in_a_recipe_have_places(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("lr: fast\nbatch: 0\noptimzer: sgd\nschedule: linear\nmirror: 1\nepochs: [1]\n")
    with pytest.raises(SpecError) as raised:
        load_recipe(str(path))
    assert [d.line for d in raised.value.diagnostics] == [1, 2, 3, 4, 5, 6]
    assert "optimizer" in raised.value.diagnostics[2].hint


def test_a_recipe_that_there_is_none_of() -> None:
    with pytest.raises(UnknownNameError, match="modrn"):
        load_recipe("modrn")


def test_intervals_hold_the_share() -> None:
    found = share("top1", 0.9, 100)
    assert 0.83 < found.low < 0.9 < found.high < 0.95
    assert share("top1", 1.0, 10).high == 1.0
