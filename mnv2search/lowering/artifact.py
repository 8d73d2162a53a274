"""An artifact: the files that a runtime loads a network from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Files by name, such as ``model.onnx``, or ``model.param`` and ``model.bin``."""

    files: tuple[tuple[str, bytes], ...]

    @property
    def digest(self) -> str:
        """Forty hex digits that differ where the files do.

        >>> Artifact(files=(("model.onnx", b"1"),)).digest == Artifact(files=(("model.onnx", b"2"),)).digest
        False
        """
        found = hashlib.sha256()
        for name, content in self.files:
            found.update(f"{name}\0{len(content)}\0".encode())
            found.update(content)
        return found.hexdigest()[:40]

    def write(self, folder: Path) -> None:
        """Write the files into a folder that is there."""
        for name, content in self.files:
            (folder / name).write_bytes(content)
