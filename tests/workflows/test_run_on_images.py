"""A run on images: shared weights, a front with weights beside its specs, and the best trained on their own."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from clocks import CountingClock
from pictures import draw_pictures
from small_spaces import TINY

from mnv2search.accuracy.evaluators.imagenet import ImagenetEvaluator
from mnv2search.data.dataset import Dataset
from mnv2search.data.reading import read_dataset
from mnv2search.errors import OptionError, RecordError
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.network_file import Learned, read_learned, read_network
from mnv2search.report.rows import accuracy_phrase
from mnv2search.report.search.run import run_rows, ship_lines
from mnv2search.report.training import finetuned_lines, finetuned_rows
from mnv2search.results.finetuning import BEFORE, Finetuned, finetuned_of_run, recall_finetuned
from mnv2search.results.manifest import read_manifest
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.deadline import Deadline
from mnv2search.study.results import front_of, median_ms_of, slots_of
from mnv2search.study.types import Progress, Settings
from mnv2search.tasks.classification import Classification
from mnv2search.tasks.metrics import share
from mnv2search.training.checkpoint import write_network
from mnv2search.training.good_state import DivergedError
from mnv2search.training.train import train as train_network
from mnv2search.workflows.search import shipping as module
from mnv2search.workflows.search.checks.verify import verify
from mnv2search.workflows.search.finetuning import finetune as finetuning
from mnv2search.workflows.search.finetuning import time_shares
from mnv2search.workflows.search.finetuning.finetune import finetune
from mnv2search.workflows.search.finetuning.plan import CANDIDATES, Finetuning, best_of, candidates_of
from mnv2search.workflows.search.finetuning.time_shares import TimeShares
from mnv2search.workflows.search.log import recall
from mnv2search.workflows.search.run import Outcome, Request, resume_request
from mnv2search.workflows.search.run import run as run_job
from mnv2search.workflows.search.ship_weights import ship_finetuned
from mnv2search.workflows.search.shipping import train_best

if TYPE_CHECKING:
    from mnv2search.accuracy.evaluator import Method
    from mnv2search.accuracy.types import Accuracy
    from mnv2search.training.progress import Progress as Training

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSIFY = Classification()


# Less time for trainings than users give, since each step takes some of the tests' time.
SHARES = TimeShares(search=0.6, longest=0.3)


@pytest.fixture
def any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of any number of steps count."""
    monkeypatch.setattr(finetuning, "LEAST_STEPS", 0)
    monkeypatch.setattr(finetuning, "FEWEST_STEPS", 0)


def shorten_trainings(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(time_shares, "OF_FEW", SHARES)
    patch.setattr(time_shares, "OF_MANY", SHARES)


@pytest.fixture(autouse=True)
def _short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_trainings(monkeypatch)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"), count=50, side=32, noise=60)


def request_of(folder: Path, pictures: Path, **changed: Any) -> Request:
    space = folder / "tiny.yaml"
    space.write_text(TINY, encoding="utf-8")
    wanted: dict[str, Any] = {
        "space": str(space),
        "device": "simulated",
        "evaluator": f"supernet:data={pictures},epochs=8,fidelity=1",
        "budget": Budget(latency_ms=50.0),
        "settings": Settings(trials=20),
        "root": folder / "results",
        "name": "it",
    }
    return Request(**(wanted | changed))


def ran(request: Request, *, tick_s: float = 0.006) -> Outcome:
    """A run by a clock that counts, in which so much is done on any machine."""
    return run_job(request, on_progress=lambda _: None, clock=CountingClock(tick_s))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return ran(request_of(tmp_path_factory.mktemp("run"), pictures))


def test_the_front_has_inherited_accuracies_and_the_classes_of_the_data(outcome: Outcome) -> None:
    accuracies = [e.accuracy for e in outcome.result.front if e.accuracy is not None]
    assert accuracies
    assert {a.kind for a in accuracies} == {"inherited"}
    assert {e.spec.head.classes for e in outcome.result.front if e.spec.head} == {3}


def test_the_answer_says_where_weights_are_and_where_there_are_none(outcome: Outcome, tmp_path: Path) -> None:
    assert outcome.result.ship is not None
    own = outcome.folder / "front" / f"{outcome.result.ship.spec.name}.pt"
    assert any(f"weights: {own}" in line for line in ship_lines(outcome.result, folder=outcome.folder))
    assert any("no weights are written" in line for line in ship_lines(outcome.result, folder=tmp_path))


def test_every_member_of_the_front_has_weights_beside_its_spec(outcome: Outcome) -> None:
    specs = sorted((outcome.folder / "front").glob("*.yaml"))
    assert specs
    for path in specs:
        assert read_network(path.with_suffix(".pt")).spec == load_spec(str(path))
        assert read_learned(path.with_suffix(".pt")) is not None  # its classes, for predict


def test_the_baseline_is_measured_and_has_no_accuracy(outcome: Outcome) -> None:
    assert outcome.result.baseline
    assert all(e.latency is not None and e.accuracy is None for e in outcome.result.baseline)


def test_accuracies_stand_beside_what_the_majority_class_gives(outcome: Outcome, finetuned: Outcome) -> None:
    told = [e.accuracy for e in outcome.result.front if e.accuracy is not None]
    assert all(accuracy.commonest == pytest.approx(1 / 3, abs=0.1) for accuracy in told)
    assert any("top1 of a trivial answer (majority class) on" in note for note in run_rows(outcome.result).notes)
    assert finetuned.finetuned is not None
    lines = finetuned_lines(finetuned.finetuned, folder=finetuned.folder)
    assert any("majority class 33" in line for line in lines)


def test_a_reader_is_told_what_the_accuracies_rest_on(outcome: Outcome) -> None:
    assert any("images" in note and "full size" in note for note in outcome.notes)
    assert any("weak evidence" in note for note in outcome.notes)
    assert any("rank correlation" in note or "too few" in note for note in outcome.notes)


def test_a_reduced_supernet_leaves_no_weights_that_do_not_fit(tmp_path: Path, pictures: Path) -> None:
    evaluator = f"supernet:data={pictures},epochs=1,fidelity=0.5"
    found = ran(request_of(tmp_path, pictures, evaluator=evaluator, settings=Settings(trials=13)))
    assert not list((found.folder / "front").glob("*.pt"))


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        shorten_trainings(patch)
        request = request_of(
            tmp_path_factory.mktemp("run"),
            pictures,
            evaluator=f"supernet:data={pictures},epochs=2,fidelity=0.5",
            budget=Budget(latency_ms=0.75),  # within which some network of the MobileNetV2 grid is
            settings=Settings(trials=14, time_s=6.0),
            finetunes=True,
        )
        return ran(request, tick_s=0.003)


def test_a_front_with_trained_networks_verifies(outcome: Outcome, images: Dataset, tmp_path: Path) -> None:
    folder = shutil.copytree(outcome.folder, tmp_path / "it")
    front = {e.spec for e in outcome.result.front}
    others = [e for e in outcome.result.finalists if e.spec not in front]
    request = {"folder": folder / "finetune", "time_s": 3.0, "best_s": 2.0, "clock": CountingClock(0.02)}
    found = finetuned_of(others[:1], images, **request)
    assert found is not None
    ship_finetuned(folder, found)
    checks = verify(folder)
    assert {check.then.spec for check in checks} == {*front, others[0].spec}
    assert all(check.holds for check in checks)


def test_the_last_of_the_rounds_is_trained_for_longest_and_shipped(finetuned: Outcome) -> None:
    found, folder = finetuned.finetuned, finetuned.folder
    assert found is not None
    assert len(found.networks) == len(found.held_out) == len(found.steps)
    assert found.steps[found.best] == max(found.steps)
    shipped = read_network(folder / "ship.pt").spec
    assert shipped == load_spec(str(folder / "ship.yaml"))
    assert shipped.name == found.networks[found.best].spec.name
    report = json.loads((folder / "finetune" / "finetune.json").read_text())
    assert report["best"] == shipped.name
    assert [len(rung["networks"]) for rung in report["rungs"]] == sorted(
        (len(rung["networks"]) for rung in report["rungs"]), reverse=True
    )


def test_the_obvious_network_is_trained_alike_and_compared(finetuned: Outcome) -> None:
    found = finetuned.finetuned
    assert found is not None
    assert set(found.obvious) <= {e.spec.name for e in finetuned.result.rivals}
    assert found.compared is not None
    assert found.compared.obvious in found.obvious
    assert found.compared.obvious.startswith("mobilenet_v2_")
    assert found.compared.steps <= max(found.steps)
    _, said, *_ = finetuned_lines(found, folder=finetuned.folder)
    assert found.compared.obvious in said
    assert "points [" in said
    assert "steps each" in said


def test_trained_weights_stand_beside_their_specs(finetuned: Outcome) -> None:
    assert finetuned.finetuned is not None
    for evaluation in finetuned.finetuned.front:
        path = finetuned.folder / "front" / f"{evaluation.spec.name}.pt"
        assert read_network(path).spec == evaluation.spec
        path = finetuned.folder / "front" / f"{evaluation.spec.name}.yaml"
        assert load_spec(str(path)) == evaluation.spec
        assert f"# {accuracy_phrase(cast('Accuracy', evaluation.accuracy))}" in path.read_text(encoding="utf-8")
    assert "# trained top1" in (finetuned.folder / "ship.yaml").read_text(encoding="utf-8")


def numbers_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "front.csv").read_text(encoding="utf-8").splitlines()))


def test_the_numbers_of_a_front_say_what_was_trained_and_what_to_ship(outcome: Outcome, finetuned: Outcome) -> None:
    found = finetuned.finetuned
    assert found is not None
    rows = {row["name"]: row for row in numbers_of(finetuned.folder)}
    assert {name for name, row in rows.items() if row["accuracy_kind"] == "trained"} == {
        e.spec.name for e in found.networks
    }
    assert [name for name, row in rows.items() if row["ship"] == "yes"] == [found.networks[found.best].spec.name]
    before = numbers_of(outcome.folder)[0]
    assert (before["accuracy_kind"], before["latency_noisy"]) == ("inherited", "no")
    assert 0 < float(before["likelihood"]) <= 1


def test_the_page_shows_what_trainings_of_their_own_came_to(finetuned: Outcome) -> None:
    assert (finetuned.folder / "trained.png").read_bytes().startswith(b"\x89PNG")
    text = (finetuned.folder / "report.html").read_text(encoding="utf-8")
    found = finetuned.finetuned
    assert found is not None
    assert ("Accuracy after separate trainings" in text) == (len(found.networks) > 1)
    assert "grid evaluated" in text


def test_a_likelihood_stands_beside_guessing(outcome: Outcome) -> None:
    assert any("guessing gives 33.3 %" in note for note in run_rows(outcome.result).notes)


def test_a_front_says_what_it_leaves_of_the_budget(outcome: Outcome) -> None:
    told = [
        note
        for note in run_rows(outcome.result).notes
        if note.startswith("no evaluated network that takes more than")
    ]
    assert told == [told[0]]
    assert "more than 0 % of the budget seemed better" in told[0]
    narrow = tuple(replace(e, budget=Budget(latency_ms=1.1 * median_ms_of(e))) for e in outcome.result.front)
    assert not any(
        "no evaluated network that takes" in note for note in run_rows(replace(outcome.result, front=narrow)).notes
    )


def test_candidates_are_of_all_latencies_best_first(finetuned: Outcome) -> None:
    found = finetuned.finetuned
    assert found is not None
    assert {e.spec for e in found.networks} <= {
        e.spec for e in (*finetuned.result.finalists, *finetuned.result.rivals)
    }
    candidates = candidates_of(finetuned.result.finalists)
    slots = slots_of(finetuned.result.finalists, count=CANDIDATES)
    assert {slot[0] for slot in slots if slot} <= set(candidates)
    assert len(candidates) == min(CANDIDATES, len(finetuned.result.finalists))
    assert candidates == best_of(candidates)
    assert found.front == front_of(found.trained)
    assert [e.accuracy.value for e in found.trained if e.accuracy] == [f.main.value for f in found.held_out]


def test_the_front_is_shown_again_with_its_trainings(run: Callable[..., Any], finetuned: Outcome) -> None:
    result = run("front", str(finetuned.folder))
    assert finetuned.finetuned is not None
    best = finetuned.finetuned.networks[finetuned.finetuned.best].spec.name
    assert f"ship {best}:" in result.out
    assert "trained separately" in result.out
    told = json.loads(run("front", str(finetuned.folder), "--json").out)
    assert told["ship"] == told["finetuned"]["best"] == best
    assert told["finetuned"]["front"] == [e.spec.name for e in finetuned.finetuned.front]


def test_the_page_says_how_far_the_order_is_to_be_trusted(finetuned: Outcome) -> None:
    text = (finetuned.folder / "report.html").read_text(encoding="utf-8")
    assert finetuned.result.notes
    assert all(escape(note) in text for note in finetuned.result.notes)


def finetuned_of(candidates: Sequence[Evaluation], images: Dataset, **options: Any) -> Finetuned | None:
    """From random weights."""
    usual: dict[str, Any] = {"task": CLASSIFY, "data": images, "evaluator": None, "seed": 0, "best_s": 0.0}
    return finetune(Finetuning(candidates=candidates, **(usual | options)))


@pytest.fixture(scope="module")
def images(pictures: Path) -> Dataset:
    return read_dataset(pictures, "classification")


@pytest.mark.usefixtures("any_length")
def test_half_of_the_networks_enter_the_next_round_and_one_obvious_until_the_last(
    outcome: Outcome, images: Dataset, tmp_path: Path
) -> None:
    some = candidates_of(outcome.result.finalists)
    request = {"obvious": some[3:], "folder": tmp_path, "time_s": 12.0, "best_s": 6.0, "clock": CountingClock(0.02)}
    found = finetuned_of(some[:3], images, **request)
    assert found is not None
    obvious = {e.spec.name for e in some[3:]}
    rounds = [set(rung["networks"]) for rung in json.loads((tmp_path / "finetune.json").read_text())["rungs"]]
    assert [len(names) for names in rounds] == [5, 3, 2]
    assert all(later < earlier for earlier, later in pairwise(rounds))
    assert all(names & obvious and names - obvious for names in rounds)
    assert found.networks[found.best].spec.name in rounds[-1]
    assert found.compared is not None
    assert {found.compared.found, found.compared.obvious} == rounds[-1]
    assert found.obvious == tuple(e.spec.name for e in found.networks if e.spec.name in obvious)
    assert recall_finetuned(tmp_path, outcome.result.finalists) == found


@pytest.mark.usefixtures("any_length")
def test_the_network_that_will_be_better_in_the_remaining_time_is_trained_on(
    outcome: Outcome, images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast, *_ = candidates_of(outcome.result.finalists)
    real, values = train_network, {slow.spec.name: 0.62, fast.spec.name: 0.6}

    def train(model: MobileNet, *words: Any, **options: Any) -> Any:
        done, name = real(model, *words, **options), model.spec.name
        best = replace(done.best, main=share("top1", values[name], 100), loss=1.0)
        return replace(done, best=best, images_per_s={slow.spec.name: 100.0, fast.spec.name: 400.0}[name])

    monkeypatch.setattr(finetuning, "train", train)
    usual: dict[str, Any] = {"obvious": [fast], "time_s": 3.0, "best_s": 2.0}
    found = finetuned_of([slow], images, folder=tmp_path / "one", clock=CountingClock(0.02), **usual)
    assert found is not None
    assert found.networks[found.best] == fast
    assert f"{fast.spec.name} is trained further, although {slow.spec.name} is better so far" in " ".join(found.notes)
    values[slow.spec.name] = 0.9
    found = finetuned_of([slow], images, folder=tmp_path / "two", clock=CountingClock(0.02), **usual)
    assert found is not None
    assert found.networks[found.best] == slow


@pytest.mark.usefixtures("any_length")
def test_an_interrupted_longest_training_is_not_exchanged_for_another(
    outcome: Outcome, images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = candidates_of(outcome.result.finalists)
    usual: dict[str, Any] = {"obvious": [second], "folder": tmp_path, "time_s": 3.0, "best_s": 2.0}

    def interrupt(_: str, __: Training) -> None:
        if (tmp_path / first.spec.name / "longest").exists() or (tmp_path / second.spec.name / "longest").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(
            Finetuning(
                candidates=[first],
                task=CLASSIFY,
                data=images,
                evaluator=None,
                seed=0,
                clock=CountingClock(0.02),
                **usual,
            ),
            on_progress=interrupt,
        )
    begun = json.loads((tmp_path / "finetune.json").read_text())
    assert begun["best"]
    monkeypatch.setattr(finetuning._Rounds, "_ranked", lambda *_, **__: pytest.fail("chosen again"))
    monkeypatch.setattr(finetuning._Rounds, "_compared", lambda *_: None)
    found = finetuned_of([first], images, clock=CountingClock(0.02), **usual)
    assert found is not None
    assert found.networks[found.best].spec.name == begun["best"]


@pytest.mark.usefixtures("any_length")
def test_rounds_that_were_interrupted_continue_and_end_alike(
    outcome: Outcome, images: Dataset, tmp_path: Path
) -> None:
    some = candidates_of(outcome.result.finalists)[:3]
    usual: dict[str, Any] = {"task": CLASSIFY, "data": images, "evaluator": None, "seed": 0, "best_s": 1.0}

    def request_in(name: str) -> Finetuning:
        return Finetuning(
            candidates=some[:2],
            **usual,
            obvious=some[2:],
            folder=tmp_path / name,
            time_s=1.5,
            clock=CountingClock(0.02),
        )

    (tmp_path / "whole").mkdir()
    whole = finetune(request_in("whole"))
    (tmp_path / "parts").mkdir()
    last = {"name": ""}

    def interrupt(name: str, progress: Training) -> None:
        if last["name"] not in ("", name):
            raise KeyboardInterrupt
        last["name"] = name

    with pytest.raises(KeyboardInterrupt):
        finetune(request_in("parts"), on_progress=interrupt)
    begun = json.loads((tmp_path / "parts" / "finetune.json").read_text())["rungs"]
    found = finetune(request_in("parts"))
    assert whole is not None
    assert found is not None
    ended = json.loads((tmp_path / "parts" / "finetune.json").read_text())["rungs"]
    assert ended[: len(begun)] == begun
    assert len(found.networks) == len(whole.networks)


def test_where_time_is_short_fewer_networks_are_trained(
    outcome: Outcome, images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = candidates_of(outcome.result.finalists)
    assert len(candidates) > 1
    monkeypatch.setattr(finetuning, "LEAST_S", 1e-6)
    clock = CountingClock(0.01)
    found = finetuned_of(candidates, images, folder=tmp_path, time_s=1.0, clock=clock)
    assert found is not None
    assert len(found.networks) < len(candidates)
    left_out = len(candidates) - len(found.networks)
    assert f"{left_out} of {len(candidates)} networks were not trained separately, for lack of time" in found.notes[0]
    assert found.uncompared == "no network of the MobileNetV2 grid is within the budget"
    assert f"not compared with an obvious network: {found.uncompared}" in "".join(
        finetuned_lines(found, folder=tmp_path)
    )


def test_too_little_time_for_a_comparison_is_told_with_the_time_it_takes(
    outcome: Outcome, images: Dataset, tmp_path: Path
) -> None:
    some = candidates_of(outcome.result.finalists)
    request = {"obvious": some[1:2], "folder": tmp_path, "time_s": 2.0, "best_s": 1.8, "clock": CountingClock(0.01)}
    found = finetuned_of(some[:1], images, **request)
    assert found is not None
    assert found.compared is None
    assert "8 training steps of each network take about" in found.uncompared
    assert recall_finetuned(tmp_path, outcome.result.finalists) == found


@pytest.mark.usefixtures("any_length")
def test_a_network_that_diverges_is_left_out_and_the_others_go_on(
    outcome: Outcome, images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, *_ = candidates_of(outcome.result.finalists)
    real, broken = train_network, {first.spec.name}

    def train(model: MobileNet, *words: Any, **options: Any) -> Any:
        fail = {True: DivergedError("the loss of step 1 is not finite")}.get(model.spec.name in broken)
        return real(model, *words, **options) if fail is None else _raise(fail)

    monkeypatch.setattr(finetuning, "train", train)
    usual: dict[str, Any] = {"obvious": [second, third], "time_s": 1.5, "best_s": 0.5}
    found = finetuned_of([first], images, folder=tmp_path / "one", clock=CountingClock(0.02), **usual)
    assert found is not None
    assert first.spec.name not in {e.spec.name for e in found.networks}
    assert f"{first.spec.name} is left out: the loss of step 1 is not finite" in found.notes
    broken |= {second.spec.name, third.spec.name}
    with pytest.raises(DivergedError):
        finetuned_of([first], images, folder=tmp_path / "all", clock=CountingClock(0.02), **usual)


def _raise(error: Exception) -> None:
    raise error


def test_what_would_see_next_to_no_images_is_not_trained(outcome: Outcome, images: Dataset, tmp_path: Path) -> None:
    candidates = candidates_of(outcome.result.finalists)
    clock = CountingClock(0.02)  # 32 images in 0.02 s
    assert finetuned_of(candidates, images, folder=tmp_path, time_s=0.3, clock=clock) is None
    assert not list(tmp_path.iterdir())


class Shared(ImagenetEvaluator):
    """Weights that every network is said to have inherited."""

    method: Method = "shared weights"
    dataset: Dataset

    def __init__(self, images: Dataset) -> None:
        self.dataset = images

    def is_full_size(self) -> bool:
        return True

    def learned_of(self, spec: ModelSpec) -> Learned:
        return Learned(classes=("a", "b", "c"), normalization="tensorflow", crop=1.0)

    def member(self, spec: ModelSpec) -> MobileNet:
        return build(spec, seed=7).eval()


@pytest.mark.usefixtures("any_length")
def test_what_a_training_makes_no_better_keeps_what_it_inherited(
    outcome: Outcome, images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "LEAST_S", 1e-6)
    first = Shared(images)
    (one,) = candidates_of(outcome.result.finalists, count=1)
    assert one.accuracy is not None
    perfect = replace(one, accuracy=replace(one.accuracy, value=1.0, high=1.0))
    found = finetuned_of([perfect], images, evaluator=first, folder=tmp_path, time_s=0.01)
    assert found is not None
    assert found.kept == (one.spec.name,)
    assert "not improved by its last" in found.notes[-1]
    assert read_learned(found.weights) == first.learned_of(one.spec)
    kept, inherited = read_network(found.weights).state_dict(), first.member(one.spec).state_dict()
    assert all(torch.equal(kept[name], inherited[name]) for name in inherited)
    (shown,) = found.trained
    assert shown.accuracy is not None
    assert (shown.accuracy.kind, shown.accuracy.value, shown.accuracy.merit) == ("inherited", 1.0, None)
    assert "inherited" in finetuned_rows(found).rows[0][1]
    assert any(line.startswith("  inherited top1") for line in finetuned_lines(found, folder=tmp_path))
    assert recall_finetuned(tmp_path, [perfect]) == found


def test_a_round_ends_where_its_time_does(
    outcome: Outcome, images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "LEAST_S", 1e-6)
    monkeypatch.setattr(finetuning, "PATIENCE", 1e-6)
    some = candidates_of(outcome.result.finalists)[:2]
    begun = {"recipe": "short", "rungs": [{"steps": 500, "networks": [e.spec.name for e in some]}]}
    (tmp_path / "finetune.json").write_text(json.dumps(begun), encoding="utf-8")
    found = finetuned_of(some[:1], images, obvious=some[1:], folder=tmp_path, time_s=0.0)
    assert found is not None
    assert found.notes[0] == f"{some[0].spec.name}: ended after 2 of 500 steps, as the time was over"


def test_a_search_that_took_all_the_time_trains_none_and_says_so(
    outcome: Outcome, images: Dataset, tmp_path: Path
) -> None:
    evaluator = Shared(images)
    late = Deadline(100.0, clock=lambda: 0.0, spent_s=98.0)
    result = outcome.result
    found, notes = train_best(
        tmp_path, result, evaluator, deadline=late, shares=SHARES, seed=0, on_progress=lambda _: None
    )
    assert found is None
    assert "preparing and searching took 98 s of the 100 s given" in notes[0]


def test_the_time_of_trainings_counts(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched_s, clock = [0.0], CountingClock(0.02)

    def interrupted(*_: Any, **__: Any) -> None:
        clock.now_s += 100.0
        raise KeyboardInterrupt

    def hear(progress: Progress) -> None:
        searched_s[0] = progress.elapsed_s

    monkeypatch.setattr("mnv2search.workflows.search.finetuning.finetune.finetune", interrupted)
    evaluator = f"supernet:data={pictures},epochs=1,fidelity=0.5"
    request = request_of(
        tmp_path, pictures, evaluator=evaluator, settings=Settings(trials=13, time_s=600.0), finetunes=True
    )
    with pytest.raises(KeyboardInterrupt):
        run_job(request, on_progress=hear, clock=clock)
    manifest = read_manifest(tmp_path / "results" / "it")
    assert manifest.status == "interrupted"
    assert manifest.elapsed_s >= searched_s[0] + 100.0 > 100.0


def short_request(folder: Path, pictures: Path) -> Request:
    """A run of which the trainings at the end take most of the time."""
    evaluator = f"supernet:data={pictures},epochs=1,fidelity=0.5"
    settings = Settings(trials=14, time_s=15.0)
    budget = Budget(latency_ms=0.5)
    return request_of(folder, pictures, evaluator=evaluator, budget=budget, settings=settings, finetunes=True)


def test_a_longer_time_trains_the_best_for_longer(tmp_path: Path, pictures: Path) -> None:
    request = short_request(tmp_path, pictures)
    first = ran(request)
    assert first.finetuned is not None
    assert ran(request).already_finished
    assert ran(request).result.elapsed_s == pytest.approx(first.manifest.elapsed_s)
    used_s = first.manifest.elapsed_s
    request = replace(request, settings=Settings(trials=16, time_s=used_s + 16.0))

    class KilledError(BaseException):
        """Leaves nothing behind, like a kill."""

    def kill(_: Progress) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        run_job(request, on_progress=kill, clock=CountingClock(0.006))
    assert read_manifest(first.folder).status == "running"
    longer = ran(request)
    assert not longer.already_finished
    assert longer.result.elapsed_s > used_s
    assert longer.finetuned is not None
    assert longer.manifest.elapsed_s > first.manifest.elapsed_s


def test_trainings_of_an_earlier_end_hold_where_there_is_no_time_for_longer_ones(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = short_request(tmp_path, pictures)
    first = ran(request)
    assert first.finetuned is not None
    monkeypatch.setattr(module, "LEAST_SHARE", 9.0)
    longer = ran(replace(request, settings=Settings(trials=16, time_s=first.manifest.elapsed_s + 20.0)))
    assert any("no network was trained separately" in note for note in longer.notes)
    assert not (first.folder / BEFORE).exists()
    assert longer.finetuned is not None
    assert longer.finetuned.held_out == first.finetuned.held_out
    shipped = load_spec(str(first.folder / "ship.yaml"))
    assert shipped == read_network(first.folder / "ship.pt").spec
    assert shipped.name == longer.finetuned.networks[longer.finetuned.best].spec.name


def test_a_longer_run_ships_what_it_shipped_before_until_a_longer_training_is_better(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ran(short_request(tmp_path, pictures))
    assert first.finetuned is not None
    ship, folder = load_spec(str(first.folder / "ship.yaml")), first.folder
    weights = (folder / "ship.pt").read_bytes()
    longer = replace(
        short_request(tmp_path, pictures), settings=Settings(trials=16, time_s=first.manifest.elapsed_s + 15.0)
    )
    with monkeypatch.context() as patch:
        patch.setattr("mnv2search.workflows.search.finetuning.finetune.finetune", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            ran(longer)
    assert load_spec(str(folder / "ship.yaml")) == ship
    assert (folder / "ship.pt").read_bytes() == weights
    _, result = recall(folder)
    recalled = finetuned_of_run(folder, result)
    assert recalled is not None
    assert recalled.networks[recalled.best].spec == ship
    assert recalled.held_out == first.finetuned.held_out
    assert recalled.weights.read_bytes() == weights
    worse = replace(first.finetuned.held_out[0], main=share("top1", 0.0, 10))
    with monkeypatch.context() as patch:
        real = finetuning.finetune

        def none_better(request: Finetuning, **options: Any) -> Finetuned | None:
            found = real(request, **options)
            assert found is not None
            return replace(found, held_out=(worse,) * len(found.held_out))

        patch.setattr("mnv2search.workflows.search.finetuning.finetune.finetune", none_better)
        kept = ran(longer)
    assert any("the earlier trainings are kept" in note for note in kept.notes)
    assert kept.finetuned is not None
    assert kept.finetuned.held_out == first.finetuned.held_out
    assert load_spec(str(folder / "ship.yaml")) == ship
    assert (folder / "ship.pt").read_bytes() == weights
    assert not (folder / BEFORE).exists()


def _interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_what_is_left_is_told_to_the_end_of_all(tmp_path: Path, pictures: Path) -> None:
    left: list[float] = []

    def hear(progress: Progress) -> None:
        assert progress.left_s is not None
        left.append(progress.elapsed_s + progress.left_s)
        raise KeyboardInterrupt

    settings = Settings(trials=13, time_s=600.0)
    with pytest.raises(KeyboardInterrupt):
        run_job(
            request_of(tmp_path, pictures, settings=settings, finetunes=True), on_progress=hear, clock=lambda: 0.0
        )
    assert left == [pytest.approx(600.0)]


def test_a_resumed_run_still_trains_the_best(finetuned: Outcome) -> None:
    assert resume_request(finetuned.folder, trusts=True).finetunes


def test_there_is_nothing_to_train_without_images(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(OptionError, match="no images"):
        ran(request_of(tmp_path, pictures, evaluator="imagenet", finetunes=True, settings=Settings(time_s=10.0)))


def test_there_is_no_time_to_divide_without_a_time(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(OptionError, match="time"):
        ran(request_of(tmp_path, pictures, finetunes=True))


def test_an_interrupted_supernet_is_gone_on_with(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(tmp_path, pictures, settings=Settings(trials=13))
    from mnv2search.supernet import train as supernet

    monkeypatch.setattr(supernet, "CHECKPOINT_S", 0.0)
    seen: list[str] = []

    def stop_in_the_middle(progress: Any) -> None:
        seen.append(progress.doing)
        if "step 5 " in progress.doing:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(request, on_progress=stop_in_the_middle)
    again: list[str] = []
    found = run_job(request, on_progress=lambda progress: again.append(progress.doing))
    assert found.result.front
    trained = [doing for doing in again if doing.startswith("training the supernet")]
    assert not any("step 4 " in doing for doing in trained)
    assert any("step 5 " in doing or "step 6 " in doing for doing in trained)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--data", "a,b"], "comma"),
        (["--data", "x", "--accuracy", "imagenet"], "does not take --data"),
        (["--finetune"], "no images"),
        (["--data", "x", "--from", "none.pt"], "none.pt is not a file"),
        (["--data", "x", "--from-spec", "mnasnet_b1"], "add --from FILE"),
    ],
)
def test_mistakes_with_images_are_told(run: Callable[..., Any], words: list[str], said: str) -> None:
    result = run("run", "--latency-ms", "5", "--space", "tiny32", "--device", "simulated", "--time", "30s", *words)
    assert result.code == 2
    assert said in result.err


def test_compile_takes_the_weights_beside_a_spec(run: Callable[..., Any], outcome: Outcome, tmp_path: Path) -> None:
    spec = next(iter(sorted((outcome.folder / "front").glob("*.yaml"))))
    result = run("compile", str(spec), "-o", str(tmp_path / "net.pt"))
    assert result.code == 0
    assert "beside the spec" in result.err
    written, kept = read_network(tmp_path / "net.pt"), read_network(spec.with_suffix(".pt"))
    assert all(torch.equal(a, b) for a, b in zip(written.parameters(), kept.parameters(), strict=True))


def test_weights_of_another_network_are_not_taken(run: Callable[..., Any], outcome: Outcome, tmp_path: Path) -> None:
    (first, *_) = sorted((outcome.folder / "front").glob("*.yaml"))
    (tmp_path / "net.yaml").write_bytes(first.read_bytes())
    write_network(tmp_path / "net.pt", build(load_spec("mobilenet_v2_0.35_96"), seed=0))
    result = run("compile", str(tmp_path / "net.yaml"), "-o", str(tmp_path / "out.pt"))
    assert result.code == 0
    assert "another network" in result.err


def test_an_audit_trains_networks_over_the_range_and_compares(
    run: Callable[..., Any], outcome: Outcome, pictures: Path
) -> None:
    result = run("audit", str(outcome.folder), "--data", str(pictures), "--members", "4", "--epochs", "1", "--json")
    assert result.code == 0
    found = json.loads(result.out)
    assert len(found["networks"]) == 4
    assert -1 <= found["kendall"]["low"] <= found["kendall"]["value"] <= found["kendall"]["high"] <= 1
    said = [n["searched"]["merit"] for n in found["networks"]]
    assert said == sorted(said)


def test_an_audit_begins_with_the_weights_that_the_search_had(
    run: Callable[..., Any], outcome: Outcome, pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(outcome.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "audit", ignore_errors=True)
    shipped = load_spec(str(tmp_path / "run" / "ship.yaml"))
    write_network(tmp_path / "first.pt", build(shipped, seed=3))
    words = ["audit", str(tmp_path / "run"), "--data", str(pictures), "--members", "4", "--epochs", "1"]
    result = run(*words, "--from", str(tmp_path / "first.pt"))
    assert result.code == 0
    assert f"each trained from {tmp_path / 'first.pt'} for 1 epoch".replace(" ", "") in "".join(result.out.split())
    refused = run(*words, "--from", str(tmp_path / "none.pt"))
    assert refused.code == 2
    assert "none.pt" in refused.err


def test_an_audit_of_a_folder_without_a_run_is_refused(pictures: Path, tmp_path: Path) -> None:
    from mnv2search.workflows.search.checks.ranking_audit import audit

    with pytest.raises(RecordError):
        audit(tmp_path, data=pictures, recipe="modern", members=4, epochs=1)


def test_a_supernet_built_on_its_own_serves_a_search(run: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    space = tmp_path / "tiny.yaml"
    space.write_text(TINY, encoding="utf-8")
    built = run(
        *("supernet", "--space", str(space), "--data", str(pictures), "--epochs", "1"),
        *("-o", str(tmp_path / "shared"), "--json"),
    )
    assert built.code == 0
    document = json.loads(built.out)
    stamp = (tmp_path / "shared" / "last.ckpt").stat().st_mtime_ns
    result = run(
        *("run", "--latency-ms", "50", "--space", str(space), "--device", "simulated", "--trials", "13"),
        *("--accuracy", document["evaluator"], "--output-dir", str(tmp_path / "results"), "--json"),
    )
    assert result.code == 0
    assert json.loads(result.out)["front"]
    assert (tmp_path / "shared" / "last.ckpt").stat().st_mtime_ns == stamp


def test_equal_accuracies_say_nothing_of_an_order() -> None:
    from scipy.stats import spearmanr

    from mnv2search.results.checks import Statistic
    from mnv2search.workflows.search.checks.ranking_audit import _statistic

    assert _statistic(spearmanr, np.full(5, 0.5), np.arange(5.0), seed=0) == Statistic(0.0, 0.0, 0.0)


def test_an_order_that_holds_is_told_with_its_interval() -> None:
    from scipy.stats import spearmanr

    from mnv2search.workflows.search.checks.ranking_audit import _statistic

    found = _statistic(spearmanr, np.arange(12.0), np.arange(12.0) ** 2, seed=0)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low > 0.9


def test_written_files_are_evaluated_beside_the_network(
    run: Callable[..., Any], finetuned: Outcome, pictures: Path, tmp_path: Path
) -> None:
    images = next(path for path in pictures.iterdir() if path.is_dir())
    files = [str(tmp_path / name) for name in ("net.onnx", "net.pt")]
    result = run(
        *("compile", str(finetuned.folder / "ship.pt"), "-o", files[0], "--data", str(pictures), "--json"),
        *("--precision", "int8", "--calibration", str(images), "--no-fvcore"),
    )
    assert result.code == 0, result.err
    whole, written = json.loads(result.out)["judged"]
    assert finetuned.finetuned is not None
    assert (whole["what"], written["what"]) == ("the network", files[0])
    assert whole["top1"] == pytest.approx(finetuned.finetuned.test.main.value)
    assert abs(written["top1"] - whole["top1"]) <= 0.1
    assert written["low"] <= written["top1"] <= written["high"]
    again = run("compile", str(finetuned.folder / "ship.pt"), "-o", files[1], "--data", str(pictures), "--no-fvcore")
    assert "top-1 on" in again.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mobilenet_v2_0.35_96", "-o", "n.pt"], "random weights"),
        (["mobilenet_v2_0.35_96", "--weights", "n.pt"], "has 1001 classes, and"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    run: Callable[..., Any], pictures: Path, words: list[str], said: str
) -> None:
    run("compile", "mobilenet_v2_0.35_96", "-o", "n.pt", "--no-fvcore")
    result = run("compile", *words, "--data", str(pictures), "--no-fvcore", "--force")
    assert result.code == 2
    assert said in result.err


def test_what_is_smoothed_is_said_wherever_the_front_is_shown(run: Callable[..., Any], outcome: Outcome) -> None:
    notes = {e.accuracy.note for e in outcome.result.front if e.accuracy is not None}
    assert len(notes) == 1
    (note,) = notes
    assert "the likelihood is smoothed over all" in note
    shown = " ".join(run("front", str(outcome.folder)).out.split())
    assert shown.count(note) == 1
    assert note in next((outcome.folder / "front").glob("*.yaml")).read_text(encoding="utf-8")
