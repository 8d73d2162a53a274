"""Compare two networks row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from mnv2search.cost import BYTES, Precision, cost_of, stage_costs, unit_cost
from mnv2search.errors import OptionError
from mnv2search.latency.device_text import device_text
from mnv2search.latency.types import Latency
from mnv2search.results.stages.spec_diff import Change, Part, SpecDiff, StageDiff
from mnv2search.spec.model_spec import Head, ModelSpec
from mnv2search.spec.plan import Plan, plan
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import load
from mnv2search.spec.yaml.fields import keys_of, spelled
from mnv2search.spec.yaml.write import stage_text
from mnv2search.workflows.alignment import Block, align
from mnv2search.workflows.explain import usable_predictor
from mnv2search.workflows.options import saved_spec

# Fields that are compared elsewhere: by stage, or as the number of blocks of a row.
_NOT_OF_NETWORK = frozenset({"name", "last_channels"})
_NOT_OF_ROW = frozenset({"repeats", "stride"})


def diff(
    before: ModelSpec | str | Path,
    after: ModelSpec | str | Path,
    *,
    device: str | None = None,
    precision: str = "fp32",
    on_note: Callable[[str], None] = lambda _: None,
) -> SpecDiff:
    """The differences between two networks, row by row, and the effect on their costs, as in `mnv2search diff`.

    Args:
        before: a network, its file or its published name, or a `.pt` or `.pt2` file.
        after: the network to compare it with.
        device: device whose latencies are predicted from earlier measurements; None for no prediction.
        precision: precision of the predicted latency and of the counted memory (weights and activations).
        on_note: called with the reason if no latency is predicted.

    Raises:
        Mnv2SearchError: a file has problems or is a search space, or the device cannot be used.

    >>> found = diff("mobilenet_v2_1.0_224", "mobilenet_v2_1.0_192")
    >>> [(change.field, change.before, change.after) for change in found.changes]
    [('resolution', '224', '192')]
    """
    if precision not in BYTES:
        raise OptionError(f"precision is {precision!r}", hint=f"use one of {', '.join(BYTES)}")
    if before == after == "-":
        raise OptionError("only one network can be read from standard input", hint="give a file for the other one")
    counted, plans = cast(Precision, precision), (plan(_network(before)), plan(_network(after)))
    specs = plans[0].spec, plans[1].spec
    latencies: tuple[Latency, ...] = ()
    error = None
    if device is not None:
        text = device_text(device, None if precision == "fp32" else precision)
        predictor = usable_predictor(text, on_note)
        if predictor is not None:
            latencies, error = tuple(map(predictor.predict, specs)), predictor.error
    return SpecDiff(
        before=specs[0],
        after=specs[1],
        precision=precision,
        changes=_changes(*specs, skipped=_NOT_OF_NETWORK) + _norm_changes(*specs),
        stages=tuple(_stages(*plans)),
        costs=(cost_of(plans[0], precision=counted), cost_of(plans[1], precision=counted)),
        latencies=latencies,
        error=error,
    )


def _network(source: ModelSpec | str | Path) -> ModelSpec:
    if not isinstance(source, ModelSpec):
        loaded = saved_spec(str(source)) or load(source, wanted="spec")
        if isinstance(loaded, SearchSpace):
            hint = f"write one of its networks and compare that: mnv2search spec {source} --first -o net.yaml"
            raise OptionError(f"{source} is a search space, not a network", hint=hint)
        return loaded
    return source


def _changes(one: object, other: object, *, skipped: frozenset[str] = frozenset()) -> tuple[Change, ...]:
    """The fields in which two values of the same type differ."""
    kind = type(one)
    return tuple(
        Change(name, key, *(spelled(kind, name, getattr(value, name)) for value in (one, other)))
        for key, name in keys_of(kind).items()
        if name not in skipped and getattr(one, name) != getattr(other, name)
    )


def _norm_changes(one: ModelSpec, other: ModelSpec) -> tuple[Change, ...]:
    changes = _changes(one.batch_norm, other.batch_norm)
    return tuple(change._replace(field=f"batch_norm.{change.field}") for change in changes)


def _stages(one: Plan, other: Plan) -> Iterator[StageDiff]:
    yield _stage(one, other, "stem", _changes(one.spec.stem, other.spec.stem))
    for pairs in _grouped(one, other):
        yield pairs.diff()
    last = _changes(one.spec, other.spec, skipped=frozenset(keys_of(ModelSpec).values()) - {"last_channels"})
    heads = one.spec.head, other.spec.head
    for at, changes in (("last_channels", last), ("head", _head_changes(*heads))):
        stage = _stage(one, other, at, changes)
        if stage.before or stage.after:
            yield stage


def _stage(one: Plan, other: Plan, at: str, changes: tuple[Change, ...]) -> StageDiff:
    """The comparison of a stage that is not a row; without changes if only one network has the stage."""
    before, after = (
        next((Part(at, stage_text(p.spec, at), s.params, s.madds) for s in stage_costs(p) if s.at == at), None)
        for p in (one, other)
    )
    return StageDiff(before=before, after=after, changes=changes if before and after else ())


def _head_changes(one: Head | None, other: Head | None) -> tuple[Change, ...]:
    """The fields in which two heads differ; heads of other kinds or with other extra layers differ as a whole."""
    if one == other or one is None or other is None:
        return ()
    if type(one) is type(other) and (changes := _changes(one, other)):
        return changes
    return (Change("head", "head", one.word, other.word),)


@dataclass
class _Pairs:
    """Aligned blocks of one row of each network; a list is empty if that network has no counterpart."""

    plans: tuple[Plan, Plan]
    blocks: tuple[list[Block], list[Block]] = field(default_factory=lambda: ([], []))

    def takes(self, pair: tuple[Block | None, Block | None]) -> bool:
        """Whether a pair belongs to this group: a block continues a row of the group, and none is of another row."""
        rows = [own[0].row if own else None for own in self.blocks]
        same = [block is not None and block.row == row for block, row in zip(pair, rows, strict=True)]
        other = [block is None or row is None for block, row in zip(pair, rows, strict=True)]
        return any(same) and all(a or b for a, b in zip(same, other, strict=True))

    def add(self, pair: tuple[Block | None, Block | None]) -> None:
        """Add a pair."""
        for own, block in zip(self.blocks, pair, strict=True):
            if block is not None:
                own.append(block)

    def diff(self) -> StageDiff:
        """The comparison of the group."""
        before, after = (_part(p, own) if own else None for p, own in zip(self.plans, self.blocks, strict=True))
        one, other = self.blocks
        if not one or not other:
            return StageDiff(before=before, after=after)
        special = {"repeats": (len(one), len(other)), "stride": (one[0].stride, other[0].stride)}
        changes = _changes(one[0].spec, other[0].spec, skipped=_NOT_OF_ROW)
        keys = {name: key for key, name in keys_of(type(one[0].spec)).items()}
        counts = (Change(name, keys[name], str(a), str(b)) for name, (a, b) in special.items() if a != b)
        return StageDiff(before=before, after=after, changes=(*changes, *counts))


def _grouped(one: Plan, other: Plan) -> Iterator[_Pairs]:
    """The aligned blocks, grouped by row; a repeat without a counterpart belongs to the group of its row."""
    group = _Pairs((one, other))
    for pair in align(one.spec, other.spec):
        if any(group.blocks) and not group.takes(pair):
            yield group
            group = _Pairs((one, other))
        group.add(pair)
    yield group


def _part(laid_out: Plan, blocks: Sequence[Block]) -> Part:
    first, last = blocks[0], blocks[-1]
    at = f"blocks[{first.row}]"
    start = laid_out.at.index(at) + first.number
    costs = [unit_cost(unit) for unit in laid_out.units[start : start + len(blocks)]]
    return Part(
        at=at,
        text=stage_text(laid_out.spec, at),
        params=sum(cost.params for cost in costs),
        madds=sum(cost.madds for cost in costs),
        first=first.number + 1,
        last=last.number + 1,
        blocks=first.spec.repeats,
    )
