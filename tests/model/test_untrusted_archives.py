"""Archives and pickles that lie about what they hold."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_files import packed
from model_specs import EXOTIC

from mnv2search.errors import WeightsError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.files import read_weights_file
from mnv2search.model.weights.load import load_weights
from mnv2search.untrusted import UnsafeFileError

PLAIN = EXOTIC["plain"]
FIRST = "features.0.0.weight"


def model() -> MobileNet:
    return build(PLAIN, seed=1)


def zip_of(pickled: bytes, **storages: bytes) -> bytes:
    return packed({"a/data.pkl": pickled, **{f"a/data/{key}": data for key, data in storages.items()}})


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu%btQ"


def tensor_of(
    *, elements: bytes = b"K\x01", offset: bytes = b"K\x00", sizes: bytes = b"", strides: bytes = b""
) -> bytes:
    call = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    call += b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + elements + b"tQ"
    return b"\x80\x02" + call + offset + b"(" + sizes + b"t(" + strides + b"t\x89NtR."


BIG = b"\x8a\x06\x00\x00\x00\x00\x00\x01"  # 2**40
NEGATIVE = b"J\xff\xff\xff\xff"
PICKLES: Mapping[str, bytes] = {
    "elements": tensor_of(elements=BIG),
    "negative elements": tensor_of(elements=NEGATIVE),
    "sizes": tensor_of(sizes=BIG, strides=b"K\x01"),
    "sizes without strides": tensor_of(sizes=BIG, strides=b"K\x00"),
    "negative sizes": tensor_of(sizes=NEGATIVE, strides=b"K\x01"),
    "no strides": tensor_of(sizes=b"K\x01"),
    "text for a size": tensor_of(sizes=b"X\x01\x00\x00\x00a", strides=b"K\x01"),
    "offset": tensor_of(offset=b"K\x01", sizes=b"K\x01", strides=b"K\x01"),
    "empty but large": tensor_of(sizes=b"K\x00" + BIG + BIG + BIG, strides=b"K\x01" * 4),
    "nine axes": tensor_of(sizes=b"K\x01" * 9, strides=b"K\x01" * 9),
    "call of a function": b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
    "call of bytearray": b"\x80\x02c__builtin__\nbytearray\n" + BIG + b"\x85R.",
    "new object": b"\x80\x02cpathlib\nPath\n)\x81.",
    "state of an object": b"\x80\x02cpathlib\nPath\n}b.",
    "nested tuple for a key": b"\x80\x02}K\x01" + b"\x85" * 300_000 + b"K\x01s.",
    "nested lists": b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".",
    "no storage": b"\x80\x02K\x01Q.",
    "empty stack": b"\x80\x02.",
    "no mark": b"\x80\x02t.",
    "unknown memo": b"\x80\x02h\x07.",
    "list as a dict": b"\x80\x02]K\x01K\x02s.",
    "not ended": b"\x80\x02K\x01",
    "no pickle": b"\xff\xfe",
    "long text": b"\x80\x02X\xff\xff\xff\x7fabc.",
}


@pytest.mark.parametrize("pickled", PICKLES.values(), ids=PICKLES)
def test_a_lying_pickle_is_refused(tmp_path: Path, pickled: bytes) -> None:
    (tmp_path / "net.pt").write_bytes(zip_of(pickled, **{"0": bytes(4)}))
    with pytest.raises(WeightsError):
        load_weights(model(), tmp_path / "net.pt")


@pytest.mark.parametrize("pickled", PICKLES.values(), ids=PICKLES)
def test_a_lying_pickle_is_refused_in_the_form_before_zip(tmp_path: Path, pickled: bytes) -> None:
    start = io.BytesIO()
    torch.save(1, start, _use_new_zipfile_serialization=False)
    head = start.getvalue()[: start.getvalue().index(b"\x80\x02K\x01.")]
    keys = b"\x80\x02]X\x01\x00\x00\x000a."
    (tmp_path / "net.pt").write_bytes(head + pickled + keys + struct.pack("<q", 1) + bytes(4))
    with pytest.raises(WeightsError):
        load_weights(model(), tmp_path / "net.pt")


def test_storages_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    torch.save({FIRST: torch.zeros(3)}, tmp_path / "net.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "net.pt").read_bytes()
    (tmp_path / "net.pt").write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match="shorter than it says"):
        load_weights(model(), tmp_path / "net.pt")


def test_a_name_in_an_archive_leaves_it_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4))
    pickled = tensor_of().replace(b"X\x01\x00\x00\x000", b"X\x0c\x00\x00\x00../../secret")
    (tmp_path / "net.pt").write_bytes(zip_of(pickled))
    with pytest.raises(WeightsError, match="no member"):
        load_weights(model(), tmp_path / "net.pt")


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


LYING_ARRAYS: Mapping[str, bytes] = {
    "400 GB": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000,), }\n"),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"\x80\x02K\x01."),
    "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1), }\n", bytes(4)),
    "text": npy("{'descr': '<U4', 'fortran_order': False, 'shape': (1,), }\n", bytes(16)),
    "wide": npy("{'descr': '<f16', 'fortran_order': False, 'shape': (1,), }\n", bytes(16)),
    "nested": npy("(" * 5000),
    "empty but large": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9999999999, 9999999999, 99), }\n"),
    "no header": b"\x93NUMPY\x01\x00",
    "version": b"\x93NUMPY\x09\x00\x02\x00{}",
    "no array": b"hello",
}


@pytest.mark.parametrize("array", LYING_ARRAYS.values(), ids=LYING_ARRAYS)
def test_a_lying_header_of_an_array_is_refused(tmp_path: Path, array: bytes) -> None:
    (tmp_path / "slim.npz").write_bytes(packed({"MobilenetV2/Conv/weights.npy": array}))
    with pytest.raises(WeightsError, match=r"slim\.npz cannot be read as weights"):
        load_weights(model(), tmp_path / "slim.npz")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i8"])
def test_arrays_are_read_as_numpy_does(tmp_path: Path, order: Any, dtype: str) -> None:
    array = np.asarray(np.arange(6).reshape(2, 3), dtype, order)
    np.savez_compressed(tmp_path / "a.npz", a=array, b=np.float32(2))
    found = read_weights_file(tmp_path / "a.npz")
    assert isinstance(found, dict)
    assert np.array_equal(found["a"], array)
    assert found["b"].shape == ()


class Bomb:
    """Zip files that unpack to much more than they take."""

    @staticmethod
    def deflated(count: int, size_bytes: int) -> bytes:
        return packed({f"{n}.npy": bytes(size_bytes) for n in range(count)}, compression=zipfile.ZIP_DEFLATED)

    @staticmethod
    def overlapping(copies: int, size_bytes: int) -> bytes:
        """Many names of the same bytes."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("0.npy", bytes(size_bytes))
            (first,) = archive.infolist()
            for number in range(1, copies):
                other = zipfile.ZipInfo(f"{number}.npy")
                for name in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                    setattr(other, name, getattr(first, name))
                archive.filelist.append(other)
                archive.NameToInfo[other.filename] = other
        return file.getvalue()

    @staticmethod
    def repeated() -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings(action="ignore"):
            archive.writestr("a.npy", b"one")
            archive.writestr("a.npy", b"two")
        return file.getvalue()


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".pt2"])
@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (lambda: Bomb.deflated(150, 1 << 20), "unpack to"),
        (lambda: Bomb.overlapping(50, 1 << 16), "larger than the file"),
        (Bomb.repeated, "the same name"),
        (lambda: b"PK\x03\x04" + b"PK\x01\x02" * 200_000, "more than 100,000 members"),
        (lambda: packed({"a": b"b" * 90}, compression=zipfile.ZIP_LZMA), "."),
    ],
    ids=["deflated", "overlapping", "repeated", "members", "lzma"],
)
def test_a_zip_bomb_is_refused(tmp_path: Path, suffix: str, archive: Callable[[], bytes], said: str) -> None:
    (tmp_path / f"net{suffix}").write_bytes(archive())
    with pytest.raises(UnsafeFileError, match=said):
        read_weights_file(tmp_path / f"net{suffix}")


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".pt2", ".safetensors"])
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"net{suffix}")
    with pytest.raises(WeightsError, match="not a regular file"):
        load_weights(model(), tmp_path / f"net{suffix}")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "net.safetensors").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(WeightsError, match="more than"):
        load_weights(model(), tmp_path / "net.safetensors")


def test_a_long_block_number_is_an_unknown_name() -> None:
    weights = {"conv_stem.weight": torch.zeros(1), f"blocks.{'9' * 5000}.0.conv_pw.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match="do not fit"):
        load_weights(model(), weights)
