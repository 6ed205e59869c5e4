"""A checkpoint is whole or refused; an export computes the same and stands alone."""

import dataclasses
import hashlib
import itertools
import json
import logging
from pathlib import Path

import onnx
import pytest
import torch

from core.domain.errors import FormatError, StorageError
from core.domain.training import TrainingConfig
from core.models.card import CARD_KEY, card_from_json
from core.training.checkpoints import load_checkpoint, load_weights, replacing, save_checkpoint
from core.training.dataset import TrainingData
from core.training.export import export_onnx
from core.training.learner import build_learner


@pytest.fixture
def checkpoint(config: TrainingConfig, data: TrainingData, tmp_path: Path) -> Path:
    path = tmp_path / "run" / "epoch_001-a1.pt"
    learner = build_learner(config, data, is_deterministic=True)
    save_checkpoint(path, learner, 1, {"run_id": "r1", "metrics": {"val_loss": 0.5}})
    return path


def test_the_json_beside_says_what_the_weights_are(checkpoint: Path, config: TrainingConfig) -> None:
    document = json.loads(checkpoint.with_suffix(".json").read_text())

    assert document["config"] == dataclasses.asdict(config)
    assert document["epoch"] == 1
    assert [c["category_id"] for c in document["card"]["categories"]] == [7, 3]
    assert document["card"]["preprocessing"]["size"] == 64
    assert document["card"]["run"] == {"run_id": "r1", "metrics": {"val_loss": 0.5}}
    assert document["versions"]["torch"] == torch.__version__.split("+")[0]
    assert document["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert sorted(p.name for p in checkpoint.parent.iterdir()) == ["epoch_001-a1.json", "epoch_001-a1.pt"]


@pytest.mark.parametrize(
    ("damage", "with_json"),
    # A flipped bit among the weights is known by the hash alone.
    [("flip", True), *itertools.product(["cut", "empty", "text"], [True, False])],
)
def test_a_damaged_checkpoint_is_a_sentence(damage: str, with_json: bool, checkpoint: Path) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 255
    damaged = {"cut": content[:-100], "flip": content, "empty": b"", "text": b"weights"}[damage]
    checkpoint.write_bytes(damaged)
    if not with_json:
        checkpoint.with_suffix(".json").unlink()

    with pytest.raises(FormatError, match=r"epoch_001-a1\.pt cannot be used.*Choose another epoch"):
        load_weights(checkpoint)


def test_a_missing_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"gone\.pt cannot be used"):
        load_weights(tmp_path / "gone.pt")


def test_foreign_weights_are_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")

    with pytest.raises(FormatError, match="no checkpoint of this program"):
        load_weights(tmp_path / "other.pt")


def test_training_does_not_go_on_from_another_runs_checkpoint(
    checkpoint: Path, config: TrainingConfig, data: TrainingData
) -> None:
    other = build_learner(dataclasses.replace(config, seed=4), data, is_deterministic=True)

    with pytest.raises(FormatError, match="other settings"):
        load_checkpoint(checkpoint, other)


def test_a_failed_save_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    with pytest.raises(StorageError, match="Is the disk full"), replacing(target) as beside:
        beside.write_bytes(b"half")
        raise OSError("no space left")

    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_an_export_computes_the_same_and_carries_its_card(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)

    report = export_onnx(checkpoint, tmp_path / "model.onnx")

    assert report.argmax_agreement >= 0.999
    assert report.max_abs_difference < 1e-4
    model = onnx.load(tmp_path / "model.onnx")
    (card,) = [p.value for p in model.metadata_props if p.key == CARD_KEY]
    assert card_from_json(json.loads(card)) == load_weights(checkpoint)[1].card
    assert {record.name for record in caplog.records} <= {"core.training.export"}
    assert capfd.readouterr() == ("", "")
