"""What was saved of the open photo: a list to look through, with a picture and a way back."""

from datetime import datetime

import streamlit as st

from core.domain.revisions import STATE_TITLES, Revision
from core.services import history
from core.services.home import Store
from pages.components.queue import IMAGE
from pages.components.shell import part, shown_errors
from pages.components.words import day_and_clock, plain

LIST_HEIGHT = 260
MANY = 4
PICTURE_WIDTH = 420
BEFORE = "history_before"  # which photo's list begins before which revision


@part
def draw_history(store: Store, author: str) -> None:
    """Draw the button that opens the open photo's history; it is read only once it is open."""
    place = st.popover("History", icon=":material/history:", on_change="rerun", key="label_history")
    image_id = st.session_state.get(IMAGE)
    if place.open and image_id:
        with place, shown_errors():
            _draw_revisions(store, image_id, author)


def _draw_revisions(store: Store, image_id: str, author: str) -> None:
    of_image, before = st.session_state.get(BEFORE, ("", None))
    before = before if of_image == image_id else None
    listed = {r.labels.rev: r for r in history.revisions(store, image_id, before=before)}
    if not listed:
        st.caption("Nothing was saved yet. Each change is kept here from then on.")
        return
    newest = next(iter(listed))
    with st.container(height=LIST_HEIGHT if len(listed) > MANY else "content", border=False):
        rev = st.radio(
            "Revisions",
            list(listed),
            format_func=lambda r: _title(listed[r]),
            captions=[plain(revision.changes) for revision in listed.values()],
            key=f"revision_{image_id}_{newest}",
            label_visibility="collapsed",
        )
    with st.container(horizontal=True):
        if min(listed) > 1:
            st.button("Older", on_click=_page, args=(image_id, min(listed)), icon=":material/arrow_downward:")
        if before is not None:
            st.button("Newest", on_click=_page, args=(image_id, None), icon=":material/arrow_upward:")
    is_current = before is None and rev == newest
    wants_it = not is_current and st.button(
        f"Restore revision {rev}", type="primary", icon=":material/restore:"
    )
    with st.container(width=PICTURE_WIDTH):  # never wider than the window
        st.image(history.picture(store, image_id, rev), caption=f"Revision {rev}", width="stretch")
    if note := listed[rev].labels.note:
        st.caption(f"Note: {plain(note)}")
    if wants_it:
        made = history.restore(store, image_id, rev, author=author)
        state = f" The photo is {STATE_TITLES[made.changed_state].lower()} now." if made.changed_state else ""
        left_out = f" {made.left_out} objects of removed classes stayed away." if made.left_out else ""
        said = f"Restored as revision {made.rev}; nothing was lost.{state}{left_out}"
        st.toast(said, icon=":material/restore:")
        _page(image_id, None)
        st.rerun()  # the canvas takes the new revision


def _title(revision: Revision) -> str:
    labels = revision.labels
    count = revision.annotation_count
    parts = (
        day_and_clock(datetime.fromisoformat(labels.saved_at)),
        plain(labels.author) or "without a name",
        STATE_TITLES[revision.state],
        f"{count} object" if count == 1 else f"{count:,} objects",
    )
    return f"**{labels.rev}** · {' · '.join(parts)}"


def _page(image_id: str, before: int | None) -> None:
    st.session_state[BEFORE] = (image_id, before)
