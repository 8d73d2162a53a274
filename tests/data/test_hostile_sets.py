"""Sets from outside: odd names, values, archives and folders are reported or refused, and reach nothing else."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pictures import draw_pictures
from scene_files import draw_scene, write_coco, write_masks, write_voc

from mnv2search.data.pixels import decoded
from mnv2search.data.reading import read_dataset
from mnv2search.errors import DataError
from mnv2search.recipe import load_recipe

Run = Callable[..., Any]


def coco_with(root: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A set of COCO whose JSON of `train` is changed."""
    file = write_coco(root) / "train" / "annotations.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    return root


def first(key: str, **changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content[key][0].update(changes)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        pytest.param(first("annotations", image_id=[1]), "there is no image [1]", id="list-as-image-id"),
        pytest.param(lambda c: c["annotations"][0].pop("image_id"), "there is no image None", id="no-image-id"),
        pytest.param(first("annotations", id={"a": 1}, bbox=None), "bbox is None", id="table-as-id"),
        pytest.param(first("annotations", category_id=[7]), "the class id [7] is not one", id="list-as-class"),
        pytest.param(first("annotations", bbox=[0, 0, 10**400, 5]), "not [x, y, width, height]", id="huge-number"),
        pytest.param(first("annotations", bbox=[0, 0, 1e308, 1e308]), "not [x, y, width, height]", id="large-number"),
        pytest.param(first("annotations", bbox=["1 + 1", 0, 9, 9]), "not [x, y, width, height]", id="expression"),
        pytest.param(first("annotations", bbox="9" * 5000), "…, not [x, y, width, height]", id="long-text"),
    ],
)
def test_an_odd_annotation_of_coco_is_reported(change: Callable[..., object], what: str, tmp_path: Path) -> None:
    (fault,) = read_dataset(coco_with(tmp_path, change), "detection").faults
    assert what in fault.what
    assert len(str(fault)) < 400


@pytest.mark.parametrize(
    ("change", "what"),
    [
        pytest.param(first("images", id=[0]), "its id is neither an integer nor text", id="list-as-id"),
        pytest.param(lambda c: c["images"][0].pop("id"), "its id is neither an integer nor text", id="no-id"),
        pytest.param(first("images", file_name=None), "there is no such file", id="no-name"),
        pytest.param(first("images", file_name={"a": 1}), "there is no such file", id="table-as-name"),
        pytest.param(first("images", file_name="x" * 300), "there is no such file", id="long-name"),
        pytest.param(first("images", file_name="x/" * 5000), "there is no such file", id="long-path"),
        pytest.param(first("images", file_name="a\0.png"), "there is no such file", id="null"),
        pytest.param(first("images", file_name="\ud800.png"), "there is no such file", id="surrogate"),
        pytest.param(first("images", file_name="a**b"), "there is no such file", id="pattern"),
        pytest.param(first("images", file_name=".."), "there is no such file", id="dots"),
        pytest.param(first("images", file_name="/"), "there is no such file", id="root"),
    ],
)
def test_an_odd_image_of_coco_is_reported(change: Callable[..., object], what: str, tmp_path: Path) -> None:
    found = read_dataset(coco_with(tmp_path, change), "detection")
    assert [fault.what for fault in found.faults if fault.of == "image"] == [what]
    assert len(found.train) == 5


@pytest.mark.parametrize("name", ["../outside.png", "{}/outside.png", "link.png"])
def test_an_image_outside_of_a_set_without_parts_is_not_used(name: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_coco(root)
    (root / "train").rename(tmp_path / "flat")
    draw_scene(tmp_path / "outside.png", 1)
    (tmp_path / "flat" / "link.png").symlink_to(tmp_path / "outside.png")
    file = tmp_path / "flat" / "annotations.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["images"][0]["file_name"] = name.format(tmp_path)
    file.write_text(json.dumps(content), encoding="utf-8")
    found = read_dataset(tmp_path / "flat", "detection")
    assert [fault.what for fault in found.faults if fault.of == "image"] == ["there is no such file"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 200_000, "nested too deeply"),
        (b"\xff\xfe{}", "not UTF-8 text"),
        (b'{"images": ' + b"1" * 5000 + b"}", "it is not JSON"),
    ],
    ids=["deep", "encoding", "digits"],
)
def test_a_json_that_cannot_be_read_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    write_coco(tmp_path)
    (tmp_path / "train" / "annotations.json").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_dataset(tmp_path, "detection")


def test_a_pipe_in_place_of_a_json_is_refused(tmp_path: Path) -> None:
    file = write_coco(tmp_path) / "train" / "annotations.json"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DataError, match="it is not a regular file"):
        read_dataset(tmp_path, "detection")


BOMB = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 60}">' for n in range(1, 8))
XML = "<annotation><filename>000.png</filename></annotation>"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f'<?xml version="1.0" encoding="foo"?>{XML}'.encode(), id="unknown-encoding"),
        pytest.param(f'<?xml version="1.0" encoding="hex"?>{XML}'.encode(), id="no-text-encoding"),
        pytest.param(f'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{BOMB}]><a>&a7;</a>'.encode(), id="entities"),
        pytest.param(b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>', id="external-entity"),
        pytest.param(b"\xff\xff\xff", id="bytes"),
        pytest.param(b"<a>" * 100_000, id="deep"),
        pytest.param(b"", id="empty"),
    ],
)
def test_an_odd_xml_is_reported(content: bytes, tmp_path: Path) -> None:
    file = write_voc(tmp_path) / "Annotations" / "000.xml"
    file.write_bytes(content)
    (fault,) = read_dataset(tmp_path, "detection").faults
    assert fault.file == file
    assert fault.what.startswith("it is not valid XML (")


def test_a_pipe_in_place_of_an_xml_is_reported(tmp_path: Path) -> None:
    file = write_voc(tmp_path) / "Annotations" / "000.xml"
    file.unlink()
    os.mkfifo(file)
    (fault,) = read_dataset(tmp_path, "detection").faults
    assert "it is not a regular file" in fault.what


def test_a_list_of_names_does_not_lead_out_of_the_annotations(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "set")
    (root / "Annotations" / "000.xml").rename(tmp_path / "000.xml")
    file = root / "ImageSets" / "Main" / "train.txt"
    file.write_text(file.read_text(encoding="utf-8").replace("000", "../../000"), encoding="utf-8")
    (fault,) = read_dataset(root, "detection").faults
    assert fault.file == root / "Annotations" / "000.xml"


@pytest.mark.parametrize("name", ["ImageSets/Main/train.txt", "classes.txt"])
def test_lists_that_are_no_text_are_refused(name: str, tmp_path: Path) -> None:
    write = write_masks if name == "classes.txt" else write_voc
    write(tmp_path)
    (tmp_path / name).write_bytes(b"gr\xfcn\nrot\nblau\n")
    with pytest.raises(DataError, match=r"not UTF-8 text: byte 0xfc on line 1"):
        read_dataset(tmp_path, "segmentation" if name == "classes.txt" else "detection")


def test_a_mask_that_is_odd_is_reported(tmp_path: Path) -> None:
    write_masks(tmp_path)
    file = tmp_path / "train" / "masks" / "000.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\n")
    (fault,) = read_dataset(tmp_path, "segmentation").faults
    assert (fault.file, fault.what) == (file, "it is not a mask of class indices (grey or with a palette)")


def test_names_that_are_not_utf_8_are_read_and_shown(run: Run, tmp_path: Path) -> None:
    folder = draw_pictures(tmp_path / "photos", count=8)
    (folder / "red").rename(os.fsdecode(os.fsencode(folder) + b"/r\xffd"))
    images = read_dataset(folder, "classification")
    assert images.classes == ("blue", "green", "r\\udcffd")
    assert len(images.fingerprint) == 12
    assert len(decoded(images.train, short_px=16, folder=tmp_path / "cache")) == len(images.train)
    done = run("data", "photos")
    assert (done.code, "r\\udcffd" in done.out) == (0, True)
    assert json.loads(run("data", "photos", "--json").out)["classes"] == list(images.classes)


def test_links_in_circles_and_pipes_are_passed_by(tmp_path: Path) -> None:
    folder = draw_pictures(tmp_path / "photos", count=8)
    (folder / "red" / "again").symlink_to("..")
    os.mkfifo(folder / "red" / "pipe.jpg")
    (folder / "red" / "itself.jpg").symlink_to("itself.jpg")
    images = read_dataset(folder, "classification")
    assert len(images.train) + len(images.val) + len(images.test) == 24


def test_a_folder_that_holds_itself_alone_is_no_set(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "set").symlink_to(".")
    with pytest.raises(DataError, match="no images in folders of classes"):
        read_dataset(tmp_path / "set", "classification")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = draw_pictures(tmp_path / "photos", count=8)
    scandir = os.scandir

    def refusing(path: Any = ".") -> Iterator[os.DirEntry[Any]]:
        if str(path).endswith("green"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"photos/green cannot be read: Permission denied"):
        read_dataset(folder, "classification")


@pytest.mark.parametrize("words", [("data", "x" * 300), ("data", "x/" * 3000), ("data", "hf:"), ("data", "hf:?a=b")])
def test_odd_names_of_sets_are_wrong_input(words: tuple[str, ...], run: Run) -> None:
    done = run(*words)
    assert (done.code, done.err.startswith("error: ")) == (2, True)


def tar_of(path: Path, *members: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(content))
    return path


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize("depth", [40, 2000])
def test_a_tar_of_folders_in_folders_is_refused(depth: int, tmp_path: Path) -> None:
    path = tar_of(tmp_path / "set.tar", member("a/" * depth + "x.png"))
    with pytest.raises(DataError, match="more than 32 folders deep"):
        read_dataset(path, "classification", unpack_to=tmp_path / "unpacked")
    assert not list((tmp_path / "unpacked").iterdir())


def test_what_is_no_file_in_a_tar_is_passed_by(tmp_path: Path) -> None:
    tree, path = draw_pictures(tmp_path / "tree", count=8), tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(tree, "tree")
        for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE):
            archive.addfile(member(f"tree/red/{ord(kind)}.png", type=kind, linkname="/etc/passwd"))
    images = read_dataset(path, "classification", unpack_to=tmp_path / "unpacked")
    assert len(images.train) + len(images.val) + len(images.test) == 24


def test_a_tar_that_unpacks_to_far_more_than_it_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(member("a/x.png", size=5_000_000_000).tobuf())
    with pytest.raises(DataError, match="holds more than 4 GB"):
        read_dataset(path, "classification", unpack_to=tmp_path / "unpacked")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME], ids=["pax", "name"])
def test_a_header_that_would_fill_the_memory_is_refused(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "set.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(member("a", type=kind, size=3_000_000_000).tobuf() + bytes(5_000_000))
    with pytest.raises(DataError, match="a header has 3,000,000,000 bytes"):
        read_dataset(path, "classification", unpack_to=tmp_path / "unpacked")


@pytest.mark.parametrize("count", [50, 5000])
def test_headers_upon_headers_are_refused(count: int, tmp_path: Path) -> None:
    path = tmp_path / "set.tar"
    header = member("a", type=tarfile.GNUTYPE_LONGNAME, size=512).tobuf() + b"a/" * 256
    path.write_bytes(header * count + member("a", size=0).tobuf() + bytes(1024))
    with pytest.raises(DataError):
        read_dataset(path, "classification", unpack_to=tmp_path / "unpacked")


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)]
)
def test_a_torn_tar_is_refused(suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    tree, path = draw_pictures(tmp_path / "tree", count=8), tmp_path / f"set.tar{suffix}"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(tree, "tree")
    content = pack(packed.getvalue())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="is not a valid tar archive"):
        read_dataset(path, "classification", unpack_to=tmp_path / "unpacked")


@pytest.mark.parametrize("name", ["set.tar", "set.parquet"])
def test_a_pipe_in_place_of_a_set_is_refused(name: str, run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    assert run("data", name).code == 2


def test_a_folder_of_tables_with_a_pipe_is_refused(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "tables").mkdir()
    os.mkfifo(tmp_path / "tables" / "a.parquet")
    done = run("data", "tables")
    assert (done.code, "tables/a.parquet is not a regular file" in done.err) == (2, True)


def test_a_table_names_images_of_its_folder_only(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    tree = draw_pictures(tmp_path / "set", count=8)
    draw_scene(tmp_path / "outside.png", 0)
    paths = [os.fspath(p) for p in sorted(tree.rglob("*.png"))] + [str(tmp_path / "outside.png")]
    columns = {"image": [{"bytes": None, "path": p} for p in paths], "label": ["a", "b"] * 12 + ["a"]}
    kinds = datasets.Features({"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}})
    features = datasets.Features(kinds | {"label": datasets.Value("string")})
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(tree / "mine.parquet"))
    images = read_dataset(tree / "mine.parquet", "classification", unpack_to=tmp_path / "unpacked")
    sizes = {e.path.name: e.path.stat().st_size for e in (*images.train, *images.val, *images.test)}
    assert sizes.pop("00000024") == 0
    assert min(sizes.values()) > 0


@pytest.mark.parametrize("kind", ["pipe", "large", "binary"])
def test_a_recipe_that_is_none_is_refused(kind: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    make: dict[str, Callable[[], object]] = {
        "pipe": lambda: os.mkfifo(path),
        "large": lambda: path.write_bytes(b"# " * 1_000_000),
        "binary": lambda: path.write_bytes(b"\xff\x00"),
    }
    make[kind]()
    with pytest.raises(ValueError):
        load_recipe(str(path))
