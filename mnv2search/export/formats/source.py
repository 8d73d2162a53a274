"""A readable Python module of the network, which depends only on torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from string import Template
from typing import cast

import torch
from torch import Tensor

from mnv2search.data.preprocessing import Preprocessing
from mnv2search.export.check import Run, network, write_checked
from mnv2search.export.formats.source_tables import (
    constants,
    endpoints_inside,
    head_units,
    preprocessing_constants,
    tables,
)
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.network_file import learned_beside
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Plan
from mnv2search.spec.size import Size

# A line "%if WORD" begins a part, "%else" its alternative, and "%end" ends the part.
TEMPLATE = Path(__file__).with_name("standalone_module.txt")
NAMES = "The names of the parameters are those of torchvision's `mobilenet_v2`"
# Output of a head -> name of the module's output.
ANSWERS = {"raw": "predictions", "resized": "logits"}


class SourceExporter:
    """`.py`: the layers as a table, and the classes they need; loads the weights from the `.pt` of the same spec."""

    suffix = ".py"

    def export(self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int) -> ExportReport:
        """Write the module, run it with the network's weights and compare the two."""
        model = network(spec, weights=weights, seed=seed)
        preprocessing = Preprocessing.of(model.plan, learned_beside(weights))
        text = source_text(model.plan, only_size=model.only_size, preprocessing=preprocessing)
        load = partial(_run, text, model)
        return write_checked(model, to, seed=seed, content=text.encode(), load=load)


def _run(text: str, model: MobileNet, path: Path) -> Run:
    """The network created by an exported module, with the weights of `model`; `path` is only for tracebacks.

    The module runs in a separate namespace and is not imported, so that no bytecode is cached next to it.
    """
    namespace: dict[str, object] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(text, path, "exec"), namespace)
    made = cast("Callable[[], torch.nn.Module]", namespace["network"])()
    made.load_state_dict(model.state_dict())
    made.eval()

    def run(images: Tensor) -> Tensor:
        return cast(Tensor, made(images))

    return run


def source_text(plan: Plan, *, only_size: Size | None, preprocessing: Preprocessing) -> str:
    """A Python module whose `network()` creates the network of `plan`, for images of `only_size` (None for any).

    Its `preprocess()` converts an image file, if the preprocessing is known.
    """
    words, spec = {*_layer_words(plan), *_words(plan, only_size), *_preprocessing_words(preprocessing)}, plan.spec
    own_eps = isinstance(spec.head, DeepLab) and "batch_norm" in words
    head_norms = {layer.normalizer for unit in head_units(plan) for layer in unit.layers}
    return Template("".join(_shown(words))).substitute(
        name=spec.name.replace("\\", "\\\\").replace('"', '\\"'),
        size=spec.size,
        height=spec.size.height,
        width=spec.size.width,
        answer=_answer(plan),
        parameters=f"{NAMES}, and those of the head its own." if plan.dense else f"{NAMES}.",
        tables="\n\n".join(tables(plan)),
        constants="\n".join([*constants(plan, only_size), *preprocessing_constants(preprocessing)]),
        output_line=f"Output: {preprocessing.meaning}.",
        groups="int | tuple[tuple[int, int], ...]" if "uneven" in words else "int",
        norm_option=", norm_eps: float = NORM_EPS" if own_eps else "",
        norm_eps="norm_eps" if own_eps else "NORM_EPS",
        norm_groups=GROUP_NORM_GROUPS,
        head_eps=", HEAD_EPS" if own_eps and "batch" in head_norms else "",
    )


def _answer(plan: Plan) -> str:
    head = plan.spec.head
    if isinstance(head, SsdLite | DeepLab):
        return ANSWERS.get(head.output, head.output)
    return "logits" if plan.classifier is not None else "features"


def _layer_words(plan: Plan) -> Iterator[str]:
    layers = [layer for unit in (*plan.features, *head_units(plan)) for layer in unit.layers]
    words = {"padded": any(not layer.pad.is_even for layer in layers)}
    words["uneven"] = any(len(set(layer.parts)) > 1 for layer in layers)
    words["gated"] = any(layer.role == "squeeze" for layer in layers)
    shortcuts = {unit.shortcut for unit in plan.features}
    words["pooled_shortcut"] = "pad" in shortcuts
    words["shortcut"] = shortcuts != {"none"}
    words["functional"] = words["padded"] or words["gated"] or words["pooled_shortcut"] or plan.spec.head is not None
    yield from (word for word, is_true in words.items() if is_true)
    yield from {f"{layer.normalizer}_norm" for layer in layers}


def _words(plan: Plan, only_size: Size | None) -> Iterator[str]:
    head = plan.spec.head
    output = head.output if isinstance(head, SsdLite | DeepLab) else ""
    words = {
        output: True,
        "block": any(unit.kind == "block" for unit in plan.features),
        "inside": bool(endpoints_inside(plan)),
        "dense": bool(plan.dense),
        "detector": isinstance(head, SsdLite),
        "decodes": isinstance(head, SsdLite) and output != "raw",
        "enlarges": output in ("resized", "classes"),
        "one_size": only_size is not None,
        "classifier": plan.classifier is not None,
        "features": plan.classifier is None and not plan.dense,
    }
    return (word for word, is_true in words.items() if is_true)


def _preprocessing_words(preprocessing: Preprocessing) -> Iterator[str]:
    if preprocessing.is_whole:
        yield "whole"
    if preprocessing.is_whole or preprocessing.short_px is not None:
        yield "preprocess"


def _shown(words: Collection[str]) -> Iterator[str]:
    """The lines of the template, without the parts of words that are not in `words`."""
    shown = [True]
    for line in TEMPLATE.read_text(encoding="utf-8").splitlines(keepends=True):
        match line.split():
            case ["%if", word]:
                shown.append(word in words)
            case ["%else"]:
                shown[-1] = not shown[-1]
            case ["%end"]:
                shown.pop()
            case _ if all(shown):
                yield line
