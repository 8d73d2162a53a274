"""Images in parquet files and Hugging Face datasets: the same images as in folders."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import COLOURS, draw_pictures
from PIL import Image

from mnv2search.data.dataset import Dataset
from mnv2search.data.pixels import decoded
from mnv2search.data.readers.tables import is_table, quiet
from mnv2search.data.reading import read_dataset
from mnv2search.errors import DataError

datasets = pytest.importorskip("datasets", reason="datasets is not installed")
Run = Callable[..., Any]
# not in the order of the alphabet, which a table may keep and a folder may not
NAMES = ["red", "green", "blue", "never"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return draw_pictures(tmp_path / "tree", count=12)


def rows(tree: Path, *, start: int = 0, stop: int = 12) -> list[tuple[bytes, str]]:
    return [(tree.joinpath(name, f"{i:03}.png").read_bytes(), name) for i in range(start, stop) for name in COLOURS]


def table(found: Sequence[tuple[bytes, str]]) -> Any:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    columns = {
        "image": [{"bytes": encoded, "path": None} for encoded, _ in found],
        "label": [NAMES.index(name) for _, name in found],
    }
    return datasets.Dataset.from_dict(columns, features=features)


def one_file(tree: Path, folder: Path) -> Path:
    table(rows(tree)).to_parquet(folder / "mine.parquet")
    return folder / "mine.parquet"


def folder_of_files(tree: Path, folder: Path) -> Path:
    (folder / "mine" / "data").mkdir(parents=True)
    table(rows(tree)).to_parquet(folder / "mine" / "data" / "part-0.parquet")
    return folder / "mine"


def saved(tree: Path, folder: Path) -> Path:
    table(rows(tree)).save_to_disk(str(folder / "mine"))
    return folder / "mine"


def plain_file(tree: Path, folder: Path) -> Path:
    """As a program that knows nothing of `datasets` writes it."""
    import pyarrow
    from pyarrow import parquet

    found = rows(tree)
    columns = {"picture": [encoded for encoded, _ in found], "kind": [name for _, name in found]}
    parquet.write_table(pyarrow.table(columns), folder / "mine.parquet")
    return folder / "mine.parquet"


def shown(images: Dataset) -> Counter[tuple[bytes, str]]:
    return Counter((e.path.read_bytes(), images.classes[e.label]) for e in (*images.train, *images.val, *images.test))


@pytest.mark.parametrize("write", [one_file, folder_of_files, saved, plain_file])
def test_a_table_holds_the_images_of_the_folder(
    write: Callable[[Path, Path], Path], tree: Path, tmp_path: Path
) -> None:
    source = write(tree, tmp_path)
    images = read_dataset(source, "classification", unpack_to=tmp_path / "unpacked")
    assert shown(images) == shown(read_dataset(tree, "classification"))
    assert [len(part) for part in (images.train, images.val, images.test)] == [24, 6, 6]
    assert images.made == (("test", "train"), ("val", "train"))
    assert read_dataset(source, "classification", unpack_to=tmp_path / "unpacked") == images


def test_classes_keep_the_order_of_the_table(tree: Path, tmp_path: Path) -> None:
    images = read_dataset(one_file(tree, tmp_path), "classification", unpack_to=tmp_path / "unpacked")
    assert images.classes == ("red", "green", "blue")  # the one without any image is none
    assert read_dataset(tree, "classification").classes == ("blue", "green", "red")


@pytest.mark.parametrize("kind", ["parquet", "saved"])
def test_parts_of_a_table_are_kept(kind: str, tree: Path, tmp_path: Path) -> None:
    parts = {"train": rows(tree, stop=8), "validation": rows(tree, start=8, stop=9), "test": rows(tree, start=9)}
    if kind == "saved":
        datasets.DatasetDict({name: table(found) for name, found in parts.items()}).save_to_disk(
            str(tmp_path / "set")
        )
    else:
        (tmp_path / "set").mkdir()
        for name, found in parts.items():
            table(found).to_parquet(tmp_path / "set" / f"{name}-00000-of-00001.parquet")
    images = read_dataset(tmp_path / "set", "classification", unpack_to=tmp_path / "unpacked")
    assert images.made == ()
    for own, name in ((images.train, "train"), (images.val, "validation"), (images.test, "test")):
        assert [e.path.read_bytes() for e in own] == [encoded for encoded, _ in parts[name]]


def test_what_is_not_used_of_a_table_is_told(tree: Path, tmp_path: Path) -> None:
    unknown = table(rows(tree, start=9)).to_dict()
    hidden = datasets.Dataset.from_dict(
        {"image": unknown["image"], "label": [-1] * 9}, features=table(rows(tree)).features
    )
    parts = {"train": table(rows(tree, stop=9)), "extra": table(rows(tree, start=9)), "test": hidden}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "set"))
    images = read_dataset(tmp_path / "set", "classification", unpack_to=tmp_path / "unpacked")
    assert images.left_out == (
        "the split extra: its purpose is unknown",
        "9 images of the split test: they have no class",
    )
    assert images.made == (("test", "train"), ("val", "train"))


def test_broken_and_missing_images_of_a_table_follow_the_rules_of_files(run: Run, tree: Path, tmp_path: Path) -> None:
    found = rows(tree)
    found[:2], found[2:9] = [(b"torn", "red"), (b"", "green")], [(b"torn", "red")] * 7
    table(found).to_parquet(tmp_path / "mine.parquet")
    told = json.loads(run("data", "mine.parquet", "--json").out)
    assert [Path(p).name for p in sorted(told["unreadable"])] == [f"{row:08}" for row in range(9)]
    assert not told["is_readable_enough"]
    assert "too many for training" in run("data", "mine.parquet").out
    images = read_dataset(tmp_path / "mine.parquet", "classification", unpack_to=tmp_path / "unpacked")
    pixels = decoded(images.train, short_px=32, folder=tmp_path / "pixels", unreadable_share=0.9)
    assert {path.name for path in pixels.unreadable} <= {f"{row:08}" for row in range(9)}
    with pytest.raises(DataError, match="cannot be read, such as"):
        decoded(images.train, short_px=32, folder=tmp_path / "pixels2")


def test_numbers_name_classes_in_their_own_order(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "PNG")
    columns = {"image": [buffer.getvalue()] * 36, "label": [2, 10, 9] * 12}
    parquet.write_table(pyarrow.table(columns), tmp_path / "mine.parquet")
    assert read_dataset(tmp_path / "mine.parquet", "classification", unpack_to=tmp_path / "unpacked").classes == (
        "2",
        "9",
        "10",
    )


@pytest.fixture
def ambiguous(tree: Path, tmp_path: Path) -> Path:
    found = table(rows(tree)).rename_column("label", "fine")
    found = found.add_column("coarse", [int(name == "red") for _, name in rows(tree)])
    found.cast_column("coarse", datasets.ClassLabel(names=["other", "red"])).to_parquet(tmp_path / "mine.parquet")
    return tmp_path / "mine.parquet"


def test_a_column_is_chosen_where_several_may_be_meant(ambiguous: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="several columns that may be the label: fine, coarse") as raised:
        read_dataset(ambiguous, "classification", unpack_to=tmp_path / "unpacked")
    assert raised.value.hint.endswith("mine.parquet?label=fine")
    for column, classes in (("fine", ("red", "green", "blue")), ("coarse", ("other", "red"))):
        chosen = ambiguous.with_name(f"mine.parquet?label={column}")
        assert read_dataset(chosen, "classification", unpack_to=tmp_path / "unpacked").classes == classes


@pytest.mark.parametrize(
    ("query", "says"),
    [("?label=fien", "no column fien that may be the label"), ("?lable=fine", "chooses lable"), ("?fine", "nothing")],
)
def test_a_column_that_there_is_none_of(query: str, says: str, ambiguous: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        read_dataset(ambiguous.with_name(f"mine.parquet{query}"), "classification", unpack_to=tmp_path / "unpacked")


def test_one_class_only(tree: Path, tmp_path: Path) -> None:
    table([row for row in rows(tree) if row[1] == "red"]).to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(DataError, match="contains only the class red"):
        read_dataset(tmp_path / "mine.parquet", "classification", unpack_to=tmp_path / "unpacked")


@pytest.mark.parametrize(
    ("columns", "says"),
    [({"x": [1.0]}, "no column of images"), ({"image": [b"x"], "y": [0.5]}, "no column of classes")],
)
def test_a_table_without_images_or_classes(columns: dict[str, list[Any]], says: str, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), tmp_path / "mine.parquet")
    with pytest.raises(DataError, match=says):
        read_dataset(tmp_path / "mine.parquet", "classification", unpack_to=tmp_path / "unpacked")


def test_a_file_that_is_no_parquet(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_bytes(b"torn")
    done = run("data", "mine.parquet")
    assert done.code == 2
    assert "mine.parquet cannot be read as a table" in done.err
    done = run("data", "none.parquet")
    assert (done.code, "there is no file none.parquet" in done.err) == (2, True)


def test_a_folder_with_a_program_is_not_run(run: Run, tree: Path, tmp_path: Path) -> None:
    folder = folder_of_files(tree, tmp_path)
    (folder / "mine.py").write_text("raise SystemExit(7)\n")
    assert run("data", "mine").code == 0


def test_a_folder_does_not_lead_to_other_places(run: Run, tree: Path, tmp_path: Path) -> None:
    folder = folder_of_files(tree, tmp_path)
    before = run("data", "mine", "--json").out
    configs = "configs:\n- config_name: default\n  data_files: https://host.invalid/x.parquet\n"
    (folder / "README.md").write_text(f"---\n{configs}---\n")
    assert run("data", "mine", "--json").out == before


def test_a_file_that_is_torn_in_the_middle(run: Run, tree: Path, tmp_path: Path) -> None:
    path = one_file(tree, tmp_path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    done = run("data", "mine.parquet", "--json")
    assert "Traceback" not in done.err
    assert done.code == 2 or json.loads(done.out)["unreadable"]
    assert not list((tmp_path / "cache" / "images").glob("*.part"))


def test_images_of_a_folder_are_no_table(tree: Path) -> None:
    assert not is_table(tree)
    assert not is_table(tree / "missing")


def test_the_hub_without_a_network_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mnv2search", "data", "hf:nobody/nothing"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "hf:nobody/nothing cannot be downloaded from the Hugging Face hub" in " ".join(done.stderr.split())
    assert "hint: check the network" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_the_hubs_library_does_not_warn_beside_our_error() -> None:
    library = logging.getLogger("huggingface_hub.utils._http")
    with quiet():
        assert not library.isEnabledFor(logging.WARNING)
        assert library.isEnabledFor(logging.ERROR)
    assert library.isEnabledFor(logging.WARNING)


def test_a_name_of_the_hub_is_never_guessed_from_a_path(run: Run) -> None:
    done = run("data", "nobody/nothing")
    assert done.code == 2
    assert "or hf:nobody/nothing for a set of that name" in " ".join(done.err.split())


def test_a_network_is_trained_on_a_table(run: Run, tree: Path, tmp_path: Path) -> None:
    one_file(tree, tmp_path)
    (tmp_path / "quick.yaml").write_text("lr: 0.05\nlr_batch: 8\nbatch: 8\nepochs: 1\n")
    spec = "mnv2search: 1\nname: mine\nwidth: 0.25\nresolution: 32\nlast: 64\nblocks:\n  - [1, 16, 1, 2]\n"
    (tmp_path / "mine.yaml").write_text(spec)
    done = run("train", "mine.yaml", "--data", "mine.parquet", "--recipe", "quick.yaml", "-o", "out", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["classes"] == ["red", "green", "blue"]
