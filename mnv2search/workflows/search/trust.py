"""Trust in results folders: which may run programs, connect to other machines or read data.

When a run starts, a digest of its device, accuracy and space is stored in the user's cache folder. A results folder
is trusted if its manifest has a stored digest, wherever the folder is now. A folder that someone else made, or one
whose manifest was edited, is not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from mnv2search.accuracy.registry import evaluator_effects
from mnv2search.caches import cache_folder
from mnv2search.errors import RecordError
from mnv2search.latency.registry import device_effects
from mnv2search.results.manifest import Manifest
from mnv2search.untrusted import escaped

FOLDER = "trusted"


def remember(manifest: Manifest) -> tuple[str, ...]:
    """Trust folders of this run from now on; returns a note if the digest cannot be stored."""
    if not _effects(manifest):
        return ()
    path = _path(manifest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError as error:
        return (f"{path.parent} cannot be written ({error.strerror}): resuming this run will need --trust",)
    return ()


def check_trust(
    folder: Path | str, manifest: Manifest, *, hint: str, evaluates: bool = True, others: Sequence[str] = ()
) -> None:
    """Refuse a folder that does more than measure locally, unless this user started its run on this machine.

    `evaluates` is True if its evaluator is opened too; `others` are further effects.

    Raises:
        RecordError: the folder is not trusted; the message lists what its manifest asks for.
    """
    effects = (*(_effects(manifest) if evaluates else device_effects(manifest.device.name)), *others)
    if not effects or _is_ours(_path(manifest)):
        return
    told = "\n".join(f"  {effect}" for effect in effects)
    raise RecordError(
        escaped(f"{folder} is not a run that you started on this machine, and its manifest asks to\n{told}"),
        hint=hint,
    )


def _effects(manifest: Manifest) -> tuple[str, ...]:
    return (*device_effects(manifest.device.name), *evaluator_effects(manifest.evaluator))


def _path(manifest: Manifest) -> Path:
    """The file whose existence marks a run as trusted, named by the digest of its device, accuracy and space."""
    texts = json.dumps([manifest.device.name, manifest.evaluator, manifest.space])
    return cache_folder(os.environ) / FOLDER / hashlib.sha256(texts.encode()).hexdigest()


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.getuid()
    except OSError:
        return False
