"""A database that does not answer, and one that refuses."""

import socket
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from core.domain.errors import OutOfReach, StorageError
from core.storage import projects, tables
from core.storage.engine import open_engine
from core.storage.patience import patiently
from core.storage.settings import Settings
from core.storage.store import Store, new_id, open_store
from tests.builders import empty_store
from tests.storage.servers import Postgres, free_port, postgres_server


@pytest.fixture
def server() -> Generator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def remote_store(server: Postgres, tmp_path: Path) -> Generator[Store]:
    """An empty store on a PostgreSQL server that the test stops and starts."""
    store = open_store(Settings(home=tmp_path / "home", database_url=f"{server.url}/postgres", blobs=""))
    yield store
    store.engine.dispose()


@pytest.mark.integration
def test_a_database_that_crashed_is_out_of_reach_and_the_next_call_after_its_restart_works(
    server: Postgres, remote_store: Store
) -> None:
    projects.create(remote_store, "Before")

    server.stop("immediate")
    for use in (projects.list_all, lambda store: projects.create(store, "Lost"), Store.is_current):
        with pytest.raises(OutOfReach, match="does not answer now"):
            use(remote_store)
    server.start()

    assert projects.create(remote_store, "After").name == "After"
    assert [project.name for project in projects.list_all(remote_store)] == ["Before", "After"]


@pytest.mark.integration
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_transaction_that_the_database_leaves_in_the_middle_is_out_of_reach_and_undone(
    server: Postgres, remote_store: Store, mode: Any
) -> None:
    with pytest.raises(OutOfReach), remote_store.write() as connection:
        connection.execute(_inserted("Half"))
        server.stop(mode)
        connection.execute(_inserted("Rest"))
    with pytest.raises(OutOfReach), remote_store.read() as connection:
        connection.execute(sa.select(tables.project))
    server.start()

    assert projects.list_all(remote_store) == []


@pytest.mark.integration
def test_a_commit_that_the_database_does_not_hear_is_out_of_reach(
    server: Postgres, remote_store: Store
) -> None:
    with pytest.raises(OutOfReach), remote_store.write() as connection:
        connection.execute(_inserted("Half"))
        server.stop("immediate")
    server.start()

    assert projects.list_all(remote_store) == []


@pytest.mark.integration
def test_connections_that_a_restart_left_behind_are_not_used_again(
    server: Postgres, remote_store: Store
) -> None:
    projects.list_all(remote_store)

    server.stop("immediate")
    server.start()

    assert projects.list_all(remote_store) == []
    projects.create(remote_store, "After")


@pytest.mark.integration
def test_a_patient_write_gets_through_a_restart(server: Postgres, remote_store: Store) -> None:
    server.stop("immediate")
    is_stopped = [True]

    def start_again() -> None:
        if is_stopped:
            is_stopped.clear()
            server.start()

    patiently(lambda: projects.create(remote_store, "Kept"), check=start_again)

    assert [project.name for project in projects.list_all(remote_store)] == ["Kept"]


@pytest.mark.integration
def test_a_database_that_does_not_exist_does_not_come_by_waiting(server: Postgres, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be opened: .* does not exist") as caught:
        open_store(Settings(home=tmp_path, database_url=f"{server.url}/nothing", blobs=""))

    assert not isinstance(caught.value, OutOfReach)


@pytest.mark.integration
def test_a_row_that_others_hold_may_come_free(remote_store: Store) -> None:
    project = projects.create(remote_store, "Held")
    rename = sa.update(tables.project).where(tables.project.c.id == project.id).values(name="Free")

    with remote_store.write() as holder:
        holder.execute(rename)
        with pytest.raises(OutOfReach, match="lock timeout"), remote_store.write() as late:
            late.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
            late.execute(rename)

    assert projects.get(remote_store, project.id).name == "Free"


@pytest.mark.integration
def test_a_server_that_takes_no_writes_yet_may_take_them_later(remote_store: Store) -> None:
    with pytest.raises(OutOfReach, match="read-only"), remote_store.write() as connection:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")  # as on a standby that takes over
        connection.execute(_inserted("Early"))


@pytest.mark.parametrize("migrate", [True, False])
def test_a_server_that_is_not_there_is_out_of_reach(tmp_path: Path, migrate: bool) -> None:
    url = f"postgresql://me@127.0.0.1:{free_port()}/maskwright"

    with pytest.raises(OutOfReach, match="does not answer now"):
        open_store(Settings(home=tmp_path, database_url=url, blobs=""), migrate=migrate)


def test_a_host_that_says_nothing_is_not_waited_for_longer_than_the_address_says(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/maskwright?connect_timeout=2"

        with pytest.raises(OutOfReach, match="timeout"):
            open_store(Settings(home=tmp_path, database_url=url, blobs=""))


@pytest.mark.parametrize("url", ["maskwright.sqlite", "oracle+nothing://me@db/x", "postgresql://me@db:x/y"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StorageError, match="MASKWRIGHT_DATABASE_URL"):
        open_engine(url)


def test_a_locked_database_is_out_of_reach_until_it_is_let_go(tmp_path: Path) -> None:
    store = empty_store(tmp_path / "home")
    _do_not_wait_for_locks(store)
    other = sqlite3.connect(store.home / "maskwright.sqlite")
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(OutOfReach, match="database is locked"):
        projects.create(store, "Late")
    other.rollback()
    other.close()

    assert projects.create(store, "Late").name == "Late"
    store.engine.dispose()


def test_a_database_that_may_only_be_read_is_no_outage(tmp_path: Path) -> None:
    store = empty_store(tmp_path / "home")

    with pytest.raises(StorageError, match="could not be written") as caught, store.write() as connection:
        connection.exec_driver_sql("pragma query_only=1")
        connection.execute(_inserted("Never"))
    store.engine.dispose()

    assert not isinstance(caught.value, OutOfReach)


def test_what_breaks_a_rule_of_the_tables_is_not_spoken_of(tmp_path: Path) -> None:
    store = empty_store(tmp_path / "home")

    with pytest.raises(IntegrityError), store.write() as connection:
        connection.execute(sa.insert(tables.project).values(id="1", name=None, created_at=tables.now()))
    store.engine.dispose()


def _inserted(name: str) -> sa.Insert:
    return sa.insert(tables.project).values(id=new_id(), name=name, created_at=tables.now())


def _do_not_wait_for_locks(store: Store) -> None:
    def stop_waiting(connection: Any, _record: Any) -> None:
        connection.execute("pragma busy_timeout=0")

    store.engine.dispose()
    event.listen(store.engine, "connect", stop_waiting)
