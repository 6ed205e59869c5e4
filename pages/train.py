"""Start a training and follow the queue."""

import streamlit as st

from core.domain.errors import AppError
from core.domain.images import Project
from core.domain.runs import Run, WorkState
from core.domain.training import TrainingConfig
from core.services import training
from core.services.home import open_home
from pages.components.jobs import warn_without_worker
from pages.components.runs import draw_progress, state_badge
from pages.components.shell import current_project, empty_state, rerun_part, shown_errors

store = open_home()
project = current_project()


def choose_config() -> TrainingConfig | None:
    """Draw the recipe and its settings; None while a setting is wrong."""
    presets = training.presets()
    name = st.selectbox("Preset", list(presets), format_func=lambda n: presets[n].title)
    preset = presets[name]
    st.caption(preset.description)
    changes: dict[str, str | int | float | bool] = {}
    changes["epochs"] = st.number_input("Epochs", 1, 1000, preset.config.epochs)
    with st.expander("More settings", icon=":material/tune:"):
        changes["size"] = st.select_slider(
            "Image size in pixels", [128, 192, 256, 320, 384, 448, 512], preset.config.size,
            help="Photos are shrunk to this for the network. Larger finds thinner damage and takes longer.",
        )  # fmt: skip
        changes["batch_size"] = st.number_input("Batch size", 2, 64, preset.config.batch_size)
        changes["decoder_learning_rate"] = st.number_input(
            "Peak learning rate", 1e-5, 1e-1, preset.config.decoder_learning_rate, format="%.5f"
        )
        changes["augment"] = st.toggle(
            "Augment", preset.config.augment, help="Flips, turns, zooms and light changes, anew each epoch."
        )
        changes["seed"] = st.number_input("Seed", 0, 2**31 - 1, preset.config.seed)
    with shown_errors():
        return training.configure(name, changes)


def draw_data(project: Project, config: TrainingConfig) -> bool:
    """Show what would be trained on; False when that is not enough."""
    try:
        data = training.collect(store, project.id, config)
    except AppError as error:
        empty_state("Not enough labels yet", str(error), ":material/draw:")
        st.page_link("pages/label.py", label="Label photos", icon=":material/draw:")
        return False
    counts = {split: sum(item.split == split for item in data.items) for split in ("train", "valid", "test")}
    columns = st.columns(3)
    for column, (split, count) in zip(columns, counts.items(), strict=True):
        column.metric(split.capitalize(), f"{count:,}")
    rows = [
        {"Class": c.name, **{s.capitalize(): data.images_of[s].get(c.category_id, 0) for s in counts}}
        for c in data.categories
    ]
    st.dataframe(rows, hide_index=True, width="stretch", height=min(35 * len(rows) + 38, 330))
    st.caption("Photos that show each class.")
    for warning in data.warnings:
        st.warning(warning, icon=":material/warning:")
    return True


def draw_run(run: Run, position: int | None) -> None:
    """Draw one run: state, progress, the buttons that fit, its log."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{run.name}**", width="content")
            state_badge(run)
            if position is not None:
                st.caption(f"Number {position} in the queue")
            st.space("stretch")
            if not run.state.is_final and st.button("Stop", key=f"stop_{run.id}", icon=":material/stop:"):
                training.cancel(store, run.id)
                rerun_part()
            is_resumable = run.state in (WorkState.INTERRUPTED, WorkState.FAILED, WorkState.CANCELLED)
            if is_resumable and st.button("Resume", key=f"resume_{run.id}", icon=":material/play_arrow:"):
                training.resume(store, run.id)
                rerun_part()
        draw_progress(store, run)
        with st.expander("Log", icon=":material/terminal:", key=f"log_{run.id}", on_change="rerun") as log:
            if log.open:
                st.code(training.log_tail(store, run.id) or "Nothing yet.", language=None, height=260)


st.title("Train", anchor=False)
settings, queue = st.columns([2, 3], gap="large")
with settings:
    st.subheader("New run", anchor=False)
    config = choose_config()
    action = st.container()
    can_start = config is not None and draw_data(project, config)
    with action, shown_errors():
        if st.button("Start training", type="primary", disabled=not can_start, icon=":material/play_arrow:"):
            assert config is not None
            run = training.start_run(store, project.id, config)
            st.toast(f"{run.name} is queued.", icon=":material/schedule:")


def draw_queue() -> None:
    """Draw the newest runs of the project."""
    runs = training.list_runs(store, project.id)
    if not runs:
        empty_state(
            "No runs yet", "Start one on the left; it goes on in the background.", ":material/model_training:"
        )
        return
    if any(run.state is WorkState.QUEUED for run in runs):
        warn_without_worker(store)
    waiting = [run.id for run in reversed(training.list_runs(store)) if run.state is WorkState.QUEUED]
    for run in runs[:10]:
        draw_run(run, waiting.index(run.id) + 1 if run.id in waiting else None)


with queue:
    st.subheader("Runs", anchor=False)
    is_live = any(not run.state.is_final for run in training.list_runs(store, project.id))
    st.fragment(draw_queue, run_every="2s" if is_live else None)()
