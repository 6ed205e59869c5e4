"""Every checkpoint of a run on the photos kept for testing, and runs beside each other."""

import streamlit as st

from core.domain.runs import Run
from core.services import every_epoch, training
from core.services.every_epoch import MeasuredEpoch
from core.services.home import open_home
from pages.components.charts import run_colors
from pages.components.jobs import follow_job
from pages.components.results import figure, warn_of_different_data
from pages.components.shell import current_project, empty_state, shown_errors
from pages.components.tested import class_bars, epoch_curves
from pages.components.words import plain, size

MOST = 8  # runs beside each other

store = open_home()
project = current_project()
runs = {run.id: run for run in training.list_runs(store, project.id) if run.epochs_done}
colors = run_colors(list(runs.values()))


@st.cache_data(max_entries=100, ttl="10m", show_spinner=False)
def leaks(run_id: str) -> list[str]:
    """Look for photos that are not apart, once per run."""
    return every_epoch.leaks(store, runs[run_id])


def draw_run(run: Run, found: list[MeasuredEpoch]) -> None:
    """Offer to measure what is left of a run, or show how that goes."""
    job = every_epoch.under_way(store, run)
    if job is not None and not job.state.is_final:
        follow_job(store, job.id, f"testing_{job.id}", f"Testing {plain(run.name)}")
        return
    if job is not None and job.error:
        st.error(f"{plain(run.name)}: {job.error}", icon=":material/error:")
    for number, sentence in ((job.result or {}) if job else {}).get("failed", {}).items():
        st.warning(f"{plain(run.name)}, epoch {number}: {sentence}", icon=":material/warning:")
    need = every_epoch.need(store, run)
    if not need.images or not need.epochs:
        if not need.images:
            st.caption(f"{plain(run.name)} has no photo in test.")
        return
    row = st.container(horizontal=True, vertical_alignment="center")
    pictures = f", about {size(need.bytes)} of pictures" if need.bytes else ""
    left = f"{len(need.epochs)} more epochs" if found else f"all {len(need.epochs)} epochs"
    if len(need.epochs) == 1:
        left = "1 more epoch" if found else "its epoch"
    if row.button(f"Test {left} of {plain(run.name)}", key=f"test_{run.id}", icon=":material/rule:"):
        with shown_errors():
            every_epoch.measure(store, run)
            st.rerun()
    row.caption(f"{need.images:,} photos each{pictures}; goes on in the background.")


def draw_table(chosen: list[Run], tested: dict[str, list[MeasuredEpoch]]) -> None:
    """Draw one row per run and measured epoch, those that valid chooses marked."""
    rows = [
        {
            "Run": run.name,
            "Epoch": epoch.epoch,
            "": "best on valid" if epoch.is_best_on_valid else "",
            "mIoU, test": epoch.scores.miou_foreground,
            "Dice, test": epoch.scores.dice_foreground,
            "Any damage, Dice": epoch.scores.any_dice,
            "Pixel accuracy": epoch.scores.pixel_accuracy,
            "mIoU, valid": epoch.valid,
        }
        for run in chosen
        for epoch in tested[run.id]
    ]
    numbers = {
        name: st.column_config.NumberColumn(format="%.4f")
        for name in rows[0]
        if name not in ("Run", "Epoch", "")
    }
    st.dataframe(rows, hide_index=True, width="stretch", column_config=numbers)


def draw_tests(chosen: list[Run]) -> None:
    """Draw what was measured of the chosen runs."""
    tested = {run.id: every_epoch.measured(store, run) for run in chosen}
    for run in chosen:
        draw_run(run, tested[run.id])
    shown = [run for run in chosen if tested[run.id]]
    if not shown:
        return
    for run in shown:
        for warning in every_epoch.warnings(run, tested[run.id]):
            st.info(plain(warning), icon=":material/balance:")
    warn_of_different_data(store, shown, ("test", "valid"))
    if any(len(tested[run.id]) > 1 for run in shown):
        st.caption("Solid test, dotted valid. Star: the epoch that valid chooses.")
        curves = epoch_curves(shown, tested, colors)
        st.plotly_chart(curves, width="stretch", key="tests", config={"displaylogo": False})
    best = {run.id: epoch for run in shown for epoch in tested[run.id] if epoch.is_best_on_valid}
    together = [run for run in shown if run.id in best]
    if together:
        with st.grid(4, min_column_width=150):
            for run in together:
                epoch = best[run.id]
                st.metric(
                    f"{plain(run.name)}, epoch {epoch.epoch}",
                    figure(epoch.scores.miou_foreground),
                    help=f"Foreground mIoU on {epoch.images:,} test photos, of the epoch that valid chooses.",
                )
        bars = [
            (
                f"{run.name}, epoch {best[run.id].epoch}",
                colors[run.id],
                every_epoch.class_iou(best[run.id], training.data_version(store, run).categories),
            )
            for run in together
        ]
        st.plotly_chart(class_bars(bars), width="stretch", key="tests_classes", config={"displaylogo": False})
    draw_table(shown, tested)
    for warning in dict.fromkeys(w for run in shown for w in leaks(run.id)):
        st.warning(warning, icon=":material/warning:")


st.title("Test", anchor=False)
if not runs:
    empty_state(
        "No epoch to test yet", "Train a model first; then all its epochs can be tested at once.",
        ":material/rule:",
    )  # fmt: skip
    st.page_link("pages/train.py", label="Train a model", icon=":material/model_training:")
    st.stop()
st.caption(
    "The validation photos choose the epoch; the test photos, which chose nothing, say how good it is."
)
picked = st.multiselect(
    "Runs",
    list(runs),
    default=list(runs)[:1],
    format_func=lambda run_id: runs[run_id].name,
    max_selections=MOST,
    key=f"testing_{project.id}",
)
if not picked:
    st.info("Choose at least one run.", icon=":material/info:")
    st.stop()
draw_tests([runs[run_id] for run_id in picked])
