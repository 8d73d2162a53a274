"""The text of the standalone module: a template whose parts are shown where the plan needs them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from string import Template

from mnv2search.export.formats.source_tables import constants, endpoints_inside, head_units, tables
from mnv2search.spec.model_spec import DeepLab, SsdLite
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Plan
from mnv2search.spec.size import Size

__all__ = ["source_text"]

# A line "%if WORD" begins a part, "%else" another in its place, and "%end" ends it.
TEMPLATE = Path(__file__).with_name("standalone_module.txt")
NAMES = "The names of the parameters are those of torchvision's `mobilenet_v2`"
# Output of a head -> what the module's answer is called.
ANSWERS = {"raw": "predictions", "resized": "logits"}


def source_text(plan: Plan, *, only_size: Size | None) -> str:
    """A Python module whose `network()` makes the network of `plan`.

    Args:
        plan: of the network.
        only_size: the only size of images that the network takes, or None if it takes any.
    """
    words, spec = _words(plan, only_size), plan.spec
    own_eps = isinstance(spec.head, DeepLab) and "batch_norm" in words
    head_norms = {layer.normalizer for unit in head_units(plan) for layer in unit.layers}
    answer = "logits" if plan.classifier is not None else "features"
    if isinstance(spec.head, SsdLite | DeepLab):
        answer = ANSWERS.get(spec.head.output, spec.head.output)
    return Template("".join(_shown(words))).substitute(
        name=spec.name.replace("\\", "\\\\").replace('"', '\\"'),
        size=spec.size,
        height=spec.size.height,
        width=spec.size.width,
        answer=answer,
        parameters=f"{NAMES}, and those of the head its own." if plan.dense else f"{NAMES}.",
        tables="\n\n".join(tables(plan)),
        constants="\n".join(constants(plan, only_size)),
        groups="int | tuple[tuple[int, int], ...]" if "uneven" in words else "int",
        norm_option=", norm_eps: float = NORM_EPS" if own_eps else "",
        norm_eps="norm_eps" if own_eps else "NORM_EPS",
        norm_groups=GROUP_NORM_GROUPS,
        head_eps=", HEAD_EPS" if own_eps and "batch" in head_norms else "",
    )


def _words(plan: Plan, only_size: Size | None) -> frozenset[str]:
    """The words of the template whose parts are shown."""
    head = plan.spec.head
    layers = [layer for unit in (*plan.features, *head_units(plan)) for layer in unit.layers]
    shortcuts = {unit.shortcut for unit in plan.features} - {"none"}
    output = head.output if isinstance(head, SsdLite | DeepLab) else ""
    said = {
        output: True,
        "padded": any(not layer.pad.is_even for layer in layers),
        "uneven": any(len(set(layer.parts)) > 1 for layer in layers),
        "batch_norm": any(layer.normalizer == "batch" for layer in layers),
        "group_norm": any(layer.normalizer == "group" for layer in layers),
        "gated": any(layer.role == "squeeze" for layer in layers),
        "block": any(unit.kind == "block" for unit in plan.features),
        "shortcut": bool(shortcuts),
        "pooled_shortcut": "pad" in shortcuts,
        "inside": bool(endpoints_inside(plan)),
        "dense": bool(plan.dense),
        "detector": isinstance(head, SsdLite),
        "decodes": isinstance(head, SsdLite) and output != "raw",
        "enlarges": output in ("resized", "classes"),
        "one_size": only_size is not None,
        "classifier": plan.classifier is not None,
        "features": plan.classifier is None and not plan.dense,
    }
    said["functional"] = said["padded"] or said["gated"] or said["pooled_shortcut"] or head is not None
    return frozenset(word for word, is_true in said.items() if is_true)


def _shown(words: Collection[str]) -> Iterator[str]:
    """The lines of the template outside the parts of other words."""
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
