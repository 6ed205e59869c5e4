"""The epoch on show: its figures, and the way to make it the champion."""

import streamlit as st

from core.domain.runs import Run
from core.services import checkpoints, evaluation
from core.services.home import Store
from pages.components.results import figure
from pages.components.shell import author, rerun_part, shown_errors


def draw_promotion(store: Store, run: Run, epoch: int) -> None:
    """Offer to make the shown epoch the champion; say why not where its checkpoint was not kept."""
    champion = evaluation.champion(store, run.project_id)
    is_champion = champion is not None and (champion.run_id, champion.epoch) == (run.id, epoch)
    done = evaluation.epochs(store, run.id)
    metrics = next((e.metrics for e in done if e.epoch == epoch), {})
    lost = checkpoints.given_up(run, epoch, done)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**Epoch {epoch}**, all validation photos")
        if is_champion:
            st.badge("Champion", icon=":material/trophy:", color="green")
    figures = [("Foreground mIoU", evaluation.METRIC), ("Foreground Dice", "val_dice_foreground")]
    with st.grid(2, min_column_width=110):
        for title, key in figures:
            st.metric(title, figure(metrics.get(key)))
    if not is_champion and st.button(
        f"Make epoch {epoch} champion",
        type="primary",
        icon=":material/trophy:",
        width="stretch",
        disabled=bool(lost),
    ):
        with shown_errors():
            evaluation.promote(store, run, epoch, author=author())
            st.toast(f"Epoch {epoch} of {run.name} is the champion.", icon=":material/trophy:")
            rerun_part()
    if lost:
        st.caption(lost)
