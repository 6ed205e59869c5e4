"""The settings of a new run: from a preset, or filled with those of another run."""

from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.domain.errors import AppError, FormatError, NotFound
from core.domain.images import Project
from core.domain.runs import Epoch, Run
from core.domain.training import TrainingConfig, retention
from core.services import checkpoints, evaluation, recipes, start_weights, storage_need, training
from core.services.home import Store
from core.services.storage_need import Pictures, PictureSize
from core.services.training import TrainingData
from pages.components.presets import Amount, amount_of, choose_preset
from pages.components.results import figure
from pages.components.settings import Changes, choose_settings, lasting
from pages.components.shell import shown_errors
from pages.components.tryout import draw_rate_search
from pages.components.words import MIB, plain, size

FILLED = "train_filled"  # (run id, epoch to start from or 0) whose settings are filled in
ROUND = "train_round"  # counts the fillings: new widgets take new defaults
MEASURED = 3  # runs whose pictures are looked at, until one has some
KEEPS = {"all": "All", "best": "The best and the last", "every": "Every n-th, the best and the last"}


def fill_from(run: Run, *, epoch: int = 0) -> None:
    """Fill the settings with a run's at the next run of the script; with ``epoch`` start from its weights."""
    st.session_state[FILLED] = (run.id, epoch)
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1


def choose_config(store: Store, project: Project) -> TrainingConfig | None:
    """Draw the recipe and its settings; None while a setting is wrong."""
    with shown_errors():
        usual = _collected(store, project.id, TrainingConfig())
        base, suffix = _choose_base(store, amount_of(store, project.id, usual) if usual else None)
        changes: Changes = {
            "epochs": st.number_input("Epochs", 1, 10_000, base.epochs, **lasting(f"epochs_{suffix}"))
        }
        changes |= _choose_start(store, project.id, base, suffix)
        with st.expander("All settings", icon=":material/tune:", key="more_settings"):
            names = [category.name for category in project.categories]
            changes |= choose_settings(store, base, suffix, names)
            changes |= _choose_kept(base, suffix)
            config = training.reconfigure(base, changes)
            data = usual if _chooses_as_usual(config) else _collected(store, project.id, config)
            _draw_budget(store, project.id, config, data)
        draw_rate_search(store, project.id, config, suffix)
        return config
    return None


def _collected(store: Store, project_id: str, config: TrainingConfig) -> TrainingData | None:
    """Give what a training would use; None where that is not enough yet, which the page says elsewhere."""
    try:
        return training.collect(store, project_id, config)
    except AppError:
        return None


def _chooses_as_usual(config: TrainingConfig) -> bool:
    """Tell whether a run would use as many photos as the cards were drawn for."""
    usual = TrainingConfig()
    return all(getattr(config, key) == getattr(usual, key) for key in training.CHOOSES_PHOTOS)


def _choose_base(store: Store, amount: Amount | None) -> tuple[TrainingConfig, str]:
    """Give the settings to begin with, and what tells their widgets from those of others."""
    fill = st.session_state.get(ROUND, 0)
    run_id, epoch = st.session_state.get(FILLED, ("", 0))
    if run_id:
        run = training.get_run(store, run_id)
        base = replace(run.config, start_from=f"{run.id}/{epoch}") if epoch else run.config
        _draw_filled(run, epoch)
        return base, f"{fill}"
    name = choose_preset(store, amount)
    return recipes.presets()[name].config, f"{name}_{fill}"


def _draw_filled(run: Run, epoch: int) -> None:
    start = f", starting from its epoch {epoch}" if epoch else ""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        text = f"Settings of **{plain(run.name)}**{start}; the data is as it is now."
        st.markdown(f":material/content_copy: {text}", width="stretch")
        if st.button("Back to presets", type="tertiary", icon=":material/close:"):
            del st.session_state[FILLED]
            st.session_state[ROUND] += 1
            st.rerun()


def _choose_start(store: Store, project_id: str, base: TrainingConfig, suffix: str) -> Changes:
    """Let the visitor choose where the weights come from: the encoder's own, a file, or a checkpoint."""
    runs = {run.id: run for run in checkpoints.startable_runs(store, base) if run.project_id == project_id}
    start = _wanted_start(store, base)
    if start:
        runs.setdefault(start[0].id, start[0])
    files = {kept.sha256: f"File {kept.name}" for kept in start_weights.list_of(store)}
    if base.start_weights:
        files.setdefault(base.start_weights, f"File {start_weights.title(store, base.start_weights)}")
    if not runs and not files:
        return {"start_from": "", "start_weights": ""}
    plainly = "Random weights" if base.encoder_weights == "none" else "ImageNet weights"
    titles = {"": plainly, **{run.id: run.name for run in runs.values()}, **files}
    options = list(titles)
    row = st.container(horizontal=True)
    chosen = row.selectbox(
        "Start from", options, options.index(start[0].id if start else base.start_weights),
        format_func=titles.__getitem__,
        **lasting(f"start_{project_id}_{suffix}"),
        help="A checkpoint makes this run a fine-tuning of that one.",
    )  # fmt: skip
    if chosen in files:
        return {"start_from": "", "start_weights": chosen}
    if not chosen:
        return {"start_from": "", "start_weights": ""}
    kept = {epoch.epoch: epoch for epoch in checkpoints.kept_epochs(store, chosen)}
    best = evaluation.best_epoch(list(kept.values()))
    wanted = start[1] if start and start[0].id == chosen else best.epoch if best else max(kept)
    key = f"start_epoch_{chosen}_{suffix}"
    wanted = st.session_state.get(key, wanted)
    epochs = sorted({*kept, wanted})  # one given up since stays chosen: it is refused, never exchanged
    epoch = row.selectbox(
        "Epoch", epochs, epochs.index(wanted), **lasting(key),
        format_func=lambda number: _epoch_title(number, kept.get(number), best), width=170,
    )  # fmt: skip
    return {"start_from": f"{chosen}/{epoch}", "start_weights": ""}


def _wanted_start(store: Store, base: TrainingConfig) -> tuple[Run, int] | None:
    """Give the checkpoint that the filled-in settings start from, as long as it is there."""
    try:
        return checkpoints.start_point(store, base)
    except (NotFound, FormatError) as error:
        st.warning(f"{error} Choose another one to start from.", icon=":material/warning:")
        return None


def _epoch_title(number: int, epoch: Epoch | None, best: Epoch | None) -> str:
    if epoch is None:
        return f"{number} (not kept)"
    star = ", best" if best and best.epoch == number else ""
    return f"{number} (mIoU {figure(epoch.metrics.get(evaluation.METRIC))}{star})"


def _choose_kept(base: TrainingConfig, suffix: str) -> Changes:
    row = st.container(horizontal=True)
    keep = _choose_keep(row, base, suffix)
    pictures = row.number_input(
        "Pictures of validation photos", 0, 10**6, base.pictures, **lasting(f"pictures_{suffix}"),
        help="So many photos get pictures at each epoch, the same ones in all runs on the same photos; "
        "0 keeps none. Curves and figures are of all photos and stay, whatever is kept.",
    )  # fmt: skip
    return {"keep": keep, "pictures": pictures}


def _choose_keep(row: DeltaGenerator, base: TrainingConfig, suffix: str) -> str:
    kind, _, _ = base.keep.partition(":")
    now = retention(base.keep)
    kinds = list(KEEPS)
    chosen = row.selectbox(
        "Checkpoints to keep", kinds, kinds.index(kind), format_func=KEEPS.__getitem__,
        **lasting(f"keep_{suffix}"),
        help="Curves, figures and pictures of all epochs stay, whatever is kept.",
    )  # fmt: skip
    if chosen == "all":
        return "all"
    default = now.best if chosen == "best" and kind == "best" else now.every if kind == chosen else 3
    title = "How many of the best" if chosen == "best" else "n"
    number = row.number_input(title, 1, 10_000, default, width=130, **lasting(f"keep_{chosen}_{suffix}"))
    return f"{chosen}:{number}"


def _draw_budget(store: Store, project_id: str, config: TrainingConfig, data: TrainingData | None) -> None:
    """Say what the run's checkpoints and pictures will take, and what is there."""
    valid = [item for item in data.items if item.split == "valid"] if data else []
    need = storage_need.need(store, config, valid, _picture_size(store, project_id))
    budget = need.checkpoints
    count = "1 checkpoint" if budget.most == 1 else f"{budget.most} checkpoints"
    if budget.each_bytes is None or budget.total_bytes is None:
        text = f"Keeps up to {count}; what one takes is known after the first epoch with this network."
    else:
        text = f"Keeps up to {count} of {size(budget.each_bytes)}: {size(budget.total_bytes)}."
    text += f" {_pictures_text(need.pictures)}" if valid else ""
    if budget.kept_bytes:
        text += f" Checkpoints of all runs: {size(budget.kept_bytes)} so far."
    if budget.free_bytes is not None:
        text += f" {size(budget.free_bytes)} are free on the disk."
    if need.is_tight:
        st.warning(f"{text} Keep fewer, or free some space.", icon=":material/hard_drive:")
    else:
        st.caption(text)


def _pictures_text(pictures: Pictures) -> str:
    if not pictures.photos:
        return "No pictures of validation photos."
    photos = (
        f"{pictures.photos:,}"
        if pictures.photos == pictures.of
        else f"{pictures.photos:,} of {pictures.of:,}"
    )
    about = "about" if pictures.like else "up to about"
    takes = f"{about} {size(pictures.total_bytes)}" if pictures.total_bytes >= MIB else "less than 1 MB"
    epochs = "1 epoch" if pictures.epochs == 1 else f"each of {pictures.epochs:,} epochs"
    return f"Pictures of {photos} validation photos at {epochs}: {takes}."


def _picture_size(store: Store, project_id: str) -> PictureSize | None:
    """Give what pictures of the project's newest runs take, asked for anew only after another epoch."""
    measured = [run for run in training.list_runs(store, project_id) if run.epochs_done][:MEASURED]
    return _measured_size(store, measured, tuple((run.id, run.epochs_done) for run in measured))


@st.cache_data(max_entries=100, show_spinner=False)
def _measured_size(
    _store: Store, _measured: list[Run], versions: tuple[tuple[str, int], ...]
) -> PictureSize | None:
    return storage_need.picture_size(_store, _measured)
