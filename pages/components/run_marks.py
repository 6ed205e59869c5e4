"""A run's name, tags and note, to be changed."""

import textwrap
from collections.abc import Sequence

import streamlit as st

from core.domain.errors import Conflict
from core.domain.runs import MAX_NOTE_LENGTH, MAX_TAG_LENGTH, MAX_TAGS, Run
from core.services import run_table, training
from core.services.home import Store
from pages.components.shell import author, shown_errors
from pages.components.words import plain

ROUND = "runs_round"  # counts savings: new widgets each time


def draw_marks(store: Store, run: Run, known_tags: Sequence[str]) -> None:
    """Draw a run's name, tags and note to be changed. What is typed stays until it is saved."""
    key = f"marks_{run.id}_{st.session_state.get(ROUND, 0)}"
    if f"{key}_note" not in st.session_state:
        st.session_state[f"{key}_begun"] = run
        fields = {f"{key}_name": run.name, f"{key}_tags": [*run.tags], f"{key}_note": run.note}
        st.session_state.update(fields)
    with st.form(key):
        left, right = st.columns([2, 3], gap="medium")
        name = left.text_input("Name", max_chars=80, key=f"{key}_name")
        tags = left.multiselect(
            "Tags", known_tags, key=f"{key}_tags", accept_new_options=True, placeholder="Choose or type",
            help=f"At most {MAX_TAGS}, of {MAX_TAG_LENGTH} characters each.",
        )  # fmt: skip
        note = right.text_area("Note", max_chars=MAX_NOTE_LENGTH, height=122, key=f"{key}_note")
        if st.form_submit_button("Save", icon=":material/check:"):
            with shown_errors():
                _save_marks(store, f"{key}_begun", name or "", tags, note or "")


def _save_marks(store: Store, begun_key: str, name: str, tags: Sequence[str], note: str) -> None:
    """Save what was changed; where somebody else changed the note first, say so and keep what is typed."""
    begun: Run = st.session_state[begun_key]
    if name.strip() != begun.name:
        run_table.rename(store, begun.id, name)
    run_table.change_tags(store, begun.id, begun.tags, tags)
    try:
        if note.strip() != begun.note:
            run_table.set_note(store, begun.id, note, shown=begun.note, author=author())
    except Conflict as error:
        st.session_state[begun_key] = now = training.get_run(store, begun.id)
        kept = plain(textwrap.shorten(now.note, 200, placeholder="…"))
        text = f"It says now: “{kept}” What you typed is still in the field; save again to put it there."
        st.error(f"{plain(str(error))} {text}", icon=":material/sync_problem:")
        return
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1  # the fields show what was saved
    st.toast("Saved.", icon=":material/check:")
    st.rerun()
