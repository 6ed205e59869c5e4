"""Bringing photos and labels in: choosing files, following the import, and answering what it asks."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from core.domain.labels import unused_color
from core.domain.mask_classes import Meaning, Role
from core.services import evaluation, importing, projects
from core.services.home import Store
from core.services.importing import AskedValue, Possible
from pages.components.jobs import follow_job
from pages.components.shell import shown_errors
from pages.components.words import plain

TYPES = [
    *("jpg", "jpeg", "png", "webp", "heic", "heif", "tif", "tiff", "bmp", "mpo", "gif", "avif"),
    *("zip", "json", "xml", "txt", "csv", "yaml", "yml", "npz"),
]
ROLES: dict[Role, str] = {"class": "Class", "background": "Background", "ignore": "Ignore"}
THUMBNAIL_WIDTH = 72  # pixels
PUT_ASIDE = "import_question_put_aside"

Said = tuple[str, Role, str]
"""A name, a role and a colour, as a person left them."""


def choose_files(store: Store, project_id: str, session_key: str) -> None:
    """Open the dialog that takes files, a zip or a folder, and queues their import.

    Args:
        session_key: where the page keeps the import's job.
    """
    draw = partial(_draw_choice, store, project_id, session_key)
    st.dialog("Import photos and labels", width="medium")(draw)()


def follow_import(store: Store, job_id: str, session_key: str, *, may_ask: bool = True) -> None:
    """Show an import's progress, then its report or the question that it has.

    Args:
        session_key: where the page keeps the job; it is cleared when the visitor is done with it.
        may_ask: open the question's dialog; not beside another one.
    """
    asked = importing.question(evaluation.job(store, job_id))
    if not asked:
        follow_job(store, job_id, session_key, "Importing")
        return
    _draw_open_question(store, asked, job_id, session_key)
    if may_ask and st.session_state.get(PUT_ASIDE) != job_id:
        ask = partial(_draw_question, store, asked, job_id, session_key)
        put_aside = partial(st.session_state.__setitem__, PUT_ASIDE, job_id)
        st.dialog("What the files mean", width="medium", on_dismiss=put_aside)(ask)()


def export_menu(store: Store, project_id: str, name: str, *, has_labels: bool) -> None:
    """Draw the menu of all formats that can be written, each with what survives there."""
    formats = projects.writable_formats()
    nothing = None if has_labels else "There is nothing to export yet. Label a photo first."
    with st.popover("Export", icon=":material/download:", disabled=not has_labels, help=nothing):
        chosen = st.radio(
            "Format",
            list(formats),
            format_func=lambda key: formats[key][0],
            captions=[keeps for _, keeps in formats.values()],
            key="export_format",
        )
        st.download_button(
            "Download zip",
            data=partial(projects.export_zip, store, project_id, chosen),
            file_name=f"{name}-{chosen}.zip",
            mime="application/zip",
            on_click="ignore",
            type="primary",
            icon=":material/download:",
            disabled=not has_labels,
        )


def _draw_choice(store: Store, project_id: str, session_key: str) -> None:
    kind = st.segmented_control("From", ["Files or a zip", "A folder"], default="Files or a zip")
    multiple = "directory" if kind == "A folder" else True
    files = st.file_uploader(
        "Photos, photos with masks, or an export of another tool",
        type=TYPES,
        accept_multiple_files=multiple,
    )
    titles = {"auto": "Recognise by itself", **projects.formats()}
    chosen = st.selectbox("Format", list(titles), format_func=titles.__getitem__)
    st.caption(
        "Choose labels together with their photos: a zip or folder as the other tool wrote it. "
        "Where the files leave something open, you are asked. Originals are kept as they are."
    )
    with shown_errors():
        if st.button("Import", type="primary", disabled=not files, icon=":material/upload:"):
            importing.discard_forgotten(store, project_id)
            uploads = [(file.name, file) for file in files]
            job = projects.import_uploads(store, project_id, uploads, format=chosen)
            st.session_state[session_key] = job.id
            st.rerun()


def _draw_open_question(store: Store, asked: Sequence[Possible], job_id: str, session_key: str) -> None:
    """Say on the page that an import waits for an answer."""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        what = "which format it is" if len(asked) > 1 else "what the values of the masks mean"
        st.markdown(f":material/help: The import waits: say {what}.", width="stretch")
        if st.button("Answer", key="answer_import", type="primary"):
            st.session_state.pop(PUT_ASIDE, None)
        if st.button("Discard the files", key="discard_import", icon=":material/close:"):
            importing.discard(store, job_id)
            st.session_state.pop(session_key, None)
            st.rerun()


def _draw_question(store: Store, asked: Sequence[Possible], job_id: str, session_key: str) -> None:
    chosen = _chosen_format(asked)
    said = _draw_values(chosen.values, f"{job_id}_{chosen.format}") if chosen.values else {}
    with shown_errors():
        if st.button("Import", key="import_answered", type="primary", icon=":material/upload:"):
            meanings = {key: Meaning(*each) for key, each in said.items()} or None
            job = importing.answer(store, job_id, format=chosen.format, meanings=meanings)
            st.session_state[session_key] = job.id
            st.rerun()


def _chosen_format(asked: Sequence[Possible]) -> Possible:
    first, *others = asked
    if not others:
        st.markdown(f"Recognised: {plain(first.sentence)}")
        return first
    index = st.radio(
        "These files can be read in several ways. Take them as",
        range(len(asked)),
        format_func=lambda number: asked[number].title,
        captions=[possible.sentence.removeprefix(f"{possible.title}: ") for possible in asked],
        key="import_format",
    )
    return asked[index]


def _draw_values(values: Sequence[AskedValue], key: str) -> dict[str, Said]:
    """Draw a row for each value; give what stands there, which need not be a meaning yet."""
    st.markdown("The masks hold values without names. What does each of them stand for?")
    st.caption(
        "Values of the same name become one class. “Ignore” keeps a value as a class of its own, which a "
        "training can leave out (“Class to ignore”)."
    )
    colors: set[str] = set()
    said: dict[str, Said] = {}
    for number, value in enumerate(values, start=1):
        color = value.meaning.color or unused_color(number, colors)
        colors.add(color)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            said[value.key] = _draw_value(value, color, f"{key}_{value.key}")
    return said


def _draw_value(value: AskedValue, color: str, key: str) -> Said:
    masks = f"{value.images:,} mask" if value.images == 1 else f"{value.images:,} masks"
    swatch = f":color[&#9632;]{{foreground='{value.key}'}} " if value.key.startswith("#") else ""
    share = f"{value.share:.1%}" if value.share >= 0.001 else "less than 0.1%"
    with st.container(width=THUMBNAIL_WIDTH):
        if value.example:
            st.image(value.example, width=THUMBNAIL_WIDTH)
    st.markdown(f"{swatch}**{value.key}**  \n:gray[{share} of pixels, {masks}]", width=165)
    roles = list(ROLES)
    role = st.selectbox(
        f"What {value.key} is",
        roles,
        index=roles.index(value.meaning.role),
        format_func=ROLES.__getitem__,
        key=f"role_{key}",
        persist_state="session",  # a dialog that was closed for a look at the photos goes on
        label_visibility="collapsed",
        width=140,
    )
    if role == "background":
        return "background", role, ""
    name = st.text_input(
        f"Name of {value.key}",
        value="" if value.meaning.role == "background" else value.meaning.name,
        key=f"name_{key}",
        persist_state="session",
        max_chars=80,
        placeholder="Class name",
        label_visibility="collapsed",
        width=200,
    )
    picked = st.color_picker(
        f"Colour of {value.key}",
        value=color,
        key=f"color_{key}",
        persist_state="session",
        label_visibility="collapsed",
    )
    return name, role, picked
