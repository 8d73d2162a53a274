"""The multiply-adds of a built network as counted by fvcore, for comparison with our count."""

from __future__ import annotations

import warnings

import torch

from mnv2search.model.build import MobileNet


def fvcore_madds(model: MobileNet) -> int:
    """The convolution and linear entries of fvcore's count for one image, without its norm and pooling entries.

    Source: fvcore, nn/flop_count.py: one multiply-add counts as one operation.
    """
    with warnings.catch_warnings():
        # fvcore 0.1.5 scripts a loss function at import, and traces. Both are deprecated, by a DeprecationWarning in
        # torch 2.13 and by a FutureWarning in torch 2.14.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
        from fvcore.nn import FlopCountAnalysis

        was_training = model.training
        image = torch.zeros(1, 3, *model.spec.size)
        analysis = FlopCountAnalysis(model.eval(), image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        counts = analysis.by_operator()
    model.train(was_training)
    return int(counts["conv"] + counts["linear"])
