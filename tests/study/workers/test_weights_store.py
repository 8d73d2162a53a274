"""The store of shared weights: what a run writes is what a worker reads, or an error that says how to mend it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mnv2search.errors import MissingExtraError, OptionError, StorageError
from mnv2search.study.workers.weights_store import WeightsStore

CONTENT = b"weights"


@pytest.fixture(params=["{}", "file://{}", "memory://{}"], ids=["folder", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> WeightsStore:
    return WeightsStore(request.param.format(tmp_path / "store"))


def test_a_store_returns_what_was_written_under_its_digest(store: WeightsStore) -> None:
    store.check()
    digests = [store.write(CONTENT), store.write(CONTENT), store.write(b"others")]
    assert digests[0] == digests[1] != digests[2]
    assert [store.read(digest) for digest in digests] == [CONTENT, CONTENT, b"others"]


def test_a_store_that_a_machine_cannot_reach_is_named_with_the_remedy(store: WeightsStore) -> None:
    with pytest.raises(StorageError, match=r"cannot be read from .*store on this machine") as caught:
        store.read(64 * "0")
    assert "--weights-store" in caught.value.hint


def test_other_content_than_the_run_wrote_is_refused(tmp_path: Path) -> None:
    store = WeightsStore(str(tmp_path))
    digest = store.write(CONTENT)
    (file,) = tmp_path.glob("shared-weights-*.pt")
    file.write_bytes(b"other")
    with pytest.raises(StorageError, match="is not what the run wrote: its SHA-256 is d9298a10d1b07358"):
        store.read(digest)


@pytest.mark.parametrize(
    ("place", "message"),
    [("nope://bucket/folder", "Protocol not known: nope"), ("s3://bucket/folder", "s3fs")],
    ids=["unknown", "missing package"],
)
def test_a_url_that_fsspec_cannot_open_is_refused_before_training(
    place: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(OptionError, match=message):
        WeightsStore(place).check()


def test_a_url_needs_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError, match="fsspec"):
        WeightsStore("memory://store").check()


def test_a_store_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        WeightsStore(str(tmp_path / "file")).write(CONTENT)
