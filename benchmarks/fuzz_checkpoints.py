"""Fuzzer for weights files: damaged and hostile files must neither execute code nor cause a traceback.

Run: `python benchmarks/fuzz_checkpoints.py [--reads 1000] [--seed 0]`

A small network is written as `.pt` (in the current format and that before torch 1.6), `.pt2`, `.npz`, `.safetensors`
and `.ckpt`. Each file is then changed in one to three ways: bytes are flipped, cut out or repeated; the end is cut
off; members of an archive are swapped, renamed, left out or compressed; values in JSON, headers and pickles are
replaced by hostile ones; functions in a pickle are replaced by one that creates a folder. Each file is read by every
function that accepts its format. The fuzzer counts created folders and exceptions other than our own, and measures
peak memory.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import random
import resource
import struct
import sys
import tempfile
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SPEC = """mnv2search: 1
name: small
resolution: 32
head: {classes: 3}
last: 32
blocks:
  - {t: 2, c: 8, n: 1, s: 2}
"""
PICKLED = (".pt", ".pth", ".ckpt")
CALLS = (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n")
HOSTILE: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1,
        2**31,
        2**62,
        10**30,
        1e308,
        "",
        "x" * 3000,
        "../../etc/passwd",
        "\ud800",
        "__import__('os')",
    ),
    *([], {}, [[]], {"as_int": 2**62}, [0, 2**40], "F64", "BOOL", "float", 7, 99),
)


@dataclass(frozen=True)
class Read:
    """The result of reading a file.

    Attributes:
        suffix: suffix of the file.
        outcome: `accepted`, `refused`, or the traceback.
        ran: whether code in the file was executed.
    """

    suffix: str
    outcome: str
    ran: bool


def sound_files() -> dict[str, bytes]:
    """The content of a valid file of every format, by suffix; each is first written to the current folder."""
    import numpy as np
    import torch
    from safetensors.torch import save as save_safetensors

    from mnv2search.export import export
    from mnv2search.model.build import build
    from mnv2search.model.weights.network_file import Learned, told_of
    from mnv2search.spec.yaml.codec import loads
    from mnv2search.training.checkpoint import Checkpoint

    spec: Any = loads(SPEC)
    model = build(spec, seed=0)
    state = model.state_dict()
    export(spec, Path("net.pt2"))
    np.savez("net.npz", allow_pickle=False, **{name: tensor.numpy() for name, tensor in state.items()})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.zeros(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    held = Checkpoint(
        job={"side": 32},
        step=1,
        steps=2,
        running_loss=0.5,
        best=(0.1, 3),
        best_step=1,
        model=state,
        averaged=None,
        optimizer=optimizer.state_dict(),
        half=False,
    )
    told = told_of(spec, Learned(classes=("a", "b", "c"), normalization="unit"))
    return {
        ".pt": saved({**told, "state_dict": state}),
        ".pth": saved(state, _use_new_zipfile_serialization=False),
        ".ckpt": saved({"mnv2search_checkpoint": 1, **asdict(held)}),
        ".safetensors": save_safetensors(state),
        ".pt2": Path("net.pt2").read_bytes(),
        ".npz": Path("net.npz").read_bytes(),
    }


def saved(value: object, **options: bool) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def changed(content: bytes, suffix: str, rng: random.Random, made: Path) -> bytes:
    """The content of a file with one to three changes; executing it creates the folder `made`."""
    for _ in range(rng.randint(1, 3)):
        of_bytes: list[Callable[[bytes, random.Random], bytes]] = [flipped, cut_off, cut_out, repeated, overwritten]
        structured = rng.random() < 0.7
        if structured and content.startswith(b"PK\x03\x04"):
            content = with_other_members(content, rng, made)
        elif structured and suffix == ".safetensors":
            content = with_other_header(content, rng)
        elif structured and suffix in PICKLED:
            content = with_other_calls(content, rng, made)
        else:
            content = rng.choice(of_bytes)(content, rng)
    return content


def flipped(content: bytes, rng: random.Random) -> bytes:
    found = bytearray(content)
    for _ in range(rng.randint(1, 8) if found else 0):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def cut_off(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randint(0, len(content))]


def cut_out(content: bytes, rng: random.Random) -> bytes:
    start = rng.randint(0, len(content))
    return content[:start] + content[start + rng.randint(1, 64) :]


def repeated(content: bytes, rng: random.Random) -> bytes:
    start = rng.randint(0, len(content))
    return content[: start + rng.randint(1, 64)] + content[start:]


def overwritten(content: bytes, rng: random.Random) -> bytes:
    start = rng.randint(0, len(content))
    word = rng.choice((b"\xff" * 8, bytes(8), b"\x7f" * 4, struct.pack("<q", 2**62), b"((((", b"\x85" * 400, b"."))
    return content[:start] + word + content[start + len(word) :]


def with_other_members(content: bytes, rng: random.Random, made: Path) -> bytes:
    """An archive with a changed member, name, order or compression, and with correct checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, OSError, struct.error, zlib.error):
        return flipped(content, rng)
    if not members:
        return flipped(content, rng)
    small = [name for name in members if name.endswith((".pkl", ".json", "/model.pt"))] or list(members)
    name = rng.choice(small if rng.random() < 0.7 else list(members))
    action = rng.choice(("content", "content", "content", "content", "leave out", "rename", "exchange", "deflate"))
    if action == "content":
        members[name] = other_content(name, members[name], rng, made)
    elif action == "leave out":
        del members[name]
    elif action == "rename":
        members[rng.choice(("../../" + name, name + "x", "archive/data/weights/model.pt"))] = members.pop(name)
    elif action == "exchange":
        other = rng.choice(list(members))
        members[name], members[other] = members[other], members[name]
    return archive_of(members, zipfile.ZIP_DEFLATED if action == "deflate" else zipfile.ZIP_STORED)


def archive_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


def other_content(name: str, data: bytes, rng: random.Random, made: Path) -> bytes:
    if name.endswith("/model.json") and rng.random() < 0.5:
        return data.replace(b"Symbol('s", f"__import__('os').mkdir({str(made)!r}), Symbol('s".encode())
    if name.endswith(".json"):
        return with_other_value(data, rng)
    if name.endswith("/model.pt"):
        return archive_of({"a/data.pkl": b"\x80\x02" + running(made) + b".", "a/version": b"3\n"})
    if name.endswith(".pkl"):
        return with_other_calls(data, rng, made)
    if name.endswith(".npy") and rng.random() < 0.7:
        sizes = (b"(100000000000,)", b"(0, 9999999999, 9999999999, 99)", b"(-1,)", b"((((", b"()", b"(True,)")
        return (
            data[:8]
            + b"\xf0\x00{'descr': '"
            + rng.choice((b"<f4", b"|O", b"<f16", b">f8", b"V9", b"<U2"))
            + (b"', 'fortran_order': False, 'shape': " + rng.choice(sizes) + b", }").ljust(0xF0 - 13)
            + data[128:]
        )
    return rng.choice((flipped, cut_off, cut_out, repeated, overwritten))(data, rng)


def with_other_value(data: bytes, rng: random.Random) -> bytes:
    """JSON with one value, key or item replaced."""
    try:
        value = json.loads(data)
    except ValueError:
        return flipped(data, rng)
    at = value
    while isinstance(at, dict | list) and at:
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.15:
            if rng.random() < 0.2:
                del at[key]
            else:
                at[key] = rng.choice(HOSTILE)
            break
        at = at[key]
    return json.dumps(value).encode()


def with_other_header(content: bytes, rng: random.Random) -> bytes:
    """A safetensors file with a changed header or header length."""
    length = int.from_bytes(content[:8], "little")
    header = with_other_value(content[8 : 8 + length], rng)
    size = rng.choice((len(header), len(header), len(header), 2**40, 0, 2**63))
    return struct.pack("<Q", size) + header + content[8 + length :]


def with_other_calls(data: bytes, rng: random.Random, made: Path) -> bytes:
    """A file that is or contains a pickle, with a changed function, number, text or instruction."""
    runs = running(made)
    action = rng.randrange(6)
    if action == 0:
        return data.replace(
            rng.choice(CALLS), rng.choice((b"cposix\nmkdir\n", b"cbuiltins\neval\n", b"c__builtin__\nbytearray\n"))
        )
    places = [place for place, byte in enumerate(data[: 1 << 16]) if byte in b"KMJ"] or [0]
    place = rng.choice(places)
    if action == 1:
        return data[:place] + runs + data[place:]
    if action == 2:
        return data[:place] + b"\x8a\x08" + struct.pack("<q", rng.choice((2**62, -1, 2**40))) + data[place + 2 :]
    if action == 3:
        return (
            data[:place]
            + rng.choice((b"N", b"]", b"}", b"(", b"t", b"R", b"b", b"\x81", b"Q", b"0", b"\x85" * 2000))
            + data[place:]
        )
    if action == 4:
        names = (b"HalfStorage", b"LongStorage", b"QInt8Storage", b"BoolStorage", b"UntypedStorage", b"Tensor")
        return data.replace(b"FloatStorage", rng.choice(names), rng.randint(1, 9))
    return data[:2] + runs + data[2:]


def running(made: Path) -> bytes:
    """Pickle instructions that create a folder."""
    text = str(made).encode()
    return b"cposix\nmkdir\nX" + struct.pack("<I", len(text)) + text + b"\x85R"


def entry_points(path: Path) -> Iterator[Callable[[], object]]:
    """The functions that accept such a file."""
    from mnv2search.model.build import build
    from mnv2search.model.weights.load import load_weights
    from mnv2search.model.weights.network_file import learned_beside, read_learned, read_network, read_spec
    from mnv2search.spec.yaml.codec import load_spec, loads
    from mnv2search.supernet.inheritance import network_of
    from mnv2search.training.checkpoint import read_checkpoint

    spec: Any = loads(SPEC)
    yield lambda: load_weights(build(spec, seed=0), path)
    yield lambda: network_of(path, spec)
    yield lambda: read_checkpoint(path)
    yield from (lambda read=read: read(path) for read in (read_network, read_spec, read_learned, learned_beside))
    yield lambda: load_spec(path)


def reads(count: int, *, seed: int) -> Iterator[Read]:
    """Write changed files to the current folder, and read each with every function that accepts it."""
    from mnv2search.errors import Mnv2SearchError

    rng = random.Random(seed)
    files = sound_files()
    made = Path("ran")
    for number in range(count):
        suffix = list(files)[number % len(files)]
        path = Path(f"changed{suffix}")
        path.write_bytes(changed(files[suffix], suffix, rng, made))
        outcome = "refused"
        for read in entry_points(path):
            try:
                found = read()
                outcome = "accepted" if found is not None and outcome == "refused" else outcome
            except Mnv2SearchError as error:
                str(error).encode("utf-8", "backslashreplace")
            except Exception:  # noqa: BLE001 - counted as a traceback
                outcome = traceback.format_exc()
        ran = made.exists()
        if ran:
            made.rmdir()
        yield Read(suffix=suffix, outcome=outcome, ran=ran)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        before = 0
        for read in reads(given.reads, seed=given.seed):
            before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            kind = read.outcome if read.outcome in ("accepted", "refused") else "traceback"
            counts[read.suffix].update({"reads": 1, kind: 1, "executed": read.ran})
            if kind == "traceback":
                print(read.outcome, file=sys.stderr)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    columns = ("reads", "accepted", "refused", "traceback", "executed")
    print(f"{'file':<14}" + "".join(f"{column:>11}" for column in columns))
    for suffix, count in sorted(counts.items()):
        print(f"{suffix:<14}" + "".join(f"{count[column]:>11,}" for column in columns))
    print(f"memory beyond that after the first file: {grown:,.0f} MB at most")


if __name__ == "__main__":
    main()
