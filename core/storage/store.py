"""Open the store: one database engine, one blob store and one home folder per process."""

import functools
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import uuid6
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, OperationalError

from core.domain.errors import StorageError
from core.storage.blobs import Blobs
from core.storage.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x6D61736B  # any number that only we use as an advisory lock


@dataclass(frozen=True)
class Store:
    """The way to everything kept: pass it around, never open a second engine."""

    home: Path
    engine: sa.Engine
    blobs: Blobs

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        """Begin a write transaction; keep it short.

        Raises:
            StorageError: the database refuses to write (disk full, read-only, gone).
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except OperationalError as error:
            raise StorageError(
                f"The database could not be written ({error.orig}). Nothing was changed."
            ) from error

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        """Begin a transaction that only reads, one moment's view of the database.

        Raises:
            StorageError: the database is out of reach.
        """
        try:
            with self.engine.execution_options(is_reader=True).begin() as connection:
                yield connection
        except OperationalError as error:
            raise StorageError(f"The database could not be read ({error.orig}). Try again.") from error


def open_store(settings: Settings | None = None, *, migrate: bool = True) -> Store:
    """Open the store of these settings, once per process.

    Args:
        settings: None reads the environment.
        migrate: bring the database up to date; workers' jobs pass False and refuse a foreign one.

    Raises:
        StorageError: the home folder or the database cannot be used, or is of another version.
    """
    settings = settings or Settings()
    store = _opened(str(settings.home.resolve()), settings.resolved_database_url(), settings.resolved_blobs())
    _upgrade(store.engine) if migrate else _require_current(store.engine)
    return store


def new_id() -> str:
    """Give a new UUIDv7: later ids sort after earlier ones."""
    return str(uuid6.uuid7())


@functools.cache
def _opened(home: str, database_url: str, blobs: str) -> Store:
    try:
        Path(home).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The folder {home} cannot be used: {error.strerror}.") from error
    return Store(Path(home), _engine(database_url), Blobs(blobs, Path(home) / "cache" / "blobs"))


def _engine(url: str) -> sa.Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we send BEGIN ourselves
    for pragma in ("busy_timeout=15000", "journal_mode=wal", "synchronous=normal", "foreign_keys=on"):
        connection.execute(f"pragma {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A read transaction that turns into a write fails at once under WAL: decide at BEGIN.
    is_reader = connection.get_execution_options().get("is_reader", False)
    connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")


@functools.cache
def _upgrade(engine: sa.Engine) -> None:
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            if _revision(connection) != _head():
                config = _alembic_config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except DatabaseError as error:
        raise StorageError(f"The database cannot be opened: {error.orig}.") from error


def _require_current(engine: sa.Engine) -> None:
    with engine.execution_options(is_reader=True).begin() as connection:
        if _revision(connection) != _head():
            raise StorageError(
                "The database belongs to another version of Maskwright. Restart the app and its workers."
            )


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _head() -> str | None:
    return ScriptDirectory.from_config(_alembic_config()).get_current_head()


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
