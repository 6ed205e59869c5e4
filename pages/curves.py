"""Metrics per epoch, of one run or two beside each other."""

import streamlit as st

from core.domain.runs import Run
from core.services import evaluation, training
from core.services.home import open_home
from pages.components.charts import METRICS, class_figure, metric_figure
from pages.components.shell import current_project, empty_state, part

store = open_home()
project = current_project()
runs = {run.id: run for run in training.list_runs(store, project.id) if run.epochs_done}

st.title("Curves", anchor=False)
if not runs:
    empty_state(
        "No epoch yet", "Start a training; its curves grow here epoch by epoch.", ":material/show_chart:"
    )
    st.page_link("pages/train.py", label="Train a model", icon=":material/model_training:")
    st.stop()

chosen = st.multiselect(
    "Runs",
    list(runs),
    default=list(runs)[:1],
    format_func=lambda run_id: runs[run_id].name,
    max_selections=8,
    key=f"curves_{project.id}",
)
if not chosen:
    st.info("Choose at least one run.", icon=":material/info:")
    st.stop()


def draw_epochs(run: Run) -> None:
    """Draw the table of a run's epochs, one row with all its metrics."""
    epochs = evaluation.epochs(store, run.id)
    best = evaluation.best_epoch(epochs)
    champion = evaluation.champion(store, project.id)
    rows = [
        {
            "Epoch": e.epoch,
            "": "best" if best and e.epoch == best.epoch else "",
            **{f"{title}, {s}": e.metrics.get(f"{p}_{m}") for m, title in METRICS.items() for p, s in SPLITS},
            "Seconds": sum(e.durations.values()),
        }
        for e in epochs
    ]
    if champion and champion.run_id == run.id:
        rows[champion.epoch - 1][""] += " champion"
    numbers = {name: st.column_config.NumberColumn(format="%.4f") for name in rows[0] if ", " in name}
    numbers["Seconds"] = st.column_config.NumberColumn(format="%.1f")
    st.dataframe(rows, hide_index=True, width="stretch", column_config=numbers)


SPLITS = (("val", "valid"), ("train", "train"))


def draw_curves() -> None:
    """Draw all charts of the chosen runs."""
    curves = [(training.get_run(store, run_id), evaluation.epochs(store, run_id)) for run_id in chosen]
    found = {run.id: evaluation.best_epoch(epochs) for run, epochs in curves}
    best = {run_id: epoch.epoch for run_id, epoch in found.items() if epoch}
    left, right = st.columns(2, gap="medium")
    for number, metric in enumerate(METRICS):
        column = left if number % 2 == 0 else right
        figure = metric_figure(curves, metric, best)
        column.plotly_chart(figure, width="stretch", key=f"curve_{metric}", config={"displaylogo": False})
    for run, epochs in curves:
        classes = training.data_version(store, run).categories
        st.subheader(run.name, anchor=False)
        figure = class_figure(epochs, [(c.category_id, c.name, c.color) for c in classes], best.get(run.id))
        st.plotly_chart(figure, width="stretch", key=f"classes_{run.id}", config={"displaylogo": False})
        draw_epochs(run)


is_live = any(not runs[run_id].state.is_final for run_id in chosen)
if is_live:
    is_live = st.toggle("Live", value=True, help="Redraw as epochs come in.")
part(draw_curves, every="3s" if is_live else None)()
