"""What a training may use, what it refuses, and that a refusal changes nothing."""

import pytest

from core.domain.errors import FormatError, NotEnoughLabels, UnknownChoice
from core.domain.labels import ImageState
from core.domain.runs import WorkState
from core.domain.training import TrainingConfig
from core.services import training
from core.storage import annotations, projects, versions
from core.storage.store import Store
from tests.builders import add_image, project_with, square

CONFIG = TrainingConfig()


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
    assert data.warnings == ()


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
        ("turbo", {}, UnknownChoice, "There is no preset “turbo”. There are: fast."),
        ("fast", {"sise": "256"}, UnknownChoice, "There is no setting “sise”"),
        ("fast", {"size": "250"}, FormatError, "multiple of 32"),
        ("fast", {"epochs": "many"}, FormatError, "epochs must be a whole number, not “many”"),
        ("fast", {"epochs": 0}, FormatError, "between 1 and"),
        ("fast", {"batch_size": 1}, FormatError, "batch_size must lie between 2"),
        ("fast", {"model": "yolo"}, UnknownChoice, "There is no model “yolo”"),
        ("fast", {"encoder": "vgg99"}, UnknownChoice, "There is no encoder “vgg99”"),
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
