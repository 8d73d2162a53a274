"""Distributed training by several processes started with torchrun.

The processes communicate by torch.distributed, with gloo on CPUs and NCCL on GPUs. A single process does not
communicate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn

from mnv2search.errors import Mnv2SearchError, OptionError

T = TypeVar("T")
# Timeout while the first process of a machine decodes the images, or evaluates at the end, and the others wait.
PATIENCE = timedelta(hours=2)


class OtherProcessError(Mnv2SearchError):
    """Another process of the team failed, and reported the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """This process (`rank`) of `size` processes that train together; only rank 0, the leader, writes and reports."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: str = "cpu"

    @property
    def is_leader(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def shared(self, network: nn.Module) -> nn.Module:
        """Wrap a network to start from the leader's weights and to average gradients over all processes."""
        if self.size == 1:
            return network
        placed = torch.device(self.device)
        return nn.parallel.DistributedDataParallel(network, device_ids=[placed] if placed.type == "cuda" else None)

    def sums(self, values: Sequence[float]) -> tuple[float, ...]:
        """The sum of each value over all processes."""
        if self.size == 1:
            return tuple(values)
        added = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(added)
        return tuple(added.tolist())

    def take_buffers(self, network: nn.Module) -> None:
        """Copy the leader's batch norm statistics, which differ between processes."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)

    def agreed(self, make: Callable[[], T]) -> T:
        """The leader's value in every process; if the leader fails, the others raise `OtherProcessError`."""
        made, failure = _tried(make) if self.is_leader else (None, None)
        self._refuse(failure)
        values = [made]
        if self.size > 1:
            distributed.broadcast_object_list(values, 0)
        return values[0]  # type: ignore[return-value]

    def in_turn(self, make: Callable[[], T]) -> T:
        """Compute a value in the first process of each machine, then in the others, which find its files.

        If a first process fails, the others raise `OtherProcessError`.
        """
        made, failure = _tried(make) if self.local_rank == 0 else (None, None)
        self._refuse(failure)
        return make() if made is None else made

    def _refuse(self, failure: Mnv2SearchError | None) -> None:
        failed, code = self.sums([float(failure is not None), 0.0 if failure is None else float(failure.exit_code)])
        if failure is not None:
            raise failure
        if failed:
            other = OtherProcessError("another process has failed", hint="see its message")
            other.exit_code = round(code / failed)  # torchrun returns the code of the process that ends first
            raise other


ALONE = Team()


def own_device() -> str:
    """The torch device of a single process: CUDA if available."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def joined(accelerator: str) -> Iterator[Team]:
    """Join the team of processes started by torchrun; without torchrun, yields a team of one process.

    `accelerator` is ``cpu``, ``cuda``, or ``auto``, which takes CUDA if it is available.

    Raises:
        OptionError: there is no CUDA device, or fewer CUDA devices than processes on this machine.
    """
    is_cuda = torch.cuda.is_available() if accelerator == "auto" else accelerator == "cuda"
    if is_cuda and not torch.cuda.is_available():
        raise OptionError("there is no CUDA device here", hint="leave out --accelerator")
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        yield Team(device="cuda" if is_cuda else "cpu")
        return
    local_rank = distributed.get_node_local_rank()
    if is_cuda:
        if local_rank >= (count := torch.cuda.device_count()):
            raise OptionError(
                f"there are {count} CUDA devices here, fewer than processes", hint=f"use --nproc-per-node {count}"
            )
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if is_cuda else "gloo", timeout=PATIENCE)
    try:
        yield Team(
            rank=distributed.get_rank(),
            size=distributed.get_world_size(),
            local_rank=local_rank,
            device=f"cuda:{local_rank}" if is_cuda else "cpu",
        )
    finally:
        distributed.destroy_process_group()


def _tried(make: Callable[[], T]) -> tuple[T | None, Mnv2SearchError | None]:
    try:
        return make(), None
    except Mnv2SearchError as error:
        return None, error
