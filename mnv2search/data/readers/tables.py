"""Reader of images in tables: parquet files, saved Hugging Face datasets, and datasets of the Hugging Face hub.

The library `datasets` reads them. The encoded images are written to files once, and then used like those of a folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import parse_qsl

from mnv2search.data.dataset import SPLIT_NAMES, Example, Split, SplitFiles, class_name
from mnv2search.data.image_files import SUFFIXES
from mnv2search.data.readers.folders import check_source, files_below
from mnv2search.data.readers.table_columns import Columns, columns_of
from mnv2search.errors import DataError, extra_module
from mnv2search.untrusted import is_regular

if TYPE_CHECKING:
    import datasets


HUB = "hf:"
PARQUET = ".parquet"
# Files that `datasets` writes into the folder of a set of splits, and into the folder of one split.
SAVED = ("dataset_dict.json", "state.json")
INDEX = "index.json"
PER_FOLDER = 10_000
# A larger table, like a larger tar, is too large for one machine.
MOST_BYTES = 200e9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The place of a table, and the columns that were chosen."""

    place: str
    image: str = ""
    label: str = ""

    @property
    def is_remote(self) -> bool:
        return self.place.startswith(HUB)

    @property
    def hint(self) -> str:
        if self.is_remote:
            return f"check the name and, if the set has several, the configuration: {HUB}OWNER/NAME:CONFIG"
        return "give a valid parquet file, a folder of such files, or a folder written by datasets' save_to_disk"

    def unreadable(self, error: BaseException) -> DataError:
        return DataError(f"{self.place} cannot be read as a table: {_first_line(error)}", hint=self.hint)


def is_table(source: Path) -> bool:
    """Whether a source is a table, by its prefix or suffix, or by files of `datasets` or parquet in its folder."""
    place = _source(source).place
    if place.startswith(HUB) or place.lower().endswith(PARQUET):
        return True
    folder = Path(place)
    if _is_saved(folder):
        return True
    first = next((kind for _, _, names in os.walk(folder) for name in names if (kind := _kind(name))), "")
    return first == PARQUET


def read_table(source: Path, folder: Path | None) -> dict[Split, SplitFiles]:
    """The images of a table by split, written to files in a folder once.

    The source is a parquet file, a folder of parquet files, a folder written by ``save_to_disk`` of `datasets`, or
    ``hf:OWNER/NAME``, with ``:CONFIG`` to choose a configuration. ``?label=COLUMN`` and ``?image=COLUMN`` (with ``&``
    between) choose columns.

    Raises:
        DataError: the table cannot be read, has no images or no classes, or its images cannot be written to disk.
        MissingExtraError: `datasets` is not installed.
    """
    if folder is None:
        raise DataError(f"{source} is a table", hint="give a folder to write its images to")
    table = _source(source)
    with quiet():
        if table.is_remote:
            parts = _parts(table, folder)
            target = folder / _mark(table, [Path(f["filename"]) for p in parts.values() for f in p.cache_files])
        else:
            target = folder / _mark(table, _files(Path(table.place)))
            parts = {} if target.is_dir() else _parts(table, folder)
        if not target.is_dir():
            _write(parts, table, target)
    return _read(target)


def _is_saved(folder: Path) -> bool:
    return any(is_regular(folder / name) for name in SAVED)


def _kind(name: str) -> str:
    """``.parquet`` or an image's suffix, or nothing."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix == PARQUET or suffix in SUFFIXES else ""


def _source(source: Path) -> _Source:
    place, mark, query = source.as_posix().rpartition("?")
    if not mark or os.path.exists(source):
        return _Source(place=source.as_posix())
    chosen = dict(parse_qsl(query))
    if unknown := sorted(chosen.keys() - {"image", "label"}) or (["nothing"] if not chosen else []):
        raise DataError(
            f"{source} chooses {', '.join(unknown)}",
            hint="after the question mark, write label=COLUMN or image=COLUMN",
        )
    return _Source(place=place, image=chosen.get("image", ""), label=chosen.get("label", ""))


def _files(place: Path) -> list[Path]:
    check_source(place)
    if is_regular(place):
        return [place]
    if not place.is_dir():
        raise DataError(f"there is no file {place}", hint="check the path")
    for inner, _, names in os.walk(place):
        odd = [name for name in names if name.lower().endswith(PARQUET) and not is_regular(Path(inner, name))]
        if odd:  # opening a named pipe would block
            raise DataError(f"{Path(inner, odd[0])} is not a regular file", hint="remove it")
    return files_below(place)


def _mark(table: _Source, files: Sequence[Path]) -> str:
    """A name that identifies the content of the files and the chosen columns."""
    found = hashlib.sha256(f"{table.image}\0{table.label}".encode())
    for path in files:
        stat = path.stat()
        found.update(os.fsencode(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0"))
    return f"table-{found.hexdigest()[:16]}"


def _parts(table: _Source, folder: Path) -> dict[str, datasets.Dataset]:
    """The splits of a table by their names in the table, each a dataset of `datasets`."""
    import datasets

    place = Path(table.place)
    name, _, config = table.place.removeprefix(HUB).partition(":")
    if table.is_remote and not name:
        raise DataError(f"{table.place} names no dataset", hint=table.hint)
    try:
        if table.is_remote:
            found = datasets.load_dataset(name, config or None)
        elif _is_saved(place):
            found = datasets.load_from_disk(str(place))
        else:
            files = {"train": [str(place)]} if place.is_file() else _by_split(place)
            found = datasets.load_dataset(
                "parquet", data_files=files, streaming=True, cache_dir=str(folder / "datasets")
            )
    except ConnectionError as error:
        raise DataError(
            f"{table.place} cannot be downloaded from the Hugging Face hub: {_first_line(error)}",
            hint="check the network, or download the set and give its folder",
        ) from error
    except Exception as error:  # datasets and pyarrow raise nearly any error for a damaged file
        raise table.unreadable(error) from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def _by_split(folder: Path) -> dict[str, list[str]]:
    """The parquet files of a folder by split, according to their names.

    If `datasets` were given the folder itself, it would follow links in its README.md, even to other hosts.
    """
    from datasets.data_files import DataFilesDict, get_data_patterns

    found = DataFilesDict.from_patterns(get_data_patterns(str(folder)), base_path=str(folder))
    return {str(split): list(files) for split, files in found.filter(extensions=[PARQUET]).items() if files}


def _write(parts: Mapping[str, datasets.Dataset], table: _Source, target: Path) -> None:
    """Write every image to a separate file, and an index with their classes."""
    beside = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        beside.mkdir(parents=True, exist_ok=True)
        (beside / INDEX).write_text(json.dumps(_written(parts, table, beside)), encoding="utf-8")
        beside.rename(target)
    except DataError:
        raise
    except OSError as error:
        if not target.is_dir():  # another process may have been faster
            raise DataError(
                f"the images of {table.place} cannot be written to {target.parent}: {_first_line(error)}",
                hint="make room, or choose another folder by MNV2SEARCH_CACHE",
            ) from error
    except Exception as error:  # in the middle of a file
        raise table.unreadable(error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


class _Index(TypedDict):
    """The classes, the (row, label) of the images of each split, and the unused parts."""

    classes: list[str]
    parts: dict[Split, list[tuple[int, int]]]
    left_out: list[str]


def _written(parts: Mapping[str, datasets.Dataset], table: _Source, folder: Path) -> _Index:
    """Write the images and return their index."""
    left_out: list[str] = []
    rows: dict[Split, list[tuple[int, object]]] = {}
    columns: Columns | None = None
    writer = _ImageWriter(table, folder)
    for name, dataset in parts.items():
        split: Split | None = SPLIT_NAMES.get(name.lower(), "train" if len(parts) == 1 else None)
        if split is None or split in rows:
            left_out.append(f"the split {name}: {'it repeats another split' if split else 'its purpose is unknown'}")
            continue
        columns = columns_of(dataset.features, image=table.image, label=table.label, source=table.place)
        found, unlabelled = writer.write(split, dataset, columns)
        if unlabelled:
            many = "they have" if unlabelled > 1 else "it has"
            left_out.append(f"{unlabelled} image{'s' * (unlabelled > 1)} of the split {name}: {many} no class")
        if found:
            rows[split] = found
    if "train" not in rows or columns is None:
        raise DataError(f"{table.place} has no usable split", hint=f"it has {', '.join(parts)}; add train")
    return _index(rows, columns, left_out)


def _index(rows: Mapping[Split, list[tuple[int, object]]], columns: Columns, left_out: list[str]) -> _Index:
    classes = columns.classes({label for part in rows.values() for _, label in part})
    numbers = {label: number for number, (label, _) in enumerate(classes)}
    return {
        "classes": [class_name(name) for _, name in classes],
        "parts": {split: [(row, numbers[label]) for row, label in part] for split, part in rows.items()},
        "left_out": left_out,
    }


class _ImageWriter:
    def __init__(self, table: _Source, folder: Path) -> None:
        place = Path(table.place)
        self.table, self.folder, self.size_bytes = table, folder, 0
        self.around = None if table.is_remote else place if place.is_dir() else place.parent

    def write(
        self, split: Split, dataset: datasets.Dataset, columns: Columns
    ) -> tuple[list[tuple[int, object]], int]:
        """Write the images of a split; returns (row, class) of each, and the number of images without a class."""
        found: list[tuple[int, object]] = []
        unlabelled = 0
        for row, (encoded, label) in enumerate(columns.rows(dataset, folder=self.around)):
            if label is None:
                unlabelled += 1
                continue
            path = self.folder / _name(split, row)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.size_bytes += path.write_bytes(encoded)
            if self.size_bytes > MOST_BYTES:
                place = self.table.place
                raise DataError(f"{place} holds more than {MOST_BYTES / 1e9:.0f} GB", hint="take a part of it")
            found.append((row, label))
        return found, unlabelled


def _name(split: str, row: int) -> str:
    return f"{split}/{row // PER_FOLDER:05}/{row:08}"


def _read(target: Path) -> dict[Split, SplitFiles]:
    index: _Index = json.loads((target / INDEX).read_text(encoding="utf-8"))
    return {
        split: SplitFiles(
            tuple(index["classes"]),
            tuple(Example(target / _name(split, row), (label,)) for row, label in part),
            left_out=tuple(index["left_out"]) if split == "train" else (),
        )
        for split, part in index["parts"].items()
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and logs of `datasets` and of the hub's library.

    Raises:
        MissingExtraError: `datasets` is not installed.
    """
    datasets = extra_module("datasets", feature="a table of images", package="datasets", extra="datasets")
    bars, level = datasets.is_progress_bar_enabled(), datasets.logging.get_verbosity()
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # it logs errors that we raise
    hub.setLevel(logging.ERROR)  # it logs a warning for every attempt before it fails
    try:
        yield
    finally:
        hub.setLevel(hub_level)
        datasets.logging.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
