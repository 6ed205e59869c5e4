"""What workers report of themselves, and when they are forgotten."""

from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa

from core.domain.runs import Gpu, WorkerInfo
from core.storage import tables, workers
from core.storage.store import Store

LONG_AGO = tables.now() - timedelta(days=30)
WORKER = WorkerInfo(
    host="garage",
    version="1.0",
    lanes=("run", "job"),
    slots=2,
    gpus=(Gpu("GPU-a", "NVIDIA H200", 150 << 30, 3 << 30, 0.25), Gpu("GPU-b", "GPU GPU-b")),
    largest=2,
    usage={"cpus": 8, "load": 1.5},
    note="",
    started_at=LONG_AGO,
    heartbeat_at=LONG_AGO,
)


def date_back(store: Store, host: str, age: timedelta) -> None:
    """Make a worker's last report that old."""
    table = tables.worker
    with store.write() as connection:
        connection.execute(
            sa.update(table).where(table.c.host == host).values(heartbeat_at=tables.now() - age)
        )


def hosts(store: Store) -> list[str]:
    return [worker.host for worker, _ in workers.list_all(store)]


def test_a_report_is_read_back_and_dated_now(store: Store) -> None:
    workers.report(store, WORKER)

    ((worker, seconds),) = workers.list_all(store)
    assert replace(worker, heartbeat_at=LONG_AGO) == WORKER
    assert tables.now() - worker.heartbeat_at < timedelta(hours=1)
    assert 0 <= seconds < 3600


def test_a_worker_has_one_report_its_newest(store: Store) -> None:
    workers.report(store, WORKER)

    workers.report(store, replace(WORKER, gpus=(), slots=1, largest=64, note="outdated"))

    ((worker, _),) = workers.list_all(store)
    assert (worker.gpus, worker.slots, worker.largest, worker.note) == ((), 1, 64, "outdated")


def test_workers_are_listed_by_name(store: Store) -> None:
    for host in ("yard", "garage", "office"):
        workers.report(store, replace(WORKER, host=host))

    assert hosts(store) == ["garage", "office", "yard"]


def test_a_worker_that_leaves_is_not_listed_any_more(store: Store) -> None:
    for host in ("yard", "garage"):
        workers.report(store, replace(WORKER, host=host))

    workers.leave(store, "garage", LONG_AGO)
    workers.leave(store, "nobody", LONG_AGO)

    assert hosts(store) == ["yard"]


def test_a_worker_that_leaves_does_not_take_another_one_of_its_host_along(store: Store) -> None:
    workers.report(store, WORKER)
    workers.report(store, replace(WORKER, started_at=LONG_AGO + timedelta(days=1)))

    workers.leave(store, "garage", LONG_AGO)

    assert hosts(store) == ["garage"]


def test_a_worker_says_how_long_it_was_not_seen(store: Store) -> None:
    workers.report(store, WORKER)
    date_back(store, "garage", timedelta(hours=2))

    ((_, seconds),) = workers.list_all(store)

    assert 7200 <= seconds < 10_800


def test_a_report_from_the_future_was_seen_just_now(store: Store) -> None:
    """The clock was put back."""
    workers.report(store, WORKER)
    date_back(store, "garage", -timedelta(hours=2))

    ((_, seconds),) = workers.list_all(store)

    assert seconds == 0


def test_a_worker_that_was_not_seen_for_a_week_is_forgotten(store: Store) -> None:
    for host, age in (("garage", timedelta(days=6)), ("yard", timedelta(days=8))):
        workers.report(store, replace(WORKER, host=host))
        date_back(store, host, age)
    before = hosts(store)

    workers.report(store, replace(WORKER, host="office"))

    assert (before, hosts(store)) == (["garage", "yard"], ["garage", "office"])


def test_a_worker_that_comes_back_after_a_week_is_there(store: Store) -> None:
    workers.report(store, WORKER)
    date_back(store, "garage", timedelta(days=8))

    workers.report(store, WORKER)

    assert hosts(store) == ["garage"]
