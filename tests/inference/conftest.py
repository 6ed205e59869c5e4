"""Models that need no training, and nothing left open between tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.inference import session
from tests.inference import exported

WriteModel = Callable[..., Path]


@pytest.fixture(autouse=True)
def nothing_open() -> Iterator[None]:
    """Start and leave with no model in memory."""
    session.close_models()
    yield
    session.close_models()


@pytest.fixture
def write_model() -> WriteModel:
    """Write a model whose logits are the photo's colours to a path; see exported.write_model."""
    return exported.write_model


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    return exported.write_model(tmp_path / "colours.onnx")
