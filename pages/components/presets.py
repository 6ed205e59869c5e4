"""The recipes as cards, with what they cost on the machine that is here."""

from dataclasses import dataclass

import streamlit as st

from core.domain.errors import AppError
from core.domain.presets import Preset
from core.domain.runs import WorkState
from core.domain.training import TrainingConfig
from core.services import evaluation, recipes, training, workers
from core.services.home import Store
from pages.components.shell import part
from pages.components.words import duration, size

PRESET = "train_preset"
MEASURED = "train_measured"  # what was measured in this session: settings -> job id
OURS = "Ours"


@dataclass(frozen=True)
class Amount:
    """How much there is to train on and to measure with: images, classes, the mean size of a photo."""

    train: int
    valid: int
    classes: int
    megapixels: float


def amount_of(store: Store, project_id: str, data: training.TrainingData) -> Amount:
    """Count what a training would use, for forecasts."""
    splits = [item.split for item in data.items]
    megapixels = recipes.mean_megapixels(store, project_id)
    return Amount(splits.count("train"), splits.count("valid"), len(data.categories), megapixels)


def choose_preset(store: Store, amount: Amount | None) -> str:
    """Draw the cards; give the chosen recipe's name."""
    presets = recipes.presets()
    chosen = st.session_state.get(PRESET, "fast")
    with st.grid(2, min_column_width=170):
        for name, preset in presets.items():
            if preset.origin == OURS:
                _draw_card(store, name, preset, amount, is_chosen=name == chosen)
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


def draw_cost(store: Store, config: TrainingConfig, amount: Amount) -> None:
    """Say what a run with these settings costs here; measure it where nobody did."""
    cost = recipes.cost(store, config, amount.classes)
    if cost is not None:
        took, memory = _forecast(config, cost, amount)
        text = f"About {took} on {cost.device}, {memory} of memory at its peak."
        if cost.is_disturbed:
            text += " Measured while another training ran."
        st.caption(text)
        if note := recipes.memory_note(store, config, amount.classes):
            st.warning(note, icon=":material/memory:")
        return
    _measure(store, config, amount.classes)


def _draw_card(store: Store, name: str, preset: Preset, amount: Amount | None, *, is_chosen: bool) -> None:
    with st.container(border=True, height="stretch", key=f"card_{name}", vertical_alignment="distribute"):
        st.markdown(f"**{preset.title}**  \n:small[{preset.description}]")
        if text := _expectation(store, preset.config, amount):
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


def _expectation(store: Store, config: TrainingConfig, amount: Amount | None) -> str:
    if amount is None or (cost := recipes.cost(store, config, amount.classes)) is None:
        return ""
    took, memory = _forecast(config, cost, amount)
    return f":material/timer: {took}  :material/memory: {memory}"


def _forecast(config: TrainingConfig, cost: recipes.Cost, amount: Amount) -> tuple[str, str]:
    """Say the time a run takes and the memory at its peak."""
    took = recipes.seconds(config, cost, amount.train, amount.valid, megapixels=amount.megapixels)
    return duration(took), size(cost.memory_bytes(config.batch_size, config.devices))


def _measure(store: Store, config: TrainingConfig, classes: int) -> None:
    """Measure once by itself, where a worker is here that also trains; then show how it goes."""
    measured = st.session_state.setdefault(MEASURED, {})
    key = (classes, *(getattr(config, name) for name in recipes.SHAPING))
    job_id = measured.get(key)
    if job_id is None:
        seen = workers.list_all(store)
        serves_both = any(worker.serves("job") and worker.serves("run") for worker in seen)
        if not serves_both or recipes.is_measuring(store):
            return
        job_id = measured[key] = recipes.measure(store, config, classes).id
    part(_draw_measuring, every="1s")(store, job_id, config, classes)


def _draw_measuring(store: Store, job_id: str, config: TrainingConfig, classes: int) -> None:
    try:
        job = evaluation.job(store, job_id)
    except AppError as error:
        st.caption(str(error))
        return
    if job.state is WorkState.SUCCEEDED:
        if recipes.cost(store, config, classes) is not None:
            st.rerun()
        return
    if job.state in (WorkState.FAILED, WorkState.CANCELLED):
        st.warning(job.error or "The measurement was stopped.", icon=":material/speed:")
        return
    st.caption(":material/speed: Measuring what this costs here; takes some seconds.")
