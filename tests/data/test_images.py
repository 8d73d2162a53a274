"""Which images there are, and which are for what."""

from __future__ import annotations

import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pictures import COLOURS, draw_pictures
from PIL import Image

from mnv2search.data.dataset import SPLITS, Split
from mnv2search.data.pixels import decoded
from mnv2search.data.reading import read_dataset
from mnv2search.errors import DataError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return draw_pictures(tmp_path / "tree")


def test_one_tree_is_drawn_into_three_parts_of_equal_shares(tree: Path) -> None:
    images = read_dataset(tree, "classification", seed=3)
    assert images.classes == tuple(sorted(COLOURS))
    counts: dict[Split, int] = {"train": 14, "val": 2, "test": 4}
    for split, count in counts.items():
        assert [sum(e.label == label for e in images.part(split)) for label in range(3)] == [count] * 3
    paths = [e.path for split in SPLITS for e in images.part(split)]
    assert len(paths) == len(set(paths)) == 60
    assert images.made == (("test", "train"), ("val", "train"))


def test_equal_seeds_draw_equal_parts(tree: Path) -> None:
    assert read_dataset(tree, "classification", seed=3) == read_dataset(tree, "classification", seed=3)
    assert read_dataset(tree, "classification", seed=3).test != read_dataset(tree, "classification", seed=4).test


def test_parts_of_the_tree_are_kept(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "train")
    draw_pictures(tmp_path / "val", count=5, seed=1)
    images = read_dataset(tmp_path, "classification")
    assert {e.path.parts[-3] for e in images.test} == {"val"}
    assert {e.path.parts[-3] for e in (*images.val, *images.train)} == {"train"}
    assert images.made == (("val", "train"),)


def test_a_tar_is_unpacked_once(tree: Path, tmp_path: Path) -> None:
    packed = tmp_path / "set.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(tree, "outer/tree")
    images = read_dataset(packed, "classification", unpack_to=tmp_path / "unpacked")
    assert len(images.train) == 42
    again = read_dataset(packed, "classification", unpack_to=tmp_path / "unpacked")
    assert again == images
    assert len(list((tmp_path / "unpacked").iterdir())) == 1


def test_a_tar_is_unpacked_by_several_at_once(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, together, opened = tmp_path / "set.tar", threading.Barrier(3), tarfile.open
    with tarfile.open(packed, "w") as archive:
        archive.add(tree, "tree")
    monkeypatch.setattr(tarfile, "open", lambda **how: together.wait(600) + 1 and opened(**how))
    with ThreadPoolExecutor(3) as pool:
        found = list(
            pool.map(lambda _: read_dataset(packed, "classification", unpack_to=tmp_path / "unpacked"), range(3))
        )
    assert found[0] == found[1] == found[2]
    assert len(list((tmp_path / "unpacked").iterdir())) == 1


def test_a_tar_that_climbs_out_is_refused(tree: Path, tmp_path: Path) -> None:
    packed = tmp_path / "set.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(tree / "red" / "000.png", "../../escaped.png")
    with pytest.raises(DataError, match="not a valid tar archive"):
        read_dataset(packed, "classification", unpack_to=tmp_path / "unpacked")
    assert not (tmp_path / "escaped.png").exists()


def without(tree: Path, *names: str, keep: int = 0) -> None:
    for name in names:
        for path in sorted((tree / name).iterdir())[keep:]:
            path.unlink()


@pytest.mark.parametrize(
    ("names", "keep", "says"),
    [
        (["red", "green"], 0, "only the class blue"),
        (list(COLOURS), 0, "no images in folders"),
        (["red"], 1, "red has 1 image"),
    ],
)
def test_what_cannot_be_learned_from(tree: Path, names: list[str], keep: int, says: str) -> None:
    without(tree, *names, keep=keep)
    with pytest.raises(DataError, match=says):
        read_dataset(tree, "classification")


def test_a_class_that_a_part_lacks(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "train")
    draw_pictures(tmp_path / "test", count=3)
    without(tmp_path / "test", "green")
    with pytest.raises(DataError, match="test has no image of green"):
        read_dataset(tmp_path, "classification")


def test_parts_without_one_to_learn_from(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "test")
    draw_pictures(tmp_path / "val")
    with pytest.raises(DataError, match="but no train/"):
        read_dataset(tmp_path, "classification")


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_dataset(tmp_path / "missing", "classification")


def test_pixels_are_decoded_once(tree: Path, tmp_path: Path) -> None:
    images, told = read_dataset(tree, "classification"), list[int]()
    first = decoded(images.train, short_px=32, folder=tmp_path / "cache", on_progress=told.append)
    assert told[-1] == len(images.train)
    told.clear()
    again = decoded(images.train, short_px=32, folder=tmp_path / "cache", on_progress=told.append)
    assert not told
    assert np.array_equal(first.image(5), again.image(5))
    assert min(first.image(5).shape[:2]) == 32
    assert list(first.labels) == [e.label for e in images.train]


def test_pixels_are_those_of_the_picture(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(6):
            Image.new("RGB", (50, 100), (10 * index, 100, 200)).save(tmp_path / "set" / name / f"{index}.png")
    images = read_dataset(tmp_path / "set", "classification")
    pixels = decoded(images.train, short_px=20, folder=tmp_path / "cache")
    for index, example in enumerate(images.train):
        assert pixels.image(index).shape == (40, 20, 3)
        assert tuple(pixels.image(index)[0, 0]) == (10 * int(example.path.stem), 100, 200)


def test_few_broken_images_are_left_out_and_many_are_an_error(tree: Path, tmp_path: Path) -> None:
    images = read_dataset(tree, "classification")
    broken = (images.train[7].path, images.train[9].path)
    for path in broken:
        path.write_bytes(b"torn")
    pixels = decoded(images.train, short_px=32, folder=tmp_path / "cache", unreadable_share=0.05)
    assert pixels.unreadable == broken
    assert len(pixels) == len(images.train) - 2
    with pytest.raises(DataError, match="2 of 42 images of train cannot be read, such as"):
        decoded(images.train, short_px=33, folder=tmp_path / "cache", unreadable_share=0.01, part="train")
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_cache_has_a_limit(tree: Path, tmp_path: Path) -> None:
    images = read_dataset(tree, "classification")
    with pytest.raises(DataError, match=r"more than the 0\.0 GB of the cache"):
        decoded(images.train, short_px=32, folder=tmp_path / "cache", most_bytes=1e4)
    decoded(images.train, short_px=32, folder=tmp_path / "cache", most_bytes=3e5)
    decoded(images.train, short_px=31, folder=tmp_path / "cache", most_bytes=3e5)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_folder_of_a_class_without_images_is_told(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path / "pictures", count=6)
    (root / "unicorn").mkdir()
    found = read_dataset(root, "classification")
    assert "unicorn" not in found.classes
    assert found.left_out == (f"the folder {root / 'unicorn'}, which contains no images",)
