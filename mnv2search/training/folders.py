"""Images in folders of classes, or in a tar of such folders."""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

from mnv2search.errors import DataError
from mnv2search.training.listing import NAMES, Example, Listing, Split

__all__ = ["SUFFIXES", "TAR_SUFFIXES", "listed_folder", "unpacked"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
# A tar beyond this is no set of images for one machine, or means harm.
MOST_TAR_BYTES = 200e9


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
        DataError: there is no such file, it is no sound tar, or the disk does not take it.
    """
    if folder is None:
        raise DataError(f"{source} is a tar", hint="unpack it, or give a folder to unpack it to")
    try:
        stat = source.stat()
        mark = hashlib.sha256(f"{source.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()[:16]
        target = folder / mark
        if not target.is_dir():
            _unpack(source, target)
    except FileNotFoundError:
        raise DataError(f"there is no file {source}", hint="check the path") from None
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{source} is no sound tar: {error}", hint="make it anew, or give the folder") from error
    except OSError as error:
        raise DataError(
            f"{source} cannot be unpacked to {folder}: {error.strerror or error}",
            hint="make room there, or choose another folder by MNV2SEARCH_CACHE",
        ) from error
    return target


def _unpack(source: Path, target: Path) -> None:
    """Unpack a tar beside the target, and put it there as a whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.", suffix=".part") as beside:
        part = Path(beside) / "files"
        part.mkdir()
        with tarfile.open(source) as archive:
            size = 0
            for member in archive:
                size += member.size
                if size > MOST_TAR_BYTES:
                    raise DataError(
                        f"{source} holds more than {MOST_TAR_BYTES / 1e9:.0f} GB", hint="unpack it yourself"
                    )
                if member.isfile():
                    archive.extract(member, part, filter="data")
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():  # another process may have been faster
                raise


def _down(root: Path) -> Path:
    """The folder that the classes or parts are in: a tar often holds one folder with everything."""
    while True:
        inside = [p for p in root.iterdir() if not p.name.startswith(".")]
        folders = [p for p in inside if p.is_dir()]
        alone = len(folders) == 1 and not any(p.suffix.lower() in SUFFIXES for p in inside)
        if not alone or folders[0].name.lower() in NAMES or not any(p.is_dir() for p in folders[0].iterdir()):
            return root
        root = folders[0]


def _parts(root: Path) -> tuple[dict[Split, dict[str, list[Path]]], int, list[Path]]:
    """The images by part and class, how many other files there are, and the folders of classes without images."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
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
        for inner in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
            files = sorted(p for p in inner.rglob("*") if p.is_file())
            images = [p for p in files if p.suffix.lower() in SUFFIXES]
            others += len(files) - len(images)
            if images:
                found[split][inner.name] = images
            else:
                empty.append(inner)
    return found, others, empty
