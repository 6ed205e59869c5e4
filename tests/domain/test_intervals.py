"""Bootstrap intervals, against hand-computed cases, a plain loop and simulations."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from core.domain.intervals import (
    Counts,
    Difference,
    Figures,
    Interval,
    Resampling,
    bootstrap,
    compare,
    count,
    tied,
)
from core.domain.scores import Scores, score

T = TypeVar("T")
Matrices = NDArray[np.int64]


def drawn_matrices(images: int, classes: int, seed: int, empty_share: float = 0.4) -> Matrices:
    """Draw matrices of photos most of which show a few classes only; some counts are as large as photos."""
    rng = np.random.default_rng(seed)
    matrices = rng.integers(0, 3_000_000, (images, classes, classes))
    is_shown = rng.random((images, classes)) > empty_share
    matrices *= (is_shown[:, :, None] & is_shown[:, None, :]) | np.eye(classes, dtype=bool)[0][None, :, None]
    matrices[:, 0, 0] += 1_000_000
    return matrices.astype(np.int64)


def binary(found: int, missed: int = 0, invented: int = 0) -> Matrices:
    """Make the matrix of a photo of 1000 pixels with one class."""
    return np.array([[1000 - found - missed - invented, invented], [missed, found]], np.int64)


def all_figures(of: Scores) -> list[float]:
    return [of.miou_foreground, of.dice_foreground, of.any_iou, of.any_dice, *of.iou, *of.dice]


def all_of(of: Figures[T]) -> list[T]:
    return [of.miou_foreground, of.dice_foreground, of.any_iou, of.any_dice, *of.iou, *of.dice]


def drawn_in_a_loop(matrices: Matrices, groups: Sequence[str | None], how: Resampling) -> NDArray[np.float64]:
    """Compute every score of every draw one image after the other, by the rule that bootstrap states."""
    keys = [key if key is not None else number for number, key in enumerate(groups)]
    members = [[i for i, other in enumerate(keys) if other == key] for key in dict.fromkeys(keys)]
    picks = np.random.default_rng(how.seed).integers(0, len(members), (how.draws, len(members)))
    rows: list[list[float]] = []
    for draw in picks:
        total = np.zeros(matrices.shape[1:], np.int64)
        for group in draw:
            for image in members[group]:
                total += matrices[image]
        rows.append(all_figures(score(total)))
    return np.array(rows)


GROUPS = ("b", None, "a", "b", None, "c", "a", "c", None, "d", "d", "b", None, None)


def test_the_value_is_the_score_of_all_images() -> None:
    for seed in range(20):
        matrices = drawn_matrices(5, 6, seed, empty_share=0.7)

        found = all_of(bootstrap(count(matrices)).of)

        expected = all_figures(score(matrices.sum(axis=0)))
        for interval, value in zip(found, expected, strict=True):
            assert interval is None or interval.value == pytest.approx(value, rel=1e-14)
            assert not (math.isnan(value) and interval is not None)


@pytest.mark.parametrize("groups", [None, GROUPS])
def test_the_ends_are_those_of_a_plain_loop_over_the_same_draws(
    groups: tuple[str | None, ...] | None,
) -> None:
    matrices = drawn_matrices(len(GROUPS), 5, seed=3)
    how = Resampling(level=0.9, draws=200, seed=8)

    found = bootstrap(count(matrices), groups, how)

    drawn = drawn_in_a_loop(matrices, groups or [None] * len(GROUPS), how)
    expected = np.nanquantile(drawn, (0.05, 0.95), axis=0).T
    ends = [(interval.low, interval.high) for interval in all_of(found.of) if interval is not None]
    np.testing.assert_allclose(ends, expected, rtol=1e-12)
    assert (found.images, found.groups) == (14, 14 if groups is None else 9)


def test_a_difference_is_drawn_in_pairs_as_a_plain_loop_does() -> None:
    a, b = drawn_matrices(len(GROUPS), 4, seed=1), drawn_matrices(len(GROUPS), 4, seed=2)
    how = Resampling(draws=150, seed=5)

    found = compare(count(a), count(b), GROUPS, how)

    ahead = drawn_in_a_loop(a, GROUPS, how) - drawn_in_a_loop(b, GROUPS, how)
    points = np.subtract(all_figures(score(a.sum(axis=0))), all_figures(score(b.sum(axis=0))))
    low, high = np.quantile(ahead, (0.025, 0.975), axis=0)
    expected = np.stack([points, low, high, (ahead <= 0).mean(axis=0)], axis=1)
    values = [
        (one.value, one.low, one.high, one.share_not_better) for one in all_of(found.of) if one is not None
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12)


def test_two_photos_by_hand() -> None:
    # Both found, or one of them twice: IoU (100 + 20) / 200 in half of the draws, 1 or 0.2 in a quarter each.
    matrices = np.stack([binary(found=100), binary(found=20, missed=80)])

    found = bootstrap(count(matrices), how=Resampling(level=0.4, draws=2000)).of.iou[1]
    wide = bootstrap(count(matrices), how=Resampling(level=0.8, draws=2000)).of.iou[1]

    assert found == Interval(0.6, 0.6, 0.6)
    assert wide == Interval(0.6, 0.2, 1.0)


def test_the_share_of_draws_in_which_one_is_not_better_by_hand() -> None:
    # A is better on the first photo and worse on the second: it is ahead when the first is drawn twice
    # (1/4), level when each is drawn once (1/2), and behind when the second is drawn twice (1/4).
    good, bad = binary(found=100), binary(found=50, missed=50)
    a, b = count(np.stack([good, bad])), count(np.stack([bad, good]))

    found = compare(a, b, how=Resampling(draws=4000)).of.miou_foreground

    assert found is not None
    assert (found.value, found.low, found.high, found.is_tied) == (0, -0.5, 0.5, True)
    assert found.share_not_better == pytest.approx(3 / 4, abs=0.03)


def test_a_difference_that_is_the_same_everywhere_is_certain_though_the_scores_vary() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(10, 90, 40)
    a = count(np.stack([binary(found=size, missed=100 - size) for size in sizes]))
    b = count(np.stack([binary(found=size - 5, missed=105 - size) for size in sizes]))

    alone = bootstrap(a).of.any_iou
    found = compare(a, b).of.any_iou

    assert alone is not None and alone.high - alone.low > 0.05
    assert found is not None and not found.is_tied
    assert (found.low, found.high) == pytest.approx((0.05, 0.05))
    assert found.share_not_better == 0


def test_a_class_absent_from_a_draw_is_left_out_of_its_mean_and_not_counted_as_zero() -> None:
    one, other = np.zeros((2, 3, 3), np.int64)
    one[1, 1] = other[2, 2] = 10  # each class is on two of the photos only, and always found
    matrices = np.stack([one, one, other, other])

    found = bootstrap(count(matrices)).of

    assert found.miou_foreground == Interval(1, 1, 1)
    assert found.iou[1] == found.iou[2] == Interval(1, 1, 1)


def with_rare_classes(rare: int, on: int = 1) -> Matrices:
    """Make 30 photos: a class that 20 of them show is found well, rare ones on photos of their own never."""
    matrices = np.zeros((30, 2 + rare, 2 + rare), np.int64)
    matrices[:, 0, 0] = 9000
    matrices[:20, 1, 1], matrices[:20, 1, 0] = 900, 100
    for channel in range(2, 2 + rare):
        first = on * (channel - 2)
        matrices[first : first + on, channel, 0] = 50
    return matrices


@pytest.mark.parametrize("rare", [2, 8])
def test_an_interval_holds_its_score_though_draws_are_without_the_rare_classes(rare: int) -> None:
    matrices = with_rare_classes(rare)
    how = Resampling()

    found = bootstrap(count(matrices), how=how).of.miou_foreground

    assert found is not None and found.value == pytest.approx(0.9 / (1 + rare))
    assert found.low <= found.value <= found.high
    drawn = drawn_in_a_loop(matrices, [None] * 30, how)[:, 0]
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert found.high == pytest.approx(max(high, found.value))
    assert found.low == pytest.approx(min(low, found.value)), "no wider than need be"


def test_a_difference_lies_in_its_interval() -> None:
    # A alone finds the eight rare classes, which fall out of many draws.
    missed = with_rare_classes(8)
    hit = missed.copy()
    for channel in range(2, 10):
        hit[:, channel, channel], hit[:, channel, 0] = missed[:, channel, 0], 0

    found = compare(count(hit), count(missed)).of.miou_foreground

    assert found is not None and found.value == pytest.approx(8 / 9)
    assert 0 < found.low < found.value <= found.high


def test_the_rarest_class_is_the_one_that_the_fewest_groups_show() -> None:
    matrices = with_rare_classes(2, on=3)

    assert bootstrap(count(matrices)).rarest == 3
    assert bootstrap(count(matrices), [f"car {n // 15}" for n in range(30)]).rarest == 1
    matrices[20:27, 0, 3] = 5  # called so, where nothing is
    matrices[:, 2] = 0  # a class that nothing shows is none of them
    assert bootstrap(count(matrices)).rarest == 10
    matrices[:, :, 1:] = matrices[:, 1:] = 0
    assert bootstrap(count(matrices)).rarest == 0, "no damage at all"


def test_what_one_photo_alone_shows_has_no_interval() -> None:
    matrices = np.zeros((20, 4, 4), np.int64)
    matrices[:, 1, 1], matrices[:, 1, 0] = 10, np.arange(20)
    matrices[7, 2, 2] = 5

    found = bootstrap(count(matrices)).of

    assert found.iou[2] is None and found.dice[2] is None, "seen on one photo"
    assert found.iou[3] is None, "never seen"
    assert found.iou[1] is not None and found.miou_foreground is not None


def test_a_difference_counts_the_photos_on_which_either_shows_the_class() -> None:
    truth, false_alarm, quiet = binary(found=50), binary(found=0, invented=50), binary(found=0)
    a, b = count(np.stack([truth, false_alarm, quiet])), count(np.stack([truth, quiet, quiet]))

    assert bootstrap(b).of.iou[1] is None
    found = compare(b, a).of.iou[1]
    assert found is not None
    assert (found.value, found.low) == (0.5, 0)
    assert found.high == pytest.approx(2 / 3), "the first photo once, the second twice"


def test_copies_of_a_photo_in_one_group_tell_no_more_than_the_photo() -> None:
    matrices = drawn_matrices(12, 3, seed=4)
    copies = np.repeat(matrices, 6, axis=0)
    keys = [f"car {image // 6}" for image in range(72)]

    single, grouped = bootstrap(count(matrices)), bootstrap(count(copies), keys)
    alone = bootstrap(count(copies))

    for one, together, apart in zip(*map(all_of, (single.of, grouped.of, alone.of)), strict=True):
        assert one is not None and together is not None and apart is not None
        assert (together.value, together.low, together.high) == pytest.approx((one.value, one.low, one.high))
        assert together.high - together.low > 1.7 * (apart.high - apart.low)  # about the root of 6
    assert (grouped.images, grouped.groups) == (72, 12)


def test_images_without_a_key_are_groups_of_their_own() -> None:
    counts = count(drawn_matrices(9, 3, seed=6))

    assert bootstrap(counts, [None] * 9) == bootstrap(counts)
    assert bootstrap(counts, ["", *[None] * 7, ""]).groups == 8, "an empty key is a key"


@pytest.mark.parametrize("images", [0, 1])
def test_fewer_than_two_images_have_no_interval(images: int) -> None:
    counts = count(drawn_matrices(images, 3, seed=0))

    assert set(all_of(bootstrap(counts).of)) == {None}
    assert set(all_of(compare(counts, counts).of)) == {None}
    assert tied({1: counts, 2: counts}) is None


def test_one_group_alone_has_no_interval() -> None:
    counts = count(drawn_matrices(8, 3, seed=0))

    found = bootstrap(counts, ["claim 7"] * 8)

    assert (found.images, found.groups) == (8, 1)
    assert set(all_of(found.of)) == {None}
    assert tied({1: counts, 2: counts}, ["claim 7"] * 8) is None


@pytest.mark.parametrize("cells", [1, 100, 1 << 20])
def test_the_size_of_the_blocks_changes_no_figure(cells: int) -> None:
    a, b = count(drawn_matrices(30, 4, seed=1)), count(drawn_matrices(30, 4, seed=2))
    how = Resampling(draws=60, seed=3, cells=cells)

    assert bootstrap(a, how=how) == bootstrap(a, how=Resampling(draws=60, seed=3))
    assert compare(a, b, how=how) == compare(a, b, how=Resampling(draws=60, seed=3))


def test_the_same_seed_gives_the_same_interval_and_another_seed_a_similar_one() -> None:
    counts = count(drawn_matrices(50, 3, seed=1))

    first, second, other = (bootstrap(counts, how=Resampling(seed=s)).of.miou_foreground for s in (1, 1, 2))

    assert first is not None and other is not None
    assert first == second != other
    assert (other.low, other.high) == pytest.approx((first.low, first.high), rel=0.1)


def test_95_of_100_intervals_hold_the_true_value() -> None:
    population = drawn_matrices(3000, 4, seed=11)
    truth = score(population.sum(axis=0))
    rng = np.random.default_rng(12)
    how = Resampling(draws=300)

    hits = np.zeros(2)
    for _ in range(200):
        sample = population[rng.integers(0, len(population), 80)]
        of = bootstrap(count(sample), how=how).of
        for place, (interval, value) in enumerate(
            [(of.miou_foreground, truth.miou_foreground), (of.any_dice, truth.any_dice)]
        ):
            assert interval is not None
            hits[place] += interval.low <= value <= interval.high

    assert ((hits > 0.88 * 200) & (hits < 0.99 * 200)).all(), hits


def shifted(base: Matrices, gain: int, noise: int, seed: int) -> Counts:
    """Make an epoch that finds so many more pixels of a photo on average: of half of them more, or fewer."""
    signs = np.random.default_rng(seed).permutation([-1, 1] * (len(base) // 2))
    found = base[:, 1, 1] + gain + noise * signs
    return count(np.stack([binary(found=int(pixels), missed=400 - int(pixels)) for pixels in found]))


def test_epochs_within_the_noise_are_tied_with_the_best_and_clearly_worse_ones_are_not() -> None:
    base = np.stack([binary(found=int(f)) for f in np.random.default_rng(1).integers(100, 300, 60)])
    epochs = {
        1: shifted(base, -60, 30, 1),
        2: shifted(base, -30, 30, 2),
        3: shifted(base, 10, 30, 3),
        4: shifted(base, 11, 30, 4),
        5: shifted(base, 10, 30, 5),
        6: shifted(base, -20, 30, 6),
    }

    found = tied(epochs)

    assert found is not None
    top = {epoch: all_of(bootstrap(counts).of)[0] for epoch, counts in epochs.items()}
    assert found.best == max(top, key=lambda epoch: getattr(top[epoch], "value", 0))
    expected = [e for e in epochs if e != found.best and is_tied(compare(epochs[found.best], epochs[e]).of)]
    assert list(found.others) == expected
    assert {found.best, *found.others} == {3, 4, 5}


def is_tied(of: Figures[Difference | None]) -> bool:
    return of.miou_foreground is not None and of.miou_foreground.is_tied


def test_of_equal_epochs_the_earliest_is_the_best_and_the_others_are_tied() -> None:
    counts = count(drawn_matrices(10, 3, seed=1))

    found = tied({9: counts, 4: counts, 7: counts})

    assert found is not None
    assert (found.best, found.others) == (4, (7, 9))


def test_an_epoch_without_a_figure_is_neither_best_nor_tied() -> None:
    nothing = np.zeros((6, 2, 2), np.int64)
    nothing[:, 0, 0] = 1000
    seen = np.stack([binary(found=10, missed=n) for n in range(6)])

    found = tied({1: count(nothing), 2: count(seen)})

    assert found is not None and (found.best, found.others) == (2, ())
    assert tied({1: count(nothing)}) is None
    assert tied({}) is None


def test_ties_keep_groups_together() -> None:
    # The second epoch is worse on one car alone, of which there are many photos.
    good = [binary(found=90, missed=10)] * 40
    a, b = count(np.stack(good)), count(np.stack([*good[:30], *[binary(found=60, missed=40)] * 10]))
    keys = [f"car {image}" if image < 30 else "the one" for image in range(40)]

    apart, together = tied({1: a, 2: b}), tied({1: a, 2: b}, keys)

    assert apart is not None and apart.others == ()
    assert together is not None and together.others == (2,)


@pytest.mark.parametrize(
    "matrices",
    [np.zeros((2, 2)), np.zeros((4, 2, 3)), np.zeros((4, 0, 0)), np.array([[[1, -1], [0, 1]]])],
)
def test_what_are_no_confusion_matrices_is_refused(matrices: np.ndarray) -> None:
    with pytest.raises(ValueError, match="confusion matri"):
        count(matrices)


def test_what_does_not_belong_together_is_refused() -> None:
    three, four = count(drawn_matrices(3, 3, 0)), count(drawn_matrices(4, 3, 0))

    with pytest.raises(ValueError, match="2 group keys for 3 images"):
        bootstrap(three, ["a", "b"])
    with pytest.raises(ValueError, match="same images and classes"):
        compare(three, four)
    with pytest.raises(ValueError, match="same images and classes"):
        tied({1: three, 2: count(drawn_matrices(3, 4, 0))})
    for wrong in ({"level": 1.0}, {"level": 0.0}, {"draws": 0}, {"cells": 0}):
        with pytest.raises(ValueError, match="resampling"):
            Resampling(**wrong)
