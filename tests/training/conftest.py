"""Eight small photos with coloured damage, and a network small enough to train in a second."""

from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from core.domain.training import DataVersion, TrainingConfig
from core.models import registry
from core.training.dataset import TrainingData, prepare_data
from tests.training.builders import NETS, PLAIN_ENCODERS, Photos, config_of, ignore, version_of


@pytest.fixture
def version() -> DataVersion:
    return version_of(train=5, valid=3)


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> TrainingConfig:
    """A run of the three-layer net, which is in the registry for as long as the test lasts."""
    for name, spec in NETS.items():
        monkeypatch.setitem(registry.MODELS, name, spec)
    for name, encoder in PLAIN_ENCODERS.items():
        monkeypatch.setitem(registry.ENCODERS, name, encoder)
    return config_of("three_layers")


@pytest.fixture
def data(version: DataVersion, config: TrainingConfig, tmp_path: Path) -> TrainingData:
    return prepare_data(version, config, Photos(), tmp_path / "cache", ignore)


@pytest.fixture(autouse=True)
def one_thread() -> Generator[None]:
    torch.set_num_threads(1)
    yield
    torch.use_deterministic_algorithms(False)
