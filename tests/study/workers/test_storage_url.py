"""Storages by URL, and errors that name the storage without its password."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import make_url

from mnv2search.errors import MissingExtraError, OptionError, StorageError
from mnv2search.study.workers.storage_url import close_storage, masked, open_storage

NOBODY = "postgresql://me:secret@127.0.0.1:1/runs"


@pytest.mark.parametrize("prefix", ["", "sqlite:///"], ids=["path", "URL"])
def test_an_sqlite_file_is_created_and_can_be_read_while_it_is_written(tmp_path: Path, prefix: str) -> None:
    close_storage(open_storage(f"{prefix}{tmp_path}/a{{b}} c.sqlite3"))
    with sqlite3.connect(tmp_path / "a{b} c.sqlite3") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        indices = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert ("trials",) in indices


def test_a_server_that_cannot_be_reached_is_named_without_the_password() -> None:
    pytest.importorskip("psycopg", reason="needs the extra storage")
    with pytest.raises(
        StorageError, match=r"the storage postgresql://me:\*\*\*@127.0.0.1:1/runs cannot be used"
    ) as error:
        open_storage(NOBODY)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://here", "'nonsense://here' is not a storage"),
        ("grpc://host", "'grpc://host' names no host and port"),
        ("missing/folder/a.sqlite3", "is in a folder that does not exist"),
    ],
    ids=["scheme", "port", "folder"],
)
def test_a_text_that_names_no_storage_is_refused(url: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        open_storage(url)


@pytest.mark.parametrize("name", ["text.txt", ""], ids=["text", "folder"])
def test_what_is_no_sqlite_file_is_refused_and_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_text("my notes")
    with pytest.raises(OptionError, match="is not an SQLite file"):
        open_storage(str(tmp_path / name))
    assert (tmp_path / "text.txt").read_text() == "my notes"


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="needs the package psycopg") as error:
        open_storage(NOBODY)
    assert error.value.hint == "pip install 'mnv2search[storage]'"


def test_a_url_that_cannot_be_parsed_shows_nothing_after_its_scheme() -> None:
    assert masked("postgresql://me:secret@host:port/runs") == "postgresql://…"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:secret@db/runs", ("20", "10")),
        ("postgresql+psycopg2://me@db/runs", ("20", "10")),
        ("postgresql://me@db/runs?connect_timeout=3", ("20", "3")),
        ("postgresql+asyncpg://me@db/runs", (None, None)),
    ],
    ids=["default driver", "psycopg2", "own timeout", "another driver"],
)
def test_a_lost_network_to_postgresql_is_noticed(
    url: str, expected: tuple[str | None, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg", reason="needs the extra storage")
    opened: list[str] = []

    def keep(url: str, **_: object) -> None:
        opened.append(url)

    monkeypatch.setattr("mnv2search.study.workers.storage_url.RDBStorage", keep)
    open_storage(url)
    query = make_url(opened[0]).query
    assert (query.get("keepalives_idle"), query.get("connect_timeout")) == expected
