"""Pieces of the standalone module of a detector or a segmenter, as they stand in it."""

from __future__ import annotations

BLOCK_FORWARD = """
    def forward(self, x: Tensor) -> Tensor:
        return self.added(x, self.conv(x))

    def added(self, x: Tensor, y: Tensor) -> Tensor:
"""

BLOCK_ADDED = """        return x + y if self.shortcut == "identity" else y
"""

BLOCK_ALONE = """        return y
"""

ENLARGED = '''

def enlarged(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """A map of another height and width, bilinear with corners on corners."""
    if tuple(x.shape[-2:]) == size:
        return x
    return functional.interpolate(x, size=list(size), mode="bilinear", align_corners=True)
'''

UNIT = '''

class Unit(nn.Module):
    """A part of the head: its convolutions one after the other, on all that it reads side by side."""

    def __init__(self, kind: str, rows: list[Row]) -> None:
        super().__init__()
        self.kind = kind
        self.layers = nn.ModuleList(nn.Sequential(*steps(row{eps})) for row in rows)
        self.dropout = nn.Dropout(DROPOUT if kind == "join" else 0.0)

    def forward(self, inputs: list[Tensor]) -> Tensor:
        size = max((tuple(x.shape[-2:]) for x in inputs), key=lambda size: size[0] * size[1])
        x = torch.cat([enlarged(x, size) for x in inputs], dim=1)
        if self.kind == "pooling":
            x = functional.adaptive_avg_pool2d(x, 1)
        for layer in self.layers:
            x = layer(x)
        x = self.dropout(x)
        return x.expand(-1, -1, *size) if self.kind == "pooling" else x


class Head(nn.Module):
    """The units of `HEAD`, each reading endpoints of the features and the units before it."""

    def __init__(self) -> None:
        super().__init__()
        rows = [Row(*row) for row in HEAD_LAYERS]
        self.units = nn.ModuleList(
            Unit(kind, [row for row in rows if row.unit == number])
            for number, (_, kind, _) in enumerate(HEAD, start=1)
        )

    def forward(self, known: dict[str, Tensor]) -> dict[str, Tensor]:
        for (name, _, reads), unit in zip(HEAD, self.units, strict=True):
            known[name] = unit([known[read] for read in reads])
        return known
'''

NETWORK_HEAD = """        self.head = Head()
"""

NETWORK_PREDICTORS = """        for unit in self.head.units:
            if unit.kind in ("boxes", "scores", "logits"):
                nn.init.trunc_normal_(unit.layers[-1][0].weight, std=DEVIATION, a=-2 * DEVIATION, b=2 * DEVIATION)
"""

NETWORK_ANCHORS = """        self.register_buffer("anchors", anchors(), persistent=False)
"""

WALK = """        size = tuple(x.shape[-2:])
        known: dict[str, Tensor] = {}
        for number, module in enumerate(self.features, start=1):
            x = module(x)
            known[f"layer_{number}"] = x
"""

WALK_INSIDE = """        size = tuple(x.shape[-2:])
        known: dict[str, Tensor] = {}
        for number, module in enumerate(self.features, start=1):
            if number in INSIDE:
                y, start = x, 0
                for end, name in INSIDE[number]:
                    y = known[name] = module.conv[start:end](y)
                    start = end
                x = module.added(x, module.conv[start:](y))
            else:
                x = module(x)
            known[f"layer_{number}"] = x
"""

LOGITS = """        return self.head(known)["head/logits"]
"""

RESIZED = """        return enlarged(self.head(known)["head/logits"], size)
"""

CLASSES = """        return enlarged(self.head(known)["head/logits"], size).argmax(1)
"""

RAW = """        known = self.head(known)
        boxes = torch.cat([rows(known[f"head/boxes_{i + 1}"], 4) for i in range(len(ANCHORS))], dim=1)
        scores = torch.cat([rows(known[f"head/scores_{i + 1}"], CLASSES + 1) for i in range(len(ANCHORS))], dim=1)
"""

PREDICTIONS = """        return torch.cat([boxes, scores], dim=2)
"""

BOXES = """        return torch.cat([corners(boxes, self.anchors), scores[..., 1:].sigmoid()], dim=2)
"""

DETECTIONS = """        boxes, scores = corners(boxes, self.anchors), scores[..., 1:].sigmoid()
        return torch.stack([detections(*one) for one in zip(boxes, scores, strict=True)])
"""

ROWS = '''

def rows(x: Tensor, length: int) -> Tensor:
    """Every place of a map (N, k * length, H, W) as rows (N, H * W * k, length)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, length)
'''

CORNERS = '''

def anchors() -> Tensor:
    """(A, 4): x and y of the centre, width and height of every anchor over the image's sides, map by map."""
    found: list[tuple[float, float, float, float]] = []
    for (rows, columns), shapes in ANCHORS:
        for place in range(rows * columns):
            x, y = (place % columns + 0.5) / columns, (place // columns + 0.5) / rows
            found += [(x, y, width, height) for width, height in shapes]
    return torch.tensor(found)


def corners(predicted: Tensor, anchors: Tensor) -> Tensor:
    """(N, A, 4): x0, y0, x1, y1 over the image's sides, of encoded boxes (N, A, 4)."""
    unscaled = predicted / predicted.new_tensor(CODER_SCALES)
    centres = unscaled[..., :2] * anchors[:, 2:] + anchors[:, :2]
    half = torch.exp(unscaled[..., 2:].clamp(max=math.log(MOST_GROWTH))) * anchors[:, 2:] / 2
    return torch.cat([centres - half, centres + half], dim=-1).clamp(0.0, 1.0)
'''

SUPPRESSION = '''

def detections(boxes: Tensor, scores: Tensor) -> Tensor:
    """(MOST, 6): corners, score and class of what non-maximum suppression leaves, best first, filled up with zeros.

    boxes: (A, 4); scores: (A, CLASSES).
    """
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    overlap = shared > LARGEST_IOU * (area[:, None] + area[None, :] - shared)
    left = torch.where(scores.T > LEAST_SCORE, scores.T, 0.0)
    kept, classes = torch.zeros_like(left), torch.arange(len(left), device=left.device)
    for _ in range(min(MOST, len(boxes))):
        best, at = left.max(dim=1)
        if not (best > 0).any():
            break
        kept[classes, at] = torch.where(best > 0, best, kept[classes, at])
        gone = overlap[at]
        gone[classes, at] = True
        left = left.masked_fill(gone, 0.0)
    best, at = (found[:MOST] for found in kept.flatten().sort(descending=True, stable=True))
    found = torch.cat([boxes[at % len(boxes)], best[:, None], (at // len(boxes))[:, None]], dim=1)
    return functional.pad(torch.where(best[:, None] > 0, found, 0.0), (0, 0, 0, MOST - len(found)))
'''
