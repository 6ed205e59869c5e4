"""A database of the first version, filled, becomes one of today and loses nothing."""

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from core.domain.images import ImageFilter
from core.domain.runs import Process, WorkState
from core.storage import (
    annotations,
    champions,
    images,
    jobs,
    lifecycle,
    projects,
    reservations,
    runs,
    tables,
    versions,
)
from core.storage.lifecycle import JOBS, RUNS, Claim
from core.storage.settings import Settings
from core.storage.store import MIGRATIONS, Store, open_store

AT = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
QUEUED = {
    **dict.fromkeys(("priority", "attempt", "crashes", "failed_starts"), 0),
    **dict.fromkeys(("not_before", "host", "pid", "pid_started_ticks", "boot_id", "heartbeat_at")),
    **{"state": "queued", "cancel_requested": False, "progress": {}, "error": "", "created_at": AT},
    **{"started_at": None, "ended_at": None},
}
UNDER_WAY = {
    **QUEUED,
    **{"state": "running", "attempt": 3, "crashes": 1, "host": "garage", "heartbeat_at": AT},
    **{"pid": 4711, "pid_started_ticks": 3_000_000_000, "boot_id": "boot", "started_at": AT},
}
ENDED = {**QUEUED, "state": "succeeded", "attempt": 1, "host": "garage", "ended_at": AT}
PHOTO = {
    **{"project_id": "p", "width": 96, "height": 72, "phash": "0", "name": "a.jpg", "split": "train"},
    **{"media_type": "image/jpeg", "has_full": False, "has_view": True, "group": None, "state": "done"},
    **{"rev": 1, "category_ids": [1], "annotation_count": 1, "is_deleted": False, "created_at": AT},
}
RUN = {"project_id": "p", "data_version_id": "v", "device": "CPU"}
EPOCH = {"run_id": "done", "attempt": 1, "durations": {}, "onnx": None, "created_at": AT}
CONFUSION = {"run_id": "done", "split": "valid", "matrix": b"\x00\xff", "prediction": "p", "confidence": "c"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "project": [{"id": "p", "name": "Cars", "created_at": AT}],
    "category": [
        {"project_id": "p", "category_id": 1, "name": "dent", "color": "#E69F00", "position": 0},
        {"project_id": "p", "category_id": 2, "name": "scratch", "color": "#56B4E9", "position": 1},
    ],
    "image": [{**PHOTO, "id": f"i{n}", "sha256": f"{n:064d}"} for n in range(3)],
    "annotation_set": [
        {
            "image_id": f"i{n}",
            "rev": rev,
            "annotations": [],
            "state": "done",
            "author": author,
            "saved_at": AT,
        }
        for n, rev, author in ((0, 1, ""), (1, 1, "Ana"), (2, 1, "Bob"), (2, 2, "Eve"))
    ],
    "data_version": [
        {"id": "v", "project_id": "p", "hash": "h", "categories": [], "items": [], "created_at": AT}
    ],
    "run": [
        {**RUN, **ENDED, "id": "done", "name": "first", "config": {"epochs": 2}, "epochs_done": 2},
        {**RUN, **UNDER_WAY, "id": "busy", "name": "second", "config": {"epochs": 9}, "epochs_done": 4},
        {**RUN, **QUEUED, "id": "next", "name": "third", "config": {}, "epochs_done": 0, "priority": 2},
    ],
    "job": [
        {**UNDER_WAY, "id": "import", "project_id": "p", "kind": "import", "payload": {}, "result": None},
        {**ENDED, "id": "export", "project_id": None, "kind": "export", "payload": {}, "result": {"n": 1}},
    ],
    "event": [
        {"id": f"e{n}", "work_id": "done", "at": AT, "kind": "running", "detail": ""} for n in range(4)
    ],
    "epoch": [{**EPOCH, "epoch": n, "metrics": {"val": n / 2}, "checkpoint": f"{n}.pt"} for n in (1, 2)],
    "confusion": [{**CONFUSION, "epoch": n, "image_id": image} for n in (1, 2) for image in ("i1", "i2")],
    "champion": [
        {"id": "c", "project_id": "p", "run_id": "done", "epoch": 2}
        | {"note": "best", "author": "Ana", "created_at": AT}
    ],
}


@pytest.fixture
def upgraded(settings: Settings) -> Generator[Store]:
    """A store whose database was made and filled by the first version."""
    settings.home.mkdir()
    engine = sa.create_engine(settings.resolved_database_url())
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        metadata = sa.MetaData()
        metadata.reflect(connection)
        for name, rows in ROWS.items():
            connection.execute(sa.insert(metadata.tables[name]), rows)
    engine.dispose()
    store = open_store(settings)
    yield store
    store.engine.dispose()


def test_no_row_of_any_table_is_lost(upgraded: Store) -> None:
    with upgraded.read() as connection:
        counts = {
            name: connection.execute(sa.select(sa.func.count()).select_from(tables.metadata.tables[name]))
            for name in ROWS
        }

        assert {name: count.scalar_one() for name, count in counts.items()} == {
            name: len(rows) for name, rows in ROWS.items()
        }


def test_what_is_kept_is_what_it_was(upgraded: Store) -> None:
    with upgraded.read() as connection:
        for name, rows in ROWS.items():
            table = tables.metadata.tables[name]
            kept = [dict(row) for row in connection.execute(sa.select(table)).mappings()]

            for row in rows:
                columns = {key: value for key, value in row.items() if key in table.c}
                assert columns in [{key: other[key] for key in columns} for other in kept]


def test_a_process_under_way_holds_its_reservation(upgraded: Store) -> None:
    process = Process(4711, 3_000_000_000, "boot")

    (run,), (job,) = (lifecycle.active(upgraded, table) for table in (RUNS, JOBS))

    assert (run.claim, run.process, run.host, run.devices) == (Claim("busy", 3), process, "garage", 1)
    assert (job.claim, job.process, job.host, job.devices) == (Claim("import", 3), process, "garage", 0)
    assert (run.ranks, run.gpu_ids, run.submission) == ((), (), None)
    with upgraded.read() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(tables.reservation)).scalar_one()
    assert count == 2


def test_the_program_goes_on_with_what_it_finds(upgraded: Store) -> None:
    lifecycle.beat(upgraded, RUNS, Claim("busy", 3))
    lifecycle.interrupt(upgraded, RUNS, Claim("busy", 3), "shutdown")
    lifecycle.succeed(upgraded, JOBS, Claim("import", 3))

    assert [(e.epoch, e.checkpoint, e.checkpoint_bytes) for e in runs.epochs(upgraded, "done")] == [
        (1, "1.pt", None),
        (2, "2.pt", None),
    ]
    champion = champions.champion(upgraded, "p")
    assert champion is not None and champion.epoch == 2
    assert {run.id: run.config.epochs for run in runs.list_of(upgraded)} == {"done": 2, "busy": 9, "next": 12}
    left = [*reservations.left_behind(upgraded, RUNS, "garage")]
    left += reservations.left_behind(upgraded, JOBS, "garage")
    assert [(work.claim.work_id, work.state) for work in left] == [
        ("busy", WorkState.INTERRUPTED),
        ("import", WorkState.SUCCEEDED),
    ]
    assert jobs.get(upgraded, "export").result == {"n": 1}
    assert versions.get(upgraded, "v").hash == "h"
    assert [category.name for category in projects.get(upgraded, "p").categories] == ["dent", "scratch"]


def test_an_image_knows_who_saved_its_newest_labels(upgraded: Store) -> None:
    known = {image.id: image for image in images.list_page(upgraded, "p", ImageFilter())}

    assert {key: image.author for key, image in known.items()} == {"i0": "", "i1": "Ana", "i2": "Bob"}
    assert {(image.note, image.suggestion_count) for image in known.values()} == {("", 0)}
    assert annotations.current(upgraded, "i1").note == ""


def test_foreign_keys_still_hold(upgraded: Store) -> None:
    with upgraded.write() as connection:
        connection.execute(sa.delete(tables.run).where(tables.run.c.id == "done"))

    assert runs.epochs(upgraded, "done") == []
    assert champions.champion(upgraded, "p") is None
    with upgraded.write() as connection, pytest.raises(sa.exc.IntegrityError):
        connection.execute(sa.delete(tables.data_version))


def test_an_upgraded_database_is_the_same_as_a_new_one(upgraded: Store) -> None:
    with upgraded.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(context, tables.metadata) == []
