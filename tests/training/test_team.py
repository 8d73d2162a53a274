"""Several processes that train one network: the same batches, one writer, and exact resumption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import draw_pictures
from small_networks import SPEC, YAML
from team_worker import PLAIN, RECIPE, parts_of, trained
from torch import distributed

from mnv2search.data.batches import Epoch, training_batches
from mnv2search.data.pixels import Pixels
from mnv2search.data.transforms import Transform
from mnv2search.errors import OptionError
from mnv2search.model.build import build
from mnv2search.model.weights.network_file import read_network
from mnv2search.tasks.classification import Classification
from mnv2search.training.distributed import ALONE, Team, joined
from mnv2search.training.learner import Job
from mnv2search.training.train import train

needs_gloo = pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(), reason="this torch has no gloo"
)
# Until a test gives up on other processes, however busy the machine is.
WAIT_S = 1200
WORDS = [
    "-m",
    "mnv2search",
    "train",
    "mine.yaml",
    "--data",
    "photos",
    "--recipe",
    "quick.yaml",
    "--json",
    "-o",
    "out",
]


@pytest.fixture
def laid(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(YAML)
    (tmp_path / "quick.yaml").write_text("lr: 0.02\nlr_batch: 16\nbatch: 16\nepochs: 2\n")
    draw_pictures(tmp_path / "photos", count=30)
    return tmp_path


@pytest.fixture
def parts(laid: Path) -> tuple[Pixels, Pixels]:
    return parts_of(laid)


def torchrun(words: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Two processes that talk over the loopback only."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words],
        cwd=folder,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@needs_gloo
def test_two_processes_compute_what_one_does(laid: Path, parts: tuple[Pixels, Pixels]) -> None:
    running = torchrun([str(Path(__file__).with_name("team_worker.py")), str(laid)], laid)
    out, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0, err
    told: dict[str, Any] = json.loads(out)
    alone = trained(PLAIN, laid / "alone", parts)
    assert told["plain"] == pytest.approx(alone.losses, rel=1e-5)
    assert told["top1"] == alone.best.main.value
    one, other = (read_network(laid / name / "best.pt").state_dict() for name in ("alone", "plain"))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-5)
    # each process norms its own half of a batch
    normed = trained(SPEC, laid / "normed", parts)
    assert told["whole"] == pytest.approx(normed.losses, rel=0.4)
    assert told["whole"][:3] == pytest.approx(normed.losses[:3], rel=0.05)
    assert told["whole"][0] != pytest.approx(normed.losses[0], rel=1e-6)
    # asked to stop in the second process alone, both went on exactly where they stopped
    assert (told["resumed_at"], len(told["first"])) == (5, 5)
    assert told["first"] + told["rest"] == told["whole"]
    assert told["agreed"]


@needs_gloo
def test_one_process_alone_writes_and_tells(laid: Path) -> None:
    running = torchrun(WORDS, laid)
    out, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0, err
    told = json.loads(out)  # of two documents this would fail
    assert (told["processes"], told["steps"], told["held_out"]["images"], told["test"]["images"]) == (2, 6, 12, 18)
    assert len((laid / "out" / "history.jsonl").read_text().splitlines()) == 2
    (said,) = err.splitlines()
    assert "the initial weights are random" in said


@needs_gloo
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "nowhere"], "error: nowhere does not exist"),
        (["--recipe", "quik"], "error: unknown recipe 'quik'"),
    ],
    ids=["data", "recipe"],
)
def test_what_is_wrong_is_told_once(words: list[str], says: str, laid: Path) -> None:
    running = torchrun([*WORDS, *words], laid)
    out, err = running.communicate(timeout=WAIT_S)
    assert running.returncode != 0
    assert err.count(says) == 1
    assert "exitcode  : 2" in err
    assert out == ""


@needs_gloo
def test_ctrl_c_of_torchrun_keeps_the_last_step(laid: Path) -> None:
    running = torchrun([*(word for word in WORDS if word != "--json"), "--epochs", "9000"], laid)
    assert running.stderr is not None
    evaluations = (line for line in running.stderr if "validation:" in line)
    assert [next(evaluations), next(evaluations)]  # between the two, a checkpoint is written
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=WAIT_S)
    saved = torch.load(laid / "out" / "last.ckpt", weights_only=True)
    assert out == ""
    assert saved["step"] < 27000


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("transform", [Transform(side=24), Transform(side=24, shift_px=3)], ids=["cut", "shifted"])
def test_parts_of_a_batch_are_the_batch(transform: Transform, size: int, parts: tuple[Pixels, Pixels]) -> None:
    whole = next(training_batches(parts[0], transform, Epoch(batch=16, seed=1, number=2)))
    for rank in range(size):
        part = next(training_batches(parts[0], transform, Epoch(batch=16, seed=1, number=2, share=(rank, size))))
        own = [place for place in range(16) if min(place, 15 - place) % size == rank]
        assert len(own) == 16 // size
        assert torch.equal(part.images, whole.images[own])
        assert torch.equal(part.labels, whole.labels[own])
        # mixup's partner is the one that it has in the whole
        assert torch.equal(part.images.flip(0), whole.images.flip(0)[own])


def test_a_batch_that_cannot_be_divided(parts: tuple[Pixels, Pixels], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="a batch of 16 images cannot be divided among 3 processes") as raised:
        train(build(SPEC, seed=0), Classification(), *parts, RECIPE, Job(folder=tmp_path, team=Team(size=3)))
    assert "a multiple of 6" in raised.value.hint


def test_without_torchrun_a_process_is_alone() -> None:
    with joined("cpu") as team:
        assert team == ALONE
        assert team.sums([1.5, 2.0]) == (1.5, 2.0)
        assert team.agreed(lambda: "mine") == team.in_turn(lambda: "mine") == "mine"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_where_there_is_none() -> None:
    with pytest.raises(OptionError, match="there is no CUDA device here"), joined("cuda"):
        pass
