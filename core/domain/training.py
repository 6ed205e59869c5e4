"""What a training run is told to do: the configuration, the presets, the frozen data version."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from core.domain.errors import FormatError, UnknownChoice, listed
from core.domain.labels import IGNORED, Annotation, Category, Split

MIN_LABELLED_IMAGES = 2


@dataclass(frozen=True)
class TrainingConfig:
    """All choices of one run. Sizes in pixels; images are stretched to size x size.

    The defaults are what a run of an older program did, whose stored configuration lacks a key; what
    we advise is in PRESETS.
    """

    preset: str = "fast"
    # The network and the weights it starts from.
    model: str = "deeplabv3plus"
    encoder: str = "tu-tf_efficientnet_lite0"
    encoder_weights: str = "imagenet"  # "none" starts from random weights
    start_weights: str = ""  # sha256 of a state dict in the blob store, instead of encoder_weights
    start_from: str = ""  # RUN/EPOCH whose weights it starts from, instead of encoder_weights
    # What it sees.
    size: int = 256
    crop: int = 0  # trains on random squares of this side cut from the size x size image; 0: on all of it
    progressive: bool = False  # trains on smaller images first: from half the size up to all of it
    augmentation: str = "standard"
    cutmix: float = 0.0  # share of images that get a rectangle of another one
    copy_paste: float = 0.0  # share of images that get damage regions of another one
    expand_to: int = 0  # augmented copies up to so many training images, made once before training; 0: none
    balance: float = 0.0  # 0: each image as often as others; 1: images of rare classes drawn more often
    epoch_images: int = 0  # images drawn per epoch, however many there are; 0: each one once
    train_share: float = 1.0  # of the training images, drawn by class and seed
    valid_share: float = 0.2  # held out where the images bring no split of their own
    split_by_group: bool = True  # images of one group never lie on both sides of a split that we draw
    max_train_images: int = 0  # 0: all
    max_valid_images: int = 0  # 0: all
    # What it minimises.
    loss: str = "ce+dice"  # a sum such as ssim+focal+dice or 0.5*ce+dice
    class_weights: str = "none"  # none, inverse, median, effective, or name=weight, ... by hand
    background_weight: float = 1.0  # 0 leaves background out of the loss
    ignore_class: str = ""  # the name of a class whose pixels count nowhere, neither learnt nor measured
    # How it minimises that.
    epochs: int = 12
    batch_size: int = 8
    accumulate: int = 1  # batches per step of the optimiser
    optimizer: str = "adamw"
    momentum: float = 0.9  # of sgd
    weight_decay: float = 1e-2
    schedule: str = "one_cycle"
    warmup_share: float = 0.15  # of all steps
    encoder_learning_rate: float = 6e-4
    decoder_learning_rate: float = 2e-3
    layer_decay: float = 1.0  # each stage of the encoder learns at this times the rate of the next
    frozen_epochs: int = 0  # the encoder's weights stay for so many epochs
    batch_norm: str = "train"  # frozen: the encoder keeps its statistics of before
    clip_gradient_norm: float = 5.0
    ema: float = 0.0  # decay per step of the averaged weights that are measured and kept; 0: no averaging
    patience: int = 0  # ends after so many epochs without a better one; 0: never early
    # Where and how exactly it computes, and what it keeps.
    precision: str = "auto"  # auto, fp32, bf16, fp16
    compile: bool = False
    seed: int = 0
    threads: int = 0  # CPU threads; 0: as many as there are cores
    devices: int = 1  # GPUs of one machine, or as many processes where there is none; they share a batch
    deterministic: bool = False  # the same weights to the last bit each time, where that is slower too
    keep: str = "all"  # which checkpoints stay: all, every:N, best:N; the best and the last always do
    pictures: int = 500  # validation photos that get pictures at each epoch, always the same; 0: none

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            FormatError: a value is out of its range; the sentence names the key and the range.
        """
        for key, kind in setting_types().items():
            if kind is float:  # a whole number is one too
                object.__setattr__(self, key, float(getattr(self, key)))
        for key, (low, high) in RANGES.items():
            _in_range(key, getattr(self, key), low, high)
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                raise FormatError(f"{key} must be one of {listed(choices)}, not “{getattr(self, key)}”.")
        if self.crop > self.size:
            raise FormatError(f"crop must not be larger than size, which is {self.size}.")
        if self.batch_size < 2 * self.devices:
            raise FormatError(
                f"batch_size must be at least {2 * self.devices} on {self.devices} devices: "
                "each takes its share of a batch, and batch normalisation needs two photos."
            )
        if self.start_from and self.start_weights:
            raise FormatError("Choose one: start_from takes a checkpoint, start_weights a file of weights.")
        retention(self.keep)


CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("adam", "adamw", "sgd"),
    "schedule": ("constant", "step", "poly", "cosine", "one_cycle"),
    "batch_norm": ("train", "frozen"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
}
"""Keys of TrainingConfig that take one of a few words."""

RANGES: dict[str, tuple[float, float]] = {
    "size": (32, 2048),
    "crop": (0, 2048),
    "cutmix": (0, 1),
    "copy_paste": (0, 1),
    "expand_to": (0, 10**6),
    "balance": (0, 1),
    "epoch_images": (0, 10**7),
    "train_share": (0.001, 1),
    "valid_share": (0.01, 0.9),
    "max_train_images": (0, 10**9),
    "max_valid_images": (0, 10**9),
    "background_weight": (0, 1000),
    "epochs": (1, 10_000),
    "batch_size": (2, 1024),
    "accumulate": (1, 1024),
    "momentum": (0, 0.9999),
    "weight_decay": (0, 10),
    "warmup_share": (0, 0.9),
    "encoder_learning_rate": (0, 1),
    "decoder_learning_rate": (1e-9, 1),
    "layer_decay": (0.1, 1),
    "frozen_epochs": (0, 10_000),
    "clip_gradient_norm": (0, 1e6),
    "ema": (0, 0.99999),
    "patience": (0, 10_000),
    "seed": (0, 2**31 - 1),
    "threads": (0, 1024),
    "devices": (1, 64),
    "pictures": (0, 10**6),
}
"""The least and the greatest value of the keys of TrainingConfig that are numbers."""


@functools.cache
def setting_types() -> Mapping[str, type]:
    """Map the keys of TrainingConfig to what their values are: str, int, float or bool."""
    return get_type_hints(TrainingConfig)


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


def changed_config(config: TrainingConfig, changes: Mapping[str, str | int | float | bool]) -> TrainingConfig:
    """Give a copy with some keys changed; text values are read as the key's type.

    Raises:
        UnknownChoice: there is no such key; the sentence lists the keys.
        FormatError: a value is not of the key's type or out of its range.
    """
    types = setting_types()
    values: dict[str, Any] = {}
    for key, value in changes.items():
        if key not in types or key == "preset":
            raise UnknownChoice(
                f"There is no setting “{key}”. There are: {listed(k for k in types if k != 'preset')}."
            )
        values[key] = _parsed(key, value, types[key])
    return dataclasses.replace(config, **values)


def config_from_json(value: Mapping[str, Any]) -> TrainingConfig:
    """Read a stored configuration; a key that an older program did not have has its default.

    Raises:
        FormatError: a key is unknown or a value is out of its range.
    """
    values = dict(value)
    if "augment" in values:  # until 0.2
        values["augmentation"] = "standard" if values.pop("augment") else "none"
    try:
        return TrainingConfig(**values)
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
    ignored: tuple[Category, ...] = ()  # no class of the model: their pixels count nowhere

    def split(self, split: Split) -> tuple[VersionItem, ...]:
        """Give the images of one split, in stored order."""
        return tuple(item for item in self.items if item.split == split)

    @property
    def class_index(self) -> dict[int, int]:
        """Map category_id to the model's channel (1 and up), or to IGNORED."""
        channels = {c.category_id: i for i, c in enumerate(self.categories, start=1)}
        return channels | {c.category_id: IGNORED for c in self.ignored}


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
