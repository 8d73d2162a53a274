"""Unpacking of tar archives into the cache, once and within limits."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, cast

from mnv2search.data.readers.folders import MOST_DEPTH, MOST_PATH_BYTES, check_source
from mnv2search.errors import DataError

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
# A larger tar is too large for one machine, or hostile.
MOST_TAR_BYTES = 200e9
# Images are already compressed, so a large dataset unpacks to little more than the size of its archive.
MOST_RATIO, FREE_BYTES = 100, 4e9
# Maximum size of a header, such as a long name, which tarfile reads at once.
MOST_HEADER_BYTES = 2**20
COMPRESSIONS: tuple[tuple[bytes, Callable[..., object]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"\xfd7zXZ", lzma.open),
    (b"BZh", bz2.open),
)


def dataset_root(source: Path, unpack_to: Path | None) -> Path:
    """The source itself, or the folder of its unpacked files if it is a tar.

    Raises:
        DataError: the path cannot be read, or the archive cannot be unpacked.
    """
    check_source(source)
    return unpacked(source, unpack_to) if source.name.lower().endswith(TAR_SUFFIXES) else source


def unpacked(source: Path, folder: Path | None) -> Path:
    """The folder with the files of a tar, unpacked once.

    Raises:
        DataError: the file is missing or not a valid tar archive, or its files cannot be written to disk.
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
    except Exception as error:  # tarfile raises nearly any error for a hostile file, even RecursionError
        raise _unsound(source, error) from error
    return target


class _Archive:
    """The bytes of a tar archive; refuses to read a header that is large enough to exhaust the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {size:,} bytes")
        return self._file.read(size)


def _unpack(source: Path, target: Path, *, most_bytes: float) -> None:
    """Unpack a tar to a temporary folder, and rename it to the target."""
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
    """The uncompressed bytes of a tar archive with any compression."""
    with source.open("rb") as file:
        first = file.read(8)
    opened = next((opened for mark, opened in COMPRESSIONS if first.startswith(mark)), None)
    return source.open("rb") if opened is None else cast("BinaryIO", opened(source, "rb"))


def _unsound(source: Path, error: Exception) -> DataError:
    return DataError(f"{source} is not a valid tar archive: {error}", hint="create it again, or give the folder")
