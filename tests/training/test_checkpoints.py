"""A checkpoint is whole or refused; an export computes the same and stands alone."""

import dataclasses
import hashlib
import itertools
import json
import logging
import os
import resource
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch

from core.domain.errors import FormatError, OutOfReach, StorageError
from core.domain.labels import Category
from core.domain.training import TrainingConfig
from core.models.card import CARD_KEY, card_from_json
from core.training.checkpoints import load_checkpoint, load_weights, replacing, save_checkpoint
from core.training.dataset import TrainingData
from core.training.export import export_onnx
from core.training.learner import Learner, build_learner
from core.training.loop import fit
from tests.training.builders import ignore


@pytest.fixture
def checkpoint(config: TrainingConfig, data: TrainingData, tmp_path: Path) -> Path:
    path = tmp_path / "run" / "epoch_001-a1.pt"
    learner = build_learner(config, data)
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


def test_what_may_be_read_the_next_time_is_no_damage(checkpoint: Path) -> None:
    former = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open() as file:  # the lowest number that is free
        resource.setrlimit(resource.RLIMIT_NOFILE, (file.fileno(), former[1]))
        try:
            with pytest.raises(OutOfReach, match=r"epoch_001-a1\.pt cannot be read now"):
                load_weights(checkpoint)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, former)


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
    other = build_learner(dataclasses.replace(config, seed=4), data)

    with pytest.raises(FormatError, match="other settings"):
        load_checkpoint(checkpoint, other)


def test_a_checkpoint_of_a_program_with_fewer_settings_goes_on(
    checkpoint: Path, config: TrainingConfig, data: TrainingData
) -> None:
    state = torch.load(checkpoint, weights_only=True)
    document = json.loads(state["document"])
    for newer in ("devices", "deterministic", "keep", "pictures", "start_from"):
        del document["config"][newer]
    del document["class_weights"], document["ignored"]
    torch.save(state | {"document": json.dumps(document)}, checkpoint)
    checkpoint.with_suffix(".json").unlink()
    usual = dataclasses.replace(config, deterministic=False)

    assert load_checkpoint(checkpoint, build_learner(usual, data)).epochs_done == 1
    assert load_weights(checkpoint)[1].class_weights == (1.0, 1.0, 1.0)


def test_training_starts_from_the_weights_of_another_run(
    checkpoint: Path, config: TrainingConfig, data: TrainingData, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    other_size = dataclasses.replace(config, seed=4, size=96, start_from="r1/1")

    learner = build_learner(other_size, data, start=checkpoint)

    assert _differing(checkpoint, learner) == set()
    assert "starting from epoch_001-a1.pt, epoch 1; left out: none" in caplog.text
    assert learner.epochs_done == 0 and not learner.optimizer.state_dict()["state"]


def test_training_starts_from_a_file_of_weights(
    checkpoint: Path, config: TrainingConfig, data: TrainingData, tmp_path: Path
) -> None:
    given = tmp_path / "given.pt"
    torch.save(torch.load(checkpoint, weights_only=True)["model"], given)
    started = dataclasses.replace(config, seed=4, start_weights="0" * 64)

    learner = build_learner(started, data, weights=given)
    without = build_learner(started, data)

    assert _differing(checkpoint, learner) == set()
    with pytest.raises(AssertionError, match="no weights to start from"):
        next(fit(without, range(1), ignore, ignore))
    assert next(fit(learner, range(1), ignore, ignore)).epoch == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda categories: categories[:1],
        lambda categories: (*categories, Category(9, "rust", "#000000")),
        lambda categories: categories[::-1],
        lambda categories: (categories[0], Category(9, "rust", "#000000")),
    ],
    ids=["fewer", "more", "in another order", "with another id"],
)
def test_other_categories_leave_the_last_layer_fresh(
    change: Callable[[tuple[Category, ...]], tuple[Category, ...]],
    checkpoint: Path,
    config: TrainingConfig,
    data: TrainingData,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    other = dataclasses.replace(data, categories=change(data.categories))
    started = dataclasses.replace(config, seed=4, start_from="r1/1")

    learner = build_learner(started, other, start=checkpoint)

    assert _differing(checkpoint, learner) == {"head.1.weight", "head.1.bias"}
    assert "left out: head.1.bias, head.1.weight" in caplog.text
    fresh = build_learner(dataclasses.replace(started, start_from=""), other)
    head = fresh.network.module.state_dict()["head.1.weight"]
    assert torch.equal(head, learner.network.module.state_dict()["head.1.weight"]), "as the seed makes it"


def test_renamed_categories_keep_their_channels(
    checkpoint: Path, config: TrainingConfig, data: TrainingData
) -> None:
    renamed = tuple(dataclasses.replace(category, name="new") for category in data.categories)

    learner = build_learner(config, dataclasses.replace(data, categories=renamed), start=checkpoint)

    assert _differing(checkpoint, learner) == set()


def test_training_does_not_start_from_another_architecture(
    checkpoint: Path, config: TrainingConfig, data: TrainingData
) -> None:
    with pytest.raises(
        FormatError, match="a three_layers on plain, and this run trains a two_layers on plain"
    ):
        build_learner(dataclasses.replace(config, model="two_layers"), data, start=checkpoint)
    with pytest.raises(FormatError, match="trains a three_layers on other"):
        build_learner(dataclasses.replace(config, encoder="other"), data, start=checkpoint)


def test_training_does_not_start_from_weights_that_do_not_fit(
    checkpoint: Path, config: TrainingConfig, data: TrainingData
) -> None:
    state = torch.load(checkpoint, weights_only=True)
    state["model"]["encoder.9.weight"] = state["model"].pop("encoder.3.weight")
    torch.save(state, checkpoint)
    checkpoint.with_suffix(".json").unlink()

    with pytest.raises(FormatError, match="an older version of the program"):
        build_learner(config, data, start=checkpoint)


def test_a_run_with_a_start_that_was_not_loaded_does_not_train(
    config: TrainingConfig, data: TrainingData
) -> None:
    learner = build_learner(dataclasses.replace(config, start_from="r1/1"), data)

    with pytest.raises(AssertionError, match="no weights to start from"):
        next(fit(learner, range(1), ignore, ignore))


def test_a_resumed_run_needs_its_start_no_more(
    checkpoint: Path, config: TrainingConfig, data: TrainingData, tmp_path: Path
) -> None:
    started = dataclasses.replace(config, start_from="r1/1")
    first = build_learner(started, data, start=checkpoint)
    *_, last = fit(first, range(1), ignore, ignore)
    save_checkpoint(tmp_path / "e.pt", first, last.epoch, {})
    checkpoint.unlink()

    resumed = load_checkpoint(tmp_path / "e.pt", build_learner(started, data))

    assert _differing(tmp_path / "e.pt", resumed) == set()
    assert next(fit(resumed, range(1, 2), ignore, ignore)).epoch == 2
    assert json.loads((tmp_path / "e.json").read_text())["start_weights"] == "r1/1"


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


def _differing(checkpoint: Path, learner: Learner) -> set[str]:
    """Name the learner's weights that are not those of a checkpoint."""
    saved = torch.load(checkpoint, weights_only=True)["model"]
    current = learner.network.module.state_dict()
    assert saved.keys() == current.keys()
    return {name for name, weights in current.items() if not torch.equal(weights, saved[name])}
