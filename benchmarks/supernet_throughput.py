"""A step of our supernet's training beside one of once-for-all's, on the same space, images and processor.

Run: `pip install ofa && python benchmarks/supernet_throughput.py [--side 96] [--batch 32] [--rounds 8] [--threads 1]`

The space is once-for-all's own for MobileNetV2 blocks (`OFAProxylessNASNets`: kernels 3, 5, 7, expansions 3, 4, 6,
depths 2, 3, 4), written in our language. Its step is that of `ofa/imagenet_classification/elastic_nn/training/
progressive_shrinking.py`, `train_one_epoch`, with knowledge distillation: the answers of the full network, then
`dynamic_batch_size` networks there and back, then the optimizer. Steps alternate; times are of the processor. Two
comparisons: each with the networks that it draws itself, and both with the very same networks. torchvision, which
`ofa` imports for its images, plays no part in a step and is left out.
"""

from __future__ import annotations

import argparse
import platform
import random
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from mnv2search.model.elastic import ElasticNet, smallest_and_largest
from mnv2search.recipe import load_recipe
from mnv2search.spec.space import Pick, SearchSpace, canonical, random_pick
from mnv2search.spec.yaml.codec import loads
from mnv2search.supernet.train import backpropagate
from mnv2search.training.optimizers import optimizer_of

SPACE = """
mnv2search: 1
name: once-for-all
resolution: {side}
stem: {{c: 32, k: 3, s: 2}}
blocks:
  - {{t: 1, c: 16, n: 1, s: 1}}
  - {{c: 24, n: [2, 3, 4], s: 2, each: {{t: [3, 4, 6], k: [3, 5, 7]}}}}
  - {{c: 40, n: [2, 3, 4], s: 2, each: {{t: [3, 4, 6], k: [3, 5, 7]}}}}
  - {{c: 80, n: [2, 3, 4], s: 2, each: {{t: [3, 4, 6], k: [3, 5, 7]}}}}
  - {{c: 96, n: [2, 3, 4], s: 1, each: {{t: [3, 4, 6], k: [3, 5, 7]}}}}
  - {{c: 192, n: [2, 3, 4], s: 2, each: {{t: [3, 4, 6], k: [3, 5, 7]}}}}
  - {{c: 320, n: 1, s: 1, t: [3, 4, 6], k: [3, 5, 7]}}
last: 1280
head: {{classes: 1000, dropout: 0.1}}
"""
LR = 0.01


class Theirs:
    """once-for-all's network with its optimizer and its teacher."""

    def __init__(self) -> None:
        _without_torchvision()
        from ofa.imagenet_classification.elastic_nn.networks import OFAProxylessNASNets

        options = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}
        self.net: Any = OFAProxylessNASNets(**options)
        self.teacher: Any = OFAProxylessNASNets(**options)
        for net in (self.net, self.teacher):
            net.set_max_net()
            net.train()
        self.optimizer = torch.optim.SGD(self.net.parameters(), LR, momentum=0.9, nesterov=True)

    def step(self, images: torch.Tensor, labels: torch.Tensor, settings: list[dict[str, Any] | None]) -> None:
        """One step as theirs; None draws a network as they do."""
        with torch.no_grad():
            told = functional.softmax(self.teacher(images).detach(), dim=1)
        self.net.zero_grad()
        for setting in settings:
            if setting is None:
                self.net.sample_active_subnet()
            else:
                self.net.set_active_subnet(**setting)
            output = self.net(images)
            soft = torch.mean(torch.sum(-told * functional.log_softmax(output, dim=1), 1))
            loss = soft + functional.cross_entropy(output, labels)
            loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


class Ours:
    """Our network with its optimizer."""

    def __init__(self, space: SearchSpace) -> None:
        self.space, self.net = space, ElasticNet(space).train()
        self.recipe = load_recipe("supernet")
        self.optimizer = optimizer_of(self.net, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = LR
        self.smallest, self.largest = smallest_and_largest(space)

    def step(self, images: torch.Tensor, labels: torch.Tensor, picks: list[Pick]) -> None:
        """One step."""
        self.optimizer.zero_grad(set_to_none=True)
        backpropagate(self.net, [self.net.place(p) for p in picks], images, labels)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip_norm)
        self.optimizer.step()


def _without_torchvision() -> None:
    """Stand-ins for what `ofa` imports of torchvision and its step does not use."""
    for name in (
        "torchvision",
        "torchvision.transforms",
        "torchvision.transforms.functional",
        "torchvision.datasets",
    ):
        sys.modules.setdefault(name, types.ModuleType(name))
    transforms = sys.modules["torchvision.transforms"]
    for name in ("RandomResizedCrop", "Resize", "RandomCrop"):
        setattr(transforms, name, type(name, (), {}))
    for parent, child in (
        ("torchvision", "transforms"),
        ("torchvision", "datasets"),
        ("torchvision.transforms", "functional"),
    ):
        setattr(sys.modules[parent], child, sys.modules[f"{parent}.{child}"])


def theirs_of(space: SearchSpace, pick: Pick) -> dict[str, Any]:
    """once-for-all's setting of the network of a pick."""
    chosen = {axis.at: axis.options[i] for axis, i in zip(space.axes, pick, strict=True)}
    kernels, expansions = [], []
    for row in range(1, 6):
        for repeat in range(4):
            kernels.append(chosen[f"blocks[{row}].each[{repeat}].kernel"])
            expansions.append(chosen[f"blocks[{row}].each[{repeat}].expansion"])
    kernels.append(chosen["blocks[6].kernel"])
    expansions.append(chosen["blocks[6].expansion"])
    depths = [chosen[f"blocks[{row}].repeats"] for row in range(1, 6)]
    return {"ks": kernels, "e": expansions, "d": depths}


def timed(run: Callable[[], None]) -> float:
    """Seconds of the processor."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def main() -> None:
    """Alternate steps, print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=96, help="of the images, px")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=8, help="steps of each, in either comparison")
    parser.add_argument("--networks", type=int, default=4, help="trained in a step (their dynamic_batch_size)")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    space = loads(SPACE.format(side=arguments.side))
    assert isinstance(space, SearchSpace)
    theirs, ours = Theirs(), Ours(space)
    _check_counts(theirs, ours)
    images = torch.randn(arguments.batch, 3, arguments.side, arguments.side)
    fast = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (arguments.batch,))
    rng = random.Random(0)
    rows: dict[str, list[tuple[float, float]]] = {"own draws": [], "the same networks": []}
    for number in range(-1, arguments.rounds):
        drawn = [canonical(space, random_pick(space, rng)) for _ in range(arguments.networks)]
        sandwich = [ours.largest, ours.smallest, *drawn[2:]]
        own = (
            timed(lambda: ours.step(fast, labels, sandwich)),  # noqa: B023
            timed(lambda: theirs.step(images, labels, [None] * arguments.networks)),
        )
        same = (
            timed(lambda: ours.step(fast, labels, drawn)),  # noqa: B023
            timed(lambda: theirs.step(images, labels, [theirs_of(space, p) for p in drawn])),  # noqa: B023
        )
        if number >= 0:  # the first round warms up
            rows["own draws"].append(own)
            rows["the same networks"].append(same)
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {arguments.threads} thread(s), "
        f"batch {arguments.batch}, {arguments.side} px, {arguments.networks} networks a step, "
        f"{arguments.rounds} rounds\n"
    )
    print("| networks | ours, images/s and core | once-for-all, images/s and core | ratio, median [quartiles] |")
    print("|---|---|---|---|")
    for name, times in rows.items():
        mine, other = np.array(times).T
        low, middle, high = np.quantile(other / mine, (0.25, 0.5, 0.75))
        rates = arguments.batch / np.median(mine), arguments.batch / np.median(other)
        print(f"| {name} | {rates[0]:.1f} | {rates[1]:.1f} | {middle:.2f} [{low:.2f}, {high:.2f}] |")


def _check_counts(theirs: Theirs, ours: Ours) -> None:
    """Both largest networks have the same parameters, kernel transformations aside."""
    transforms = sum(p.numel() for n, p in theirs.net.named_parameters() if n.endswith("_matrix"))
    counted = sum(p.numel() for p in theirs.net.parameters()) - transforms
    mine = sum(p.numel() for p in ours.net.parameters())
    if counted != mine:
        raise SystemExit(f"the spaces differ: {mine} parameters here, {counted} there")


if __name__ == "__main__":
    main()
