"""The text of the standalone module: a table of the plan's layers, and those classes that the plan needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from mnv2search.export.formats import source_head_parts as head_parts
from mnv2search.export.formats import source_head_text as head_text
from mnv2search.export.formats import source_parts as parts
from mnv2search.spec.model_spec import Classifier, DeepLab, SsdLite
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Layer, Plan, Unit
from mnv2search.spec.size import Size

__all__ = ["source_text"]

NAMES = "The names of the parameters are those of torchvision's `mobilenet_v2`."
NAMES_OF_HEADS = (
    "The names of the parameters are those of torchvision's `mobilenet_v2`, and those of the head its own."
)
COLUMNS = ("unit", "role", "c_in", "c_out", "k", "s", "d", "groups", "pad", "norm", "act")
ACTIVATIONS = {
    "relu6": "nn.ReLU6",
    "relu": "nn.ReLU",
    "hard_swish": "nn.Hardswish",
    "silu": "nn.SiLU",
    "sigmoid": "nn.Sigmoid",
    "hard_sigmoid": "nn.Hardsigmoid",
}


def source_text(plan: Plan, *, only_size: Size | None) -> str:
    """A Python module whose `network()` makes the network of `plan`.

    Args:
        plan: of the network.
        only_size: the only size of images that the network takes, or None if it takes any.
    """
    layers = [layer for unit in _convolved(plan) for layer in unit.layers]
    shortcuts = {unit.shortcut for unit in plan.features} - {"none"}
    uneven = any(len(set(layer.parts)) > 1 for layer in layers)
    padded = any(not layer.pad.is_even for layer in layers)
    gated = any(layer.role == "squeeze" for layer in layers)
    functional = padded or gated or "pad" in shortcuts or plan.spec.head is not None
    sections = [
        "\n\n".join((_header(plan, functional=functional), *_tables(plan), _constants(plan, only_size))),
        parts.ROW.replace("{groups_type}", "int | tuple[tuple[int, int], ...]" if uneven else "int"),
        parts.PADDED if padded else "",
        parts.SPLIT if uneven else "",
        _convolution(uneven=uneven, padded=padded),
        _steps({layer.normalizer for layer in layers}, own_eps=isinstance(plan.spec.head, DeepLab)),
        parts.GATE if gated else "",
        _block(plan, shortcuts, gated=gated) if any(unit.kind == "block" for unit in plan.features) else "",
        *(head_text.functions(plan) if plan.dense else ()),
        head_text.modules(plan) if plan.dense else "",
        _network(plan, only_size),
        parts.LOAD,
    ]
    return "\n\n\n".join(section.strip("\n") for section in sections if section) + "\n"


def _header(plan: Plan, *, functional: bool) -> str:
    spec = plan.spec
    name = spec.name.replace("\\", "\\\\").replace('"', '\\"')
    out = "logits" if plan.classifier is not None else "features"
    if isinstance(spec.head, SsdLite | DeepLab):
        out = head_text.ANSWERS[spec.head.output]
    imported = parts.FUNCTIONAL if functional else ""
    decodes = isinstance(spec.head, SsdLite) and spec.head.output != "raw"
    return parts.HEADER.format(
        name=name,
        size=spec.size,
        height=spec.size.height,
        width=spec.size.width,
        out=out,
        functional=imported,
        math="import math\n" if decodes else "",
        names=NAMES_OF_HEADS if plan.dense else NAMES,
    ).rstrip("\n")


def _convolved(plan: Plan) -> tuple[Unit, ...]:
    """The units whose layers stand in the tables."""
    return (*plan.features, *head_text.made_units(plan))


def _tables(plan: Plan) -> Iterator[str]:
    yield "\n".join(_table(plan))
    if plan.dense:
        rows = _rows(head_text.made_units(plan))
        head = ["# The head's convolutions, one row each as above.", *_aligned_rows("HEAD_LAYERS", rows)]
        yield "\n".join(head)


def _rows(units: Sequence[Unit]) -> list[tuple[str, ...]]:
    return [(str(number), *_cells(layer)) for number, unit in enumerate(units, start=1) for layer in unit.layers]


def _table(plan: Plan) -> Iterator[str]:
    """One row a convolution, in aligned columns."""
    yield "# One row a convolution: unit, role, channels in and out, kernel, stride, dilation, groups, padding at"
    yield "# top, bottom, left and right, norm and activation. A convolution without norm has a bias."
    if any(len(set(layer.parts)) > 1 for unit in plan.features for layer in unit.layers):
        yield "# Where groups lists pairs, the channels are split into parts of these inputs and outputs."
    yield from _aligned_rows("LAYERS", _rows(plan.features))


def _aligned_rows(name: str, rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, COLUMNS, strict=True)]
    yield "# fmt: off"
    yield f"{name} = ("
    yield f"    # {'  '.join(name.ljust(width) for name, width in zip(COLUMNS, widths, strict=True))}".rstrip()
    for row in rows:
        cells = " ".join(_aligned(cell, width) for cell, width in zip(row, widths, strict=True))
        yield f"    ({cells.rstrip(' ,')}),"
    yield ")"
    yield "# fmt: on"


def _aligned(cell: str, width: int) -> str:
    """A cell with its comma; numbers stand right, words left."""
    return f"{cell.rjust(width)}," if cell.isdigit() else f"{cell},".ljust(width + 1)


def _cells(layer: Layer) -> tuple[str, ...]:
    groups = repr(layer.parts) if len(set(layer.parts)) > 1 else repr(len(layer.parts) or layer.groups)
    numbers = (layer.c_in, layer.c_out, layer.kernel, layer.stride, layer.dilation)
    words = (repr(tuple(layer.pad)), f'"{layer.normalizer}"', f'"{layer.activation}"')
    return (f'"{layer.role}"', *(str(number) for number in numbers), groups, *words)


def _constants(plan: Plan, only_size: Size | None) -> str:
    """What the table does not say."""
    spec = plan.spec
    shortcuts = [
        f'    {number}: "{unit.shortcut}",\n'
        for number, unit in enumerate(plan.features, start=1)
        if unit.shortcut != "none"
    ]
    used = {layer.activation for unit in _convolved(plan) for layer in unit.layers} - {"none"}
    listed = "\n" + "".join(shortcuts) if shortcuts else ""
    lines = [
        "# Units that add their input to their output.",
        f"SHORTCUTS: dict[int, str] = {{{listed}}}",
        f"ACTIVATIONS = {{{', '.join(f'{name!r}: {ACTIVATIONS[name]}' for name in sorted(used))}}}".replace("'", '"'),
    ]
    if isinstance(spec.head, Classifier) and plan.classifier is not None:
        lines.append(f"FEATURES, CLASSES, DROPOUT = {plan.classifier.c_in}, {spec.head.classes}, {spec.head.dropout}")
    if any(layer.normalizer == "batch" for unit in _convolved(plan) for layer in unit.layers):
        lines.append(f"NORM_EPS, NORM_MOMENTUM = {spec.batch_norm.eps!r}, {spec.batch_norm.momentum!r}")
    if plan.dense:
        lines += head_text.head_constants(plan)
    if only_size is not None:
        lines.append(f"SIZE_PX = {tuple(only_size)}  # height and width that the padding was laid out for")
    return "\n".join(lines)


def _convolution(*, uneven: bool, padded: bool) -> str:
    lines = [parts.CONVOLUTION_HEAD]
    lines += [parts.CONVOLUTION_UNEVEN] if uneven else []
    lines += [parts.CONVOLUTION_PADDED] if padded else []
    return "".join((*lines, parts.CONVOLUTION_PLAIN))


def _steps(normalizers: set[str], *, own_eps: bool) -> str:
    own = own_eps and "batch" in normalizers
    text = parts.STEPS_HEAD.replace("{options}", ", norm_eps: float = NORM_EPS" if own else "")
    batch = parts.STEPS_BATCH.replace("{eps}", "norm_eps" if own else "NORM_EPS")
    text += batch if "batch" in normalizers else ""
    text += parts.STEPS_GROUP.format(groups=GROUP_NORM_GROUPS) if "group" in normalizers else ""
    return text + parts.STEPS_END


def _block(plan: Plan, shortcuts: Set[str], *, gated: bool) -> str:
    text = parts.BLOCK_HEAD + (parts.BLOCK_GATE if gated else parts.BLOCK_PLAIN)
    pads = "pad" in shortcuts
    if shortcuts:
        text += parts.BLOCK_PAD_STATE if pads else parts.BLOCK_STATE
    if plan.dense and head_text.endpoints_inside(plan):
        text += head_parts.BLOCK_FORWARD
        if not shortcuts:
            return text + head_parts.BLOCK_ALONE
        return text + (parts.BLOCK_PADDED if pads else head_parts.BLOCK_ADDED)
    if not shortcuts:
        return text + parts.BLOCK_WITHOUT
    return text + (parts.BLOCK_PAD + parts.BLOCK_PADDED if pads else parts.BLOCK_ADD)


def _network(plan: Plan, only_size: Size | None) -> str:
    head = plan.classifier is not None
    text = parts.NETWORK_HEAD + (parts.NETWORK_CLASSIFIER if head else "")
    text += head_parts.NETWORK_HEAD if plan.dense else ""
    if isinstance(plan.spec.head, SsdLite) and plan.spec.head.output != "raw":
        text += head_parts.NETWORK_ANCHORS
    text += parts.NETWORK_FORWARD.replace("{head}", head_parts.NETWORK_PREDICTORS if plan.dense else "")
    text += parts.NETWORK_SIZE if only_size is not None else ""
    if plan.dense:
        return text + head_text.forward(plan)
    return text + (parts.NETWORK_LOGITS if head else parts.NETWORK_FEATURES)
