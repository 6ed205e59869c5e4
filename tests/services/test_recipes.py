"""What is said of a configuration before it is queued: what fits together, what it costs, what will do."""

from dataclasses import asdict, replace
from typing import Any

import pytest
import sqlalchemy as sa

from core.domain.errors import FormatError, NotEnoughLabels, UnknownChoice
from core.domain.runs import WorkState
from core.domain.training import TrainingConfig
from core.services import rates, recipes
from core.storage import jobs, tables, versions, workers
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.services.reported import worker_report

GB = 1 << 30
CONFIG = TrainingConfig(batch_size=32)
RESULT: dict[str, Any] = {
    "host": "gpu-1",
    "device": "NVIDIA T4",
    "train_seconds": 0.1,
    "validate_seconds": 0.02,
    "megapixel_seconds": 0.01,
    "fixed_bytes": 1 * GB,
    "image_bytes": 1 * GB,
    "is_disturbed": False,
}


def finish(store: Store, job_id: str, result: dict[str, Any]) -> None:
    with store.write() as connection:
        connection.execute(
            sa.update(tables.job)
            .where(tables.job.c.id == job_id)
            .values(state=WorkState.SUCCEEDED, result=result)
        )


def measure(store: Store, config: TrainingConfig = CONFIG, classes: int = 3, **changes: object) -> None:
    finish(store, recipes.measure(store, config, classes).id, RESULT | changes)


def report_gpu(store: Store, memory_gb: int = 24) -> None:
    report = worker_report("gpu-1", gpus=1)
    workers.report(store, replace(report, gpus=(replace(report.gpus[0], memory_bytes=memory_gb * GB),)))


def test_nothing_is_said_of_memory_before_it_was_measured_on_a_machine_that_is_here(store: Store) -> None:
    report_gpu(store)
    assert recipes.memory_note(store, CONFIG, 3) == ""

    measure(store, host="gone")

    assert recipes.cost(store, CONFIG, 3) is None
    assert recipes.memory_note(store, CONFIG, 3) == ""


def test_too_large_a_batch_is_told_with_one_that_fits(store: Store) -> None:
    report_gpu(store)
    measure(store)

    assert recipes.memory_note(store, CONFIG, 3) == (
        "At batch 32 this needs about 33 GB, and the GPU has 24 GB: batch 16 with 2 batches per step "
        "(accumulate=2) learns nearly the same in 17 GB."
    )
    assert recipes.memory_note(store, replace(CONFIG, batch_size=16), 3) == ""


def test_what_fits_on_no_batch_is_told(store: Store) -> None:
    report_gpu(store, memory_gb=2)
    measure(store)

    assert recipes.memory_note(store, CONFIG, 3) == (
        "At batch 32 this needs about 33 GB, and the GPU has 2.0 GB: choose a smaller size or crop, or a "
        "smaller network."
    )


def test_gpus_share_a_batch_and_processes_of_one_machine_share_its_memory(store: Store) -> None:
    report_gpu(store)
    measure(store)
    on_two = replace(CONFIG, devices=2)
    assert recipes.memory_note(store, on_two, 3) == "", "16 images and the weights on each of 24 GB"

    workers.report(store, worker_report("gpu-1", usage={"memory_bytes": 24 * GB}))

    measured = recipes.cost(store, on_two, 3)
    assert measured is not None and not measured.is_gpu
    assert measured.memory_bytes(32, devices=2) == 34 * GB
    assert "the machine has 24 GB: batch 16 with 2 " in recipes.memory_note(store, on_two, 3)


@pytest.mark.parametrize(
    ("devices", "batch", "memory_gb", "expected"),
    [
        (1, 32, 24, (16, 2)),
        (1, 12, 5, (3, 4)),
        (1, 3, 4, (2, 2)),  # ceil(3 / 2): no fewer images in a step than before
        (1, 2, 24, (2, 1)),
        (4, 32, 4, (8, 4)),
        (4, 32, 3, None),  # each process needs two images
        (1, 4, 3, None),
    ],
)
def test_a_fitting_batch_learns_from_no_fewer_images_per_step(
    devices: int, batch: int, memory_gb: int, expected: tuple[int, int] | None
) -> None:
    measured = recipes.Cost("gpu-1", "T4", 0.1, 0.02, 0.01, GB, GB, memory_gb * GB, False, True)

    found = recipes.fitting(TrainingConfig(batch_size=batch, devices=devices), measured)

    assert (None if found is None else (found.batch_size, found.accumulate)) == expected
    if found is not None:
        assert found.batch_size * found.accumulate >= batch


def test_a_measure_holds_for_what_shapes_the_cost_and_is_queued_once(store: Store) -> None:
    report_gpu(store)
    first = recipes.measure(store, CONFIG, 3)
    assert recipes.measure(store, replace(CONFIG, batch_size=4, epochs=99, seed=5), 3).id == first.id
    assert recipes.measure(store, replace(CONFIG, size=512), 3).id != first.id
    assert recipes.measure(store, CONFIG, 4).id != first.id
    finish(store, first.id, RESULT)

    assert recipes.cost(store, replace(CONFIG, epochs=99), 3) is not None
    assert recipes.cost(store, replace(CONFIG, size=512), 3) is None

    again = recipes.measure(store, CONFIG, 3)
    finish(store, again.id, RESULT | {"train_seconds": 0.7})
    newest = recipes.cost(store, CONFIG, 3)
    assert newest is not None and newest.train_seconds == 0.7


def test_a_forecast_counts_images_megapixels_and_gpus() -> None:
    measured = recipes.Cost("gpu-1", "T4", 0.1, 0.02, 0.01, GB, GB, 24 * GB, False, True)
    config = TrainingConfig(epochs=10)

    assert recipes.seconds(config, measured, 100, 50) == pytest.approx(10 * (10 + 1))
    assert recipes.seconds(config, measured, 100, 50, megapixels=12) == pytest.approx(10 * (10 + 1 + 6))
    assert recipes.seconds(replace(config, epoch_images=40), measured, 100, 50) == pytest.approx(10 * (4 + 1))
    assert recipes.seconds(replace(config, expand_to=300), measured, 100, 50) == pytest.approx(10 * (30 + 1))
    assert recipes.seconds(replace(config, devices=2), measured, 100, 50) == pytest.approx(55)
    on_cpu = replace(measured, is_gpu=False)
    assert recipes.seconds(replace(config, devices=2), on_cpu, 100, 50) == pytest.approx(110)


def test_training_on_small_images_first_is_forecast_by_their_area() -> None:
    measured = recipes.Cost("gpu-1", "T4", 0.1, 0.0, 0.0, GB, GB, 24 * GB, False, True)
    config = TrainingConfig(model="fpn", size=64, epochs=4)  # sides of 64, the least that it takes is 32
    growing = replace(config, progressive=True)

    assert recipes.seconds(config, measured, 10, 1) == pytest.approx(4)
    assert recipes.seconds(growing, measured, 10, 1) == pytest.approx(2 * 0.25 + 2)


def test_the_mean_photo_is_in_megapixels(store: Store) -> None:
    project = project_with(store, "dent")
    assert recipes.mean_megapixels(store, project.id) == 0
    add_image(store, project, 1)

    assert recipes.mean_megapixels(store, project.id) == pytest.approx(96 * 64 / 1e6)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size": 100}, "must be a multiple of 16"),
        ({"crop": 72}, "must be a multiple of 16"),
        ({"encoder": "none"}, "DeepLabV3\\+ does not work on none"),
        ({"model": "mars_unet", "encoder": "none"}, "encoder_weights=none"),
        ({"frozen_epochs": 12}, "frozen_epochs must be less than epochs"),
        ({"batch_size": 4, "devices": 2, "model": "pan", "size": 96}, "at least 128 pixels"),
    ],
)
def test_parts_that_do_not_go_together_are_refused_with_a_sentence(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(FormatError, match=sentence):
        recipes.check(replace(TrainingConfig(), **changes))


def test_names_that_nobody_knows_are_refused_and_what_is_fetched_is_told() -> None:
    for changes in ({"model": "u"}, {"loss": "l1"}, {"augmentation": "much"}, {"encoder": "a b"}):
        with pytest.raises(UnknownChoice):
            recipes.check(replace(TrainingConfig(), **changes))

    assert recipes.check(TrainingConfig()) == ()
    (note,) = recipes.check(TrainingConfig(encoder="resnet18"))
    assert "model hub" in note
    assert recipes.check(TrainingConfig(encoder="resnet18", start_weights="0" * 64)) == ()


def test_architectures_are_listed_with_what_they_were_tested_on() -> None:
    listed = {entry.name: entry for entry in recipes.architectures()}

    assert listed.keys() == recipes.models().keys()
    assert listed["fpn"].size_multiple == 32 and listed["fpn"].has_other_encoders
    for name, entry in listed.items():
        assert tuple(recipes.encoders(name)) == entry.encoders


def test_a_search_for_a_rate_is_queued_on_the_labels_of_now(store: Store) -> None:
    project = project_with(store, "dent")
    config = TrainingConfig(size=64, encoder_weights="none")
    with pytest.raises(NotEnoughLabels):
        rates.find_rate(store, project.id, config)
    for seed, split in enumerate(("train", "train", "valid")):
        add_image(store, project, seed, square(1), split=split)
    for steps in (9, 1001):
        with pytest.raises(FormatError, match="10 to 1000 steps"):
            rates.find_rate(store, project.id, config, steps)

    job = rates.find_rate(store, project.id, config, 20)

    assert job.kind == "find_rate" and job.project_id == project.id
    assert job.payload["config"] == asdict(config) and job.payload["steps"] == 20
    version = versions.get(store, job.payload["data_version_id"])
    assert [item.split for item in version.items] == ["train", "train", "valid"]
    assert rates.find_rate(store, project.id, config, 20).id == job.id
    assert rates.rate_search(store, job.id) is None

    points = [[1e-4, 1.0], [1e-3, 0.5]]
    finish(store, job.id, {"points": points, "smoothed": [0.9, 0.6], "suggestion": None, "rule": "R"})

    assert rates.rate_search(store, job.id) == rates.RateSearch(
        ((1e-4, 1.0), (1e-3, 0.5)), (0.9, 0.6), None, "R"
    )
    assert jobs.list_of(store, project.id) == [jobs.get(store, job.id)]
