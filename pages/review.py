"""Look at what a checkpoint made of each photo, epoch by epoch, and choose the champion."""

import streamlit as st

from core.domain.runs import Run
from core.services import evaluation, projects, training
from core.services.home import open_home
from pages.components.analysis import draw_analysis
from pages.components.any_photo import any_photo_view
from pages.components.chart_views import EPOCH
from pages.components.promotion import draw_promotion
from pages.components.results import (
    choose_rivals,
    score_table,
    viewer_classes,
    viewer_image,
    viewer_series,
)
from pages.components.shell import current_project, empty_state, part, rerun_part
from pages.components.viewer import viewer

IMAGE = "review_image"
VIEW, GO_TO = "review_view", "review_go_to"  # the widget's key, and what it is to be set to next
VALIDATION, ERRORS, ANY_PHOTO = "Validation photos", "Kinds of errors", "Any labelled photo"

store = open_home()
project = current_project()


def choose_run() -> Run:
    """Draw the choice of the run; those of other projects come last, with their project's name."""
    everything = [run for run in training.list_runs(store) if run.epochs_done]
    own = [run for run in everything if run.project_id == project.id]
    names = {other.id: other.name for other in projects.list_all(store)}
    runs = {run.id: run for run in own + [run for run in everything if run not in own]}
    if not runs:
        empty_state("No epoch to look at yet", "Train a model first; every epoch can be looked at here.")
        st.page_link("pages/train.py", label="Train a model", icon=":material/model_training:")
        st.stop()
    titles = {
        run.id: run.name if run.project_id == project.id else f"{names[run.project_id]} / {run.name}"
        for run in runs.values()
    }
    if st.query_params.get("run") in runs:
        st.session_state.setdefault("review_run", st.query_params["run"])
        asked = st.query_params.get("epoch", "")
        if asked.isdecimal():
            st.session_state.setdefault(EPOCH, {}).setdefault(st.query_params["run"], int(asked))
    chosen = st.selectbox("Run", list(runs), format_func=titles.__getitem__, key="review_run")
    return runs[chosen]


@part
def validation_view() -> None:
    """The table and the viewer over the validation photos of the run."""
    done = evaluation.epochs(store, run.id)
    best = evaluation.best_epoch(done)
    numbers = [epoch.epoch for epoch in done]
    epoch = st.session_state.get(EPOCH, {}).get(run.id, best.epoch if best else numbers[-1])
    epoch = epoch if epoch in numbers else numbers[-1]
    scores = evaluation.image_scores(store, run, epoch)
    ids = [score.image_id for score in scores]
    if not ids:
        empty_state("No validation photo", "This run has no stored predictions.")
        return
    image_id = st.session_state.get(IMAGE)
    image_id = image_id if image_id in ids else ids[0]
    stage, table = st.columns([2, 1], gap="medium")
    with table:
        promotion = st.container(border=True)
        st.caption(f"{len(ids)} validation photos, worst first at epoch {epoch}")
        image_id = score_table(run.id, scores, image_id)
    with stage:
        version = training.data_version(store, run)
        series = viewer_series(store, [run, *rivals], image_id)
        if missing := [r.name for r in rivals if r.id not in {shown.id for shown in series}]:
            st.caption(f"Did not validate on this photo: {', '.join(missing)}")
        image = evaluation.image(store, image_id)
        event = viewer(
            key=f"viewer_{run.id}",
            image=viewer_image(store, image),
            truth_url=evaluation.truth_link(store, run, image),
            series=series,
            epoch=epoch,
            classes=viewer_classes(version.categories),
            position=f"{ids.index(image_id) + 1} / {len(ids)}",
            has_previous=image_id != ids[0],
            has_next=image_id != ids[-1],
        )
    with promotion:
        draw_promotion(store, run, event.epoch)
    st.session_state[IMAGE] = image_id
    st.session_state.setdefault(EPOCH, {})[run.id] = event.epoch
    if event.navigate:
        step = 1 if event.navigate == "next" else -1
        st.session_state[IMAGE] = ids[max(0, min(len(ids) - 1, ids.index(image_id) + step))]
        rerun_part()
    if event.epoch != epoch:
        rerun_part()


@part
def errors_view() -> None:
    """What kinds of errors an epoch makes; a photo chosen there is shown with the others."""
    done = evaluation.epochs(store, run.id)
    best = evaluation.best_epoch(done)
    numbers = [epoch.epoch for epoch in done]
    shown = st.session_state.get(EPOCH, {}).get(run.id, best.epoch if best else numbers[-1])
    epoch = st.selectbox("Epoch", numbers, numbers.index(shown) if shown in numbers else len(numbers) - 1)
    if chosen := draw_analysis(store, run, epoch):
        st.session_state[IMAGE], st.session_state[GO_TO] = chosen, VALIDATION
        st.session_state.setdefault(EPOCH, {})[run.id] = epoch
        st.rerun()


with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    st.title("Review", anchor=False)
    run = choose_run()
    is_own = run.project_id == project.id
    views = [VALIDATION, ERRORS, ANY_PHOTO] if is_own else [ANY_PHOTO]
    key = f"{VIEW}_{is_own}"
    if GO_TO in st.session_state:
        st.session_state[key] = st.session_state.pop(GO_TO)
    st.session_state.setdefault(key, views[0])
    view = st.segmented_control("Show", views, label_visibility="collapsed", key=key) or views[0]
    rivals = choose_rivals(store, run) if view == VALIDATION else []
if view == VALIDATION:
    validation_view()
elif view == ERRORS:
    errors_view()
else:
    any_photo_view(store, project, run)
