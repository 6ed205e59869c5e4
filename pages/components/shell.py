"""What every page stands in: the project everyone works on, errors as sentences, empty states."""

import functools
import itertools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import ParamSpec

import streamlit as st
from streamlit.errors import StreamlitAPIException

from core.domain.errors import AppError, OutOfReach
from core.domain.images import Project
from core.domain.labels import Category
from core.services import projects
from core.services.home import open_home

PROJECT = "project"
WANTED = "project_wanted"
RETRY_EVERY = "5s"
P = ParamSpec("P")


def choose_project() -> None:
    """Draw the choice of the project in the sidebar; nothing while there is none."""
    everything = {project.id: project.name for project in projects.list_all(open_home())}
    if not everything:
        return
    wanted = st.session_state.pop(WANTED, None) or st.session_state.get(PROJECT)
    wanted = wanted or _from_address(everything)
    st.session_state[PROJECT] = wanted if wanted in everything else list(everything)[-1]
    st.sidebar.selectbox("Project", list(everything), format_func=everything.__getitem__, key=PROJECT)
    st.query_params[PROJECT] = everything[st.session_state[PROJECT]]


def current_project() -> Project:
    """Give the chosen project; without one, send the visitor to the start page and stop."""
    project_id = st.session_state.get(PROJECT)
    if project_id is None:
        st.title("Maskwright", anchor=False)
        empty_state("There is no project yet", "Everything begins with one: your own, or the sample project.")
        st.page_link("pages/home.py", label="Go to the start page", icon=":material/arrow_forward:")
        st.stop()
    return projects.get(open_home(), project_id)


def open_project(project_id: str) -> None:
    """Make a project the chosen one, at the next run of the script."""
    st.session_state[WANTED] = project_id


def part(draw: Callable[P, None], *, every: str | None = None) -> Callable[P, None]:
    """Make a part of the page that is drawn again by itself (st.fragment), as calm as ``reachable``.

    Args:
        every: how often it is drawn again without being asked, such as "2s".
    """

    @functools.wraps(draw)
    def calm(*args: P.args, **kwargs: P.kwargs) -> None:
        with reachable():
            draw(*args, **kwargs)

    return st.fragment(calm, run_every=every)


def rerun_part() -> None:
    """Run the fragment again; the whole page where a full run has overtaken the fragment's own."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:
        st.rerun()


def author() -> str:
    """Give the name to put on what the visitor saves; empty where nobody is logged in."""
    return str(st.user.get("email", "") or "") if st.user else ""


def class_chip(category: Category) -> str:
    """Give a class's colour and name as Markdown."""
    name = category.name.translate({ord(sign): f"\\{sign}" for sign in "\\`*_[]{}$:<>#"})
    return f":color[&#9632;]{{foreground='{category.color}'}} {name}"


def empty_state(title: str, text: str, icon: str = ":material/inbox:") -> None:
    """Say that there is nothing here yet and what to do about it."""
    with st.container(border=True, horizontal_alignment="center", gap="small"):
        st.markdown(f"# {icon}", text_alignment="center", anchors=False)
        st.markdown(f"**{title}**", text_alignment="center")
        st.caption(text, text_alignment="center")


@contextmanager
def shown_errors() -> Generator[None]:
    """Show an error that carries a sentence; all others stay visible as the bugs they are."""
    try:
        yield
    except OutOfReach as error:
        _draw_out_of_reach(error)
        st.stop()
    except AppError as error:
        st.error(str(error), icon=":material/error:")


@contextmanager
def reachable() -> Generator[None]:
    """While the database or the file store does not answer, say so and try the page again.

    The script stops there, and not at its end, so that what the visitor has typed is kept.
    """
    try:
        yield
    except OutOfReach as error:
        _draw_out_of_reach(error)
        st.stop()


def _draw_out_of_reach(error: OutOfReach) -> None:
    what = "file store" if "file store" in str(error) else "database"
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            f":material/cloud_off: The {what} does not answer. Nothing is lost; this page tries again.",
            width="stretch",
        )
        if st.button("Try again", icon=":material/refresh:"):
            st.rerun()
    drawn = itertools.count()

    @st.fragment(run_every=RETRY_EVERY)
    def try_again() -> None:
        if next(drawn):
            st.rerun()

    try_again()


def _from_address(everything: dict[str, str]) -> str | None:
    name = st.query_params.get(PROJECT)
    return next((project_id for project_id, title in everything.items() if title == name), None)
