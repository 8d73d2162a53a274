"""A task of another package: a single number from an image, trained and searched like those that ship."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mnv2search import plugins
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.data.batches import Epoch
from mnv2search.data.dataset import SPLITS, Split
from mnv2search.data.prepare import Parts
from mnv2search.errors import OptionError, UnknownNameError
from mnv2search.evaluation import no_report
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.network_file import Learned, read_network
from mnv2search.recipe import Recipe
from mnv2search.spec.catalog import entry
from mnv2search.spec.heads import registry
from mnv2search.spec.heads.base import Backbone, Head
from mnv2search.spec.layers import Unit
from mnv2search.spec.layout import classifier_unit
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import load_space, load_spec
from mnv2search.tasks.metrics import Metrics, share
from mnv2search.tasks.prediction import Found, Predicted, drawn, outputs_of
from mnv2search.tasks.task import Evaluation, Step, Task, Wanted, named_task, task_of
from mnv2search.training.checkpoint import write_network
from mnv2search.workflows.training.predict import predict
from mnv2search.workflows.training.request import TrainingRequest
from mnv2search.workflows.training.train import train_spec

SIDE_PX, CLOSE = 32, 0.15
RECIPE = Recipe(name="quick", optimizer="adamw", lr=4e-3, lr_batch=8, batch=8, epochs=12, ema=0.8)
SPACE = """mnv2search: 1
name: brightness
resolution: 32
width: [0.5, 1.0]
stem: {c: 8, k: 3, s: 2}
blocks: [{t: 1, c: 8}, {t: [2, 3], c: 16, s: 2}]
last: 32
head: number
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Head):
    """One output on the pooled features."""

    word: ClassVar[str] = "number"

    def units(self, backbone: Backbone) -> Iterator[tuple[str, Unit]]:
        """A linear layer alone."""
        yield "head", classifier_unit(backbone.last.channels, 1, backbone.last.size)


@dataclass(frozen=True, slots=True)
class Photographs:
    """Images whose names are their numbers, such as ``0.250-17.png``."""

    root: Path
    classes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        return f"{len(list(self.root.iterdir()))}-images"

    def part(self, split: Split) -> Sequence[Path]:
        return sorted(self.root.glob("*.png"))[SPLITS.index(split) :: len(SPLITS)]


class Decoded(NamedTuple):
    """Images (3, S, S) from -1 to 1, and their numbers."""

    images: Tensor
    numbers: Tensor


class Regression(Task[Photographs, list[Decoded], Decoded]):
    """The brightness of an image."""

    name = "brightness"
    metric = "close"
    head = Number
    recipe = "dense"
    unused = ("mixup", "label_smoothing")

    def read(self, source: Path, *, seed: int = 0, void: int = 255) -> Photographs:
        return Photographs(source)

    def fitted(self, spec: ModelSpec, data: Photographs) -> ModelSpec:
        return spec

    def parts(self, data: Photographs, wanted: Wanted) -> Parts[list[Decoded]]:
        decoded: Mapping[Split, list[Decoded]] = {s: [self._decoded(p) for p in data.part(s)] for s in wanted.splits}
        return Parts(examples=decoded, recipe=wanted.recipe)

    def batches(self, examples: list[Decoded], spec: ModelSpec, recipe: Recipe, epoch: Epoch) -> Generator[Decoded]:
        order, batch = np.random.default_rng([epoch.seed, epoch.number]).permutation(len(examples)), epoch.batch
        for number in range(epoch.first, len(examples) // batch):
            yield self._stacked(examples[i] for i in order[number * batch : (number + 1) * batch])

    def loss(self, step: Step, batch: Decoded) -> Tensor:
        return functional.mse_loss(step.forward(batch.images.to(step.device))[:, 0], batch.numbers.to(step.device))

    def metrics(self, model: MobileNet, examples: list[Decoded], evaluation: Evaluation) -> Metrics:
        images, numbers = self._stacked(examples)
        error = ((evaluation.run or model)(images.to(evaluation.device))[:, 0].cpu() - numbers).abs()
        return Metrics(main=_close(error), count=len(examples), details=(("mean_error", float(error.mean())),))

    def predict(self, model: MobileNet, picture: Image.Image, learned: Learned, *, least_score: float) -> Predicted:
        brightness = float(outputs_of(model, picture, "tensorflow"))
        return drawn(picture, [Found(name=self.name, score=brightness)])

    def _decoded(self, path: Path) -> Decoded:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), np.float32) / 127.5 - 1
        return Decoded(torch.from_numpy(pixels).permute(2, 0, 1), torch.tensor(float(path.stem.split("-")[0])))

    def _stacked(self, examples: Iterable[Decoded]) -> Decoded:
        images, numbers = zip(*examples, strict=True)
        return Decoded(torch.stack(images), torch.stack(numbers))


def _close(error: Tensor) -> Any:
    return share("close", float((error < CLOSE).float().mean()), len(error))


class Entry(NamedTuple):
    """An entry point of an installed package."""

    name: str
    load: Callable[[], object]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package were installed that names the task and its head as entry points."""
    found = {
        "mnv2search.tasks": (Entry("brightness", lambda: Regression),),
        "mnv2search.heads": (Entry("number", lambda: Number),),
    }
    monkeypatch.setattr(plugins, "entry_points", lambda group: found.get(group, ()))
    monkeypatch.setattr(registry, "_HEADS", dict(registry._HEADS))  # a head that is loaded stays in the process


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Grey images of some brightness, with noise."""
    folder, rng = tmp_path / "photographs", np.random.default_rng(0)
    folder.mkdir()
    for number in range(96):
        brightness = round(float(rng.random()), 3)
        pixels = 255 * brightness + rng.normal(0, 20, (SIDE_PX, SIDE_PX, 3))
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(folder / f"{brightness:.3f}-{number}.png")
    return folder


def spec_of(tmp_path: Path) -> ModelSpec:
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    (tmp_path / "spec.yaml").write_text(SPACE.replace("[0.5, 1.0]", "1.0").replace("[2, 3]", "2"), encoding="utf-8")
    return load_spec(str(tmp_path / "spec.yaml"))


def test_a_head_names_its_task(tmp_path: Path) -> None:
    assert task_of(spec_of(tmp_path)).name == "brightness"
    assert load_space(str(tmp_path / "space.yaml")).template.head == Number()
    assert task_of(entry("mobilenet_v2").spec).name == "classification"
    with pytest.raises(UnknownNameError, match="unknown task 'darkness'"):
        named_task("darkness")


def test_it_is_trained(photographs: Path, tmp_path: Path) -> None:
    spec, folder = spec_of(tmp_path), tmp_path / "out"
    found = train_spec(TrainingRequest(spec=spec, data=photographs, folder=folder, recipe=RECIPE))
    assert found.test.main.value > 0.7
    told = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert (told["task"], told["test"]["close"]) == ("brightness", found.test.main.value)
    assert "Training loss" in (folder / "report.html").read_text(encoding="utf-8")
    assert read_network(folder / "best.pt").spec == spec


def test_its_predictions_are_drawn(photographs: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    write_network(tmp_path / "net.pt", build(spec_of(tmp_path), seed=0))
    image = next(photographs.glob("*.png"))
    done = run("predict", str(tmp_path / "net.pt"), str(image), "-o", str(tmp_path / "out"), "--json")
    assert done.code == 0, done.err
    ((found,),) = [one["found"] for one in json.loads(done.out)]
    assert found["name"] == "brightness"
    with Image.open(tmp_path / "out" / f"{image.stem}-predicted.png") as shown:
        assert shown.size == (SIDE_PX, SIDE_PX)


def test_a_task_without_predictions_says_so(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(Regression, "predict")
    write_network(tmp_path / "net.pt", build(spec_of(tmp_path), seed=0))
    with pytest.raises(OptionError, match="brightness has no predictions to draw"):
        predict(tmp_path / "net.pt", [photographs], output=tmp_path / "out")


def test_a_recipe_that_it_does_not_suit_is_refused(photographs: Path, tmp_path: Path) -> None:
    recipe = Recipe(name="mixed", mixup=0.2)
    request = TrainingRequest(spec=spec_of(tmp_path), data=photographs, folder=tmp_path / "out", recipe=recipe)
    with pytest.raises(OptionError, match=r"mixed has mixup 0\.2, which brightness does not use"):
        train_spec(request)


def test_its_evaluator_opens_by_its_own_name(photographs: Path, tmp_path: Path) -> None:
    evaluator = open_evaluator(f"train:task=brightness,data={photographs},epochs=2")
    assert open_evaluator(evaluator.info.name).info == evaluator.info
    found = evaluator.evaluate(spec_of(tmp_path), seed=0, report=no_report)
    assert (found.metric, found.kind) == ("close", "trained")


def test_it_is_searched_with_an_evaluator_that_trains(
    photographs: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    spec_of(tmp_path)
    words = ["run", "--space", str(tmp_path / "space.yaml"), "--data", str(photographs), "--latency-ms", "50"]
    words += ["--device", "simulated", "--accuracy", "train:epochs=1", "--trials", "2", "--name", "it", "--json"]
    done = run(*words)
    assert done.code == 0, done.err
    told, folder = json.loads(done.out), Path("results", "it")
    assert {member["accuracy"]["metric"] for member in told["front"]} == {"close"}
    assert read_network(folder / "ship.pt").spec == load_spec(str(folder / "ship.yaml"))
