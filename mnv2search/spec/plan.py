"""The layout of a network: its units, their addresses, and its named tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mnv2search.display import Displayed
from mnv2search.spec.layers import GROUP_NORM_GROUPS, Layer, Shortcut, Unit
from mnv2search.spec.model_spec import BatchNorm, ModelSpec

__all__ = ["GROUP_NORM_GROUPS", "Layer", "Plan", "Shortcut", "Unit", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Plan(Displayed):
    """The layers of a network: `units[i]` is slim's ``layer_{i + 1}``; the units of the head come last.

    Attributes:
        units: units in the order of computation.
        at: address of each unit in the spec, such as ``stem`` or ``blocks[2]``.
    """

    spec: ModelSpec
    units: tuple[Unit, ...]
    at: tuple[str, ...]

    @property
    def features(self) -> tuple[Unit, ...]:
        """The units without the head."""
        return tuple(unit for unit in self.units if not unit.name and unit.kind != "classifier")

    @property
    def classifier(self) -> Unit | None:
        """The unit of global pooling and a linear layer, or None without a classifier."""
        return self.units[-1] if self.units[-1].kind == "classifier" else None

    @property
    def dense(self) -> tuple[Unit, ...]:
        """The units of a detector's or a segmenter's head; empty for a classifier and for a feature extractor."""
        return tuple(unit for unit in self.units if unit.name)

    def norm_of(self, unit: Unit) -> BatchNorm:
        """The batch-norm constants of a unit."""
        own = self.spec.batch_norm
        return self.spec.head.norm_of(own) if unit.name and self.spec.head is not None else own

    def endpoints(self) -> tuple[str, ...]:
        """Names of the tensors that can be requested, in the order of computation.

        Source: tensorflow/models, mobilenet.py, `mobilenet_base`; ``layer_2/expansion_output`` does not exist
        if t is 1.
        """
        return tuple(_endpoints(self))


def plan(spec: ModelSpec) -> Plan:
    """The layers of `spec`.

    >>> from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    >>> p = plan(ModelSpec(name="one", blocks=(BlockSpec(channels=24, stride=2),), resolution=32))
    >>> [(u.kind, u.c_out, str(u.size_out)) for u in p.units]
    [('stem', 32, '16'), ('block', 24, '8'), ('last', 1280, '8'), ('classifier', 1000, '1')]
    """
    at, units = zip(*spec.layout, strict=True)
    return Plan(spec=spec, units=units, at=at)


def _endpoints(laid_out: Plan) -> Iterator[str]:
    for number, unit in enumerate(laid_out.features, start=1):
        if unit.kind == "block":
            for layer in unit.layers:
                if layer.role in ("expansion", "depthwise"):
                    yield f"layer_{number}/{layer.role}_output"
            yield f"layer_{number}/output"
        yield f"layer_{number}"
    if laid_out.classifier is not None:
        yield from ("global_pool", "logits")
    yield from (unit.name for unit in laid_out.dense)
