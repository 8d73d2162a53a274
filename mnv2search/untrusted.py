"""Safe handling of untrusted input: files, names and text."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

T = TypeVar("T")
# Common file systems allow names of 255 bytes; this leaves room for numbers and suffixes.
MAX_NAME_BYTES = 180
DIGEST_DIGITS = 8
BLOCK_BYTES = 1 << 20
KEPT = frozenset("\n\t")
SPACE_SEPARATOR = "Zs"


class UnsafeFileError(ValueError):
    """A file cannot be read safely; the message states the reason, without the path."""


def open_regular(path: Path | str, *, max_bytes: int) -> BinaryIO:
    """A regular file of at most `max_bytes`, opened for reading.

    Named pipes and devices raise an error without blocking.

    Raises:
        UnsafeFileError: the path is not a regular file, or the file is larger.
        OSError: the file is missing or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a null character, or one that the file system's encoding lacks
        raise UnsafeFileError(f"its name is not a valid file name: {error}") from None
    try:
        _check_regular(os.fstat(descriptor), max_bytes)
    except UnsafeFileError:
        os.close(descriptor)
        raise
    return open(descriptor, "rb")


def is_regular(path: Path | str) -> bool:
    """Whether a path, which may be any text, is a regular file; links are followed."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def read_bytes(path: Path | str, *, max_bytes: int) -> bytes:
    """The content of a regular file of at most `max_bytes`.

    Raises:
        UnsafeFileError: the path is not a regular file, or the file is larger.
        OSError: the file is missing or cannot be read.
    """
    with open_regular(path, max_bytes=max_bytes) as file:
        content = bytearray()  # grows with the actual size, not the maximum
        while block := file.read(min(BLOCK_BYTES, max_bytes + 1 - len(content))):
            content += block
    if len(content) > max_bytes:  # the file has grown since the check
        raise UnsafeFileError(f"it has more than {max_bytes:,} bytes")
    return bytes(content)


def read_lines(path: Path | str, *, max_bytes: int) -> Iterator[bytes]:
    """Yield the lines of a regular file without their line breaks; an incomplete last line is left out.

    Raises:
        UnsafeFileError: the path is not a regular file, or the file is larger than `max_bytes`.
        OSError: the file is missing or cannot be read.
    """
    left = max_bytes + 1
    with open_regular(path, max_bytes=max_bytes) as file:
        while line := file.readline(left):
            left -= len(line)
            if not left:  # the file has grown since the check
                raise UnsafeFileError(f"it has more than {max_bytes:,} bytes")
            if line.endswith(b"\n"):
                yield line[:-1]


def read_text(path: Path | str, *, max_bytes: int) -> str:
    """The UTF-8 text of a regular file of at most `max_bytes`, without a byte-order mark.

    Raises:
        UnsafeFileError: as for `read_bytes`, or the file is not UTF-8.
        OSError: the file is missing or cannot be read.
    """
    content = read_bytes(path, max_bytes=max_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnsafeFileError(f"it is not UTF-8 text: byte {content[error.start]:#04x} on line {line}") from None


def read_json(path: Path | str, *, max_bytes: int, finite: bool = True) -> Any:
    """The value in a JSON file; with `finite`, numbers must be finite.

    Raises:
        UnsafeFileError: as for `read_text`, or the text is not JSON, is nested too deeply, or has NaN or infinity.
        OSError: the file is missing or cannot be read.
    """
    return json_value(read_text(path, max_bytes=max_bytes), finite=finite)


def json_value(text: str, *, finite: bool = True) -> Any:
    """The value of a JSON text; with `finite`, numbers must be finite.

    Raises:
        UnsafeFileError: the text is not JSON, is nested too deeply, or has NaN or infinity.
    """
    try:
        if not finite:
            return json.loads(text)
        return json.loads(text, parse_constant=_refused_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise UnsafeFileError(f"it is not JSON: {error.msg} on line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise UnsafeFileError("its values are nested too deeply") from None
    except UnsafeFileError:
        raise
    except ValueError as error:
        raise UnsafeFileError(f"it is not JSON: {error}") from None


def json_as(kind: type[T], text: bytes | str) -> T:
    """The value of a JSON text as a dataclass or another type, checked against its annotations.

    Unknown keys are ignored.

    >>> json_as(float, "1")
    1.0

    Raises:
        UnsafeFileError: the text is not JSON, is nested too deeply, or does not match the type.
    """
    import msgspec  # late: start-up must not pay for it

    try:
        # msgspec does not check the encoding of keys that it ignores
        whole = text.decode() if isinstance(text, bytes) else text
        return msgspec.json.decode(whole, type=kind)
    except UnicodeDecodeError as error:
        raise UnsafeFileError(f"it is not UTF-8 text: byte {error.object[error.start]:#04x}") from None
    except RecursionError:
        raise UnsafeFileError("its values are nested too deeply") from None
    except msgspec.DecodeError as error:
        raise UnsafeFileError(_lower(str(error))) from None


def file_name(text: str) -> str:
    """A file name, without a suffix, for any text: the text itself if it is a valid file name.

    Unsuitable characters become dashes. If the text is changed, its digest is appended, so that two texts never have
    the same name. The result has no separator, does not start with a dot or a dash, and has at most `MAX_NAME_BYTES`
    bytes.

    >>> file_name("mnv2-0031")
    'mnv2-0031'
    >>> file_name("../../etc/passwd")
    'etc-passwd-3754d6cb'
    """
    safe = "".join(c if c.isalnum() or c in "._-+=@ ()[]," else "-" for c in unicodedata.normalize("NFC", text))
    safe = safe.strip(" .-")
    if safe == text and len(safe.encode()) <= MAX_NAME_BYTES and safe:
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_DIGITS]
    most = MAX_NAME_BYTES - DIGEST_DIGITS - 1
    stem = safe.encode("utf-8", "replace")[:most].decode("utf-8", "ignore").strip(" .-")
    return f"{stem}-{digest}" if stem else f"unnamed-{digest}"


def escaped(text: str) -> str:
    r"""The text with every unprintable character written as an escape; line breaks, tabs and spaces stay.

    Control characters and direction marks then have no effect on a terminal.

    >>> print(escaped("a\x1b]52;c;AAAA\x07b"))
    a\x1b]52;c;AAAA\x07b
    """
    if text.isprintable():
        return text
    return "".join(c if _is_shown(c) else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def _check_regular(status: os.stat_result, max_bytes: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UnsafeFileError("it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFileError("it is not a regular file")
    if status.st_size > max_bytes:
        raise UnsafeFileError(f"it has more than {max_bytes:,} bytes")


def _is_shown(character: str) -> bool:
    return character.isprintable() or character in KEPT or unicodedata.category(character) == SPACE_SEPARATOR


def _lower(text: str) -> str:
    return text[0].lower() + text[1:] if text[1:2].islower() else text


def _refused_constant(name: str) -> float:
    raise UnsafeFileError(f"it is not JSON: {name} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise UnsafeFileError(f"the number {text[:20]} is too large")
    return number
