"""What goes onto a model card without a figure: data, settings, licence, what it was made with."""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from core.domain.errors import NotFound
from core.domain.labels import SPLITS
from core.domain.presets import PRESETS
from core.domain.runs import Epoch, Run
from core.domain.training import DataVersion, TrainingConfig
from core.models.registry import ENCODERS, MODELS
from core.services import start_weights
from core.services.home import Store
from core.storage import runs

PACKAGES = ("torch", "torchvision", "segmentation_models_pytorch", "timm", "numpy", "onnxruntime")

Fact = tuple[str, str]
Rate = float | None


def figure_text(value: Rate) -> str:
    """Write a score with three digits; a dash where it is not defined."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def data_facts(version: DataVersion, kept: set[str]) -> tuple[Fact, ...]:
    counts = Counter(item.split for item in version.items)
    grouped = [item.group for item in version.items if item.group]
    gone = sum(item.image_id not in kept for item in version.items)
    facts = [
        ("Data version", version.hash[:16]),
        ("Photos", ", ".join(f"{counts[split]:,} {split}" for split in SPLITS)),
        ("Groups (cars, claims)", f"{len(set(grouped)):,} of {len(grouped):,} photos" if grouped else "none"),
    ]
    if version.ignored:
        facts.append(("Counts nowhere", ", ".join(category.name for category in version.ignored)))
    if gone:
        facts.append(("Deleted since", f"{gone:,} of the photos; the figures still count them"))
    return tuple(facts)


def configuration_facts(config: TrainingConfig) -> tuple[Fact, ...]:
    preset = PRESETS.get(config.preset)
    model = MODELS[config.model].title if config.model in MODELS else config.model
    encoder = ENCODERS[config.encoder].title if config.encoder in ENCODERS else config.encoder
    return (
        ("Preset", f"{preset.title} ({config.preset})" if preset else f"{config.preset}, not known any more"),
        ("Network", f"{model} on {encoder}"),
        ("Input", f"{config.size} × {config.size} px, photos are stretched to it"),
        ("Loss", config.loss),
        ("Optimiser", f"{config.optimizer}, {config.schedule}, rate {config.decoder_learning_rate:g}"),
        ("Training", f"{config.epochs} epochs, batches of {config.batch_size}, seed {config.seed}"),
    )


def changed_settings(store: Store, config: TrainingConfig) -> tuple[tuple[str, str, str], ...]:
    """List the settings that are not the preset's; where that is gone, not the default."""
    preset = PRESETS[config.preset].config if config.preset in PRESETS else TrainingConfig()
    pairs = [
        (field.name, getattr(config, field.name), getattr(preset, field.name))
        for field in dataclasses.fields(config)
        if field.name != "preset"
    ]
    named: dict[str, Callable[[str], str]] = {
        "start_weights": lambda sha256: start_weights.title(store, sha256)
    }
    return tuple(
        (key, named.get(key, str)(value), str(usual) if usual != "" else "none")
        for key, value, usual in pairs
        if value != usual
    )


def weights_licence(store: Store, config: TrainingConfig) -> str:
    """Say whose the weights are that a training began with, those of the checkpoint it went on from too."""
    if config.start_weights:
        return f"Your own file, {start_weights.title(store, config.start_weights)}: its licence is yours."
    if config.start_from:
        run_id, _, epoch = config.start_from.partition("/")
        try:
            source = runs.get(store, run_id)
        except NotFound:
            return f"Epoch {epoch} of a run that is gone; what that began with is not known any more."
        return f"Epoch {epoch} of “{source.name}”, which began with: {weights_licence(store, source.config)}"
    if config.encoder_weights == "none":
        return "Random weights: nobody else's."
    spec = ENCODERS.get(config.encoder)
    if spec is None or spec.packaged is None:
        return f"ImageNet weights of {config.encoder} from the model hub: see the hub for their licence."
    return (
        f"{spec.title}, package {spec.packaged.distribution}: {spec.packaged.licence}. Trained on ImageNet, "
        "which has terms of its own."
    )


def environment_facts(store: Store, run: Run, epoch: Epoch) -> tuple[Fact, ...]:
    """Say what the run's papers know of the programs and the machine."""
    kept = _paper(store, f"runs/{run.id}/versions.json")
    machine = _paper(store, f"runs/{run.id}/hardware-a{epoch.attempt}.json")
    packages = {str(name).replace("-", "_").lower(): v for name, v in kept.get("packages", {}).items()}
    commit = str(kept.get("git_commit") or "")[:12] + (", changed" if kept.get("git_has_changes") else "")
    gpus = ", ".join(str(gpu.get("name")) for gpu in machine.get("gpus", []))
    found = {
        "Maskwright": " ".join(filter(None, [kept.get("maskwright"), commit and f"({commit})"])),
        "Python": kept.get("python"),
        "Packages": ", ".join(f"{name} {packages[name]}" for name in PACKAGES if name in packages),
        "System": kept.get("platform"),
        "Processor": machine.get("cpu") and f"{machine['cpu']}, {machine.get('cores', '?')} cores",
        "Graphics": gpus or (machine and "none"),
        "Computed on": run.device,
    }
    return tuple((name, str(value)) for name, value in found.items() if value)


def _paper(store: Store, key: str) -> dict[str, Any]:
    """Read one of a run's papers; empty where it is gone or damaged."""
    try:
        return dict(json.loads(store.blobs.get(key)))
    except (NotFound, ValueError, TypeError):
        return {}
