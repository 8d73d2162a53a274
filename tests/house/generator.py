"""The module that generates the reference pages."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from pages import ROOT


def _generator() -> ModuleType:
    place = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


GENERATOR = _generator()
