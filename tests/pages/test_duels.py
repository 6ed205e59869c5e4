"""What is said of two checkpoints' difference."""

import pytest

from core.domain.intervals import Difference
from pages.components.duels import duel_in_words


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Difference(0.0214, -0.004, 0.046, 0.08), "+0.021 mIoU, 95 % interval -0.004 to +0.046: **not to be"),
        (Difference(0.05, 0.01, 0.09, 0.0), "+0.050 mIoU, 95 % interval +0.010 to +0.090: **better**."),
        (Difference(-0.05, -0.09, -0.01, 1.0), "**worse**."),
        (None, "no interval"),
    ],
)
def test_a_difference_is_said_with_its_interval(found: Difference | None, said: str) -> None:
    assert said in duel_in_words(found)
