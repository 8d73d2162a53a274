"""The base class of exporters whose files are written directly from the plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from mnv2search.atomic import write_text
from mnv2search.data.preprocessing import Layout, Preprocessing
from mnv2search.export.arrays import layer_arrays
from mnv2search.export.check import Run, accept, difference, network, write_checked
from mnv2search.export.precision import FP32, Precision
from mnv2search.lowering.quantize import Ranges
from mnv2search.lowering.types import NetworkArrays
from mnv2search.model.build import MobileNet, build
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.model.weights.network_file import learned_beside
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite
from mnv2search.spec.plan import Plan


class NetworkContent(NamedTuple):
    """The content of a file: a plan with its weights and, for int8, ranges of activations.

    `preprocessing` is None for files that are only compared with the network.
    """

    plan: Plan
    arrays: NetworkArrays
    ranges: Ranges | None
    precision: Precision
    preprocessing: Preprocessing | None = None


class LoweredExporter(ABC):
    """An exporter that lowers a plan to bytes, and runs them in the format's runtime.

    Attributes:
        layout: layout of images and maps in a file.
        has_metadata: a file has room for the preprocessing; otherwise it is written to ``FILE.json``.
    """

    suffix: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]
    layout: ClassVar[Layout] = "NCHW"
    has_metadata: ClassVar[bool] = True

    def check(self, spec: ModelSpec) -> None:
        """Refuse a network that the format does not support or that cannot be compared; see `CheckingExporter`."""
        del spec  # a format for every network, whose runtime is always installed

    @abstractmethod
    def lowered(self, content: NetworkContent) -> bytes:
        """The bytes of a file, including the preprocessing if the format has metadata."""

    @abstractmethod
    def run(self, source: Path | bytes) -> Run:
        """The function computed by a file or by its content."""

    def load(self, path: Path) -> Run:
        """The function computed by the network in a file."""
        return self.run(path)

    def export(
        self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int, precision: Precision = FP32
    ) -> ExportReport:
        """Write a file, load it and compare it with the network; also raises the errors of `check`."""
        self.check(spec)
        model = network(spec, weights=weights, seed=seed)
        arrays = layer_arrays(model)
        ranges = precision.ranges(model.plan, arrays)
        preprocessing = Preprocessing.of(model.plan, learned_beside(weights))
        content = NetworkContent(model.plan, arrays, ranges, precision, preprocessing)

        def run(plan: Plan) -> Run:
            return self.run(self.lowered(content._replace(plan=plan, preprocessing=None)))

        reference = _choice_of(model, to, seed=seed, precision=precision, run=run)
        report = write_checked(
            model,
            to,
            seed=seed,
            content=self.lowered(content),
            load=self.load,
            precision=precision,
            reference=reference,
        )
        if not self.has_metadata:
            write_text(to.with_name(f"{to.name}.json"), f"{preprocessing.text(self.layout)}\n")
        return report


def _choice_of(
    model: MobileNet, to: Path, *, seed: int, precision: Precision, run: Callable[[Plan], Run]
) -> Run | None:
    """The expected function of a file with non-maximum suppression or class maps; None for other files.

    The choice between two boxes or classes with nearly the same score depends on the last bit. Therefore the boxes,
    or the logits of every pixel, of the same format are compared with the network's, and the choice is compared with
    the network's choice from these.

    `run` returns the function of a file in the same format, for a network with the weights of `model`.
    """
    twin_spec = _without_choice(model.spec)
    if twin_spec is None:
        return None
    twin = build(twin_spec, seed=0)
    twin.load_state_dict(model.state_dict())
    numbers, head = run(twin.plan), model.head
    accept(difference(twin.eval(), numbers, seed=seed, precision=precision), precision, to)
    if isinstance(head, SsdLiteHead):
        selected = head.detections
        return lambda images: selected(numbers(images))
    return lambda images: numbers(images).argmax(1)


def _without_choice(spec: ModelSpec) -> ModelSpec | None:
    head = spec.head
    if isinstance(head, SsdLite) and head.output == "detections":
        return replace(spec, head=replace(head, output="boxes"))
    if isinstance(head, DeepLab) and head.output == "classes":
        return replace(spec, head=replace(head, output="resized"))
    return None
