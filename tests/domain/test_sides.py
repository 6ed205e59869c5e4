"""Classes that trade places in a mirrored picture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.sides import mirrored_classes

WORDS = st.sampled_from(["left", "right", "L", "r", "front", "door", "_", "-", " "])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["left door", "right door", "hood"], (0, 2, 1, 3)),
        (["back_left_light", "hood", "Back-Right light"], (0, 3, 2, 1)),
        (["mirror_l", "mirror_r"], (0, 2, 1)),
        (["left"], (0, 1)),
        (["left door", "right window"], (0, 1, 2)),
        (["leftover", "rightover"], (0, 1, 2)),
        (["left door", "right door", "LEFT DOOR"], (0, 1, 2, 3)),
        (["copyright", "copyleft", "lever", "rever"], (0, 1, 2, 3, 4)),
        ([], (0,)),
    ],
)
def test_sides_are_words_of_the_name_and_both_must_be_there(
    names: list[str], expected: tuple[int, ...]
) -> None:
    assert mirrored_classes(names) == expected


@given(st.lists(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), max_size=8))
def test_mirrored_twice_every_class_is_itself(names: list[str]) -> None:
    mirrored = mirrored_classes(names)

    assert [mirrored[index] for index in mirrored] == list(range(len(names) + 1))
