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
from core.domain.training import (
    PRESETS,
    DataVersion,
    TrainingConfig,
    VersionItem,
    changed_config,
    config_from_json,
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
    augment=st.booleans(),
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
        ("size", 32),
        ("size", 250),
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
    ],
)
def test_a_value_out_of_range_is_refused_by_name(key: str, value: float) -> None:
    values: dict[str, Any] = {key: value}

    with pytest.raises(FormatError, match=key):
        TrainingConfig(**values)


def test_a_configuration_of_another_version_is_refused() -> None:
    with pytest.raises(FormatError, match="another version"):
        config_from_json({"warp_factor": 9})


def test_a_change_leaves_the_rest_and_the_original_alone() -> None:
    config = TrainingConfig()

    changed = changed_config(config, {"epochs": 3, "augment": False})

    assert changed == dataclasses.replace(config, epochs=3, augment=False)
    assert config == TrainingConfig()


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("epochs", " 7 ", 7),
        ("weight_decay", "1e-3", 1e-3),
        ("weight_decay", 0, 0.0),
        ("augment", "No", False),
        ("augment", "true", True),
        ("augment", "1", True),
        ("model", "unet", "unet"),
    ],
)
def test_text_is_read_as_the_keys_type(key: str, text: str | int, value: object) -> None:
    changed = getattr(changed_config(TrainingConfig(), {key: text}), key)

    assert changed == value
    assert type(changed) is type(value)


@pytest.mark.parametrize(
    ("key", "text"), [("epochs", "many"), ("epochs", "2.5"), ("augment", "maybe"), ("weight_decay", "")]
)
def test_text_of_the_wrong_type_is_refused_by_name(key: str, text: str) -> None:
    with pytest.raises(FormatError, match=f"{key} must be"):
        changed_config(TrainingConfig(), {key: text})


@pytest.mark.parametrize("key", ["epoch", "preset", "__class__", ""])
def test_an_unknown_setting_is_refused_and_the_known_ones_are_named(key: str) -> None:
    with pytest.raises(UnknownChoice, match="batch_size"):
        changed_config(TrainingConfig(), {key: "1"})


def test_a_change_is_checked_like_a_new_configuration() -> None:
    with pytest.raises(FormatError, match="size must be a multiple of 32"):
        changed_config(TrainingConfig(), {"size": "100"})


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
