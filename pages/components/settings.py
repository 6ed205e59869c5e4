"""All settings of a run as a form: one line per setting, drawn by the kind of its value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

import streamlit as st

from core.domain.training import CHOICES, RANGES, TrainingConfig
from core.services import recipes, start_weights, workers
from core.services.home import Store
from pages.components.shell import shown_errors

SIZES = (64, 96, 128, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024)

Value = str | int | float | bool
Changes = dict[str, Value]


@dataclass(frozen=True)
class Setting:
    """How one key of TrainingConfig is shown. ``titles``: what a choice is called, by its value."""

    key: str
    title: str
    help: str
    format: str | None = None
    titles: Mapping[str, str] = field(default_factory=dict[str, str])


SCHEDULES = {
    "one_cycle": "One cycle: up, then down to 0",
    "cosine": "Cosine down to 0",
    "poly": "Polynomial down to 0",
    "step": "Steps of a tenth",
    "constant": "Constant",
}
OPTIMISERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}
PRECISIONS = {
    "auto": "Automatic: bf16 where a GPU has it",
    "fp32": "fp32",
    "bf16": "bf16",
    "fp16": "fp16 (NVIDIA GPUs)",
}
NORMS = {"train": "Learn from the batches", "frozen": "Stay as pretrained"}
TITLES = {"schedule": SCHEDULES, "optimizer": OPTIMISERS, "precision": PRECISIONS, "batch_norm": NORMS}
GROUPS: dict[str, tuple[Setting, ...]] = {
    "Image": (
        Setting("progressive", "Start small", "Trains on half the size first and grows: faster."),
        Setting("augmentation", "Augmentation", "Random changes of each photo, anew each epoch."),
        Setting("cutmix", "CutMix", "Share of photos that get a rectangle of another one."),
        Setting("copy_paste", "Copy-paste", "Share of photos that get damage cut from another one."),
        Setting(
            "expand_to",
            "Copies on disk",
            "Augmented copies up to so many training photos, made once before training; 0 makes none.",
        ),
    ),
    "Data": (
        Setting(
            "epoch_images",
            "Photos per epoch",
            "So many are drawn per epoch, however many there are; 0 takes each one once.",
        ),
        Setting("balance", "Class balance", "1 draws photos of rare classes more often; 0 all alike."),
        Setting(
            "train_share", "Share of train", "Of the training photos, by class and seed.", "%.3f"
        ),
        Setting("valid_share", "Held out", "Share for validation where photos have no split."),
        Setting("split_by_group", "Keep groups together", "One car or claim never lies on both sides."),
        Setting("ignore_class", "Class to ignore", "Its pixels are neither learnt nor measured."),
    ),
    "Loss": (
        Setting("loss", "Loss", "A sum of terms, each with a weight if you like: 0.5*ce+dice."),
        Setting(
            "class_weights",
            "Class weights",
            "none, inverse, median, effective, or by hand: dent=2, scratch=1.5.",
        ),
        Setting("background_weight", "Background weight", "0 leaves background out of the loss."),
    ),
    "Optimiser": (
        Setting("optimizer", "Optimiser", "What changes the weights."),
        Setting("schedule", "Schedule", "How the rate changes over the run."),
        Setting(
            "encoder_learning_rate", "Peak rate of the encoder", "The pretrained part.", "%.5f"
        ),
        Setting("layer_decay", "Layer-wise decay", "Earlier stages learn at this times the next."),
        Setting("warmup_share", "Warm-up", "Share of the steps in which the rate rises."),
        Setting("weight_decay", "Weight decay", "Pulls weights towards 0.", "%.5f"),
        Setting("momentum", "Momentum", "Of SGD."),
        Setting("clip_gradient_norm", "Clip gradients at", "The norm; 0 never clips."),
        Setting("accumulate", "Batches per step", "A larger batch in the same memory."),
        Setting("ema", "Average of weights", "Decay per step, such as 0.99; 0: none.", "%.4f"),
        Setting("frozen_epochs", "Frozen epochs", "The encoder stands still at first."),
        Setting("batch_norm", "Batch norms of the encoder", "Frozen suits very small batches."),
        Setting("patience", "Stop early after", "So many epochs without a better one; 0 never."),
    ),
    "Machine": (
        Setting("precision", "Precision", "Numbers it computes with."),
        Setting("compile", "Compile the network", "Takes a minute first; may be faster on a GPU."),
        Setting("threads", "CPU threads", "0 takes all cores."),
    ),
}  # fmt: skip


class Lasting(TypedDict):
    """What makes a widget keep its value while it is not drawn: on other pages, and in an outage."""

    key: str
    persist_state: Literal["session"]


def lasting(key: str) -> Lasting:
    """Give a widget's key, and have its value kept."""
    return {"key": key, "persist_state": "session"}


def choose_settings(store: Store, base: TrainingConfig, suffix: str, class_names: Sequence[str]) -> Changes:
    """Draw all settings in tabs; give what they say, by key."""
    changes: Changes = {}
    tabs = dict(zip(("Network", *GROUPS), st.tabs(["Network", *GROUPS]), strict=True))
    with tabs["Network"]:
        changes |= _choose_network(base, suffix)
        _take_weights(store)
    for name, settings in GROUPS.items():
        with tabs[name]:
            changes |= _choose_first(store, name, base, suffix)
            left, right = st.columns(2)
            for number, setting in enumerate(settings):
                with (left, right)[number % 2]:
                    changes[setting.key] = _choose(setting, getattr(base, setting.key), suffix, class_names)
    return changes


def _choose_network(base: TrainingConfig, suffix: str) -> Changes:
    models = recipes.models()
    model = str(_pick("Model", list(models), base.model, f"model_{suffix}", models))
    encoders = recipes.encoders(model)
    known = (
        encoders
        if base.model != model or base.encoder in encoders
        else encoders | {base.encoder: base.encoder}
    )
    encoder = base.encoder if base.encoder in known else next(iter(known))
    changes: Changes = {"model": model}
    changes["encoder"] = _pick(
        "Encoder", list(known), encoder, f"encoder_{model}_{suffix}", known,
        "The part that is pretrained. Those tested with this model; any other name of timm or smp: --set.",
    )  # fmt: skip
    starts = recipes.start_weights(str(changes["encoder"]))
    start = base.encoder_weights if base.encoder_weights in starts else next(iter(starts))
    key = f"weights_{changes['encoder']}_{suffix}"
    changes["encoder_weights"] = _pick("Weights of the encoder", list(starts), start, key, starts)
    return changes


def _take_weights(store: Store) -> None:
    """Take a file of the visitor's own weights; it can be chosen as a start from then on."""
    file = st.file_uploader(
        "Weights of your own", ["pt", "pth", "safetensors"], key="own_weights",
        help="A state dict of the whole network or of its encoder. Chosen under “Start from”.",
    )  # fmt: skip
    if file is not None and st.session_state.get("own_weights_taken") != file.file_id:
        with shown_errors():
            kept = start_weights.keep(store, file.name, file.getvalue())
            st.session_state["own_weights_taken"] = file.file_id
            st.toast(f"{kept.name} can be chosen under “Start from”.", icon=":material/check:")
            st.rerun()


def _choose_first(store: Store, group: str, base: TrainingConfig, suffix: str) -> Changes:
    """Draw what stands first in a tab and is more than a number or a word."""
    if group == "Image":
        return _choose_sizes(base, suffix)
    if group == "Optimiser":
        left, right = st.columns(2)
        batch_size = left.number_input("Batch size", 2, 1024, base.batch_size, **lasting(f"batch_{suffix}"))
        rate = right.number_input(
            "Peak learning rate", 1e-9, 1.0, base.decoder_learning_rate,
            format="%.5f", **lasting(f"rate_{suffix}"),
        )  # fmt: skip
        return {"batch_size": batch_size, "decoder_learning_rate": rate}
    return _choose_machine(store, base, suffix) if group == "Machine" else {}


def _choose_sizes(base: TrainingConfig, suffix: str) -> Changes:
    size = st.select_slider(
        "Image size in pixels", sorted({*SIZES, base.size}), base.size, **lasting(f"size_{suffix}"),
        help="Photos are shrunk to this for the network. Larger finds thinner damage and takes longer.",
    )  # fmt: skip
    crops = [0, *sorted({side for side in (*SIZES, base.crop) if 0 < side <= size})]
    crop = st.select_slider(
        "Train on squares of", crops, min(base.crop, crops[-1]), **lasting(f"crop_{size}_{suffix}"),
        format_func=lambda side: f"{side}" if side else "the whole photo",
        help="Cut from the photo at that size, half of them around damage: small damage at a large size "
        "without the time of a large size.",
    )  # fmt: skip
    return {"size": size, "crop": crop}


def _choose_machine(store: Store, base: TrainingConfig, suffix: str) -> Changes:
    left, right = st.columns(2)
    changes: Changes = {
        "seed": left.number_input("Seed", 0, 2**31 - 1, base.seed, **lasting(f"seed_{suffix}"))
    }
    changes["deterministic"] = st.toggle(
        "Deterministic", base.deterministic, **lasting(f"deterministic_{suffix}"),
        help="The same weights to the last bit each time; slower on a GPU.",
    )  # fmt: skip
    key = f"devices_{suffix}"
    here, wanted = workers.most_devices(store), st.session_state.get(key, base.devices)
    if max(here, wanted) > 1:
        changes["devices"] = right.number_input(
            "GPUs", 1, max(here, wanted), wanted, **lasting(key),
            help="Of one machine; they share each batch.",
        )  # fmt: skip
        if changes["devices"] > here:
            right.caption("No machine that is here has as many; the run waits for one.")
    return changes


def _choose(setting: Setting, value: Value, suffix: str, class_names: Sequence[str]) -> Value:
    key = f"{setting.key}_{suffix}"
    if setting.key == "augmentation":
        titles = recipes.augmentations()
        return _pick(setting.title, list(titles), str(value), key, titles, setting.help)
    if setting.key == "ignore_class":
        titles = {"": "None", **{name: name for name in (*class_names, str(value)) if name}}
        return _pick(setting.title, list(titles), str(value), key, titles, setting.help)
    if setting.key in CHOICES:
        return _pick(setting.title, CHOICES[setting.key], str(value), key, TITLES[setting.key], setting.help)
    if isinstance(value, bool):
        return st.toggle(setting.title, value, help=setting.help, **lasting(key))
    if isinstance(value, str):
        return st.text_input(setting.title, value, help=setting.help, **lasting(key))
    kind = type(value)
    low, high = RANGES[setting.key]
    return st.number_input(
        setting.title, kind(low), kind(high), value,
        format=setting.format, help=setting.help, **lasting(key),
    )  # fmt: skip


def _pick(
    title: str,
    options: Sequence[str],
    value: str,
    key: str,
    titles: Mapping[str, str],
    help_: str | None = None,
) -> str:
    return st.selectbox(
        title, options, options.index(value) if value in options else 0,
        format_func=lambda option: titles.get(option, option), help=help_, **lasting(key),
    )  # fmt: skip
