"""Open the store: one database engine, one blob store and one home folder per process."""

import functools
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
import uuid6
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy.exc import DatabaseError

from core.domain.errors import OtherVersion, StorageError
from core.storage.blobs import Blobs
from core.storage.engine import open_engine, spoken_errors
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
            OutOfReach: the database does not answer now, or went away in the middle; if that was at the
                end, it may have been done all the same.
            StorageError: the database refuses to write (disk full, read-only).
        """
        with (
            spoken_errors("The database could not be written ({reason}). Nothing was changed."),
            self.engine.begin() as connection,
        ):
            yield connection

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        """Begin a transaction that only reads, one moment's view of the database.

        Raises:
            OutOfReach: the database does not answer now, or went away in the middle.
            StorageError: the database cannot be read.
        """
        with (
            spoken_errors("The database could not be read ({reason}). Try again."),
            self.engine.execution_options(is_reader=True).begin() as connection,
        ):
            yield connection

    def is_current(self) -> bool:
        """Tell whether the database is of this program's version; another one may have upgraded it.

        Raises:
            OutOfReach, StorageError: as ``read`` does.
        """
        with self.read() as connection:
            return _revision(connection) == _head()


def open_store(settings: Settings | None = None, *, migrate: bool = True) -> Store:
    """Open the store of these settings, once per process.

    Args:
        settings: None reads the environment.
        migrate: bring the database up to date; workers' jobs pass False and refuse a foreign one.

    Raises:
        FormatError: a setting is not what it should be.
        OutOfReach: the database does not answer now.
        OtherVersion: the database is of a newer program, or of an older one and is to stay so.
        StorageError: the home folder or the database cannot be used.
    """
    settings = settings or Settings()
    store = _opened(
        settings.home,
        settings.resolved_database_url(),
        settings.resolved_blobs(),
        int(settings.cache_gb * 1e9),
    )
    if migrate:
        _upgrade(store.engine)
    elif not store.is_current():
        raise OtherVersion(
            "The database belongs to another version of Maskwright. Restart the app and its workers."
        )
    return store


def new_id() -> str:
    """Give a new UUIDv7: later ids sort after earlier ones."""
    return str(uuid6.uuid7())


@functools.cache
def _opened(home: Path, database_url: str, blobs: str, cache_bytes: int) -> Store:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The folder {home} cannot be used: {error.strerror}.") from error
    return Store(home, open_engine(database_url), Blobs(blobs, home / "cache" / "blobs", cache_bytes))


@functools.cache
def _upgrade(engine: sa.Engine) -> None:
    with (
        spoken_errors("The database cannot be opened: {reason}.", lasting=DatabaseError),
        engine.begin() as connection,
    ):
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        if _revision(connection) != _head():
            config = _alembic_config()
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:  # it has a revision that this program does not know
                raise OtherVersion(
                    "The database was brought up to date by a newer version of Maskwright. Start that one."
                ) from error


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


@functools.cache
def _head() -> str | None:
    return ScriptDirectory.from_config(_alembic_config()).get_current_head()


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
