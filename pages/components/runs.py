"""How a run is shown wherever it appears."""

import streamlit as st

from core.domain.runs import Run, WorkState
from core.services import evaluation, training
from core.services.home import Store
from pages.components.results import figure

BADGES = {
    WorkState.QUEUED: ("Queued", "gray", ":material/schedule:"),
    WorkState.DISPATCHED: ("Starting", "blue", ":material/hourglass_top:"),
    WorkState.RUNNING: ("Running", "blue", ":material/autorenew:"),
    WorkState.SUCCEEDED: ("Done", "green", ":material/check:"),
    WorkState.FAILED: ("Failed", "red", ":material/error:"),
    WorkState.CANCELLED: ("Stopped", "gray", ":material/stop:"),
    WorkState.INTERRUPTED: ("Interrupted", "orange", ":material/pause:"),
}
PHASES = {
    "preparing": "Preparing the photos",
    "training": "Training",
    "validating": "Validating",
    "exporting": "Preparing for predictions",
}


def state_badge(run: Run) -> None:
    """Draw the state as a badge."""
    title, color, icon = BADGES[run.state]
    if run.cancel_requested and not run.state.is_final:
        title, color, icon = "Stopping", "orange", ":material/stop:"
    st.badge(title, color=color, icon=icon)


def draw_progress(store: Store, run: Run) -> None:
    """Draw how far a run is, its figures so far, and what went wrong."""
    total = run.config.epochs
    if run.state is WorkState.RUNNING:
        st.progress(_share(run), _progress_text(run))
        silent = training.seconds_silent(run)
        if silent is not None and silent > 10:
            st.warning(f"No sign of life for {silent:.0f} seconds.", icon=":material/heart_broken:")
    elif not run.state.is_final:
        st.progress(run.epochs_done / total, f"{run.epochs_done} of {total} epochs done")
    if run.error:
        (st.error if run.state is WorkState.FAILED else st.warning)(run.error)
    epochs = evaluation.epochs(store, run.id)
    if not epochs:
        return
    best = evaluation.best_epoch(epochs)
    last = epochs[-1].metrics
    columns = st.columns(4)
    columns[0].metric("Epochs", f"{run.epochs_done} / {total}")
    columns[1].metric("Train loss", figure(last.get("train_loss")))
    columns[2].metric("Valid loss", figure(last.get("val_loss")))
    columns[3].metric(
        "Best mIoU", figure(best.metrics.get(evaluation.METRIC)) if best else "–",
        help=f"Foreground mIoU on the validation photos, epoch {best.epoch}." if best else None,
    )  # fmt: skip


def _share(run: Run) -> float:
    progress = run.progress
    batches = progress.get("batches") or 1
    within = progress.get("batch", 0) / batches if progress.get("phase") == "training" else 0.0
    return min(1.0, (run.epochs_done + within) / run.config.epochs)


def _progress_text(run: Run) -> str:
    progress = run.progress
    phase = PHASES.get(progress.get("phase", ""), "Starting")
    parts = [phase]
    if progress.get("phase") in ("training", "validating"):
        parts.append(f"epoch {progress.get('epoch')} of {run.config.epochs}")
        parts.append(f"batch {progress.get('batch')} of {progress.get('batches')}")
    if progress.get("images_per_second"):
        parts.append(f"{progress['images_per_second']:.1f} photos/s")
    if progress.get("eta_seconds") is not None:
        parts.append(f"about {duration(progress['eta_seconds'])} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Say a time span: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
