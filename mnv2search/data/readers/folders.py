"""Reader of images in class folders, with or without split folders above them."""

from __future__ import annotations

import os
from pathlib import Path

from mnv2search.data.dataset import SPLIT_NAMES, Example, Split, SplitFiles, class_name
from mnv2search.data.image_files import SUFFIXES
from mnv2search.errors import DataError
from mnv2search.untrusted import is_regular

# No dataset nests its folders deeper than this; paths on common file systems have at most 4,096 bytes.
MOST_DEPTH, MOST_PATH_BYTES = 32, 1024


def check_source(source: Path) -> None:
    """Refuse a path that the file system rejects, such as a path that is too long or without permission.

    Raises:
        DataError: the file system rejects the path.
    """
    try:
        source.stat()
    except FileNotFoundError:
        pass  # it may name a table
    except OSError as error:
        raise _unreadable(source, error) from error


def entries(folder: Path) -> list[Path]:
    """The visible entries of a folder, sorted by name.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise _unreadable(folder, error) from error


def folders_in(folder: Path) -> list[Path]:
    """The subfolders of a folder, including links to folders, sorted by name.

    Raises:
        DataError: the folder cannot be read.
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
    """Whether a path is a regular file inside of a folder, after resolving all links."""
    return is_regular(path) and path.resolve().is_relative_to(folder.resolve())


def read_class_folders(root: Path) -> dict[Split, SplitFiles]:
    """The images of class folders by split; without split folders, all images are in ``train``.

    Raises:
        DataError: there are split folders but no ``train``, or class folders beside split folders.
    """
    root = _dataset_folder(root)
    found = {split: _images_by_class(folder) for split, folder in _split_folders(root).items()}
    classes = tuple(sorted({name for by_class, _, _ in found.values() for name in by_class}))
    labels = {name: (label,) for label, name in enumerate(classes)}
    return {
        split: SplitFiles(
            classes,
            tuple(Example(path, labels[name]) for name in sorted(by_class) for path in by_class[name]),
            others=others,
            left_out=tuple(f"the folder {folder}, which contains no images" for folder in empty),
        )
        for split, (by_class, others, empty) in found.items()
    }


def split_folders(root: Path) -> dict[Split, Path]:
    """The folders named like a split.

    Raises:
        DataError: two folders have names of the same split.
    """
    found: dict[Split, Path] = {}
    for folder in folders_in(root):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split in found:
            raise DataError(f"{root} has two folders for {split}", hint="keep one of them")
        if split is not None:
            found[split] = folder
    return found


def _dataset_folder(root: Path) -> Path:
    """The folder with the classes or splits, since an archive often contains a single folder with everything."""
    for _ in range(MOST_DEPTH):
        inside = entries(root)
        folders = [path for path in inside if path.is_dir()]
        alone = len(folders) == 1 and not any(path.suffix.lower() in SUFFIXES for path in inside)
        if not alone or folders[0].name.lower() in SPLIT_NAMES or not folders_in(folders[0]):
            break
        root = folders[0]
    return root


def _split_folders(root: Path) -> dict[Split, Path]:
    splits = split_folders(root)
    if not splits:
        return {"train": root}
    first = next(iter(splits.values())).name
    if "train" not in splits:
        raise DataError(f"{root} has {first}/ but no train/", hint="add it, or leave out the splits")
    stray = [path for path in folders_in(root) if path not in splits.values()]
    if stray:
        raise DataError(
            f"{root} has splits ({first}/) and {stray[0].name}/ beside them",
            hint="move every class into the splits",
        )
    return splits


def _images_by_class(folder: Path) -> tuple[dict[str, list[Path]], int, list[Path]]:
    """The images of each class, the number of other files, and the class folders without images."""
    by_class: dict[str, list[Path]] = {}
    others, empty = 0, []
    for inner in folders_in(folder):
        files = files_below(inner)
        images = [path for path in files if path.suffix.lower() in SUFFIXES]
        others += len(files) - len(images)
        if images:
            by_class.setdefault(class_name(inner.name), []).extend(images)
        else:
            empty.append(inner)
    return by_class, others, empty


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror or error}", hint="check the path and its permissions")
