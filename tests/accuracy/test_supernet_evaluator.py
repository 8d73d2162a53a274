"""Weights that all networks of a space share: trained once, gone on with, inherited by each."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import draw_pictures
from small_spaces import TINY

from mnv2search.accuracy.evaluator import Preparation
from mnv2search.accuracy.evaluators import supernet_training as module
from mnv2search.accuracy.evaluators.supernet import SupernetEvaluator
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.data.prepare import prepare
from mnv2search.data.reading import read_dataset
from mnv2search.errors import EvaluatorError, OptionError, RecordError
from mnv2search.evaluation import no_report
from mnv2search.locking import folder_lock
from mnv2search.model.elastic import ElasticNet, smallest_and_largest
from mnv2search.recipe import load_recipe
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick, SearchSpace, random_pick, resolve
from mnv2search.spec.yaml.codec import load_spec, loads
from mnv2search.supernet.proxy_scale import Fidelity, choose_fidelity, reduced
from mnv2search.supernet.train import Sandwich, Shrinking, SupernetTrained, by_madds, train_supernet
from mnv2search.training.learner import Job
from mnv2search.training.progress import Progress

pytestmark = pytest.mark.usefixtures("one_thread")
SPACE = TINY.replace("{c: 32, n: [1, 2]", "{c: 32, n: 1").replace("1000", "7")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"), count=40, side=32, noise=40)


@pytest.fixture
def space() -> SearchSpace:
    found = loads(SPACE)
    assert isinstance(found, SearchSpace)
    return found


def picks_of(space: SearchSpace, count: int = 40) -> tuple[Pick, ...]:
    rng = random.Random(0)
    return by_madds(space, sorted({random_pick(space, rng) for _ in range(count)}))


def prepared_for(
    evaluator: SupernetEvaluator, space: SearchSpace, *, folder: Path | None = None, time_s: float | None = None
) -> tuple[str, ...]:
    return evaluator.prepare(
        Preparation(
            space=space, band=picks_of(space), folder=folder, time_s=time_s, seed=0, tell=lambda _doing, _share: None
        )
    )


@pytest.fixture(scope="module")
def trained(pictures: Path) -> SupernetEvaluator:
    evaluator = SupernetEvaluator(data=str(pictures), epochs=30)
    found = loads(SPACE)
    assert isinstance(found, SearchSpace)
    prepared_for(evaluator, found)
    return evaluator


def test_networks_tell_the_pictures_apart_with_inherited_weights(
    trained: SupernetEvaluator, space: SearchSpace
) -> None:
    found = [trained.evaluate(resolve(space, pick), seed=0, report=no_report) for pick in picks_of(space)[::8]]
    values = [a.value for a in found]
    # a GPU rounds what it multiplies, and one of them may take two of the classes for one
    assert (sum(values) / len(values) if torch.cuda.is_available() else min(values)) > 0.8
    assert {(a.kind, a.metric) for a in found} == {("inherited", "top1")}
    merits = [a.merit for a in found if a.merit is not None]
    assert len(merits) == len(found)
    assert 0 < min(merits) < max(merits) <= 1  # as probabilities


def test_evaluating_twice_gives_the_same(trained: SupernetEvaluator, space: SearchSpace) -> None:
    spec = resolve(space, picks_of(space)[3])
    first, second = (trained.evaluate(spec, seed=0, report=no_report) for _ in range(2))
    assert first == second


def test_a_member_has_the_classes_of_the_data_and_its_own_size(
    trained: SupernetEvaluator, space: SearchSpace
) -> None:
    spec = resolve(space, picks_of(space)[-1])
    member = trained.member(spec)
    assert member.spec.head is not None
    assert member.spec.head.classes == 3
    assert (member.spec.width, member.spec.resolution) == (spec.width, spec.resolution)
    assert not member.training


def test_a_network_of_another_space_is_refused(trained: SupernetEvaluator, space: SearchSpace) -> None:
    other = reduced(resolve(space, picks_of(space)[0]), Fidelity(0.7, 1.0))
    with pytest.raises(EvaluatorError, match="not one of the space"):
        trained.evaluate(other, seed=0, report=no_report)


def test_it_is_refused_before_it_is_trained(pictures: Path, space: SearchSpace) -> None:
    evaluator = SupernetEvaluator(data=str(pictures))
    with pytest.raises(EvaluatorError, match="not trained"):
        evaluator.evaluate(resolve(space, picks_of(space)[0]), seed=0, report=no_report)


def test_too_few_images_are_said(pictures: Path, space: SearchSpace) -> None:
    notes = prepared_for(SupernetEvaluator(data=str(pictures), epochs=1), space)
    assert any("weak evidence" in note for note in notes)


def test_enough_images_are_not_complained_of(
    pictures: Path, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENOUGH_IMAGES", 10)
    notes = prepared_for(SupernetEvaluator(data=str(pictures), epochs=1), space)
    assert not any("weak evidence" in note for note in notes)


def test_a_finished_training_in_the_folder_is_not_done_again(
    pictures: Path, space: SearchSpace, tmp_path: Path
) -> None:
    spec = resolve(space, picks_of(space)[5])
    figures = []
    for _ in range(2):
        evaluator = SupernetEvaluator(data=str(pictures), epochs=3)
        prepared_for(evaluator, space, folder=tmp_path)
        figures.append(evaluator.evaluate(spec, seed=0, report=no_report))
        stamp = (tmp_path / "last.ckpt").stat().st_mtime_ns
    assert figures[0] == figures[1]
    assert (tmp_path / "last.ckpt").stat().st_mtime_ns == stamp


def test_a_folder_of_another_training_is_refused(pictures: Path, space: SearchSpace, tmp_path: Path) -> None:
    prepared_for(SupernetEvaluator(data=str(pictures), epochs=1), space, folder=tmp_path)
    wider = loads(SPACE.replace("c: 32", "c: 40"))
    assert isinstance(wider, SearchSpace)
    with pytest.raises(EvaluatorError, match="another space"):
        prepared_for(SupernetEvaluator(data=str(pictures), epochs=1), wider, folder=tmp_path)


@pytest.mark.parametrize("text", ["0", "2", "x", "0.5x", "0.5x1.5", "nan", "-1x1"])
def test_a_fidelity_that_is_none_is_refused(pictures: Path, text: str) -> None:
    with pytest.raises(OptionError, match="fidelity"):
        SupernetEvaluator(data=str(pictures), fidelity=text)


def test_it_opens_by_its_own_name(pictures: Path) -> None:
    evaluator = open_evaluator(f"supernet:data={pictures},epochs=2,fidelity=0.5x0.75")
    assert evaluator.method == "shared weights"
    assert open_evaluator(evaluator.info.name).info == evaluator.info


def test_an_interrupted_training_goes_on_with_the_same_steps(
    pictures: Path, space: SearchSpace, tmp_path: Path
) -> None:
    images = read_dataset(pictures, "classification")
    recipe = load_recipe("supernet")
    pixels = prepare(images, side=32, recipe=recipe, splits=("train",))
    whole, halves = ElasticNet(space, seed=1), ElasticNet(space, seed=1)

    def go_on(net: ElasticNet, folder: str, stop_at: int = -1) -> SupernetTrained:
        done: list[int] = []
        job = Job(
            folder=tmp_path / folder,
            steps=6,
            on_progress=lambda progress: done.append(progress.step),
            stop=lambda: done[-1] == stop_at,
        )
        draw, images = Sandwich(picks_of(space)), pixels.examples["train"]
        return train_supernet(net, images, pixels.recipe, draw, job, side=32, identity={"space": "tiny"})

    uninterrupted = go_on(whole, "whole")
    first = go_on(halves, "halves", stop_at=2)
    resumed = ElasticNet(space, seed=99)
    second = go_on(resumed, "halves")
    assert first.stopped
    assert second.resumed_at == 2
    assert first.losses + second.losses == uninterrupted.losses
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def timed_training(
    pictures: Path,
    space: SearchSpace,
    folder: Path,
    *,
    time_s: float,
    step_s: Callable[[int], float],
) -> tuple[SupernetTrained, list[int], float]:
    """A training by a clock of its own: what it came to, the steps planned after each, and the time that it took."""
    clock, planned = [0.0], list[int]()

    def stepped(progress: Progress) -> None:
        planned.append(progress.steps)
        clock[0] += step_s(progress.step)

    recipe = load_recipe("supernet")
    pixels = prepare(read_dataset(pictures, "classification"), side=32, recipe=recipe, splits=("train",))
    done = train_supernet(
        ElasticNet(space, seed=1),
        pixels.examples["train"],
        pixels.recipe,
        Sandwich(picks_of(space)),
        Job(folder=folder, time_s=time_s, on_progress=stepped, clock=lambda: clock[0]),
        side=32,
        identity={"space": "tiny"},
    )
    return done, planned, clock[0]


def test_a_training_by_time_is_shortened_where_it_becomes_slower(
    pictures: Path, space: SearchSpace, tmp_path: Path
) -> None:
    done, planned, took_s = timed_training(
        pictures, space, tmp_path, time_s=100.0, step_s=lambda step: 1.0 if step < 30 else 5.0
    )
    assert planned[:10] == [0] * 10
    assert planned[20] == 98  # one at the start and then a step a second, in 97 % of the time
    begins = planned.index(98)
    assert planned == [0] * begins + sorted(planned[begins:], reverse=True)
    assert 40 <= done.steps < 50
    assert took_s <= 105.0


def test_a_training_by_time_counts_the_networks_of_later_steps(
    pictures: Path, space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picks = picks_of(space)
    monkeypatch.setattr(sys.modules[__name__], "Sandwich", lambda _: Shrinking(picks[-1], picks))
    steps: list[int] = []

    def step_s(step: int) -> float:
        steps.append(step)
        return 1.0 if step < 42 else 2.0  # as a second network is shown the batch

    done, planned, took_s = timed_training(pictures, space, tmp_path, time_s=100.0, step_s=step_s)
    assert 68 <= done.steps <= 72
    assert set(planned[20:]) == {done.steps}, "the end does not move, so the rate falls as it should"
    assert 90 < took_s <= 101.0


def test_a_slow_training_by_time_is_not_tried_for_longer_than_it_has(
    pictures: Path, space: SearchSpace, tmp_path: Path
) -> None:
    done, _, _ = timed_training(pictures, space, tmp_path, time_s=5.0, step_s=lambda _: 15.0)
    assert done.steps == 2


def test_networks_between_learn_from_the_answers_of_the_largest(space: SearchSpace) -> None:
    draws = Sandwich(picks_of(space), passes=4)
    drawn = [draws(random.Random(seed), 0.5) for seed in range(50)]
    ordered = picks_of(space)
    assert {d[0] for d in drawn} == {ordered[-1]}
    assert {d[1] for d in drawn} == {ordered[0]}
    assert len({d[2] for d in drawn}) > 10


def test_less_time_means_less_fidelity(space: SearchSpace) -> None:
    networks = [resolve(space, pick) for pick in picks_of(space)]
    found = [
        choose_fidelity(networks, time_s=time_s, madds_per_s=1e9, images=10_000, passes=3)
        for time_s in (1.0, 10.0, 1000.0)
    ]
    images = np.array([f.images for f in found])
    assert found[-1].fidelity.is_full
    assert found[0].fidelity.width < found[1].fidelity.width <= 1
    assert (images[1:] >= 10_000).all()


def test_narrow_networks_are_not_made_narrower() -> None:
    networks = [load_spec(f"mobilenet_v2_{name}") for name in ("0.35_96", "0.35_128")]
    found = choose_fidelity(networks, time_s=0.1, madds_per_s=1e9, images=10_000, passes=3).fidelity
    assert found.width == 0.75  # 0.5 would leave less than a quarter
    assert found.resolution < 1


def test_a_reduced_network_keeps_something_of_its_last_map() -> None:
    spec = loads(
        SPACE.replace("[24, 32]", "32")
        .replace("[0.5, 1.0]", "1.0")
        .replace("[1, 2], s: 2, each: {t: [1, 2], k: [3, 5]}", "1, s: 2, t: 2")
        .replace("[2, 4]", "2")
    )
    assert isinstance(spec, ModelSpec)
    assert reduced(spec, Fidelity(1.0, 0.1)).resolution == 8


def test_weights_that_are_taken_over_keep_their_widths(pictures: Path, space: SearchSpace, tmp_path: Path) -> None:
    from mnv2search.model.build import build
    from mnv2search.training.checkpoint import write_network

    largest = resolve(space, smallest_and_largest(space)[1])
    rows = (replace(largest.blocks[0], repeats=2), largest.blocks[-1])
    write_network(tmp_path / "donor.pt", build(replace(largest, blocks=rows), seed=0))
    evaluator = SupernetEvaluator(data=str(pictures), weights=str(tmp_path / "donor.pt"))
    notes = prepared_for(evaluator, space, time_s=1.0)
    assert evaluator.fidelity.width == 1.0
    assert any("of the shared parameters came from" in note for note in notes)
    assert any("fewer than 5,000 images" in note for note in notes)


def test_with_given_weights_their_network_is_the_best(pictures: Path, space: SearchSpace, tmp_path: Path) -> None:
    """What was learned elsewhere is kept: the network that learned it needs few steps, and is better than others."""
    from mnv2search.training.checkpoint import write_network

    picks = picks_of(space)
    largest = resolve(space, smallest_and_largest(space)[1])
    known = SupernetEvaluator(data=str(pictures), epochs=20)
    prepared_for(known, space)
    own = picks[len(picks) // 2]
    donor = known.member(resolve(space, own))
    write_network(tmp_path / "donor.pt", donor)
    adapted = SupernetEvaluator(data=str(pictures), epochs=1, weights=str(tmp_path / "donor.pt"))
    prepared_for(adapted, space)
    found = adapted.evaluate(resolve(space, own), seed=0, report=no_report)
    other = adapted.evaluate(largest, seed=0, report=no_report)
    assert found.value > 0.8
    assert found.merit is not None
    assert other.merit is not None
    assert found.merit > other.merit


def test_two_do_not_train_in_one_folder_and_a_trained_one_is_shared(
    pictures: Path, space: SearchSpace, tmp_path: Path
) -> None:
    def evaluator() -> SupernetEvaluator:
        return SupernetEvaluator(data=str(pictures), epochs=1, fidelity="1", folder=str(tmp_path))

    with folder_lock(tmp_path, busy="the test", hint=""):
        with pytest.raises(RecordError, match="is in use by another training of a supernet"):
            prepared_for(evaluator(), space)
        assert not (tmp_path / "supernet.json").exists()
    prepared_for(evaluator(), space)
    with folder_lock(tmp_path, busy="the test", hint=""):
        prepared_for(evaluator(), space)


def test_time_that_is_over_before_the_weights_are_trained_is_no_traceback(pictures: Path, space: SearchSpace) -> None:
    prepared_for(SupernetEvaluator(data=str(pictures)), space, time_s=0.0)
