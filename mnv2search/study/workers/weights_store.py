"""The store through which a run passes shared weights to its workers: a folder, or a URL that fsspec supports."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from mnv2search.atomic import write_bytes
from mnv2search.errors import MissingExtraError, OptionError, StorageError, WriteError, extra_module
from mnv2search.study.workers.storage_url import EXTRA, masked
from mnv2search.untrusted import UnsafeFileError, read_bytes

MAX_BYTES = 4 << 30
# Number of digits of the digest in the name of a file.
NAME_DIGITS = 16
HINT = "give the run a folder or a URL that all workers can reach: --weights-store FOLDER|URL"


@dataclass(frozen=True, slots=True)
class WeightsStore:
    """Files of shared weights, named by their SHA-256.

    Args:
        place: path of a folder, or a URL such as ``s3://bucket/folder``, which needs the package fsspec.
    """

    place: str

    def check(self) -> None:
        """Refuse a place that cannot be used, before anything is trained.

        Raises:
            OptionError: the scheme of the URL is unknown, or its package is not installed.
            MissingExtraError: fsspec is not installed.
        """
        try:
            if self._is_url:
                _opened(self.place)
        except MissingExtraError:
            raise
        except (ImportError, ValueError) as error:
            raise OptionError(
                f"the store {self} cannot be used: {error}", hint="install its package, or choose another store"
            ) from error

    def write(self, content: bytes) -> str:
        """Write a file; returns its digest.

        Raises:
            StorageError: the file cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        try:
            if self._is_url:
                files, folder = _opened(self.place)
                files.makedirs(folder, exist_ok=True)
                files.pipe_file(f"{folder}/{_name(digest)}", content)
            else:
                write_bytes(Path(self.place) / _name(digest), content)
        except WriteError as error:
            raise StorageError(error.message, hint=error.hint) from error
        except Exception as error:
            raise StorageError(f"the shared weights cannot be written to {self}: {_why(error)}", hint=HINT) from error
        return digest

    def read(self, digest: str) -> bytes:
        """Read the file with a digest.

        Raises:
            StorageError: the file cannot be read, or has other content.
        """
        name = _name(digest)
        try:
            content = _read_url(self.place, name) if self._is_url else _read_file(Path(self.place) / name)
        except Exception as error:
            raise StorageError(
                f"the shared weights {name} of the run cannot be read from {self} on this machine: {_why(error)}",
                hint=HINT,
            ) from error
        if (found := hashlib.sha256(content).hexdigest()) != digest:
            raise StorageError(
                f"{name} in {self} is not what the run wrote: its SHA-256 is {found[:NAME_DIGITS]}…",
                hint="interrupt and resume the run, which writes the file again",
            )
        return content

    def __str__(self) -> str:
        """The place, without a password."""
        return masked(self.place)

    @property
    def _is_url(self) -> bool:
        return "://" in self.place


def _name(digest: str) -> str:
    return f"shared-weights-{digest[:NAME_DIGITS]}.pt"


def _read_file(path: Path) -> bytes:
    return read_bytes(path, max_bytes=MAX_BYTES)


def _read_url(place: str, name: str) -> bytes:
    files, folder = _opened(place)
    if (files.size(f"{folder}/{name}") or 0) > MAX_BYTES:
        raise UnsafeFileError(f"it has more than {MAX_BYTES:,} bytes")
    return files.cat_file(f"{folder}/{name}")


class _Files(Protocol):
    """The part of `fsspec.AbstractFileSystem` that is used."""

    def makedirs(self, path: str, exist_ok: bool) -> None: ...
    def pipe_file(self, path: str, value: bytes) -> None: ...
    def size(self, path: str) -> int | None: ...
    def cat_file(self, path: str) -> bytes: ...


def _opened(place: str) -> tuple[_Files, str]:
    """The file system of a URL, and the path of the folder in it."""
    core = extra_module("fsspec.core", feature=f"a store at {masked(place)}", package="fsspec", extra=EXTRA)
    return cast("tuple[_Files, str]", core.url_to_fs(place))


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (str(error).splitlines() or [""])[0] or type(error).__name__
