"""Files of weights that run a program where a reader unpickles them or evaluates their text."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["PROGRAMS", "Payload", "members", "packed"]

Members = dict[str, bytes]


class Payload:
    """An object whose unpickling makes a folder."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.made),)


def members(content: bytes) -> Members:
    """The members of a zip file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(content: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file.getvalue()


def saved(value: object) -> bytes:
    """What `torch.save` writes of it."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def with_json(content: Members, name: str, change: Callable[[Any], object]) -> Members:
    """The members with a change in one that holds JSON."""
    value = json.loads(content[name])
    change(value)
    return {**content, name: json.dumps(value).encode()}


def pickled_weight(content: Members, made: Path) -> Members:
    def change(config: Any) -> None:
        next(iter(config["config"].values()))["use_pickle"] = True

    changed = with_json(content, "archive/data/weights/model_weights_config.json", change)
    return {**changed, "archive/data/weights/weight_0": saved(Payload(made))}


def sample_inputs(content: Members, made: Path) -> Members:
    return {**content, "archive/data/sample_inputs/model.pt": saved(Payload(made))}


def opaque_constant(content: Members, made: Path) -> Members:
    def change(config: Any) -> None:
        config["config"]["c"] = {
            "path_name": "opaque_obj_0",
            "is_param": False,
            "use_pickle": True,
            "tensor_meta": None,
        }

    changed = with_json(content, "archive/data/constants/model_constants_config.json", change)
    return {**changed, "archive/data/constants/opaque_obj_0": pickle.dumps(Payload(made))}


def legacy_weights(content: Members, made: Path) -> Members:
    without = {name: data for name, data in content.items() if not name.startswith("archive/data/weights/")}
    return {**without, "archive/data/weights/model.pt": saved(Payload(made))}


def expression(content: Members, made: Path) -> Members:
    def change(program: Any) -> None:
        values = program["graph_module"]["graph"]["tensor_values"]
        values["x"]["sizes"][0]["as_expr"]["expr_str"] = f"__import__('os').mkdir({str(made)!r})"

    return with_json(content, "archive/models/model.json", change)


PROGRAMS: Mapping[str, Callable[[Members, Path], Members]] = {
    "pickled-weight": pickled_weight,
    "sample-inputs": sample_inputs,
    "opaque-constant": opaque_constant,
    "legacy-weights": legacy_weights,
    "expression": expression,
}
"""The ways in which a `.pt2` file runs a program under `torch.export.load`: of the members of a sound file, those of
one that makes a folder."""
