"""Intervals and ties from what runs left in the database, whole cars drawn, and pairs of checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from core.domain.errors import AppError, NotFound
from core.domain.images import Project
from core.domain.intervals import bootstrap, count, tied
from core.domain.intervals import compare as compare_counts
from core.domain.labels import Category
from core.domain.runs import Epoch, Run
from core.domain.scores import score
from core.domain.training import TrainingConfig, VersionItem
from core.services import intervals
from core.storage import lifecycle, processes, runs, tables, versions
from core.storage.lifecycle import RUNS, Room
from core.storage.runs import ImageRecord
from core.storage.store import Store
from tests.builders import project_with

Matrices = NDArray[np.int64]  # (N, C, C)


def items(photos: int, groups: Sequence[str | None] | None = None, rev: int = 1) -> list[VersionItem]:
    """Make the validation items of a data version, and one to train on."""
    keys = groups or [None] * photos
    valid = [VersionItem(f"photo-{n:03d}", f"{n:064x}", rev, "valid", keys[n]) for n in range(photos)]
    return [VersionItem("photo-train", "f" * 64, rev, "train"), *valid]


def measured_run(
    store: Store,
    project: Project,
    made_of: Sequence[VersionItem],
    epochs: Mapping[int, Matrices],
    categories: Sequence[Category] | None = None,
) -> Run:
    """Write a finished run and what its epochs made of the validation photos."""
    version = versions.freeze(store, project.id, categories or project.categories, made_of)
    run = runs.create(store, project.id, version.id, TrainingConfig(epochs=max(1, len(epochs))), "measured")
    claim = lifecycle.claim(store, RUNS, "test", Room(9))
    assert claim is not None and claim.work_id == run.id
    lifecycle.start(store, RUNS, claim, processes.this_process())
    for epoch, matrices in epochs.items():
        total = score(matrices.sum(axis=0))
        metrics = {
            "val_miou_foreground": None if np.isnan(total.miou_foreground) else total.miou_foreground,
            "val_dice_foreground": None if np.isnan(total.dice_foreground) else total.dice_foreground,
        }
        row = Epoch(run.id, epoch, 1, metrics, {"train": 1.0}, f"runs/{run.id}/{epoch}.pt", tables.now())
        runs.add_epoch(store, claim, row, records_of(run, epoch, version.split("valid"), matrices))
    lifecycle.succeed(store, RUNS, claim)
    return runs.get(store, run.id)


def records_of(
    run: Run, epoch: int, measured: Sequence[VersionItem], matrices: Matrices
) -> list[ImageRecord]:
    """Pair photos with matrices."""
    key = f"runs/{run.id}/predictions/{epoch}"
    return [
        ImageRecord(item.image_id, matrix, f"{key}/{item.image_id}.png", f"{key}/{item.image_id}-c.png")
        for item, matrix in zip(measured, matrices, strict=True)
    ]


def found_share(shares: Sequence[float], classes: int = 2, seed: int = 0) -> Matrices:
    """Make a matrix per photo: this share of its damage is found, the rest is missed; sizes differ."""
    matrices = np.zeros((len(shares), classes, classes), np.int64)
    sizes = np.random.default_rng(seed).integers(500, 1500, (len(shares), classes - 1))
    for channel in range(1, classes):
        matrices[:, channel, channel] = sizes[:, channel - 1] * np.asarray(shares)
        matrices[:, channel, 0] = sizes[:, channel - 1] - matrices[:, channel, channel]
    matrices[:, 0, 0] = 6000
    return matrices


def spread(mean: float, photos: int, seed: int) -> list[float]:
    """Draw shares around a mean, half above it and half below."""
    rng = np.random.default_rng(seed)
    away = rng.uniform(0, 0.1, photos // 2)
    return rng.permutation([*(mean + away), *(mean - away)]).tolist()


@pytest.fixture
def project(store: Store) -> Project:
    return project_with(store, "dent", "scratch")


def test_a_checkpoints_interval_is_that_of_its_stored_matrices(store: Store, project: Project) -> None:
    matrices = found_share(spread(0.6, 20, seed=1), classes=3)
    run = measured_run(store, project, items(20), {1: matrices})

    found = intervals.of_checkpoint(store, run, 1)

    assert found == bootstrap(count(matrices))
    assert (found.images, found.groups) == (20, 20)
    headline = found.of.miou_foreground
    assert headline is not None and headline.low < headline.value < headline.high
    assert headline.value == pytest.approx(runs.epochs(store, run.id)[0].metrics["val_miou_foreground"])


def test_photos_of_a_car_are_drawn_together_and_an_empty_group_is_none(
    store: Store, project: Project
) -> None:
    groups = ["car 1"] * 5 + ["car 2"] * 5 + [None] * 8 + ["", ""]
    matrices = found_share(np.linspace(0.1, 0.9, 20).tolist(), classes=3)
    run = measured_run(store, project, items(20, groups), {1: matrices})

    found = intervals.of_checkpoint(store, run, 1)

    assert (found.images, found.groups) == (20, 12)
    assert found == bootstrap(count(matrices), ["car 1"] * 5 + ["car 2"] * 5 + [None] * 10)
    one, alone = found.of.any_iou, bootstrap(count(matrices)).of.any_iou
    assert one is not None and alone is not None and one.high - one.low > alone.high - alone.low


def test_a_split_of_its_own_has_an_interval_of_its_own(store: Store, project: Project) -> None:
    tested = VersionItem("photo-t1", "a" * 64, 1, "test"), VersionItem("photo-t2", "b" * 64, 1, "test")
    run = measured_run(store, project, [*items(4), *tested], {1: found_share([0.5] * 4, classes=3)})

    with pytest.raises(NotFound, match="Epoch 1 of “measured” was not measured on test photos"):
        intervals.of_checkpoint(store, run, 1, "test")
    matrices = found_share([0.2, 0.4], classes=3)
    runs.set_records(store, run.id, 1, "test", records_of(run, 1, tested, matrices))

    assert intervals.of_checkpoint(store, run, 1, "test") == bootstrap(count(matrices))
    assert intervals.of_checkpoint(store, run, 1).images == 4


def test_runs_are_measured_on_the_same_where_photos_labels_and_classes_are(
    store: Store, project: Project
) -> None:
    dent, scratch = project.categories

    def measured_on(made_of: Sequence[VersionItem], *categories: Category) -> str:
        run = measured_run(store, project, made_of, {}, categories or project.categories)
        return intervals.measured_on(store, run, "valid")

    same = measured_on(items(3))
    assert measured_on([*items(3)[1:], VersionItem("more", "e" * 64, 1, "train")]) == same, "of valid alone"
    assert measured_on(items(3), replace(dent, name="bump"), scratch) == same, "a name is no class"
    other = {
        measured_on(items(3, rev=2)),
        measured_on(items(4)),
        measured_on(items(3), dent),
        measured_on(items(3), dent, replace(scratch, category_id=3)),
    }
    assert len({same, *other}) == 5


def test_an_epoch_that_was_not_measured_has_a_sentence(store: Store, project: Project) -> None:
    run = measured_run(store, project, items(4), {1: found_share([0.5] * 4, classes=3)})

    with pytest.raises(NotFound, match="Epoch 7 of “measured” was not measured on valid photos"):
        intervals.of_checkpoint(store, run, 7)


EPOCHS = {
    number: found_share(spread(mean, 30, seed=number), classes=3)
    for number, mean in enumerate((0.2, 0.4, 0.61, 0.5, 0.6, 0.62, 0.61), start=1)
}


def test_the_epochs_tied_with_the_best_are_found(store: Store, project: Project) -> None:
    run = measured_run(store, project, items(30), EPOCHS)

    found = intervals.tied_epochs(store, run)

    assert found is not None
    assert (found.best, found.others) == (6, (3, 5, 7))
    assert found == tied({number: count(matrices) for number, matrices in EPOCHS.items()})


def test_reading_in_parts_changes_no_tie(
    store: Store, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measured_run(store, project, items(30), EPOCHS)
    whole = intervals.tied_epochs(store, run)

    monkeypatch.setattr(intervals, "MATRICES_AT_ONCE", 60)

    assert intervals.tied_epochs(store, run) == whole


def test_where_there_are_too_many_figures_the_epochs_nearest_to_the_best_are_compared(
    store: Store, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measured_run(store, project, items(30), EPOCHS)
    ranked = sorted(EPOCHS, key=lambda number: -score(EPOCHS[number].sum(axis=0)).miou_foreground)

    monkeypatch.setattr(intervals, "MAX_MATRICES", 3 * 30)
    found = intervals.tied_epochs(store, run)

    assert found is not None
    assert (found.best, found.others) == (ranked[0], tuple(sorted(ranked[1:3])))


def test_an_epoch_measured_on_some_of_the_photos_only_is_left_out(store: Store, project: Project) -> None:
    run = measured_run(store, project, items(30), EPOCHS)
    some = versions.get(store, run.data_version_id).split("valid")[:10]
    runs.set_records(store, run.id, 6, "valid", records_of(run, 6, some, EPOCHS[6][:10]))

    found = intervals.tied_epochs(store, run)

    assert found is not None
    assert 6 not in (found.best, *found.others)


def test_a_run_without_an_epoch_or_with_one_photo_has_no_ties(store: Store, project: Project) -> None:
    fresh = measured_run(store, project, items(3), {})
    single = measured_run(store, project, items(1), {1: found_share([0.5], classes=3)})

    assert intervals.tied_epochs(store, fresh) is None
    assert intervals.tied_epochs(store, single) is None
    assert intervals.of_checkpoint(store, single, 1).of.miou_foreground is None


def test_two_checkpoints_are_compared_on_the_photos_that_both_measured(
    store: Store, project: Project
) -> None:
    groups = [f"car {n // 2}" for n in range(30)]
    a, b = EPOCHS[5], EPOCHS[2][:20]
    run_a = measured_run(store, project, items(30, groups), {1: a})
    run_b = measured_run(store, project, items(20, groups), {1: EPOCHS[1][:20], 2: b})

    found = intervals.compare(store, (run_a, 1), (run_b, 2))

    assert found == compare_counts(count(a[:20]), count(b), groups[:20])
    assert (found.images, found.groups) == (20, 10)
    ahead = found.of.miou_foreground
    assert ahead is not None and ahead.low > 0.1 and ahead.share_not_better == 0


def test_photos_labelled_anew_between_two_runs_do_not_count(store: Store, project: Project) -> None:
    changed = [*items(6)[:4], *items(6, rev=2)[4:]]  # one to train on, three as they were, three anew
    run_a = measured_run(store, project, items(6), {1: found_share([0.5] * 6, classes=3)})
    run_b = measured_run(store, project, changed, {1: found_share([0.4] * 6, classes=3)})

    assert intervals.compare(store, (run_a, 1), (run_b, 1)).images == 3

    run_c = measured_run(store, project, items(6, rev=3), {1: found_share([0.4] * 6, classes=3)})
    with pytest.raises(NotFound, match="measured on no photo with the same labels"):
        intervals.compare(store, (run_a, 1), (run_c, 1))


def test_classes_in_another_order_are_the_same_classes(store: Store, project: Project) -> None:
    dent, scratch = project.categories
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 1000, (2, 12, 3, 3))
    turned = b[:, [0, 2, 1]][:, :, [0, 2, 1]]
    run_a = measured_run(store, project, items(12), {1: a})
    run_b = measured_run(store, project, items(12), {1: turned}, (scratch, dent))

    found = intervals.compare(store, (run_a, 1), (run_b, 1))

    assert found == compare_counts(count(a), count(b))


def test_runs_with_different_classes_are_not_compared(store: Store, project: Project) -> None:
    run_a = measured_run(store, project, items(4), {1: found_share([0.5] * 4, classes=3)})
    only = project.categories[:1]
    run_b = measured_run(store, project, items(4), {1: found_share([0.5] * 4, classes=2)}, only)

    with pytest.raises(AppError, match="know different classes"):
        intervals.compare(store, (run_a, 1), (run_b, 1))
