"""Optuna storages by URL: SQLite files, databases such as PostgreSQL, and Optuna's gRPC storage proxy."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import optuna
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage
from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from mnv2search.errors import OptionError, StorageError, check_package

EXTRA = "storage"
# How long a process waits while another one writes to the same SQLite file.
SQLITE_WAIT_S = 120.0
PROXY_WAIT_S = 10.0
SQLITE_BEGINS = b"SQLite format 3\0"
# Driver and package for each URL scheme that names no driver.
DRIVERS = {"postgresql": ("postgresql+psycopg", "psycopg"), "postgres": ("postgresql+psycopg", "psycopg")}
# Parameters of libpq, with which a process notices within 40 s that the network or the machine of the database is
# gone; by default, it would wait for hours.
LIBPQ_DRIVERS = ("postgresql+psycopg", "postgresql+psycopg2")
LIBPQ = {
    "connect_timeout": "10",
    "keepalives_idle": "20",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "40000",
}
FORMS = "write a file such as shared.sqlite3, postgresql://USER:PASSWORD@HOST/DATABASE, or grpc://HOST:PORT"


class LostStorageError(StorageError):
    """The storage cannot be reached, or a statement failed; trying again later may succeed."""


def open_storage(url: str) -> BaseStorage:
    """Open a storage.

    Args:
        url: path or URL of an SQLite file, which is created if it is missing; URL of a database in SQLAlchemy's form;
            or ``grpc://HOST:PORT`` for Optuna's storage proxy.

    Raises:
        OptionError: the URL cannot be used.
        MissingExtraError: the driver of the database is not installed.
        StorageError: the storage cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings(), storage_errors(url):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _proxy(url) if url.startswith("grpc://") else _database(url)


def close_storage(storage: BaseStorage) -> None:
    """Close the connections of a storage."""
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()
    elif isinstance(storage, GrpcStorageProxy):
        storage.close()


def add_state_index(storage: BaseStorage) -> None:
    """Add an index, so that the time to find unfinished trials does not grow with the number of finished ones."""
    if isinstance(storage, RDBStorage) and storage.engine.name in ("sqlite", "postgresql"):
        with storage.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE INDEX IF NOT EXISTS mnv2search_trials_state ON trials (study_id, state)"
            )


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite storage; None for other storages.

    >>> sqlite_file("sqlite:////tmp/a.sqlite3").as_posix(), sqlite_file("grpc://host:1")
    ('/tmp/a.sqlite3', None)
    """
    if "://" not in url:
        return Path(url)
    database = make_url(url).database if url.startswith("sqlite") else None
    return None if database is None else Path(database)


def masked(url: str) -> str:
    """The URL without its password.

    >>> masked("postgresql://me:secret@host/runs"), masked("shared.sqlite3")
    ('postgresql://me:***@host/runs', 'shared.sqlite3')
    """
    if "://" not in url:
        return url
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return f"{url.partition('://')[0]}://…"


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Raise errors of SQLAlchemy, Optuna and gRPC as `LostStorageError`, without the password in the message."""
    kinds: tuple[type[Exception], ...] = (SQLAlchemyError, optuna.exceptions.StorageInternalError, ConnectionError)
    try:
        yield
    except KeyError as error:
        raise StorageError(
            f"the storage {masked(url)} no longer contains the run", hint="another command replaced or deleted it"
        ) from error
    except Exception as error:
        grpc = sys.modules.get("grpc")  # loaded only if the proxy is used
        if not isinstance(error, kinds if grpc is None else (*kinds, grpc.RpcError)):
            raise
        raise LostStorageError(
            f"the storage {masked(url)} cannot be used: {_cause(error)}",
            hint="check that this machine can reach it, then run the same command again; finished networks are kept",
        ) from error


def _database(url: str) -> BaseStorage:
    if (file := sqlite_file(url)) is not None:
        if not file.absolute().parent.is_dir():
            raise OptionError(f"the storage {file} is in a folder that does not exist", hint="create the folder")
        if file.exists() and not _is_sqlite(file):
            raise OptionError(f"the storage {file} is not an SQLite file", hint="choose another file")
        name = URL.create("sqlite", database=str(file)).render_as_string()
        options = {"connect_args": {"timeout": SQLITE_WAIT_S}, "pool_events": [(_use_write_ahead_log, "connect")]}
        return RDBStorage(_unbraced(name), engine_kwargs=options)
    scheme = url.partition("://")[0]
    driver, package = DRIVERS.get(scheme, (scheme, ""))
    if package:
        check_package(package, feature=f"a storage at {scheme}://", extra=EXTRA)
    try:
        place = make_url(url)
        if driver in LIBPQ_DRIVERS:
            place = place.set(query={**LIBPQ, **place.query})
        whole = place.set(drivername=driver).render_as_string(hide_password=False)
        return RDBStorage(_unbraced(whole), engine_kwargs={"pool_pre_ping": True})
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise OptionError(f"{masked(url)!r} is not a storage: {_cause(error)}", hint=FORMS) from error
    except ImportError as error:
        raise OptionError(f"the driver of {masked(url)} is not installed", hint="install it with pip") from error


def _is_sqlite(file: Path) -> bool:
    """Whether a file is empty or begins as an SQLite file does."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(len(SQLITE_BEGINS)) in (b"", SQLITE_BEGINS)


def _proxy(url: str) -> BaseStorage:
    place = urlsplit(url)
    if not place.hostname or place.port is None or place.path.strip("/"):
        raise OptionError(f"{url!r} names no host and port", hint="write grpc://HOST:PORT")
    check_package("grpc", feature="a storage at grpc://", extra=EXTRA)
    storage = GrpcStorageProxy(host=place.hostname, port=place.port)
    storage.wait_server_ready(timeout=PROXY_WAIT_S)
    return storage


def _use_write_ahead_log(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    """Use a write-ahead log: processes can read while another one writes, and writes do not wait for the disk."""
    del entry
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _unbraced(url: str) -> str:
    """The URL with doubled braces, because `RDBStorage` formats it as a template."""
    return url.replace("{", "{{").replace("}", "}}")


def _cause(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return next(iter(str(error).splitlines()), "") or type(error).__name__
