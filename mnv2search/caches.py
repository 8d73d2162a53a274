"""Cache folders of mnv2search and of the libraries that download weights and datasets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_folder(environment: Mapping[str, str]) -> Path:
    """The cache folder of mnv2search: `$MNV2SEARCH_CACHE`, else under `$XDG_CACHE_HOME`, else under ``~/.cache``.

    >>> cache_folder({"XDG_CACHE_HOME": "/var/cache"}).as_posix()
    '/var/cache/mnv2search'
    """
    chosen = environment.get("MNV2SEARCH_CACHE")
    return Path(chosen) if chosen else _user_cache(environment) / "mnv2search"


def torch_checkpoints(environment: Mapping[str, str]) -> Path:
    """The folder of files that torch.hub downloads, such as weights of torchvision.

    Source: torch 2.13, torch/hub.py, `get_dir` and `_get_torch_home`.

    >>> torch_checkpoints({"TORCH_HOME": "/torch"}).as_posix()
    '/torch/hub/checkpoints'
    """
    home = environment.get("TORCH_HOME") or _user_cache(environment) / "torch"
    return Path(home, "hub", "checkpoints")


def hub_models(environment: Mapping[str, str]) -> Path:
    """The folder of models that huggingface_hub downloads, such as weights of timm.

    Source: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables

    >>> hub_models({"HF_HOME": "/hf"}).as_posix()
    '/hf/hub'
    """
    return Path(environment.get("HF_HUB_CACHE") or _hub_home(environment) / "hub")


def hub_datasets(environment: Mapping[str, str]) -> Path:
    """The folder of datasets that the library `datasets` downloads.

    Source: https://huggingface.co/docs/datasets/cache

    >>> hub_datasets({"HF_HOME": "/hf"}).as_posix()
    '/hf/datasets'
    """
    return Path(environment.get("HF_DATASETS_CACHE") or _hub_home(environment) / "datasets")


def _hub_home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HF_HOME") or _user_cache(environment) / "huggingface")


def _user_cache(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
