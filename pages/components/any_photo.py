"""Any labelled photo beside its truth with any checkpoint, whatever it was trained on."""

import streamlit as st

from core.domain.images import Project
from core.domain.runs import Run
from core.services import evaluation, training
from core.services.home import Store
from pages.components.results import figure, is_prepared, viewer_classes, viewer_epochs, viewer_image
from pages.components.shell import empty_state, part, rerun_part, shown_errors
from pages.components.viewer import ViewerClass, viewer

PHOTO, WANTED = "any_photo", "any_photo_wanted"


@part
def any_photo_view(store: Store, project: Project, run: Run) -> None:
    """Show any labelled photo of a project with any checkpoint of a run, predicted on demand."""
    if WANTED in st.session_state:
        st.session_state[PHOTO] = st.session_state.pop(WANTED)
    photos = {image.id: image for image in evaluation.labelled_images(store, run, project.id)}
    if not photos:
        empty_state("No other labelled photo", "Label or import photos; they open here with any checkpoint.")
        return
    numbers = [epoch.epoch for epoch in evaluation.epochs(store, run.id)]
    best = evaluation.best_epoch(evaluation.epochs(store, run.id))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        image_id = st.selectbox(
            "Photo", list(photos), format_func=lambda i: photos[i].name, key=PHOTO, width="stretch"
        )
        start = numbers.index(best.epoch) if best else len(numbers) - 1
        epoch = st.selectbox("Epoch", numbers, index=start, key=f"any_epoch_{run.id}", width=120)
    with shown_errors():
        _draw_look(store, run, image_id, list(photos), epoch)


def _draw_look(store: Store, run: Run, image_id: str, ids: list[str], epoch: int) -> None:
    """Show one photo with truth, prediction, error and figures; wait for the export if need be."""
    if not is_prepared(store, run, epoch):
        return
    look = evaluation.look(store, run, epoch, image_id)
    columns = st.columns(4)
    columns[0].metric("IoU", figure(look.picture.iou))
    columns[1].metric("Dice", figure(look.picture.dice))
    columns[2].metric("IoU, any damage", figure(look.any_iou))
    columns[3].metric("Dice, any damage", figure(look.any_dice))
    if look.is_any_damage:
        st.caption(
            "This photo has classes that the model does not know, so damage is compared with no damage."
        )
    classes = [ViewerClass(1, "any damage", "#0072B2")]
    event = viewer(
        key="viewer_any",
        image=viewer_image(store, look.image),
        truth_url=look.truth_link,
        epochs=viewer_epochs(store, run, [look.picture]),
        epoch=epoch,
        classes=classes
        if look.is_any_damage
        else viewer_classes(training.data_version(store, run).categories),
        any_damage=look.is_any_damage,
        position=f"{ids.index(image_id) + 1} / {len(ids)}",
        has_previous=image_id != ids[0],
        has_next=image_id != ids[-1],
    )
    if event.navigate:
        step = 1 if event.navigate == "next" else -1
        st.session_state[WANTED] = ids[max(0, min(len(ids) - 1, ids.index(image_id) + step))]
        rerun_part()
