"""The database's engine: how it is opened, and what the database's errors mean."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from core.domain.errors import OutOfReach, StorageError

# libpq's parameters: a host that went away without a word is noticed after 20 seconds, not after the
# minutes or hours of TCP's own patience.
POSTGRES_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,  # milliseconds
}
# SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html
CONNECTION_CLASS = "08"
PASSING_STATES = frozenset(
    (
        "25006",  # read_only_sql_transaction: a standby that is not promoted yet
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "53300",  # too_many_connections
        "55P03",  # lock_not_available
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P05",  # idle_session_timeout
    )
)
# A connection that is not made carries no SQLSTATE; these faults do not pass by themselves.
LASTING_FAULTS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")


def open_engine(url: str) -> sa.Engine:
    """Open the engine of a database; nothing is connected yet.

    Raises:
        StorageError: the address is none, or names a database without a driver here.
    """
    try:
        address = sa.make_url(url)
        if address.get_backend_name() == "sqlite":
            engine = sa.create_engine(address)
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        wanted = {k: v for k, v in POSTGRES_ARGUMENTS.items() if k not in address.query}
        arguments = wanted if address.get_backend_name() == "postgresql" else {}
        return sa.create_engine(address, pool_pre_ping=True, connect_args=arguments)
    except (ArgumentError, ImportError, ValueError) as error:
        raise StorageError(f"MASKWRIGHT_DATABASE_URL names no database that can be used: {error}.") from error


@contextmanager
def spoken_errors(sentence: str, lasting: type[DBAPIError] = OperationalError) -> Generator[None]:
    """Turn what the database cannot do into a sentence; other errors of it are our bugs and pass.

    Args:
        sentence: for an error that lasts; ``{reason}`` in it is what the database said.
        lasting: the kind of errors that it is said of.

    Raises:
        OutOfReach: there is no connection, it broke, or others hold what was asked for.
        StorageError: any other error of the ``lasting`` kind.
    """
    try:
        yield
    except (DBAPIError, NoConnectionLeft) as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        if is_out_of_reach(error):
            raise OutOfReach(f"The database does not answer now ({reason}). Try again later.") from error
        if isinstance(error, lasting):
            raise StorageError(sentence.format(reason=reason)) from error
        raise


def is_out_of_reach(error: DBAPIError | NoConnectionLeft) -> bool:
    """Tell whether the same call may succeed later, with nothing else changed."""
    if isinstance(error, NoConnectionLeft) or error.connection_invalidated:
        return True
    original = error.orig
    if isinstance(original, sqlite3.Error):
        # Without a code the error is the driver's own. The low byte is the plain code of an extended one.
        code = getattr(original, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    state: str | None = getattr(original, "sqlstate", None)
    if state is not None:
        return state.startswith(CONNECTION_CLASS) or state in PASSING_STATES
    is_of_connection = isinstance(error, (OperationalError, InterfaceError))
    return is_of_connection and not any(fault in str(original) for fault in LASTING_FAULTS)


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we send BEGIN ourselves
    for pragma in ("busy_timeout=15000", "journal_mode=wal", "synchronous=normal", "foreign_keys=on"):
        connection.execute(f"pragma {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A read transaction that turns into a write fails at once under WAL: decide at BEGIN.
    is_reader = connection.get_execution_options().get("is_reader", False)
    connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")
