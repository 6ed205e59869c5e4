"""Bins of confidence: by hand, and as numpy's own histograms have them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.analysis import BINS, Reliability
from core.imaging.calibration import count_reliability


def test_two_bins_by_hand() -> None:
    confidence = np.array([[255, 255, 255, 255, 102, 102, 0]], np.uint8)
    is_right = np.array([[True, True, True, False, True, False, False]])

    found = count_reliability(confidence, is_right, np.ones((1, 7), bool))

    assert found.bins == [(0.0, 0.0, 1), (0.4, 0.5, 2), (1.0, 0.75, 4)]
    assert found.expected_error == pytest.approx((0 + 2 * 0.1 + 4 * 0.25) / 7)
    assert found.overconfidence == pytest.approx((4 + 0.8 - 4) / 7)


def test_what_is_not_counted_is_left_out() -> None:
    confidence, is_right = np.full((2, 2), 204, np.uint8), np.array([[True, False], [True, True]])

    found = count_reliability(confidence, is_right, np.array([[True, True], [False, False]]))

    assert found.bins == [(0.8, 0.5, 2)]
    nothing = count_reliability(confidence, is_right, np.zeros((2, 2), bool))
    assert nothing == Reliability()
    assert (nothing.bins, nothing.expected_error, nothing.overconfidence) == ([], None, None)


def test_a_bin_ends_with_its_upper_end() -> None:
    confidence = np.array([[0, 1, 17, 18, 34, 238, 239, 255]], np.uint8)

    found = count_reliability(confidence, np.ones((1, 8), bool), np.ones((1, 8), bool))

    assert found.pixels == (3, 2, *[0] * 11, 1, 2)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_error_equals_a_plain_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.integers(0, 256, (20, 30), np.uint8)
    is_right, is_counted = rng.random((2, 20, 30)) < rng.random((2, 1, 1))

    found = count_reliability(confidence, is_right, is_counted)

    probabilities, right = confidence[is_counted] / 255, is_right[is_counted]
    # 15ths are exact multiples of 17 / 255, so the ends must be compared as whole numbers.
    numbers = np.clip(np.ceil(confidence[is_counted].astype(int) * BINS / 255).astype(int) - 1, 0, None)
    error = sum(
        abs(probabilities[numbers == i].mean() - right[numbers == i].mean()) * (numbers == i).mean()
        for i in np.unique(numbers)
    )
    if is_counted.any():
        assert found.expected_error == pytest.approx(error, abs=1e-12)
        assert found.overconfidence == pytest.approx(probabilities.mean() - right.mean(), abs=1e-12)
    assert sum(found.pixels) == is_counted.sum()
