"""ncnn on a CPU; the artifact is ``model.param`` and ``model.bin``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import ncnn
import numpy as np

from mnv2search.latency.runner.engine import EngineError, Loaded, Settings, image

if TYPE_CHECKING:
    from numpy.typing import NDArray


# The names that pnnx uses.
INPUT, OUTPUT = "in0", "out0"


def version() -> str:
    """The version of ncnn."""
    return str(ncnn.__version__)


def refusal(precision: str) -> str:
    """The reason why this processor does not support a precision, if it does not."""
    if precision != "fp16" or ncnn.cpu_support_arm_asimdhp():
        return ""
    return "ncnn computes in fp16 on Arm v8.2 processors only, and this is none"


def load(folder: str, settings: Settings) -> Loaded:
    """The network in light mode, with ncnn's own choice of algorithms and of layout.

    A run creates an extractor, sets its input and extracts the output, as a typical program does; memory comes from
    pools of the network that persist from run to run.
    """
    half = settings["precision"] == "fp16"
    net = ncnn.Net()
    net.opt.num_threads = settings["threads"]
    net.opt.lightmode = True
    net.opt.use_vulkan_compute = False
    net.opt.use_bf16_storage = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = half
    for read, name in ((net.load_param, "model.param"), (net.load_model, "model.bin")):
        if read(os.path.join(folder, name)) != 0:
            raise EngineError("ncnn cannot read " + name)
    # A Mat borrows the memory of an array without keeping it, so the array must outlive the copy.
    borrowed = image(1, settings["size"])[0]
    fixed = ncnn.Mat(borrowed).clone()

    def extract() -> ncnn.Mat:
        extractor = net.create_extractor()
        extractor.input(INPUT, fixed)
        failed, values = extractor.extract(OUTPUT)
        if failed:
            raise EngineError(f"ncnn cannot compute the output, code {failed}")
        return values

    def output() -> NDArray[np.float32]:
        return np.array(extract(), np.float32)[None]

    extract()
    return Loaded(run=extract, output=output)
