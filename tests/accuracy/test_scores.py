"""Training-free scores: as their papers' formulas say, and never called an accuracy."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "model"))

from dense_specs import detector, segmenter

from mnv2search.accuracy.evaluator import AccuracyEvaluator
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.scores import SCORES, WARNING, naswot_of, synflow_of, zen, zen_of
from mnv2search.accuracy.types import Accuracy
from mnv2search.errors import EvaluatorError, OptionError, UnknownNameError
from mnv2search.evaluation import no_report
from mnv2search.spec.heads.outputs import with_output
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.size import Size
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import loads
from mnv2search.testing.contracts import EvaluatorContract, network_of
from mnv2search.workflows.training.scores import scores

Run = Callable[..., Any]


@pytest.fixture(params=sorted(SCORES))
def score(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestProxyEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, score: str) -> AccuracyEvaluator:
        return open_evaluator(f"proxy:score={score}")


def test_synflow_by_hand() -> None:
    """Two layers: answers Σ|v||w| from two ones; |w| dR/d|w| adds up to R in each layer, so the sum is 2 R."""
    first, last = nn.Conv2d(1, 2, 1, bias=False), nn.Linear(2, 1, bias=False)
    first.weight.data = torch.tensor([[[[3.0]]], [[[-5.0]]]])
    last.weight.data = torch.tensor([[-2.0, 0.5]])

    class Three(nn.Module):
        """Takes one of the three channels."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :1]

    network = nn.Sequential(Three(), first, nn.ReLU6(), nn.Flatten(), last)
    assert synflow_of(network, Size(1, 1)) == pytest.approx(math.log10(2 * (3 * 2 + 5 * 0.5)))


def test_a_linear_layer_more_scales_synflow_by_its_weight() -> None:
    def network(weight: float) -> nn.Sequential:
        layers = [nn.Conv2d(3, 3, 1, bias=False, groups=3) for _ in range(3)]
        for layer in layers:
            layer.weight.data.fill_(weight)
        return nn.Sequential(*layers)

    assert synflow_of(network(2.0), Size(4, 4)) - synflow_of(network(1.0), Size(4, 4)) == pytest.approx(
        3 * math.log10(2)
    )


@pytest.mark.parametrize(
    ("spec", "outputs"),
    [
        (detector(spec={"resolution": (48, 64)}), ("raw", "boxes", "detections")),
        (segmenter(spec={"resolution": (49, 65)}), ("logits", "resized", "classes")),
    ],
    ids=["detector", "segmenter"],
)
def test_a_score_does_not_depend_on_what_is_made_of_the_answers(
    score: str, spec: ModelSpec, outputs: tuple[str, ...]
) -> None:
    found = {SCORES[score](with_output(spec, output), 0) for output in outputs}
    assert len(found) == 1
    assert math.isfinite(found.pop())


def test_weights_of_zero_have_no_flow() -> None:
    first, last = nn.Conv2d(3, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
    first.weight.data.zero_()
    with pytest.raises(EvaluatorError, match="the sum of synaptic flow is 0"):
        synflow_of(nn.Sequential(first, last), Size(2, 2))


def test_naswot_by_hand() -> None:
    """Codes 101 and 110 of two images agree on one switch of three: the determinant of ((3, 1), (1, 3)) is 8."""
    images = torch.tensor([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0]]).reshape(2, 3, 1, 1)
    assert naswot_of(nn.Sequential(nn.ReLU()), images) == pytest.approx(math.log(8))


def test_naswot_without_switches() -> None:
    with pytest.raises(EvaluatorError, match="no activation that switches"):
        naswot_of(nn.Sequential(nn.Conv2d(3, 1, 1)), torch.zeros(2, 3, 4, 4))


def normed(factor: float) -> nn.Sequential:
    first, last = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 2, 1, bias=False)
    for layer in (first, last):
        nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    first.weight.data.mul_(factor)
    return nn.Sequential(first, nn.BatchNorm2d(4), nn.ReLU(), last)


def test_zen_takes_back_what_batch_norm_takes_out() -> None:
    first, other = torch.randn(2, 8, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    louder, plain = (zen_of(normed(factor), first, other) for factor in (4.0, 1.0))
    assert louder - plain == pytest.approx(math.log(4), abs=1e-3)


def test_zen_by_hand() -> None:
    """One norm of one channel with variance 4: each batch is normed by itself, and the signs flip between them."""
    images = torch.tensor([2.0, -2.0]).reshape(2, 1, 1, 1)
    network = nn.Sequential(nn.BatchNorm2d(1, eps=1e-12))
    assert zen_of(network, images, -images) == pytest.approx(math.log(2) + math.log(2))


def test_zen_needs_batch_norm() -> None:
    with pytest.raises(EvaluatorError, match=r"mine: there is no batch norm"):
        open_evaluator("proxy:score=zen").evaluate(
            replace(network_of(), name="mine", normalizer="none"), seed=0, report=no_report
        )
    assert math.isfinite(zen(network_of(), 0))


@pytest.mark.parametrize("setting", ["activation", "transform", "head", "padding"])
def test_every_network_of_the_family_has_scores(setting: str, score: str) -> None:
    plain = network_of(resolution=32)
    gated = replace(plain, blocks=tuple(replace(row, transform="squeeze_excite") for row in plain.blocks))
    specs: dict[str, ModelSpec] = {
        "activation": replace(plain, activation="hard_swish"),
        "transform": gated,
        "head": replace(plain, head=None),
        "padding": replace(plain, padding="same"),
    }
    assert math.isfinite(SCORES[score](specs[setting], 3))


def test_other_seeds_score_otherwise(score: str) -> None:
    assert SCORES[score](network_of(resolution=32), 0) != SCORES[score](network_of(resolution=32), 1)


def test_scoring_leaves_the_global_generator_alone(score: str) -> None:
    before = torch.get_rng_state()
    SCORES[score](network_of(resolution=32), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_proxy_is_a_score_with_a_warning() -> None:
    evaluator = open_evaluator("proxy")
    assert evaluator.info.name == "proxy"
    assert open_evaluator("proxy:score=zen").info.name == "proxy:score=zen"
    found = evaluator.evaluate(network_of(resolution=32), seed=0, report=no_report)
    assert (found.kind, found.metric, found.note) == ("proxy", "synflow score", WARNING)
    assert found.value > 1  # no share of anything
    with pytest.raises(ValueError, match="is not 0 <= low"):
        Accuracy(value=2.0, low=2.0, high=2.0, metric="top1", kind="trained", dataset="mine")
    with pytest.raises(UnknownNameError, match="snyflow"):
        open_evaluator("proxy:score=snyflow")


def test_a_search_for_scores_shows_no_accuracy(run: Run, tmp_path: Path) -> None:
    words = ["--space", "tiny32", "--latency-ms", "1", "--device", "simulated", "--trials", "5", "--name", "scored"]
    done = run("run", *words, "--accuracy", "proxy:score=synflow")
    assert done.code == 0, done.err
    told = " ".join(done.out.split())
    assert "proxy synflow score" in told
    assert "its sign flips between data sets" in told
    assert "(no accuracy)" in told
    assert "points" not in told.partition("ship ")[2]
    assert "interval] %" not in told
    head, first = (tmp_path / "results" / "scored" / "front.csv").read_text().splitlines()[:2]
    assert "accuracy" not in head
    assert "score_kind" in head
    assert float(first.split(",")[1]) > 1
    front = next((tmp_path / "results" / "scored" / "front").iterdir()).read_text()
    assert "# proxy synflow score" in front
    assert "%, 95" not in front.splitlines()[2]


def test_correlations_are_those_of_ranks() -> None:
    found = scores("tiny32", score=("synflow",), networks=6, seed=1)
    again = scores("tiny32", score=("synflow",), networks=6, seed=1)
    assert found == again
    assert found.count == 6
    assert len(set(found.values["multiply-adds"])) == 6
    assert found.spearman("synflow", "synflow") == pytest.approx(1.0)
    turned = replace(found, values={**found.values, "depth": tuple(-value for value in found.values["synflow"])})
    assert turned.spearman("synflow", "depth") == pytest.approx(-1.0)


def test_what_is_the_same_throughout_has_no_correlation() -> None:
    space = loads("mnv2search: 1\nname: flat\nresolution: [32, 40, 48, 56]\nblocks:\n  - [1, 16, 1, 2]\n")
    assert isinstance(space, SearchSpace)
    found = scores(space, score=("synflow",), networks=9)
    assert found.count == 4
    assert found.spearman("synflow", "depth") is None
    assert found.spearman("synflow", "multiply-adds") is not None
    few = loads("mnv2search: 1\nname: few\nresolution: [32, 40]\nblocks:\n  - [1, 16, 1, 2]\n")
    assert isinstance(few, SearchSpace)
    with pytest.raises(OptionError, match="2 networks of few are too few"):
        scores(few, score=("synflow",))


def test_scores_of_a_space_are_shown(run: Run) -> None:
    told = json.loads(run("scores", "tiny32", "-n", "4", "--score", "synflow", "--score", "naswot", "--json").out)
    assert set(told["spearman"]) == {"synflow", "naswot"}
    assert set(told["spearman"]["naswot"]) == {"depth", "multiply-adds", "body parameters", "synflow", "naswot"}
    shown = run("scores", "tiny32", "-n", "4", "--score", "synflow")
    assert "correlation of scores with counts on 4 networks of tiny32" in shown.out
    assert "a score, no accuracy, and its sign flips" in " ".join(shown.out.split())
    done = run("scores", "tiny32", "--score", "zne")
    assert (done.code, "did you mean zen?" in done.err) == (2, True)
