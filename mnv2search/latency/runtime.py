"""Runtimes: conversion of networks to files, and devices that load these on this machine."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.device import Device, check_options, check_threads, options_text, processor, processors
from mnv2search.latency.runner import engine as runner
from mnv2search.latency.runner import identity
from mnv2search.latency.runner.cores import CoresError, pin
from mnv2search.latency.types import BurstRequest, DeviceInfo, Runner
from mnv2search.lowering.types import Artifact, NetworkArrays
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, plan

if TYPE_CHECKING:
    from torch import nn

    from mnv2search.lowering.quantize import Ranges


class Runtime(ABC):
    """Conversion of networks to artifacts of one runtime, which must be installed only for loading artifacts.

    `threads` is the number of threads within one operator, `batch` the images per inference, and `precision` (of
    weights and activations) one of `precisions`; other values raise an OptionError.
    """

    name: ClassVar[str]
    """The name in device texts, such as ``litert``."""
    engine: ClassVar[str]
    """The module that loads its artifacts; see `mnv2search.latency.runner.engines`."""
    files: ClassVar[tuple[str, ...]] = ()
    """The names of the files of an artifact."""
    delegate: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    native: ClassVar[str] = ""
    """The class of its own benchmark program, as ``module:name``; see `mnv2search.latency.remote.native.Native`."""
    extra: ClassVar[str] = ""
    """The optional dependency of mnv2search that installs the runtime."""
    converters: ClassVar[tuple[str, str]] = ("", "")
    """The converter and the quantizer that `convert` uses; ``{package}`` stands for a package's version."""

    def __init__(self, *, threads: int = 1, batch: int = 1, precision: str = "fp32") -> None:
        check_options(self.name, self.precisions, precision=precision, threads=threads, batch=batch)
        self.threads = threads
        self.batch = batch
        self.precision = precision

    @abstractmethod
    def lower(self, network: Plan, weights: NetworkArrays | None = None) -> Artifact:
        """The network as files, written directly from the plan; None takes arbitrary weights.

        A DeviceError states which block the runtime cannot run, and why.
        """

    def convert(self, network: Plan, module: nn.Module) -> Artifact:
        """The network as files from the runtime's own converter, for comparison with `lower`.

        `module` is the PyTorch network of the plan in evaluation mode. A DeviceError means that the converter is not
        installed, or refuses the network.
        """
        raise DeviceError(
            f"{self.name} has no converter for the network {network.spec.name} ({type(module).__name__})"
        )

    @property
    def converter(self) -> str:
        """The converter that `convert` uses, with its version, such as ``torch.onnx.export 2.13.0``."""
        names = filter(None, self.converters if self.precision == "int8" else self.converters[:1])
        return " and ".join(map(_with_versions, names)) or f"the converter of {self.name}"

    def _artifact(self, *contents: bytes) -> Artifact:
        return Artifact(files=tuple(zip(self.files, contents, strict=True)))

    def _ranges(self, network: Plan, weights: NetworkArrays | None) -> Ranges | None:
        """The ranges of the network's tensors on random images; None unless the precision is an integer type."""
        if self.precision != "int8":
            return None
        from mnv2search.lowering.ranges import ranges_of  # late: it loads ONNX Runtime

        return ranges_of(network, weights)

    @property
    def options(self) -> tuple[str, ...]:
        """The options that open the runtime again, as ``key=value``."""
        return (f"threads={self.threads}", *options_text(batch=self.batch, precision=self.precision))

    def info(
        self, identity: identity.Identity, *, version: str, pinned: str, options: Sequence[str], host: str = "local"
    ) -> DeviceInfo:
        """The description of this runtime on a machine; `options` are those of the device, not of the runtime."""
        return DeviceInfo(
            name=f"{self.name}:{','.join((*self.options, *options))}{'' if host == 'local' else f'@{host}'}",
            hardware=identity["processor"],
            runtime=self.name,
            runtime_version=version,
            host=host,
            threads=self.threads,
            dtype=self.precision,
            batch=self.batch,
            delegate=self.delegate,
            system=identity["system"],
            machine=identity["machine"],
            cores=identity["cores"],
            pinned=pinned,
            governor=identity["governor"],
            temperature_c=identity["temperature_c"],
        )

    def settings(self, spec: ModelSpec) -> runner.Settings:
        """The settings that are passed to the engine with the files."""
        return {"threads": self.threads, "batch": self.batch, "size": list(spec.size), "precision": self.precision}


def _with_versions(text: str) -> str:
    """The text with versions instead of ``{package}``, or without the versions if a package is not installed."""
    try:
        return re.sub(r"\{(.+?)\}", lambda match: metadata.version(match[1]), text)
    except metadata.PackageNotFoundError:
        return re.sub(r" \{.+?\}", "", text)


def not_installed(what: str, extra: str, error: ImportError) -> DeviceError:
    """The error for a converter that is not installed."""
    return DeviceError(f"{what} cannot be imported ({error})", hint=f"pip install 'mnv2search[{extra}]'")


class RuntimeDevice(Device):
    """A runtime on this machine.

    The opening thread is pinned to `cores`, ``big`` or numbers such as ``4-7``, until the device is closed.

    Raises:
        DeviceError: the runtime is not installed.
        OptionError: more threads than processors, unknown cores, or a precision that this processor does not support.
    """

    def __init__(self, runtime: Runtime, *, cores: str = "") -> None:
        check_threads(runtime.name, runtime.threads, processors())
        try:
            version = runner.version(runtime.engine)
        except runner.EngineError as error:
            hint = f"pip install 'mnv2search[{runtime.extra}]'" if runtime.extra else ""
            raise DeviceError(f"device {runtime.name} cannot be used: {error}", hint=hint) from error
        if why := runner.refusal(runtime.engine, runtime.precision):
            others = [p for p in runtime.precisions if not runner.refusal(runtime.engine, p)]
            raise OptionError(
                f"device {runtime.name} has no {runtime.precision} here: {why}", hint=f"use {' or '.join(others)}"
            )
        self._before = os.sched_getaffinity(0) if cores else None
        try:
            pinned = pin(cores)
        except CoresError as error:
            raise OptionError(f"device {runtime.name}: {error}") from error
        options = [f"cores={cores}"] if cores else []
        here: identity.Identity = {**identity.identity(), "processor": processor(), "cores": processors()}
        super().__init__(runtime.info(here, version=version, pinned=pinned, options=options))
        self.runtime = runtime

    def _close(self) -> None:
        if self._before is not None:
            os.sched_setaffinity(0, self._before)

    def prepare(self, spec: ModelSpec) -> Runner:
        """The network lowered and loaded."""
        return self._loaded(self.runtime.lower(plan(spec)), spec).run

    def output(self, artifact: Artifact, spec: ModelSpec) -> NDArray[np.float32]:
        """The output of a network's artifact for the fixed image; a DeviceError if the runtime refuses it."""
        return np.asarray(self._loaded(artifact, spec).output(), np.float32)

    def time_artifacts(self, bursts: Sequence[tuple[Artifact, BurstRequest]]) -> list[list[tuple[int, int]]]:
        """(wall, CPU) time in ns of the runs of a burst of each artifact, in the order given; each is loaded once."""
        loaded: dict[str, Runner] = {}
        for artifact, request in bursts:
            if artifact.digest not in loaded:
                loaded[artifact.digest] = self._loaded(artifact, request.spec).run
        return [request.timed(loaded[artifact.digest], self.clock) for artifact, request in bursts]

    def step_times(self, spec: ModelSpec, *, runs: int) -> Mapping[str, float]:
        """Median time in ms of every step of a network by its name; see `StepTimer`."""
        with self._written(self.runtime.lower(plan(spec)), spec) as folder:
            return runner.step_times(self.runtime.engine, folder, self.runtime.settings(spec), runs)

    def _loaded(self, artifact: Artifact, spec: ModelSpec) -> runner.Loaded:
        with self._written(artifact, spec) as folder:
            return runner.load(self.runtime.engine, folder, self.runtime.settings(spec))

    @contextlib.contextmanager
    def _written(self, artifact: Artifact, spec: ModelSpec) -> Iterator[str]:
        """A folder with an artifact; errors of the runtime that uses it name the network."""
        with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder:
            artifact.write(Path(folder))
            try:
                yield folder
            except runner.EngineError as error:
                raise DeviceError(f"{self.runtime.name} refuses the network {spec.name}: {error}") from error
            except MemoryError as error:
                images = "an image" if self.runtime.batch == 1 else f"{self.runtime.batch:,} images"
                raise DeviceError(
                    f"{self.runtime.name}: the network {spec.name} with {images} does not fit in memory ({error})",
                    hint="use a smaller batch",
                ) from error
