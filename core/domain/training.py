"""What a training run is told to do: the configuration, the presets, the frozen data version."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.domain.errors import FormatError, UnknownChoice, listed
from core.domain.labels import Annotation, Category, Split

MIN_LABELLED_IMAGES = 2


@dataclass(frozen=True)
class TrainingConfig:
    """All choices of one run. Sizes in pixels; images are stretched to size x size."""

    preset: str = "fast"
    model: str = "deeplabv3plus"
    encoder: str = "tu-tf_efficientnet_lite0"
    encoder_weights: str = "imagenet"  # "none" starts from random weights
    size: int = 256
    epochs: int = 12
    batch_size: int = 8
    loss: str = "ce+dice"
    encoder_learning_rate: float = 6e-4
    decoder_learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup_share: float = 0.15
    clip_gradient_norm: float = 5.0
    augment: bool = True
    valid_share: float = 0.2  # held out where the images bring no split of their own
    max_train_images: int = 0  # 0: all
    max_valid_images: int = 0  # 0: all
    seed: int = 0
    threads: int = 0  # CPU threads; 0: as many as there are cores
    devices: int = 1  # GPUs of one machine, or as many processes where there is none; they share a batch
    deterministic: bool = False  # the same weights to the last bit each time, where that is slower too
    keep: str = "all"  # which checkpoints stay: all, every:N, best:N; the best and the last always do
    start_from: str = ""  # RUN/EPOCH whose weights it starts from, instead of encoder_weights

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            FormatError: a value is out of its range; the sentence names the key and the range.
        """
        _in_range("size", self.size, 64, 2048)
        if self.size % 32:
            raise FormatError(f"size must be a multiple of 32, not {self.size}.")
        _in_range("epochs", self.epochs, 1, 10_000)
        _in_range("batch_size", self.batch_size, 2, 1024)
        _in_range("encoder_learning_rate", self.encoder_learning_rate, 0, 1)
        _in_range("decoder_learning_rate", self.decoder_learning_rate, 1e-9, 1)
        _in_range("weight_decay", self.weight_decay, 0, 10)
        _in_range("warmup_share", self.warmup_share, 0, 0.9)
        _in_range("clip_gradient_norm", self.clip_gradient_norm, 0, 1e6)
        _in_range("valid_share", self.valid_share, 0.01, 0.9)
        _in_range("max_train_images", self.max_train_images, 0, 10**9)
        _in_range("max_valid_images", self.max_valid_images, 0, 10**9)
        _in_range("seed", self.seed, 0, 2**31 - 1)
        _in_range("threads", self.threads, 0, 1024)
        _in_range("devices", self.devices, 1, 64)
        if self.batch_size < 2 * self.devices:
            raise FormatError(
                f"batch_size must be at least {2 * self.devices} on {self.devices} devices: "
                "each takes its share of a batch, and batch normalisation needs two photos."
            )
        retention(self.keep)


@dataclass(frozen=True)
class Retention:
    """Which epochs' checkpoints stay besides the best and the last: each n-th, and the ``best`` ones.

    ``every`` = 1 keeps all; 0 keeps none for its number.
    """

    every: int
    best: int

    def kept(self, scores: Mapping[int, float | None]) -> frozenset[int]:
        """Choose the epochs to keep, of epoch -> its score (None where it is not defined).

        Of equal scores the earlier epoch is the better one; one without a score is never of the best.
        """
        defined = {epoch: score for epoch, score in scores.items() if score is not None}
        ranked = sorted(defined, key=lambda epoch: (-defined[epoch], epoch))
        nth = {epoch for epoch in scores if self.every and epoch % self.every == 0}
        return frozenset({*nth, *ranked[: max(1, self.best)], max(scores, default=0)} & set(scores))


def retention(keep: str) -> Retention:
    """Read a ``keep`` setting: "all", "every:5", "best:3".

    Raises:
        FormatError: it is none of these.
    """
    kind, _, number = keep.partition(":")
    if keep == "all":
        return Retention(every=1, best=1)
    if kind in ("every", "best") and re.fullmatch("[0-9]{1,5}", number) and 1 <= int(number) <= 10_000:
        return Retention(int(number), 1) if kind == "every" else Retention(0, int(number))
    raise FormatError(f"keep must be all, every:N or best:N with N from 1 on, not “{keep}”.")


@dataclass(frozen=True)
class Preset:
    """A named recipe: what a person picks instead of twenty numbers."""

    title: str
    description: str
    config: TrainingConfig


def changed_config(config: TrainingConfig, changes: Mapping[str, str | int | float | bool]) -> TrainingConfig:
    """Give a copy with some keys changed; text values are read as the key's type.

    Raises:
        UnknownChoice: there is no such key; the sentence lists the keys.
        FormatError: a value is not of the key's type or out of its range.
    """
    types = {f.name: type(getattr(config, f.name)) for f in dataclasses.fields(config)}
    values: dict[str, Any] = {}
    for key, value in changes.items():
        if key not in types or key == "preset":
            raise UnknownChoice(
                f"There is no setting “{key}”. There are: {listed(k for k in types if k != 'preset')}."
            )
        values[key] = _parsed(key, value, types[key])
    return dataclasses.replace(config, **values)


def config_from_json(value: Mapping[str, Any]) -> TrainingConfig:
    """Read a stored configuration; keys of a newer or older program are an error.

    Raises:
        FormatError: a key is unknown or a value is out of its range.
    """
    try:
        return TrainingConfig(**value)
    except TypeError as error:
        raise FormatError(f"This run's configuration is of another version: {error}.") from error


@dataclass(frozen=True)
class VersionItem:
    """One labelled image as a data version holds it."""

    image_id: str
    sha256: str
    rev: int
    split: Split
    group: str | None = None


@dataclass(frozen=True)
class DataVersion:
    """The labels a run was trained on, frozen: later edits make a new version.

    ``categories`` are the model's foreground channels in order: channel 0 is background, channel
    i is ``categories[i - 1]``.
    """

    id: str
    project_id: str
    hash: str
    categories: tuple[Category, ...]
    items: tuple[VersionItem, ...] = field(repr=False)

    def split(self, split: Split) -> tuple[VersionItem, ...]:
        """Give the images of one split, in stored order."""
        return tuple(item for item in self.items if item.split == split)

    @property
    def class_index(self) -> dict[int, int]:
        """Map category_id to the model's channel (1 and up)."""
        return {c.category_id: i for i, c in enumerate(self.categories, start=1)}


@dataclass(frozen=True)
class LabelledPhoto:
    """One image of a data version: what is drawn on it, and its original file where that is asked for."""

    image_id: str
    read: Callable[[], bytes] = field(repr=False, compare=False)
    size_wh: tuple[int, int]  # upright
    annotations: tuple[Annotation, ...] = field(repr=False)

    @property
    def data(self) -> bytes:
        """The original file, read now; upright only after decoding it with EXIF applied.

        Raises:
            NotFound: it is gone.
            OutOfReach: where it is kept does not answer now.
        """
        return self.read()


def _parsed(key: str, value: str | int | float | bool, kind: type) -> Any:
    text = str(value).strip()
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                text.lower()
            ]
        return kind(text)
    except (KeyError, ValueError):
        raise FormatError(f"{key} must be {_kind_name(kind)}, not “{text}”.") from None


def _kind_name(kind: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "text")


def _in_range(key: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise FormatError(f"{key} must lie between {low:g} and {high:g}, not {value:g}.")


PRESETS: dict[str, Preset] = {
    "fast": Preset(
        title="Fast",
        description="DeepLabV3+ on EfficientNet-Lite0 with ImageNet weights at 256 px. "
        "Trains on a laptop's processor in minutes; a good first answer.",
        config=TrainingConfig(preset="fast"),
    ),
}
