"""Look at what a checkpoint made of each photo, epoch by epoch, and choose the champion."""

import streamlit as st

from core.domain.runs import Run
from core.services import evaluation, projects, training
from core.services.evaluation import ImageScore
from core.services.home import open_home
from pages.components.any_photo import any_photo_view
from pages.components.promotion import draw_promotion
from pages.components.results import viewer_classes, viewer_epochs, viewer_image
from pages.components.shell import current_project, empty_state, part, rerun_part
from pages.components.viewer import viewer

IMAGE, EPOCH, ROWS = "review_image", "review_epoch", "review_rows"

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
    chosen = st.selectbox("Run", list(runs), format_func=titles.__getitem__, key="review_run")
    return runs[chosen]


def score_table(scores: list[ImageScore], image_id: str) -> str:
    """Draw the table of photos, worst first; give the id of the chosen one."""
    rows = [
        {
            "Photo": score.name.rsplit("/", 1)[-1],
            "IoU": score.iou,
            "Missed": score.missed_share * 100,
            "False": score.false_share * 100,
        }
        for score in scores
    ]
    event = st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        height=min(640, 35 * (len(rows) + 1) + 3),
        on_select="rerun",
        selection_mode="single-row",
        key=f"scores_{run.id}",
        column_config={
            "IoU": st.column_config.ProgressColumn(min_value=0, max_value=1, format="%.3f", width="small"),
            "Missed": st.column_config.NumberColumn(
                format="%.1f %%", help="Damage not found, share of photo"
            ),
            "False": st.column_config.NumberColumn(format="%.1f %%", help="Called damage, is none"),
        },
    )
    chosen = (run.id, tuple(event.selection.rows))
    if st.session_state.get(ROWS) == chosen:
        return image_id
    st.session_state[ROWS] = chosen  # an emptied choice too, so that the same row can be chosen again
    return scores[chosen[1][0]].image_id if chosen[1] else image_id


@part
def validation_view() -> None:
    """The table and the viewer over the validation photos of the run."""
    done = evaluation.epochs(store, run.id)
    best = evaluation.best_epoch(done)
    numbers = [epoch.epoch for epoch in done]
    epoch = st.session_state.get(EPOCH, {}).get(run.id, best.epoch if best else numbers[-1])
    scores = evaluation.image_scores(store, run, epoch if epoch in numbers else numbers[-1])
    ids = [score.image_id for score in scores]
    if not ids:
        empty_state("No validation photo", "This run has no stored predictions.")
        return
    image_id = st.session_state.get(IMAGE)
    image_id = image_id if image_id in ids else ids[0]
    stage, table = st.columns([9, 4], gap="medium")
    with table:
        promotion = st.container(border=True)
        st.caption(f"{len(ids)} validation photos, worst first at epoch {epoch}")
        image_id = score_table(scores, image_id)
    with stage:
        version = training.data_version(store, run)
        image = evaluation.image(store, image_id)
        event = viewer(
            key=f"viewer_{run.id}",
            image=viewer_image(store, image),
            truth_url=evaluation.truth_link(store, run, image),
            epochs=viewer_epochs(store, run, evaluation.epoch_pictures(store, run, image_id)),
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


with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    st.title("Review", anchor=False)
    run = choose_run()
    is_own = run.project_id == project.id
    views = ["Validation photos", "Any labelled photo"] if is_own else ["Any labelled photo"]
    view = st.segmented_control(
        "Show", views, default=views[0], label_visibility="collapsed", key=f"view_{is_own}"
    )
if (view or views[0]) == "Validation photos":
    validation_view()
else:
    any_photo_view(store, project, run)
