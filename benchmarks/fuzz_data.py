"""Fuzzer for image datasets: each is read or refused, without starting a program, filling memory or a traceback.

Run: `python benchmarks/fuzz_data.py [--images 3000] [--sets 3000] [--commands 200] [--seed 0] [--memory-mb 2000]`

Images are files of other formats with accepted suffixes, damaged images, and small files that unpack to large images.
Datasets are COCO's JSON and Pascal VOC's XML with changed values, bytes and names. Commands are `mnv2search data` on
both, whose output must not contain control characters. `--memory-mb` limits the address space that the process may
use in addition to that of its imports. Failures are printed, and the exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import random
import resource
import shutil
import struct
import sys
import tempfile
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, features

from mnv2search.cli.main import main as command_line
from mnv2search.data.image_files import checked_size, opened_image
from mnv2search.data.pixels import read_pixels
from mnv2search.data.preprocessing import Preprocessing
from mnv2search.data.readers.masks import mask_of
from mnv2search.data.reading import read_dataset
from mnv2search.errors import Mnv2SearchError
from mnv2search.export.calibration import calibration_images
from mnv2search.spec.size import Size
from mnv2search.untrusted import UnsafeFileError, escaped
from mnv2search.workflows.training.describe_data import short_side_and_hash

SUFFIXES = (".png", ".jpg", ".webp", ".bmp")
STARTS = (
    "subprocess.Popen",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.spawn",
)
SHOWN = 5
# Images of a set.
COUNT = 12
FORMATS: tuple[str, ...] = (
    "AVIF",
    "BMP",
    "DDS",
    "DIB",
    "EPS",
    "GIF",
    "ICNS",
    "ICO",
    "IM",
    "JPEG",
    "JPEG2000",
    "MPO",
    "MSP",
    "PCX",
)
FORMATS += ("PDF", "PNG", "PPM", "QOI", "SGI", "SPIDER", "TGA", "TIFF", "WEBP", "XBM")
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "I;16", "I", "F", "HSV", "LAB")
HEADERS: tuple[bytes, ...] = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    b"SIMPLE  =                    T",
    b"8BPS\0\1",
)
HEADERS += (
    b"\xd7\xcd\xc6\x9a",
    b"GRIB",
    b"\x89HDF\r\n\x1a\n",
    b"\0\0\0\x20ftypavif",
    b"BLP2",
    b"DDS \x7c\0\0\0",
    b"P6 9 9 255 ",
)
NAMES: tuple[str, ...] = (
    "\x1b]52;c;QUFB\x07",
    "\x9b31m",
    "[bold]x[/bold]",
    "[/]",
    "../../../../etc/passwd",
    "/etc/passwd",
    "/",
    "..",
    ".",
)
NAMES += ("\0", "\ud800", "a**b", "[", "\u202egnp.exe", "日" * 100, "x" * 5000, "x/" * 500, "a\nerror: b", " ", "")
NUMBERS = (
    None,
    True,
    -1,
    0,
    1e308,
    -1e308,
    10**400,
    -(10**18),
    1e-320,
    float("nan"),
    float("inf"),
    "(1 + 2)",
    "0x10",
    "1e999",
)
VALUES: tuple[Any, ...] = (*NAMES, *NUMBERS, [], {}, [1], {"id": 1}, [[[[1]]]], [0] * 1000)
ENCODINGS = ("foo", "utf-16", "utf-7", "hex", "idna", "rot13", "latin-1", "unicode_escape", "utf-32", "")


def png_of(width: int, height: int, *, content: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG file with these sides and this content, whether or not that is enough."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """A zlib stream of this many zeros, created without holding them in memory."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count >> 20)]
    return b"".join([*parts, packer.compress(bytes(count % (1 << 20))), packer.flush()])


def hostile_image(rng: random.Random) -> bytes:
    """The content of a hostile image file."""
    kind = rng.choice(("format", "format", "flipped", "flipped", "cut", "header", "bomb", "exif", "sides"))
    if kind == "header":
        return rng.choice(HEADERS) + rng.randbytes(rng.randrange(2000))
    if kind == "bomb":
        side = rng.choice((3000, 7000, 9000, 12_000, 20_000, 2**31 - 1))
        width, height = rng.choice(((side, side), (side, 1), (1, side), (0, side), (side, 0)))
        return png_of(width, height, content=zeros(min(width * height, 1 << 26) * 3))
    content = bytearray(saved(rng))
    if kind == "flipped":
        for _ in range(rng.randrange(1, 30)):
            content[rng.randrange(min(len(content), rng.choice((64, 1 << 20))))] = rng.randrange(256)
    elif kind == "cut":
        del content[rng.randrange(len(content)) :]
    elif kind == "sides":  # at the offsets where most formats store them
        at = rng.choice((16, 18, 4, 6, 163, 26))
        content[at : at + 8] = struct.pack(
            rng.choice((">II", "<II")), rng.choice((0, 70_000, 2**31)), rng.choice((0, 1, 2**31))
        )
    return bytes(content)


def saved(rng: random.Random) -> bytes:
    """A small image in a random Pillow format and a mode that the format supports."""
    while True:
        picture = Image.fromarray(np.frombuffer(rng.randbytes(40 * 30 * 3), np.uint8).reshape(30, 40, 3))
        options: dict[str, Any] = {}
        if rng.random() < 0.2:
            options["exif"] = b"Exif\0\0" + rng.choice((b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08")) + rng.randbytes(200)
        if rng.random() < 0.1:
            options |= {"save_all": True, "append_images": [picture] * 3}
        if rng.random() < 0.1:
            options["transparency"] = rng.choice((0, b"\0\1\2"))
        kind, file = rng.choice(FORMATS if rng.random() < 0.5 else ("PNG", "JPEG", "WEBP", "BMP")), io.BytesIO()
        with contextlib.suppress(Exception):  # not every format supports every mode
            picture.convert(rng.choice(MODES if rng.random() < 0.5 else ("RGB",))).save(file, kind, **options)
        if file.getvalue():
            return file.getvalue()


WHOLE = Preprocessing(
    size=Size(width=32, height=32), output="raw", output_shape=(), meaning="", normalization="unit", is_whole=True
)


def read_image(content: bytes, folder: Path, rng: random.Random) -> str:
    """Read an image with every function that reads images, and return the outcome."""
    path = folder / f"image{rng.choice(SUFFIXES)}"
    path.write_bytes(content)
    results = {type(short_side_and_hash(path)), type(mask_of(path)), type(read_pixels(path, 16))}
    with contextlib.suppress(Mnv2SearchError):
        calibration_images(folder, files=[path], preprocessing=WHOLE)
    try:
        checked_size(path)
        with opened_image(path, upright=rng.random() < 0.5) as picture:
            assert picture.mode == "RGB", results
    except UnsafeFileError:
        return "refused"
    return "read"


def changed(value: Any, rng: random.Random) -> Any:
    """A JSON value with one part replaced, removed or repeated."""
    if isinstance(value, dict | list) and value and rng.random() < 0.97:
        key: Any = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        if (done := rng.random()) < 0.1:
            del value[key]
        elif done < 0.15 and isinstance(value, list):
            value.append(copy.deepcopy(value[key]))
        else:
            value[key] = changed(value[key], rng)
        return value
    return copy.deepcopy(rng.choice(VALUES))


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes with a few of them changed, or with the end cut off."""
    kept = bytearray(content)
    for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 0, 1, 10))):
        kept[rng.randrange(len(kept))] = rng.randrange(256)
    return bytes(kept[: rng.randrange(len(kept)) if rng.random() < 0.02 else None])


def write_coco(root: Path, rng: random.Random) -> None:
    """COCO's JSON with errors; the images exist."""
    content: Any = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 30} for n in range(COUNT)],
        "annotations": [{"id": n, "image_id": n, "category_id": n % 2, "bbox": [1, 1, 9, 9]} for n in range(COUNT)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(("red", "green"))],
    }
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        content = changed(content, rng)
    text = json.dumps(content).encode()
    if rng.random() < 0.03:
        text = rng.choice((b"[" * 200_000, b'{"images": ' * 5000, b"\xff\xfe", b"9" * 10_000, b"\xef\xbb\xbf" + text))
    (root / "annotations.json").write_bytes(damaged(text, rng))


def write_voc(root: Path, rng: random.Random) -> None:
    """Pascal VOC's XML files with errors; the images exist."""
    (root / "Annotations").mkdir()
    for number in range(COUNT):
        fields = {
            "file": f"{number}.png",
            "name": rng.choice(("red", "green")),
            "x": 2,
            "y": 2,
            "right": 9,
            "below": 9,
        }
        while rng.random() < 0.15:
            fields[rng.choice(list(fields))] = rng.choice(VALUES)
        file, name, *box = (escape(str(value)) for value in fields.values())
        corners = "".join(
            f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        objects = f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"
        declared = rng.choice(("",) * 20 + (f'<?xml version="1.0" encoding="{rng.choice(ENCODINGS)}"?>',))
        entity = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 50}">' for n in range(6))
        bomb = f'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{entity}<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        bombed = rng.random() < 0.02
        file = rng.choice(("&a6;", "&e;")) if bombed else file
        text = f"{declared}{bomb if bombed else ''}<annotation><filename>{file}</filename>{objects}</annotation>"
        if rng.random() < 0.03:
            text = rng.choice(
                ("<a>" * 100_000, "<object/>", objects, f"{'<object>' * 500}{'</object>' * 500}", "<a" + " b" * 9)
            )
        (root / "Annotations" / f"{number}.xml").write_bytes(damaged(text.encode("utf-8", "surrogatepass"), rng))
    if rng.random() < 0.3:
        lists = root / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        names = [str(rng.choice(VALUES)) if rng.random() < 0.2 else str(n) for n in range(COUNT)]
        (lists / "train.txt").write_bytes(damaged("\n".join(names).encode("utf-8", "surrogatepass"), rng))


def write_set(root: Path, rng: random.Random) -> None:
    """A dataset of scenes with errors."""
    for number in range(COUNT):
        Image.new("RGB", (40, 30), (10 * number, 9, 9)).save(root / f"{number}.png")
    rng.choice((write_coco, write_voc))(root, rng)


def write_classes(root: Path, rng: random.Random) -> None:
    """Class folders with unusual names, some with a hostile image."""
    for name in (b"red", rng.choice((b"\xff", b"\x1b]52;c;QUFB\x07", b"[bold]", b"a\nerror: b", "日本".encode()))):
        folder = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
        folder.mkdir()
        for number in range(8):
            Image.new("RGB", (40, 30), (30 * number, 9, 9)).save(folder / f"{number}.png")
        if rng.random() < 0.7:
            (folder / f"\x1b[2Jodd{rng.choice(SUFFIXES)}").write_bytes(hostile_image(rng))
        if rng.random() < 0.3:
            os.mkfifo(folder / "pipe.png")
        if rng.random() < 0.3:
            (folder / "loop").symlink_to("..")


def read_set(root: Path, rng: random.Random) -> str:
    """Read a set as a training does."""
    write_set(root, rng)
    try:
        read_dataset(root, "detection")
    except Mnv2SearchError:
        return "refused"
    return "read"


def run_command(root: Path, rng: random.Random) -> str:
    """Run `mnv2search data` on a dataset; its output must not contain control characters."""
    rng.choice((write_set, write_classes))(root, rng)
    as_json = rng.random() < 0.5
    sys.argv = ["mnv2search", "data", str(root), *(["--json"] if as_json else [])]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command_line()
        except SystemExit as leave:
            code = leave.code
    text = out.getvalue() + err.getvalue()
    assert code in {0, 2}, (code, text)
    assert all(c.isprintable() or c == "\n" for c in text), ascii(text)
    assert "Traceback" not in text, text
    if as_json and code == 0:
        json.loads(out.getvalue())
    return "read" if code == 0 else "refused"


@contextlib.contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """An empty folder for one case."""
    inner = folder / "set"
    inner.mkdir()
    try:
        yield inner
    finally:
        shutil.rmtree(inner)


def main() -> None:
    """Run all cases and print the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in (("images", 3000), ("sets", 3000), ("commands", 200), ("seed", 0), ("memory-mb", 2000)):
        parser.add_argument(f"--{name}", type=int, default=count)
    arguments = parser.parse_args()
    features.pilinfo(io.StringIO())  # Pillow loads all of its formats before the limit is set
    warnings.filterwarnings("ignore", module=r"PIL\.")
    started: list[str] = []
    sys.addaudithook(lambda event, _: started.append(event) if event in STARTS else None)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + arguments.memory_mb * 10**6
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cases: dict[str, tuple[int, Callable[[Path, random.Random], str]]] = {
        "images": (arguments.images, lambda folder, rng: read_image(hostile_image(rng), folder, rng)),
        "sets": (arguments.sets, read_set),
        "commands": (arguments.commands, run_command),
    }
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MNV2SEARCH_CACHE"] = folder
        for kind, (count, read) in cases.items():
            results: Counter[str] = Counter()
            for number in range(count):
                try:
                    with fresh(Path(folder)) as inner:
                        results[read(inner, random.Random(f"{arguments.seed} {kind} {number}"))] += 1
                except (Exception, SystemExit):  # noqa: BLE001 - any exception here is a bug
                    results["failed"] += 1
                    failures += 1
                    if failures <= SHOWN:
                        print(f"{kind} {number}: {escaped(traceback.format_exc())}", file=sys.stderr)
            words = ", ".join(f"{results[word]} {word}" for word in ("read", "refused", "failed"))
            print(f"{kind:9} {count:6} cases: {words}")
    after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"programs started: {len(started)} {', '.join(sorted(set(started)))}".rstrip())
    print(f"memory beyond the imports: {(after_kb - before_kb) / 1024:.0f} MB")
    sys.exit(1 if failures or started else 0)


if __name__ == "__main__":
    main()
