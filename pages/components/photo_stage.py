"""A validation photo with what the runs made of it; in words where no picture of that was kept."""

from collections.abc import Sequence

import streamlit as st

from core.domain.runs import Run
from core.services import evaluation, training
from core.services.home import Store
from pages.components import results
from pages.components.any_photo import WANTED
from pages.components.viewer import ViewerEvent, viewer
from pages.components.words import plain

ANY_PHOTO = "Any labelled photo"
GO_TO = "review_go_to"  # the view of the Review page that is to be shown next


def draw_photo(
    store: Store, runs: Sequence[Run], image_id: str, ids: Sequence[str], epoch: int
) -> ViewerEvent:
    """Draw a photo with what the runs made of it.

    Args:
        runs: the main one, and those it is compared with.
        ids: the list that "previous" and "next" go through; the photo may be none of it.
        epoch: of the main run.
    """
    run, place = runs[0], f"{ids.index(image_id) + 1}" if image_id in ids else "–"
    ends = {
        "has_previous": image_id in ids[1:],
        "has_next": bool(ids) and image_id != ids[-1],
    }
    series = results.viewer_series(store, list(runs), image_id)
    if not any(s.id == run.id and any(e.epoch == epoch for e in s.epochs) for s in series):
        return _draw_without_picture(store, run, image_id, epoch, **ends)
    if missing := [plain(r.name) for r in runs if r.id not in {shown.id for shown in series}]:
        st.caption(f"No picture of this photo from: {', '.join(missing)}")
    drawn = [r for r in runs if r.id in {shown.id for shown in series}]
    if others := [plain(r.name) for r in results.with_other_labels(store, drawn, image_id)]:
        st.caption(f"Measured on other labels of this photo than those shown: {', '.join(others)}")
    image = evaluation.image(store, image_id)
    return viewer(
        key=f"viewer_{run.id}",
        image=results.viewer_image(store, image),
        truth_url=evaluation.truth_link(store, run, image),
        series=series,
        epoch=epoch,
        classes=results.viewer_classes(training.data_version(store, run).categories),
        position=f"{place} / {len(ids)}",
        **ends,
    )


def _draw_without_picture(
    store: Store, run: Run, image_id: str, epoch: int, *, has_previous: bool, has_next: bool
) -> ViewerEvent:
    """Say that this prediction was not kept, and offer to predict the photo once more."""
    st.info(
        f"No picture of this photo was kept at epoch {epoch}, only its figures.", icon=":material/hide_image:"
    )
    row = st.container(horizontal=True)
    back = row.button("Previous photo", icon=":material/chevron_left:", disabled=not has_previous)
    on = row.button("Next photo", icon=":material/chevron_right:", disabled=not has_next)
    can_predict = image_id in {image.id for image in evaluation.labelled_images(store, run, run.project_id)}
    if can_predict and row.button("Predict it now", icon=":material/image_search:"):
        st.session_state[WANTED], st.session_state[GO_TO] = image_id, ANY_PHOTO
        st.rerun()
    return ViewerEvent(epoch, "next" if on else "previous" if back else None)
