"""The text of the head of a detector or a segmenter in the standalone module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mnv2search.export.formats import source_head_parts as parts
from mnv2search.model.deeplab import DeepLabHead
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.spec.heads.anchors import CODER_SCALES, MOST_GROWTH, anchors
from mnv2search.spec.model_spec import DeepLab, SsdLite
from mnv2search.spec.plan import Plan, Unit

__all__ = ["ANSWERS", "endpoints_inside", "forward", "functions", "head_constants", "made_units", "modules"]

# Output of a head -> what the module's answer is called.
ANSWERS = {
    "raw": "predictions",
    "boxes": "boxes",
    "detections": "detections",
    "logits": "logits",
    "resized": "logits",
    "classes": "classes",
}
MAPS = {"logits": parts.LOGITS, "resized": parts.RESIZED, "classes": parts.CLASSES}
BOXES = {"raw": parts.PREDICTIONS, "boxes": parts.BOXES, "detections": parts.DETECTIONS}


def made_units(plan: Plan) -> tuple[Unit, ...]:
    """The units of the head that have layers."""
    return tuple(unit for unit in plan.dense if unit.layers)


def head_constants(plan: Plan) -> Iterator[str]:
    """What the head has besides the table of its layers."""
    head = plan.spec.head
    yield "# Units of the head: name, kind, and the endpoints that each reads."
    yield "HEAD = ("
    for unit in made_units(plan):
        reads = _tuple([f'"{name}"' for name in _written(plan, unit.reads)])
        yield f'    ("{unit.name}", "{unit.kind}", {reads}),'
    yield ")"
    if inside := endpoints_inside(plan):
        yield "# Blocks that are read inside: after how many of their modules, and the name of what is there."
        yield "INSIDE: dict[int, tuple[tuple[int, str], ...]] = {"
        for number, places in inside.items():
            named = _tuple([f'({end}, "{name}")' for end, name in places])
            yield f"    {number}: {named},"
        yield "}"
    if isinstance(head, SsdLite):
        yield from _detector_constants(plan, head)
    elif isinstance(head, DeepLab):
        yield f"DROPOUT, DEVIATION, HEAD_EPS = {head.dropout}, {DeepLabHead.predictor_deviation}, {head.norm_eps!r}"


def endpoints_inside(plan: Plan) -> dict[int, tuple[tuple[int, str], ...]]:
    """Number of a block -> (modules of it up to there, name) of each endpoint inside that the head reads."""
    wanted = {name for unit in plan.dense for name in _written(plan, unit.reads) if "/" in name}
    found: dict[int, tuple[tuple[int, str], ...]] = {}
    for number, unit in enumerate(plan.features, start=1):
        alone = [layer.role for layer in unit.layers if layer.role != "squeeze"]
        places = [(end, f"layer_{number}/{role}_output") for end, role in enumerate(alone, start=1)]
        if read := tuple((end, name) for end, name in places if name in wanted):
            found[number] = read
    return found


def functions(plan: Plan) -> Iterator[str]:
    """What stands before the network: how maps are enlarged, and what becomes of boxes."""
    head = plan.spec.head
    yield parts.ENLARGED
    if not isinstance(head, SsdLite):
        return
    yield parts.ROWS
    if head.output != "raw":
        yield parts.CORNERS
    if head.output == "detections":
        yield parts.SUPPRESSION


def modules(plan: Plan) -> str:
    """The classes of the head."""
    own = isinstance(plan.spec.head, DeepLab) and _is_batch_normalized(plan)
    return parts.UNIT.replace("{eps}", ", HEAD_EPS" if own else "")


def forward(plan: Plan) -> str:
    """The rest of the network's `forward`, after its check of the size."""
    head = plan.spec.head
    walk = parts.WALK_INSIDE if endpoints_inside(plan) else parts.WALK
    if isinstance(head, SsdLite):
        return walk.replace("        size = tuple(x.shape[-2:])\n", "") + parts.RAW + BOXES[head.output]
    assert isinstance(head, DeepLab)
    if head.output == "logits":
        walk = walk.replace("        size = tuple(x.shape[-2:])\n", "")
    return walk + MAPS[head.output]


def _tuple(items: Sequence[str]) -> str:
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def _written(plan: Plan, reads: tuple[str, ...]) -> list[str]:
    """Names of endpoints, the output of a block by the block's own."""
    heads = {unit.name for unit in plan.dense}
    return [name if name in heads else name.removesuffix("/output") for name in reads]


def _detector_constants(plan: Plan, head: SsdLite) -> Iterator[str]:
    yield f"DROPOUT, DEVIATION, CLASSES = 0.0, {SsdLiteHead.predictor_deviation}, {head.classes}"
    yield "# Height and width of each map, and width and height of the boxes of one place over those of the image."
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


def _is_batch_normalized(plan: Plan) -> bool:
    return any(layer.normalizer == "batch" for unit in made_units(plan) for layer in unit.layers)
