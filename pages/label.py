"""The label canvas and the queue of photos it walks through."""

import streamlit as st

from core.domain.errors import NotFound
from core.domain.images import ImageFilter, Project
from core.domain.labels import ImageState
from core.services import labelling, projects
from core.services.home import open_home
from pages.components.labeler import LabelerImage, labeler
from pages.components.shell import author, current_project, empty_state, shown_errors

IMAGE = "label_image"
SHOW = {
    "all": "All photos",
    "todo": "Unlabelled",
    "in_progress": "In progress",
    "done": "Done",
}

store = open_home()
project = current_project()


def queue_of(project: Project, show: str) -> list[str]:
    """List the photos to walk through; the one on screen stays in it although it was just finished."""
    state = {"todo": ImageState.UNLABELLED, "in_progress": ImageState.IN_PROGRESS, "done": ImageState.DONE}
    return labelling.queue(store, project.id, ImageFilter(state=state.get(show)))


def draw_classes(project: Project) -> None:
    """Add, rename and recolour classes."""
    with st.form("add_class", border=False, clear_on_submit=True):
        name = st.text_input("New class", placeholder="scratch", max_chars=80)
        if st.form_submit_button("Add class") and name.strip():
            projects.add_category(store, project.id, name)
            st.rerun()
    for category in project.categories:
        color, text = st.columns([1, 5], vertical_alignment="bottom")
        chosen = color.color_picker("Colour", category.color, key=f"color_{category.category_id}")
        renamed = text.text_input("Name", category.name, key=f"name_{category.category_id}", max_chars=80)
        if (renamed.strip() and renamed != category.name) or chosen.upper() != category.color.upper():
            with shown_errors():
                changed = type(category)(category.category_id, renamed.strip(), chosen)
                projects.change_category(store, project.id, changed)
                st.rerun()


def draw_canvas(project: Project, ids: list[str], image_id: str) -> None:
    """Draw the canvas for one photo and follow its wish to go to another."""
    before, after = labelling.neighbours(ids, image_id)
    shown = labelling.open_image(store, image_id, author=author())
    following = labelling.open_image(store, after) if after else None
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
        preload=[following.full_link] if following else [],
        position=f"{ids.index(image_id) + 1} / {len(ids)}",
        has_previous=before is not None,
        has_next=after is not None,
        author=author(),
    )
    if event is None or event.image_id != image_id:
        return
    target = before if event.to == "previous" else after
    if target is None:
        st.toast("That was the last photo of this list.", icon=":material/check_circle:")
        return
    st.session_state[IMAGE] = target
    st.query_params["image"] = target
    st.rerun(scope="fragment")


wanted = st.query_params.get("image") or st.session_state.get(IMAGE)
with st.container(horizontal=True, vertical_alignment="center"):
    st.title("Label", anchor=False)
    show = st.segmented_control(
        "Show",
        list(SHOW),
        format_func=SHOW.__getitem__,
        default="all",
        label_visibility="collapsed",
        key="label_show",
    )
    if project.categories:
        with st.popover("Classes", icon=":material/palette:"):
            draw_classes(project)

if projects.count_images(store, project.id, ImageFilter()) == 0:
    empty_state("No photos yet", "Import some first; then label them here.", ":material/add_photo_alternate:")
    st.page_link("pages/images.py", label="Import photos", icon=":material/upload:")
    st.stop()
if not project.categories:
    empty_state(
        "What do you want to find?", "Add the first class, such as scratch or dent.", ":material/palette:"
    )
    draw_classes(project)
    st.stop()


@st.fragment
def canvas() -> None:
    """Keep the list while the visitor walks through it: a photo that is done now stays in its place."""
    key = (project.id, show)
    if st.session_state.get("label_queue_key") != key:
        st.session_state["label_queue_key"] = key
        st.session_state["label_queue"] = queue_of(project, show or "all")
    ids = st.session_state["label_queue"]
    image_id = st.session_state.get(IMAGE) or wanted or labelling.first_to_do(store, project.id)
    if image_id not in ids and image_id and show in (None, "all"):
        ids = st.session_state["label_queue"] = queue_of(project, "all")
    if not ids:
        empty_state(
            "Nothing to do here", f"No photo is in “{SHOW[show or 'all']}”.", ":material/check_circle:"
        )
        return
    try:
        draw_canvas(project, ids, image_id if image_id in ids else ids[0])
    except NotFound as error:
        st.session_state.pop("label_queue_key")
        st.session_state.pop(IMAGE, None)
        st.warning(str(error))


if st.query_params.get("image"):
    st.session_state[IMAGE] = st.query_params["image"]
canvas()
