"""The label canvas and the queue of photos it walks through."""

import streamlit as st

from core.domain.images import ImageFilter, Project
from core.domain.labels import Category, ImageState
from core.services import labelling, projects
from core.services.home import open_home
from pages.components.labeler import LabelerImage, labeler
from pages.components.shell import author, current_project, empty_state, part, rerun_part, shown_errors

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
    """List the photos to walk through."""
    state = {"todo": ImageState.UNLABELLED, "in_progress": ImageState.IN_PROGRESS, "done": ImageState.DONE}
    return labelling.queue(store, project.id, ImageFilter(state=state.get(show)))


def draw_classes(project: Project) -> None:
    """Add, rename and recolour classes; nothing changes before its button is pressed."""
    with st.form(f"add_class_{project.id}", border=False, clear_on_submit=True):
        name = st.text_input("New class", placeholder="scratch", max_chars=80)
        if st.form_submit_button("Add class") and name.strip():
            with shown_errors():
                projects.add_category(store, project.id, name)
                st.rerun()
    if project.categories:
        with st.form(f"change_classes_{project.id}", border=False), shown_errors():
            wanted = [draw_class(project.id, category) for category in project.categories]
            if st.form_submit_button("Save changes"):
                for category in wanted:
                    if category not in project.categories:
                        projects.change_category(store, project.id, category)
                st.rerun()


def draw_class(project_id: str, category: Category) -> Category:
    """Draw one class to edit; give it as the form has it."""
    key = f"{project_id}_{category}"  # a change made elsewhere makes a new widget with the new value
    color, name = st.columns([1, 5], vertical_alignment="bottom")
    return Category(
        category.category_id,
        name.text_input("Name", category.name, key=f"name_{key}", max_chars=80).strip(),
        color.color_picker("Colour", category.color, key=f"color_{key}"),
    )


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
    )
    if event is None or event.image_id != image_id:
        return
    target = before if event.to == "previous" else after
    if target is None:
        st.toast("That was the last photo of this list.", icon=":material/check_circle:")
        return
    st.session_state[IMAGE] = target
    st.query_params["image"] = target
    rerun_part()


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


@part
def canvas(ids: list[str]) -> None:
    """Walk through the list as it was when the page was drawn: a photo done meanwhile keeps its place."""
    there = labelling.still_there(store, project.id, ids)
    if not there:
        empty_state(
            "Nothing to do here", f"No photo is in “{SHOW[show or 'all']}”.", ":material/check_circle:"
        )
        return
    wanted = st.session_state.get(IMAGE) or labelling.first_to_do(store, project.id)
    onwards = ids[ids.index(wanted) :] if wanted in ids else ids  # past a photo deleted meanwhile
    draw_canvas(project, there, next((i for i in onwards if i in there), there[0]))


if st.query_params.get("image"):
    st.session_state[IMAGE] = st.query_params["image"]
canvas(queue_of(project, show or "all"))
