"""How a run is shown wherever it appears."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from core.domain.runs import Epoch, Run, WorkState
from core.services import evaluation, training, workers
from core.services.home import Store
from core.services.training import Waiting
from core.services.workers import Worker
from pages.components.machines import device_text
from pages.components.recipe import fill_from
from pages.components.results import figure
from pages.components.shell import shown_errors
from pages.components.words import clock, duration, plain, size

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
RESUMABLE = (WorkState.INTERRUPTED, WorkState.FAILED, WorkState.CANCELLED)
SILENT_AFTER_SECONDS = 8.0  # four beats
LOG_HEIGHT = 260


@dataclass(frozen=True)
class Surroundings:
    """What the cards of a list need to know besides their runs: the queue, the machines, the GPUs held."""

    waiting: Mapping[str, Waiting]
    machines: Mapping[str, Worker]
    gpus: Mapping[str, Mapping[str, str]]


def surroundings(store: Store) -> Surroundings:
    """Look at the queue and the machines once, for all cards."""
    return Surroundings(
        {waiting.run.id: waiting for waiting in training.queue(store)},
        {worker.info.host: worker for worker in workers.list_all(store)},
        workers.under_way(store).gpus,
    )


def in_order(runs: Sequence[Run], around: Surroundings) -> list[Run]:
    """Sort runs, newest first before, so that what is under way comes first and then the queue."""

    def place(run: Run) -> tuple[bool, int]:
        waiting = around.waiting.get(run.id)
        return run.state.is_final, waiting.position if waiting else 0

    return sorted(runs, key=place)


def run_card(store: Store, run: Run, around: Surroundings) -> None:
    """Draw one run: state, progress, the buttons that fit, where it computes, its log."""
    epochs = evaluation.epochs(store, run.id)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(run.name)}**", width="content")
            state_badge(run)
            st.space("stretch")
            with st.container(horizontal=True, width="content"):
                _draw_buttons(store, run, epochs)
        _draw_progress(store, run, around)
        if epochs:
            _draw_figures(run, epochs)
        _draw_place(run, epochs, around)
        if run.attempt:
            _draw_log(store, run)


def state_badge(run: Run) -> None:
    """Draw the state as a badge."""
    title, color, icon = BADGES[run.state]
    if run.cancel_requested and not run.state.is_final:
        title, color, icon = "Stopping", "orange", ":material/stop:"
    st.badge(title, color=color, icon=icon)


def progress_text(run: Run) -> str:
    """Say what a running run does: phase, epoch, batch, speed, time left."""
    progress = run.progress
    parts = [PHASES.get(progress.get("phase", ""), "Starting")]
    if progress.get("phase") in ("training", "validating"):
        parts.append(f"epoch {progress.get('epoch')} of {run.config.epochs}")
        parts.append(f"batch {progress.get('batch')} of {progress.get('batches')}")
    if progress.get("images_per_second"):
        parts.append(f"{progress['images_per_second']:.1f} photos/s")
    if progress.get("eta_seconds") is not None:
        parts.append(f"about {duration(progress['eta_seconds'])} left")
    return " · ".join(parts)


def share_done(run: Run) -> float:
    """Give how far a run is, 0..1."""
    progress = run.progress
    batches = progress.get("batches") or 1
    within = progress.get("batch", 0) / batches if progress.get("phase") == "training" else 0.0
    return min(1.0, (run.epochs_done + within) / run.config.epochs)


def _draw_buttons(store: Store, run: Run, epochs: list[Epoch]) -> None:
    def pressed(title: str, icon: str, help_: str) -> bool:
        key = f"{title.lower().replace(' ', '_')}_{run.id}"
        return st.button(title, key=key, icon=f":material/{icon}:", help=help_, type="tertiary")

    with shown_errors():
        if run.state is WorkState.QUEUED and pressed(
            "Run first", "vertical_align_top", "Before all that wait."
        ):
            training.prioritise(store, run.id)
            st.rerun()
        if not run.state.is_final and pressed("Stop", "stop", "Epochs that are complete stay."):
            training.cancel(store, run.id)
            st.rerun()
        if run.state in RESUMABLE and pressed(
            "Resume", "play_arrow", "Goes on from its last complete epoch."
        ):
            training.resume(store, run.id)
            st.rerun()
        if epochs and pressed("Review", "compare", "Its predictions beside the labels, epoch by epoch."):
            st.switch_page("pages/review.py", query_params={"run": run.id})
        if pressed("Clone", "content_copy", "Fills the settings of a new run with this one's."):
            fill_from(run)
            st.rerun()
        if any(epoch.checkpoint for epoch in epochs) and pressed(
            "Train further", "fork_right", "A new run that starts from one of its checkpoints."
        ):
            best = evaluation.best_epoch([epoch for epoch in epochs if epoch.checkpoint])
            fill_from(run, epoch=(best or epochs[-1]).epoch)
            st.rerun()


def _draw_progress(store: Store, run: Run, around: Surroundings) -> None:
    """Draw how far a run is, why it waits or is silent, and what went wrong."""
    if run.state is WorkState.RUNNING:
        silent = training.seconds_silent(store, run) or 0.0
        if silent < SILENT_AFTER_SECONDS or run.heartbeat_at is None:
            st.progress(share_done(run), progress_text(run))
        else:
            st.progress(share_done(run), f"{run.epochs_done} of {run.config.epochs} epochs done")
            st.warning(
                f"No sign of life since {clock(run.heartbeat_at)} ({duration(silent)}). If it stays silent, "
                "it goes on by itself from its last complete epoch.",
                icon=":material/heart_broken:",
            )
    elif run.state is WorkState.DISPATCHED:
        st.progress(share_done(run), f"Starting on {run.host}")
    elif run.state is WorkState.QUEUED:
        waiting = around.waiting.get(run.id)
        if waiting:
            st.caption(f"Number {waiting.position} in the queue. {waiting.reason}")
    _draw_trouble(run)


def _draw_trouble(run: Run) -> None:
    times = "once" if run.crashes == 1 else f"{run.crashes} times"
    if run.state is WorkState.FAILED:
        st.error(run.error, icon=":material/error:")
    elif run.state is WorkState.INTERRUPTED:
        often = f" {times} since its last epoch" if run.crashes else ""
        then = (
            "It goes on by itself as soon as a worker is free."
            if training.goes_on(run)
            else "It does not go on by itself any more: see the log, then resume it."
        )
        st.caption(f":material/restart_alt: Interrupted{often} ({plain(run.error)}). {then}")
    elif run.crashes and not run.state.is_final:
        st.caption(f":material/restart_alt: Interrupted {times} since its last epoch; it goes on by itself.")
    elif run.error and run.state is WorkState.DISPATCHED:
        st.caption(run.error)


def _draw_figures(run: Run, epochs: list[Epoch]) -> None:
    best = evaluation.best_epoch(epochs)
    last = epochs[-1].metrics
    with st.grid(4, min_column_width=100):
        st.metric("Epochs", f"{run.epochs_done} / {run.config.epochs}")
        st.metric("Train loss", figure(last.get("train_loss")))
        st.metric("Valid loss", figure(last.get("val_loss")))
        st.metric(
            "Best mIoU", figure(best.metrics.get(evaluation.METRIC)) if best else "–",
            help=f"Foreground mIoU on the validation photos, epoch {best.epoch}." if best else None,
        )  # fmt: skip


def _draw_place(run: Run, epochs: list[Epoch], around: Surroundings) -> None:
    """Say where it computes or computed, on what, how long it took, and what its checkpoints take."""
    parts: list[str] = []
    host = run.host or ""
    if run.machine or run.state.is_active:
        parts.append(f":material/dns: {plain(run.machine or host)}")
    if run.device:
        parts.append(plain(run.device))
    machine = around.machines.get(host)
    if run.state is WorkState.RUNNING and machine and machine.is_here:
        held = {gpu for gpu, holder in around.gpus.get(host, {}).items() if holder == run.id}
        parts += device_text(machine.info, held)
    if run.state is WorkState.SUCCEEDED and run.started_at and run.ended_at:
        parts.append(f"took {duration((run.ended_at - run.started_at).total_seconds())}")
    kept = [epoch for epoch in epochs if epoch.checkpoint]
    if kept:
        takes = sum(epoch.checkpoint_bytes or 0 for epoch in kept)
        count = "1 checkpoint" if len(kept) == 1 else f"{len(kept)} checkpoints"
        parts.append(f"{count}, {size(takes)}" if takes else count)
    if run.config.start_from:
        parts.append("started from a checkpoint")
    if parts:
        st.caption(" · ".join(parts))


def _draw_log(store: Store, run: Run) -> None:
    with st.expander("Log", icon=":material/terminal:", key=f"log_{run.id}", on_change="rerun") as log:
        if log.open:
            text = training.log_tail(store, run.id) or "Nothing yet."
            height = LOG_HEIGHT if text.count("\n") > 10 else "content"
            with st.container(height=height, border=False, autoscroll=True, key=f"log_text_{run.id}"):
                st.code(text, language=None)
