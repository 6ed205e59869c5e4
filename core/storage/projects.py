"""Projects and categories in the database."""

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

    Args:
        wanted_id: the id it had where it comes from; taken when it is free.

    Raises:
        FormatError: the name is empty or too long.
    """
    categories = read(connection, project_id).categories
    for category in categories:
        if category.name.casefold() == name.strip().casefold():
            return category
    taken = {category.category_id for category in categories}
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
        connection.execute(
            sa.update(tables.category)
            .where(
                tables.category.c.project_id == project_id,
                tables.category.c.category_id == category.category_id,
            )
            .values(name=category.name.strip(), color=category.color)
        )


def _project(connection: sa.Connection, row: Any) -> Project:
    rows = connection.execute(
        sa.select(tables.category)
        .where(tables.category.c.project_id == row.id)
        .order_by(tables.category.c.position, tables.category.c.category_id)
    ).all()
    return Project(
        row.id, row.name, tuple(Category(c.category_id, c.name, c.color) for c in rows), row.created_at
    )
