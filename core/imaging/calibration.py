"""How often a network is right when it says how sure it is."""

import numpy as np
from numpy.typing import NDArray

from core.domain.analysis import BINS, Reliability

_STEP = 255 // BINS
assert BINS * _STEP == 255, "each bin ends at a value that is stored"


def count_reliability(
    confidence: NDArray[np.uint8], is_right: NDArray[np.bool_], is_counted: NDArray[np.bool_]
) -> Reliability:
    """Sort pixels into bins by the winning class's probability.

    Args:
        confidence: uint8 (H, W), the probability times 255.
        is_right, is_counted: bool (H, W); what is not counted is left out.

    Source: Guo et al. 2017 (arXiv 1706.04599), section 2, whose bins include their upper end.
    """
    # One pass over the pixels; 256 values, each wrong or right, are then sorted into bins.
    codes = confidence.astype(np.uint16) + is_right * np.uint16(256)
    wrong, right = np.bincount(codes[is_counted], minlength=512).reshape(2, 256).astype(np.int64)
    values = np.arange(256)
    bins = np.maximum(values - 1, 0) // _STEP
    both = wrong + right
    sums = np.zeros((3, BINS), np.int64)
    for row, counts in enumerate((both, both * values, right)):
        np.add.at(sums[row], bins, counts)
    return Reliability(*(tuple(row) for row in sums.tolist()))
