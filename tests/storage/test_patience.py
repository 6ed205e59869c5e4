"""Waiting for what is out of reach."""

import logging
from collections.abc import Callable

import pytest

from core.domain.errors import Cancelled, OutOfReach, StorageError
from core.storage.patience import patiently


def failing(times: int, error: type[Exception] = OutOfReach) -> Callable[[], str]:
    """Give a call that fails so many times before it gives "done"."""
    faults = [error("It does not answer now.") for _ in range(times)]

    def call() -> str:
        if faults:
            raise faults.pop()
        return "done"

    return call


def test_a_call_that_works_is_made_once(caplog: pytest.LogCaptureFixture) -> None:
    assert patiently(failing(0)) == "done"
    assert caplog.records == []


def test_an_outage_is_waited_for_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    checks: list[None] = []

    assert patiently(failing(2), check=lambda: checks.append(None)) == "done"

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "does not answer now" in caplog.text
    assert len(checks) >= 2


def test_after_its_time_the_error_passes() -> None:
    with pytest.raises(OutOfReach, match="does not answer"):
        patiently(failing(2), seconds=0)


def test_what_the_check_raises_ends_the_wait() -> None:
    def cancel() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        patiently(failing(1), check=cancel)


def test_any_other_error_passes_at_once() -> None:
    call = failing(1, StorageError)

    with pytest.raises(StorageError):
        patiently(call)

    assert call() == "done"
