"""Class weights: each way on numbers small enough to check by eye, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.domain.errors import FormatError
from core.training.class_weights import WEIGHTINGS, check_class_weights, class_weights, count_class_pixels

NAMES = ("background", "dent", "scratch")
# Three images of 100 counted pixels but for the last, 20 of whose are ignored.
PIXELS = np.array([[90, 10, 0], [80, 20, 0], [70, 0, 10]])


def test_none_weighs_all_alike() -> None:
    assert class_weights("none", PIXELS, NAMES).tolist() == [1, 1, 1]


def test_inverse_is_one_over_the_pixels() -> None:
    weights = class_weights("inverse", PIXELS, NAMES)

    inverse = np.array([1 / 240, 1 / 30, 1 / 10])
    assert weights == pytest.approx(inverse / inverse.mean())


def test_median_balances_by_frequency_in_the_images_that_show_a_class() -> None:
    weights = class_weights("median", PIXELS, NAMES)

    frequencies = np.array([240 / 280, 30 / 200, 10 / 80])
    expected = 0.15 / frequencies  # 0.15 is the middle one
    assert weights == pytest.approx(expected / expected.mean())


def test_effective_counts_images() -> None:
    weights = class_weights("effective", PIXELS, NAMES)

    expected = np.array([1 / (1 + 0.9999 + 0.9999**2), 1 / (1 + 0.9999), 1])
    assert weights == pytest.approx(expected / expected.mean())


def test_by_hand_is_by_name_or_by_place() -> None:
    by_name = class_weights("scratch = 1.5, dent=2", PIXELS, NAMES)

    assert by_name == pytest.approx(np.array([1, 2, 1.5]) / 1.5)
    assert by_name.tolist() == class_weights("1, 2,1.5", PIXELS, NAMES).tolist()
    one = class_weights("a=b=3", PIXELS, ("background", "a=b", "c"))
    assert one == pytest.approx(np.array([1, 3, 1]) / (5 / 3)), "a name may hold what separates it"


@pytest.mark.parametrize("setting", WEIGHTINGS)
def test_a_class_without_pixels_has_the_largest_weight(setting: str) -> None:
    with_another = np.insert(PIXELS, 1, 0, axis=1)

    weights = class_weights(setting, with_another, ("background", "lamp", "dent", "scratch"))

    of_the_others = class_weights(setting, PIXELS, NAMES)
    assert np.delete(weights, 1) == pytest.approx(of_the_others), "and changes no other"
    assert weights[1] == weights.max()


@pytest.mark.parametrize("setting", [*WEIGHTINGS, "1,2,1.5"])
@given(
    pixels=arrays(np.int64, st.tuples(st.integers(0, 5), st.just(3)), elements=st.integers(0, 10**12)),
    background_weight=st.sampled_from([0.1, 1.0, 1000.0]),
)
@settings(max_examples=40, deadline=None)
def test_weights_are_finite_with_a_mean_of_1(
    setting: str, pixels: np.ndarray, background_weight: float
) -> None:
    weights = class_weights(setting, pixels, NAMES, background_weight)

    assert weights.dtype == np.float32 and weights.shape == (3,)
    assert np.isfinite(weights).all() and (weights > 0).all()
    occurs = pixels.sum(axis=0) > 0 if pixels.any() else np.full(3, True)
    before = weights.astype(float) / [background_weight, 1, 1]
    assert before[occurs].mean() == pytest.approx(1, rel=1e-5)


def test_background_is_weighed_on_top() -> None:
    weights, halved = (class_weights("inverse", PIXELS, NAMES, factor) for factor in (1.0, 0.5))

    assert halved == pytest.approx(weights * [0.5, 1, 1])
    assert class_weights("inverse", PIXELS, NAMES, 0)[0] == 0


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("1,2", "needs 3 numbers, one for each of background, dent, scratch; “1,2” has 2"),
        ("1,2,3,4", "has 4"),
        ("lamp=2", "names no class with “lamp=2”. There are: background, dent, scratch"),
        ("dent=2,3", "names no class with “3”"),
        ("dent=2,dent=3", "“dent” twice"),
        ("inverze", "one of none, inverse, median, effective, or numbers"),
        ("", "one of none, inverse"),
        ("1,-2,3", "one of none, inverse"),
        ("1,nan,3", "one of none, inverse"),
        ("1,1e999,3", "one of none, inverse"),
        ("dent=", "not “dent=”"),
        ("dent=two", "not “dent=two”"),
        ("0,0,0", "Nothing is left to learn"),
    ],
)
def test_what_cannot_be_used_is_refused_before_there_are_pixels(setting: str, sentence: str) -> None:
    with pytest.raises(FormatError) as refusal:
        check_class_weights(setting, NAMES)

    assert sentence in str(refusal.value)


def test_weights_that_leave_nothing_to_learn_are_refused() -> None:
    only_background = PIXELS * [1, 0, 0]

    check_class_weights("1,0,0", NAMES)
    with pytest.raises(FormatError, match="Nothing is left"):
        check_class_weights("1,0,0", NAMES, background_weight=0)
    with pytest.raises(FormatError, match="Nothing is left"):
        class_weights("none", only_background, NAMES, 0)
    with pytest.raises(FormatError, match="Nothing is left"):
        class_weights("background=0", only_background, NAMES)


def test_what_can_be_used_passes() -> None:
    for setting in (*WEIGHTINGS, "dent=2", "1,2,1.5", "0,1,1", " median "):
        check_class_weights(setting, NAMES)


def test_pixels_of_other_classes_than_the_names_are_our_own_mistake() -> None:
    with pytest.raises(ValueError, match=r"\(images, 2\)"):
        class_weights("none", PIXELS, NAMES[:2])
    with pytest.raises(ValueError, match=r"\(images, 3\)"):
        class_weights("none", PIXELS.sum(axis=0), NAMES)


def test_pixels_are_counted_without_the_ignored() -> None:
    labels = np.array([[[0, 0], [1, 255]], [[2, 2], [2, 2]]], np.uint8)

    assert count_class_pixels(labels, 3).tolist() == [[2, 1, 0], [0, 0, 4]]
    assert count_class_pixels([], 3).shape == (0, 3)


def test_the_web_process_may_check_without_torch() -> None:
    code = (
        "import sys; from core.training.class_weights import check_class_weights; "
        "from core.training.losses import parse_loss; parse_loss('ssim+0.5*ce'); "
        "check_class_weights('median', ['background', 'dent']); sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
