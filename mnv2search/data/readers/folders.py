"""Images in folders of classes, or in a tar of such folders."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import stat
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, cast

from mnv2search.data.image_files import SUFFIXES
from mnv2search.data.sources import NAMES, Example, Listing, Split, class_name
from mnv2search.errors import DataError
from mnv2search.untrusted import is_regular

__all__ = [
    "MOST_DEPTH",
    "TAR_SUFFIXES",
    "check_source",
    "entries",
    "files_below",
    "folders_in",
    "is_within",
    "listed_folder",
    "unpacked",
]

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
# A tar beyond this is no set of images for one machine, or means harm.
MOST_TAR_BYTES = 200e9
# Images are compressed already, so a large dataset unpacks to hardly more than the size of its archive.
MOST_RATIO, FREE_BYTES = 100, 4e9
# No dataset nests its folders deeper than this; paths on common file systems have at most 4,096 bytes.
MOST_DEPTH, MOST_PATH_BYTES = 32, 1024
# Size of a header, such as a long name, which tarfile reads at once.
MOST_HEADER_BYTES = 2**20
COMPRESSIONS: tuple[tuple[bytes, Callable[..., object]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"\xfd7zXZ", lzma.open),
    (b"BZh", bz2.open),
)


def check_source(source: Path) -> None:
    """Refuse a path that the file system rejects, such as one that is too long or without permission.

    Raises:
        DataError: the file system rejects it.
    """
    try:
        source.stat()
    except FileNotFoundError:
        pass  # it may name a table
    except OSError as error:
        raise _unreadable(source, error) from error


def entries(folder: Path) -> list[Path]:
    """The entries of a folder that are not hidden, sorted by name.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise _unreadable(folder, error) from error


def folders_in(folder: Path) -> list[Path]:
    """The subfolders of a folder, including links to folders, sorted by name.

    Raises:
        DataError: it cannot be read.
    """
    return [path for path in entries(folder) if path.is_dir()]


def files_below(folder: Path) -> list[Path]:
    """The regular files in a folder and its subfolders, sorted by name; links to folders are not followed.

    Raises:
        DataError: a folder cannot be read.
    """
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename), error) from error

    for inner, _, names in os.walk(folder, onerror=refuse):
        found += [path for name in names if is_regular(path := Path(inner, name))]
    return sorted(found)


def is_within(path: Path, folder: Path) -> bool:
    """Whether this is a regular file that lies in a folder after all links are resolved."""
    return is_regular(path) and path.resolve().is_relative_to(folder.resolve())


def listed_folder(root: Path) -> Listing:
    """The images of a tree of class folders, with or without split folders above them.

    Raises:
        DataError: the tree has parts but none to learn from, or something beside its parts.
    """
    parts, others, empty = _parts(_down(root))
    classes = tuple(sorted({name for part in parts.values() for name in part}))
    index = {name: label for label, name in enumerate(classes)}
    return Listing(
        classes=classes,
        parts={
            split: tuple(Example(path, index[name]) for name in sorted(part) for path in part[name])
            for split, part in parts.items()
        },
        others=others,
        left_out=tuple(f"the folder {path}, which holds no images" for path in empty),
    )


def unpacked(source: Path, folder: Path | None) -> Path:
    """A folder with the files of a tar, unpacked once.

    Raises:
        DataError: there is no such file, it is not a valid tar archive, or it cannot be written to disk.
    """
    if folder is None:
        raise DataError(f"{source} is a tar", hint="unpack it, or give a folder to unpack it to")
    try:
        found = source.stat()
        if not stat.S_ISREG(found.st_mode):
            raise DataError(
                f"{source} is not a regular file", hint="give a tar archive, or a folder not named like one"
            )
        mark = f"{source.resolve()}\0{found.st_size}\0{found.st_mtime_ns}"
        target = folder / hashlib.sha256(os.fsencode(mark)).hexdigest()[:16]
        if not target.is_dir():
            _unpack(source, target, most_bytes=min(MOST_TAR_BYTES, max(FREE_BYTES, MOST_RATIO * found.st_size)))
    except FileNotFoundError:
        raise DataError(f"there is no file {source}", hint="check the path") from None
    except DataError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise DataError(
                f"{source} cannot be unpacked to {folder}: {error.strerror}",
                hint="free some space there, or set MNV2SEARCH_CACHE to another folder",
            ) from error
        raise _unsound(source, error) from error  # gzip and bz2 raise it, without errno, for damaged data
    except Exception as error:  # tarfile raises nearly anything on a hostile file, RecursionError too
        raise _unsound(source, error) from error
    return target


class _Archive:
    """The bytes of a tar archive; refuses to read a header large enough to fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {size:,} bytes")
        return self._file.read(size)


def _unpack(source: Path, target: Path, *, most_bytes: float) -> None:
    """Unpack a tar beside the target, and put it there as a whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.", suffix=".part") as beside:
        part = Path(beside) / "files"
        part.mkdir()
        with _uncompressed(source) as file, tarfile.open(fileobj=cast("IO[bytes]", _Archive(file)), mode="r:") as tar:
            size = 0
            for member in tar:
                size += member.size
                if size > most_bytes:
                    raise DataError(
                        f"{source} holds more than {most_bytes / 1e9:.0f} GB",
                        hint="unpack it yourself and give the folder",
                    )
                if member.name.count("/") > MOST_DEPTH or len(os.fsencode(member.name)) > MOST_PATH_BYTES:
                    raise tarfile.ReadError(
                        f"it has a file with too long a path, or more than {MOST_DEPTH} folders deep"
                    )
                if member.isfile():
                    tar.extract(member, part, filter="data")
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():  # another process may have been faster
                raise


def _uncompressed(source: Path) -> BinaryIO:
    """The uncompressed bytes of a tar archive, whatever its compression."""
    with source.open("rb") as file:
        first = file.read(8)
    opened = next((opened for mark, opened in COMPRESSIONS if first.startswith(mark)), None)
    return source.open("rb") if opened is None else cast("BinaryIO", opened(source, "rb"))


def _down(root: Path) -> Path:
    """The folder that the classes or parts are in: a tar often holds one folder with everything."""
    for _ in range(MOST_DEPTH):
        inside = entries(root)
        folders = [p for p in inside if p.is_dir()]
        alone = len(folders) == 1 and not any(p.suffix.lower() in SUFFIXES for p in inside)
        if not alone or folders[0].name.lower() in NAMES or not folders_in(folders[0]):
            break
        root = folders[0]
    return root


def _parts(root: Path) -> tuple[dict[Split, dict[str, list[Path]]], int, list[Path]]:
    """The images by part and class, how many other files there are, and the folders of classes without images."""
    folders = folders_in(root)
    splits = [(p, NAMES[p.name.lower()]) for p in folders if p.name.lower() in NAMES]
    if splits and not any(split == "train" for _, split in splits):
        raise DataError(f"{root} has {splits[0][0].name}/ but no train/", hint="add it, or leave out the parts")
    twice = [name for name, count in Counter(split for _, split in splits).items() if count > 1]
    if twice:
        raise DataError(f"{root} has two folders for {twice[0]}", hint="keep one of them")
    if splits and len(splits) < len(folders):
        stray = next(p for p in folders if p.name.lower() not in NAMES)
        raise DataError(
            f"{root} has parts ({splits[0][0].name}/) and {stray.name}/ beside them",
            hint="move every class into the parts",
        )
    found: dict[Split, dict[str, list[Path]]] = {}
    others, empty = 0, list[Path]()
    for folder, split in splits or [(root, "train")]:
        found[split] = {}
        for inner in folders_in(folder):
            files = files_below(inner)
            images = [p for p in files if p.suffix.lower() in SUFFIXES]
            others += len(files) - len(images)
            if images:
                found[split].setdefault(class_name(inner.name), []).extend(images)
            else:
                empty.append(inner)
    return found, others, empty


def _unsound(source: Path, error: Exception) -> DataError:
    return DataError(f"{source} is not a valid tar archive: {error}", hint="create it again, or give the folder")


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror or error}", hint="check the path and its permissions")
