"""Training-free scores, which rank networks with random weights on random images.

A score that ranks networks well on one dataset may reverse the order on another. Each score follows the formula of
its paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from mnv2search.accuracy.evaluator import Evaluator, Report, changed_options
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.errors import EvaluatorError, UnknownNameError
from mnv2search.model.blocks import SqueezeExcite
from mnv2search.model.build import MobileNet, build
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.size import Size

Score: TypeAlias = Callable[[ModelSpec, int], float]
"""Function of a network and a seed."""

WARNING = (
    "a score, no accuracy, and its sign flips between data sets: among networks of equal multiply-adds its "
    "correlation with accuracy is +0.81 on CIFAR-10 and -0.57 on ImageNet for NASWOT, +0.3 at most and -0.39 for "
    "synflow"
)
SWITCHES = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU)
NASWOT_IMAGES = 32
ZEN_IMAGES, ZEN_SHIFT = 16, 0.01


def synflow(spec: ModelSpec, seed: int) -> float:
    """Decadic logarithm of synaptic flow; raises as `synflow_of`."""
    return synflow_of(build(spec, seed=seed), spec.size)


def naswot(spec: ModelSpec, seed: int) -> float:
    """Diversity of activation patterns over 32 random images; raises as `naswot_of`."""
    images = torch.randn(NASWOT_IMAGES, 3, *spec.size, generator=_generator(seed))
    return naswot_of(build(replace(spec, head=None), seed=seed), images)  # a classifier has no activations


def zen(spec: ModelSpec, seed: int) -> float:
    """Sensitivity of the features to the images without batch norms; raises as `zen_of`.

    Weights are standard normal and shortcuts are left out, as in the paper.
    """
    plain = replace(spec, head=None, blocks=tuple(replace(row, residual="off") for row in spec.blocks))
    generator = _generator(seed)
    model = build(plain, seed=seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, generator=generator)
    shape = ZEN_IMAGES, 3, *spec.size
    images, noise = (torch.randn(shape, generator=generator) for _ in range(2))
    return zen_of(model, images, images + ZEN_SHIFT * noise)


SCORES: Mapping[str, Score] = {"naswot": naswot, "synflow": synflow, "zen": zen}


def synflow_of(model: nn.Module, size: Size) -> float:
    """Decadic logarithm of the sum of ``|w| dR/d|w|`` over the weights of all convolutions and linear layers.

    R is the sum of the predictions for an image of ones, with the absolute values of all parameters and without
    activations, so that the network is linear in each layer; the model is changed in place. Detectors and segmenters
    are scored by the predictions that a loss is computed on, since `head.output` is not linear.

    Raises:
        EvaluatorError: the sum is not above 0, for instance because all weights are zero.

    Source: Tanaka et al., arXiv 2006.05467, equation 3 and algorithm 1.
    """
    _make_linear(model)
    model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    answers = model.predictions if isinstance(model, MobileNet) else model
    flow = answers(torch.ones(1, 3, *size, dtype=torch.float64)).sum()
    slopes = torch.autograd.grad(flow, weights)
    total = sum(float((w.detach() * g).sum()) for w, g in zip(weights, slopes, strict=True))
    if not 0 < total < math.inf:
        raise EvaluatorError(f"the sum of synaptic flow is {total:g}", hint="use another score")
    return math.log10(total)


@torch.no_grad()
def naswot_of(model: nn.Module, images: Tensor) -> float:
    """Log determinant of the matrix of equal activation states for each pair of images.

    Raises:
        EvaluatorError: the network has no activations.

    Source: Mellor et al., arXiv 2006.04647, equations 2 and 3.
    """
    agreed = torch.zeros(len(images), len(images), dtype=torch.float64)

    def look(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> None:
        on = (out > 0).flatten(1).float()
        agreed.add_((on @ on.T + (1 - on) @ (1 - on).T).double())

    switches = list(_switches(model))
    if not switches:
        raise EvaluatorError("there is no activation that switches", hint="use another score")
    with ExitStack() as hooks:
        for switch in switches:
            hooks.enter_context(switch.register_forward_hook(look))
        model.train()(images)
    return float(torch.linalg.slogdet(agreed).logabsdet)


@torch.no_grad()
def zen_of(model: nn.Module, images: Tensor, moved: Tensor) -> float:
    """Logarithm of the mean distance of two batches' outputs, times the scales that batch norms remove.

    The scale of a norm is the root of the mean variance of its input channels.

    Raises:
        EvaluatorError: the network has no batch norm.

    Source: Lin et al., arXiv 2102.01063, algorithm 1.
    """
    scales: list[float] = []

    def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        scales.append(0.5 * math.log(float(given[0].var((0, 2, 3), correction=0).mean()) + 1e-30))

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        raise EvaluatorError("there is no batch norm, which the zen score rests on", hint="use another score")
    model.train()
    with ExitStack() as hooks:
        for norm in norms:
            hooks.enter_context(norm.register_forward_pre_hook(look))
        answers = model(images)
    distance = (answers - model(moved)).flatten(1).norm(dim=1).mean()
    return math.log(float(distance) + 1e-30) + sum(scales)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _switches(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, SWITCHES):
            yield child
        elif not isinstance(child, SqueezeExcite):
            yield from _switches(child)


def _make_linear(module: nn.Module) -> None:
    """Replace activations by the identity, except in squeeze-excite gates."""
    for name, child in module.named_children():
        if isinstance(child, SWITCHES):
            setattr(module, name, nn.Identity())
        elif not isinstance(child, SqueezeExcite):
            _make_linear(child)


SCORE = "synflow"


class ProxyEvaluator(Evaluator):
    """Scores networks with random weights on random images, by one of `SCORES`."""

    def __init__(self, *, score: str = SCORE) -> None:
        if score not in SCORES:
            raise UnknownNameError("score", score, SCORES)
        self._name = score

    @property
    def info(self) -> EvaluatorInfo:
        """Meaning of the scores."""
        changed = changed_options(score=(self._name, SCORE)).removesuffix(",")
        name = f"proxy:{changed}" if changed else "proxy"
        return EvaluatorInfo(name=name, kind="proxy", dataset="none", metric=f"{self._name} score", detail=WARNING)

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        """The score of `spec`."""
        del report
        try:
            value = SCORES[self._name](spec, seed)
        except EvaluatorError as error:
            raise EvaluatorError(f"{spec.name}: {error.message}", hint=error.hint) from error
        if not math.isfinite(value):
            raise EvaluatorError(f"{spec.name}: its {self._name} score is {value}", hint="use another score")
        metric = self.info.metric
        return Accuracy(
            value=value, low=value, high=value, metric=metric, kind="proxy", dataset="none", seed=seed, note=WARNING
        )
