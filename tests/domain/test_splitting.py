"""Draws that keep classes in proportion and groups together."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import splitting
from core.domain.errors import NotEnoughLabels
from core.domain.splitting import (
    Candidate,
    class_warnings,
    count_near_duplicates,
    groups_astride,
    held_out,
    leak_warnings,
    stratified_share,
)
from core.domain.training import VersionItem

CLASSES = st.lists(st.integers(1, 5), max_size=3, unique=True).map(tuple)
GROUPS = st.one_of(st.none(), st.sampled_from(["car 1", "car 2", "car 3"]))
IMAGES = st.lists(st.tuples(CLASSES, GROUPS), min_size=2, max_size=40).map(
    lambda rows: [Candidate(f"{i:03d}", classes, group) for i, (classes, group) in enumerate(rows)]
)
SHARES = st.floats(0.01, 1)
SEEDS = st.integers(0, 50)


@given(IMAGES, SHARES, SHARES, SEEDS)
def test_a_smaller_share_is_a_part_of_a_larger_one(
    images: list[Candidate], one: float, other: float, seed: int
) -> None:
    small, large = (stratified_share(images, share, seed) for share in sorted((one, other)))

    assert small <= large
    assert len(large) == max(1, round(max(one, other) * len(images)))
    assert stratified_share(list(reversed(images)), one, seed) == stratified_share(images, one, seed)


@given(IMAGES, st.floats(0.01, 0.9), SEEDS)
def test_no_group_is_on_both_sides_and_both_sides_have_images(
    images: list[Candidate], share: float, seed: int
) -> None:
    if len({image.group or image.key for image in images}) == 1:
        with pytest.raises(NotEnoughLabels, match="one group"):
            held_out(images, share, seed, by_group=True)
        return

    drawn = held_out(images, share, seed, by_group=True)

    sides = {(image.group, image.key in drawn) for image in images if image.group}
    assert all(count == 1 for count in Counter(group for group, _ in sides).values())
    assert 0 < len(drawn) < len(images)


@given(IMAGES, st.floats(0.01, 0.9), SEEDS)
def test_without_groups_the_share_is_met_to_the_image(
    images: list[Candidate], share: float, seed: int
) -> None:
    drawn = held_out(images, share, seed, by_group=False)

    assert len(drawn) == min(max(1, round(share * len(images))), len(images) - 1)


def test_groups_of_a_few_images_meet_the_share() -> None:
    images = [Candidate(str(i), (1,), f"car {i // 4}") for i in range(80)]

    assert all(len(held_out(images, 0.2, seed, by_group=True)) == 16 for seed in range(10))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4, 0.75])
def test_every_class_gives_its_share(share: float) -> None:
    """Class 1 is on every image, 2 on 40, 3 on 20: the strata are 40, 40 and 20 images."""
    classes = [(1, 2)] * 40 + [(1, 3)] * 20 + [(1,)] * 40
    images = [Candidate(f"{i:03d}", shown) for i, shown in enumerate(classes)]

    for seed in range(20):
        for drawn in (stratified_share(images, share, seed), held_out(images, share, seed, by_group=True)):
            shown = Counter(c for image in images if image.key in drawn for c in image.classes)
            assert shown == pytest.approx({1: 100 * share, 2: 40 * share, 3: 20 * share}, abs=1)


def test_a_class_on_one_image_is_learnt_and_not_held_out() -> None:
    images = [Candidate(f"{i:02d}", (1,)) for i in range(20)] + [Candidate("only", (1, 2))]

    assert all("only" in stratified_share(images, 0.2, seed) for seed in range(20))
    assert not any("only" in held_out(images, 0.2, seed, by_group=False) for seed in range(20))


def test_another_seed_is_another_draw_and_at_most_is_kept() -> None:
    images = [Candidate(f"{i:02d}", (1,)) for i in range(30)]

    assert len({stratified_share(images, 0.5, seed) for seed in range(10)}) > 5
    assert len({held_out(images, 0.2, seed, by_group=False) for seed in range(10)}) > 5
    assert stratified_share(images, 0.5, 3, at_most=4) < stratified_share(images, 0.5, 3)
    assert len(stratified_share(images, 0.5, 3, at_most=4)) == 4
    assert len(stratified_share(images, 0.5, 3, at_most=400)) == 15


def test_groups_in_train_and_elsewhere_are_named() -> None:
    items = [
        VersionItem("1", "", 1, "train", "car 1"),
        VersionItem("2", "", 1, "test", "car 1"),
        VersionItem("3", "", 1, "valid", "car 2"),
        VersionItem("4", "", 1, "test", "car 2"),
        VersionItem("5", "", 1, "train"),
        VersionItem("6", "", 1, "valid"),
    ]

    assert groups_astride(items) == ("car 1",)


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=12))
def test_hashes_are_near_up_to_six_bits(number: int, flipped: set[int]) -> None:
    other = number
    for bit in flipped:
        other ^= 1 << bit

    assert count_near_duplicates([f"{number:016x}"], [f"{other:016x}"]) == (len(flipped) <= 6)


def test_near_duplicates_are_counted_once_each_over_many_blocks() -> None:
    numbers = np.random.default_rng(0).integers(0, 2**64, 3000, np.uint64)
    others = [f"{number:016x}" for number in numbers]
    near = [f"{int(number) ^ 0b111:016x}" for number in numbers[:700]] + ["a" * 16, near_none(numbers)]

    assert count_near_duplicates(near, others + others) == 700
    assert count_near_duplicates([], others) == count_near_duplicates(near, []) == 0


def near_none(numbers: np.ndarray) -> str:
    """Find a hash far from all of these."""
    candidates = np.random.default_rng(1).integers(0, 2**64, 50, np.uint64)
    distances = np.bitwise_count(candidates[:, None] ^ numbers).min(axis=1)
    return f"{int(candidates[distances.argmax()]):016x}"


def test_of_far_too_many_hashes_the_first_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "MAX_PAIRS", 6)

    assert count_near_duplicates(["0" * 16] * 5, ["0" * 16] * 2) == 3


def test_leaks_are_said_with_their_numbers() -> None:
    items = [
        VersionItem("a", "", 1, "train", "car 1"),
        VersionItem("b", "", 1, "valid", "car 1"),
        VersionItem("c", "", 1, "test"),
    ]

    groups, valid = leak_warnings(items, {"a": "f" * 16, "b": "f" * 15 + "0", "c": "0" * 16})

    assert "same group are in train and in valid or test: “car 1”." in groups
    assert "Photos in valid that look almost like one in train: 1 of 1." in valid
    assert leak_warnings(items[2:], {"c": "0" * 16}) == []


def test_classes_that_are_rare_or_missing_are_named() -> None:
    names = {1: "dent", 2: "rust", 3: "crack"}
    images_of = {"train": {1: 3, 2: 2}, "valid": {1: 1, 3: 1}, "test": {}}

    assert class_warnings(names, images_of) == [
        "No photo in train shows “crack”: the model cannot learn it.",
        "Few photos in train show “rust” (2): the model will hardly learn that.",
        "No photo in valid shows “rust”: how well it is found cannot be measured.",
    ]
