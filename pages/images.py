"""The photos of the project: bring them in, find them, put them into splits, take labels out."""

from functools import partial

import streamlit as st

from core.domain.images import ImageFilter, Project
from core.domain.labels import SPLITS, ImageState
from core.services import projects
from core.services.home import open_home
from pages.components.gallery import clear_selection, gallery
from pages.components.jobs import follow_job
from pages.components.shell import current_project, empty_state, shown_errors

PAGE_SIZE = 60
STATES = {"unlabelled": "Unlabelled", "in_progress": "In progress", "done": "Done"}
TYPES = ["jpg", "jpeg", "png", "webp", "heic", "heif", "tif", "tiff", "bmp", "mpo", "gif", "zip", "json"]

store = open_home()
project = current_project()
IMPORT_JOB = f"import_job_{project.id}"
GALLERY = f"gallery_{project.id}"


@st.dialog("Import photos and labels", width="medium")
def import_dialog() -> None:
    """Take files, a zip or a folder, and queue their import."""
    kind = st.segmented_control("From", ["Files or a zip", "A folder"], default="Files or a zip")
    multiple = "directory" if kind == "A folder" else True
    files = st.file_uploader(
        "Photos, a COCO export, or photos with masks", type=TYPES, accept_multiple_files=multiple
    )
    titles = {"auto": "Recognise by itself", **projects.formats()}
    chosen = st.selectbox("Format", list(titles), format_func=titles.__getitem__)
    st.caption(
        "COCO: a Roboflow zip or folder with train, valid and test, or one json beside its photos. "
        "Masks: one PNG per object, the class in its name. Originals are kept as they are."
    )
    with shown_errors():
        if st.button("Import", type="primary", disabled=not files, icon=":material/upload:"):
            uploads = [(file.name, file) for file in files]
            job = projects.import_uploads(store, project.id, uploads, format=chosen)
            st.session_state[IMPORT_JOB] = job.id
            st.rerun()


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
    if st.button("Import", type="primary", icon=":material/upload:"):
        import_dialog()
    if has_images:
        has_labels = projects.count_images(store, project.id, ImageFilter(state=ImageState.DONE)) > 0
        st.download_button(
            "Export COCO",
            data=partial(projects.export_zip, store, project.id),
            file_name=f"{project.name}-coco.zip",
            mime="application/zip",
            on_click="ignore",
            icon=":material/download:",
            disabled=not has_labels,
            help=None if has_labels else "There is nothing to export yet. Label a photo first.",
        )

if job_id := st.session_state.get(IMPORT_JOB):
    follow_job(store, job_id, IMPORT_JOB, "Importing")

if not has_images:
    empty_state(
        "No photos yet",
        "Import a COCO export, photos with masks, or plain photos to label. Phone photos are fine.",
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
