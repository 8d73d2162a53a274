"""The files under search_spaces: what their comments promise, and the figures of published networks."""

import random
import re
from pathlib import Path

import pytest

from mnv2search.cost import cost_of
from mnv2search.errors import UnknownNameError
from mnv2search.spec.catalog import CatalogEntry, catalog, entry
from mnv2search.spec.package_files import bundled_files, published_names, search_spaces_dir
from mnv2search.spec.plan import plan
from mnv2search.spec.space import pick_of, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space

FILES = sorted(search_spaces_dir().rglob("*.yaml"))
SPACES = sorted(bundled_files())

# Source: tensorflow/models@0ba83cf, research/slim/nets/mobilenet/README.md for what is printed (millions, floored
# and rounded); the exact figures were counted by forward hooks on the networks built in torch. Columns: name,
# multiply-adds, params without batch norm, params.
SLIM = [
    ("mobilenet_v2_1.4_224", 582_197_616, 6_062_633, 6_110_569),
    ("mobilenet_v2_1.3_224", 509_376_224, 5_344_201, 5_388_457),
    ("mobilenet_v2_1.0_224", 300_775_552, 3_472_041, 3_506_153),
    ("mobilenet_v2_1.0_192", 221_317_888, 3_472_041, 3_506_153),
    ("mobilenet_v2_1.0_160", 154_084_480, 3_472_041, 3_506_153),
    ("mobilenet_v2_1.0_128", 99_075_328, 3_472_041, 3_506_153),
    ("mobilenet_v2_1.0_96", 56_290_432, 3_472_041, 3_506_153),
    ("mobilenet_v2_0.75_224", 209_071_072, 2_611_065, 2_637_705),
    ("mobilenet_v2_0.75_192", 153_943_168, 2_611_065, 2_637_705),
    ("mobilenet_v2_0.75_160", 107_296_480, 2_611_065, 2_637_705),
    ("mobilenet_v2_0.75_128", 69_131_008, 2_611_065, 2_637_705),
    ("mobilenet_v2_0.75_96", 39_446_752, 2_611_065, 2_637_705),
    ("mobilenet_v2_0.5_224", 97_133_120, 1_951_417, 1_969_961),
    ("mobilenet_v2_0.5_192", 71_703_040, 1_951_417, 1_969_961),
    ("mobilenet_v2_0.5_160", 50_185_280, 1_951_417, 1_969_961),
    ("mobilenet_v2_0.5_128", 32_579_840, 1_951_417, 1_969_961),
    ("mobilenet_v2_0.5_96", 18_886_720, 1_951_417, 1_969_961),
    ("mobilenet_v2_0.35_224", 59_287_088, 1_664_329, 1_678_409),
    ("mobilenet_v2_0.35_192", 43_897_792, 1_664_329, 1_678_409),
    ("mobilenet_v2_0.35_160", 30_876_080, 1_664_329, 1_678_409),
    ("mobilenet_v2_0.35_128", 20_221_952, 1_664_329, 1_678_409),
    ("mobilenet_v2_0.35_96", 11_935_408, 1_664_329, 1_678_409),
]
# Source: torchvision 0.29.2, models/*.py (params); huggingface/pytorch-image-models, results/*.csv;
# mit-han-lab/proxylessnas, README.md. Columns as above, then params with batch norm folded.
FAMILY = [
    ("mobilenet_v2", 300_774_272, 3_470_760, 3_504_872, 3_487_816),
    ("mobilenetv2_035", 59_285_808, 1_663_048, 1_677_128, 1_670_088),
    ("mobilenetv2_050", 97_131_840, 1_950_136, 1_968_680, 1_959_408),
    ("mobilenetv2_075", 209_069_792, 2_609_784, 2_636_424, 2_623_104),
    ("mobilenetv2_140", 582_195_824, 6_060_840, 6_108_776, 6_084_808),
    ("mobilenetv2_110d", 430_516_080, 4_469_032, 4_516_520, 4_492_776),
    ("mobilenetv2_120d", 668_857_568, 5_767_368, 5_831_144, 5_799_256),
    ("mnasnet_b1_1.0", 314_415_872, 4_345_392, 4_383_312, 4_364_352),
    ("mnasnet_b1_0.5", 104_455_968, 2_197_888, 2_218_512, 2_208_200),
    ("mnasnet_b1_0.75", 215_493_104, 3_140_400, 3_170_208, 3_155_304),
    ("mnasnet_b1_1.3", 526_362_432, 6_233_440, 6_282_256, 6_257_848),
    ("mnasnet_b1_1.4", 588_799_408, 7_063_280, 7_115_728, 7_089_504),
    ("efficientnet_lite0", 385_187_552, 4_609_992, 4_652_008, 4_631_000),
    ("efficientnet_lite1", 600_185_232, 5_363_016, 5_416_680, 5_389_848),
    ("efficientnet_lite2", 859_736_272, 6_033_976, 6_092_072, 6_063_024),
    ("efficientnet_lite3", 1_383_321_872, 8_120_424, 8_197_096, 8_158_760),
    ("efficientnet_lite4", 2_553_034_336, 12_894_200, 13_006_568, 12_950_384),
    ("proxyless_cpu", 439_243_864, 4_326_560, 4_361_648, 4_344_104),
    ("proxyless_gpu", 465_260_160, 7_074_328, 7_119_848, 7_097_088),
    ("proxyless_mobile", 320_427_584, 4_046_016, 4_080_512, 4_063_264),
    ("proxyless_mobile_14", 580_883_408, 6_810_288, 6_857_568, 6_833_928),
]


# Source: arXiv 1801.04381, Tables 5 to 7, and tensorflow/models, for what is printed; the exact figures were counted
# on the layers that their code builds, convolutions only. Columns: name, multiply-adds, params without batch norm,
# params.
DENSE = [
    ("ssdlite_mobilenet_v2", 788_830_144, 4_286_261, 4_337_013),
    ("ssdlite_mobilenet_v2_coco", 749_503_856, 4_449_791, 4_500_543),
    ("ssd_mobilenet_v2", 1_259_068_672 + 611_212_800, 14_773_173 + 2_189_760, 17_000_501),
    ("ssd_mobilenet_v2_coco", 1_875_065_840, 16_798_847, 16_837_567),
    ("deeplabv3_mobilenet_v2", 2_740_709_056, 2_080_469, 2_113_557),
    ("deeplabv3_mobilenet_v2_os8", 8_825_853_632, 2_080_469, 2_113_557),
    ("deeplabv3_mobilenet_v2_aspp", 5_363_508_928, 4_488_917, 4_523_541),
    ("deeplabv3_mobilenet_v2_separable_aspp", 3_231_856_768, 2_531_477, 2_568_021),
    ("deeplabv3_mobilenet_v2_0.5", 867_496_704, 679_701, 697_013),
    ("deeplabv3_mobilenet_v2_0.5_os8", 2_818_640_640, 679_701, 697_013),
    ("deeplabv3_mobilenet_v2_cityscapes", 21_233_054_912, 2_079_955, 2_113_043),
]


def text_of_count(count: int) -> str:
    return str(count) if count < 1e6 else f"{count:.1e}"


def test_the_seven_spaces_ship() -> None:
    assert SPACES == ["deeplab-513", "mnasnet", "mnv2", "mnv2-multipliers", "proxyless", "ssdlite", "tiny32"]


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_as_large_as_its_comment_says(name: str) -> None:
    space = load_space(name)
    said = re.search(r"^# Picks: (\S+), of which distinct: (\S+)\.$", bundled_files()[name].read_text(), re.MULTILINE)
    assert said is not None
    assert said.groups() == (text_of_count(space.size), text_of_count(space.distinct))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_points_editors_to_its_schema(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    target = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / target).resolve() == (search_spaces_dir() / "schema.json").resolve()


@pytest.mark.parametrize("name", SPACES)
def test_random_picks_of_a_space_resolve(name: str) -> None:
    space = load_space(name)
    costs = [cost_of(resolve(space, random_pick(space, random.Random(seed)))) for seed in range(50)]
    assert min(cost.madds for cost in costs) > 0


@pytest.mark.parametrize(
    ("space", "network"),
    [
        ("mnv2", "mobilenet_v2"),
        ("mnv2-multipliers", "mobilenet_v2"),
        ("mnv2-multipliers", "mobilenetv2_035"),
        ("mnv2-multipliers", "mobilenetv2_140"),
        ("mnasnet", "mnasnet_b1_1.0"),
        ("proxyless", "proxyless_mobile"),
        ("ssdlite", "ssdlite_mobilenet_v2"),
        ("deeplab-513", "deeplabv3_mobilenet_v2"),
        ("deeplab-513", "deeplabv3_mobilenet_v2_os8"),
    ],
)
def test_a_space_contains_the_network_it_is_built_around(space: str, network: str) -> None:
    assert pick_of(load_space(space), entry(network).spec) is not None


def test_tiny32_halves_the_side_two_or_three_times() -> None:
    space = load_space("tiny32")
    specs = [resolve(space, random_pick(space, random.Random(seed))) for seed in range(40)]
    sizes = {plan(spec).features[-1].size_out for spec in specs}
    assert sizes == {(4, 4), (8, 8)}


def test_every_published_file_is_in_the_catalogue() -> None:
    assert {e.file for e in catalog()} == set((search_spaces_dir() / "published").glob("*.yaml"))


def test_catalogue_names_are_unique() -> None:
    assert len(set(published_names())) == len(catalog()) == len(SLIM) + len(FAMILY) + len(DENSE)


@pytest.mark.parametrize("one", catalog(), ids=lambda one: one.name)
def test_every_entry_has_figures_with_a_source(one: CatalogEntry) -> None:
    published = one.published
    assert published
    assert all(figures.source for figures in published)
    assert all(0.4 < figures.top1 < 0.85 for figures in published if figures.top1 is not None)


@pytest.mark.parametrize(("name", "madds", "params_no_bn", "params"), SLIM, ids=[row[0] for row in SLIM])
def test_slim_checkpoints_count_exactly(name: str, madds: int, params_no_bn: int, params: int) -> None:
    cost = cost_of(entry(name).spec)
    assert (cost.madds, cost.params_no_bn, cost.params) == (madds, params_no_bn, params)


@pytest.mark.parametrize("name", [row[0] for row in SLIM])
def test_slim_checkpoints_print_as_published(name: str) -> None:
    one = entry(name)
    cost = cost_of(one.spec)
    (published,) = one.published
    assert (cost.madds // 1_000_000 * 1_000_000, round(cost.params_no_bn, -4)) == (published.madds, published.params)


@pytest.mark.parametrize(
    ("name", "madds", "params_no_bn", "params", "folded"), FAMILY, ids=[row[0] for row in FAMILY]
)
def test_family_networks_count_exactly(name: str, madds: int, params_no_bn: int, params: int, folded: int) -> None:
    cost = cost_of(entry(name).spec)
    assert (cost.madds, cost.params_no_bn, cost.params) == (madds, params_no_bn, params)
    assert cost.size_bytes == 4 * folded


@pytest.mark.parametrize(("name", "madds", "params_no_bn", "params"), DENSE, ids=[row[0] for row in DENSE])
def test_dense_networks_count_exactly(name: str, madds: int, params_no_bn: int, params: int) -> None:
    cost = cost_of(entry(name).spec)
    assert (cost.madds, cost.params_no_bn, cost.params) == (madds, params_no_bn, params)


# Source: arXiv 1801.04381, Tables 6 and 7; dilated networks are within what TensorFlow's way of dilating adds.
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("ssdlite_mobilenet_v2", 0.02), ("deeplabv3_mobilenet_v2", 0.005), ("deeplabv3_mobilenet_v2_0.5", 0.02)],
)
def test_dense_networks_are_near_what_is_published(name: str, tolerance: float) -> None:
    one = entry(name)
    cost, (published,) = cost_of(one.spec), one.published
    assert published.madds == pytest.approx(cost.madds, rel=tolerance)


# Source: tensorflow/models, mobilenet_v2.py at each width, stem to last convolution.
CHANNELS = {
    0.35: [16, 8, 8, 8, 16, 16, 16, 24, 24, 24, 24, 32, 32, 32, 56, 56, 56, 112, 1280],
    0.5: [16, 8, 16, 16, 16, 16, 16, 32, 32, 32, 32, 48, 48, 48, 80, 80, 80, 160, 1280],
    0.75: [24, 16, 24, 24, 24, 24, 24, 48, 48, 48, 48, 72, 72, 72, 120, 120, 120, 240, 1280],
    1.0: [32, 16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320, 1280],
    1.3: [40, 24, 32, 32, 40, 40, 40, 80, 80, 80, 80, 128, 128, 128, 208, 208, 208, 416, 1664],
    1.4: [48, 24, 32, 32, 48, 48, 48, 88, 88, 88, 88, 136, 136, 136, 224, 224, 224, 448, 1792],
}


@pytest.mark.parametrize("width", CHANNELS, ids=str)
def test_channels_by_width(width: float) -> None:
    assert [u.c_out for u in plan(entry(f"mobilenet_v2_{width}_224").spec).features] == CHANNELS[width]


def test_an_unknown_network_offers_near_names() -> None:
    with pytest.raises(UnknownNameError) as caught:
        entry("mobilenet_v2_1.0_225")
    assert "mobilenet_v2_1.0_224" in caught.value.hint
