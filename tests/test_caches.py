"""The folders of caches follow the environment variables of the libraries that fill them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mnv2search.caches import cache_folder, hub_datasets, hub_models, torch_checkpoints


@pytest.mark.parametrize(
    ("folder", "environment", "expected"),
    [
        (cache_folder, {"MNV2SEARCH_CACHE": "/own", "XDG_CACHE_HOME": "/xdg"}, "/own"),
        (torch_checkpoints, {"XDG_CACHE_HOME": "/xdg"}, "/xdg/torch/hub/checkpoints"),
        (hub_models, {"HF_HUB_CACHE": "/models", "HF_HOME": "/hf"}, "/models"),
        (hub_models, {"XDG_CACHE_HOME": "/xdg"}, "/xdg/huggingface/hub"),
        (hub_datasets, {"HF_DATASETS_CACHE": "/sets", "HF_HOME": "/hf"}, "/sets"),
    ],
    ids=["ours", "torch", "own models", "models", "datasets"],
)
def test_a_folder_follows_the_environment(
    folder: Callable[[Mapping[str, str]], Path], environment: dict[str, str], expected: str
) -> None:
    assert folder(environment).as_posix() == expected


def test_a_user_without_a_home_folder_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert cache_folder({}).as_posix() == "~/.cache/mnv2search"
