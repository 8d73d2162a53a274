"""Random numbers of torch that depend on the seed and the number of the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_step(seed: int, step: int, rank: int) -> None:
    """Set torch's generators for a step of one of the processes that train together."""
    torch.manual_seed((seed * 1_000_003 + step * 7919 + rank * 15_485_863 + 17) % (2**63))


@contextmanager
def own_draws(device: str) -> Iterator[None]:
    """Leave torch's generators as they were."""
    used = torch.device(device)
    with torch.random.fork_rng(enabled=True, devices=[used.index or 0] if used.type == "cuda" else []):
        yield
