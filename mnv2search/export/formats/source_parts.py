"""Pieces of the standalone module, as they stand in it."""

from __future__ import annotations

HEADER = '''"""{name}: a convolutional network for images of {size} px, written by mnv2search.

It needs nothing but torch:

    model = network("weights.pt").eval()  # or network(), with untrained weights
    {out} = model(images)  # images: (N, 3, {height}, {width})

{names}
"""

from __future__ import annotations

{math}from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn
{functional}'''

FUNCTIONAL = "from torch.nn import functional\n"

ROW = '''

class Row(NamedTuple):
    """A row of `LAYERS`."""

    unit: int
    role: str
    c_in: int
    c_out: int
    k: int
    s: int
    d: int
    groups: {groups_type}
    pad: tuple[int, int, int, int]
    norm: str
    act: str
'''

PADDED = '''

class PaddedConv2d(nn.Conv2d):
    """A convolution with other padding at one side than at the opposite one."""

    def __init__(self, row: Row) -> None:
        super().__init__(
            row.c_in, row.c_out, row.k, row.s, dilation=row.d, groups=row.groups, bias=row.norm == "none"
        )
        self.pad = row.pad

    def forward(self, x: Tensor) -> Tensor:
        top, bottom, left, right = self.pad
        return super().forward(functional.pad(x, (left, right, top, bottom)))
'''

SPLIT = '''

class SplitConv2d(nn.Module):
    """A 1x1 convolution in uneven parts; each sees only its slice of the channels."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.sizes = [c_in for c_in, _ in row.groups]
        self.parts = nn.ModuleList(nn.Conv2d(c_in, c_out, 1, bias=row.norm == "none") for c_in, c_out in row.groups)

    def forward(self, x: Tensor) -> Tensor:
        pieces = x.split(self.sizes, dim=1)
        return torch.cat([part(piece) for part, piece in zip(self.parts, pieces, strict=True)], dim=1)
'''

CONVOLUTION_HEAD = '''

def convolution(row: Row) -> nn.Module:
    """The convolution of a row."""
'''

CONVOLUTION_UNEVEN = """    if isinstance(row.groups, tuple):
        return SplitConv2d(row)
"""

CONVOLUTION_PADDED = """    if row.pad[0] != row.pad[1] or row.pad[2] != row.pad[3]:
        return PaddedConv2d(row)
"""

CONVOLUTION_PLAIN = """    return nn.Conv2d(
        row.c_in,
        row.c_out,
        row.k,
        row.s,
        (row.pad[0], row.pad[2]),
        dilation=row.d,
        groups=row.groups,
        bias=row.norm == "none",
    )
"""

STEPS_HEAD = '''

def steps(row: Row{options}) -> list[nn.Module]:
    """Convolution, norm and activation of a row."""
    modules = [convolution(row)]
'''

STEPS_BATCH = """    if row.norm == "batch":
        modules.append(nn.BatchNorm2d(row.c_out, eps={eps}, momentum=NORM_MOMENTUM))
"""

STEPS_GROUP = """    if row.norm == "group":
        modules.append(nn.GroupNorm({groups}, row.c_out))
"""

STEPS_END = """    if row.act != "none":
        modules.append(ACTIVATIONS[row.act]())
    return modules
"""

GATE = '''

class Gate(nn.Module):
    """Squeeze and excite: scales every channel by a number computed from the pooled map."""

    def __init__(self, squeeze: Row, excite: Row) -> None:
        super().__init__()
        self.fc1, self.fc2 = convolution(squeeze), convolution(excite)
        self.activation, self.gate = ACTIVATIONS[squeeze.act](), ACTIVATIONS[excite.act]()

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.fc2(self.activation(self.fc1(pooled))))
'''

BLOCK_HEAD = '''

class Block(nn.Module):
    """An inverted residual block; the projection lies flat in `conv`, as torchvision names it."""

    def __init__(self, rows: list[Row], shortcut: str) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        for row in rows:
'''

BLOCK_PLAIN = """            if row.role == "projection":
                modules += steps(row)
            else:
                modules.append(nn.Sequential(*steps(row)))
        self.conv = nn.Sequential(*modules)
"""

BLOCK_GATE = """            if row.role == "squeeze":
                squeeze = row
            elif row.role == "excite":
                modules.append(Gate(squeeze, row))
            elif row.role == "projection":
                modules += steps(row)
            else:
                modules.append(nn.Sequential(*steps(row)))
        self.conv = nn.Sequential(*modules)
"""

BLOCK_STATE = """        self.shortcut = shortcut
"""

BLOCK_PAD_STATE = """        self.shortcut = shortcut
        self.stride = max(row.s for row in rows)
        self.new_channels = rows[-1].c_out - rows[0].c_in
"""

BLOCK_WITHOUT = """
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
"""

BLOCK_ADD = """
    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut == "identity" else self.conv(x)
"""

BLOCK_PAD = """
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
"""

BLOCK_PADDED = """        if self.shortcut == "pad":
            if self.stride > 1:
                x = functional.avg_pool2d(x, self.stride, ceil_mode=True, count_include_pad=False)
            x = functional.pad(x, (0, 0, 0, 0, 0, self.new_channels))
        return x + y if self.shortcut != "none" else y
"""

NETWORK_HEAD = '''

class Network(nn.Module):
    """The units of `LAYERS` one after the other."""

    def __init__(self) -> None:
        super().__init__()
        units = []
        for number, group in groupby((Row(*row) for row in LAYERS), key=lambda row: row.unit):
            rows = list(group)
            if rows[0].role in ("stem", "last"):
                units.append(nn.Sequential(*steps(rows[0])))
            else:
                units.append(Block(rows, SHORTCUTS.get(number, "none")))
        self.features = nn.Sequential(*units)
'''

NETWORK_CLASSIFIER = """        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(FEATURES, CLASSES))
"""

NETWORK_FORWARD = """        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                nn.init.zeros_(module.bias)
{head}
    def forward(self, x: Tensor) -> Tensor:
"""

NETWORK_SIZE = """        if x.shape[-2:] != SIZE_PX:
            has, wants = (f"{height} x {width} px" for height, width in (x.shape[-2:], SIZE_PX))
            raise ValueError(f"the images are {has}, but must be {wants}")
"""

NETWORK_LOGITS = """        x = functional.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(x.flatten(1))
"""

NETWORK_FEATURES = """        return self.features(x)
"""

LOAD = '''

def network(weights: str | None = None) -> Network:
    """The network, untrained or with the weights of a file that holds its state dict."""
    model = Network()
    if weights is not None:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        model.load_state_dict(state.get("state_dict", state))
    return model
'''
