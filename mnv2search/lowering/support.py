"""What a kind of file cannot hold, said before anything is written."""

from __future__ import annotations

from mnv2search.errors import OptionError
from mnv2search.spec.plan import Plan

__all__ = ["refuse_dense"]


def refuse_dense(plan: Plan, what: str) -> None:
    """Refuse a network whose head reads several maps.

    Args:
        plan: the network.
        what: that cannot hold it, such as ``ncnn``.

    Raises:
        OptionError: the network detects or segments.
    """
    if plan.dense:
        raise OptionError(
            f"{what} cannot take {plan.spec.name}: its head reads several maps, and it holds chains of layers only",
            hint="use ONNX, which onnxruntime and openvino run, or PyTorch",
        )
