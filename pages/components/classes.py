"""The classes of a project: add, rename, recolour, remove."""

import streamlit as st

from core.domain.images import Project
from core.domain.labels import Category
from core.services import classes, projects
from core.services.home import Store
from pages.components.shell import author, part, shown_errors
from pages.components.words import counted, plain

DELETE = 0  # no category has this id


def draw_classes(store: Store, project: Project) -> None:
    """Draw the forms; nothing changes before its button is pressed."""
    with st.form(f"add_class_{project.id}", border=False, clear_on_submit=True):
        name = st.text_input("New class", placeholder="scratch", max_chars=80)
        if st.form_submit_button("Add class") and name.strip():
            with shown_errors():
                projects.add_category(store, project.id, name)
                st.rerun()
    if project.categories:
        with st.form(f"change_classes_{project.id}", border=False), shown_errors():
            wanted = [_draw_class(project.id, category) for category in project.categories]
            if st.form_submit_button("Save changes"):
                for category in wanted:
                    if category not in project.categories:
                        projects.change_category(store, project.id, category)
                st.rerun()
        with st.expander("Remove a class", icon=":material/delete:"):
            _draw_removal(store, project)


def _draw_class(project_id: str, category: Category) -> Category:
    """Draw one class to edit; give it as the form has it."""
    key = f"{project_id}_{category}"  # a change made elsewhere makes a new widget with the new value
    with st.container(horizontal=True, vertical_alignment="bottom"):
        color = st.color_picker("Colour", category.color, key=f"color_{key}", width="content")
        name = st.text_input("Name", category.name, key=f"name_{key}", max_chars=80)
    return Category(category.category_id, name.strip(), color)


@part
def _draw_removal(store: Store, project: Project) -> None:
    """Ask what is to become of the objects of a class before it goes."""
    names = {category.category_id: category.name for category in project.categories}
    gone = st.selectbox(
        "Class",
        list(names),
        index=None,
        format_func=lambda c: names.get(c, "–"),
        key=f"remove_class_{project.id}",
    )
    if gone is None:
        return
    with shown_errors():
        use = classes.use(store, project.id, gone)
        move_to = _ask_move(project.id, use, {c: n for c, n in names.items() if c != gone})
        st.caption("Runs keep their labels, and each photo's history keeps the old ones.")
        is_open = move_to is None  # nobody has said yet what becomes of the objects
        if st.button(f"Remove “{plain(names[gone])}”", type="primary", disabled=is_open):
            removal = classes.remove(store, project.id, gone, move_to=move_to or None, author=author())
            changed = counted(removal.images, "photo has", "photos have")
            what = f" {changed} got a new revision." if removal.images else ""
            st.toast(f"“{plain(names[gone])}” is removed.{what}", icon=":material/delete:")
            st.rerun()


def _ask_move(project_id: str, use: classes.ClassUse, others: dict[int, str]) -> int | None:
    """Give the id of the class that the objects become, or DELETE; None before something is chosen."""
    if use.suggestions:
        st.write(f"{counted(use.suggestions, 'suggestion of it goes', 'suggestions of it go')} with it.")
    if not use.objects:
        st.write("No object is of this class.")
        return DELETE
    shown = f"{counted(use.objects, 'object')} on {counted(use.images, 'photo')}"
    st.write(f"**{shown}** {'is' if use.objects == 1 else 'are'} of this class.")
    titles = {**{c: f"Become “{name}”" for c, name in others.items()}, DELETE: "Are deleted"}
    chosen = st.radio(
        "They",
        list(titles),
        index=None if others else 0,
        format_func=lambda c: titles.get(c, "–"),
        key=f"remove_move_{project_id}",
    )
    if chosen == DELETE and use.nothing_else:
        alone = counted(use.nothing_else, "labelled photo shows", "labelled photos show")
        then = "it then counts" if use.nothing_else == 1 else "they then count"
        st.warning(f"{alone} nothing else: {then} as “No damage”.", icon=":material/warning:")
    return chosen
