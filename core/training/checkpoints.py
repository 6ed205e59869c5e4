"""Checkpoints: the weights after an epoch, what they were trained with, and how to go on from them."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import importlib.metadata
import json
import logging
import os
import pickle
import platform
import zipfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from core.domain.errors import FormatError, OutOfReach, StorageError, listed
from core.domain.training import TrainingConfig, config_from_json
from core.models.card import ModelCard, card_from_json, card_to_json
from core.models.registry import build_model, encoder_spec
from core.training.averaging import start_average
from core.training.network import memory_format, scaler_of

if TYPE_CHECKING:
    from core.training.learner import Learner

logger = logging.getLogger(__name__)

# What a disk, a network share or a full table of open files says, and may not say the next time.
_PASSING = frozenset(
    {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN}
)
_PACKAGES = ("torch", "timm", "segmentation_models_pytorch", "lightning", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class CheckpointMeta:
    """What a checkpoint says beside its weights. ``card.run`` is the ``meta`` that it was saved with."""

    config: TrainingConfig
    epoch: int  # 1 is the first
    card: ModelCard
    is_channels_last: bool
    versions: Mapping[str, str]
    class_weights: tuple[float, ...]  # of the channels in the loss
    ignored: tuple[int, ...]  # ids of categories whose pixels count nowhere


def save_checkpoint(path: Path, learner: Learner, epoch: int, meta: Mapping[str, Any]) -> None:
    """Write ``path`` (.pt: weights, optimiser) and the ``.json`` beside it that describes it.

    Each file is written beside its place, flushed to disk and moved over it, the .pt first, so a
    reader who finds the .json finds both whole. There is no scheduler and no random state to keep:
    the loop derives both from (seed, epoch, step). In a team all have the same to save, so one does.
    Where weights are averaged the averages are the model, and the ones that learn lie beside it.

    Args:
        epoch: how many epochs these weights have seen.
        meta: plain JSON values of the caller, e.g. the run's id and the epoch's metrics.

    Raises:
        StorageError: the disk refused; an older file of that name is still whole.
    """
    document = _document(learner, epoch, meta)
    state = {"document": json.dumps(document), **_state(learner)}
    with replacing(path) as beside:
        _write(state, beside)
    document["sha256"] = _sha256(path)
    with replacing(path.with_suffix(".json")) as beside:
        beside.write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")


def load_checkpoint(path: Path, learner: Learner) -> Learner:
    """Give the learner to go on with after this checkpoint: its weights, optimiser, layout and epochs.

    The learner that was handed in shares the weights and is not to be used any more.

    Raises:
        FormatError: the file is damaged, or of a run with another configuration.
    """
    state = _load(path)
    meta = _meta(path, state)
    if (meta.config, meta.card.categories) != (learner.config, learner.data.categories):
        raise FormatError(f"{path.name} belongs to a run with other settings; training cannot go on from it.")
    module, scaler, average = learner.network.module, scaler_of(learner.fabric), learner.average
    module.to(memory_format=memory_format(meta.is_channels_last))
    with _translated(path):
        module.load_state_dict(state["model"])
        if average is not None:
            average = start_average(module, average.decay)
            module.load_state_dict(state["model"] | state["learning"])
        learner.optimizer.load_state_dict(state["optimizer"])
        if scaler is not None:
            scaler.load_state_dict(state["scaler"])
    network = dataclasses.replace(learner.network, is_channels_last=meta.is_channels_last)
    return dataclasses.replace(learner, network=network, average=average, epochs_done=meta.epoch)


def load_weights(path: Path) -> tuple[nn.Module, CheckpointMeta]:
    """Build the network of a checkpoint on the CPU, ready to evaluate or export.

    Raises:
        FormatError: the file is damaged or of another version of the program.
        UnknownChoice: its model or encoder is not in the registry (any more).
    """
    state = _load(path)
    meta = _meta(path, state)
    config = meta.config
    model = build_model(config.model, config.encoder, "none", meta.card.num_classes)
    with _translated(path):
        model.load_state_dict(state["model"])
    return model.to(memory_format=memory_format(meta.is_channels_last)).eval(), meta


def load_start_weights(path: Path, model: nn.Module, config: TrainingConfig, card: ModelCard) -> None:
    """Put a checkpoint's weights into a new network of the same architecture.

    Where the checkpoint's categories are not the same ids in the same order, the layers whose shape
    depends on their number stay as they are: no channel may begin as something else.

    Raises:
        FormatError: the file is damaged, or of another architecture.
    """
    state = _load(path)
    meta = _meta(path, state)
    if (meta.config.model, meta.config.encoder) != (config.model, config.encoder):
        raise FormatError(
            f"Training cannot start from {path.name}: it is a {meta.config.model} on "
            f"{meta.config.encoder}, and this run trains a {config.model} on {config.encoder}. Choose the "
            "same model and encoder, or another checkpoint to start from."
        )
    fresh = set[str]() if _ids(meta.card) == _ids(card) else _class_layers(config, card, model)
    given = {name: weights for name, weights in state["model"].items() if name not in fresh}
    if _shapes(given) != _shapes({k: v for k, v in model.state_dict().items() if k not in fresh}):
        raise FormatError(
            f"Training cannot start from {path.name}: an older version of the program built this network "
            "in another way. Choose another checkpoint to start from."
        )
    model.load_state_dict(given, strict=False)
    logger.info("starting from %s, epoch %d; left out: %s", path.name, meta.epoch, listed(sorted(fresh)))


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Give a path beside ``path`` to write to; flush it and move it over when the block ends well.

    Raises:
        StorageError: the disk refused.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"{path.name} could not be saved ({reason}). Is the disk full? Free some space and try again."
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _write(state: Mapping[str, Any], path: Path) -> None:
    """Save with torch, whose own complaint about the file it closes hides what the disk said before."""
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def _state(learner: Learner) -> dict[str, Any]:
    """Give the weights, and what the training needs besides to go on with the same bits."""
    weights, scaler = learner.network.module.state_dict(), scaler_of(learner.fabric)
    state: dict[str, Any] = {"model": weights, "optimizer": learner.optimizer.state_dict()}
    if learner.average is not None:
        state["model"] = {**weights, **learner.average.weights}
        state["learning"] = {name: weights[name] for name in learner.average.weights}
    if scaler is not None:
        state["scaler"] = scaler.state_dict()
    return state


def _ids(card: ModelCard) -> list[int]:
    return [category.category_id for category in card.categories]


def _class_layers(config: TrainingConfig, card: ModelCard, model: nn.Module) -> set[str]:
    """Name the weights whose shape depends on the number of classes, whatever the architecture."""
    with torch.random.fork_rng():
        twin = build_model(config.model, config.encoder, "none", card.num_classes + 1)
    other = _shapes(twin.state_dict())
    return {name for name, shape in _shapes(model.state_dict()).items() if other[name] != shape}


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def _document(learner: Learner, epoch: int, meta: Mapping[str, Any]) -> dict[str, Any]:
    card = dataclasses.replace(learner.network.card, run=meta)
    return {
        "config": dataclasses.asdict(learner.config),
        "epoch": epoch,
        "card": card_to_json(card),
        "is_channels_last": learner.network.is_channels_last,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        "start_weights": _start_weights(learner.config),
        "class_weights": learner.network.loss.weights.tolist(),
        "ignored": learner.network.ignored,
    }


def _start_weights(config: TrainingConfig) -> Any:
    packaged = encoder_spec(config.encoder).packaged
    if config.start_from or config.start_weights:
        return config.start_from or config.start_weights
    if packaged is None or config.encoder_weights == "none":
        return config.encoder_weights
    return dataclasses.asdict(packaged)


def _load(path: Path) -> dict[str, Any]:
    with _translated(path):
        description = path.with_suffix(".json")
        if description.is_file() and json.loads(description.read_text("utf-8"))["sha256"] != _sha256(path):
            raise ValueError("its bytes are not those that were saved")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not {"document", "model", "optimizer"} <= state.keys():
            raise ValueError("it is no checkpoint of this program")
        return state


def _meta(path: Path, state: Mapping[str, Any]) -> CheckpointMeta:
    with _translated(path):
        document = json.loads(state["document"])
        card = card_from_json(document["card"])
        return CheckpointMeta(
            config=config_from_json(document["config"]),
            epoch=int(document["epoch"]),
            card=card,
            is_channels_last=bool(document["is_channels_last"]),
            versions=document["versions"],
            class_weights=tuple(document.get("class_weights", [1.0] * card.num_classes)),  # since 0.2
            ignored=tuple(document.get("ignored", ())),
        )


@contextlib.contextmanager
def _translated(path: Path) -> Generator[None]:
    """Turn what reading a damaged file raises into a sentence for the user.

    What may go better the next time is no damage: a disk that gives an error, memory that ran out.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _PASSING:  # a cut file is EINVAL to torch
            raise _damaged(path, error) from error
        raise OutOfReach(f"The checkpoint {path.name} cannot be read now ({error.strerror}).") from error
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        if _is_out_of_memory(error):
            raise
        raise _damaged(path, error) from error
    except (pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "allocate memory" in text


def _damaged(path: Path, error: Exception) -> FormatError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return FormatError(f"The checkpoint {path.name} cannot be used: {reason[:200]}. Choose another epoch.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
