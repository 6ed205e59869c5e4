"""What a training may use, what it refuses, and that a refusal changes nothing."""

import contextlib
import io
import sqlite3
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image as PillowImage

from core.domain.errors import FormatError, NotEnoughLabels, NotFound, UnknownChoice
from core.domain.images import Image, Project
from core.domain.labels import ImageState
from core.domain.presets import PRESETS
from core.domain.runs import WorkState
from core.domain.training import TrainingConfig
from core.formats.ingest import add_photo
from core.services import training
from core.storage import annotations, images, lifecycle, processes, projects, runs, tables, versions
from core.storage.lifecycle import RUNS, Room
from core.storage.store import Store
from tests.builders import add_image, photo_bytes, project_with, square
from tests.pages.trained import finish_run

CONFIG = PRESETS["fast"].config


def test_a_run_needs_two_finished_images(store: Store) -> None:
    project = project_with(store, "dent")
    add_image(store, project, 1, square(1))

    with pytest.raises(NotEnoughLabels, match="1 so far"):
        training.start_run(store, project.id, CONFIG)

    assert training.list_runs(store, project.id) == []


def test_an_empty_project_says_what_to_do(store: Store) -> None:
    project = project_with(store)

    with pytest.raises(NotEnoughLabels, match="Label at least 2 photos"):
        training.start_run(store, project.id, CONFIG)


def test_images_in_progress_do_not_count_and_are_named(store: Store) -> None:
    project = project_with(store, "dent")
    for seed in range(3):
        add_image(store, project, seed, square(1))
    add_image(store, project, 9, square(1), state=ImageState.IN_PROGRESS)

    data = training.collect(store, project.id, CONFIG)

    assert len(data.items) == 3
    assert any("1 photos are not marked as done" in warning for warning in data.warnings)


def test_training_without_any_damage_is_refused(store: Store) -> None:
    project = project_with(store, "dent")
    for seed in range(4):
        add_image(store, project, seed)

    with pytest.raises(NotEnoughLabels, match="shows any damage"):
        training.start_run(store, project.id, CONFIG)


def test_without_a_split_a_seeded_share_is_held_out(store: Store) -> None:
    project = project_with(store, "dent")
    for seed in range(10):
        add_image(store, project, seed, square(1))

    first = training.collect(store, project.id, CONFIG)
    again = training.collect(store, project.id, CONFIG)
    other = training.collect(store, project.id, TrainingConfig(seed=1))

    assert sum(item.split == "valid" for item in first.items) == 2
    assert first == again
    assert first.items != other.items


def test_a_given_split_is_kept_and_the_rest_left_out_with_a_word(store: Store) -> None:
    project = project_with(store, "dent")
    train = [add_image(store, project, seed, square(1), split="train") for seed in (1, 11)]
    valid = add_image(store, project, 2, square(1), split="valid")
    add_image(store, project, 3, square(1))

    data = training.collect(store, project.id, CONFIG)

    expected = {**{image.id: "train" for image in train}, valid.id: "valid"}
    assert {item.image_id: item.split for item in data.items} == expected
    assert any("1 labelled photos are in no split" in warning for warning in data.warnings)


def test_one_photo_to_learn_from_is_refused(store: Store) -> None:
    project = project_with(store, "dent")
    for seed in range(2):
        add_image(store, project, seed, square(1))

    with pytest.raises(NotEnoughLabels, match="there are 1 and 1"):
        training.start_run(store, project.id, CONFIG)

    assert training.list_runs(store, project.id) == []


def test_the_share_asked_for_is_drawn_by_the_seed_and_frozen(store: Store) -> None:
    project = project_with(store, "dent")
    for seed in range(8):
        add_image(store, project, seed, square(1), split="train" if seed < 5 else "valid")
    limited = TrainingConfig(max_train_images=3, max_valid_images=1)

    data = training.collect(store, project.id, limited)

    assert [item.split for item in data.items].count("train") == 3
    assert [item.split for item in data.items].count("valid") == 1
    assert data == training.collect(store, project.id, limited)


def test_a_class_seen_in_test_alone_is_a_channel_and_named(store: Store) -> None:
    project = project_with(store, "dent", "rust")
    for seed, split in enumerate(("train", "train", "valid")):
        add_image(store, project, seed, square(1), split=split)
    add_image(store, project, 9, square(2), split="test")

    data = training.collect(store, project.id, CONFIG)

    assert [category.name for category in data.categories] == ["dent", "rust"]
    assert any("No photo in train shows “rust”" in warning for warning in data.warnings)


def test_a_class_missing_from_train_is_named(store: Store) -> None:
    project = project_with(store, "dent", "rust")
    add_image(store, project, 1, square(1), split="train")
    add_image(store, project, 11, square(1), split="train")
    add_image(store, project, 2, square(1), square(2, 40), split="valid")

    data = training.collect(store, project.id, CONFIG)

    assert [category.name for category in data.categories] == ["dent", "rust"]
    assert any("No photo in train shows “rust”" in warning for warning in data.warnings)


def test_a_class_nobody_uses_is_no_channel(store: Store) -> None:
    project = project_with(store, "dent", "glass")
    add_image(store, project, 1, square(1), split="train")
    add_image(store, project, 11, square(1), split="train")
    add_image(store, project, 2, square(1), split="valid")

    data = training.collect(store, project.id, CONFIG)

    assert [category.name for category in data.categories] == ["dent"]
    assert data.warnings == ("Few photos in train show “dent” (2): the model will hardly learn that.",)


def test_photos_of_a_group_are_held_out_together(store: Store) -> None:
    project = project_with(store, "dent")
    for seed in range(12):
        grouped(store, add_image(store, project, seed, square(1)), f"car {seed // 3}")
    apart = TrainingConfig(valid_share=0.25, split_by_group=False)

    data = training.collect(store, project.id, TrainingConfig(valid_share=0.25))
    scattered = training.collect(store, project.id, apart)

    held = [item.group for item in data.items if item.split == "valid"]
    assert len(held) == 3 and len(set(held)) == 1
    assert data.warnings == ("3 of 12 labelled photos are held out for validation.",)
    assert [item.split for item in scattered.items].count("valid") == 3
    assert any("same group are in train and in valid" in warning for warning in scattered.warnings)


def test_large_groups_move_the_share_and_that_is_said(store: Store) -> None:
    project = project_with(store, "dent")
    for seed in range(10):
        grouped(store, add_image(store, project, seed, square(1)), f"car {seed // 5}")

    data = training.collect(store, project.id, TrainingConfig(valid_share=0.2))

    assert [item.split for item in data.items].count("valid") == 5
    assert "20% were asked for, but photos of a group stay together." in data.warnings


def test_photos_of_one_group_cannot_be_split_and_it_is_said_what_to_do(store: Store) -> None:
    project = project_with(store, "dent")
    for seed in range(4):
        grouped(store, add_image(store, project, seed, square(1)), "car 1")

    with pytest.raises(NotEnoughLabels, match=r"All 4 photos are of one group.*switch split_by_group off"):
        training.start_run(store, project.id, CONFIG)

    assert training.list_runs(store, project.id) == []
    assert training.collect(store, project.id, replace(CONFIG, split_by_group=False)).items


def test_a_share_of_train_is_drawn_by_class_and_a_smaller_one_is_part_of_it(store: Store) -> None:
    project = project_with(store, "dent", "rust")
    for seed in range(15):
        drawn = [square(1)] + ([square(2, 40)] if seed < 5 else [])
        add_image(store, project, seed, *drawn, split="train" if seed < 10 else "valid")

    data = {
        share: training.collect(store, project.id, replace(CONFIG, train_share=share)) for share in (0.4, 0.8)
    }

    learnt = {share: {i.image_id for i in found.items if i.split == "train"} for share, found in data.items()}
    assert (len(learnt[0.4]), len(learnt[0.8])) == (4, 8) and learnt[0.4] < learnt[0.8]
    assert data[0.4].images_of["train"] == {1: 4, 2: 2} and data[0.4].images_of["valid"] == {1: 5}
    assert "4 of 10 photos in train are used." in data[0.4].warnings


def test_photos_that_look_alike_on_both_sides_are_counted(store: Store) -> None:
    project = project_with(store, "dent")
    for seed in range(6):
        add_image(store, project, seed, square(1), split="train" if seed < 4 else "valid")
    images.set_split(store, [brighter(store, project, 0).id], "valid")

    warnings = training.collect(store, project.id, CONFIG).warnings

    assert warnings == (
        "Photos in valid that look almost like one in train: 1 of 3. "
        "The figures will look better than the model is.",
    )


def test_a_class_that_valid_does_not_show_is_named(store: Store) -> None:
    project = project_with(store, "dent", "rust")
    for seed in range(5):
        add_image(store, project, seed, square(1), square(2, 40), split="train")
    add_image(store, project, 9, square(1), split="valid")

    assert training.collect(store, project.id, CONFIG).warnings == (
        "No photo in valid shows “rust”: how well it is found cannot be measured.",
    )


def test_an_ignored_class_is_no_class_of_the_run(store: Store) -> None:
    project = project_with(store, "dent", "glass")
    for seed in range(4):
        add_image(store, project, seed, square(1), square(2, 40), split="train" if seed < 3 else "valid")

    data = training.collect(store, project.id, replace(CONFIG, ignore_class="glass"))

    assert [category.name for category in data.categories] == ["dent"]
    assert [category.name for category in data.ignored] == ["glass"]
    assert data.images_of["train"] == {1: 3}
    assert data.warnings == ()


def test_a_class_to_ignore_must_be_there_and_not_the_only_one(store: Store) -> None:
    project = project_with(store, "dent")
    three_photos(store, project)

    with pytest.raises(UnknownChoice, match=r"There is no class “glass”\. There are: dent\."):
        training.start_run(store, project.id, replace(CONFIG, ignore_class="glass"))
    with pytest.raises(NotEnoughLabels, match="any damage other than “dent”, which is ignored"):
        training.start_run(store, project.id, replace(CONFIG, ignore_class="dent"))

    assert training.list_runs(store, project.id) == []


def grouped(store: Store, image: Image, group: str) -> None:
    """Put an image into a group, as an import does."""
    with store.write() as connection:
        connection.execute(sa.update(tables.image).where(tables.image.c.id == image.id).values(group=group))


def brighter(store: Store, project: Project, seed: int) -> Image:
    """Add a labelled photo that looks like another one, but is no copy of its file."""
    pixels = np.asarray(PillowImage.open(io.BytesIO(photo_bytes(seed))))
    file = io.BytesIO()
    PillowImage.fromarray((pixels * 0.9 + 20).astype(np.uint8)).save(file, "PNG")
    image = add_photo(store, project.id, "again.png", file.getvalue())
    annotations.save(store, image.id, [square(1)], base_rev=0, state=ImageState.DONE)
    return image


def test_a_run_keeps_the_labels_as_they_were(store: Store) -> None:
    project = project_with(store, "dent")
    image = add_image(store, project, 1, square(1), split="train")
    add_image(store, project, 11, square(1), split="train")
    add_image(store, project, 2, square(1), split="valid")
    run = training.start_run(store, project.id, CONFIG)

    annotations.save(store, image.id, [], base_rev=1, state=ImageState.DONE)
    version = training.data_version(store, run)
    item = next(item for item in version.items if item.image_id == image.id)

    assert len(versions.read_item(store, item).annotations) == 1
    assert run.state is WorkState.QUEUED
    assert run.name == "Fast 1"


def test_the_same_labels_are_the_same_data_version(store: Store) -> None:
    project = project_with(store, "dent")
    add_image(store, project, 1, square(1), split="train")
    add_image(store, project, 11, square(1), split="train")
    add_image(store, project, 2, square(1), split="valid")

    first = training.start_run(store, project.id, CONFIG)
    second = training.start_run(store, project.id, CONFIG)

    assert first.data_version_id == second.data_version_id


@pytest.mark.parametrize(
    ("preset", "changes", "error", "words"),
    [
        (
            "turbo",
            {},
            UnknownChoice,
            "There is no preset “turbo”. There are: tiny, fast, balanced, accurate, ",
        ),
        ("fast", {"sise": "256"}, UnknownChoice, "There is no setting “sise”"),
        ("fast", {"size": "250"}, FormatError, "multiple of 32"),
        ("fast", {"epochs": "many"}, FormatError, "epochs must be a whole number, not “many”"),
        ("fast", {"epochs": 0}, FormatError, "between 1 and"),
        ("fast", {"batch_size": 1}, FormatError, "batch_size must lie between 2"),
        ("fast", {"model": "yolo"}, UnknownChoice, "There is no model “yolo”"),
        ("fast", {"encoder": "no/such"}, UnknownChoice, "There is no encoder “no/such”"),
        ("fast", {"loss": "hinge"}, UnknownChoice, "There is no loss “hinge”"),
    ],
)
def test_a_wrong_setting_is_named(
    preset: str, changes: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        training.configure(preset, changes)

    assert words in str(caught.value)


def test_a_queued_run_is_cancelled_at_once_and_can_be_queued_again(store: Store) -> None:
    project = project_with(store, "dent")
    add_image(store, project, 1, square(1), split="train")
    add_image(store, project, 11, square(1), split="train")
    add_image(store, project, 2, square(1), split="valid")
    run = training.start_run(store, project.id, CONFIG)

    assert training.cancel(store, run.id) is WorkState.CANCELLED
    assert training.cancel(store, run.id) is None
    assert training.resume(store, run.id)
    assert training.get_run(store, run.id).state is WorkState.QUEUED
    assert [event.kind for event in training.events(store, run.id)] == ["cancelled", "queued"]


def test_a_project_is_found_by_its_name_only(store: Store) -> None:
    project_with(store, name="Cars")

    with pytest.raises(Exception, match=r"There is no project “Bikes”\. There are: Cars\."):
        projects.by_name(store, "Bikes")


def three_photos(store: Store, project: Project) -> list[Image]:
    """Add two photos to train on and one to measure with, a dent on each."""
    splits = ("train", "train", "valid")
    return [add_image(store, project, seed, square(1), split=split) for seed, split in enumerate(splits)]


def test_a_run_is_repeated_on_the_labels_it_was_trained_on(store: Store) -> None:
    project = project_with(store, "dent", "rust")
    image = three_photos(store, project)[0]
    config = training.configure("fast", {"epochs": 3, "seed": 11})
    original = training.start_run(store, project.id, config)
    annotations.save(store, image.id, [square(2)], base_rev=1, state=ImageState.DONE)
    on_new_labels = training.start_run(store, project.id, config)

    again = training.repeat(store, original.id, {}, priority=4)
    longer = training.repeat(store, original.id, {"epochs": "9"})

    assert on_new_labels.data_version_id != original.data_version_id
    assert (again.data_version_id, again.config) == (original.data_version_id, original.config)
    assert (again.name, again.priority, again.state) == ("Fast 1 again", 4, WorkState.QUEUED)
    assert (longer.config.epochs, longer.config.seed, longer.name) == (9, 11, "Fast 1 again 2")


def test_a_repeated_run_cannot_choose_other_photos(store: Store) -> None:
    project = project_with(store, "dent")
    three_photos(store, project)
    original = training.start_run(store, project.id, CONFIG)

    with pytest.raises(FormatError, match="max_train_images would choose other photos"):
        training.repeat(store, original.id, {"max_train_images": 2})
    with pytest.raises(UnknownChoice, match="There is no setting “colour”"):
        training.repeat(store, original.id, {"colour": "red"})

    assert [run.id for run in training.list_runs(store)] == [original.id]


def test_a_run_whose_labels_were_deleted_cannot_be_repeated(store: Store) -> None:
    project = project_with(store, "dent")
    three_photos(store, project)
    original = training.start_run(store, project.id, CONFIG)
    database = sqlite3.connect(str(store.engine.url.database))  # which checks no foreign keys
    with contextlib.closing(database):
        database.execute("delete from data_version")
        database.commit()

    with pytest.raises(NotFound, match=r"labels that “Fast 1” was trained on were deleted.*labels of now"):
        training.repeat(store, original.id, {})

    assert [run.id for run in training.list_runs(store)] == [original.id]


def test_a_run_starts_from_a_kept_checkpoint_and_holds_its_whole_name(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    source = finish_run(store, project, epochs=2)

    config = training.configure("fast", {"start_from": f"{source.id[-8:]}/1"})
    run = training.start_run(store, project.id, config)

    assert run.config.start_from == f"{source.id}/1"
    assert not any(
        "begin fresh" in warning for warning in training.collect(store, project.id, config).warnings
    )


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"start_from": "{run}"}, FormatError, "start_from must be RUN/EPOCH"),
        ({"start_from": "{run}/best"}, FormatError, "start_from must be RUN/EPOCH"),
        ({"start_from": "01a1fe59/1"}, NotFound, "There is no run “01a1fe59”"),
        ({"start_from": "{run}/9"}, NotFound, "The run “Fast 1” has no epoch 9"),
        ({"start_from": "{run}/1"}, NotFound, "The checkpoint of epoch 1 was not kept"),
        ({"start_from": "{run}/2", "encoder": "resnet34"}, FormatError, "Weights fit the same network only"),
    ],
)
def test_a_checkpoint_that_cannot_be_started_from_is_named(
    store: Store, changes: dict[str, str], error: type[Exception], words: str
) -> None:
    project = project_with(store, "dent", "scratch")
    source = finish_run(store, project, epochs=2)
    runs.give_up_checkpoints(store, source.id, [1])
    values = {key: value.format(run=source.id) for key, value in changes.items()}

    with pytest.raises(error) as caught:
        training.start_run(store, project.id, replace(CONFIG, **values))

    assert words in str(caught.value)
    assert [run.id for run in training.list_runs(store)] == [source.id]


def test_classes_that_a_checkpoint_never_saw_are_named(store: Store) -> None:
    project = project_with(store, "dent", "scratch", "rust")
    source = finish_run(store, project, epochs=1)
    add_image(store, project, 50, square(3), split="train")

    warnings = training.collect(store, project.id, replace(CONFIG, start_from=f"{source.id}/1")).warnings

    assert any(
        "It never saw “rust”, so the outputs of all 3 classes begin fresh" in warning
        and "epoch 1 of “Fast 1”" in warning
        for warning in warnings
    )


def test_a_waiting_run_can_be_put_first(store: Store) -> None:
    project = project_with(store, "dent")
    three_photos(store, project)
    first, second, urgent = (
        training.start_run(store, project.id, CONFIG, priority=priority) for priority in (0, 0, 3)
    )
    assert [waiting.run.id for waiting in training.queue(store)] == [urgent.id, first.id, second.id]

    assert training.prioritise(store, second.id)

    assert [waiting.run.id for waiting in training.queue(store)] == [second.id, urgent.id, first.id]
    training.cancel(store, second.id)
    assert not training.prioritise(store, second.id)


def test_the_log_of_a_run_on_another_machine_is_read_from_the_blob_store(store: Store) -> None:
    project = project_with(store, "dent")
    three_photos(store, project)
    run = training.start_run(store, project.id, CONFIG)
    assert training.log_tail(store, run.id) == ""
    here = store.home / "logs" / f"{run.id}.log"
    here.parent.mkdir(exist_ok=True)
    here.write_text("a former attempt here")
    assert training.log_tail(store, run.id) == "a former attempt here"

    claim = lifecycle.claim(store, RUNS, "elsewhere", Room(1))
    assert claim is not None
    store.blobs.put(f"runs/{run.id}/log.txt", b"x" * 30_000 + "the end: naïve".encode())

    text = training.log_tail(store, run.id)
    assert text.endswith("the end: naïve") and len(text) <= training.LOG_TAIL_BYTES
    lifecycle.start(store, RUNS, claim, processes.this_process())  # notes this machine as where it computes
    assert training.log_tail(store, run.id) == "a former attempt here"


def test_silence_is_measured_while_a_run_is_running_only(store: Store) -> None:
    project = project_with(store, "dent")
    three_photos(store, project)
    run = training.start_run(store, project.id, CONFIG)
    assert training.seconds_silent(store, run) is None
    claim = lifecycle.claim(store, RUNS, "elsewhere", Room(1))
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())
    long_ago = tables.now() - timedelta(seconds=20)
    with store.write() as connection:
        connection.execute(sa.update(tables.run).values(heartbeat_at=long_ago))

    silent = training.seconds_silent(store, runs.get(store, run.id))

    assert silent is not None and silent >= 20
