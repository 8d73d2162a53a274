"""What is known about the training that made a weights file: classes, normalisation, and the seed of its splits."""

from __future__ import annotations

from pathlib import Path

from mnv2search.data.dataset import class_name
from mnv2search.data.readers.masks import numbered
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.network_file import Learned, read_learned
from mnv2search.recipe import NORMALIZATIONS
from mnv2search.untrusted import read_json

REPORT = "training.json"
MAX_REPORT_BYTES = 2**26


def learned_of(model: Path, network: MobileNet) -> Learned:
    """Class names and normalisation of the training; numbers and ``imagenet`` if they are unknown."""
    head = network.spec.head
    assert head is not None
    learned = read_learned(model)
    if learned is not None and len(learned.classes) == head.classes:
        return learned
    try:
        report = read_json(model.parent / REPORT, max_bytes=MAX_REPORT_BYTES)
        is_its_own = report["name"] == network.spec.name and len(report["classes"]) == head.classes
        if is_its_own and report["recipe"]["normalization"] in NORMALIZATIONS:
            names = tuple(map(class_name, report["classes"]))
            return Learned(classes=names, normalization=report["recipe"]["normalization"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # the report is missing or unusable
    return Learned(classes=numbered(head.classes), normalization="imagenet")


def seed_of(model: Path) -> int | None:
    """The seed of the training in the folder of a weights file; None if it is unknown."""
    try:
        seed = read_json(model.parent / REPORT, max_bytes=MAX_REPORT_BYTES)["seed"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return seed if type(seed) is int and seed >= 0 else None
