"""The order of what to label next: cases by hand, and against the rule written down naively."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.domain.active_learning import Pool, normalised, order

NONE = np.zeros((0, 1), np.float32)


def pool_of(**photos: tuple[float, float]) -> Pool:
    """Make a pool of photos on a line: name=(uncertainty, place)."""
    uncertainties = np.array([u for u, _ in photos.values()])
    places = np.array([[x] for _, x in photos.values()], np.float32).reshape(len(photos), 1)
    return Pool(tuple(photos), uncertainties, places)


def ids(pool: Pool, labelled: NDArray[np.float32] = NONE, **how: Any) -> list[str]:
    return [pick.id for pick in order(pool, labelled, **how)]


def test_the_most_doubted_comes_first_and_its_near_copy_last() -> None:
    pool = pool_of(hard=(0.9, 0.0), copy=(0.89, 0.01), other=(0.4, 5.0), easy=(0.2, 9.0))

    # After "hard": sqrt(.89 * .01) = .094, sqrt(.4 * 5) = 1.414, sqrt(.2 * 9) = 1.342.
    # After "other": easy sqrt(.2 * 4) = .894, copy .094.
    assert ids(pool) == ["hard", "other", "easy", "copy"]


def test_what_is_labelled_already_counts_as_picked() -> None:
    pool = pool_of(near=(0.9, 0.1), far=(0.5, 2.0))

    assert ids(pool) == ["near", "far"]
    assert ids(pool, np.array([[0.0]], np.float32)) == ["far", "near"]  # sqrt(1.0) against sqrt(.09)


def test_the_mix_goes_from_uncertainty_alone_to_farthest_first() -> None:
    pool = pool_of(a=(0.9, 0.0), b=(0.8, 1.0), c=(0.1, 10.0), d=(0.5, 4.0))

    assert ids(pool, diversity=0.0) == ["a", "b", "d", "c"]
    assert ids(pool, diversity=1.0) == ["a", "c", "d", "b"]  # Gonzalez: 0, then 10, then 4 from 0, then 1


def test_equal_photos_come_by_uncertainty_then_by_id_however_the_pool_is_sorted() -> None:
    pool = pool_of(c=(0.5, 1.0), a=(0.5, 1.0), b=(0.7, 1.0))
    reversed_pool = pool_of(b=(0.7, 1.0), a=(0.5, 1.0), c=(0.5, 1.0))

    assert ids(pool) == ids(reversed_pool) == ["b", "a", "c"]


def test_a_pick_tells_how_doubtful_and_how_unlike_the_others_it_is() -> None:
    pool = pool_of(first=(0.6, 0.0), copy=(0.5, 0.1), far=(0.5, 8.0))

    first, second, third = order(pool, np.array([[0.0]], np.float32))

    assert (first.id, first.uncertainty, first.distance, first.is_unlike) == ("far", 0.5, 8.0, True)
    assert (second.id, second.distance) == ("copy", pytest.approx(0.1))
    assert (third.id, third.distance, third.is_unlike) == ("first", 0.0, False)


def test_after_the_picked_ones_the_rest_follows_by_uncertainty() -> None:
    pool = pool_of(a=(0.9, 0.0), b=(0.8, 0.1), c=(0.3, 9.0), d=(0.7, 0.2))

    found = order(pool, NONE, picked=2)

    assert [(pick.id, pick.is_ranked_only) for pick in found] == [
        ("a", False),
        ("c", False),
        ("b", True),
        ("d", True),
    ]


def test_an_empty_pool_has_an_empty_order_and_a_wrong_mix_is_refused() -> None:
    assert order(Pool((), np.zeros(0), np.zeros((0, 3), np.float32)), np.zeros((0, 3), np.float32)) == []
    with pytest.raises(ValueError, match=r"0\.\.1"):
        order(pool_of(a=(0.5, 0.0)), NONE, diversity=1.1)
    with pytest.raises(ValueError, match="2 ids"):
        Pool(("a", "b"), np.zeros(1), np.zeros((2, 3), np.float32))


def naively(
    photos: dict[str, tuple[float, tuple[float, float]]], labelled: list[tuple[float, float]], mix: float
) -> list[str]:
    """Follow the rule as the docstring says it, with nothing kept from step to step."""
    left, seen, found = dict(photos), list(labelled), []
    while left:
        scores = {
            name: doubt ** (1 - mix) * min((math.dist(place, other) for other in seen), default=1.0) ** mix
            for name, (doubt, place) in left.items()
        }
        equals = [name for name in left if scores[name] >= max(scores.values()) * (1 - 1e-9)]
        best = min(equals, key=lambda name: (-left[name][0], name))
        found.append(best)
        seen.append(left.pop(best)[1])
    return found


whole = st.integers(0, 30).map(float)
points = st.tuples(whole, whole)


@given(
    st.lists(st.tuples(st.integers(1, 20), points), max_size=9),
    st.lists(points, max_size=3),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_order_is_what_the_rule_says(
    drawn: list[tuple[int, tuple[float, float]]], labelled: list[tuple[float, float]], mix: float
) -> None:
    photos = {f"p{i}": (doubt / 20, place) for i, (doubt, place) in enumerate(drawn)}
    pool = Pool(
        tuple(photos),
        np.array([doubt for doubt, _ in photos.values()]),
        np.array([place for _, place in photos.values()], np.float32).reshape(len(photos), 2),
    )
    known = np.array(labelled, np.float32).reshape(len(labelled), 2)

    assert ids(pool, known, diversity=mix) == naively(photos, labelled, mix)


def test_every_kind_of_feature_weighs_the_same_and_a_constant_one_nothing() -> None:
    rng = np.random.default_rng(1)
    small, large = rng.normal(0, 0.01, (50, 3)), rng.normal(7, 100.0, (50, 8))
    blocks = {"small": small, "large": large, "constant": np.full((50, 4), 5.0)}

    joined = normalised({name: block.astype(np.float32) for name, block in blocks.items()})

    assert joined.shape == (50, 15)
    lengths = [float((part**2).sum(axis=1).mean()) for part in (joined[:, :3], joined[:, 3:11])]
    assert lengths == pytest.approx([1.0, 1.0], rel=1e-4)
    assert not joined[:, 11:].any()
