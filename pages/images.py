"""The photos of the project: bring them in, find them, put them into splits, take labels out."""

import streamlit as st

from core.domain.images import ImageFilter, Project
from core.domain.labels import FINISHED, SPLITS, ImageState
from core.domain.revisions import STATE_TITLES
from core.services import projects
from core.services.home import open_home
from pages.components.gallery import clear_selection, gallery
from pages.components.importing import choose_files, export_menu, follow_import
from pages.components.shell import current_project, empty_state

PAGE_SIZE = 60
STATES = {state.value: title for state, title in STATE_TITLES.items()}

store = open_home()
project = current_project()
IMPORT_JOB = f"import_job_{project.id}"
GALLERY = f"gallery_{project.id}"


def choose_filter(project: Project) -> ImageFilter:
    """Draw the filters in one row."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name", placeholder="Search by file name", key="images_name", width=240)
        state = st.selectbox("State", [None, *STATES], format_func=lambda s: STATES.get(s, "Any"), width=150)
        split = st.selectbox(
            "Split", [None, *SPLITS, "unsplit"], format_func=lambda s: (s or "any").capitalize(), width=130
        )
        names = {category.category_id: category.name for category in project.categories}
        category = st.selectbox("Class", [None, *names], format_func=lambda c: names.get(c, "Any"), width=190)
    return ImageFilter(ImageState(state) if state else None, split, category, name or None)


def draw_actions(selected: list[str]) -> None:
    """What can be done with the selected photos; always there, so that the grid does not jump."""
    is_idle = not selected
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**{len(selected)} selected**" if selected else ":gray[Select photos to]", width="content"
        )
        for split in (*SPLITS, None):
            title = f"Move to {split}" if split else "No split"
            if st.button(title, key=f"split_{split}", disabled=is_idle):
                projects.set_split(store, selected, split)
                clear_selection(GALLERY)
                st.rerun()
        with st.popover("Delete", icon=":material/delete:", disabled=is_idle):
            st.write("Takes these photos out of the project. Runs made from them stay as they are.")
            if st.button(f"Delete {len(selected)} photos", type="primary"):
                projects.delete_images(store, selected)
                clear_selection(GALLERY)
                st.rerun()


with st.container(horizontal=True, vertical_alignment="center"):
    st.title("Images", anchor=False)
    has_images = projects.count_images(store, project.id, ImageFilter()) > 0
    is_choosing = st.button("Import", type="primary", icon=":material/upload:")
    if has_images:
        has_labels = projects.count_images(store, project.id, ImageFilter(state=FINISHED)) > 0
        export_menu(store, project.id, project.name, has_labels=has_labels)
if is_choosing:
    choose_files(store, project.id, IMPORT_JOB)

if job_id := st.session_state.get(IMPORT_JOB):
    follow_import(store, job_id, IMPORT_JOB, may_ask=not is_choosing)

if not has_images:
    empty_state(
        "No photos yet",
        "Import plain photos to label, photos with masks, or another tool's export. Phone photos are fine.",
        ":material/add_photo_alternate:",
    )
    st.stop()

only = choose_filter(project)
total = projects.count_images(store, project.id, only)
pages = max(1, -(-total // PAGE_SIZE))
with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.caption(f"{total:,} photos")
    page = st.pagination(pages, key="images_page") if pages > 1 else 1
shown = projects.list_images(store, project.id, only, offset=(page - 1) * PAGE_SIZE, limit=PAGE_SIZE)
actions = st.container()
event = gallery(store, project, shown, key=GALLERY)
if event.opened:
    st.switch_page("pages/label.py", query_params={"image": event.opened})
with actions:
    draw_actions(event.selected)
