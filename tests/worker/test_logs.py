"""The copy of a run's log in the blob store: whole, in order, whoever wrote it, whatever fails meanwhile."""

import logging
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from core.domain.errors import NotFound, OutOfReach
from core.domain.runs import Run, WorkState
from core.storage import runs
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.worker.launching import Patience
from core.worker.logs import MAX_BYTES, LogCopy, unseen
from core.worker.supervisor import run_worker
from tests.storage.servers import S3, s3_server
from tests.worker.builders import wait_until

RUN = "01-run"
KEY = f"runs/{RUN}/log.txt"
OFTEN = 0.05


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Generator[S3]:
    with s3_server(monkeypatch) as server:
        yield server


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.integration)])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A blob store that several machines share."""
    if request.param == "folder":
        return str(tmp_path / "blobs")
    server: S3 = request.getfixturevalue("s3")
    return server.make_bucket()


@pytest.fixture
def machine(tmp_path: Path, blobs: str) -> Generator[Callable[[str], Store]]:
    """Give the store as a machine of this name sees it: a home of its own, shared blobs."""
    opened: dict[str, Store] = {}

    def see(name: str) -> Store:
        if name not in opened:
            opened[name] = open_store(Settings(home=tmp_path / name, database_url="", blobs=blobs))
        return opened[name]

    yield see
    for store in opened.values():
        store.engine.dispose()


def lines(author: str, first: int, last: int) -> str:
    """Make lines as a training logs them; each is there once."""
    return "".join(
        f"2026-01-02T03:{n // 60:02d}:{n % 60:02d}Z INFO core.training.loop: line {n} of {author}\n"
        for n in range(first, last + 1)
    )


def write(store: Store, text: str) -> None:
    path = store.home / "logs" / f"{RUN}.log"
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as log:
        log.write(text)


def copy_of(store: Store) -> str:
    with suppress(NotFound, OutOfReach):
        return store.blobs.get(KEY).decode()
    return ""


def attempt(store: Store, before: str, during: str, after: str = "") -> None:
    """Log as an attempt does: before the copying begins, while it lasts, and too late for it."""
    write(store, before)
    with LogCopy(store, RUN, seconds=OFTEN):
        write(store, during)
    write(store, after)


def test_the_copy_is_the_log(machine: Callable[[str], Store]) -> None:
    attempt(machine("a"), lines("a", 1, 20), lines("a", 21, 60))

    assert copy_of(machine("a")) == lines("a", 1, 60)


def test_a_second_attempt_on_a_machine_brings_the_first_ones_last_words(
    machine: Callable[[str], Store],
) -> None:
    store = machine("a")
    attempt(store, lines("a", 1, 1), lines("a", 2, 40), lines("a", 41, 45))

    attempt(store, lines("a", 46, 46), lines("a", 47, 50))

    assert copy_of(store) == lines("a", 1, 50)


def test_attempts_on_several_machines_stand_one_after_the_other(machine: Callable[[str], Store]) -> None:
    for name in ("a", "b", "c"):
        attempt(machine(name), lines(name, 1, 1), lines(name, 2, 30))

    assert copy_of(machine("a")) == "".join(lines(name, 1, 30) for name in "abc")


def test_a_machine_that_comes_again_adds_only_what_is_new(machine: Callable[[str], Store]) -> None:
    attempt(machine("a"), "", lines("a", 1, 30))
    attempt(machine("b"), "", lines("b", 1, 30))

    attempt(machine("a"), "", lines("a", 31, 60))

    assert copy_of(machine("a")) == lines("a", 1, 30) + lines("b", 1, 30) + lines("a", 31, 60)


def test_of_a_very_long_log_the_end_is_kept(machine: Callable[[str], Store]) -> None:
    store = machine("a")
    long = lines("a", 1, 40_000)

    attempt(store, long, lines("b", 1, 3))

    assert len(long) > MAX_BYTES
    assert copy_of(store) == (long + lines("b", 1, 3))[-MAX_BYTES:]


def test_without_a_log_there_is_no_copy(machine: Callable[[str], Store]) -> None:
    with LogCopy(machine("a"), RUN, seconds=OFTEN):
        pass

    assert machine("a").blobs.list("") == []


@pytest.mark.parametrize(
    ("copy", "log", "place"),
    [
        ("", "", 0),
        ("", "new", 0),
        ("other", "new", 0),
        ("old", "old", 3),
        ("old", "old new", 3),
        ("other old", "old new", 0),
        ("old other", "old", 3),
    ],
)
def test_what_a_copy_lacks_is_found_where_it_ends(copy: str, log: str, place: int) -> None:
    assert unseen(copy.encode(), log.encode()) == place


def test_a_copy_that_fails_does_not_hurt_and_the_next_one_has_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(Settings(home=tmp_path / "a", database_url="", blobs=str(tmp_path / "blobs")))
    (tmp_path / "blobs").write_text("a file where the folder should be")

    attempt(store, "", lines("a", 1, 30))
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    (tmp_path / "blobs").unlink()
    attempt(store, "", lines("a", 31, 60))

    assert len(said) == 1 and said[0].startswith("The log could not be copied: ")
    assert copy_of(store) == lines("a", 1, 60)
    store.engine.dispose()


@pytest.mark.integration
def test_a_remote_copy_grows_with_the_log(s3: S3, tmp_path: Path) -> None:
    store = open_store(Settings(home=tmp_path / "a", database_url="", blobs=s3.make_bucket()))
    write(store, lines("a", 1, 20))

    with LogCopy(store, RUN, seconds=OFTEN):
        wait_until(lambda: copy_of(store) == lines("a", 1, 20))
        write(store, lines("a", 21, 40))
        wait_until(lambda: copy_of(store) == lines("a", 1, 40))
    store.engine.dispose()


@pytest.mark.integration
def test_a_store_out_of_reach_when_an_attempt_begins_loses_nothing_of_the_ones_before(
    s3: S3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = s3.make_bucket()
    first, second = (
        open_store(Settings(home=tmp_path / name, database_url="", blobs=bucket)) for name in ("a", "b")
    )
    attempt(first, "", lines("a", 1, 30))
    s3.stop()

    write(second, lines("b", 1, 10))
    with LogCopy(second, RUN, seconds=OFTEN):
        wait_until(lambda: "The log could not be copied" in caplog.text)
        s3.start()
        wait_until(lambda: copy_of(second) == lines("a", 1, 30) + lines("b", 1, 10))
        write(second, lines("b", 11, 20))

    assert copy_of(second) == lines("a", 1, 30) + lines("b", 1, 20)
    for store in (first, second):
        store.engine.dispose()


@pytest.mark.acceptance
def test_the_copy_of_a_run_that_failed_holds_the_traceback_that_its_sentence_points_at(
    store: Store, queue_run: Callable[..., Run]
) -> None:
    run = queue_run(epochs=1)
    with closing(sqlite3.connect(store.home / "maskwright.sqlite")) as connection, connection:
        connection.execute("DELETE FROM data_version")  # this connection keeps no foreign keys

    run_worker(store, once=True, patience=Patience(poll=0.1))

    copy = store.blobs.get(f"runs/{run.id}/log.txt").decode()
    assert runs.get(store, run.id).state is WorkState.FAILED
    assert "Traceback" in copy and "core.domain.errors.NotFound: The data version of this run" in copy
    assert copy == (store.home / "logs" / f"{run.id}.log").read_text()
