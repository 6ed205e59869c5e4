"""Projects and categories in the database."""

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from core.domain.errors import AppError, NotFound, listed
from core.domain.images import Project
from core.domain.labels import Category, unused_color
from core.storage import tables
from core.storage.store import Store, new_id


def create(store: Store, name: str) -> Project:
    """Make an empty project.

    Raises:
        AppError: the name is empty, too long or taken.
    """
    name = name.strip()
    if not 1 <= len(name) <= 80:
        raise AppError("A project needs a name of 1 to 80 characters.")
    with store.write() as connection:
        if connection.execute(sa.select(tables.project.c.id).where(tables.project.c.name == name)).first():
            raise AppError(f"There is already a project “{name}”. Choose another name.")
        project_id = new_id()
        connection.execute(
            sa.insert(tables.project).values(id=project_id, name=name, created_at=tables.now())
        )
    return get(store, project_id)


def discard_if_empty(store: Store, project_id: str) -> None:
    """Take a project away again if it has no image; any other is left alone."""
    has_image = sa.exists().where(tables.image.c.project_id == project_id)
    with store.write() as connection:
        connection.execute(sa.delete(tables.project).where(tables.project.c.id == project_id, ~has_image))


def get(store: Store, project_id: str) -> Project:
    """Give one project. Raises NotFound."""
    with store.read() as connection:
        return read(connection, project_id)


def by_name(store: Store, name: str) -> Project:
    """Give the project with this name.

    Raises:
        NotFound: there is none; the sentence lists the projects.
    """
    for project in list_all(store):
        if project.name == name.strip():
            return project
    names = listed(project.name for project in list_all(store))
    raise NotFound(f"There is no project “{name}”. There are: {names}.")


def list_all(store: Store) -> list[Project]:
    """List the projects, oldest first."""
    with store.read() as connection:
        rows = connection.execute(sa.select(tables.project).order_by(tables.project.c.id)).all()
        return [_project(connection, row) for row in rows]


def read(connection: sa.Connection, project_id: str) -> Project:
    """Give one project inside a transaction. Raises NotFound."""
    row = connection.execute(sa.select(tables.project).where(tables.project.c.id == project_id)).first()
    if row is None:
        raise NotFound("This project does not exist any more.")
    return _project(connection, row)


def add_category(
    connection: sa.Connection, project_id: str, name: str, *, wanted_id: int | None = None
) -> Category:
    """Give the project's category of this name (letter case aside); make it if there is none.

    One that was removed comes back with its id: revisions and data versions that hold it fit again.

    Args:
        wanted_id: the id it had where it comes from; taken when it is free.

    Raises:
        FormatError: the name is empty or too long.
    """
    categories = read(connection, project_id).categories
    for category in categories:
        if category.name.casefold() == name.strip().casefold():
            return category
    removed = _removed(connection, project_id)
    for category in removed:
        if category.name.casefold() == name.strip().casefold():
            colors = {c.color.upper() for c in categories}
            is_free = category.color.upper() not in colors
            color = category.color if is_free else unused_color(category.category_id, colors)
            _set(connection, project_id, category.category_id, is_removed=False, color=color)
            return replace(category, color=color)
    taken = {category.category_id for category in (*categories, *removed)}
    free = wanted_id if wanted_id and wanted_id not in taken else max(taken, default=0) + 1
    category = Category(free, name.strip(), unused_color(free, {c.color for c in categories}))
    connection.execute(
        sa.insert(tables.category).values(
            project_id=project_id,
            category_id=category.category_id,
            name=category.name,
            color=category.color,
            position=category.category_id,
        )
    )
    return category


def change_category(store: Store, project_id: str, category: Category) -> None:
    """Rename or recolour a category; its id stays. Raises AppError when name or colour is taken."""
    with store.write() as connection:
        for other in read(connection, project_id).categories:
            if other.category_id == category.category_id:
                continue
            if other.name.casefold() == category.name.strip().casefold():
                raise AppError(f"There is already a class “{other.name}”.")
            if other.color.upper() == category.color.upper():
                raise AppError(f"“{other.name}” has this colour already. Choose another one.")
        for gone in _removed(connection, project_id):
            if gone.name.casefold() == category.name.strip().casefold():
                _set(connection, project_id, gone.category_id, name=f"{gone.name[:60]} ({gone.category_id})")
        _set(connection, project_id, category.category_id, name=category.name.strip(), color=category.color)


def remove_category(connection: sa.Connection, project_id: str, category_id: int) -> None:
    """Take a category out of a project; from here on no image can be saved with it.

    Whoever calls sees to the images that show it, in the same transaction.
    """
    _set(connection, project_id, category_id, is_removed=True)


def held_category_ids(connection: sa.Connection, project_id: str) -> set[int]:
    """Give the ids of a project's categories; none of them is removed before this transaction ends.

    SQLite lets one writer in at a time, so it needs no lock and takes none.
    """
    table = tables.category.c
    query = sa.select(table.category_id).where(table.project_id == project_id, ~table.is_removed)
    return set(connection.execute(query.with_for_update(read=True)).scalars())


def names_ever(store: Store, project_id: str) -> dict[int, str]:
    """Give the names of all categories that a project has or had, by id: older revisions hold them."""
    with store.read() as connection:
        kept = read(connection, project_id).categories
        return {c.category_id: c.name for c in (*_removed(connection, project_id), *kept)}


def _removed(connection: sa.Connection, project_id: str) -> list[Category]:
    table = tables.category
    query = sa.select(table).where(table.c.project_id == project_id, table.c.is_removed)
    rows = connection.execute(query.order_by(table.c.category_id))
    return [Category(row.category_id, row.name, row.color) for row in rows]


def _set(connection: sa.Connection, project_id: str, category_id: int, **values: Any) -> None:
    table = tables.category
    of_it = (table.c.project_id == project_id, table.c.category_id == category_id)
    connection.execute(sa.update(table).where(*of_it).values(**values))


def _project(connection: sa.Connection, row: Any) -> Project:
    rows = connection.execute(
        sa.select(tables.category)
        .where(tables.category.c.project_id == row.id, ~tables.category.c.is_removed)
        .order_by(tables.category.c.position, tables.category.c.category_id)
    ).all()
    return Project(
        row.id, row.name, tuple(Category(c.category_id, c.name, c.color) for c in rows), row.created_at
    )
