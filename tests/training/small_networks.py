"""A network that trains in a moment, as a spec and as the YAML that a command reads."""

from __future__ import annotations

from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec

__all__ = ["SPEC", "YAML"]

SPEC = ModelSpec(
    name="small",
    width=0.25,
    resolution=32,
    blocks=(BlockSpec(channels=16, expansion=1), BlockSpec(channels=24, stride=2, repeats=2)),
    last_channels=64,
    head=Classifier(classes=3),
)
YAML = """mnv2search: 1
name: mine
width: 0.25
resolution: 32
last: 64
blocks:
  - [1, 16, 1, 1]
  - [6, 24, 2, 2]
"""
