"""A script of the documentation gets the reported accuracy from exported files, without this package."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from photo_sets import drawn, unpacked

from mnv2search.data.batches import evaluation_batches
from mnv2search.data.preprocessing import Preprocessing
from mnv2search.data.reading import read_dataset
from mnv2search.data.transforms import Transform
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.tasks.task import task_of
from mnv2search.workflows.compile import compile
from mnv2search.workflows.training.request import TrainingRequest
from mnv2search.workflows.training.train import train_spec

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-the-exported-file.md"
ONNX, LITERT, PREPARED, COUNT, PREPARED_WHOLE = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
RECIPE = Recipe(name="quick", optimizer="adamw", lr=4e-3, lr_batch=16, batch=16, epochs=6, normalization="tensorflow")
MODULE = """
import json
import net
model = net.network("best.pt").eval()
p = {"classes": net.LABELS}
prepared = net.preprocess
run = lambda images: model(images).detach()
"""
OPENS = {
    "net.onnx": f"{ONNX}{PREPARED}",
    "net.tflite": f"{LITERT}{PREPARED}",
    "int8.onnx": f"{ONNX}{PREPARED}".replace("net.onnx", "int8.onnx"),
    "int8.tflite": f"{LITERT}{PREPARED}".replace("net.tflite", "int8.tflite"),
    "net.py": MODULE,
}


WHOLE, INTEGERS = ("net.onnx", "net.tflite", "net.py"), ("int8.onnx", "int8.tflite")


class Shipped(NamedTuple):
    """A folder of exported files, and the count of right answers that was reported for each."""

    folder: Path
    right: dict[str, int]
    images: int


def small(side: int) -> ModelSpec:
    rows = BlockSpec(channels=16, expansion=1), BlockSpec(channels=24, stride=2, repeats=2)
    blocks = (*rows, BlockSpec(channels=32, stride=2))
    return ModelSpec(
        name="small", width=0.5, resolution=side, blocks=blocks, last_channels=96, head=Classifier(classes=3)
    )


def drawn_photos(folder: Path) -> Path:
    return drawn(folder / "photos", train=24, test=20)


def clothing(folder: Path) -> Path:
    names = ("dress", "hat", "pants", "shoes")
    return unpacked("clothing_216.tar", folder, classes=names, train=24, test=20)


def cifar10(folder: Path) -> Path:
    names = ("airplane", "automobile", "frog", "ship")
    return unpacked("cifar10_jpg.tar.xz", folder, classes=names, train=40, test=30)


SETS: dict[str, tuple[Callable[[Path], Path], int]] = {
    "drawn": (drawn_photos, 48),
    "clothing": (clothing, 128),  # 147 px times 0.875 rounds to 129
    "cifar10": (cifar10, 32),
}


@pytest.fixture(scope="module", params=SETS)
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Shipped:
    """A network after a few epochs, as files of several formats."""
    for module in ("kornia", "ai_edge_litert"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    make, side = SETS[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2SEARCH_CACHE", str(folder / "cache"))
        data = make(folder)
        if data.name != "photos":
            (folder / "photos").symlink_to(data)
        report = train_spec(TrainingRequest(spec=small(side), data=data, folder=folder, recipe=RECIPE))
        best = folder / "best.pt"
        whole = compile(best, output=[folder / name for name in WHOLE], data=data, no_fvcore=True)
        integers = compile(
            best, output=[folder / name for name in INTEGERS], precision="int8", data=data, no_fvcore=True
        )
    count = report.test.count
    judged = {Path(name).name: round(found.main.value * count) for name, found in integers.judged}
    right = dict.fromkeys(WHOLE, round(report.test.main.value * count))
    assert [round(found.main.value * count) for _, found in whole.judged] == [right["net.onnx"]] * 3
    return Shipped(folder, {**right, **judged}, count)


@pytest.mark.parametrize("name", OPENS)
def test_the_script_of_the_page_counts_as_many_right_answers_as_are_reported(shipped: Shipped, name: str) -> None:
    program = f"{OPENS[name]}\n{COUNT}\nimport sys\nassert not [m for m in sys.modules if m.startswith('mnv2search')]"
    words = [sys.executable, "-c", program]
    done = subprocess.run(
        words, cwd=shipped.folder, env={}, stdout=subprocess.PIPE, text=True, timeout=600, check=True
    )
    assert done.stdout == f"{shipped.right[name]} of {shipped.images} are right\n"


def test_the_network_is_better_than_chance_and_not_always_right(shipped: Shipped) -> None:
    assert 0.3 < shipped.right["net.onnx"] / shipped.images < 0.99


@pytest.mark.parametrize("side", [48, 128])
def test_the_page_prepares_the_very_pixels_of_evaluations(side: int, tmp_path: Path) -> None:
    spec, data = small(side), read_dataset(drawn(tmp_path / "photos", train=24, test=12), "classification")
    task = task_of(spec)
    pixels = task.prepare(data, spec, RECIPE, splits=("test",)).examples["test"]
    learned = task.learned(spec, pixels, data.classes, RECIPE.normalization)
    namespace: dict[str, Any] = {"p": Preprocessing.of(plan(spec), learned).document("NCHW")}
    exec(PREPARED, namespace)
    transform = Transform(side=side, normalization=learned.normalization)
    expected = torch.cat([batch.images for batch in evaluation_batches(pixels, transform, batch=16)]).numpy()
    found = np.concatenate([namespace["prepared"](example.path) for example in data.test])
    np.testing.assert_array_equal(found, expected)
