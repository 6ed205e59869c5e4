"""The Workers page: who is there and how busy, what waits and why, how to start another worker."""

from collections.abc import Callable
from datetime import timedelta

import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from core.domain.training import TrainingConfig
from core.domain.version import VERSION
from core.services import training
from core.storage import jobs, lifecycle, processes, tables
from core.storage import workers as reported
from core.storage.lifecycle import JOBS, RUNS, Room
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.pages.said import press, progress_texts, texts
from tests.services.reported import worker_report

OpenPage = Callable[[str], AppTest]


def test_without_any_worker_or_project_it_says_how_to_start_one(store: Store, open_page: OpenPage) -> None:
    test = open_page("workers")

    assert "No worker is running" in texts(test)
    here, elsewhere = (code.value for code in test.code)
    assert here == f"MASKWRIGHT_HOME='{store.home.resolve()}' python -m core worker"
    assert "MASKWRIGHT_DATABASE_URL='postgresql://" in elsewhere and "MASKWRIGHT_BLOBS='s3://" in elsewhere


def test_a_gpu_worker_a_stale_one_and_an_older_one_are_told_apart(store: Store, open_page: OpenPage) -> None:
    reported.report(store, worker_report("box", gpus=4))
    usage = {"cpus": 8, "load": 2.0, "memory_bytes": 16 << 30, "used_bytes": 4 << 30}
    reported.report(store, worker_report("desk", version="0.0.9", usage=usage, lanes=("job",)))
    reported.report(store, worker_report("ray@head:8265", note="The Ray cluster does not answer."))
    reported.report(store, worker_report("laptop"))
    with store.write() as connection:
        is_laptop = tables.worker.c.host == "laptop"
        an_hour_ago = tables.now() - timedelta(hours=2)
        connection.execute(sa.update(tables.worker).where(is_laptop).values(heartbeat_at=an_hour_ago))

    test = open_page("workers")

    said, bars = texts(test), progress_texts(test)
    assert bars.count("**NVIDIA T4** · 4.0 of 16 GB · 50% busy · free") == 4
    assert "Processor: load 2.0 on 8 cores" in bars and "Memory: 4.0 of 16 GB" in bars
    assert f"Restart it with version {VERSION}." in said
    assert "Jobs only · version 0.0.9" in said
    assert "The Ray cluster does not answer." in said
    assert "2 h 0 min ago" in said
    badges = [text for text in said.splitlines() if "-badge[" in text]
    assert [badge.rsplit(" ", 1)[1] for badge in badges] == ["Here]", "version]", "Waiting]", "Away]"]


def test_what_is_under_way_and_what_waits_is_listed_with_its_project(
    store: Store, open_page: OpenPage
) -> None:
    project = project_with(store, "dent", name="Cars")
    for seed, split in enumerate(("train", "train", "valid")):
        add_image(store, project, seed, square(1), split=split)
    reported.report(store, worker_report("box", gpus=1))
    runs = [training.start_run(store, project.id, TrainingConfig()) for _ in range(3)]
    claim = lifecycle.claim(store, RUNS, "box", Room(1, ("box-0",), 1))
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())
    lifecycle.beat(store, RUNS, claim, {"phase": "training", "epoch": 4, "batch": 1, "batches": 2})
    jobs.create(store, "import", {"path": "a"}, project.id)
    jobs.create(store, "evaluate", {"run_id": "b"}, project.id)
    assert lifecycle.claim(store, JOBS, "box", Room(1)) is not None

    test = open_page("workers")

    said = texts(test)
    assert "**Fast 1** · Cars" in said and "Training · epoch 4 of 12" in said
    assert "**Import** · Cars" in said and "**Evaluation** · Cars" in said
    assert "1. **Fast 2** · Cars" in said and "All GPUs are busy." in said
    assert "2. **Fast 3** · Cars" in said and "Behind 1 other." in said
    assert any(bar.endswith("· Fast 1") for bar in progress_texts(test))
    press(test, "Run first")
    assert [waiting.run.id for waiting in training.queue(store)] == [runs[2].id, runs[1].id]


def test_work_whose_worker_has_ended_is_still_shown(store: Store, open_page: OpenPage) -> None:
    project = project_with(store, "dent", name="Cars")
    for seed, split in enumerate(("train", "train", "valid")):
        add_image(store, project, seed, square(1), split=split)
    training.start_run(store, project.id, TrainingConfig())
    claim = lifecycle.claim(store, RUNS, "desk", Room(1))
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())

    said = texts(open_page("workers"))

    assert "**desk**" in said and "Its worker has ended. What it started goes on" in said
    assert "**Fast 1** · Cars" in said
