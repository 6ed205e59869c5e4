"""A job under way, followed until it is over."""

import streamlit as st

from core.domain.runs import WorkState
from core.services import evaluation, workers
from core.services.home import Store


def follow_job(store: Store, job_id: str, session_key: str, title: str) -> None:
    """Show a job's progress, and its report once it is over.

    Args:
        session_key: where the page keeps the job's id; cleared when the visitor closes the report.
    """
    job = evaluation.job(store, job_id)
    if job.state.is_final:
        _draw_report(job, session_key)
        return

    @st.fragment(run_every="1s")
    def progress() -> None:
        now = evaluation.job(store, job_id)
        if now.state.is_final:
            st.rerun()
        st.progress(now.progress, f"{title}… {now.message}")
        warn_without_worker(store)

    progress()


def warn_without_worker(store: Store) -> None:
    """Say that nothing will happen while no worker is there, and how to start one."""
    if not workers.is_running(store):
        st.warning(
            "No worker is running, so this waits. The app starts one by itself; by hand: "
            "`python -m core worker`.",
            icon=":material/hourglass_empty:",
        )


def _draw_report(job: evaluation.Job, session_key: str) -> None:
    if job.state is not WorkState.SUCCEEDED:
        st.error(job.error or f"This was {job.state.value}.", icon=":material/error:")
    elif job.result and "images" in job.result:
        _draw_import(job.result)
    if st.button("Close", key=f"close_{session_key}", icon=":material/close:"):
        del st.session_state[session_key]
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
