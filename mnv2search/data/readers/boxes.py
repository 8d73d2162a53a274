"""Readers of boxes: COCO's JSON and Pascal VOC's XML; faulty entries are skipped."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeGuard

from mnv2search.data.dataset import Corners, Example, Fault, SplitFiles, class_name
from mnv2search.data.image_files import SUFFIXES, image_sizes
from mnv2search.data.readers.folders import folders_in, is_within
from mnv2search.errors import DataError
from mnv2search.untrusted import UnsafeFileError, is_regular, read_bytes, read_json

# The largest annotation file of COCO has 470 MB, that of LVIS 1.2 GB.
MAX_JSON_BYTES = 2**31
MAX_XML_BYTES = 2**24
# Largest coordinate in px, beyond the size of any image.
LARGEST = 1e9
# Longest path of a file, and longest value shown in a message, in characters.
LONGEST_NAME, LONGEST_SHOWN = 1024, 60


_Entry: TypeAlias = Mapping[str, object]


class _Coco(NamedTuple):
    """The lists of a COCO file, with the sorted ids and names of its categories."""

    images: list[_Entry]
    annotations: list[_Entry]
    categories: list[tuple[int, str]]


_Box: TypeAlias = tuple[Corners, int]
"""Corners in px, and label."""


def checked_box(corners: Sequence[object], size: tuple[int, int]) -> tuple[Corners | None, str]:
    """The corners clipped to the image (None for an unusable box), and the fault if there is one.

    >>> checked_box((-5, 0, 10, 10), (20, 20))
    ((0.0, 0.0, 10.0, 10.0), 'the box (-5, 0, 10, 10) reaches beyond the image of 20 x 20 px')
    >>> checked_box((3, 3, 3, 9), (20, 20))
    (None, 'the box (3, 3, 3, 9) has no area')
    """
    shown = f"the box ({', '.join(str(value)[:12] for value in corners)})"
    numbers = [value for value in corners if _is_number(value)]
    if len(corners) != 4 or len(numbers) != 4:
        return None, f"{shown} is not four numbers"
    x0, y0, x1, y1 = map(float, numbers)
    if x1 <= x0 or y1 <= y0:
        return None, f"{shown} has no area"
    width, height = size
    within = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if within[2] <= within[0] or within[3] <= within[1]:
        return None, f"{shown} lies outside the image of {width} x {height} px"
    if within != (x0, y0, x1, y1):
        return within, f"{shown} reaches beyond the image of {width} x {height} px"
    return within, ""


def read_coco(file: Path, *, root: Path | None = None) -> SplitFiles:
    """The examples of a JSON file with `images`, `annotations` and `categories`.

    Images are searched next to the file, in the folder `images` next to it, and at the path in `file_name`, but never
    outside of `root`, the dataset's folder, by default the parent of its folder. Crowd annotations are skipped.

    Raises:
        DataError: the file is not COCO's JSON.
    """
    content = _coco(file)
    labels = {key: number for number, (key, _) in enumerate(content.categories)}
    faults: list[Fault] = []
    by_image = _by_image(file, content, faults)
    examples: list[Example] = []
    top = file.parent.parent if root is None else root
    paths = [_image_path(file, image.get("file_name"), top) for image in content.images]
    sizes = image_sizes(paths)
    for number, (image, path) in enumerate(zip(content.images, paths, strict=True)):
        size = sizes[path] if _is_id(image.get("id")) else "its id is neither an integer nor text"
        if path is None or isinstance(size, str):
            entry = f"image {_id_of(image, number)} ({str(image.get('file_name'))[:LONGEST_SHOWN]})"
            faults.append(Fault(file, entry, str(size), of="image"))
            continue
        boxes = [_coco_box(place, one, labels, size, faults) for place, one in by_image[image["id"]]]
        examples.append(_example(path, size, boxes))
    names = tuple(name for _, name in content.categories)
    return SplitFiles(names, tuple(examples), tuple(faults), max(1, len(content.annotations)))


def read_voc(files: Sequence[Path]) -> SplitFiles:
    """The examples of XML files, one per image; pixels are counted from 1, and classes are sorted by name."""
    faults: list[Fault] = []
    trees = [(file, tree) for file in files if (tree := _xml(file, faults)) is not None]
    names = tuple(sorted({class_name(_text(one, "name")) for _, tree in trees for one in tree.iter("object")} - {""}))
    labels = {name: number for number, name in enumerate(names)}
    examples: list[Example] = []
    entries = len(files)
    paths = [_voc_image(file, _text(tree, "filename")) for file, tree in trees]
    sizes = image_sizes(paths)
    for (file, tree), path in zip(trees, paths, strict=True):
        size = sizes[path]
        if path is None or isinstance(size, str):
            faults.append(Fault(file, f"filename {_shown(_text(tree, 'filename'))}", str(size), of="image"))
            continue
        objects = list(tree.iter("object"))
        entries += len(objects)
        boxes = [
            _voc_box(Fault(file, f"object {number}", ""), one, labels, size, faults)
            for number, one in enumerate(objects, start=1)
        ]
        examples.append(_example(path, size, boxes))
    return SplitFiles(names, tuple(examples), tuple(faults), max(1, entries))


def _coco_box(
    place: Fault,
    annotation: _Entry,
    labels: Mapping[int, int],
    size: tuple[int, int],
    faults: list[Fault],
) -> _Box | None:
    box, category = annotation.get("bbox"), annotation.get("category_id")
    if not isinstance(category, int) or category not in labels:
        faults.append(place._replace(what=f"the class id {_shown(category)} is not one of {_listed(labels)}"))
        return None
    numbers = [value for value in box if _is_number(value)] if isinstance(box, list) and len(box) == 4 else []
    if len(numbers) < 4:
        faults.append(place._replace(what=f"bbox is {_shown(box)}, not [x, y, width, height]"))
        return None
    x, y, width, height = numbers
    return _clipped(place, (x, y, x + width, y + height), labels[category], size, faults)


def _voc_box(
    place: Fault, one: ET.Element, labels: Mapping[str, int], size: tuple[int, int], faults: list[Fault]
) -> _Box | None:
    name, box = class_name(_text(one, "name")), one.find("bndbox")
    if name not in labels:
        faults.append(place._replace(what=f"the class {_shown(name)} is not one of {_listed(labels)}"))
        return None
    texts = [_text(box, key) for key in ("xmin", "ymin", "xmax", "ymax")] if box is not None else []
    try:
        x0, y0, x1, y1 = (float(text) for text in texts)
    except ValueError:
        faults.append(place._replace(what=f"bndbox has {', '.join(texts)[:40] or 'nothing'}, not four numbers"))
        return None
    return _clipped(place, (x0 - 1, y0 - 1, x1, y1), labels[name], size, faults)


def _clipped(
    place: Fault, corners: Sequence[float], label: int, size: tuple[int, int], faults: list[Fault]
) -> _Box | None:
    within, wrong = checked_box(corners, size)
    if wrong:
        faults.append(place._replace(what=wrong, done="skipped" if within is None else "clipped"))
    return None if within is None else (within, label)


def _example(path: Path, size: tuple[int, int], boxes: Iterable[_Box | None]) -> Example:
    usable = [box for box in boxes if box is not None]
    return Example(path, tuple(label for _, label in usable), tuple(corners for corners, _ in usable), size=size)


def _id_of(entry: _Entry, number: int) -> str:
    """The id of an entry in a list, or its position if it has none."""
    return f"id {_shown(entry['id'])}" if "id" in entry else f"number {number + 1} of the list"


def _coco(file: Path) -> _Coco:
    try:
        content = read_json(file, max_bytes=MAX_JSON_BYTES, finite=False)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}", hint="check the path") from error
    except UnsafeFileError as error:
        raise DataError(f"{file} cannot be used: {error}", hint="give COCO's JSON, in UTF-8") from error
    if not isinstance(content, dict) or not all(_is_list(content.get(key)) for key in _Coco._fields):
        raise DataError(f"{file} has no lists images, annotations and categories", hint="give COCO's JSON")
    categories = content["categories"]
    if not categories:
        raise DataError(f"{file} has no categories", hint="list the classes under categories")
    if not all(isinstance(one.get("id"), int) for one in categories):
        raise DataError(f"{file} has categories without a whole number as id", hint="give every one an id")
    categories.sort(key=lambda one: int(one["id"]))
    named = [(one["id"], class_name(one.get("name", one["id"]))) for one in categories]
    return _Coco(content["images"], content["annotations"], named)


def _is_list(entries: object) -> bool:
    return isinstance(entries, list) and all(isinstance(one, dict) for one in entries)


def _by_image(file: Path, content: _Coco, faults: list[Fault]) -> Mapping[object, list[tuple[Fault, _Entry]]]:
    """The annotations of each image, by its id, without crowd annotations."""
    found: dict[object, list[tuple[Fault, _Entry]]] = defaultdict(list)
    known = {image["id"] for image in content.images if _is_id(image.get("id"))}
    for number, one in enumerate(content.annotations):
        place, image = Fault(file, f"annotation {_id_of(one, number)}", ""), one.get("image_id")
        if not _is_id(image) or image not in known:
            faults.append(place._replace(what=f"there is no image {_shown(image)}"))
        elif not one.get("iscrowd"):
            found[image].append((place, one))
    return found


def _xml(file: Path, faults: list[Fault]) -> ET.Element | None:
    try:
        return ET.fromstring(read_bytes(file, max_bytes=MAX_XML_BYTES))
    except (ET.ParseError, OSError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        faults.append(Fault(file, "", f"it is not valid XML ({error})"))
        return None


def _text(node: ET.Element | None, key: str) -> str:
    found = None if node is None else node.find(key)
    return "" if found is None or found.text is None else found.text.strip()


def _image_path(file: Path, name: object, root: Path) -> Path | None:
    """The path of an image, which must be inside the folder of the dataset."""
    if not isinstance(name, str) or not name or len(name) > LONGEST_NAME or "\0" in name:
        return None
    above = file.parent.parent
    named = [folder / name for folder in (file.parent, file.parent / "images", above, above / file.stem)]
    if (found := next((path for path in named if is_within(path, root)), None)) is not None:
        return found
    inside = folders_in(above if above.resolve().is_relative_to(root.resolve()) else root)
    alike = [path for folder in inside if is_within(path := folder / named[0].name, root)]
    return alike[0] if len(alike) == 1 else None


def _voc_image(file: Path, name: str) -> Path | None:
    folders = (file.parent.parent / "JPEGImages", file.parent.parent / "images", file.parent, file.parent.parent)
    names = [Path(name).name] if name else [file.stem + suffix for suffix in sorted(SUFFIXES)]
    return next((folder / one for folder in folders for one in names if is_regular(folder / one)), None)


def _is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a plausible coordinate: a number that is neither NaN nor too large."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _is_id(value: object) -> TypeGuard[int | str]:
    return isinstance(value, int | str)


def _shown(value: object) -> str:
    """A value from a file, as text for a message."""
    text = repr(value)
    return f"{text[:LONGEST_SHOWN]}…" if len(text) > LONGEST_SHOWN else text


def _listed(names: Iterable[object]) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")
