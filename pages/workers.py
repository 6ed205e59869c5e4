"""The machines that train and carry jobs out: who is there, how busy they are, what waits and why."""

import streamlit as st

from core.domain.runs import Job, Run
from core.domain.version import VERSION
from core.services import projects, training, workers
from core.services.home import open_home
from core.services.workers import UnderWay, Worker
from pages.components.jobs import job_title
from pages.components.machines import draw_head, draw_use
from pages.components.runs import progress_text
from pages.components.shell import empty_state, open_project, part, shown_errors
from pages.components.words import plain

store = open_home()


def draw_machine(worker: Worker, under_way: UnderWay, names: dict[str, str]) -> None:
    """Draw one machine: what it is, how busy it is, what it carries out."""
    host = worker.info.host
    titles = {run.id: run.name for runs in under_way.runs.values() for run in runs}
    holders = {
        gpu: titles.get(run_id, "a run that ends") for gpu, run_id in under_way.gpus.get(host, {}).items()
    }
    with st.container(border=True):
        draw_head(worker)
        if worker.is_here:
            draw_use(worker.info, holders)
        if not draw_work(host, under_way, names) and worker.is_here:
            st.caption("Nothing under way.")


def draw_work(host: str, under_way: UnderWay, names: dict[str, str]) -> bool:
    """Draw what a host carries out; False when that is nothing."""
    runs, jobs = under_way.runs.get(host, []), under_way.jobs.get(host, [])
    for run in runs:
        draw_run(run, names)
    for job in jobs:
        draw_job(job, names)
    return bool(runs or jobs)


def draw_left(host: str, under_way: UnderWay, names: dict[str, str]) -> None:
    """Draw a machine whose worker has ended while its work goes on."""
    with st.container(border=True):
        st.markdown(f"**{plain(host)}**")
        st.caption(
            "Its worker has ended. What it started goes on, and the next worker there watches over it."
        )
        draw_work(host, under_way, names)


def draw_run(run: Run, names: dict[str, str]) -> None:
    """Draw one run under way, with the way to it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        text = progress_text(run) if run.state.value == "running" else "Starting"
        title = f"**{plain(run.name)}** · {plain(names.get(run.project_id, ''))}"
        st.markdown(f":material/model_training: {title}  \n:small[:gray[{text}]]", width="stretch")
        if st.button("Open", key=f"open_{run.id}", icon=":material/arrow_forward:", type="tertiary"):
            open_project(run.project_id)
            st.switch_page("pages/train.py")


def draw_job(job: Job, names: dict[str, str]) -> None:
    """Draw one job under way."""
    where = f" · {plain(names[job.project_id])}" if job.project_id in names else ""
    share = f"{job.progress:.0%}" if job.progress else "starting"
    message = f" · {plain(job.message)}" if job.message else ""
    st.markdown(f":material/task: **{job_title(job.kind)}**{where}  \n:small[:gray[{share}{message}]]")


def draw_queue(names: dict[str, str]) -> None:
    """Draw what waits, in the order in which it starts, with why."""
    waiting, jobs = training.queue(store), workers.waiting_jobs(store)
    st.subheader("Queue", anchor=False)
    if not (waiting or jobs):
        st.caption("Nothing waits.")
    for entry in waiting:
        run = entry.run
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            gpus = f" · {run.config.devices} GPUs" if run.config.devices > 1 else ""
            title = f"**{plain(run.name)}** · {plain(names.get(run.project_id, ''))}{gpus}"
            st.markdown(f"{entry.position}. {title}  \n:small[:gray[{plain(entry.reason)}]]", width="stretch")
            if entry.position > 1 and st.button(
                "Run first", key=f"first_{run.id}", icon=":material/vertical_align_top:", type="tertiary"
            ):
                with shown_errors():
                    training.prioritise(store, run.id)
                    st.rerun()
    trouble = workers.trouble(store, "job") if jobs else ""
    for job in jobs:
        where = f" · {plain(names[job.project_id])}" if job.project_id in names else ""
        reason = trouble or "It starts in a moment."
        st.markdown(f":material/task: **{job_title(job.kind)}**{where}  \n:small[:gray[{plain(reason)}]]")


def draw_live() -> None:
    """Draw machines and queue as they are now."""
    names = {project.id: project.name for project in projects.list_all(store)}
    seen, under_way = workers.list_all(store), workers.under_way(store)
    if not seen:
        empty_state(
            "No worker is running",
            "A worker is the process that trains and carries jobs out. The app starts one by itself, unless "
            "it was told not to; below is how to start one by hand.",
            ":material/dns:",
        )
    with st.grid(2, min_column_width=380):
        for worker in seen:
            draw_machine(worker, under_way, names)
        known = {worker.info.host for worker in seen}
        for host in sorted(under_way.hosts - known):
            draw_left(host, under_way, names)
    draw_queue(names)


def draw_commands() -> None:
    """Say how to start another worker; no password is ever shown."""
    commands = workers.start_commands(store)
    st.subheader("Start another worker", anchor=False)
    here, elsewhere = st.columns(2, gap="medium")
    with here:
        st.markdown("**On this machine**, in Maskwright's folder")
        st.code(commands.here, language="bash", wrap_lines=True)
        st.caption("One is enough for all GPUs of a machine, and the app starts it by itself.")
    with elsewhere:
        st.markdown(f"**On another machine**, in the folder of a Maskwright {VERSION}")
        st.code(commands.elsewhere, language="bash", wrap_lines=True)
        if commands.is_shared:
            st.caption("Put the password in yourself; it is not shown here.")
        else:
            st.caption(
                "Database and files lie on this machine alone so far. Machines work together on a PostgreSQL "
                "database and a file store (S3) that all of them reach, the app included."
            )
    st.caption("docs/deploy.md says it step by step: several machines, GPUs, Ray clusters.")


st.title("Workers", anchor=False)
part(draw_live, every="3s")()
draw_commands()
