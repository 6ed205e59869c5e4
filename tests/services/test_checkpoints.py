"""What a run keeps, what that takes on the disk, and what is said where a checkpoint was not kept."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from core.domain.errors import NotFound
from core.domain.presets import PRESETS
from core.domain.runs import Run
from core.domain.training import TrainingConfig, retention
from core.services import checkpoints, evaluation
from core.storage import jobs, runs, tables, workers
from core.storage.store import Store
from tests.builders import project_with
from tests.pages.trained import finish_run
from tests.services.reported import worker_report

CONFIG = PRESETS["fast"].config


@pytest.fixture
def run(store: Store) -> Run:
    """A finished run of three epochs that gave the first one's checkpoint up."""
    finished = finish_run(store, project_with(store, "dent", "scratch"), epochs=3)
    runs.give_up_checkpoints(store, finished.id, [1])
    with store.write() as connection:
        is_kept = tables.epoch.c.checkpoint != ""
        connection.execute(sa.update(tables.epoch).where(is_kept).values(checkpoint_bytes=30_000_000))
    return runs.get(store, finished.id)


@pytest.mark.parametrize(
    "use",
    [
        lambda store, run: evaluation.promote(store, run, 1),
        lambda store, run: evaluation.evaluate(store, run, 1, "valid"),
        lambda store, run: evaluation.prepare(store, run, 1),
        lambda store, run: checkpoints.continued(store, run, 1),
    ],
    ids=["promote", "evaluate", "export", "continue"],
)
def test_a_checkpoint_that_was_not_kept_is_refused_with_what_is(
    store: Store, run: Run, use: Callable[[Store, Run], object]
) -> None:
    with pytest.raises(NotFound) as caught:
        use(store, run)

    sentence = "The checkpoint of epoch 1 was not kept: this run keeps all. Kept: 2, 3."
    assert str(caught.value) == sentence
    assert jobs.list_of(store, run.project_id) == []
    assert evaluation.champion(store, run.project_id) is None


def test_what_was_made_of_the_photos_stays_without_the_checkpoint(store: Store, run: Run) -> None:
    image_id = evaluation.image_scores(store, run, 1)[0].image_id

    assert [picture.epoch for picture in evaluation.epoch_pictures(store, run, image_id)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ("all", "all"),
        ("best:1", "the best and the last"),
        ("best:3", "the best 3 and the last"),
        ("every:2", "every 2nd, the best and the last"),
        ("every:11", "every 11th, the best and the last"),
    ],
)
def test_what_a_run_keeps_is_said_in_words(keep: str, words: str) -> None:
    assert checkpoints.keeping(keep) == words


@pytest.mark.parametrize("epochs", [1, 2, 6, 7])
@pytest.mark.parametrize("keep", ["all", "every:1", "every:3", "every:50", "best:1", "best:2", "best:50"])
def test_no_run_keeps_more_than_was_announced(keep: str, epochs: int) -> None:
    announced = checkpoints.most_kept(replace(CONFIG, keep=keep, epochs=epochs))

    falling = {epoch: 1 - epoch / 100 for epoch in range(1, epochs + 1)}
    middle = {epoch: -abs(epoch - epochs // 2 - 0.1) for epoch in range(1, epochs + 1)}
    kept = [len(retention(keep).kept(scores)) for scores in (falling, middle)]
    assert max(kept) <= announced <= epochs
    assert announced - max(kept) <= 1


def test_a_budget_takes_its_size_from_the_newest_run_of_such_a_network(store: Store, run: Run) -> None:
    workers.report(store, worker_report("desk", usage={"free_disk_bytes": 500_000_000}))
    workers.report(store, worker_report("box", lanes=("job",), usage={"free_disk_bytes": 1}))

    budget = checkpoints.budget(store, replace(CONFIG, epochs=12, keep="best:3"))

    assert (budget.most, budget.each_bytes, budget.like) == (4, 30_000_000, run.name)
    assert (budget.total_bytes, budget.kept_bytes) == (120_000_000, 60_000_000)
    assert budget.free_bytes == 500_000_000


def test_a_network_that_nobody_trained_has_no_size_yet(store: Store) -> None:
    budget = checkpoints.budget(store, CONFIG)

    assert (budget.each_bytes, budget.total_bytes, budget.kept_bytes) == (None, None, 0)


def test_only_runs_with_a_checkpoint_of_such_a_network_can_be_started_from(store: Store, run: Run) -> None:
    assert [found.id for found in checkpoints.startable_runs(store, CONFIG)] == [run.id]
    assert checkpoints.startable_runs(store, replace(CONFIG, encoder="resnet34")) == []
    runs.give_up_checkpoints(store, run.id, [2, 3])
    assert checkpoints.startable_runs(store, CONFIG) == []


def test_a_continued_run_takes_the_settings_and_names_its_start(store: Store, run: Run) -> None:
    config = checkpoints.continued(store, run, 2)

    assert config == replace(run.config, start_from=f"{run.id}/2")
    assert checkpoints.start_point(store, config) == (run, 2)
    assert checkpoints.start_point(store, TrainingConfig()) is None
