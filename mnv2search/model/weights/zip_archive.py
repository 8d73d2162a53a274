"""Members of untrusted zip files, read into memory within bounds."""

from __future__ import annotations

import os
import zipfile
import zlib
from typing import BinaryIO

from mnv2search.untrusted import UnsafeFileError

# Checked before the list of members is read, which needs several times its size in memory.
MAX_MEMBERS = 100_000
MEMBER = b"PK\x01\x02"
CHUNK_BYTES = 1 << 20
# Weights hardly compress: an archive that unpacks to more than both of these is not a weights file.
MAX_RATIO = 10
FREE_BYTES = 128 << 20
STORED_OR_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ZipArchive:
    """The members of a zip file by name; nothing is written to disk, so names cannot escape a folder.

    Raises:
        UnsafeFileError: the file is not a zip file, is damaged, or unpacks to much more than its size.
    """

    def __init__(self, file: BinaryIO) -> None:
        if sum(chunk.count(MEMBER) for chunk in iter(lambda: file.read(CHUNK_BYTES), b"")) > MAX_MEMBERS:
            raise UnsafeFileError(f"it holds more than {MAX_MEMBERS:,} members")
        size_bytes = file.seek(0, os.SEEK_END)
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise UnsafeFileError(f"it is cut off or damaged ({error})") from None
        members = self._zip.infolist()
        self._members = {member.filename: member for member in members}
        if len(self._members) < len(members):
            raise UnsafeFileError("two of its members have the same name")
        # overlapping members add up to more than the file
        if sum(member.compress_size for member in members) > size_bytes:
            raise UnsafeFileError("it is cut off or damaged: its members are larger than the file")
        unpacked = sum(member.file_size for member in members)
        if unpacked > max(FREE_BYTES, MAX_RATIO * size_bytes):
            raise UnsafeFileError(f"its {size_bytes:,} bytes unpack to {unpacked:,}, far more than weights do")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the members, in the order of the archive."""
        return tuple(self._members)

    def read(self, name: str, *, max_bytes: int | None = None) -> bytearray:
        """The content of a member.

        Raises:
            UnsafeFileError: the member is missing, larger than `max_bytes`, or damaged.
        """
        member = self._members.get(name)
        if member is None:
            raise UnsafeFileError(f"it has no member {name[:100]!r}")
        if max_bytes is not None and member.file_size > max_bytes:
            raise UnsafeFileError(f"its member {name[:100]!r} has more than {max_bytes:,} bytes")
        if member.compress_type not in STORED_OR_DEFLATED or member.flag_bits & 1:
            raise UnsafeFileError(f"its member {name[:100]!r} is encrypted, or compressed in an uncommon way")
        try:
            with self._zip.open(member) as file:
                content = bytearray(file.read(member.file_size))
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
            raise UnsafeFileError(f"it is cut off or damaged ({error})") from None
        if len(content) != member.file_size:
            raise UnsafeFileError(f"it is cut off or damaged: {name[:100]!r} is shorter than it says")
        return content
