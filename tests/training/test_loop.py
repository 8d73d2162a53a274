"""Training: it learns, goes on exactly where it stopped, and follows its recipe."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import draw_pictures
from torch import nn

from mnv2search.errors import OptionError, SpecError, TrainingError, UnknownNameError
from mnv2search.export.formats.state_dict import read_network
from mnv2search.model.build import MobileNet, build
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec
from mnv2search.training.batches import Cutting, evaluation_batches, training_batches
from mnv2search.training.images import read_image_set
from mnv2search.training.loop import BEST, LAST, Figures, Trained, evaluate, train
from mnv2search.training.optimizers import RmsPropTf, learning_rate, optimizer_of
from mnv2search.training.pixels import Pixels, decoded
from mnv2search.training.recipe import Recipe, load_recipe, recipe_names

SPEC = ModelSpec(
    name="small",
    width=0.25,
    resolution=32,
    blocks=(BlockSpec(channels=16, expansion=1), BlockSpec(channels=24, stride=2, repeats=2)),
    last_channels=64,
    head=Classifier(classes=3),
)
RECIPE = Recipe(lr=0.05, lr_batch=8, batch=8, epochs=6, warmup_epochs=1, ema=0.9, label_smoothing=0.1, shift_px=4)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pixels, Pixels]:
    folder = tmp_path_factory.mktemp("pictures")
    images = read_image_set(draw_pictures(folder / "tree"))
    kept = [decoded(part, short_px=32, folder=folder / "cache") for part in (images.train, images.test)]
    return kept[0], kept[1]


def trained(
    parts: tuple[Pixels, Pixels], folder: Path, recipe: Recipe = RECIPE, *, stop_at: int = 0, seed: int = 0
) -> tuple[Trained, MobileNet]:
    model = build(SPEC, seed=0)
    steps = list[int]()

    def stop() -> bool:
        return bool(stop_at) and len(steps) >= stop_at

    found = train(
        model,
        *parts,
        recipe,
        folder=folder,
        seed=seed,
        half=False,
        on_progress=lambda p: steps.append(p.step),
        stop=stop,
    )
    return found, model


def test_it_learns_what_can_be_seen(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    found, _ = trained(parts, tmp_path)
    assert found.steps == 6 * (42 // 8)
    assert found.best.top1 >= 0.9
    assert np.mean(found.losses[-5:]) < 0.7 * np.mean(found.losses[:5])


def test_the_best_weights_are_kept(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    found, _ = trained(parts, tmp_path)
    again = evaluate(read_network(tmp_path / BEST), parts[1], Cutting(side=32))
    assert again == pytest.approx(found.best) or again.top1 == found.best.top1


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


def test_a_finished_training_has_nothing_to_do(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    first, _ = trained(parts, tmp_path)
    again, _ = trained(parts, tmp_path)
    assert (again.losses, again.best, again.steps) == ((), first.best, first.steps)


def test_bfloat16_is_gone_on_with(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=2)
    whole = train(build(SPEC, seed=0), *parts, recipe, folder=tmp_path / "whole", half=True)
    begun = iter([False] * 5 + [True])
    train(build(SPEC, seed=0), *parts, recipe, folder=tmp_path / "parts", half=True, stop=lambda: next(begun))
    rest = train(build(SPEC, seed=0), *parts, recipe, folder=tmp_path / "parts", half=False)
    full = train(build(SPEC, seed=0), *parts, recipe, folder=tmp_path / "full", half=False)
    assert (whole.half, rest.half, full.half) == (True, True, False)
    assert rest.losses == whole.losses[6:]
    assert full.losses[0] != whole.losses[0]
    assert full.losses[0] == pytest.approx(whole.losses[0], rel=0.02)


def test_randaugment_is_part_of_a_recipe(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    pytest.importorskip("kornia", reason="kornia is not installed")
    found, _ = trained(parts, tmp_path, replace(RECIPE, randaugment=2, magnitude=5, epochs=2))
    plain, _ = trained(parts, tmp_path / "plain", replace(RECIPE, epochs=2))
    assert found.losses[0] != plain.losses[0]
    assert all(math.isfinite(loss) for loss in found.losses)


def test_a_training_by_time_finds_its_own_number_of_steps(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    found = train(build(SPEC, seed=0), *parts, RECIPE, folder=tmp_path, time_s=2.0)
    assert found.steps > 24
    assert (tmp_path / BEST).exists()


def test_another_training_in_the_folder_is_left_alone(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    trained(parts, tmp_path, replace(RECIPE, epochs=1))
    with pytest.raises(OptionError, match="holds a training with another recipe"):
        trained(parts, tmp_path, replace(RECIPE, epochs=1, lr=0.01))
    with pytest.raises(OptionError, match="with another seed"):
        trained(parts, tmp_path, replace(RECIPE, epochs=1), seed=1)


def test_a_torn_checkpoint_is_told_of(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes(b"torn")
    with pytest.raises(TrainingError, match=r"last\.ckpt cannot be read") as raised:
        trained(parts, tmp_path)
    assert raised.value.hint == "remove it to begin anew"


def test_a_rate_that_is_too_high_is_told_of(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    class Bursting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 3), float("nan"))

    with pytest.raises(TrainingError, match="the loss of step 1 is nan"):
        train(build(SPEC, seed=0), *parts, RECIPE, folder=tmp_path, teacher=Bursting())


def test_a_teacher_is_learned_from(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    _, teacher = trained(parts, tmp_path / "teacher")
    recipe = replace(RECIPE, epochs=1)
    alone = train(build(SPEC, seed=0), *parts, recipe, folder=tmp_path / "alone")
    taught = train(build(SPEC, seed=0), *parts, recipe, folder=tmp_path / "taught", teacher=teacher.eval())
    assert taught.losses[0] != alone.losses[0]


def test_batches_may_begin_in_the_middle(parts: tuple[Pixels, Pixels]) -> None:
    cutting = Cutting(side=24)
    whole = list(training_batches(parts[0], cutting, batch=8, seed=1, epoch=2))
    rest = list(training_batches(parts[0], cutting, batch=8, seed=1, epoch=2, first=3, ahead=0))
    assert len(whole) == 5
    for one, other in zip(whole[3:], rest, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    other_epoch = next(training_batches(parts[0], cutting, batch=8, seed=1, epoch=3))
    assert not torch.equal(whole[0].labels, other_epoch.labels)


def test_evaluation_sees_every_image_once(parts: tuple[Pixels, Pixels]) -> None:
    batches = list(evaluation_batches(parts[1], Cutting(side=24), batch=5))
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
    assert recipe_names() == ("dense", "modern", "slim")
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
    low, high = Figures(0.9, 0.3, 100).interval
    assert 0.83 < low < 0.9 < high < 0.95
    assert Figures(1.0, 0.0, 10).interval[1] == 1.0
