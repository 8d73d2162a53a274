"""The division of a run's time depends on the number of epochs that fit into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import draw_pictures

from mnv2search.accuracy.evaluators.supernet import SupernetEvaluator
from mnv2search.accuracy.evaluators.train import TrainEvaluator
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.types import Settings
from mnv2search.training import throughput
from mnv2search.workflows.search.finetuning.time_shares import (
    AFTER_TRAININGS,
    FEW_EPOCHS,
    MANY_EPOCHS,
    OF_FEW,
    OF_MANY,
    TimeDivision,
    time_shares,
)


def test_fewer_epochs_leave_more_time_to_the_longest_training() -> None:
    found = [time_shares(epochs) for epochs in (0.1, FEW_EPOCHS, 30.0, MANY_EPOCHS, 1e6)]
    assert found[0] == found[1] == OF_FEW
    assert found[3] == found[4] == OF_MANY
    assert OF_FEW.longest > found[2].longest > OF_MANY.longest
    assert all(shares.search + shares.longest < 1 for shares in (*found, AFTER_TRAININGS))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"), count=20, side=32, noise=60)


@pytest.mark.parametrize("epochs", [5.0, 1000.0])
def test_a_search_with_shared_weights_is_shortened_where_there_are_few_epochs(
    epochs: float, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = SupernetEvaluator(data=str(pictures))
    images = epochs * len(evaluator.dataset.train)
    monkeypatch.setattr(throughput, "images_within", lambda *_, **__: images)
    division = TimeDivision(Settings(time_s=100.0), evaluator)
    assert division.of_search.time_s == pytest.approx(100 * OF_MANY.search)
    division.fit(load_spec("mobilenet_v2"))
    assert division.shares == time_shares(epochs)
    assert division.of_search.time_s == pytest.approx(100 * time_shares(epochs).search)


def test_a_search_with_separate_trainings_keeps_its_share(pictures: Path) -> None:
    division = TimeDivision(Settings(time_s=100.0), TrainEvaluator(data=str(pictures)))
    division.fit(load_spec("mobilenet_v2"))
    assert division.shares == AFTER_TRAININGS


def test_without_a_time_limit_nothing_is_divided(pictures: Path) -> None:
    settings = Settings(trials=3)
    assert TimeDivision(settings, SupernetEvaluator(data=str(pictures))).of_search == settings


def test_more_time_allows_more_images() -> None:
    spec = load_spec("mobilenet_v2_0.35_96")
    short, long = (throughput.images_within(spec, time_s=time_s, device="cpu") for time_s in (1.0, 1000.0))
    assert 0 < short < long
