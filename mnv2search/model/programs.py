"""Programs of torch.export, which hold the spec of their network beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from mnv2search.errors import WeightsError

__all__ = ["SUFFIX", "read_program", "write_program"]

SUFFIX = ".pt2"
# The file inside that torch leaves alone.
TOLD = "mnv2search.json"


def write_program(program: torch.export.ExportedProgram, to: IO[bytes], *, told: Mapping[str, Any]) -> None:
    """Write a program with what is told of its network, as JSON values."""
    torch.export.save(program, to, extra_files={TOLD: json.dumps(told)})


def read_program(path: Path) -> dict[str, Any]:
    """What was told of the network of a program, and its weights as ``state_dict``.

    Raises:
        WeightsError: it was written without a word of the network.
        OSError, RuntimeError, ValueError, LookupError: it is no such file.
    """
    held = {TOLD: ""}
    program = torch.export.load(path, extra_files=held)
    if not held[TOLD]:
        raise WeightsError(
            f"{path} does not say which network it holds", hint="give the .pt file of the same network"
        )
    return {**json.loads(held[TOLD]), "state_dict": dict(program.state_dict)}
