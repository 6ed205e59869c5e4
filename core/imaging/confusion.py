"""Counting how often each class was taken for which, exactly."""

import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError

# OpenCV's histograms are float32, which counts by ones up to here only.
EXACT_PIXELS = 2**24
FORMAT_VERSION = 1
MAX_CLASSES = 256


def confusion_matrix(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Count pixels by class in truth and in prediction.

    Args:
        truth: uint8 (H, W) of class indices.
        prediction: the same.
        classes: number of classes C, background included.

    Returns:
        int64 (C, C): row truth, column prediction. Matrices of several images add up.

    Raises:
        ValueError: the shapes differ, or an index is not below ``classes``.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth {truth.shape} and prediction {prediction.shape} differ in shape")
    if truth.dtype != np.uint8 or prediction.dtype != np.uint8:
        raise ValueError(f"class indices must be uint8, got {truth.dtype} and {prediction.dtype}")
    if not 1 <= classes <= MAX_CLASSES:
        raise ValueError(f"classes must lie in 1..{MAX_CLASSES}, got {classes}")
    matrix = np.zeros((classes, classes), np.int64)
    if truth.size == 0:
        return matrix
    if max(int(truth.max()), int(prediction.max())) >= classes:
        raise ValueError(f"a class index is not below {classes}")
    flat_truth, flat_prediction = truth.reshape(1, -1), prediction.reshape(1, -1)
    for start in range(0, truth.size, EXACT_PIXELS):
        part = slice(start, start + EXACT_PIXELS)
        pair = [np.ascontiguousarray(flat_truth[:, part]), np.ascontiguousarray(flat_prediction[:, part])]
        counts = cv2.calcHist(pair, [0, 1], None, [classes, classes], [0, classes, 0, classes])
        matrix += counts.astype(np.int64)
    return matrix


def pack_confusion(matrix: NDArray[np.int64]) -> bytes:
    """Pack an int64 (C, C) matrix: a version byte, then C and the non-zero cells, compressed."""
    classes = len(matrix)
    if matrix.shape != (classes, classes) or not 1 <= classes <= MAX_CLASSES or matrix.min() < 0:
        raise ValueError(f"a confusion matrix is square and counts pixels, got {matrix.shape}")
    cells = np.flatnonzero(matrix)
    content = (
        classes.to_bytes(2, "little")
        + cells.astype("<u2").tobytes()
        + matrix.ravel()[cells].astype("<i8").tobytes()
    )
    return bytes([FORMAT_VERSION]) + zlib.compress(content)


def unpack_confusion(data: bytes) -> NDArray[np.int64]:
    """Give back the int64 (C, C) matrix that was packed.

    Raises:
        FormatError: the bytes are damaged or of another version.
    """
    if data[:1] != bytes([FORMAT_VERSION]):
        raise FormatError("A stored confusion matrix is of another version of this program.")
    try:
        inflater = zlib.decompressobj()
        content = inflater.decompress(data[1:], 2 + 10 * MAX_CLASSES**2)
        if not inflater.eof:
            raise ValueError("it ends too early")
        classes, count = int.from_bytes(content[:2], "little"), (len(content) - 2) // 10
        cells = np.frombuffer(content, "<u2", count, offset=2)
        matrix = np.zeros(classes * classes, np.int64)
        matrix[cells] = np.frombuffer(content, "<i8", count, offset=2 + 2 * count)
    except (zlib.error, ValueError, IndexError) as error:
        raise FormatError(f"A stored confusion matrix is damaged: {error}.") from error
    return matrix.reshape(classes, classes)
