"""Building of a torch module from a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnv2search.errors import OptionError, UnknownNameError
from mnv2search.model.blocks import Block, BoundLayer, conv_norm_act
from mnv2search.model.dense import DenseHead, enlarged
from mnv2search.model.memory import check_memory
from mnv2search.plugins import imported
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, plan

InitScheme = Literal["torchvision", "slim"]


class MobileNet(nn.Module):
    """A network of the MobileNetV2 family, built from its plan.

    With the default settings the names, order and shapes of the state dict are those of torchvision's `mobilenet_v2`.

    Source: torchvision, models/mobilenetv2.py.
    """

    def __init__(self, laid_out: Plan) -> None:
        super().__init__()
        self.plan = laid_out
        batch_norm = laid_out.spec.batch_norm
        self.features = nn.Sequential(
            *(
                Block(unit, batch_norm)
                if unit.kind == "block"
                else nn.Sequential(*conv_norm_act(unit.layers[0], batch_norm))
                for unit in laid_out.features
            )
        )
        if laid_out.classifier is not None and laid_out.spec.head is not None:
            linear = laid_out.classifier.layers[0]
            dropout = nn.Dropout(laid_out.spec.head.dropout)
            self.classifier = nn.Sequential(dropout, nn.Linear(linear.c_in, linear.c_out))
        self.head = _dense_head(laid_out)
        self.only_size = laid_out.spec.size if _depends_on_size(laid_out) else None

    @property
    def spec(self) -> ModelSpec:
        """The spec of the network."""
        return self.plan.spec

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, H, W), or the last map (N, C, H', W') without a head.

        For the output of a detector or a segmenter, see `finished` of its head.

        Raises:
            OptionError: the images have another size, but the network is laid out for one size only.
        """
        if self.head is not None:
            return self.head.finished(self.predictions(x), (x.shape[-2], x.shape[-1]))
        self._check_size(x)
        x = self.features(x)
        if self.plan.classifier is None:
            return x
        return cast(Tensor, self.classifier(functional.adaptive_avg_pool2d(x, 1).flatten(1)))

    def predictions(self, x: Tensor) -> Tensor:
        """The input of a loss, for images (N, 3, H, W).

        For a classifier, it is the output of `forward`; for a detector, the encoded boxes and logits of every anchor;
        for a segmenter, the logits at the size of its map.
        """
        if self.head is None:
            return cast(Tensor, self(x))
        self._check_size(x)
        return self.head.predictions(self.head.tensors(self._read(x, self.head.wanted)))

    def endpoints(self, x: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """The named tensors, in the order of `names`; nothing after the last of them is computed.

        Names are those of `Plan.endpoints`, such as ``layer_15/expansion_output``; images are (N, 3, H, W).

        Raises:
            UnknownNameError: the network has no endpoint with this name.
        """
        wanted, known = list(names), self.plan.endpoints()
        for name in wanted:
            if name not in known:
                raise UnknownNameError("endpoint", name, known)
        self._check_size(x)
        inner = [name for name in wanted if not name.startswith("head/")]
        if self.head is None or len(inner) == len(wanted):
            found = self._read(x, set(inner))
        else:
            found = self._read(x, {*inner, *self.head.wanted})
            found |= self.head.tensors(found)
            if "head/resized" in wanted:
                size = (x.shape[-2], x.shape[-1])
                found["head/resized"] = enlarged(found["head/logits"], size)
        return {name: found[name] for name in wanted}

    def bound(self) -> Iterator[tuple[tuple[int, int], BoundLayer]]:
        """Every layer of the plan with its (unit, layer) index and its modules."""
        for index, (unit, module) in enumerate(zip(self.plan.features, self.features, strict=True)):
            if isinstance(module, Block):
                yield from (((index, number), bound) for number, bound in enumerate(module.bound()))
            else:
                yield (index, 0), BoundLayer.of(unit.layers[0], cast(nn.Sequential, module))
        if self.plan.classifier is not None:
            yield (len(self.features), 0), BoundLayer(self.plan.classifier.layers[0], self.classifier[1], None)
        last, layer_number = -1, 0
        for number, bound in self.head.bound() if self.head is not None else ():
            layer_number, last = (layer_number + 1 if number == last else 0), number
            yield (len(self.features) + number, layer_number), bound

    def _read(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """The named tensors in the features and the classifier; nothing after the last of them is computed."""
        found: dict[str, Tensor] = {}
        for computed in self._stages(x):
            found |= {name: tensor for name, tensor in computed.items() if name in names}
            if len(found) == len(names):
                break
        return found

    def _stages(self, x: Tensor) -> Iterator[dict[str, Tensor]]:
        for number, module in enumerate(self.features, start=1):
            named: dict[str, Tensor] = {}
            if isinstance(module, Block):
                x, named = module.endpoints(x)
            else:
                x = module(x)
            yield {f"layer_{number}/{name}": tensor for name, tensor in named.items()} | {f"layer_{number}": x}
        if self.plan.classifier is not None:
            x = functional.adaptive_avg_pool2d(x, 1)
            yield {"global_pool": x}
            yield {"logits": self.classifier(x.flatten(1))}

    def _check_size(self, x: Tensor) -> None:
        if self.only_size is not None and (x.shape[-2], x.shape[-1]) != self.only_size:
            raise OptionError(
                f"the input is {x.shape[-2]} x {x.shape[-1]} px, but the network is laid out for {self.only_size} px",
                hint="build the spec with the resolution you want; the weights fit every resolution",
            )


def build(spec: ModelSpec | Plan, *, seed: int | None = None) -> MobileNet:
    """The network of a spec or plan in training mode, initialised as torchvision does.

    The global generator is not changed; without a seed, the operating system provides one.

    Raises:
        OptionError: the weights need more memory than is available.
    """
    laid_out = plan(spec) if isinstance(spec, ModelSpec) else spec
    check_memory(laid_out)
    with torch.device("meta"):
        model = MobileNet(laid_out)
    return initialize(model.to_empty(device="cpu"), seed=seed)


def initialize(model: MobileNet, scheme: InitScheme = "torchvision", *, seed: int | None = None) -> MobileNet:
    """`model` with new weights, in place; without a seed, the operating system provides one.

    `torchvision` is Kaiming normal over the fan out, and N(0, 0.01) for the classifier; `slim` is a normal with
    deviation 0.09, truncated at two deviations. In both, predictors of dense heads are initialised as in TensorFlow.

    Source: torchvision, models/mobilenetv2.py; tensorflow/models, mobilenet.py, `training_scope`.
    """
    if scheme not in ("torchvision", "slim"):
        raise UnknownNameError("initialisation", scheme, ("torchvision", "slim"))
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            _fill(module, scheme, generator)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            module.reset_parameters()
    if model.head is not None:
        model.head.reset()
        deviation = model.head.predictor_deviation
        for _, bound in model.head.bound():
            if bound.layer.role == "predictor":
                weight = cast(nn.Conv2d, bound.conv).weight
                nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator)
    return model


def _dense_head(laid_out: Plan) -> DenseHead | None:
    head = laid_out.spec.head
    return cast(DenseHead, imported(head.module)(laid_out, head)) if head is not None and head.module else None


def _fill(module: nn.Conv2d | nn.Linear, scheme: InitScheme, generator: torch.Generator) -> None:
    if scheme == "slim":
        nn.init.trunc_normal_(module.weight, std=0.09, a=-0.18, b=0.18, generator=generator)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01, generator=generator)
    else:
        nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _depends_on_size(laid_out: Plan) -> bool:
    """Whether the network fixes the image size, by anchors or by TensorFlow's padding of strided layers."""
    spec = laid_out.spec
    if spec.head is not None and spec.head.fixes_size:
        return True
    modes = ((unit.block.padding if unit.block else None) or spec.padding for unit in laid_out.features)
    return any(mode == "same" and unit.stride > 1 for mode, unit in zip(modes, laid_out.features, strict=True))
