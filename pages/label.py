"""The label canvas and the queue of photos it walks through."""

import streamlit as st

from core.domain.images import ImageFilter, Project
from core.services import assist, labelling, projects, suggestions
from core.services.home import open_home
from pages.components.classes import draw_classes
from pages.components.label_history import draw_history
from pages.components.labeler import LabelerImage, labeler
from pages.components.progress import draw_progress
from pages.components.queue import (
    IMAGE,
    Queue,
    choose_queue,
    draw_go_to,
    draw_usefulness,
    draw_work,
    open_photo,
)
from pages.components.shell import author, current_project, empty_state, part, rerun_part

store = open_home()
project = current_project()


def draw_canvas(project: Project, ids: list[str], image_id: str) -> None:
    """Draw the canvas for one photo and follow its wish to go to another."""
    before, after = labelling.neighbours(ids, image_id)
    shown = labelling.open_image(store, image_id, author=author())
    following = labelling.full_link(store, after) if after else None
    event = labeler(
        key=f"labeler_{project.id}",
        image=LabelerImage(
            image_id, shown.image.name, shown.full_link, shown.view_link, *shown.image.size_wh
        ),
        rev=shown.annotations.rev,
        state=shown.image.state,
        annotations=shown.annotations.annotations,
        categories=project.categories,
        save_url=shown.save_link,
        preload=[following] if following else [],
        position=f"{ids.index(image_id) + 1} / {len(ids)}",
        has_previous=before is not None,
        has_next=after is not None,
        author=author(),
        note=shown.annotations.note,
        previous_url=labelling.labels_link(store, before) if before else "",
        suggest_url=suggestions.link(store, image_id),
        suggest_trouble=suggestions.trouble(store, project.id),
        assist_url=assist.link(store, image_id),
        assist_kinds=assist.kinds(),
    )
    if event is None or event.image_id != image_id:
        return
    target = before if event.to == "previous" else after
    if target is None:
        st.toast("That was the last photo of this list.", icon=":material/check_circle:")
        return
    open_photo(target)
    rerun_part()


if st.query_params.get("image"):
    st.session_state[IMAGE] = st.query_params["image"]
has_images = projects.count_images(store, project.id, ImageFilter()) > 0
queue = Queue([], "")
with st.container(horizontal=True, vertical_alignment="center", key="label_bar"):
    st.title("Label", anchor=False, width="content")
    if has_images and project.categories:
        queue = choose_queue(store, project)
        # Another photo makes it another popover, which is closed.
        with st.popover("Go to", icon=":material/search:", key=f"go_to_{st.session_state.get(IMAGE)}"):
            draw_go_to(store, project)
        with st.popover("Classes", icon=":material/palette:"):
            draw_classes(store, project)
        with st.container(width="content"):
            draw_history(store, author())
        with st.container(width="content"):
            draw_progress(store, project.id)

if not has_images:
    empty_state("No photos yet", "Import some first; then label them here.", ":material/add_photo_alternate:")
    st.page_link("pages/images.py", label="Import photos", icon=":material/upload:")
    st.stop()
if not project.categories:
    empty_state(
        "What do you want to find?", "Add the first class, such as scratch or dent.", ":material/palette:"
    )
    draw_classes(store, project)
    st.stop()
draw_work(store, project.id)


@part
def canvas(ids: list[str]) -> None:
    """Walk through the list as it was when the page was drawn: a photo done meanwhile keeps its place."""
    there = labelling.still_there(store, project.id, ids)
    if not there:
        empty_state("Nothing to do here", f"No photo is in “{queue.title}”.", ":material/check_circle:")
        return
    wanted = st.session_state.get(IMAGE) or labelling.first_to_do(store, project.id)
    onwards = ids[ids.index(wanted) :] if wanted in ids else ids  # past a photo deleted meanwhile
    image_id = next((i for i in onwards if i in there), there[0])
    if st.query_params.get("image") != image_id or st.session_state.get(IMAGE) != image_id:
        open_photo(image_id)
    if queue.usefulness:
        draw_usefulness(store, project.id, queue.usefulness, image_id)
    draw_canvas(project, there, image_id)


canvas(queue.ids)
