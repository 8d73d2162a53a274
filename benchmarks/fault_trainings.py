"""Signals to trainings: a resumed training must end with the same weights, to the bit, as an undisturbed one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import numpy as np
import torch
from fault_runs import Started, Verdict, mnv2search
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from small_spaces import TINY

from mnv2search.errors import StoppedError
from mnv2search.model.weights.files import read_weights_file
from mnv2search.report.curves import history_of
from mnv2search.supernet import train as supernet_training
from mnv2search.training import trainer
from mnv2search.training.resumption import BEST, LAST
from mnv2search.workflows.training.training_log import HISTORY

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (50, 60, 190)}
SPACE = TINY.replace("classes: 1000", "classes: 3")
SPEC = """
mnv2search: 1
name: small
resolution: 32
stem: {c: 16, k: 3, s: 1}
blocks: [{c: 16, t: 2, s: 2}, {c: 32, n: 2, t: 4, s: 2}]
last: 64
head: {classes: 3}
"""
RECIPE = "lr: 0.05\nlr_batch: 8\nbatch: 8\nepochs: 4\nema: 0.9\nmixup: 0.2\n"
# Seconds between two checkpoints of a supernet, so that some are written in a short training.
CHECKPOINT_S = 0.2


def write_inputs(folder: Path, *, count: int = 40, side: int = 32) -> None:
    """Write a space, a spec, a recipe, and noisy pictures of three colours to a folder."""
    drawn = np.random.default_rng(0)
    for name, content in (("space.yaml", SPACE), ("spec.yaml", SPEC), ("recipe.yaml", RECIPE)):
        (folder / name).write_text(content)
    for name, colour in COLOURS.items():
        (folder / "pictures" / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.array(colour) + drawn.integers(-60, 60, (side, side, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "pictures" / name / f"{index}.png")


@dataclass(frozen=True)
class Training:
    """A command that trains.

    Attributes:
        words: arguments of `mnv2search`.
        weights: weights files to compare.
    """

    name: str
    words: tuple[str, ...]
    weights: tuple[str, ...]

    def start(self, inputs: Path, folder: Path) -> Started:
        """Start or resume the training in a folder."""
        work = mnv2search(folder.parent, *(word.format(inputs=inputs) for word in self.words), "-o", str(folder))

        def set_up_and_work() -> None:
            supernet_training.CHECKPOINT_S = CHECKPOINT_S
            vars(trainer)["automatic_precision"] = lambda *_: "float32"
            work()

        return Started(set_up_and_work)

    def tensors(self, folder: Path) -> dict[str, torch.Tensor]:
        """All tensors in the weights files of the training."""
        found: dict[str, torch.Tensor] = {}
        for name in self.weights:
            content = read_weights_file(folder / name)
            assert isinstance(content, dict)
            state = content["model" if name == LAST else "state_dict"]
            assert isinstance(state, Mapping)
            found |= {f"{name}:{key}": tensor for key, tensor in state.items()}
        return found


TRAININGS = (
    Training(
        "train",
        ("train", "{inputs}/spec.yaml", "--data", "{inputs}/pictures", "--recipe", "{inputs}/recipe.yaml"),
        (BEST, LAST),
    ),
    Training(
        "supernet",
        ("supernet", "--space", "{inputs}/space.yaml", "--data", "{inputs}/pictures", "--epochs", "4"),
        (LAST,),
    ),
)


@cache
def undisturbed(training: Training) -> tuple[Path, float, dict[str, torch.Tensor]]:
    """The folder of inputs, and the duration in s and the tensors of an undisturbed training."""
    inputs = Path(mkdtemp(prefix="faults-"))
    write_inputs(inputs)
    for name in ("first", "second"):  # the first one also loads the imports
        started = training.start(inputs, inputs / name)
        ended = started.end()
        if ended.code != 0:
            raise SystemExit(f"the training itself fails: {ended.said}")
    return inputs, started.elapsed_s, training.tensors(inputs / "second")


def disturbed_training(training: Training, number: signal.Signals, root: Path, rng: Random) -> Verdict:
    """Send signals to a training at random times, resume it, and compare its weights with an undisturbed one."""
    inputs, whole_s, expected = undisturbed(training)
    verdict, folder = Verdict(), root / "out"
    for _ in range(rng.randint(1, 4)):
        started = training.start(inputs, folder)
        is_running = started.wait(rng.uniform(0, whole_s))
        started.send(number)
        ended = started.end()
        verdict.judge_end(ended, (0, StoppedError.exit_code if number != signal.SIGKILL else -number))
        verdict.hits += is_running
    verdict.judge_end(training.start(inputs, folder).end(), (0,))
    found = training.tensors(folder)
    if found.keys() != expected.keys():
        verdict.lost.append(f"tensors {sorted(found.keys() ^ expected.keys())}")
    verdict.wrong += [
        f"{name} differs" for name in expected if name in found and not found[name].equal(expected[name])
    ]
    if (folder / HISTORY).exists() and history_of(folder / HISTORY).damaged:
        verdict.wrong.append("the history is damaged")
    return verdict
