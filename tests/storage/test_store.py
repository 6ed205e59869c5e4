"""Opening a home: migrations, races, and what a foreign database is told."""

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from core.domain.errors import StorageError
from core.storage import projects, tables
from core.storage.settings import Settings
from core.storage.store import Store, new_id, open_store


def test_the_migrations_make_exactly_the_tables_of_the_program(store: Store) -> None:
    with store.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, tables.metadata)

    assert differences == []


def open_and_count(settings: Settings, barrier: Barrier, results: "multiprocessing.Queue[str]") -> None:
    barrier.wait(60)
    try:
        results.put(str(len(projects.list_all(open_store(settings)))))
    except StorageError as error:
        results.put(str(error))


def test_several_processes_may_open_an_empty_home_at_once(settings: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.Queue()
    openers = [context.Process(target=open_and_count, args=(settings, barrier, results)) for _ in range(4)]

    for opener in openers:
        opener.start()
    answers = [results.get(timeout=60) for _ in openers]
    for opener in openers:
        opener.join(10)

    assert answers == ["0"] * 4


def test_a_home_is_opened_once_per_process(settings: Settings) -> None:
    first, second = open_store(settings), open_store(settings)

    assert first is second
    first.engine.dispose()


def test_a_job_refuses_a_database_that_is_not_migrated(settings: Settings) -> None:
    with pytest.raises(StorageError, match="belongs to another version"):
        open_store(settings, migrate=False)


def test_a_job_opens_a_database_that_is(settings: Settings, store: Store) -> None:
    assert open_store(settings, migrate=False) is store


def test_a_database_of_a_later_version_is_refused(store: Store) -> None:
    with store.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StorageError, match="belongs to another version"):
        open_store(
            Settings(home=store.home, database_url=url_of(store), blobs=""),
            migrate=False,
        )


def url_of(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=False)


def test_a_program_sees_that_the_database_moved_on(store: Store) -> None:
    assert store.is_current()

    with store.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    assert not store.is_current()


def test_a_home_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="cannot be used"):
        open_store(Settings(home=tmp_path / "file" / "home", database_url="", blobs=""))


def test_a_write_that_is_broken_off_changes_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as connection:
        connection.execute(
            sa.insert(tables.project).values(id=new_id(), name="Half", created_at=tables.now())
        )
        raise RuntimeError

    assert projects.list_all(store) == []


def test_a_database_that_is_full_is_a_sentence(tmp_path: Path) -> None:
    store = open_store(Settings(home=tmp_path / "full", database_url="", blobs=""))

    with pytest.raises(StorageError, match="could not be written"), store.write() as connection:
        pages = connection.exec_driver_sql("pragma page_count").scalar_one()
        connection.exec_driver_sql(f"pragma max_page_count={pages}")
        rows = [{"id": new_id(), "name": f"{n:080d}", "created_at": tables.now()} for n in range(5000)]
        connection.execute(sa.insert(tables.project), rows)

    assert projects.list_all(store) == []
    store.engine.dispose()


def test_ids_sort_by_their_age() -> None:
    ids = [new_id() for _ in range(100)]

    assert ids == sorted(ids)
