"""What a training can be made of, what of it goes together, and what it costs on the machines here."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from core.domain.errors import FormatError, pick
from core.domain.presets import PRESETS, Preset
from core.domain.runs import Job, WorkerInfo
from core.domain.training import TrainingConfig
from core.models.registry import ENCODER_WEIGHTS, ENCODERS, MODELS, check_pair
from core.services import workers
from core.services.home import Store
from core.storage import images, jobs
from core.training.augmentation import AUGMENTATIONS
from core.training.losses import LOSSES, parse_loss
from core.training.sampling import drawn_images, side_of_epoch

MEMORY_SHARE = 0.9  # of a machine's memory that a training may take
GB = 1 << 30  # as makers of memory count it
SHAPING = (
    "model",
    "encoder",
    "size",
    "crop",
    "loss",
    "optimizer",
    "batch_norm",
    "precision",
    "compile",
    "ema",
    "augmentation",
    "cutmix",
    "copy_paste",
)
"""The settings that decide what one image costs in time and memory."""


def presets() -> dict[str, Preset]:
    """Give the recipes by name."""
    return PRESETS


def models() -> dict[str, str]:
    """Give the titles of the architectures by their keys."""
    return {key: spec.title for key, spec in MODELS.items()}


@dataclass(frozen=True)
class Architecture:
    """An architecture as it is listed. ``encoders`` are the tested ones, the usual one first.

    Sides in pixels. ``has_other_encoders``: others of smp's or timm's may work as well.
    """

    name: str
    title: str
    encoders: tuple[str, ...]
    size_multiple: int
    min_size: int
    min_batch_size: int
    has_other_encoders: bool


def architectures() -> list[Architecture]:
    """Describe all architectures."""
    return [
        Architecture(
            key,
            spec.title,
            spec.encoders,
            spec.size_multiple,
            spec.min_size,
            spec.min_batch_size,
            bool(spec.other_encoders),
        )
        for key, spec in MODELS.items()
    ]


def encoders(model: str) -> dict[str, str]:
    """Give the titles of the encoders that a model was tested on, usual one first. Raises UnknownChoice."""
    return {key: ENCODERS[key].title for key in pick(MODELS, model, kind="model").encoders}


def start_weights(encoder: str) -> dict[str, str]:
    """Give the kinds of weights that an encoder can start from, by key."""
    spec = ENCODERS.get(encoder)
    if spec is not None and not spec.has_hub_weights:
        return {"none": ENCODER_WEIGHTS["none"]}
    where = "installed" if spec and spec.packaged else "fetched from the model hub"
    return {"imagenet": f"ImageNet, {where}", "none": ENCODER_WEIGHTS["none"]}


def augmentations() -> dict[str, str]:
    """Give the titles of the augmentation policies by key."""
    return {key: spec.title for key, spec in AUGMENTATIONS.items()}


def loss_terms() -> dict[str, str]:
    """Give the titles of the terms that a loss is a sum of, by key."""
    return {key: spec.title for key, spec in LOSSES.items()}


def check(config: TrainingConfig) -> tuple[str, ...]:
    """Check that the parts of a configuration go together, before anything is queued.

    Returns:
        Sentences that the user should know.

    Raises:
        UnknownChoice: there is no such model, encoder, loss or augmentation.
        FormatError: the parts do not go together; the sentence says what does.
    """
    pick(AUGMENTATIONS, config.augmentation, kind="augmentation")
    parse_loss(config.loss)
    each = config.batch_size // config.devices
    notes = check_pair(config.model, config.encoder, config.size, each, _weights_of(config))
    for side in set(_sides(config)):
        check_pair(config.model, config.encoder, side, each, _weights_of(config))
    if config.frozen_epochs >= config.epochs and config.frozen_epochs:
        raise FormatError("frozen_epochs must be less than epochs, or the encoder never learns.")
    return notes


@dataclass(frozen=True)
class Cost:
    """What a network was measured to cost on a machine: seconds and bytes, per image and at all.

    ``train_seconds``: an image's share of a step, with drawing it. ``validate_seconds``: of measuring it;
    ``megapixel_seconds`` come on top for each megapixel of the photo that its prediction is brought to.
    ``limit_bytes`` is the memory of the device: the GPU's, or the machine's.
    """

    host: str
    device: str
    train_seconds: float
    validate_seconds: float
    megapixel_seconds: float
    fixed_bytes: int
    image_bytes: int
    limit_bytes: int
    is_disturbed: bool  # another training ran meanwhile
    is_gpu: bool

    def memory_bytes(self, batch_size: int, devices: int = 1) -> int:
        """Give the peak of a training with this batch: of one GPU, or of all its processes on a machine."""
        peak = self.fixed_bytes + math.ceil(batch_size / devices) * self.image_bytes
        return peak if self.is_gpu else devices * peak

    def fits(self, batch_size: int, devices: int = 1) -> bool:
        """Tell whether a training with this batch has room."""
        return self.memory_bytes(batch_size, devices) <= MEMORY_SHARE * self.limit_bytes


def measure(store: Store, config: TrainingConfig, classes: int) -> Job:
    """Queue the few seconds that measure what a configuration costs; a waiting one is not queued twice.

    Args:
        classes: how many there are besides background.
    """
    return jobs.create(store, "calibrate", _cost_key(config, classes), priority=-1)


def is_measuring(store: Store) -> bool:
    """Tell whether a measurement waits: another one would only wait longer."""
    return any(job.kind == "calibrate" for job in jobs.waiting(store))


def cost(store: Store, config: TrainingConfig, classes: int) -> Cost | None:
    """Give what a configuration was last measured to cost on a machine that is here; None: not measured."""
    here = {w.info.host: w.info for w in workers.list_all(store) if w.serves("run")}
    for job in jobs.done_alike(store, "calibrate", _cost_key(config, classes)):
        assert job.result is not None
        if (info := here.get(str(job.result["host"]))) is not None:
            return _cost(job.result, info)
    return None


def seconds(
    config: TrainingConfig, measured: Cost, train: int, valid: int, *, megapixels: float = 0.0
) -> float:
    """Forecast how long a run takes, from what one image costs; photos are read once before, left out here.

    Args:
        train: photos to train on. valid: photos to validate with.
        megapixels: of a validation photo, on average (see ``mean_megapixels``).
    """
    drawn = drawn_images(max(train, config.expand_to), config)
    training = drawn * measured.train_seconds * _mean_area(config)
    validation = valid * (measured.validate_seconds + megapixels * measured.megapixel_seconds)
    return config.epochs * (training + validation) / (config.devices if measured.is_gpu else 1)


def mean_megapixels(store: Store, project_id: str) -> float:
    """Give the mean size of a project's photos in megapixels; 0 where there are none."""
    return images.mean_pixels(store, project_id) / 1e6


def fitting(config: TrainingConfig, measured: Cost) -> TrainingConfig | None:
    """Give a configuration that learns from as many images per step in the memory there is.

    None where not even the least batch has room.
    """
    least = max(2, MODELS[config.model].min_batch_size) * config.devices
    batch = config.batch_size
    while batch > least and not measured.fits(batch, config.devices):
        batch = max(least, batch // 2)
    if not measured.fits(batch, config.devices):
        return None
    accumulate = math.ceil(config.accumulate * config.batch_size / batch)
    return replace(config, batch_size=batch, accumulate=accumulate)


def memory_note(store: Store, config: TrainingConfig, classes: int) -> str:
    """Say that a training will not have the memory it needs, and what will do; "" where it has.

    Also "" where nobody measured it: see ``measure``. It is a warning, for a measure may be off.
    """
    measured = cost(store, config, classes)
    if measured is None or measured.fits(config.batch_size, config.devices):
        return ""
    where = "the GPU" if measured.is_gpu else "the machine"
    problem = (
        f"At batch {config.batch_size} this needs about {_gb(_needed(config, measured))}, and {where} has "
        f"{_gb(measured.limit_bytes)}: "
    )
    smaller = fitting(config, measured)
    if smaller is None:
        return f"{problem}choose a smaller size or crop, or a smaller network."
    return (
        f"{problem}batch {smaller.batch_size} with {smaller.accumulate} batches per step "
        f"(accumulate={smaller.accumulate}) learns nearly the same in {_gb(_needed(smaller, measured))}."
    )


def _needed(config: TrainingConfig, measured: Cost) -> int:
    return measured.memory_bytes(config.batch_size, config.devices)


def _gb(count: int) -> str:
    gb = count / GB
    return f"{gb:.0f} GB" if gb >= 10 else f"{gb:.1f} GB"


def _weights_of(config: TrainingConfig) -> str:
    """Name the weights the encoder's library is asked for: none where a checkpoint or file gives them."""
    return "none" if config.start_from or config.start_weights else config.encoder_weights


def _cost_key(config: TrainingConfig, classes: int) -> dict[str, Any]:
    values = asdict(config)
    return {"classes": classes, **{key: values[key] for key in SHAPING}}


def _cost(result: Mapping[str, Any], info: WorkerInfo) -> Cost:
    of_gpus = [gpu.memory_bytes for gpu in info.gpus if gpu.memory_bytes]
    of_machine = [] if info.gpus else [int(info.usage.get("memory_bytes", 0))]
    return Cost(
        host=info.host,
        device=str(result["device"]),
        train_seconds=float(result["train_seconds"]),
        validate_seconds=float(result["validate_seconds"]),
        megapixel_seconds=float(result["megapixel_seconds"]),
        fixed_bytes=int(result["fixed_bytes"]),
        image_bytes=int(result["image_bytes"]),
        limit_bytes=min([*of_gpus, *of_machine], default=0) or 1 << 62,  # nobody measured it
        is_disturbed=bool(result["is_disturbed"]),
        is_gpu=bool(info.gpus),
    )


def _mean_area(config: TrainingConfig) -> float:
    """Give the mean area of what is trained on, as a share of that of the last epochs."""
    found = _sides(config)
    return sum(side * side for side in found) / (len(found) * max(found) ** 2)


def _sides(config: TrainingConfig) -> list[int]:
    """List the sides of what is trained on, epoch by epoch."""
    return [side_of_epoch(config, epoch) for epoch in range(1, config.epochs + 1)]
