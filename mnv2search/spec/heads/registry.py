"""Heads by their names in files."""

from __future__ import annotations

from mnv2search import plugins
from mnv2search.errors import UnknownNameError
from mnv2search.spec.heads.base import Head
from mnv2search.spec.heads.classifier import Classifier
from mnv2search.spec.heads.deeplab import DeepLab
from mnv2search.spec.heads.ssdlite import SsdLite

SHIPPED: tuple[type[Head], ...] = (Classifier, SsdLite, DeepLab)
_HEADS = {kind.word: kind for kind in SHIPPED}


def known_heads() -> tuple[type[Head], ...]:
    """Every shipped head and every head registered or loaded from an entry point."""
    return tuple(_HEADS.values())


def head_of(word: str) -> type[Head] | None:
    """The head with this name in files; entry points of the group ``mnv2search.heads`` are searched last."""
    if word not in _HEADS:
        try:
            register_head(plugins.load("head", word))  # type: ignore[arg-type]
        except UnknownNameError:
            return None
    return _HEADS[word]


def register_head(kind: type[Head]) -> type[Head]:
    """Register a head in this process by its word; returns the head, so it can be used as a decorator.

    An installed package names its heads as entry points of the group ``mnv2search.heads`` instead.

    Raises:
        ValueError: the head has no word, or the word of another head.
    """
    if not kind.word or _HEADS.get(kind.word, kind) is not kind:
        raise ValueError(f"{kind.__name__} has the word {kind.word!r}, which is empty or taken")
    _HEADS[kind.word] = kind
    return kind
