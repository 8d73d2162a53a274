"""The tables and constants of the standalone module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mnv2search.data.preprocessing import Preprocessing
from mnv2search.model.blocks import ACTIVATIONS
from mnv2search.model.deeplab import DeepLabHead
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.recipe import NORMALIZATIONS
from mnv2search.spec.heads.anchors import CODER_SCALES, MOST_GROWTH, anchors
from mnv2search.spec.model_spec import Classifier, DeepLab, SsdLite
from mnv2search.spec.plan import Layer, Plan, Unit
from mnv2search.spec.size import Size

COLUMNS = ("unit", "role", "c_in", "c_out", "k", "s", "d", "groups", "pad", "norm", "act")


def head_units(plan: Plan) -> tuple[Unit, ...]:
    """The units of a dense head that have layers."""
    return tuple(unit for unit in plan.dense if unit.layers)


def tables(plan: Plan) -> Iterator[str]:
    """The tables of the layers of the features and of a dense head, with a row for each convolution."""
    lines = [
        "# One row for each convolution: unit, role, channels in and out, kernel, stride, dilation, groups, padding",
        "# (top, bottom, left, right), normalization and activation. Without normalization there is a bias.",
    ]
    if any(len(set(layer.parts)) > 1 for unit in plan.features for layer in unit.layers):
        lines.append("# Pairs in `groups` are the input and output channels of each group.")
    yield "\n".join([*lines, *_table("LAYERS", plan.features)])
    if plan.dense:
        lines = ["# The convolutions of the head, in the same format.", *_table("HEAD_LAYERS", head_units(plan))]
        yield "\n".join(lines)


def _table(name: str, units: Sequence[Unit]) -> Iterator[str]:
    """A table with aligned columns."""
    rows = [(str(number), *_cells(layer)) for number, unit in enumerate(units, start=1) for layer in unit.layers]
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
    """A cell with its comma; numbers are right-aligned, words left-aligned."""
    return f"{cell.rjust(width)}," if cell.isdigit() else f"{cell},".ljust(width + 1)


def _cells(layer: Layer) -> tuple[str, ...]:
    groups = repr(layer.parts) if len(set(layer.parts)) > 1 else repr(len(layer.parts) or layer.groups)
    numbers = (layer.c_in, layer.c_out, layer.kernel, layer.stride, layer.dilation)
    words = (repr(tuple(layer.pad)), f'"{layer.normalizer}"', f'"{layer.activation}"')
    return (f'"{layer.role}"', *(str(number) for number in numbers), groups, *words)


def constants(plan: Plan, only_size: Size | None) -> Iterator[str]:
    """Lines of the constants that are not in the tables."""
    spec = plan.spec
    layers = [layer for unit in (*plan.features, *head_units(plan)) for layer in unit.layers]
    used = sorted({layer.activation for layer in layers} - {"none"})
    classes = ", ".join(f'"{name}": nn.{type(ACTIVATIONS[name]()).__name__}' for name in used)
    yield from _shortcuts(plan)
    yield f"ACTIVATIONS = {{{classes}}}"
    if isinstance(spec.head, Classifier) and plan.classifier is not None:
        yield f"FEATURES, CLASSES, DROPOUT = {plan.classifier.c_in}, {spec.head.classes}, {spec.head.dropout}"
    if any(layer.normalizer == "batch" for layer in layers):
        yield f"NORM_EPS, NORM_MOMENTUM = {spec.batch_norm.eps!r}, {spec.batch_norm.momentum!r}"
    if plan.dense:
        yield from _head_constants(plan)
    if only_size is not None:
        yield f"SIZE_PX = {tuple(only_size)}  # height and width of the images, on which the padding depends"


def _shortcuts(plan: Plan) -> Iterator[str]:
    shortcuts = [(n, unit.shortcut) for n, unit in enumerate(plan.features, start=1) if unit.shortcut != "none"]
    yield "# Units whose input is added to their output."
    if not shortcuts:
        yield "SHORTCUTS: dict[int, str] = {}"
        return
    yield "SHORTCUTS: dict[int, str] = {"
    yield from (f'    {number}: "{shortcut}",' for number, shortcut in shortcuts)
    yield "}"


def _head_constants(plan: Plan) -> Iterator[str]:
    head = plan.spec.head
    yield "# Units of the head: name, kind, and the endpoints that each reads."
    yield "HEAD = ("
    for unit in head_units(plan):
        reads = _tuple([f'"{name}"' for name in _endpoints_of(plan, unit)])
        yield f'    ("{unit.name}", "{unit.kind}", {reads}),'
    yield ")"
    if inside := endpoints_inside(plan):
        yield "# Maps inside blocks that the head reads: number of modules of the block before the map, and its name."
        yield "INSIDE: dict[int, tuple[tuple[int, str], ...]] = {"
        for number, places in inside.items():
            named = _tuple([f'({end}, "{name}")' for end, name in places])
            yield f"    {number}: {named},"
        yield "}"
    if isinstance(head, SsdLite):
        yield from _detector_constants(plan, head)
    elif isinstance(head, DeepLab):
        yield f"DROPOUT, DEVIATION, HEAD_EPS = {head.dropout}, {DeepLabHead.predictor_deviation}, {head.norm_eps!r}"


def _detector_constants(plan: Plan, head: SsdLite) -> Iterator[str]:
    yield f"DROPOUT, DEVIATION, CLASSES = 0.0, {SsdLiteHead.predictor_deviation}, {head.classes}"
    yield "# For each map: height and width, then width and height of each anchor relative to the image's."
    yield "ANCHORS = ("
    first, places = 0, anchors(plan)
    for number, unit in enumerate(u for u in plan.units if u.kind == "boxes"):
        each = head.boxes_per_place(number)
        yield from ("    (", f"        {tuple(unit.size_in)},", "        (")
        yield from (f"            {box[2:]!r}," for box in places[first : first + each])
        yield from ("        ),", "    ),")
        first += each * unit.size_in.area
    yield ")"
    if head.output != "raw":
        yield f"CODER_SCALES, MOST_GROWTH = {CODER_SCALES!r}, {MOST_GROWTH!r}"
    if head.output == "detections":
        limits = f"{head.detections}, {head.score_threshold!r}, {head.iou_threshold!r}"
        yield f"MOST, LEAST_SCORE, LARGEST_IOU = {limits}"


def preprocessing_constants(preprocessing: Preprocessing) -> Iterator[str]:
    """Lines of the names of the classes and the constants of `preprocess`."""
    if preprocessing.classes:
        yield from ("# Names of the classes by index.", "LABELS = (")
        yield from (f"    {name!r}," for name in preprocessing.classes)
        yield ")"
    if preprocessing.normalization is not None:
        yield "# Mean and standard deviation of the channels R, G and B, for values from 0 to 1."
        mean, deviation = NORMALIZATIONS[preprocessing.normalization]
        yield f"MEAN, STD = {mean!r}, {deviation!r}"
    if preprocessing.short_px is not None:
        yield f"SHORT_PX = {preprocessing.short_px}  # short side of the scaled image, before the center crop"


def endpoints_inside(plan: Plan) -> dict[int, tuple[tuple[int, str], ...]]:
    """Index of a block -> (number of its modules before it, name) of each endpoint inside that a dense head reads."""
    wanted = {name for unit in plan.dense for name in _endpoints_of(plan, unit) if "/" in name}
    found: dict[int, tuple[tuple[int, str], ...]] = {}
    for number, unit in enumerate(plan.features, start=1):
        roles = [layer.role for layer in unit.layers if layer.role != "squeeze"]
        places = [(end, f"layer_{number}/{role}_output") for end, role in enumerate(roles, start=1)]
        if read := tuple((end, name) for end, name in places if name in wanted):
            found[number] = read
    return found


def _endpoints_of(plan: Plan, unit: Unit) -> list[str]:
    """The names of the endpoints that a unit reads; the output of a block has the block's name."""
    heads = {other.name for other in plan.dense}
    return [name if name in heads else name.removesuffix("/output") for name in unit.reads]


def _tuple(items: Sequence[str]) -> str:
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
