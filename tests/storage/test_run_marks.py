"""What people put on runs, and the two epochs of each that a table shows."""

import random

import pytest
import sqlalchemy as sa

from core.domain.errors import AppError, Conflict, NotFound
from core.domain.images import Project
from core.domain.labels import Category
from core.domain.runs import MAX_NOTE_LENGTH, Run, tidy_tags
from core.domain.training import TrainingConfig
from core.services.evaluation import METRIC, best_epoch
from core.storage import projects, run_marks, runs, tables, versions
from core.storage.store import Store

NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def project(store: Store) -> Project:
    return projects.create(store, "Cars")


@pytest.fixture
def run(store: Store, project: Project) -> Run:
    return queue(store, project, "first")


def queue(store: Store, project: Project, name: str) -> Run:
    version = versions.freeze(store, project.id, (), ())
    return runs.create(store, project.id, version.id, TrainingConfig(), name)


def write_epochs(store: Store, run: Run, values: list[float | None]) -> None:
    """Write epochs with these figures past all rules."""
    fixed = {"run_id": run.id, "attempt": 1, "durations": {"train": 1.0}, "checkpoint": "x"}
    rows = [
        {**fixed, "epoch": epoch, "metrics": {METRIC: value, "val_loss": epoch}, "created_at": tables.now()}
        for epoch, value in enumerate(values, start=1)
    ]
    with store.write() as connection:
        connection.execute(sa.insert(tables.epoch), rows)


def test_the_database_finds_the_same_best_and_last_epoch_as_python(store: Store, project: Project) -> None:
    draw = random.Random(5)
    figures = (None, 0.0, 0.1, 0.25, 0.5, 1.0, 1e-9)  # so few that ties are common
    everything = [queue(store, project, f"run {number}") for number in range(40)]
    for number, run in enumerate(everything):
        values = [draw.choice((*figures, draw.random())) for _ in range(draw.randint(1, 12))]
        write_epochs(store, run, [None] * 3 if number == 7 else values)
    foreign = queue(store, projects.create(store, "Other"), "elsewhere")
    write_epochs(store, foreign, [0.9])

    found = runs.best_and_last(store, project.id, METRIC)

    assert found.keys() == {run.id for run in everything}
    assert found[everything[7].id][0] is None
    for run in everything:
        done = runs.epochs(store, run.id)
        assert found[run.id] == (best_epoch(done), done[-1])


def test_a_run_without_an_epoch_has_no_figures(store: Store, project: Project, run: Run) -> None:
    assert runs.best_and_last(store, project.id, METRIC) == {}


def test_a_figure_that_older_runs_did_not_have_is_not_defined(
    store: Store, project: Project, run: Run
) -> None:
    write_epochs(store, run, [0.5, 0.7])

    best, last = runs.best_and_last(store, project.id, "val_unheard_of")[run.id]

    assert best is None
    assert last.epoch == 2


def test_data_versions_are_listed_by_age_as_far_as_a_run_used_them(store: Store, project: Project) -> None:
    first = queue(store, project, "first")
    other = versions.freeze(store, project.id, (Category(1, "dent", "#E69F00"),), ())

    assert list(runs.data_hashes(store, project.id)) == [first.data_version_id]

    second = runs.create(store, project.id, other.id, TrainingConfig(), "second")
    assert list(runs.data_hashes(store, project.id).items()) == [
        (first.data_version_id, versions.get(store, first.data_version_id).hash),
        (second.data_version_id, other.hash),
    ]


def test_a_new_run_has_no_marks(run: Run) -> None:
    assert (run.tags, run.note, run.is_archived) == ((), "", False)


def test_marks_are_read_back(store: Store, run: Run) -> None:
    run_marks.rename(store, run.id, "  doors,\n left ")
    run_marks.change_tags(store, run.id, add=["🚗 doors", "baseline"], remove=[])
    run_marks.set_note(store, run.id, "thin scratches\nare missed\n", shown="")
    run_marks.set_archived(store, [run.id], is_archived=True)

    kept = runs.get(store, run.id)

    assert (kept.name, kept.tags) == ("doors, left", ("🚗 doors", "baseline"))
    assert (kept.note, kept.is_archived) == ("thin scratches\nare missed", True)
    run_marks.set_archived(store, [run.id], is_archived=False)
    assert not runs.get(store, run.id).is_archived


def test_a_note_is_not_written_over_one_that_its_writer_has_not_seen(store: Store, run: Run) -> None:
    run_marks.set_note(store, run.id, "from the first tab", shown="", author="ana@example.com")

    with pytest.raises(Conflict, match=r"^ana@example.com changed this note"):
        run_marks.set_note(store, run.id, "from the second tab", shown="")

    assert runs.get(store, run.id).note == "from the first tab"
    run_marks.set_note(store, run.id, "from the second tab", shown="from the first tab")
    assert runs.get(store, run.id).note == "from the second tab"
    with pytest.raises(Conflict, match=r"^Somebody else changed this note"):
        run_marks.set_note(store, run.id, "", shown="from the first tab")


def test_the_same_note_from_two_tabs_is_no_conflict(store: Store, run: Run) -> None:
    run_marks.set_note(store, run.id, "good", shown="")

    run_marks.set_note(store, run.id, "good", shown="")

    assert runs.get(store, run.id).note == "good"


def test_a_note_has_a_limit(store: Store, run: Run) -> None:
    run_marks.set_note(store, run.id, "n" * MAX_NOTE_LENGTH, shown="")

    with pytest.raises(AppError, match=r"at most 10,000 characters; this one has 10,001"):
        run_marks.set_note(store, run.id, "n" * (MAX_NOTE_LENGTH + 1), shown="n" * MAX_NOTE_LENGTH)

    assert len(runs.get(store, run.id).note) == MAX_NOTE_LENGTH


def test_tags_of_two_tabs_come_together(store: Store, run: Run) -> None:
    run_marks.change_tags(store, run.id, add=["a", "b"], remove=[])

    run_marks.change_tags(store, run.id, add=["c"], remove=["a"])
    run_marks.change_tags(store, run.id, add=["d", "B"], remove=["a", "never there"])

    assert runs.get(store, run.id).tags == ("b", "c", "d")


def test_tags_that_are_refused_change_nothing(store: Store, run: Run) -> None:
    run_marks.change_tags(store, run.id, add=[f"tag {number}" for number in range(20)], remove=[])

    with pytest.raises(AppError, match="at most 20 tags, and these are 21"):
        run_marks.change_tags(store, run.id, add=["one more"], remove=[])
    with pytest.raises(AppError, match="has at most 40 characters; “xxxxxxxxxxxxxxxxxxxx…” has 200"):
        run_marks.change_tags(store, run.id, add=["x" * 200], remove=["tag 1"])

    assert len(runs.get(store, run.id).tags) == 20


def test_tags_are_cut_at_commas_and_kept_once() -> None:
    typed = [" night , rain", "Rain", "", " , ", "wet\troad\n", "🚗🔧", "night"]

    assert tidy_tags(typed) == ("night", "rain", "wet road", "🚗🔧")
    assert tidy_tags(["x" * 40]) == ("x" * 40,)


@pytest.mark.parametrize("name", ["", "   ", "n" * 81])
def test_a_name_that_cannot_be_one_is_refused(store: Store, run: Run, name: str) -> None:
    with pytest.raises(AppError, match="1 to 80 characters"):
        run_marks.rename(store, run.id, name)

    assert runs.get(store, run.id).name == "first"


def test_a_run_deleted_meanwhile_is_not_there_to_be_marked(store: Store, run: Run) -> None:
    with store.write() as connection:
        connection.execute(sa.delete(tables.run))

    for act in (
        lambda: run_marks.rename(store, run.id, "x"),
        lambda: run_marks.change_tags(store, run.id, add=["x"], remove=[]),
        lambda: run_marks.set_note(store, run.id, "x", shown=""),
        lambda: run_marks.set_archived(store, [run.id, NOBODY], is_archived=True),
    ):
        with pytest.raises(NotFound, match="does not exist any more"):
            act()
