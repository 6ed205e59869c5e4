"""Training configurations and data versions."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.errors import FormatError, UnknownChoice
from core.domain.labels import Category
from core.domain.presets import PRESETS
from core.domain.training import (
    DataVersion,
    Retention,
    TrainingConfig,
    VersionItem,
    changed_config,
    config_from_json,
    retention,
)

CONFIGS = st.builds(
    TrainingConfig,
    preset=st.text(max_size=10),
    size=st.integers(2, 64).map(lambda multiple: multiple * 32),
    epochs=st.integers(1, 10_000),
    batch_size=st.integers(2, 1024),
    decoder_learning_rate=st.floats(1e-9, 1),
    weight_decay=st.floats(0, 10),
    valid_share=st.floats(0.01, 0.9),
    augmentation=st.sampled_from(["none", "standard"]),
    deterministic=st.booleans(),
    keep=st.sampled_from(["all", "every:10", "best:3"]),
    start_from=st.sampled_from(["", "01a1fe59/12"]),
    seed=st.integers(0, 2**31 - 1),
)


@given(CONFIGS)
def test_a_configuration_survives_json(config: TrainingConfig) -> None:
    text = json.dumps(dataclasses.asdict(config))

    assert config_from_json(json.loads(text)) == config


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_carries_its_own_name(name: str) -> None:
    assert PRESETS[name].config.preset == name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", 31),
        ("size", 4096),
        ("epochs", 0),
        ("batch_size", 1),
        ("encoder_learning_rate", -1e-9),
        ("decoder_learning_rate", 0),
        ("decoder_learning_rate", math.nan),
        ("weight_decay", math.inf),
        ("warmup_share", 1),
        ("clip_gradient_norm", -1),
        ("valid_share", 0),
        ("valid_share", 1),
        ("max_train_images", -1),
        ("seed", 2**31),
        ("threads", -1),
        ("devices", 0),
        ("devices", 65),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(key: str, value: float) -> None:
    values: dict[str, Any] = {key: value}

    with pytest.raises(FormatError, match=key):
        TrainingConfig(**values)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_each_device_gets_two_photos_of_a_batch(devices: int) -> None:
    assert TrainingConfig(devices=devices, batch_size=2 * devices).devices == devices

    with pytest.raises(FormatError, match=f"batch_size must (be at least {2 * devices}|lie between 2)"):
        TrainingConfig(devices=devices, batch_size=2 * devices - 1)


def test_a_configuration_of_an_earlier_version_has_todays_defaults_for_what_it_lacks() -> None:
    later = {"devices", "deterministic", "keep", "start_from", "pictures"}
    stored = {k: v for k, v in dataclasses.asdict(TrainingConfig(epochs=3)).items() if k not in later}

    assert config_from_json(stored) == TrainingConfig(epochs=3)


def test_a_configuration_of_another_version_is_refused() -> None:
    with pytest.raises(FormatError, match="another version"):
        config_from_json({"warp_factor": 9})


def test_a_change_leaves_the_rest_and_the_original_alone() -> None:
    config = TrainingConfig()

    changed = changed_config(config, {"epochs": 3, "augmentation": "none"})

    assert changed == dataclasses.replace(config, epochs=3, augmentation="none")
    assert config == TrainingConfig()


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("epochs", " 7 ", 7),
        ("weight_decay", "1e-3", 1e-3),
        ("weight_decay", 0, 0.0),
        ("compile", "No", False),
        ("compile", "true", True),
        ("compile", "1", True),
        ("model", "unet", "unet"),
        ("devices", "2", 2),
        ("deterministic", "yes", True),
        ("keep", " best:3 ", "best:3"),
    ],
)
def test_text_is_read_as_the_keys_type(key: str, text: str | int, value: object) -> None:
    changed = getattr(changed_config(TrainingConfig(), {key: text}), key)

    assert changed == value
    assert type(changed) is type(value)


@pytest.mark.parametrize(
    ("key", "text"), [("epochs", "many"), ("epochs", "2.5"), ("compile", "maybe"), ("weight_decay", "")]
)
def test_text_of_the_wrong_type_is_refused_by_name(key: str, text: str) -> None:
    with pytest.raises(FormatError, match=f"{key} must be"):
        changed_config(TrainingConfig(), {key: text})


@pytest.mark.parametrize("key", ["epoch", "preset", "__class__", ""])
def test_an_unknown_setting_is_refused_and_the_known_ones_are_named(key: str) -> None:
    with pytest.raises(UnknownChoice, match="batch_size"):
        changed_config(TrainingConfig(), {key: "1"})


def test_a_change_is_checked_like_a_new_configuration() -> None:
    with pytest.raises(FormatError, match="crop must not be larger than size"):
        changed_config(TrainingConfig(), {"crop": "320"})


@pytest.mark.parametrize(
    ("keep", "rule"),
    [
        ("all", Retention(every=1, best=1)),
        ("every:1", Retention(every=1, best=1)),
        ("every:10", Retention(every=10, best=1)),
        ("best:3", Retention(every=0, best=3)),
        ("best:10000", Retention(every=0, best=10_000)),
    ],
)
def test_what_to_keep_is_read(keep: str, rule: Retention) -> None:
    assert retention(keep) == rule


@pytest.mark.parametrize(
    "keep",
    [
        *("", "All", "all:1", "best", "best:", "best:0", "best:-1", "best:x", "best: 3", "best:3:4"),
        *("best:10001", "every:1.5", "every:²", f"every:{'9' * 5000}", "last:3"),
    ],
)
def test_what_cannot_be_kept_is_refused(keep: str) -> None:
    with pytest.raises(FormatError, match="keep must be all, every:N or best:N"):
        TrainingConfig(keep=keep)


SCORES = st.dictionaries(
    st.integers(1, 40), st.none() | st.sampled_from([0.0, 0.25, 0.5]) | st.floats(0, 1), max_size=40
)


def best_of(scores: dict[int, float | None]) -> int | None:
    """Give the first epoch with the highest score."""
    measured = {epoch: score for epoch, score in scores.items() if score is not None}
    highest = max(measured.values(), default=None)
    return min((epoch for epoch, score in measured.items() if score == highest), default=None)


@given(SCORES, st.sampled_from(["all", "every:7", "every:100", "best:1", "best:4"]))
def test_the_best_and_the_last_checkpoint_are_always_kept(scores: dict[int, float | None], keep: str) -> None:
    kept = retention(keep).kept(scores)

    assert kept <= scores.keys()
    assert scores == {} or max(scores) in kept
    assert best_of(scores) in {*kept, None}


@given(SCORES)
def test_all_keeps_every_checkpoint(scores: dict[int, float | None]) -> None:
    assert retention("all").kept(scores) == scores.keys()


@given(SCORES, st.integers(1, 10))
def test_each_nth_checkpoint_is_kept_and_none_else_but_the_best_and_the_last(
    scores: dict[int, float | None], every: int
) -> None:
    kept = retention(f"every:{every}").kept(scores)

    nth = {epoch for epoch in scores if epoch % every == 0}
    assert nth <= kept
    assert kept - nth <= {best_of(scores), max(scores, default=0)}


@given(SCORES, st.integers(1, 10))
def test_of_the_best_checkpoints_no_other_is_better_and_the_earlier_of_equals_is_kept(
    scores: dict[int, float | None], best: int
) -> None:
    kept = retention(f"best:{best}").kept(scores)

    measured = {epoch: score for epoch, score in scores.items() if score is not None}
    ranked: list[int] = []
    while len(ranked) < min(best, len(measured)):
        ranked.append(best_of({**measured, **dict.fromkeys(ranked)}) or 0)
    assert kept == {*ranked, *([max(scores)] if scores else [])}


def test_an_epoch_without_a_score_is_worse_than_one_with_none_right() -> None:
    scores = {1: None, 2: 0.0, 3: None}

    assert retention("best:1").kept(scores) == {2, 3}


def test_channels_follow_the_versions_categories_after_background() -> None:
    items = (
        VersionItem("a", "00", 1, "train"),
        VersionItem("b", "11", 2, "valid"),
        VersionItem("c", "22", 1, "train"),
    )
    categories = (Category(7, "dent", "#E69F00"), Category(3, "scratch", "#56B4E9"))

    version = DataVersion("v", "p", "hash", categories, items)

    assert version.class_index == {7: 1, 3: 2}
    assert [item.image_id for item in version.split("train")] == ["a", "c"]
    assert version.split("test") == ()


@pytest.mark.parametrize("key", ["balance", "weight_decay", "background_weight", "warmup_share"])
def test_a_number_that_a_preset_writes_as_a_whole_one_takes_parts(key: str) -> None:
    for preset in PRESETS.values():
        changed = changed_config(preset.config, {key: "0.25"})

        assert getattr(changed, key) == 0.25
        assert type(getattr(preset.config, key)) is float
