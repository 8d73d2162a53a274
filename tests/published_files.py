"""Files of weights in the places where other libraries keep them, with random numbers in place of trained ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mnv2search.model.build import build
from mnv2search.model.weights import places
from mnv2search.spec.catalog import entry

__all__ = ["NETWORK", "hub_snapshot", "only_places", "save_state", "torch_cache"]

NETWORK = "mobilenetv2_035"


def only_places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are looked for in this folder alone, not in packages and caches of the machine."""
    monkeypatch.setattr(places, "PACKAGES", ())
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))


def torch_cache(folder: Path) -> Path:
    """The folder where torch.hub keeps files."""
    found = folder / "torch" / "hub" / "checkpoints"
    found.mkdir(parents=True, exist_ok=True)
    return found


def hub_snapshot(folder: Path, repository: str, *, revision: str = "one", is_main: bool = True) -> Path:
    """The folder where huggingface_hub keeps a revision of a model."""
    model = folder / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = model / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir(exist_ok=True)
    if is_main:
        (model / "refs" / "main").write_text(revision)
    return snapshot


def save_state(path: Path, network: str = NETWORK) -> Path:
    """A state dict of a network of the catalogue, as `torch.save` writes it."""
    torch.save(build(entry(network).spec, seed=0).state_dict(), path)
    return path
