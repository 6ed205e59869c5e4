"""What people type does not become a formula in a spreadsheet."""

import pytest

from core.services.csv_cells import safe


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x")'])
def test_text_that_a_spreadsheet_would_compute_is_kept_from_it(text: str) -> None:
    assert safe(text) == f"'{text}"


@pytest.mark.parametrize("value", ["doors", "a=b", "", -1.5, 3, None, True])
def test_all_else_stays(value: object) -> None:
    assert safe(value) is value
