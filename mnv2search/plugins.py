"""Registry of devices, hosts, evaluators, heads, tasks and exporters by name: built-in, then entry points."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from mnv2search.errors import OptionError, UnknownNameError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

Factory: TypeAlias = Callable[..., Any]
Option: TypeAlias = bool | int | float | str

# The largest integer that native code accepts.
MOST_INT = 2**31 - 1
# Characters of a value shown in a message.
SHOWN = 80

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "device": {
        "onnxruntime": "mnv2search.latency.runtimes.onnxruntime:OnnxRuntime",
        "litert": "mnv2search.latency.runtimes.litert:LiteRt",
        "executorch": "mnv2search.latency.runtimes.executorch:ExecuTorch",
        "openvino": "mnv2search.latency.runtimes.openvino:OpenVino",
        "ncnn": "mnv2search.latency.runtimes.ncnn:Ncnn",
        "torch": "mnv2search.latency.runtimes.torch_cpu:TorchDevice",
        "torch-cuda": "mnv2search.latency.runtimes.torch_cuda:TorchCuda",
        "tensorrt": "mnv2search.latency.runtimes.tensorrt:TensorRt",
        "simulated": "mnv2search.latency.runtimes.simulated:SimulatedDevice",
    },
    "host": {
        "ssh": "mnv2search.latency.hosts.ssh:SshTransport",
        "adb": "mnv2search.latency.hosts.adb:AdbTransport",
    },
    "evaluator": {
        "imagenet": "mnv2search.accuracy.evaluators.imagenet:ImagenetEvaluator",
        "train": "mnv2search.accuracy.evaluators.train:TrainEvaluator",
        "supernet": "mnv2search.accuracy.evaluators.supernet:SupernetEvaluator",
        "proxy": "mnv2search.accuracy.scores:ProxyEvaluator",
        "train-dense": "mnv2search.accuracy.evaluators.train:TrainDenseEvaluator",
        "command": "mnv2search.accuracy.evaluators.command:CommandEvaluator",
        "python": "mnv2search.accuracy.evaluators.python:PythonEvaluator",
        "recorded": "mnv2search.accuracy.evaluators.recorded:RecordedEvaluator",
    },
    "head": {},  # the built-in heads are in `mnv2search.spec.heads.registry`
    "task": {
        "classification": "mnv2search.tasks.classification:Classification",
        "detection": "mnv2search.tasks.detection:Detection",
        "segmentation": "mnv2search.tasks.segmentation:Segmentation",
    },
    "exporter": {
        "pt": "mnv2search.export.formats.state_dict:StateDictExporter",
        "pt2": "mnv2search.export.formats.exported_program:ExportedProgramExporter",
        "onnx": "mnv2search.export.formats.onnx:OnnxExporter",
        "tflite": "mnv2search.export.formats.tflite:TfliteExporter",
        "pte": "mnv2search.export.formats.executorch:ExecuTorchExporter",
        "mlpackage": "mnv2search.export.formats.coreml:CoreMlExporter",
        "py": "mnv2search.export.formats.source:SourceExporter",
    },
}


def entry_points(group: str) -> EntryPoints:
    """The entry points of a group in all installed packages."""
    from importlib import metadata  # late: it takes long to import, and built-in names do not need it

    return metadata.entry_points(group=group)


def names(kind: str) -> tuple[str, ...]:
    """Every name of a kind (`device`, `host`, `evaluator`, `head`, `task`, `exporter`), built-in names first."""
    built_in = tuple(BUILT_IN[kind])
    found = sorted(e.name for e in entry_points(group=f"mnv2search.{kind}s"))
    return built_in + tuple(n for n in found if n not in built_in)


def load(kind: str, name: str) -> Factory:
    """The factory with a name; entry points are searched only if the built-in table lacks the name.

    Raises:
        UnknownNameError: neither the table nor an entry point of the group ``mnv2search.<kind>s`` has the name.
    """
    if target := BUILT_IN[kind].get(name):
        return imported(target)
    for entry in entry_points(group=f"mnv2search.{kind}s"):
        if entry.name == name:
            return cast(Factory, entry.load())
    raise UnknownNameError(kind, name, names(kind))


def imported(target: str) -> Factory:
    """The object named by ``package.module:attribute``, whose module is imported."""
    module, _, attribute = target.partition(":")
    return cast(Factory, getattr(importlib.import_module(module), attribute))


def checked_options(factory: Factory, options: Mapping[str, str], *, owner: str) -> dict[str, Option]:
    """Text options such as ``{"threads": "1"}``, converted to the types of the factory's keyword-only parameters.

    The parameters are annotated `int`, `float`, `bool` or `str`; messages name the owner, such as

    ``device onnxruntime``.

    Raises:
        UnknownNameError: the factory does not have an option.
        OptionError: a value cannot be converted, or an option without a default is missing.
    """
    parameters = inspect.signature(factory).parameters
    known = {n: p for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    checked: dict[str, Option] = {}
    for name, text in options.items():
        if name not in known:
            raise UnknownNameError(f"option of {owner}", name, known)
        checked[name] = _convert(text, str(known[name].annotation), f"{owner}: {name}")
    missing = [
        name for name, parameter in known.items() if parameter.default is parameter.empty and name not in checked
    ]
    if missing:
        name = "data" if "data" in missing else missing[0]
        hint = "add --data DATA" if name == "data" else f"write {owner.rsplit(maxsplit=1)[-1]}:{name}=VALUE"
        raise OptionError(f"{owner} needs its option {name}", hint=hint)
    return checked


def _convert(text: str, annotation: str, where: str) -> Option:
    kind = annotation.removeprefix("<class '").removesuffix("'>").split("|")[0].strip()
    if kind == "bool":
        if text.lower() not in {"true", "false", "yes", "no", "1", "0"}:
            raise OptionError(f"{where} is {text[:SHOWN]!r}", hint="write true or false")
        return text.lower() in {"true", "yes", "1"}
    if kind not in {"int", "float"}:
        return text
    try:
        number = int(text) if kind == "int" else float(text)
    except ValueError:
        raise OptionError(f"{where} is {text[:SHOWN]!r}", hint=f"write a number ({kind})") from None
    if not abs(number) <= (MOST_INT if kind == "int" else sys.float_info.max):
        raise OptionError(f"{where} is {text[:SHOWN]!r}", hint="write a finite, smaller number")
    return number
