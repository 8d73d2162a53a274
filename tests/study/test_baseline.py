"""The yardstick of spaces whose images are no squares."""

from dataclasses import replace

import pytest

from mnv2search.spec.catalog import entry
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.baseline import OBVIOUS, baseline_grid, given_shapes, obvious_of


def space_of(name: str, resolution: tuple[int, int]) -> SearchSpace:
    return SearchSpace(template=replace(entry(name).spec, resolution=resolution), axes=())


def test_the_yardstick_of_a_rectangle_is_of_rectangles() -> None:
    found = baseline_grid(space_of("deeplabv3_mobilenet_v2", (1025, 2049)))
    sizes = sorted({spec.size for spec in found})
    assert sizes == [(439, 878), (586, 1171), (732, 1463), (878, 1756), (1025, 2049)]
    assert found[-1].name == "mobilenet_v2_1.4_1025x2049"


def test_the_yardstick_of_a_small_rectangle_is_of_that_rectangle() -> None:
    assert {spec.size for spec in baseline_grid(space_of("deeplabv3_mobilenet_v2", (48, 64)))} == {(48, 64)}


@pytest.mark.parametrize("resolution", [(70, 300), (33, 500)], ids=str)
def test_no_detector_gets_an_image_that_is_too_low(resolution: tuple[int, int]) -> None:
    assert min(spec.size.height for spec in baseline_grid(space_of("ssdlite_mobilenet_v2", resolution))) == 33


def test_the_yardstick_of_squares_is_of_squares() -> None:
    assert {spec.resolution for spec in baseline_grid(load_space("mnv2"))} == {96, 128, 160, 192, 224}


def test_given_weights_add_their_network_at_the_resolutions_of_the_space_and_smaller_ones() -> None:
    space, given = load_space("mnasnet"), entry("efficientnet_lite0").spec
    found = given_shapes(space, given)
    assert [spec.resolution for spec in found] == [48, 56, 64, 72, 80, 88, 96, 128, 160, 192, 224]
    assert {spec.head for spec in found} == {space.template.head}
    assert {spec.blocks for spec in found} == {given.blocks}


def test_a_network_of_given_weights_gets_the_head_of_a_detector() -> None:
    space = load_space("ssdlite")
    found = given_shapes(space, entry("efficientnet_lite0").spec)
    assert found
    assert {spec.head for spec in found} == {space.template.head}


def test_the_obvious_are_the_slowest_of_the_grid_and_the_two_largest_given() -> None:
    grid = baseline_grid(load_space("mnv2"))[:6]
    given = given_shapes(load_space("mnasnet"), entry("efficientnet_lite0").spec)
    found = obvious_of([grid[0], given[1], grid[1], given[0], *grid[2:]], given=given)
    assert found == (given[1], given[0], *grid[:OBVIOUS])
