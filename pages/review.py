"""Look at what a checkpoint made of each photo, epoch by epoch, and choose the champion."""

import streamlit as st

from core.domain.images import Image
from core.domain.runs import Run
from core.domain.training import DataVersion
from core.services import evaluation, projects, training
from core.services.evaluation import EpochPicture, ImageScore
from core.services.home import open_home
from pages.components.jobs import warn_without_worker
from pages.components.shell import author, current_project, empty_state, shown_errors
from pages.components.viewer import ViewerClass, ViewerEpoch, ViewerImage, viewer

IMAGE, EPOCH = "review_image", "review_epoch"

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


def classes_of(version: DataVersion) -> list[ViewerClass]:
    """Give the viewer's classes: channel, name and colour."""
    return [ViewerClass(i, c.name, c.color) for i, c in enumerate(version.categories, start=1)]


def shown_image(image: Image) -> ViewerImage:
    """Give the viewer's photo."""
    return ViewerImage(image.id, image.name, projects.photo_link(store, image, "view"), *image.size_wh)


def epochs_for_viewer(run: Run, pictures: list[EpochPicture]) -> list[ViewerEpoch]:
    """Give the viewer's epochs, the best and the champion marked."""
    best = evaluation.best_epoch(evaluation.epochs(store, run.id))
    champion = evaluation.champion(store, run.project_id)
    return [
        ViewerEpoch(
            picture.epoch,
            picture.prediction_link,
            picture.confidence_link,
            picture.iou,
            picture.dice,
            is_best=best is not None and best.epoch == picture.epoch,
            is_champion=champion is not None and (champion.run_id, champion.epoch) == (run.id, picture.epoch),
        )
        for picture in pictures
    ]


def draw_promotion(run: Run, epoch: int) -> None:
    """Offer to make the shown epoch the champion."""
    champion = evaluation.champion(store, run.project_id)
    is_champion = champion is not None and (champion.run_id, champion.epoch) == (run.id, epoch)
    metrics = next((e.metrics for e in evaluation.epochs(store, run.id) if e.epoch == epoch), {})
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**Epoch {epoch}**, all validation photos")
        if is_champion:
            st.badge("Champion", icon=":material/trophy:", color="green")
    figures = [("Foreground mIoU", evaluation.METRIC), ("Dice", "val_dice_foreground"), ("Loss", "val_loss")]
    with st.grid(3, min_column_width=90):
        for title, key in figures:
            st.metric(title, _figure(metrics.get(key)))
    if not is_champion and st.button(
        "Make champion", type="primary", icon=":material/trophy:", width="stretch"
    ):
        with shown_errors():
            evaluation.promote(store, run, epoch, author=author())
            st.toast(f"Epoch {epoch} of {run.name} is the champion.", icon=":material/trophy:")
            st.rerun(scope="fragment")


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
    rows_chosen = tuple(event.selection.rows)
    if rows_chosen and st.session_state.get("review_rows") != rows_chosen:
        st.session_state["review_rows"] = rows_chosen
        return scores[rows_chosen[0]].image_id
    return image_id


@st.fragment
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
            image=shown_image(image),
            truth_url=evaluation.truth_link(store, run, image),
            epochs=epochs_for_viewer(run, evaluation.epoch_pictures(store, run, image_id)),
            epoch=epoch,
            classes=classes_of(version),
            position=f"{ids.index(image_id) + 1} / {len(ids)}",
            has_previous=image_id != ids[0],
            has_next=image_id != ids[-1],
        )
    with promotion:
        draw_promotion(run, event.epoch)
    st.session_state[IMAGE] = image_id
    st.session_state.setdefault(EPOCH, {})[run.id] = event.epoch
    if event.navigate:
        step = 1 if event.navigate == "next" else -1
        st.session_state[IMAGE] = ids[max(0, min(len(ids) - 1, ids.index(image_id) + step))]
        st.rerun(scope="fragment")
    if event.epoch != epoch:
        st.rerun(scope="fragment")


@st.fragment
def any_photo_view() -> None:
    """Any labelled photo of the project, predicted on demand."""
    photos = {image.id: image for image in evaluation.labelled_images(store, run, project.id)}
    if not photos:
        empty_state("No other labelled photo", "Label or import photos; they open here with any checkpoint.")
        return
    numbers = [epoch.epoch for epoch in evaluation.epochs(store, run.id)]
    best = evaluation.best_epoch(evaluation.epochs(store, run.id))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        image_id = st.selectbox(
            "Photo", list(photos), format_func=lambda i: photos[i].name, key="any_photo", width="stretch"
        )
        start = numbers.index(best.epoch) if best else len(numbers) - 1
        epoch = st.selectbox("Epoch", numbers, index=start, key=f"any_epoch_{run.id}", width=120)
    with shown_errors():
        draw_look(image_id, list(photos), epoch)


def draw_look(image_id: str, ids: list[str], epoch: int) -> None:
    """Show one photo with truth, prediction, error and figures; wait for the export if need be."""
    if not evaluation.is_ready(store, run.id, epoch):
        job = evaluation.prepare(store, run, epoch)

        @st.fragment(run_every="1s")
        def waiting() -> None:
            now = evaluation.job(store, job.id)
            if now.state.is_final:
                evaluation.require_done(now)
                st.rerun()
            st.info(f"Epoch {epoch} is being prepared for predictions.", icon=":material/hourglass_top:")
            warn_without_worker(store)

        waiting()
        return
    look = evaluation.look(store, run, epoch, image_id)
    columns = st.columns(4)
    columns[0].metric("IoU", _figure(look.picture.iou))
    columns[1].metric("Dice", _figure(look.picture.dice))
    columns[2].metric("IoU, any damage", _figure(look.any_iou))
    columns[3].metric("Dice, any damage", _figure(look.any_dice))
    if look.is_any_damage:
        st.caption(
            "This photo has classes that the model does not know, so damage is compared with no damage."
        )
    classes = [ViewerClass(1, "any damage", "#0072B2")]
    event = viewer(
        key="viewer_any",
        image=shown_image(look.image),
        truth_url=look.truth_link,
        epochs=epochs_for_viewer(run, [look.picture]),
        epoch=epoch,
        classes=classes if look.is_any_damage else classes_of(training.data_version(store, run)),
        any_damage=look.is_any_damage,
        position=f"{ids.index(image_id) + 1} / {len(ids)}",
        has_previous=image_id != ids[0],
        has_next=image_id != ids[-1],
    )
    if event.navigate:
        step = 1 if event.navigate == "next" else -1
        st.session_state["any_photo_wanted"] = ids[max(0, min(len(ids) - 1, ids.index(image_id) + step))]
        st.rerun(scope="fragment")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
    st.title("Review", anchor=False)
    run = choose_run()
    is_own = run.project_id == project.id
    views = ["Validation photos", "Any labelled photo"] if is_own else ["Any labelled photo"]
    view = st.segmented_control(
        "Show", views, default=views[0], label_visibility="collapsed", key=f"view_{is_own}"
    )
if view == "Validation photos":
    validation_view()
else:
    if "any_photo_wanted" in st.session_state:
        st.session_state["any_photo"] = st.session_state.pop("any_photo_wanted")
    any_photo_view()
