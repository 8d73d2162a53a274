"""The head of a segmenter: its fields, their rules and its units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from mnv2search.errors import Problem, SpecError
from mnv2search.spec.heads.base import Backbone, Endpoint, Head, endpoint_or, head_unit
from mnv2search.spec.layers import ONE, POINT, Layer, Style, Unit, Window, depthwise, pointwise, predictor, whole
from mnv2search.spec.rows import Activation, BatchNorm
from mnv2search.spec.rules import Channels, Entries, Options, Range
from mnv2search.spec.size import Size

SegmenterOutput = Literal["logits", "resized", "classes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepLab(Head):
    """DeepLabV3 segmentation: parallel branches on the final map, their concatenation, and logits for every pixel.

    Attributes:
        classes: number of classes, background included.
        channels: output channels of every branch and of the projection of their concatenation.
        image_pooling: adds a branch that averages the map and broadcasts the mean over it.
        aspp_rates: dilations of the atrous 3x3 branches; none builds no such branch.
        aspp_separable: an atrous branch is a depthwise convolution followed by a 1x1; else one full convolution.
        decoder_stride: input side over the side at which a decoder refines the features; none builds no decoder.
        decoder_tap: endpoint that the decoder reads; auto takes the depthwise output of the last block of its stride.
        decoder_channels: channels to which the decoder's tap is projected.
        dropout: dropout rate of the projected channels in training.
        activation: activation after every convolution of the head.
        norm_eps: eps of the head's batch norm.
        output: logits keeps the side of the map, resized enlarges the logits to the image, classes is the index of
            the highest logit for each pixel of the image.

    Source: tensorflow/models, deeplab/model.py and deeplab/common.py.
    """

    word: ClassVar[str] = "deeplab"
    module: ClassVar[str] = "mnv2search.model.deeplab:DeepLabHead"

    classes: Annotated[int, Range(2, 10_000)] = 21
    channels: Channels = 256
    image_pooling: bool = True
    aspp_rates: Annotated[tuple[Annotated[int, Range(1, 256)], ...], Entries(0)] = ()
    aspp_separable: bool = True
    decoder_stride: Annotated[int, Options((2, 4, 8, 16), "use 2, 4, 8 or 16, or leave it out")] | None = None
    decoder_tap: Annotated[str, endpoint_or("auto")] = "auto"
    decoder_channels: Channels = 48
    dropout: Annotated[float, Range(0, 0.99)] = 0.1
    activation: Activation = "relu"
    norm_eps: Annotated[float, Range(0, 1, is_open=True)] = 1e-5
    output: SegmenterOutput = "resized"

    def problems(self) -> Iterator[Problem]:
        """The problem of a tap without a decoder."""
        if self.decoder_stride is None and self.decoder_tap != "auto":
            yield Problem(
                at="decoder_tap",
                what=f"decoder_tap is {self.decoder_tap}, but there is no decoder",
                fix="write decoder_stride too, or leave decoder_tap out",
            )

    def norm_of(self, batch_norm: BatchNorm) -> BatchNorm:
        """The network's batch-norm constants with the head's own eps."""
        return replace(batch_norm, eps=self.norm_eps)

    def units(self, backbone: Backbone) -> Iterator[tuple[str, Unit]]:
        """Branches, projection, decoder, logits.

        Source: deeplab/model.py, `extract_features` and `refine_by_decoder`.
        """
        style = backbone.head_style._replace(activation=self.activation)
        branches = list(self._branches(backbone.last, style))
        yield from (("head", unit) for unit in branches)
        joined = [Endpoint(unit.name, unit.c_out, unit.size_out) for unit in branches]
        layer = pointwise(sum(tensor.channels for tensor in joined), self.channels, backbone.last.size, style)
        unit = head_unit("join", "head/join", joined, (layer,))
        yield "head", unit
        if self.decoder_stride is not None:
            source = self._decoder_source(backbone, self.decoder_stride)
            layer = pointwise(source.channels, self.decoder_channels, source.size, style)
            tap = head_unit("tap", "head/tap", [source], (layer,))
            yield "head", tap
            unit = self._decoder(unit, tap, style)
            yield "head", unit
        last = Endpoint(unit.name, unit.c_out, unit.size_out)
        layer = predictor(last.channels, self.classes, ONE, last.size, style)
        unit = head_unit("logits", "head/logits", [last], (layer,))
        yield "head", unit
        if self.output != "logits":
            numbers = (unit.c_out, unit.c_out, unit.size_out, backbone.size, 1)
            yield "head", Unit("resize", (), *numbers, "none", None, "head/resized", (unit.name,))

    def _branches(self, final: Endpoint, style: Style) -> Iterator[Unit]:
        if self.image_pooling:
            layer = pointwise(final.channels, self.channels, POINT, style)
            unit = head_unit("pooling", "head/pooling", [final], (layer,))
            yield unit._replace(size_in=final.size, size_out=final.size)
        one = pointwise(final.channels, self.channels, final.size, style)
        yield head_unit("branch", "head/aspp_0", [final], (one,))
        for number, rate in enumerate(self.aspp_rates, start=1):
            layers: tuple[Layer, ...] = _separable(final.channels, self.channels, rate, final.size, style)
            if not self.aspp_separable:
                layers = (whole(final.channels, self.channels, Window(3, 1, rate), final.size, style),)
            yield head_unit("branch", f"head/aspp_{number}", [final], layers)

    def _decoder(self, joined: Unit, tap: Unit, style: Style) -> Unit:
        read = [Endpoint(unit.name, unit.c_out, tap.size_out) for unit in (joined, tap)]
        first = _separable(joined.c_out + tap.c_out, self.channels, 1, tap.size_out, style)
        second = _separable(self.channels, self.channels, 1, tap.size_out, style)
        return head_unit("decoder", "head/decoder", read, (*first, *second))

    def _decoder_source(self, backbone: Backbone, stride: int) -> Endpoint:
        """The tensor that the decoder reads. Source: tensorflow/models, deeplab/core/feature_extractor.py."""
        reached, candidate = 1, ""
        for number, (unit, own) in enumerate(zip(backbone.units, backbone.strides, strict=False), start=1):
            reached *= own
            if reached == stride and any(layer.role == "depthwise" for layer in unit.layers):
                candidate = f"layer_{number}/depthwise_output"
        if self.decoder_tap != "auto":
            found = backbone.endpoint(self.decoder_tap, "head.decoder_tap")
        elif candidate:
            found = backbone.endpoint(candidate, "head.decoder_stride")
        else:
            found = Endpoint("", 0, Size(0, 0))
        wrong = backbone.style.padding != "valid" and found.size != backbone.size.strided(stride)
        if found.size.area > backbone.last.size.area and not wrong:
            return found
        what = f"decoder_stride is {stride}"
        if self.decoder_tap != "auto":
            what += f", but {found.name} has {found.size} px of {backbone.size}"
        elif not found.name:
            what += ", but no block with a depthwise has it"
        else:
            what += ", which the final map has already"
        raise SpecError.of(at="head.decoder_stride", what=what, fix="use a smaller stride, or leave it out")


def _separable(c_in: int, c_out: int, rate: int, size: Size, style: Style) -> tuple[Layer, Layer]:
    """A depthwise 3x3 with a dilation, followed by a 1x1."""
    return depthwise(c_in, Window(3, 1, rate), size, style), pointwise(c_in, c_out, size, style)
