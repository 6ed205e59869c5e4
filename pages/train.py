"""Start a training and follow the queue."""

import streamlit as st

from core.domain.errors import FormatError, NotEnoughLabels, NotFound, UnknownChoice
from core.domain.runs import WorkState
from core.domain.training import TrainingConfig
from core.services import training
from core.services.home import open_home
from pages.components.jobs import warn_without_worker
from pages.components.presets import amount_of, draw_cost
from pages.components.recipe import choose_config
from pages.components.runs import in_order, run_card, surroundings
from pages.components.shell import current_project, empty_state, part, rerun_part, shown_errors
from pages.components.tryout import draw_preview

STEP = 10
SHOWN = "train_shown"

store = open_home()
project = current_project()


def collected(config: TrainingConfig) -> training.TrainingData | None:
    """Give what would be trained on; where that is not enough, say so."""
    try:
        return training.collect(store, project.id, config)
    except NotEnoughLabels as error:
        empty_state("Not enough labels yet", str(error), ":material/draw:")
        st.page_link("pages/label.py", label="Label photos", icon=":material/draw:")
    except (FormatError, NotFound, UnknownChoice) as error:
        st.error(str(error), icon=":material/error:")
    return None


def draw_data(data: training.TrainingData) -> None:
    """Show what would be trained on."""
    counts = {split: sum(item.split == split for item in data.items) for split in ("train", "valid", "test")}
    with st.grid(3, min_column_width=80):
        for split, count in counts.items():
            st.metric(split.capitalize(), f"{count:,}")
    rows = [
        {"Class": c.name, **{s.capitalize(): data.images_of[s].get(c.category_id, 0) for s in counts}}
        for c in data.categories
    ]
    st.dataframe(rows, hide_index=True, width="stretch", height=min(35 * len(rows) + 38, 330))
    st.caption("Photos that show each class.")
    for warning in data.warnings:
        st.warning(warning, icon=":material/warning:")


def draw_queue() -> None:
    """Draw the newest runs of the project; once nothing is live any more, the page rests."""
    runs = training.list_runs(store, project.id)
    if is_live and all(run.state.is_final for run in runs):
        st.rerun()
    if not runs:
        empty_state("No runs yet", "Start one; it goes on in the background.", ":material/model_training:")
        return
    if any(run.state in (WorkState.QUEUED, WorkState.INTERRUPTED) for run in runs):
        warn_without_worker(store, "run")
    around = surroundings(store)
    shown = st.session_state.get(SHOWN, STEP)
    for run in in_order(runs, around)[:shown]:
        run_card(store, run, around)
    if len(runs) > shown and st.button(f"Show {min(STEP, len(runs) - shown)} more", width="stretch"):
        st.session_state[SHOWN] = shown + STEP
        rerun_part()


st.title("Train", anchor=False)
settings, queue = st.columns([2, 3], gap="large")
with settings:
    st.subheader("New run", anchor=False)
    config = choose_config(store, project)
    action = st.container()
    data = collected(config) if config else None
    if config and data:
        draw_data(data)
        draw_preview(store, project.id, config, data)
    with action, shown_errors():
        if config and data:
            draw_cost(store, config, amount_of(store, project.id, data))
        if st.button("Start training", type="primary", disabled=not data, icon=":material/play_arrow:"):
            assert config is not None
            run = training.start_run(store, project.id, config)
            st.toast(f"{run.name} is queued.", icon=":material/schedule:")

with queue:
    st.subheader("Runs", anchor=False)
    is_live = any(not run.state.is_final for run in training.list_runs(store, project.id))
    part(draw_queue, every="2s" if is_live else None)()
