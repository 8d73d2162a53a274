"""How fast this machine trains."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from mnv2search.cost import cost_of
from mnv2search.spec.plan import Plan

__all__ = ["training_rate"]

BATCH = 32


def training_rate(
    networks: Sequence[tuple[Callable[[torch.Tensor], torch.Tensor], Plan]],
    *,
    device: str,
    most_s: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Multiply-adds (of one evaluation) that a second of training is worth here, by a pass there and back of each.

    Args:
        networks: what answers images (N, 3, H, W) with logits, and its plan, cheapest first; the first only warms up.
        device: of torch.
        most_s: that it may take; networks for which the others say that they would take longer are left out.
        clock: monotonic clock in seconds.
    """
    done, spent_s, left_s = 0.0, 0.0, most_s
    for number, (net, laid_out) in enumerate(networks):
        madds = cost_of(laid_out).madds * BATCH
        if done and madds * spent_s / done > left_s:
            break
        images = torch.rand(BATCH, 3, *laid_out.spec.size).contiguous(memory_format=torch.channels_last).to(device)
        begin = clock()
        answers = net(images)
        functional.cross_entropy(answers, torch.zeros(BATCH, dtype=torch.long, device=device)).backward()  # type: ignore[no-untyped-call]
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        took_s = clock() - begin
        left_s -= took_s
        if number:
            spent_s += took_s
            done += madds
    return done / max(spent_s, 1e-9)
