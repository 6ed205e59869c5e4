"""Before a run: what the network will see, and at which rate it learns."""

import plotly.graph_objects as go
import streamlit as st

from core.domain.errors import AppError
from core.domain.runs import WorkState
from core.domain.training import TrainingConfig
from core.services import evaluation, preview, rates, training
from core.services.home import Store
from pages.components.shell import part, shown_errors

SHOWN = 6
SEARCH = "train_search"  # the job of the search for a rate in this session
SEED = "train_preview_seed"


def draw_preview(store: Store, project_id: str, config: TrainingConfig, data: training.TrainingData) -> None:
    """Show training photos as the network will see them, once asked for."""
    if not st.toggle("Show what the network will see", key="preview_shown"):
        return
    seed = st.session_state.get(SEED, 0)
    with shown_errors():
        seen = preview.preview(store, project_id, data, config, seed=seed, count=SHOWN)
        with st.grid(3, min_column_width=90):
            for rgb in seen:
                st.image(rgb, width="stretch")
        st.caption(f"{seen[0].shape[0]} px a side, as in the last epoch; labels in their colours.")
        if st.button("Draw again", icon=":material/casino:", type="tertiary"):
            st.session_state[SEED] = seed + 1
            st.rerun()


def draw_rate_search(store: Store, project_id: str, config: TrainingConfig, suffix: str) -> None:
    """Offer a search for the learning rate, and show what it found."""
    with st.expander("Find a learning rate", icon=":material/query_stats:"):
        st.caption(
            "Trains for 100 steps while the rate rises, and throws the weights away. "
            "Takes about as long as an epoch."
        )
        if st.button("Search", icon=":material/search:", key="search_rate"):
            with shown_errors():
                job = rates.find_rate(store, project_id, config)
                st.session_state[SEARCH] = job.id
        if SEARCH in st.session_state:
            part(_draw_search, every="1s" if _is_under_way(store) else None)(store, config, suffix)


def _is_under_way(store: Store) -> bool:
    try:
        return not evaluation.job(store, st.session_state[SEARCH]).state.is_final
    except AppError:
        return False


def _draw_search(store: Store, config: TrainingConfig, suffix: str) -> None:
    try:
        job = evaluation.job(store, st.session_state[SEARCH])
    except AppError as error:
        st.caption(str(error))
        return
    if not job.state.is_final:
        st.progress(job.progress, job.message or "Waiting for a worker")
        return
    found = rates.rate_search(store, job.id)
    if found is None:
        stopped = job.state is WorkState.CANCELLED
        st.error(job.error or ("The search was stopped." if stopped else "The search failed."))
        return
    st.plotly_chart(_figure(found), width="stretch", config={"displayModeBar": False})
    if found.suggestion is None:
        st.caption(f"No rate stands out: the loss hardly fell. {found.rule}")
        return
    st.caption(found.rule)
    st.button(
        f"Use {found.suggestion:.2g}",
        type="primary",
        on_click=_use,
        args=(found.suggestion, config, suffix),
    )


def _use(rate: float, config: TrainingConfig, suffix: str) -> None:
    """Set the decoder's rate, and the encoder's in the same measure."""
    share = config.encoder_learning_rate / config.decoder_learning_rate
    st.session_state[f"rate_{suffix}"] = rate
    st.session_state[f"encoder_learning_rate_{suffix}"] = min(1.0, rate * share)


def _figure(found: rates.RateSearch) -> go.Figure:
    rates = [rate for rate, _ in found.points]
    figure = go.Figure(
        [
            go.Scatter(x=rates, y=[loss for _, loss in found.points], mode="lines", name="loss", opacity=0.4),
            go.Scatter(x=rates, y=found.smoothed, mode="lines", name="smoothed"),
        ]
    )
    if found.suggestion is not None:
        figure.add_vline(found.suggestion, line_dash="dot", annotation_text=f"{found.suggestion:.2g}")
    figure.update_xaxes(type="log", title="learning rate")
    figure.update_yaxes(title="loss")
    figure.update_layout(height=260, margin={"l": 0, "r": 0, "t": 20, "b": 0}, showlegend=False)
    return figure
