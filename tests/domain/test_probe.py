"""The photos that get pictures: the same ones for the same photos, and each class among them."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.probe import LEAST, probe_set
from core.domain.splitting import Candidate


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


CLASSES = st.lists(st.integers(1, 5), max_size=3, unique=True).map(tuple)
IMAGES = st.lists(CLASSES, max_size=60).map(
    lambda rows: [Candidate(key_of(number), classes) for number, classes in enumerate(rows)]
)
NUMBERS = st.integers(0, 70)


@given(IMAGES, NUMBERS)
def test_as_many_as_there_is_room_for_and_the_order_plays_no_part(images: list[Candidate], most: int) -> None:
    chosen = probe_set(images, most)

    assert len(chosen) == min(most, len(images))
    assert chosen <= {image.key for image in images}
    assert probe_set(list(reversed(images)), most) == chosen


@given(IMAGES, NUMBERS, NUMBERS)
def test_a_smaller_choice_is_a_part_of_a_larger_one(images: list[Candidate], one: int, other: int) -> None:
    assert probe_set(images, min(one, other)) <= probe_set(images, max(one, other))


@given(IMAGES)
def test_each_class_and_no_damage_are_shown_where_there_is_room_for_one_of_each(
    images: list[Candidate],
) -> None:
    there = {class_ for image in images for class_ in image.classes or (0,)}

    chosen = probe_set(images, len(there))

    shown = {class_ for image in images if image.key in chosen for class_ in image.classes or (0,)}
    assert shown == there


def test_a_rare_class_is_shown_by_more_than_its_share() -> None:
    rare, usual = (1,), (2,)
    images = [Candidate(key_of(number), rare if number < 20 else usual) for number in range(5000)]

    chosen = probe_set(images, 100)

    assert sum(image.key in chosen and image.classes == rare for image in images) >= LEAST
    assert sum(image.key in chosen and image.classes == usual for image in images) >= 100 - 20


def test_the_rarest_classes_come_first_where_there_is_no_room_for_all() -> None:
    images = [Candidate(key_of(number), (min(number, 3),)) for number in range(1, 50)]

    assert probe_set(images, 2) == {key_of(1), key_of(2)}


@pytest.mark.parametrize("added", [1, 50])
def test_added_images_leave_most_of_the_choice_as_it_was(added: int) -> None:
    images = [Candidate(key_of(number), (number % 3,)) for number in range(1000 + added)]

    before, after = probe_set(images[:1000], 200), probe_set(images, 200)

    assert len(before & after) >= 200 - 2 * added * 200 // 1000 - 1
