"""A job under way, followed until it is over."""

from typing import Any

import streamlit as st

from core.domain.runs import WorkState
from core.services import evaluation, workers
from core.services.home import Store
from pages.components.shell import part
from pages.components.words import counted, plain

CLASSES_NAMED = 8  # an import can bring hundreds of classes
REASONS_AS_TEXT = 100  # more refusals than these are a table, which the browser draws line by line
REASONS_HEIGHT = 280
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
        filled = counted(job.result["filled"], "photo has", "photos have")
        st.success(f"{filled} got suggestions.", icon=":material/check_circle:")
    if st.button("Close", key=f"close_{session_key}", icon=":material/close:"):
        st.session_state.pop(session_key, None)
        st.rerun()


def _draw_import(result: dict[str, Any]) -> None:
    taken = sum(result["images"].values())
    parts = [
        f"{count} in {split}" for split, count in result["images"].items() if count and split != "unsplit"
    ]
    labels = sum(result["annotations"].values())
    where = f" ({', '.join(parts)})" if parts else ""
    classes = result.get("classes", {})  # a worker of an older version does not tell them
    text = f"Imported {counted(taken, 'photo')}{where} with {counted(labels, 'annotation')}"
    text += f": {_class_words(classes)}." if classes else "."
    if result["already_there"]:
        text += f" {counted(result['already_there'], 'photo was', 'photos were')} there already."
    st.success(text, icon=":material/check_circle:")
    for note in result["notes"]:
        st.info(note, icon=":material/info:")
    if result["refused"]:
        _draw_refused(result["refused"])


def _draw_refused(refused: list[dict[str, str]]) -> None:
    """Say what was refused and why, in lines that a phone wraps; a very long list is a table."""
    count = counted(len(refused), "file or label was", "files or labels were")
    st.warning(f"{count} refused.", icon=":material/block:")
    if len(refused) > REASONS_AS_TEXT:
        st.dataframe(refused, hide_index=True, width="stretch")
        return
    with st.container(height=REASONS_HEIGHT if len(refused) > 5 else "content", border=False):
        st.markdown("\n".join(f"- **{plain(r['file'])}**: {plain(r['reason'])}" for r in refused))


def _class_words(classes: dict[str, int]) -> str:
    """Name the classes with their annotations: "dent 30, scratch 4"."""
    named = [f"{plain(name)} {count:,}" for name, count in list(classes.items())[:CLASSES_NAMED]]
    more = len(classes) - len(named)
    return ", ".join(named) + (f" and {counted(more, 'more class', 'more classes')}" if more else "")
