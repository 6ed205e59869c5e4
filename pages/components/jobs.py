"""A job under way, followed until it is over."""

import streamlit as st

from core.domain.runs import WorkState
from core.services import evaluation, workers
from core.services.home import Store
from pages.components.shell import part
from pages.components.words import plain

TITLES = {
    "import": "Import",
    "sample": "Drawing the sample project",
    "evaluate": "Evaluation",
    "analyse": "Analysis of errors",
    "evaluate_every": "Testing every epoch",
    "export": "Preparing a model for predictions",
    "predict": "Prediction",
    "calibrate": "Measuring what a training costs",
    "find_rate": "Search for a learning rate",
    "suggest": "Suggestions for unlabelled photos",
    "score_unlabelled": "Finding what to label next",
}


def follow_job(store: Store, job_id: str, session_key: str, title: str) -> None:
    """Show a job's progress, and its report once it is over.

    Args:
        session_key: where the page keeps the job's id; cleared when the visitor closes the report.
    """
    job = evaluation.job(store, job_id)
    if job.state.is_final:
        _draw_report(job, session_key)
        return

    def progress() -> None:
        now = evaluation.job(store, job_id)
        if now.state.is_final:
            st.rerun()
        st.progress(now.progress, f"{title}… {now.message}")
        warn_without_worker(store)

    part(progress, every="1s")()


def warn_without_worker(store: Store, lane: str = "job") -> None:
    """Say why nothing happens while no worker takes this lane's work on, and where to see to it.

    Args:
        lane: "run" or "job".
    """
    trouble = workers.trouble(store, lane)
    if trouble:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f":orange[:material/hourglass_empty:] {plain(trouble)} This waits.", width="stretch")
            st.page_link("pages/workers.py", label="Workers", icon=":material/dns:")


def job_title(kind: str) -> str:
    """Say what a job does."""
    return TITLES.get(kind, kind.capitalize())


def _draw_report(job: evaluation.Job, session_key: str) -> None:
    if job.state is not WorkState.SUCCEEDED:
        st.error(job.error or f"This was {job.state.value}.", icon=":material/error:")
    elif job.result and "annotations" in job.result:
        _draw_import(job.result)
    elif job.result and "filled" in job.result:
        st.success(f"{job.result['filled']:,} photos have got suggestions.", icon=":material/check_circle:")
    if st.button("Close", key=f"close_{session_key}", icon=":material/close:"):
        st.session_state.pop(session_key, None)
        st.rerun()


def _draw_import(result: dict) -> None:
    taken = sum(result["images"].values())
    parts = [
        f"{count} in {split}" for split, count in result["images"].items() if count and split != "unsplit"
    ]
    labels = sum(result["annotations"].values())
    where = f" ({', '.join(parts)})" if parts else ""
    text = f"Imported {taken:,} photos{where} with {labels:,} annotations."
    if result["already_there"]:
        text += f" {result['already_there']:,} were there already."
    st.success(text, icon=":material/check_circle:")
    for note in result["notes"]:
        st.info(note, icon=":material/info:")
    if result["refused"]:
        st.warning(
            f"{len(result['refused'])} were refused; everything else was taken.", icon=":material/block:"
        )
        st.dataframe(result["refused"], hide_index=True, width="stretch")
