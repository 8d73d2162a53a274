"""Evaluations from a file, whose networks are built when they are first used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from mnv2search.evaluation import Evaluation
from mnv2search.spec.model_spec import ModelSpec


class StoredNetwork:
    """A network that `build` builds when it is first used; all evaluations of the network share it."""

    __slots__ = ("_build", "_spec", "name")

    def __init__(self, name: str, build: Callable[[], ModelSpec]) -> None:
        self.name = name
        self._build = build
        self._spec: ModelSpec | None = None

    @property
    def spec(self) -> ModelSpec:
        """The network; raises what `build` raises."""
        if self._spec is None:
            self._spec = self._build()
        return self._spec


class StoredEvaluation(Evaluation):
    """An evaluation of a `StoredNetwork`, given as `spec`; equal to an `Evaluation` with the same values."""

    __slots__ = ("_network",)
    _network: StoredNetwork

    @property
    def spec(self) -> ModelSpec:
        """The network, built when it is first used."""
        return self._network.spec

    @spec.setter
    def spec(self, value: ModelSpec | StoredNetwork) -> None:  # only while the evaluation is created
        network = StoredNetwork(value.name, lambda: value) if isinstance(value, ModelSpec) else value
        object.__setattr__(self, "_network", network)

    @property
    def name(self) -> str:
        """The name of the network, which need not be built."""
        return self._network.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Evaluation):
            return NotImplemented
        return all(getattr(self, field.name) == getattr(other, field.name) for field in fields(Evaluation))

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, field.name) for field in fields(Evaluation)))
