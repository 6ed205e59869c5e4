"""The store that pages, routes and the command line work on."""

from core.storage.store import Store, open_store

__all__ = ["Store", "open_home"]


def open_home() -> Store:
    """Open the store that MASKWRIGHT_HOME and its siblings name; the database is brought up to date.

    Raises:
        StorageError: the folder or the database cannot be used.
    """
    return open_store()
