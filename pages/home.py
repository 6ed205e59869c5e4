"""The start: make a project, or see where the chosen one stands and what comes next."""

import streamlit as st

from core.domain.errors import AppError
from core.domain.images import Project
from core.services import evaluation, projects, training
from core.services.home import Store, open_home
from pages.components.jobs import follow_job
from pages.components.shell import PROJECT, class_chip, open_project, shown_errors

SAMPLE_JOB = "sample_job_"  # and the project's id

store = open_home()


def start_sample() -> None:
    """Queue the drawing of the sample project and open it."""
    try:
        project, job = projects.queue_sample(store)
    except AppError as error:
        st.session_state["start_error"] = str(error)
        return
    open_project(project.id)
    st.session_state[SAMPLE_JOB + project.id] = job.id


def start_own() -> None:
    """Make an empty project and open it."""
    try:
        open_project(projects.create(store, st.session_state["new_name"]).id)
    except AppError as error:
        st.session_state["start_error"] = str(error)


def draw_start(*, is_first: bool) -> None:
    """Offer the two ways to begin."""
    own, sample = st.columns(2, gap="medium")
    with own.container(border=True, height="stretch"):
        st.markdown("#### :material/add_photo_alternate: Start with your photos")
        st.write("Plain photos to label here, photos with masks, or the export of another tool.")
        with st.form("new_project", border=False):
            st.text_input("Project name", key="new_name", placeholder="Rental returns 2026", max_chars=80)
            st.form_submit_button(
                "Create project", type="primary" if is_first else "secondary", on_click=start_own
            )
    with sample.container(border=True, height="stretch"):
        st.markdown("#### :material/directions_car: Try the sample project")
        st.write(
            "60 drawn photos of car panels with scratches, dents and paint loss, labelled and split. "
            "Trains in a minute or two on a laptop."
        )
        st.button("Create sample project", on_click=start_sample)
    if message := st.session_state.pop("start_error", None):
        st.error(message, icon=":material/error:")


def draw_next_step(project: Project, overview: projects.Overview) -> None:
    """Say what to do next, with one button that goes there."""
    runs = training.list_runs(store, project.id)
    is_training = any(not run.state.is_final for run in runs)
    has_epochs = any(run.epochs_done for run in runs)
    champion = evaluation.champion(store, project.id)
    if overview.images == 0:
        step = ("Import photos", "Photos, with or without labels, from any tool.", "pages/images.py")
    elif overview.labelled < 2:
        step = ("Label photos", "Mark at least two photos as done to train on them.", "pages/label.py")
    elif is_training and not has_epochs:
        step = ("Watch the training", "The first epoch is under way.", "pages/train.py")
    elif not has_epochs:
        step = ("Train a model", f"{overview.labelled} labelled photos are ready.", "pages/train.py")
    elif champion is None:
        step = ("Pick the best epoch", "Look at predictions beside the labels and choose.", "pages/review.py")
    else:
        step = ("Predict on new photos", f"Epoch {champion.epoch} is the champion.", "pages/predict.py")
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f"**Next: {step[0].lower()}**  \n{step[1]}")
        if st.button(step[0], type="primary", icon=":material/arrow_forward:"):
            st.switch_page(step[2])


def draw_overview(store: Store, project: Project) -> None:
    """Show the project in figures."""
    overview = projects.overview(store, project.id)
    best = evaluation.best_of_project(store, project.id)
    with st.grid("auto", min_column_width=150):
        st.metric("Photos", f"{overview.images:,}", border=True)
        st.metric("Labelled", f"{overview.labelled:,}", border=True)
        st.metric("Training runs", len(training.list_runs(store, project.id)), border=True)
        st.metric("Best foreground mIoU", "–" if best is None else f"{best:.3f}", border=True)
    draw_next_step(project, overview)
    if project.categories:
        st.subheader("Classes", anchor=False)
        for category in project.categories:
            shown = overview.annotations.get(category.category_id, 0)
            share = shown / max(1, overview.labelled)
            chip, bar = st.columns([1, 3], vertical_alignment="center")
            chip.markdown(class_chip(category))
            bar.progress(share, f"{shown} of {overview.labelled} labelled photos")


project_id = st.session_state.get(PROJECT)
if project_id is None:
    st.title("Find damage on photos", anchor=False)
    st.write(
        "Label photos, train a model in the background, pick the best epoch by looking, "
        "and see what it finds on new photos."
    )
    draw_start(is_first=True)
else:
    project = projects.get(store, project_id)
    st.title(project.name, anchor=False)
    if job_id := st.session_state.get(SAMPLE_JOB + project.id):
        follow_job(store, job_id, SAMPLE_JOB + project.id, "Drawing the sample project")
    with shown_errors():
        draw_overview(store, project)
    with st.expander("New project", icon=":material/add:"):
        draw_start(is_first=False)
