"""Whether a results folder may make this machine run programs, connect elsewhere or read data.

A run remembers, in this user's cache folder, a digest of the texts by which it was started. A folder is trusted where
its manifest has those very texts, wherever it was moved; one that somebody else made, or edited, is not.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from mnv2search.accuracy.registry import evaluator_effects
from mnv2search.errors import RecordError
from mnv2search.latency.cache import default_folder
from mnv2search.latency.registry import device_effects
from mnv2search.records import Manifest
from mnv2search.untrusted import escaped

__all__ = ["check_trust", "remember"]

FOLDER = "trusted"


def remember(manifest: Manifest) -> tuple[str, ...]:
    """Trust folders of this run from now on; what to tell the user where that cannot be written."""
    if not _effects(manifest):
        return ()
    path = _path(manifest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError as error:
        return (f"{path.parent} cannot be written ({error.strerror}): to go on with this run will take --trust",)
    return ()


def check_trust(folder: Path, manifest: Manifest, *, hint: str, evaluates: bool = True) -> None:
    """Refuse a folder with effects beyond measuring here, unless this user began that run on this machine.

    Args:
        folder: of the run.
        manifest: of that folder.
        hint: what to do where it is not trusted.
        evaluates: whether its evaluator is opened, too.

    Raises:
        RecordError: it may run programs, connect to other machines or read data; says which.
    """
    effects = _effects(manifest) if evaluates else device_effects(manifest.device.name)
    if not effects or _is_ours(_path(manifest)):
        return
    told = "\n".join(f"  {effect}" for effect in effects)
    raise RecordError(
        escaped(f"{folder} is not known to be a run of yours on this machine, and its manifest asks to\n{told}"),
        hint=hint,
    )


def _effects(manifest: Manifest) -> tuple[str, ...]:
    return (*device_effects(manifest.device.name), *evaluator_effects(manifest.evaluator))


def _path(manifest: Manifest) -> Path:
    """The file that stands for the texts of a run: those that are opened, and the space they are opened for."""
    texts = json.dumps([manifest.device.name, manifest.evaluator, manifest.space])
    return default_folder(os.environ).parent / FOLDER / hashlib.sha256(texts.encode()).hexdigest()


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.getuid()
    except OSError:
        return False
