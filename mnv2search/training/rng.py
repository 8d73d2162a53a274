"""Random numbers of a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_draws(device: str) -> Iterator[None]:
    """Restore torch's random state afterwards."""
    used = torch.device(device)
    with torch.random.fork_rng(enabled=True, devices=[used.index or 0] if used.type == "cuda" else []):
        yield
