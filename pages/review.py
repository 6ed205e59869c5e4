"""Look at what a checkpoint made of each photo, epoch by epoch, and choose the champion."""

import streamlit as st

from core.domain.runs import Epoch, Run
from core.services import confusions, evaluation, projects, training
from core.services.confusions import Choice, MeasuredPhotos
from core.services.home import open_home
from pages.components import results
from pages.components.analysis import draw_analysis
from pages.components.any_photo import any_photo_view
from pages.components.chart_views import EPOCH
from pages.components.charts import to_address
from pages.components.confusion import draw_classes
from pages.components.duels import draw_duels
from pages.components.photo_stage import ANY_PHOTO, GO_TO, draw_photo
from pages.components.promotion import draw_promotion
from pages.components.shell import current_project, empty_state, part, rerun_part

IMAGE, FILTERED = "review_image", "review_filtered"  # the photo on show, and what was filtered by then
VIEW = "review_view"  # the key of the choice of the view
LONG_NUMBER = 10  # digits in an address that are no epoch; Python refuses to read thousands of them
VALIDATION, CLASSES, ERRORS = "Validation photos", "Classes", "Kinds of errors"
IN_ADDRESS = {VALIDATION: "photos", CLASSES: "classes", ERRORS: "errors", ANY_PHOTO: "any"}

store = open_home()
project = current_project()


def runs_with_epochs() -> list[Run]:
    """Give the runs to look at, those of other projects last; without one, say so and stop."""
    everything = [run for run in training.list_runs(store) if run.epochs_done]
    if not everything:
        st.title("Review", anchor=False)
        empty_state("No epoch to look at yet", "Train a model first; every epoch can be looked at here.")
        st.page_link("pages/train.py", label="Train a model", icon=":material/model_training:")
        st.stop()
    return sorted(everything, key=lambda run: run.project_id != project.id)


def choose_run(runs: dict[str, Run]) -> Run:
    """Draw the choice of the run; those of other projects have their project's name."""
    names = {other.id: other.name for other in projects.list_all(store)}
    titles = {
        run.id: run.name if run.project_id == project.id else f"{names[run.project_id]} / {run.name}"
        for run in runs.values()
    }
    if st.query_params.get("run") in runs:
        st.session_state.setdefault("review_run", st.query_params["run"])
        asked = st.query_params.get("epoch", "")
        if asked.isdecimal() and len(asked) < LONG_NUMBER:
            st.session_state.setdefault(EPOCH, {}).setdefault(st.query_params["run"], int(asked))
    chosen = st.selectbox("Run", list(runs), format_func=titles.__getitem__, key="review_run")
    if st.query_params.get("run") != chosen:
        st.query_params.pop("epoch", None)  # that of the run before
    to_address("run", [chosen])
    return runs[chosen]


def epoch_on_show() -> Epoch:
    """Give the epoch that was chosen last, the best one where none was."""
    done = evaluation.epochs(store, run.id)
    chosen = st.session_state.get(EPOCH, {}).get(run.id)
    return next((e for e in done if e.epoch == chosen), evaluation.best_epoch(done) or done[-1])


def keep_epoch(epoch: int) -> None:
    """Remember the epoch on show, for the other views and in the address."""
    st.session_state.setdefault(EPOCH, {})[run.id] = epoch
    to_address("epoch", [str(epoch)])


def choose_epoch() -> Epoch:
    """Draw the choice of the epoch, for views without the viewer's slider."""
    done = {epoch.epoch: epoch for epoch in evaluation.epochs(store, run.id)}
    key = f"review_epoch_{run.id}"
    if st.session_state.get(key) not in done:
        st.session_state[key] = epoch_on_show().epoch
    chosen = st.selectbox("Epoch", list(done), key=key, width=200)
    keep_epoch(chosen)
    return done[chosen]


def photo_on_show(photos: MeasuredPhotos, ids: list[str], choice: Choice) -> str:
    """Give the photo to show: the same one while epochs change, listed or not, until the filter does."""
    filtered, shown = (choice.shows, choice.cell), st.session_state.get(IMAGE)
    is_new = st.session_state.get(FILTERED) != filtered
    st.session_state[FILTERED] = filtered
    if shown in ids or (shown in photos.ids and not (is_new and ids)):
        return shown
    return ids[0] if ids else photos.ids[0]


@part
def validation_view() -> None:
    """The table and the viewer over the validation photos of the run."""
    shown, categories = epoch_on_show(), training.data_version(store, run).categories
    photos = results.measured_photos(store, run, shown)
    if photos is None or not photos.ids:
        empty_state("No validation photo", "This run has no stored predictions.")
        return
    stage, table = st.columns([2, 1], gap="medium")
    with table:
        promotion = st.container(border=True)
        choice = results.choose_photos(categories)
        listed = confusions.places(photos, choice)
        results.describe_list(photos, categories, choice, len(listed), shown.epoch)
        ids = [photos.ids[place] for place in listed]
        image_id = photo_on_show(photos, ids, choice)
        image_id = results.score_table(run.id, photos, listed, choice, image_id)
    with stage:
        event = draw_photo(store, [run, *rivals], image_id, ids, shown.epoch)
        draw_duels(store, run, event.epoch, rivals)
    with promotion:
        draw_promotion(store, run, event.epoch)
    st.session_state[IMAGE] = image_id
    keep_epoch(event.epoch)
    if event.navigate and ids:
        step = 1 if event.navigate == "next" else -1
        place = ids.index(image_id) + step if image_id in ids else 0
        st.session_state[IMAGE] = ids[max(0, min(len(ids) - 1, place))]
        rerun_part()
    if event.epoch != shown.epoch:
        rerun_part()


@part
def classes_view() -> None:
    """How well an epoch finds each class; a cell of the confusion matrix leads to its photos."""
    photos = results.measured_photos(store, run, choose_epoch())
    if photos is None:
        empty_state("No validation photo", "This run has no stored predictions.")
        return
    categories = training.data_version(store, run).categories
    if cell := draw_classes(photos, categories):
        results.filter_by_cell(categories, cell)
        st.session_state.pop(IMAGE, None)
        st.session_state[GO_TO] = VALIDATION
        st.rerun()


@part
def errors_view() -> None:
    """What kinds of errors an epoch makes; a photo chosen there is shown with the others."""
    if chosen := draw_analysis(store, run, choose_epoch().epoch):
        st.session_state[IMAGE], st.session_state[GO_TO] = chosen, VALIDATION
        st.rerun()


everything = {run.id: run for run in runs_with_epochs()}
with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    st.title("Review", anchor=False)
    run = choose_run(everything)
    is_own = run.project_id == project.id
    views = [VALIDATION, CLASSES, ERRORS, ANY_PHOTO] if is_own else [ANY_PHOTO]
    key = f"{VIEW}_{is_own}"
    if GO_TO in st.session_state:
        st.session_state[key] = st.session_state.pop(GO_TO)
    asked = next((view for view in views if IN_ADDRESS[view] == st.query_params.get("view")), views[0])
    st.session_state.setdefault(key, asked)
    view = st.segmented_control("Show", views, label_visibility="collapsed", key=key) or views[0]
    to_address("view", [IN_ADDRESS[view]])
    rivals = results.choose_rivals(store, run) if view == VALIDATION else []
if view == VALIDATION:
    validation_view()
elif view == CLASSES:
    classes_view()
elif view == ERRORS:
    errors_view()
else:
    any_photo_view(store, project, run)
