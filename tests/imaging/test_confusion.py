"""Counting pixels by truth and prediction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from core.domain.errors import FormatError
from core.imaging.confusion import confusion_matrix, pack_confusion, unpack_confusion


def test_rows_are_truth_and_columns_prediction() -> None:
    truth = np.array([[0, 0, 1], [1, 2, 2]], np.uint8)
    prediction = np.array([[0, 1, 1], [0, 2, 1]], np.uint8)

    matrix = confusion_matrix(truth, prediction, 4)

    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 256))
def test_counts_equal_a_plain_bincount(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = rng.integers(0, classes, (2, 37, 23), dtype=np.uint8, endpoint=False)

    expected = np.bincount(truth.ravel() * np.int64(classes) + prediction.ravel(), minlength=classes**2)

    np.testing.assert_array_equal(
        confusion_matrix(truth, prediction, classes), expected.reshape(classes, classes)
    )


@pytest.mark.parametrize("size_hw", [(3000, 4000), (4100, 4100), (2**12 + 1, 2**12 + 1)])
def test_counts_stay_exact_where_float32_would_saturate(size_hw: tuple[int, int]) -> None:
    truth = np.zeros(size_hw, np.uint8)
    prediction = np.zeros(size_hw, np.uint8)
    truth[-1, -1] = prediction[-1, -3] = 1

    matrix = confusion_matrix(truth, prediction, 2)

    assert matrix.tolist() == [[truth.size - 2, 1], [1, 0]]


@pytest.mark.parametrize("which", [0, 1])
def test_an_index_out_of_range_is_refused(which: int) -> None:
    maps = np.zeros((2, 3, 3), np.uint8)
    maps[which, 1, 1] = 3

    with pytest.raises(ValueError, match="not below 3"):
        confusion_matrix(maps[0], maps[1], 3)


def test_maps_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        confusion_matrix(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)
    with pytest.raises(ValueError, match="uint8"):
        confusion_matrix(np.zeros((2, 3), np.int64), np.zeros((2, 3), np.uint8), 2)


@given(arrays(np.int64, st.integers(1, 8).map(lambda side: (side, side)), elements=st.integers(0, 2**62)))
def test_unpacking_undoes_packing(matrix: NDArray[np.int64]) -> None:
    np.testing.assert_array_equal(unpack_confusion(pack_confusion(matrix)), matrix)


def test_a_full_matrix_of_all_classes_can_be_packed() -> None:
    matrix = np.random.default_rng(0).integers(1, 2**40, (256, 256))

    np.testing.assert_array_equal(unpack_confusion(pack_confusion(matrix)), matrix)


def test_a_typical_matrix_is_small() -> None:
    matrix = np.diag(np.arange(19, dtype=np.int64) * 1000)

    assert len(pack_confusion(matrix)) < 200


@pytest.mark.parametrize("damage", [b"", b"\x07abc", b"\x01", b"\x01abc"])
def test_damaged_bytes_are_refused(damage: bytes) -> None:
    with pytest.raises(FormatError):
        unpack_confusion(damage)


def test_a_packed_matrix_cut_short_is_refused() -> None:
    packed = pack_confusion(np.arange(81, dtype=np.int64).reshape(9, 9))

    for cut in range(len(packed)):
        with pytest.raises(FormatError):
            unpack_confusion(packed[:cut])
