"""ExecuTorch on a CPU with its XNNPACK delegate; the artifact is ``model.pte`` with the method ``forward``."""

from __future__ import annotations

import os
import warnings
from importlib import metadata
from typing import TYPE_CHECKING, Set

import numpy as np

from mnv2search.latency.runner.engine import EngineError, Loaded, Settings, image, quiet
from mnv2search.latency.runner.identity import half_refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray


# At import, so that a machine without ExecuTorch reports this before anything is loaded.
VERSION = metadata.version("executorch")
# Thread count that this process has used; loaded networks keep a pointer to the thread pool.
_threads: Set[int] = set()


def version() -> str:
    """The version of ExecuTorch."""
    return VERSION


def refusal(precision: str) -> str:
    """The reason why this processor does not support a precision, if it does not."""
    return half_refusal("XNNPACK") if precision == "fp16" else ""


def load(folder: str, settings: Settings) -> Loaded:
    """The program, loaded, with the image in its input.

    With one thread, XNNPACK computes in the calling thread.
    """
    # ExecuTorch prints properties of the processor and its thread count.
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExecuTorch 1.5 calls functions that torch 2.13 deprecates
        import torch
        from executorch.extension.pybindings import portable_lib

        threads = settings["threads"]
        if _threads - {threads}:
            raise EngineError(
                "ExecuTorch has one pool of threads for a process: this one has used {}, so it cannot use {}".format(
                    *_threads, threads
                )
            )
        if not _threads:
            portable_lib._unsafe_reset_threadpool(threads)
            _threads.add(threads)
        try:
            program = portable_lib._load_program(os.path.join(folder, "model.pte"))
            method = program.load_method("forward")
            method.set_inputs((torch.from_numpy(image(settings["batch"], settings["size"])),))
            method.execute()
        except RuntimeError as error:
            raise EngineError(str(error)) from error

    def run() -> None:
        _ = program  # the method borrows from it
        method.execute()

    def output() -> NDArray[np.float32]:
        run()
        return np.array(method.get_outputs()[0].numpy(), np.float32)

    return Loaded(run=run, output=output)
