"""The queue of the Label page: which photos, in which order, and a jump to one by its file name.

The choice stands in the page's address, so that a link is the same queue again, and stays for the visit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import streamlit as st

from core.domain.images import ImageFilter, ImageOrder, Project
from core.domain.labels import FINISHED, SPLITS, ImageState
from core.services import labelling, next_useful, projects, suggestions
from core.services.home import Store
from pages.components.gallery import state_title
from pages.components.jobs import follow_job
from pages.components.shell import part, shown_errors
from pages.components.words import plain

IMAGE = "label_image"
WRITTEN = "queue_written"
PLACES = "queue_places"
MEASURING, SUGGESTING = "queue_measuring_", "queue_suggesting_"  # and the project's id
SHOW: dict[str, str] = {
    "": "All photos",
    "to_do": "To do",
    "unlabelled": "Unlabelled",
    "in_progress": "In progress",
    "rejected": "Rejected",
    "done": "Done",
    "approved": "Approved",
    "no_damage": "No damage",
}
ORDERS = {
    "": "As imported",
    "name": "By name",
    "changed": "Newest change first",
    "useful": "Most useful first",
}
LABELS = {
    "class": "Class",
    "split": "Split",
    "by": "Saved last by",
    "suggested": "Suggestions",
    "order": "Order",
}
NOBODY = "-"  # in the address: saved while nobody was logged in


@dataclass(frozen=True)
class Queue:
    """The photos to walk through, what the list is called, and what is known of their order."""

    ids: list[str]
    title: str
    usefulness: next_useful.Order | None = None


def choose_queue(store: Store, project: Project) -> Queue:
    """Draw the choice of photos and order; give the queue with the open photo in its place."""
    options = _options(store, project)
    _follow_address(project.id, options)
    chosen = {"show": _select(project.id, "show", "Show", options["show"], is_bare=True)}
    count = sum(bool(st.session_state.get(_key(project.id, name))) for name in options if name != "show")
    with st.popover(f"Filter ({count})" if count else "Filter", icon=":material/filter_list:"):
        for name, label in LABELS.items():
            chosen[name] = _select(project.id, name, label, options[name])
        _offer_suggestions(store, project.id)
        if count:
            st.button("Clear", on_click=_clear, args=(project.id,), icon=":material/filter_list_off:")
    _write_address(chosen)
    ids = labelling.queue(store, project.id, _filter(chosen), _order(chosen))
    usefulness = next_useful.order(store, project.id, ids) if chosen["order"] == "useful" else None
    ids = list(usefulness.ids) if usefulness else ids
    return Queue(_with_open_photo(project.id, chosen, ids), SHOW[chosen["show"]], usefulness)


def draw_work(store: Store, project_id: str) -> None:
    """Follow what the champion was asked to do with the queue."""
    for key, title in ((MEASURING, "Looking at the photos"), (SUGGESTING, "Suggesting labels")):
        if job_id := st.session_state.get(key + project_id):
            follow_job(store, job_id, key + project_id, title)


def draw_usefulness(store: Store, project_id: str, order: next_useful.Order, image_id: str) -> None:
    """Say why the open photo stands where it does, or what the order by usefulness needs."""
    said = order.trouble or order.reason(image_id) or "This photo is not ordered: labelled, or not looked at."
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(plain(said[:1].upper() + said[1:]), help=next_useful.RULE, width="content")
        if order.unmeasured and MEASURING + project_id not in st.session_state:
            title = f"Look at {order.unmeasured:,} photos"
            with shown_errors():
                if st.button(title, type="tertiary", icon=":material/visibility:"):
                    st.session_state[MEASURING + project_id] = next_useful.prepare(store, project_id).id
                    st.rerun()


def _offer_suggestions(store: Store, project_id: str) -> None:
    """Let the champion fill all unlabelled photos with suggestions."""
    trouble = suggestions.trouble(store, project_id)
    is_under_way = SUGGESTING + project_id in st.session_state
    with shown_errors():
        if st.button(
            "Suggest on unlabelled photos",
            help=trouble
            or "The champion's guesses wait on the photos until somebody accepts or rejects them.",
            disabled=bool(trouble) or is_under_way,
            icon=":material/auto_awesome:",
        ):
            st.session_state[SUGGESTING + project_id] = suggestions.start_for_queue(store, project_id).id
            st.rerun()


def open_photo(image_id: str) -> None:
    """Make a photo the open one, in the address too."""
    st.session_state[IMAGE] = st.query_params["image"] = image_id


@part
def draw_go_to(store: Store, project: Project) -> None:
    """Draw a field for a part of a file name, and what it finds."""
    typed = st.text_input("File name", placeholder="IMG_0042", key="queue_go_to", max_chars=200)
    found = labelling.find_by_name(store, project.id, typed)
    if typed.strip() and not found:
        st.caption("No photo's name holds this.")
    for image in found:
        name = plain(image.name.rpartition("/")[2])
        if st.button(f"{name} :small[:gray[{state_title(image)}]]", key=f"go_{image.id}", type="tertiary"):
            open_photo(image.id)
            st.rerun()


def _options(store: Store, project: Project) -> dict[str, dict[str, str]]:
    """Give what each filter can be, with its title; "" is the default and not in the address."""
    people = projects.authors(store, project.id)
    return {
        "show": SHOW,
        "class": {"": "Any", **{str(c.category_id): c.name for c in project.categories}},
        "split": {"": "Any", **{split: split.capitalize() for split in (*SPLITS, "unsplit")}},
        "by": {"": "Anybody", **{name or NOBODY: name or "Without a name" for name in people}},
        "suggested": {"": "Any", "yes": "With suggestions", "no": "Without suggestions"},
        "order": ORDERS,
    }


def _select(
    project_id: str, name: str, label: str, options: Mapping[str, str], *, is_bare: bool = False
) -> str:
    return st.selectbox(
        label,
        list(options),
        format_func=options.__getitem__,
        key=_key(project_id, name),
        persist_state="session",
        label_visibility="collapsed" if is_bare else "visible",
        width=170 if is_bare else "stretch",
    )


def _filter(chosen: Mapping[str, str]) -> ImageFilter:
    show, people = chosen["show"], chosen["by"]
    states: dict[str, ImageState | frozenset[ImageState] | None] = {
        "": None,
        "to_do": frozenset(labelling.TO_DO),
        "no_damage": FINISHED,
    }
    return ImageFilter(
        state=states[show] if show in states else ImageState(show),
        split=chosen["split"] or None,
        category_id=int(chosen["class"]) if chosen["class"] else None,
        author=None if not people else "" if people == NOBODY else people,
        has_annotations=False if show == "no_damage" else None,
        has_suggestions={"": None, "yes": True, "no": False}[chosen["suggested"]],
    )


def _order(chosen: Mapping[str, str]) -> ImageOrder:
    known = chosen["order"] in ("name", "changed")
    return cast(ImageOrder, chosen["order"]) if known else "imported"


def _with_open_photo(project_id: str, chosen: Mapping[str, str], ids: list[str]) -> list[str]:
    """Keep the open photo in the queue when it has just been done, or was opened from elsewhere."""
    view, image_id = (project_id, tuple(chosen.items())), st.session_state.get(IMAGE)
    old_view, old_ids = st.session_state.get(PLACES, (None, []))
    is_same = old_view in (None, view)  # another choice begins with its own first photo
    kept = labelling.with_place(ids, old_ids, image_id) if image_id and is_same else ids
    st.session_state[PLACES] = (view, kept)
    return kept


def _follow_address(project_id: str, options: Mapping[str, Mapping[str, str]]) -> None:
    """Take the choice from the address where this page has not written it; drop what is gone since."""
    given = {name: st.query_params[name] for name in options if name in st.query_params}
    if given and given != st.session_state.get(WRITTEN):
        for name in options:
            st.session_state[_key(project_id, name)] = given.get(name, "")
    for name, known in options.items():
        if st.session_state.get(_key(project_id, name), "") not in known:
            st.session_state[_key(project_id, name)] = ""


def _write_address(chosen: Mapping[str, str]) -> None:
    for name, value in chosen.items():
        if value and st.query_params.get(name) != value:
            st.query_params[name] = value
        elif not value and name in st.query_params:
            del st.query_params[name]
    st.session_state[WRITTEN] = {name: value for name, value in chosen.items() if value}


def _clear(project_id: str) -> None:
    for name in LABELS:
        st.session_state[_key(project_id, name)] = ""


def _key(project_id: str, name: str) -> str:
    return f"queue_{name}_{project_id}"
