"""Our MobileNetV2 against one written from the paper alone, and the mistakes that this comparison must catch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from model_specs import PAPER_ROWS, images, lively, mobilenet_v2
from torch import Tensor
from torch.nn import functional

from mnv2search.model import blocks
from mnv2search.model.build import build
from mnv2search.spec import layout, model_spec
from mnv2search.spec.layers import Unit
from mnv2search.spec.model_spec import BatchNorm, BlockSpec, ModelSpec


def paper_channels(width: float) -> list[int]:
    """Widths of stem, blocks and last convolution: multiples of 8, at least 8, and at least 90 % of the product.

    Source: tensorflow/models, research/slim/nets/mobilenet/mobilenet.py, worked out by listing multiples.
    """
    wanted = [32] + [c for _, c, n, _ in PAPER_ROWS for _ in range(n)]
    multiples = range(8, 4096, 8)
    scaled = [next(m for m in multiples if m >= 0.9 * c * width and m > c * width - 4 - 1e-9) for c in wanted]
    return [*scaled, 1280 if width < 1 else next(m for m in multiples if m > 1280 * width - 4 - 1e-9)]


def paper_shapes(width: float) -> list[tuple[int, ...]]:
    """Shapes of all kernels of the paper's Table 2, in the order of computation."""
    stem, *body, last = paper_channels(width)
    shapes: list[tuple[int, ...]] = [(stem, 3, 3, 3)]
    expansions = [t for t, _, n, _ in PAPER_ROWS for _ in range(n)]
    for (c_in, c_out), t in zip(pairwise([stem, *body]), expansions, strict=True):
        shapes += [(t * c_in, c_in, 1, 1)] if t > 1 else []
        shapes += [(t * c_in, 1, 3, 3), (c_out, t * c_in, 1, 1)]
    return [*shapes, (last, body[-1], 1, 1), (1000, last)]


def paper_answer(tensors: Iterator[Tensor], x: Tensor) -> Tensor:
    """Logits by the paper's Table 1 and Table 2, from the tensors of a state dict in order."""

    def convolved(x: Tensor, *, stride: int = 1, bounded: bool = True) -> Tensor:
        weight, gamma, beta, mean, var, _ = (next(tensors) for _ in range(6))
        groups = x.shape[1] // weight.shape[1]
        y = functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, groups)
        scale = gamma / (var + 1e-5).sqrt()
        y = y * scale[:, None, None] + (beta - mean * scale)[:, None, None]
        return y.clamp(0, 6) if bounded else y

    x = convolved(x, stride=2)
    for t, _, n, s in PAPER_ROWS:
        for repeat in range(n):
            y = convolved(x) if t > 1 else x
            y = convolved(y, stride=s if repeat == 0 else 1)
            y = convolved(y, bounded=False)
            x = y + x if repeat else y
    x = convolved(x).mean(dim=(2, 3))
    return x @ next(tensors).T + next(tensors)


def agrees(spec: ModelSpec, width: float) -> bool:
    """Whether the network of `spec` is the paper's at this width: all shapes, and the answers to random images."""
    model = lively(spec).double()
    kernels = [tuple(tensor.shape) for tensor in model.state_dict().values() if tensor.ndim > 1]
    if kernels != paper_shapes(width):
        return False
    x = images(spec, count=2).double()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.mul_(2)  # so that some values meet the bound of 6
        expected, found = paper_answer(iter(model.state_dict().values()), x), model(x)
    return bool((expected - found).abs().max() <= 1e-9 * expected.abs().max())


@pytest.fixture
def fresh_plans() -> Iterator[None]:
    """Plans worked out anew, and none kept that a test has spoilt."""
    caches = (layout.block_unit, layout.plain_unit, layout.classifier_unit)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.0, 1.3, 1.4])
def test_network_is_the_papers(width: float) -> None:
    assert agrees(mobilenet_v2(width=width, resolution=64), width)


def swapped() -> ModelSpec:
    """t and c swapped in the second row."""
    rows = list(mobilenet_v2().blocks)
    rows[1] = replace(rows[1], expansion=24, channels=6)
    return mobilenet_v2(blocks=tuple(rows), width=0.35, resolution=64)


def with_row(index: int, **changes: object) -> ModelSpec:
    rows = list(mobilenet_v2().blocks)
    rows[index] = replace(rows[index], **changes)  # type: ignore[arg-type]
    return mobilenet_v2(blocks=tuple(rows), width=0.35, resolution=64)


MISTAKEN_SPECS: dict[str, Callable[[], ModelSpec]] = {
    "t-and-c-swapped": swapped,
    "one-repeat-too-many": lambda: with_row(2, repeats=4),
    "stride-missing": lambda: with_row(3, stride=1),
    "residual-off": lambda: with_row(3, residual="off"),
    "activated-projection": lambda: with_row(4, projection_activation="relu6"),
    "other-activation": lambda: with_row(5, activation="relu"),
    "other-padding": lambda: mobilenet_v2(width=0.35, resolution=64, padding="same"),
    "other-epsilon": lambda: mobilenet_v2(width=0.35, resolution=64, batch_norm=BatchNorm(eps=1e-2)),
    "last-scaled": lambda: mobilenet_v2(width=0.35, resolution=64, keep_last="never"),
}


@pytest.mark.parametrize("mistaken", MISTAKEN_SPECS.values(), ids=MISTAKEN_SPECS.keys())
def test_mistaken_spec_is_noticed(mistaken: Callable[[], ModelSpec]) -> None:
    assert not agrees(mistaken(), 0.35)


def without_residual(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(blocks.Block, "forward", lambda self, x: self.conv(x))


def round_with(patch: pytest.MonkeyPatch, rounded: Callable[..., int]) -> None:
    patch.setattr(model_spec, "make_divisible", rounded)
    patch.setattr(layout, "make_divisible", rounded)


def rounding_down(patch: pytest.MonkeyPatch) -> None:
    round_with(patch, lambda v, d, least=None: max(least or d, int(v) // d * d))


def without_the_tenth(patch: pytest.MonkeyPatch) -> None:
    """Rounds to the nearest multiple, though that takes away more than a tenth."""
    round_with(patch, lambda v, d, least=None: max(least or d, int(v + d / 2) // d * d))


def stride_one_block_late(patch: pytest.MonkeyPatch) -> None:
    laid_out, held = layout.block_unit, [1]

    def late(block: BlockSpec, c_in: int, c_out: int, stride: int, dilation: int, side: int, *rest: str) -> Unit:
        held.append(stride)
        return laid_out(block, c_in, c_out, held.pop(0), dilation, side, *rest)

    patch.setattr(model_spec, "block_unit", late)


def stride_in_every_repeat(patch: pytest.MonkeyPatch) -> None:
    laid_out = layout.block_unit

    def often(block: BlockSpec, c_in: int, c_out: int, stride: int, *rest: object) -> Unit:
        return laid_out(block, c_in, c_out, block.stride, *rest)

    patch.setattr(model_spec, "block_unit", often)


def norm_without_activation(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(blocks.ACTIVATIONS, "relu6", torch.nn.Identity)


MUTATIONS = (
    without_residual,
    rounding_down,
    without_the_tenth,
    stride_one_block_late,
    stride_in_every_repeat,
    norm_without_activation,
)


@pytest.mark.usefixtures("fresh_plans")
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_mistaken_code_is_noticed(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    assert not agrees(mobilenet_v2(width=0.35, resolution=64), 0.35)


def test_network_is_that_of_an_independent_package() -> None:
    """pytorchcv's `mobilenetv2b_w1` is the paper's network with a last convolution that has no bias."""
    models = pytest.importorskip("pytorchcv.models.mobilenetv2", reason="the package pytorchcv is not installed")
    spec = mobilenet_v2(resolution=96)
    model = build(spec, seed=0).eval()
    theirs = models.mobilenetv2b_w1(in_size=(96, 96)).eval()
    theirs.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    source = list(theirs.state_dict().values())
    state = dict(zip(model.state_dict(), [*source, torch.zeros(1000)], strict=True))
    state["classifier.1.weight"] = state["classifier.1.weight"].flatten(1)
    model.load_state_dict(state)
    with torch.no_grad():
        expected, found = theirs(images(spec)), model(images(spec))
    assert (expected - found).abs().max() <= 1e-5 * expected.abs().max()
