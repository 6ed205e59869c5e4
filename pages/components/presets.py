"""The recipes as cards, with what they cost on the machine that is here."""

import streamlit as st

from core.domain.errors import AppError
from core.domain.presets import Preset
from core.domain.runs import WorkState
from core.domain.training import TrainingConfig
from core.services import evaluation, recipes, training, workers
from core.services.home import Store
from pages.components.shell import part, rerun_part
from pages.components.words import duration, size

PRESET = "train_preset"
MEASURED = "train_measured"  # what was measured in this session: settings -> job id
OURS = "Ours"


def choose_preset(store: Store, data: training.TrainingData | None) -> str:
    """Draw the cards; give the chosen recipe's name."""
    presets = recipes.presets()
    chosen = st.session_state.get(PRESET, "fast")
    with st.grid(2, min_column_width=170):
        for name, preset in presets.items():
            if preset.origin == OURS:
                _draw_card(store, name, preset, data, is_chosen=name == chosen)
    published = [name for name, preset in presets.items() if preset.origin != OURS]
    is_published = chosen in published
    st.selectbox(
        "Published systems",
        published,
        published.index(chosen) if is_published else None,
        format_func=lambda name: f"{presets[name].origin}: {presets[name].title}",
        placeholder=f"Or one of {len(published)} published systems",
        label_visibility="collapsed",
        key=f"published_{chosen}",
        on_change=lambda: _choose(st.session_state.get(f"published_{chosen}") or "fast"),
    )
    if is_published:
        st.caption(f"{presets[chosen].description}  \nStarts from: {presets[chosen].start}.")
    return chosen


def draw_cost(store: Store, config: TrainingConfig, data: training.TrainingData) -> None:
    """Say what a run with these settings costs here; measure it where nobody did."""
    classes = len(data.categories)
    cost = recipes.cost(store, config, classes)
    if cost is not None:
        counts = _counts(data)
        text = f"About {duration(recipes.seconds(config, cost, *counts))} on {cost.device}"
        text += f", {size(cost.memory_bytes(_share(config)))} of memory at its peak."
        if cost.is_disturbed:
            text += " Measured while another training ran."
        st.caption(text)
        if note := recipes.memory_note(store, config, classes):
            st.warning(note, icon=":material/memory:")
        return
    _measure(store, config, classes)


def _draw_card(
    store: Store, name: str, preset: Preset, data: training.TrainingData | None, *, is_chosen: bool
) -> None:
    with st.container(border=True, height="stretch", key=f"card_{name}", vertical_alignment="distribute"):
        st.markdown(f"**{preset.title}**  \n:small[{preset.description}]")
        if text := _expectation(store, preset.config, data):
            st.caption(text)
        st.button(
            "Chosen" if is_chosen else "Choose",
            key=f"choose_{name}",
            type="primary" if is_chosen else "secondary",
            icon=":material/check:" if is_chosen else None,
            width="stretch",
            on_click=_choose,
            args=(name,),
        )


def _choose(name: str) -> None:
    st.session_state[PRESET] = name


def _expectation(store: Store, config: TrainingConfig, data: training.TrainingData | None) -> str:
    if data is None or (cost := recipes.cost(store, config, len(data.categories))) is None:
        return ""
    took = duration(recipes.seconds(config, cost, *_counts(data)))
    return f":material/timer: {took}  :material/memory: {size(cost.memory_bytes(_share(config)))}"


def _measure(store: Store, config: TrainingConfig, classes: int) -> None:
    """Measure once by itself, where a worker is here and idle; then show how it goes."""
    measured = st.session_state.setdefault(MEASURED, {})
    key = (classes, *(getattr(config, name) for name in recipes.SHAPING))
    job_id = measured.get(key)
    if job_id is None:
        serving = [worker for worker in workers.list_all(store) if worker.serves("job")]
        if not serving:
            return
        job_id = measured[key] = recipes.measure(store, config, classes).id
    part(_draw_measuring, every="1s")(store, job_id)


def _draw_measuring(store: Store, job_id: str) -> None:
    try:
        job = evaluation.job(store, job_id)
    except AppError as error:
        st.caption(str(error))
        return
    if job.state is WorkState.SUCCEEDED:
        st.rerun()
    if job.state in (WorkState.FAILED, WorkState.CANCELLED):
        st.warning(job.error or "The measurement was stopped.", icon=":material/speed:")
        return
    st.caption(":material/speed: Measuring what this costs here; takes some seconds.")
    if job.state is WorkState.INTERRUPTED:
        rerun_part()


def _counts(data: training.TrainingData) -> tuple[int, int]:
    splits = [item.split for item in data.items]
    return splits.count("train"), splits.count("valid")


def _share(config: TrainingConfig) -> int:
    """Give one device's share of a batch."""
    return -(-config.batch_size // config.devices)
